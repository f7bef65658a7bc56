"""Which side may send which reason code in DISCONNECT."""

from mqttlite.enums import PacketType
from mqttlite.packets.reasons import CLIENT_DISCONNECT_CODES, REASON_CODES


def test_codes_of_disconnect_that_a_client_may_send() -> None:
    # Section 3.14.2.1, the rows "Client" and "Client or Server".
    assert sorted(CLIENT_DISCONNECT_CODES) == [
        *(0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99)
    ]
    assert REASON_CODES[PacketType.DISCONNECT] > CLIENT_DISCONNECT_CODES
