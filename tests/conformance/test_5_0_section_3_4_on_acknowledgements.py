"""PUBACK, PUBREC, PUBREL and PUBCOMP: sections 3.4 to 3.7 of MQTT 5.0."""

from __future__ import annotations

from typing import Final, NamedTuple

import pytest

from mqttlite.errors import UsageError
from mqttlite.packets import Puback, Pubcomp, Pubrec, Pubrel, encode
from mqttlite.protocol.session import Answer
from tests.conformance.conforms import conforms
from tests.conformance.wire_5_0 import FAULT, accepts, busy, refuses
from tests.unit.protocol.sides import V5, Client, connack


class Kind(NamedTuple):
    """One of the four packets: its table of reason codes, and where it stands in ``busy()``."""

    packet: type[Puback | Pubrec | Pubrel | Pubcomp]
    first: str
    expected_id: str
    codes: frozenset[int]
    a_code: int


# Tables 3-4 and 3-5.
_RECEIVED = frozenset((0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99))
# Tables 3-6 and 3-7.
_RELEASED = frozenset((0x00, 0x92))

PUBACK: Final = Kind(Puback, "40", "00 01", _RECEIVED, 0x80)
PUBREC: Final = Kind(Pubrec, "50", "00 02", _RECEIVED, 0x97)
PUBREL: Final = Kind(Pubrel, "62", "00 09", _RELEASED, 0x92)
PUBCOMP: Final = Kind(Pubcomp, "70", "00 03", _RELEASED, 0x92)

each_shows_its_table = pytest.mark.parametrize(
    "kind",
    [
        pytest.param(PUBACK, id="PUBACK", marks=conforms("5.0", "MQTT-3.4.2-1")),
        pytest.param(PUBREC, id="PUBREC", marks=conforms("5.0", "MQTT-3.5.2-1")),
        pytest.param(PUBREL, id="PUBREL", marks=conforms("5.0", "MQTT-3.6.2-1")),
        pytest.param(PUBCOMP, id="PUBCOMP", marks=conforms("5.0", "MQTT-3.7.2-1")),
    ],
)


@each_shows_its_table
def test_a_code_of_the_table_is_written(kind: Kind) -> None:
    for code in kind.codes:
        legal = {f"{kind.first} 03 00 07 {code:02x}", f"{kind.first} 04 00 07 {code:02x} 00"}
        if not code:
            legal.add(f"{kind.first} 02 00 07")
        assert encode(kind.packet(7, code), V5).hex(" ") in legal


@each_shows_its_table
def test_another_code_is_refused_before_a_byte_is_sent(kind: Kind) -> None:
    client = Client()
    for code in set(range(0x100)) - kind.codes:
        with pytest.raises(UsageError):
            client.connection.send(kind.packet(7, code))
    assert client.sent() == ""


@each_shows_its_table
def test_a_code_of_the_table_is_taken(kind: Kind) -> None:
    for code in kind.codes:
        assert accepts(busy(), f"{kind.first} 03 {kind.expected_id} {code:02x}")


@each_shows_its_table
def test_another_code_ends_the_connection(kind: Kind) -> None:
    for code in set(range(0x100)) - kind.codes:
        assert refuses(busy(), f"{kind.first} 03 {kind.expected_id} {code:02x}") in FAULT


@conforms("5.0", "MQTT-3.4.2-1")
@pytest.mark.parametrize("code", [0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99], ids=hex)
def test_code_of_a_puback_that_a_client_sends(code: int) -> None:
    client = Client()
    (message,) = client.give("32 06 00 01 74 00 07 00")
    client.connection.acknowledge(message._receipt, Answer(code))
    assert client.sent() == (f"40 03 00 07 {code:02x}" if code else "40 02 00 07")


