"""A server that sends what is no MQTT, or what breaks the rules of MQTT."""

import re
from contextlib import suppress
from typing import NamedTuple

import pytest

from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionLost, MalformedPacket, ProtocolError
from mqttlite.options import Reconnect
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.mischief import after_accepting, assert_told, first_meets, only_5
from tests.shells.peer import Call, Script, accept


class Wrong(NamedTuple):
    """What a server sends, as hexadecimal digits, and what the client has to say to it."""

    name: str
    code: int
    words: str
    v5: str | None
    v3: str | None


MALFORMED, PROTOCOL = 0x81, 0x82
MQTT = "0004 4d515454"

WRONG = [
    Wrong("packet type 0", MALFORMED, "packet type 0", "0000", "0000"),
    Wrong("QoS 3", MALFORMED, "QoS 3", "3606 0001 61 0001 00", "3605 0001 61 0001"),
    Wrong("DUP with QoS 0", MALFORMED, "DUP", "3804 0001 61 00", "3803 0001 61"),
    Wrong("PUBLISH of one byte", MALFORMED, "topic", "3001 00", "3001 00"),
    Wrong("topic cut off", MALFORMED, "topic", "3004 000a 6162", "3004 000a 6162"),
    Wrong("identifier 0", MALFORMED, "identifier", "3206 0001 61 0000 00", "3205 0001 61 0000"),
    Wrong("no identifier", MALFORMED, "identifier", "3203 0001 61", "3203 0001 61"),
    Wrong("no UTF-8", MALFORMED, "UTF-8", "3005 0002 c328 00", "3004 0002 c328"),
    Wrong("NUL", MALFORMED, r"U\+0000", "3004 0001 00 00", "3003 0001 00"),
    Wrong("surrogate", MALFORMED, "UTF-8", "3006 0003 eda080 00", "3005 0003 eda080"),
    Wrong("wildcard", MALFORMED, "wildcard|'#'", "3004 0001 23 00", "3003 0001 23"),
    Wrong("no topic", PROTOCOL, "topic", "3003 0000 00", "3002 0000"),
    Wrong("properties cut off", MALFORMED, "propert", "3005 0001 61 0a 00", None),
    Wrong("no property length", MALFORMED, "propert", "3003 0001 61", None),
    Wrong("unknown property", MALFORMED, "propert", "3006 0001 61 02 7f00", None),
    Wrong("property twice", PROTOCOL, "twice", "3008 0001 61 04 0100 0100", None),
    Wrong("property of CONNACK", MALFORMED, "receive_maximum", "3007 0001 61 03 210001", None),
    Wrong("subscription 0", PROTOCOL, "subscription_identifier", "3006 0001 61 02 0b00", None),
    Wrong("length of 5 bytes", MALFORMED, "length", "d080808080 01", "d080808080 01"),
    Wrong("length too long", MALFORMED, "length", "d08000", None),
    Wrong("PINGRESP with a body", MALFORMED, "PINGRESP", "d001 00", "d001 00"),
    Wrong("PINGRESP with flags", MALFORMED, "PINGRESP", "d100", "d100"),
    Wrong("PUBACK with flags", MALFORMED, "PUBACK", "4102 0001", "4102 0001"),
    Wrong("PUBACK of one byte", MALFORMED, "identifier", "4001 00", "4001 00"),
    Wrong("PUBACK for 0", MALFORMED, "identifier", "4002 0000", "4002 0000"),
    Wrong("PUBACK, unknown code", PROTOCOL, "0x01.*PUBACK", "4003 0001 01", None),
    Wrong("PUBACK too long", MALFORMED, "end|byte", "4005 0001 00 00 00", "4003 0001 00"),
    Wrong("PUBREL without flags", MALFORMED, "PUBREL", "6002 0001", "6002 0001"),
    Wrong("SUBACK without codes", MALFORMED, "SUBACK", "9003 0001 00", "9002 0001"),
    Wrong("SUBACK, unknown code", PROTOCOL, "SUBACK", "9004 0001 00 05", "9003 0001 03"),
    Wrong("UNSUBACK without codes", MALFORMED, "UNSUBACK", "b003 0001 00", None),
    Wrong("UNSUBACK too long", MALFORMED, "end|byte", None, "b003 0001 00"),
    Wrong("CONNACK twice", PROTOCOL, "CONNACK", "2003 00 00 00", "2002 00 00"),
    Wrong("CONNECT", PROTOCOL, "CONNECT", f"100d{MQTT}050200000000 00", f"100c{MQTT}0402000000 00"),
    Wrong("PINGREQ", PROTOCOL, "PINGREQ", "c000", "c000"),
    Wrong("SUBSCRIBE", PROTOCOL, "SUBSCRIBE", "8207 0001 00 0001 61 00", "8206 0001 0001 61 00"),
    Wrong("UNSUBSCRIBE", PROTOCOL, "UNSUBSCRIBE", "a206 0001 00 0001 61", "a205 0001 0001 61"),
    Wrong("AUTH", PROTOCOL, "AUTH", "f000", "f000"),
    Wrong("DISCONNECT of 3.1.1", PROTOCOL, "DISCONNECT", None, "e000"),
    Wrong("DISCONNECT, unknown code", PROTOCOL, "0x05.*DISCONNECT", "e001 05", None),
    Wrong("DISCONNECT with expiry", PROTOCOL, "expiry", "e007 00 05 1100000000", None),
]  # fmt: skip


