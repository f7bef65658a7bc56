"""DISCONNECT: section 3.14 of MQTT 5.0."""

from __future__ import annotations

from typing import Final

import pytest

from mqttlite.client import HangUp
from mqttlite.enums import ClosedBy
from mqttlite.errors import UsageError
from mqttlite.packets import Disconnect, encode
from tests.conformance.conforms import conforms
from tests.conformance.wire_5_0 import FAULT, Program, refuses
from tests.unit.protocol.sides import V5, Client, connack

# Table 3-10: what a client may send, and what a server may send.
BY_EITHER: Final = frozenset(
    (0x00, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99)
)
BY_CLIENT: Final = BY_EITHER | {0x04}
BY_SERVER: Final = BY_EITHER | {
    *(0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2),
}
# In the table of section 2.4 only.
DOUBTFUL: Final = frozenset((0x8C,))
IN_NO_TABLE: Final = frozenset(range(0x100)) - BY_CLIENT - BY_SERVER - DOUBTFUL


@conforms("5.0", "MQTT-3.14.0-1")
@pytest.mark.parametrize("packet", ["e0 00", "e0 01 8b", "e0 02 89 00"])
def test_before_connack_it_is_a_fault(packet: str) -> None:
    assert refuses(Client(None), packet, connack()) == 0x82


class TestReservedBits:
    @conforms("5.0", "MQTT-3.14.1-1")
    @pytest.mark.parametrize("flags", range(1, 16))
    def test_any_is_answered_as_malformed(self, flags: int) -> None:
        assert refuses(Client(), f"e{flags:x} 00") == 0x81
        assert refuses(Client(), f"e{flags:x} 01 8b") == 0x81

    @conforms("5.0", "MQTT-3.14.1-1")
    def test_none_is_sent(self) -> None:
        client = Client()
        client.connection.disconnect(0x04)
        assert client.sent() == "e0 01 04"


class TestReasonCodes:
    @conforms("5.0", "MQTT-3.14.2-1")
    def test_those_of_the_table_are_written(self) -> None:
        for code in BY_CLIENT:
            client = Client()
            client.connection.disconnect(code)
            legal = {f"e0 01 {code:02x}", f"e0 02 {code:02x} 00"}
            if not code:
                legal.add("e0 00")
            assert client.sent() in legal

    @conforms("5.0", "MQTT-3.14.2-1")
    def test_others_are_refused_before_a_byte_is_sent(self) -> None:
        client = Client()
        for code in IN_NO_TABLE:
            with pytest.raises(UsageError):
                client.connection.disconnect(code)
            with pytest.raises(UsageError):
                encode(Disconnect(code), V5)
        assert client.sent() == ""

    @conforms("5.0", "MQTT-3.14.2-1")
    def test_those_of_the_table_are_taken(self) -> None:
        for code in BY_SERVER:
            client = Client()
            client.give(f"e0 01 {code:02x}")
            assert client.connection.is_closed
            cause = client.connection.close_cause
            assert cause is not None
            assert cause.by is ClosedBy.SERVER
            assert cause.reason_code == code
            assert client.sent() == ""

    @conforms("5.0", "MQTT-3.14.2-1")
    def test_others_are_a_fault(self) -> None:
        for code in IN_NO_TABLE:
            assert refuses(Client(), f"e0 01 {code:02x}") in FAULT


@conforms("5.0", "MQTT-3.14.2-2")
@pytest.mark.parametrize("seconds", ["00 00 00 00", "00 00 00 05", "ff ff ff ff"])
def test_session_expiry_interval_from_a_server_is_a_fault(seconds: str) -> None:
    assert refuses(Client(), f"e0 07 00 05 11 {seconds}") == 0x82


class TestSize:
    @conforms("5.0", "MQTT-3.14.2-3")
    def test_a_reason_string_that_makes_it_too_large_is_left_out(self) -> None:
        for length, expected in (
            (13, {"e0 12 04 10 1f 00 0d" + " 72" * 13}),
            (14, {"e0 01 04", "e0 02 04 00"}),
        ):
            client = Client(connack("27 00 00 00 14"))  # 20 bytes
            client.connection.disconnect(0x04, {"reason_string": "r" * length})
            assert client.sent() in expected

    @conforms("5.0", "MQTT-3.14.2-4")
    def test_a_user_property_that_makes_it_too_large_is_left_out(self) -> None:
        for length, expected in (
            (10, {"e0 12 04 10 26 00 01 6b 00 0a" + " 76" * 10}),
            (11, {"e0 01 04", "e0 02 04 00"}),
        ):
            client = Client(connack("27 00 00 00 14"))
            client.connection.disconnect(0x04, {"user_properties": [("k", "v" * length)]})
            assert client.sent() in expected

    @conforms("5.0", "MQTT-3.14.2-3", "MQTT-3.14.2-4")
    def test_what_it_is_for_stays(self) -> None:
        client = Client(connack("27 00 00 00 14"))
        client.connection.disconnect(
            0x04,
            {
                "session_expiry_interval": 7,
                "reason_string": "r" * 20,
                "user_properties": [("k", "v" * 20)],
            },
        )
        assert client.sent() == "e0 07 04 05 11 00 00 00 07"


class TestAfterIt:
    @conforms("5.0", "MQTT-3.14.4-1")
    def test_nothing_more_is_sent(self) -> None:
        program = Program(keep_alive=60).open()
        subscription = program.subscribed("t", 2, ack="manual")
        program.give("32 06 00 01 74 00 07 00", "34 06 00 01 74 00 08 00")
        program.core.close(program.now, 5.0, drain=False)
        assert program.said() == "e0 00"
        for _ in range(2):
            message = subscription.take()
            assert message is not None
            message.ack()
        program.core.unsubscribe(subscription)
        program.give("62 02 00 08", "50 02 00 01", "e0 01 8b")
        assert program.said() == ""
        program.pass_deadline()
        assert program.said() == ""

    @conforms("5.0", "MQTT-3.14.4-1")
    def test_nothing_more_is_sent_after_a_fault(self) -> None:
        program = Program().open()
        program.give("00 00")
        program.publish("t", b"", 1)
        program.subscribe("f")
        assert program.said() == "e0 01 81"
        program.give("32 06 00 01 74 00 07 00", "00 00")
        assert program.said() == ""

    @conforms("5.0", "MQTT-3.14.4-2")
    def test_the_connection_is_closed(self) -> None:
        program = Program().open()
        operation = program.core.close(program.now, 5.0)
        assert program.said() == "e0 00"
        assert program.core.take_action() == HangUp(graceful=True)
        # A server that does not close its direction is not waited for without end.
        program.pass_deadline()
        assert program.core.take_action() == HangUp(graceful=False)
        program.lose()
        assert operation.done
        assert program.core.is_idle

    @conforms("5.0", "MQTT-3.14.4-2")
    def test_the_connection_is_closed_after_a_fault(self) -> None:
        program = Program().open()
        program.give("00 00")
        assert program.said() == "e0 01 81"
        assert program.hang_up() == HangUp(graceful=True)
