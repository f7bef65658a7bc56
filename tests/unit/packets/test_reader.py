"""PacketReader: the same packets whatever the chunking, with bounded memory and linear work."""

import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, SupportsIndex

import pytest

from mqttlite.enums import ProtocolVersion
from mqttlite.errors import MalformedPacket, ProtocolError
from mqttlite.limits import MAXIMUM_PACKET_SIZE
from mqttlite.message import Message
from mqttlite.packets import (
    Connect,
    Packet,
    PacketReader,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
)
from tests.behaviour import rule
from tests.unit.packets.test_golden import (
    ALL,
    CONNECTS,
    DECODED_ONLY,
    GOLDEN,
    V3,
    V5,
    V31,
    V311,
    wire,
)


def _golden(version: ProtocolVersion, limit: int = 1000) -> tuple[list[Packet], list[bytes]]:
    """All golden packets of a version that are not very long."""
    cases = [
        case
        for case in GOLDEN + DECODED_ONLY
        if version in case.versions and len(case.data) < limit
    ]
    return [case.packet for case in cases], [case.data for case in cases]


def _drip(reader: PacketReader, data: bytes, size: int = 1) -> list[Packet]:
    packets = []
    for position in range(0, len(data), size):
        packets += reader.feed(data[position : position + size])
    return packets


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 4096, 1_000_000])
def test_pieces_of_one_size(version: ProtocolVersion, size: int) -> None:
    packets, data = _golden(version, 20_000)
    reader = PacketReader(version)
    assert _drip(reader, b"".join(data), size) == packets
    assert reader.error is None
    assert not reader.is_inside_packet


@pytest.mark.parametrize("version", ALL)
def test_every_two_piece_split(version: ProtocolVersion) -> None:
    packets, pieces = _golden(version)
    data = b"".join(pieces)
    ends = set()
    end = 0
    for piece in pieces:
        end += len(piece)
        ends.add(end)
    for split in range(1, len(data)):
        reader = PacketReader(version)
        first = reader.feed(data[:split])
        assert reader.is_inside_packet == (split not in ends), split
        assert len(first) == sum(end <= split for end in ends), split
        assert first + reader.feed(data[split:]) == packets, split
        assert not reader.is_inside_packet


@pytest.mark.parametrize("version", ALL)
def test_every_packet_comes_out_with_its_last_byte(version: ProtocolVersion) -> None:
    reader = PacketReader(version)
    for packet, data in zip(*_golden(version, 20_000), strict=True):
        for position in range(len(data) - 1):
            assert reader.feed(data[position : position + 1]) == []
            assert reader.is_inside_packet
        assert reader.feed(data[-1:]) == [packet]
        assert not reader.is_inside_packet


@pytest.mark.parametrize("version", ALL)
def test_a_large_packet_leaves_nothing_behind(version: ProtocolVersion) -> None:
    # The count of bytes that the large packet waited for must not hold back the small one.
    properties = wire("00") if version is V5 else b""
    body = wire("0001", b"t") + properties + bytes(100_000 - 3 - len(properties))
    large = wire("30 A0 8D 06") + body
    small = wire("40 02 0007")
    for overlap in range(4):
        reader = PacketReader(version)
        assert reader.feed(large[:10]) == []
        assert reader.feed(large[10:99_990]) == []
        (message,) = reader.feed(large[99_990:] + small[:overlap])
        assert isinstance(message, Message)
        assert message.payload == bytes(len(message.payload))
        assert reader.is_inside_packet == bool(overlap)
        for byte in small[overlap:3]:
            assert reader.feed(bytes((byte,))) == []
        assert reader.feed(small[3:]) == [Puback(7)]
        assert not reader.is_inside_packet


@pytest.mark.parametrize("version", ALL)
def test_an_empty_chunk_changes_nothing(version: ProtocolVersion) -> None:
    reader = PacketReader(version)
    assert reader.feed(b"") == []
    assert not reader.is_inside_packet
    for byte in wire("40 02 00"):
        assert reader.feed(bytes((byte,))) == []
        assert reader.feed(b"") == []
    assert reader.feed(b"\x01") == [Puback(1)]
    assert reader.feed(b"") == []
    assert reader.error is None


def test_an_empty_chunk_changes_nothing_for_a_server() -> None:
    reader = PacketReader(None)
    assert reader.feed(b"") == []
    assert reader.feed(CONNECTS[0].data) == [CONNECTS[0].packet]


