"""Large payloads: gathered where they stay, and read from the network to that place."""

from __future__ import annotations

import tracemalloc

import pytest

from mqttlite.enums import PacketType, ProtocolVersion
from mqttlite.errors import MalformedPacket, ProtocolError
from mqttlite.message import Message
from mqttlite.packets import Packet, PacketReader, Puback
from tests.unit.packets.test_golden import ALL, V5, V311, wire

# PUBLISH of MQTT 3.1.1 to "t"; the Remaining Length is that of the payload and 3.
HEAD_100_000 = wire("30 A3 8D 06 0001", b"t")
HEAD_5_000_000 = wire("30 C3 96 B1 02 0001", b"t")


def _payload(size: int) -> bytes:
    """Bytes of which no two stretches are alike."""
    return b"".join(number.to_bytes(4) for number in range(size // 4)) + b"\xff" * (size % 4)


def _begun(head: bytes = HEAD_100_000) -> PacketReader:
    reader = PacketReader(V311)
    assert reader.feed(head) == []
    return reader


def _fill(reader: PacketReader, data: bytes) -> list[object]:
    """Put bytes into the room, as many as it takes at once."""
    room = reader.room()
    assert room is not None
    assert len(data) <= len(room)
    room[: len(data)] = data
    return list(reader.filled(len(data)))


# --- where there is room ---


def test_there_is_none_without_a_large_payload() -> None:
    reader = PacketReader(V311)
    assert reader.room() is None
    reader.feed(wire("30 05 0001", b"t"))
    assert reader.room() is None
    reader.feed(wire("0000 30"))
    assert reader.room() is None


@pytest.mark.parametrize(("missing", "is_large"), [(65_535, False), (65_536, True)])
def test_what_is_large(missing: int, *, is_large: bool) -> None:
    reader = PacketReader(V311)
    assert reader.feed(HEAD_100_000 + bytes(100_000 - missing)) == []
    assert reader.is_inside_packet
    assert reader.incomplete_type == PacketType.PUBLISH
    assert (reader.room() is not None) == is_large
    assert reader.feed(bytes(missing)) == [Message("t", bytes(100_000))]
    assert not reader.is_inside_packet
    assert reader.incomplete_type is None
    assert reader.room() is None


@pytest.mark.parametrize(("missing", "is_worth_it"), [(16_383, False), (16_384, True)])
def test_what_is_worth_a_read(missing: int, *, is_worth_it: bool) -> None:
    reader = _begun()
    assert reader.feed(bytes(100_000 - missing)) == []
    assert (reader.room() is not None) == is_worth_it
    assert reader.is_inside_packet


def test_the_room_ends_with_the_packet() -> None:
    reader = _begun()
    reader.feed(b"x" * 10)
    room = reader.room()
    assert room is not None
    assert len(room) == 99_990
    assert not room.readonly


def test_the_room_grows_with_what_has_come() -> None:
    reader = _begun(HEAD_5_000_000)
    sizes = []
    packets: list[Packet] = []
    while (room := reader.room()) is not None:
        sizes.append(len(room))
        packets = reader.filled(len(room))
    assert sizes == [1_048_576, 1_048_576, 2_097_152, 805_696]
    assert [len(each.payload) for each in packets if isinstance(each, Message)] == [5_000_000]


def test_an_announcement_takes_no_more_memory_than_that() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        reader = PacketReader(V311)
        reader.feed(wire("30 FF FF FF 7F 0001", b"t"))  # 256 MiB are to come
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
        room = reader.room()
        assert room is not None
        room[:1] = b"x"
        reader.filled(1)
        assert reader.room() is not None
        assert tracemalloc.get_traced_memory()[1] - before < 1_500_000
    finally:
        tracemalloc.stop()


# --- what is put there ---


@pytest.mark.parametrize("size", [1, 7, 1000, 16_384, 99_999])
def test_payload_in_pieces(size: int) -> None:
    payload = _payload(100_000)
    reader = _begun()
    packets: list[object] = []
    for start in range(0, 100_000, size):
        assert not packets
        piece = payload[start : start + size]
        packets += reader.feed(piece) if reader.room() is None else _fill(reader, piece)
    assert packets == [Message("t", payload)]
    assert not reader.is_inside_packet


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("size", [1000, 30_000])
def test_payload_in_both_ways_in_turns(size: int, first: int) -> None:
    payload = _payload(100_000)
    reader = _begun()
    packets: list[object] = []
    for number, start in enumerate(range(0, 100_000, size), first):
        piece = payload[start : start + size]
        is_filled = number % 2 and reader.room() is not None
        packets += _fill(reader, piece) if is_filled else reader.feed(piece)
    assert packets == [Message("t", payload)]


def test_the_begin_of_the_payload_comes_with_the_head() -> None:
    payload = _payload(100_000)
    reader = _begun(HEAD_100_000 + payload[:20_000])
    assert _fill(reader, payload[20_000:]) == [Message("t", payload)]


def test_nothing_is_filled() -> None:
    reader = _begun()
    assert _fill(reader, b"") == []
    assert _fill(reader, b"x" * 99_999) == []
    assert reader.feed(b"y") == [Message("t", b"x" * 99_999 + b"y")]


def test_room_that_was_not_used_is_overwritten() -> None:
    payload = _payload(100_000)
    reader = _begun(HEAD_100_000 + payload[:10])
    room = reader.room()
    assert room is not None
    room[:] = b"\xee" * len(room)
    assert reader.feed(payload[10:50_000]) == []
    room = reader.room()
    assert room is not None
    assert len(room) == 50_000
    assert reader.feed(payload[50_000:]) == [Message("t", payload)]


def test_bytes_that_were_put_there_and_not_told_of_do_not_count() -> None:
    reader = _begun()
    room = reader.room()
    assert room is not None
    room[:3] = b"abc"
    assert reader.filled(2) == []
    assert reader.feed(b"xyz") == []
    assert _fill(reader, b"0" * 99_995) == [Message("t", b"abxyz" + b"0" * 99_995)]


def test_who_still_holds_the_room_cannot_change_the_message() -> None:
    reader = _begun()
    room = reader.room()
    assert room is not None
    room[:] = b"a" * len(room)
    held = memoryview(room)  # as a loop does that has not returned yet
    (message,) = reader.filled(len(room))
    assert message == Message("t", b"a" * 100_000)
    held[:] = b"b" * len(held)
    assert message == Message("t", b"a" * 100_000)
    held.release()


def test_room_that_is_held_until_the_next_one() -> None:
    reader = _begun(HEAD_5_000_000)
    room = reader.room()
    assert room is not None
    room[:] = b"a" * len(room)
    held = memoryview(room)
    assert reader.filled(len(room)) == []
    held.release()
    packets: list[Packet] = []
    for _ in range(3):
        room = reader.room()
        assert room is not None
        room[:] = b"a" * len(room)
        packets = reader.filled(len(room))
    assert packets == [Message("t", b"a" * 5_000_000)]


def test_message_is_let_go() -> None:
    reader = _begun()
    (message,) = _fill(reader, b"a" * 100_000)
    assert isinstance(message, Message)
    payload = message.payload
    assert type(payload) is bytes
    assert reader.feed(HEAD_100_000) == []
    assert _fill(reader, b"b" * 100_000) == [Message("t", b"b" * 100_000)]
    assert payload == b"a" * 100_000


@pytest.mark.parametrize(
    "how",
    [
        lambda reader, data: _fill(reader, data[:100_000]) + reader.feed(data[100_000:]),
        lambda reader, data: reader.feed(data),
        lambda reader, data: reader.feed(data[:50_000]) + reader.feed(data[50_000:]),
    ],
)
def test_what_follows(how: object) -> None:
    payload = _payload(100_000)
    reader = _begun()
    tail = wire("40 02 0007 30 05 0001", b"t", "0000") + HEAD_100_000 + b"ab"
    assert callable(how)
    assert how(reader, payload + tail) == [
        Message("t", payload),
        Puback(7),
        Message("t", b"\0\0"),
    ]
    assert not reader.are_plain
    assert _fill(reader, b"c" * 99_998) == [Message("t", b"ab" + b"c" * 99_998)]


def test_fault_behind_it() -> None:
    reader = _begun()
    assert reader.feed(bytes(100_000) + wire("F1 00")) == [Message("t", bytes(100_000))]
    assert type(reader.error) is MalformedPacket
    assert not reader.is_inside_packet
    assert reader.room() is None
    assert reader.feed(HEAD_100_000) == []
    assert reader.room() is None


def test_plain_ends_with_it() -> None:
    reader = PacketReader(V311)
    reader.feed(wire("30 05 0001", b"t", "0000"))
    assert reader.are_plain
    reader.feed(HEAD_100_000)
    assert not reader.are_plain
    reader.feed(b"x")
    _fill(reader, bytes(99_999))
    assert not reader.are_plain  # though it is one of QoS 0
    reader.feed(wire("30 05 0001", b"t", "0000"))
    assert reader.are_plain


# --- the head of a large packet ---

LONG_TOPIC = b"/".join([b"level"] * 40)  # 239 bytes

# Remaining Lengths of 300,000 (E0 A7 12); with a topic of 239 bytes (00EF).
HEADS = {
    "QoS 1": (
        V311,
        wire("3B E0 A7 12 00EF", LONG_TOPIC, "1234"),
        Message(LONG_TOPIC.decode(), b"", 1, retain=True, dup=True, packet_id=0x1234),
    ),
    "QoS 2, no properties": (
        V5,
        wire("34 E0 A7 12 0001", b"t", "FFFF 00"),
        Message("t", b"", 2, packet_id=0xFFFF),
    ),
    "properties": (
        V5,
        wire("30 E0 A7 12 0001", b"t", "07 02 00000009 01 01"),
        Message("t", b"", properties={"message_expiry_interval": 9, "payload_format_indicator": 1}),
    ),
    "properties of two bytes of length": (
        V5,
        wire("30 E0 A7 12 00EF", LONG_TOPIC, "FB 01 03 00F8", b"c" * 248),
        Message(LONG_TOPIC.decode(), b"", properties={"content_type": "c" * 248}),
    ),
    "properties of three bytes of length": (
        V5,
        wire("32 E0 A7 12 0001", b"t", "0001 C3 B8 02 09 9C40", b"d" * 40_000),
        Message("t", b"", 1, packet_id=1, properties={"correlation_data": b"d" * 40_000}),
    ),
    "alias": (
        V5,
        wire("30 E0 A7 12 0000 03 23 0007"),
        Message("", b"", properties={"topic_alias": 7}),
    ),
}


@pytest.mark.parametrize("cut", [1, 2, 3, 6, 100, 1_000_000])
@pytest.mark.parametrize("name", HEADS)
def test_head_in_pieces(name: str, cut: int) -> None:
    version, head, expected = HEADS[name]
    reader = PacketReader(version)
    expected.payload = _payload(300_000 + 4 - len(head))
    data = head + expected.payload[:70_000]
    for start in range(0, len(data), cut):
        assert reader.feed(data[start : start + cut]) == []
        assert reader.is_inside_packet
        assert reader.incomplete_type == PacketType.PUBLISH
    assert _fill(reader, expected.payload[70_000:]) == [expected]
    assert reader.error is None


@pytest.mark.parametrize("before", [1, 1000, 60_000])
def test_head_behind_other_packets(before: int) -> None:
    version, head, expected = HEADS["properties of two bytes of length"]
    expected.payload = _payload(300_000 + 4 - len(head))
    for cut in (3, 5, 10, 200, 245, 246, 247, 300):
        reader = PacketReader(version)
        assert reader.feed(wire("40 02 0001") * before + head[:cut]) == [Puback(1)] * before
        rest = head[cut:] + expected.payload
        packets = []
        for start in range(0, len(rest), 10_000):
            packets += reader.feed(rest[start : start + 10_000])
        assert packets == [expected]


def _error(version: ProtocolVersion, data: bytes, size: int) -> tuple[ProtocolError, int]:
    """What is wrong, and after how many bytes it was noticed."""
    reader = PacketReader(version)
    for start in range(0, len(data), size):
        assert reader.feed(data[start : start + size]) == []
        if reader.error is not None:
            return reader.error, start + size
    raise AssertionError("nothing is wrong with it")


@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    ("version", "head", "said"),
    [
        (V311, wire("30 E0 A7 12 0002", b"a#"), "wildcard"),
        (V311, wire("30 E0 A7 12 0001", b"\xff"), "not UTF-8"),
        (V311, wire("30 E0 A7 12 0000"), "neither a topic nor a topic alias"),
        (V5, wire("30 E0 A7 12 0000 00"), "neither a topic nor a topic alias"),
        (V311, wire("32 E0 A7 12 0001", b"t", "0000"), "packet identifier must not be 0"),
        (V5, wire("30 E0 A7 12 0001", b"t", "80 00"), "more bytes than it needs"),
        (V5, wire("30 E0 A7 12 0001", b"t", "03 23 0000"), "alias must not be 0"),
        (V5, wire("30 E0 A7 12 0001", b"t", "02 7F 00"), "no property"),
        (V5, wire("30 E0 A7 12 0001", b"t", "03 03 0002"), "ends inside"),
        (V5, wire("30 E0 A7 12 0001", b"t", "02 0B 00"), "subscription_identifiers must be"),
    ],
)
def test_head_that_is_wrong(version: ProtocolVersion, head: bytes, said: str, size: int) -> None:
    error, noticed = _error(version, head + bytes(300_000 + 4 - len(head)), size)
    assert said in str(error)
    assert noticed <= 2 * len(head) + size  # and not when all of the payload has come


@pytest.mark.parametrize("size", [1, 1000, 1_000_000])
def test_length_of_the_properties_that_is_none(size: int) -> None:
    head = wire("30 E0 A7 12 0001", b"t", "80 80 80 80 01")
    error, _ = _error(V5, head + bytes(300_000 + 4 - len(head)), size)
    assert type(error) is MalformedPacket
    assert "the property length has more than four bytes" in str(error)


@pytest.mark.parametrize("size", [1000, 1_000_000])
@pytest.mark.parametrize(
    ("version", "head", "said"),
    [
        # 65,540 bytes (84 80 04) with a topic of 65,535 and properties behind their end
        (V5, wire("30 84 80 04 FFFF", b"t" * 65_535, "7F"), "longer than the packet"),
        (V5, wire("30 E0 A7 12 0001", b"t", "FF FF FF 7F"), "longer than the packet"),
    ],
)
def test_properties_that_end_behind_the_packet(
    version: ProtocolVersion, head: bytes, said: str, size: int
) -> None:
    error, _ = _error(version, head + bytes(300_000), size)
    assert type(error) is MalformedPacket
    assert said in str(error)


@pytest.mark.parametrize("version", ALL)
def test_topic_that_ends_behind_the_packet(version: ProtocolVersion) -> None:
    # A Remaining Length of 65,536 (80 80 04): one byte less than such a topic needs.
    reader = PacketReader(version)
    assert reader.feed(wire("30 80 80 04 FFFF")) == []
    assert reader.feed(b"t" * 65_533) == []
    assert reader.is_inside_packet
    assert reader.feed(b"t") == []
    assert type(reader.error) is MalformedPacket
    assert "ends inside of the topic name" in str(reader.error)


@pytest.mark.parametrize(("limit", "fits"), [(100_007, True), (100_006, False)])
def test_the_maximum_packet_size(limit: int, *, fits: bool) -> None:
    reader = PacketReader(V311, limit)
    packets = list(reader.feed(HEAD_100_000))
    if fits:
        packets = reader.feed(bytes(100_000))
        assert packets == [Message("t", bytes(100_000))]
    else:
        assert reader.error is not None
        assert reader.error.reason_code == 0x95
        assert reader.room() is None
        assert not reader.is_inside_packet


# --- a buffer that is used again ---


@pytest.mark.parametrize("size", [3, 100, 7000, 70_000])
def test_nothing_of_the_buffer_is_kept(size: int) -> None:
    buffer = bytearray(size)
    version, head, expected = HEADS["properties of three bytes of length"]
    expected.payload = _payload(300_000 + 4 - len(head))
    small = wire("30 05 0001", b"t", "00", b"x")
    data = small + head + expected.payload + small + head[:3000]
    reader = PacketReader(version)
    packets = []
    with memoryview(buffer) as view:
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            view[: len(piece)] = piece
            packets += reader.feed(view[: len(piece)])
            view[:] = b"\xee" * len(view)
    assert packets == [Message("t", b"x"), expected, Message("t", b"x")]
    assert reader.error is None
    assert reader.is_inside_packet
    buffer.append(0)  # nobody has a view of it


def test_a_fault_does_not_hold_the_buffer() -> None:
    buffer = bytearray(b"x" * 100_000 + wire("F1 00"))
    reader = _begun()
    assert reader.feed(memoryview(buffer)) == [Message("t", b"x" * 100_000)]
    assert reader.error is not None
    assert "100" not in str(reader.error)
    buffer[:] = b"y" * len(buffer)
    assert "y" not in str(reader.error)