@conforms("5.0", "MQTT-3.5.2-1")
@pytest.mark.parametrize("code", [0x00, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99], ids=hex)
def test_code_of_a_pubrec_that_a_client_sends(code: int) -> None:
    client = Client()
    (message,) = client.give("34 06 00 01 74 00 07 00")
    client.connection.acknowledge(message._receipt, Answer(code))
    assert client.sent() == (f"50 03 00 07 {code:02x}" if code else "50 02 00 07")


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(PUBREL, id="PUBREL", marks=conforms("5.0", "MQTT-3.6.2-1")),
        pytest.param(PUBCOMP, id="PUBCOMP", marks=conforms("5.0", "MQTT-3.7.2-1")),
    ],
)
def test_codes_that_a_client_answers_with(packet: Kind) -> None:
    asked = "50" if packet is PUBREL else "62"
    known = "00 02" if packet is PUBREL else "00 09"
    client = busy()
    client.give(f"{asked} 02 {known}", f"{asked} 02 00 63")
    assert client.sent() == f"{packet.first} 02 {known} {packet.first} 03 00 63 92"


# A Maximum Packet Size of 20 bytes.
LIMIT: Final = connack("27 00 00 00 14")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(PUBACK, id="PUBACK", marks=conforms("5.0", "MQTT-3.4.2-2")),
        pytest.param(PUBREC, id="PUBREC", marks=conforms("5.0", "MQTT-3.5.2-2")),
        pytest.param(PUBREL, id="PUBREL", marks=conforms("5.0", "MQTT-3.6.2-2")),
        pytest.param(PUBCOMP, id="PUBCOMP", marks=conforms("5.0", "MQTT-3.7.2-2")),
    ],
)
def test_a_reason_string_that_makes_it_too_large_is_left_out(kind: Kind) -> None:
    client = Client(LIMIT)
    first, code = kind.first, f"{kind.a_code:02x}"
    client.connection.send(kind.packet(1, kind.a_code, {"reason_string": "r" * 11}))
    assert client.sent() == f"{first} 12 00 01 {code} 0e 1f 00 0b" + " 72" * 11
    client.connection.send(kind.packet(1, kind.a_code, {"reason_string": "r" * 12}))
    assert client.sent() in (f"{first} 03 00 01 {code}", f"{first} 04 00 01 {code} 00")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(PUBACK, id="PUBACK", marks=conforms("5.0", "MQTT-3.4.2-3")),
        pytest.param(PUBREC, id="PUBREC", marks=conforms("5.0", "MQTT-3.5.2-3")),
        pytest.param(PUBREL, id="PUBREL", marks=conforms("5.0", "MQTT-3.6.2-3")),
        pytest.param(PUBCOMP, id="PUBCOMP", marks=conforms("5.0", "MQTT-3.7.2-3")),
    ],
)
def test_a_user_property_that_makes_it_too_large_is_left_out(kind: Kind) -> None:
    client = Client(LIMIT)
    first, code = kind.first, f"{kind.a_code:02x}"
    client.connection.send(kind.packet(1, kind.a_code, {"user_properties": [("k", "v" * 8)]}))
    assert client.sent() == f"{first} 12 00 01 {code} 0e 26 00 01 6b 00 08" + " 76" * 8
    client.connection.send(kind.packet(1, kind.a_code, {"user_properties": [("k", "v" * 9)]}))
    assert client.sent() in (f"{first} 03 00 01 {code}", f"{first} 04 00 01 {code} 00")


@conforms("5.0", "MQTT-3.6.1-1")
def test_flags_of_a_pubrel_that_a_client_sends() -> None:
    client = busy()
    client.give("50 02 00 02")
    assert client.sent() == "62 02 00 02"


@conforms("5.0", "MQTT-3.6.1-1")
@pytest.mark.parametrize("flags", [flags for flags in range(16) if flags != 2])
def test_pubrel_with_other_flags_is_malformed(flags: int) -> None:
    assert refuses(busy(), f"6{flags:x} 02 00 09") == 0x81