# --- the fast path and the slow path say the same ---


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_publish_lengths_around_one_byte(version: ProtocolVersion, qos: int, retain: bool) -> None:
    header = wire("0001", b"t", "0102" if qos else "", "00" if version is V5 else "")
    for length in (len(header), len(header) + 1, 125, 126, 127, 128, 129, 130):
        payload = bytes(length - len(header))
        size = bytes((length,)) if length < 128 else bytes((length & 127 | 128, 1))
        data = bytes((0x30 | qos << 1 | retain,)) + size + header + payload
        expected = Message("t", payload, qos, retain, packet_id=0x0102 if qos else 0)
        reader = PacketReader(version)
        assert reader.feed(data + data) == [expected, expected]
        assert _drip(reader, data) == [expected]
        (message,) = PacketReader(version).feed(data)
        assert isinstance(message, Message)
        assert type(message.retain) is bool
        assert type(message.dup) is bool
        assert type(message.payload) is bytes


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize(
    ("length", "size"),
    [
        (127, "7F"),
        (128, "80 01"),
        (255, "FF 01"),
        (256, "80 02"),
        (16_256, "80 7F"),
        (16_383, "FF 7F"),
        (16_384, "80 80 01"),
        (16_385, "81 80 01"),
    ],
)
def test_publish_lengths_around_two_bytes(
    version: ProtocolVersion, qos: int, length: int, size: str
) -> None:
    header = wire("0003", b"a/b", "0102" if qos else "", "00" if version is V5 else "")
    payload = b"".join(number.to_bytes(2) for number in range(8200))[: length - len(header)]
    data = bytes((0x30 | qos << 1,)) + wire(size) + header + payload
    expected = Message("a/b", payload, qos, packet_id=0x0102 if qos else 0)
    reader = PacketReader(version)
    assert reader.feed(data + data + data[:5]) == [expected, expected]
    assert reader.feed(data[5:]) == [expected]
    for limit, fits in ((len(data), True), (len(data) - 1, False)):
        for before in ([], [data[:3]], [data[:-1]]):
            reader = PacketReader(version, limit)
            done = sum(map(len, before))
            packets = [packet for piece in before for packet in reader.feed(piece)]
            packets += reader.feed(data[done:])
            assert packets == ([expected] if fits else [])
            assert (reader.error is None) == fits


@pytest.mark.parametrize("version", ALL)
def test_topic_that_takes_all_of_a_longer_packet(version: ProtocolVersion) -> None:
    # 200 bytes (C8 01), of which nothing is left for properties in MQTT 5.
    reader = PacketReader(version)
    data = wire("30 C8 01 00C6", b"t" * 198)
    if version is V5:
        assert reader.feed(data + data) == []
        assert type(reader.error) is MalformedPacket
    else:
        assert reader.feed(data + data) == [Message("t" * 198, b"")] * 2


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    "data",
    [
        wire("30 C8 01 00C7", b"t" * 198),  # the topic is one byte longer than the packet
        wire("32 C8 01 00C6", b"t" * 198),  # no packet identifier
        wire("32 C8 01 00C5", b"t" * 197, "00"),  # half of one
        wire("32 C8 01 00C0", b"t" * 192, "0000", "00000000"),  # 0
    ],
)
def test_longer_packet_that_is_wrong(version: ProtocolVersion, data: bytes) -> None:
    # Another packet follows, into which none of it may reach.
    reader = PacketReader(version)
    assert reader.feed(data + wire("30 05 0001", b"t", "0000")) == []
    assert type(reader.error) is MalformedPacket


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("first", ["30", "31", "32", "34"])
@pytest.mark.parametrize("length", ["88 00", "88 80 00", "88 80 80 00"])
def test_length_with_more_bytes_than_it_needs(
    version: ProtocolVersion, first: str, length: str
) -> None:
    # Only MQTT 5 has a rule against it [MQTT-1.5.5-1].
    body = wire("0001", b"t", "00000000 41" if first in ("30", "31") else "0007 000041")
    reader = PacketReader(version)
    packets = reader.feed(wire(first, length) + body + wire("D0 00"))
    if version is V5:
        assert packets == []
        assert type(reader.error) is MalformedPacket
        return
    message, pingresp = packets
    assert isinstance(message, Message)
    assert message.payload == (body[3:] if first in ("30", "31") else wire("000041"))
    assert pingresp == Pingresp()


@pytest.mark.parametrize("version", [V31, V311])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_empty_payload_at_the_end(version: ProtocolVersion, qos: int) -> None:
    # Nothing follows the topic, or the packet identifier, in which to look for properties.
    head = bytes((0x30 | qos << 1,))
    data = head + (wire("05 0001", b"t", "0007") if qos else wire("03 0001", b"t"))
    expected = Message("t", b"", qos, packet_id=7 if qos else 0)
    reader = PacketReader(version)
    assert reader.feed(data) == [expected]
    assert reader.feed(data + b"\xc0") == [expected]
    assert reader.feed(b"\0") == [Pingreq()]