@rule(25)
@pytest.mark.parametrize("pieces", ["at once", "byte by byte"])
async def test_packets_that_are_wrong(bench: Lab, pieces: str) -> None:
    """What came before is delivered, the server is told, and the next connection is good."""
    version = str(bench.version)
    # A message of QoS 0 to the topic "t".
    before = bytes.fromhex("3006 0001 74 00 6f6b" if version == "5.0" else "3005 0001 74 6f6b")
    cases = [
        (wrong, bytes.fromhex(data))
        for wrong in WRONG
        if (data := wrong.v5 if version == "5.0" else wrong.v3) is not None
    ]

    def sending(data: bytes) -> Script:
        return after_accepting(
            version,
            lambda call: (call.send if pieces == "at once" else call.send_bytewise)(data),
        )

    scripts = [sending(before + data) for _, data in cases]
    never_waits = Reconnect(first_delay=0.0, maximum_delay=0.0)
    async with first_meets(bench, *scripts, connected=False, reconnect=never_waits) as scene:
        messages = scene.client.unmatched()
        await scene.client.connect()
        for wrong, _ in cases:
            error = await scene.lost()
            try:
                kind = MalformedPacket if wrong.code == MALFORMED else ProtocolError
                assert type(error) is kind
                assert error.reason_code == wrong.code
                assert error.by is ClosedBy.CLIENT
                assert re.search(wrong.words, str(error))
                assert (await messages.get(TIMEOUT)).payload == b"ok"
            except BaseException as failure:
                failure.add_note(f"{wrong.name}: {error!r}")
                raise
    for (wrong, _), call in zip(cases, scene.peer.calls, strict=False):
        assert_told(call, version, wrong.code, wrong.name)


# --- aliases


@rule(22)
@only_5
@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        ("3007 0001 61 03 230000", 0x94, "topic alias must not be 0"),
        ("3007 0001 61 03 230006", 0x94, "alias 6 is above the maximum, 5"),
        ("3007 0001 61 03 23ffff", 0x94, "alias 65535 is above the maximum, 5"),
        ("3006 0000 03 230003", 0x82, "alias 3 was never defined"),
    ],
    ids=["0", "above the maximum", "the highest", "not defined"],
)
async def test_topic_aliases_that_are_wrong(bench: Lab, data: str, code: int, words: str) -> None:
    # First a good one, and its use: both arrive.
    good = bytes.fromhex("3008 0001 61 03 230005 31 3007 0000 03 230005 32")
    bad = after_accepting("5.0", lambda call: call.send(good + bytes.fromhex(data)))
    async with first_meets(bench, bad, connected=False, topic_alias_maximum=5) as scene:
        messages = scene.client.unmatched()
        await scene.client.connect()
        error = await scene.lost()
        assert isinstance(error, ProtocolError)
        assert error.reason_code == code
        assert words in str(error)
        got = [await messages.get(TIMEOUT) for _ in range(2)]
        assert [(message.topic, message.payload) for message in got] == [("a", b"1"), ("a", b"2")]
    assert_told(scene.peer.calls[0], "5.0", code)