@pytest.mark.parametrize(("length", "is_kept"), [(128, True), (129, False)])
def test_long_topics_are_not_remembered(length: int, *, is_kept: bool) -> None:
    reader = PacketReader(V311)
    topic = b"t" * length
    data = b"\x30" + bytes((length + 2 & 127 | 128, 1)) + bytes((0, length)) + topic
    for _ in range(2):
        assert reader.feed(data) == [Message(topic.decode(), b"")]
        assert bool(reader._topics) == is_kept


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize(
    ("packets", "are_plain"),
    [
        (["plain"], True),
        (["plain", "retained", "plain"], True),
        (["empty topic first"], False),
        (["qos 1"], False),
        (["plain", "qos 1"], False),
        (["plain", "puback"], False),
        (["puback", "plain"], False),
        (["plain", "pingresp"], False),
        (["pingresp", "plain"], False),
        (["plain", "properties"], False),
        (["properties", "plain"], False),
    ],
)
def test_what_is_plain(version: ProtocolVersion, packets: list[str], *, are_plain: bool) -> None:
    known = {
        "plain": "30 04 0001 74 00",
        "retained": "31 04 0001 74 00",
        "qos 1": "32 06 0001 74 0001 00",
        "puback": "40 02 0001",
        "pingresp": "D0 00",
        "properties": "30 06 0001 74 02 01 01",
        "empty topic first": "30 06 0000 03 23 0001",
    }
    if version is not V5 and not {"properties", "empty topic first"}.isdisjoint(packets):
        return
    reader = PacketReader(version)
    if are_plain:  # whatever came before
        assert reader.feed(wire("40 02 0001")) == [Puback(1)]
    else:
        reader.feed(wire(known["plain"]))
        assert reader.are_plain
    data = [wire(known[name]) for name in packets]
    assert len(reader.feed(b"".join(data))) == len(packets)
    assert reader.are_plain == are_plain
    reader.feed(data[-1][:3])
    reader.feed(data[-1][3:])
    assert reader.are_plain == (packets[-1] in ("plain", "retained"))


@pytest.mark.parametrize("version", ALL)
def test_what_comes_with_a_fault_is_not_plain(version: ProtocolVersion) -> None:
    reader = PacketReader(version)
    data = wire("30 04 0001 74 00")
    assert len(reader.feed(data)) == 1
    assert reader.are_plain
    assert len(reader.feed(data + wire("F1 00"))) == 1
    assert not reader.are_plain
    assert reader.error is not None


@pytest.mark.parametrize("version", ALL)
def test_bare_acknowledgements(version: ProtocolVersion) -> None:
    reader = PacketReader(version)
    assert reader.feed(wire("40020001 5002FFFF 62020100 700200FF")) == [
        Puback(1),
        Pubrec(65_535),
        Pubrel(256),
        Pubcomp(255),
    ]


def test_a_topic_is_told_apart_by_all_its_bytes() -> None:
    reader = PacketReader(V311)
    data = b"".join(wire("30 04 0002") + topic for topic in (b"aa", b"ab", b"ba", b"aa"))
    packets = reader.feed(data)
    assert [packet.topic for packet in packets if isinstance(packet, Message)] == [
        "aa",
        "ab",
        "ba",
        "aa",
    ]


def test_a_wrong_topic_is_not_remembered() -> None:
    for _ in range(2):
        reader = PacketReader(V311)
        assert reader.feed(wire("30 03 0001 FF")) == []
        assert type(reader.error) is MalformedPacket
        assert not reader._topics


def test_the_topics_remembered_are_bounded() -> None:
    reader = PacketReader(V311)
    most = 0
    for number in range(20_000):
        topic = f"topic/{number}"
        data = bytes((0x30, 2 + len(topic), 0, len(topic))) + topic.encode()
        for _ in range(2):
            assert reader.feed(data) == [Message(topic, b"")]
        most = max(most, len(reader._topics))
    assert 1 < most <= 16_384


# --- the maximum packet size ---


@pytest.mark.parametrize("version", ALL)
def test_the_maximum_packet_size_counts_the_whole_packet(version: ProtocolVersion) -> None:
    packets, data = _golden(version)
    for packet, piece in zip(packets, data, strict=True):
        reader = PacketReader(version, len(piece))
        assert reader.feed(piece) == [packet]
        assert _drip(reader, piece) == [packet]
        for feed in (PacketReader.feed, _drip):
            reader = PacketReader(version, len(piece) - 1)
            assert feed(reader, piece) == []
            assert type(reader.error) is ProtocolError
            assert reader.error.reason_code == 0x95
            assert f"a packet of {len(piece)} bytes is larger" in str(reader.error)
            assert f"the maximum packet size, {len(piece) - 1}" in str(reader.error)


@rule(25)
@pytest.mark.parametrize("version", [None, *ALL])
def test_a_packet_too_large_is_refused_with_its_header(version: ProtocolVersion | None) -> None:
    first = b"\x10" if version is None else b"\x30"
    reader = PacketReader(version, 1000)
    assert reader.feed(first + wire("E5")) == []  # 997 bytes and three of header: it would fit
    assert reader.error is None
    assert reader.feed(wire("07")) == []
    assert reader.error is None
    reader = PacketReader(version, 1000)
    assert reader.feed(first + wire("E6")) == []
    assert reader.error is None
    assert reader.feed(wire("07")) == []
    assert isinstance(reader.error, ProtocolError)
    assert reader.error.reason_code == 0x95
    assert not reader.is_inside_packet


def test_the_limit_can_be_changed_between_packets() -> None:
    reader = PacketReader(V311)
    assert reader.maximum_packet_size == MAXIMUM_PACKET_SIZE
    assert len(reader.feed(wire("30 05 0001", b"t", "0000"))) == 1
    reader.maximum_packet_size = 6
    assert reader.feed(wire("30 04 0001", b"t", "00 30 05 0001", b"t", "0000")) == [
        Message("t", b"\0")
    ]
    assert reader.error is not None


def test_the_largest_packet_is_let_begin() -> None:
    reader = PacketReader(V5)
    assert reader.feed(wire("30 FF FF FF 7F")) == []
    assert reader.error is None
    assert reader.is_inside_packet


@rule(25)
def test_nothing_is_kept_of_a_packet_that_is_too_large() -> None:
    reader = PacketReader(V5, 1000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        reader.feed(wire("30 FF FF 7F"))
        for _ in range(200):
            reader.feed(bytes(10_000))
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()


# --- a server, which learns the version from CONNECT ---


@pytest.mark.parametrize("size", [1, 2, 3, 10, 1000])
def test_a_server_reads_on_in_the_version_of_connect(size: int) -> None:
    for version, subscribe in (
        (V31, wire("8A 06 0001 0001", b"a", "00")),  # with DUP, as only MQTT 3.1 allows
        (V311, wire("82 06 0001 0001", b"a", "00")),
        (V5, wire("82 07 0001 00 0001", b"a", "00")),
    ):
        for case in CONNECTS:
            if case.versions != (version,):
                continue
            reader = PacketReader(None)
            packets = _drip(reader, case.data + subscribe + wire("C0 00"), size)
            assert packets[0] == case.packet
            assert isinstance(packets[1], Subscribe)
            assert packets[2:] == [Pingreq()]
            assert reader.version is version
            assert reader.error is None


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_server_returns_connect_though_the_next_packet_is_wrong(size: int) -> None:
    case = CONNECTS[0]
    reader = PacketReader(None)
    assert _drip(reader, case.data + wire("C1 00"), size) == [case.packet]
    assert type(reader.error) is MalformedPacket


def test_a_second_connect_does_not_change_the_version() -> None:
    reader = PacketReader(V311)
    five = next(case for case in CONNECTS if case.versions == (V5,))
    assert reader.feed(five.data) == [five.packet]
    assert reader.version is V311
    reader = PacketReader(None)
    assert reader.feed(CONNECTS[0].data + five.data) == [CONNECTS[0].packet, five.packet]
    assert reader.version is V31


def test_a_server_refuses_wrong_flags_of_connect_at_once() -> None:
    reader = PacketReader(None)
    assert reader.feed(wire("11 0C")) == []
    assert type(reader.error) is MalformedPacket


# --- work ---


class Copies:
    """Counts the bytes that are copied out of what it watches, and into it."""

    def __init__(self) -> None:
        self.total = 0


def _counting_buffer(copies: Copies) -> bytearray:
    class Buffer(bytearray):
        def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]  # what += gives here
            copies.total += len(other)
            return super().__iadd__(other)

        def __bytes__(self) -> bytes:
            copies.total += len(self)
            return bytes(memoryview(self))

        def __getitem__(self, index: Any) -> Any:
            if isinstance(index, slice):
                copies.total += len(range(*index.indices(len(self))))
            return super().__getitem__(index)

    return Buffer()