@rule(22)
@only_5
async def test_an_alias_does_not_outlive_its_connection(bench: Lab) -> None:
    def define(call: Call) -> None:
        accept("5.0", call)
        call.send(bytes.fromhex("3008 0001 61 03 230001 31"))

    use = after_accepting("5.0", lambda call: call.send(bytes.fromhex("3007 0000 03 230001 32")))
    async with first_meets(bench, define, use, connected=False, topic_alias_maximum=5) as scene:
        messages = scene.client.unmatched()
        await scene.client.connect()
        assert isinstance(await scene.lost(), ConnectionLost)
        error = await scene.lost()
        assert isinstance(error, ProtocolError)
        assert "never defined" in str(error)
        assert (await messages.get(TIMEOUT)).payload == b"1"
        assert not messages.buffered
    assert_told(scene.peer.calls[1], "5.0", 0x82)


@rule(22)
@only_5
async def test_no_alias_without_being_asked_for(bench: Lab) -> None:
    bad = after_accepting("5.0", lambda call: call.send(bytes.fromhex("3007 0001 61 03 230001")))
    async with first_meets(bench, bad) as scene:
        error = await scene.lost()
        assert "above the maximum, 0" in str(error)
    assert_told(scene.peer.calls[0], "5.0", 0x94)


# --- too large, too many


@rule(25)
@pytest.mark.parametrize("body", [0, 4_000_000])
async def test_a_packet_that_is_too_large(bench: Lab, body: int) -> None:
    """It is refused by its header: without a body, and without keeping one that comes."""
    version = str(bench.version)

    def misbehave(call: Call) -> None:
        call.send(b"\x30\xff\xff\xff\x7f")  # 256 MiB
        if version == "5.0":  # before there is any body
            call.read_until(0xE0)
        with suppress(ConnectionError):  # the client may close before it has read all
            call.send(bytes(body))

    async with first_meets(
        bench, after_accepting(version, misbehave), maximum_packet_size=1000
    ) as scene:
        error = await scene.lost()
        assert isinstance(error, ProtocolError)
        assert error.reason_code == 0x95
        assert "268435460 bytes" in str(error)
        assert "1000" in str(error)
    assert_told(scene.peer.calls[0], version, 0x95)


@rule(25)
async def test_a_packet_of_just_the_right_size(bench: Lab) -> None:
    version = str(bench.version)
    # Of 1000 bytes: 3 for the header, 3 for the topic, in MQTT 5 one for the properties.
    start = b"\x30\xe5\x07\0\x01t" + (b"\0" if version == "5.0" else b"")
    too_much = b"\x30\xe6\x07"
    bad = after_accepting(version, lambda call: call.send(start.ljust(1000, b"x") + too_much))
    async with first_meets(bench, bad, connected=False, maximum_packet_size=1000) as scene:
        messages = scene.client.unmatched()
        await scene.client.connect()
        assert "a packet of 1001 bytes" in str(await scene.lost())
        assert len((await messages.get(TIMEOUT)).payload) in (993, 994)
    assert_told(scene.peer.calls[0], version, 0x95)


@rule(16)
@only_5
@pytest.mark.parametrize("qos", [1, 2])
async def test_more_than_the_receive_maximum(bench: Lab, qos: int) -> None:
    """Nobody takes the messages: those that were allowed wait, and one more is too many."""
    flood = [
        bytes([0x30 | qos << 1, 8, 0, 1, 0x74, 0, number, 0, 0x6F, number])
        for number in range(1, 9)
    ]
    bad = after_accepting("5.0", lambda call: call.send(b"".join(flood)))
    async with first_meets(bench, bad, connected=False, receive_maximum=3) as scene:
        messages = scene.client.unmatched(ack="manual")
        await scene.client.connect()
        error = await scene.lost()
        assert isinstance(error, ProtocolError)
        assert error.reason_code == 0x93
        assert "more than 3 messages" in str(error)
        got = [(await messages.get(TIMEOUT)).payload for _ in range(3)]
        assert got == [b"o\x01", b"o\x02", b"o\x03"]
        assert not messages.buffered
    assert_told(scene.peer.calls[0], "5.0", 0x93)