def _counting_bytes(data: bytes, copies: Copies) -> bytes:
    class Chunk(bytes):
        __slots__ = ()

        def __getitem__(self, index: SupportsIndex | slice) -> Any:
            if isinstance(index, slice):
                copies.total += len(range(*index.indices(len(self))))
            return super().__getitem__(index)

    return Chunk(data)


def _calls(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, are called to do it."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(previous)
    return count


def _large(size: int) -> bytes:
    """A PUBLISH of MQTT 3.1.1 with a body of ``size`` bytes, from 16384 to 2097151."""
    length = bytes((size & 127 | 128, size >> 7 & 127 | 128, size >> 14))
    return b"\x30" + length + wire("0001", b"t") + bytes(size - 3)


@pytest.mark.parametrize("piece", [1, 10, 1000])
def test_a_packet_is_copied_a_few_times_only(piece: int) -> None:
    copies = Copies()
    reader = PacketReader(V311)
    reader._gathered = _counting_buffer(copies)
    data = _large(60_000)
    assert len(_drip(reader, data, piece)) == 1
    # A look at the whole for each piece would be thousands of copies.
    assert len(data) - 1000 <= copies.total <= 2 * len(data) + 100


@pytest.mark.parametrize("piece", [1, 10, 1000, 100_000])
def test_of_a_large_payload_only_the_head_is_gathered(piece: int) -> None:
    copies = Copies()
    reader = PacketReader(V311)
    reader._gathered = _counting_buffer(copies)
    data = _large(300_000)
    (message,) = _drip(reader, data, piece)
    assert isinstance(message, Message)
    assert message.payload == bytes(300_000 - 3)
    assert copies.total < 20


def test_the_calls_grow_with_the_pieces_only() -> None:
    def drip(pieces: int) -> int:
        reader = PacketReader(V311)
        chunks = [_large(pieces * 20)[start : start + 20] for start in range(0, pieces * 20, 20)]

        def work() -> None:
            for chunk in chunks:
                reader.feed(chunk)

        return _calls(work)

    one, two = drip(1000), drip(2000)
    assert one < 1000 * 10
    assert two < one * 2.1


@pytest.mark.parametrize(
    "piece",
    [
        wire("40 02 0001"),  # the fast path of the acknowledgements
        wire("30 05 0001", b"t", "0000"),  # the fast path of PUBLISH
        wire("90 03 0001 00"),  # the slow path
        wire("D0 00"),
        wire("3A 06 0001", b"t", "0001 00"),
    ],
)
def test_many_packets_in_a_chunk(piece: bytes) -> None:
    def read(count: int) -> tuple[int, int]:
        copies = Copies()
        chunk = _counting_bytes(piece * count, copies)
        reader = PacketReader(V311)
        packets: list[Packet] = []
        calls = _calls(lambda: packets.extend(reader.feed(chunk)))
        assert len(packets) == count
        return calls, copies.total

    calls_1, copied_1 = read(1000)
    calls_2, copied_2 = read(2000)
    assert copied_1 <= 2 * 1000 * len(piece)
    assert copied_2 <= 2 * 2000 * len(piece)
    assert calls_1 < 100_000
    assert calls_2 < calls_1 * 2.1


def test_an_incomplete_end_is_the_only_thing_kept() -> None:
    copies = Copies()
    reader = PacketReader(V311)
    reader._gathered = _counting_buffer(copies)
    chunk = wire("D0 00") * 10_000 + wire("40 02")
    assert reader.feed(chunk) == [Pingresp()] * 10_000
    assert copies.total == 2
    assert reader.feed(wire("0001")) == [Puback(1)]


def test_the_buffer_is_let_go() -> None:
    reader = PacketReader(V311)
    data = _large(1_000_000)
    reader.feed(data[:-1])
    reader.feed(data[-1:] + b"\x40")
    assert reader.is_inside_packet
    assert sys.getsizeof(reader._gathered) < 1000


def test_packets_do_not_share_what_can_be_changed() -> None:
    data = wire("90 03 0001 00")
    reader = PacketReader(V3[1])
    first, second = reader.feed(data + data)
    assert isinstance(first, Suback)
    first.reason_codes.append(1)
    assert second == Suback(1, [0])


def test_a_connect_can_be_read_in_any_version() -> None:
    for version in ALL:
        for case in CONNECTS:
            (packet,) = PacketReader(version).feed(case.data)
            assert isinstance(packet, Connect)
            assert packet.version in case.versions
