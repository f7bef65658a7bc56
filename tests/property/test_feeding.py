"""A stream of packets, large ones too: the same packets however the bytes are handed over."""

from __future__ import annotations

from itertools import accumulate
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.enums import ProtocolVersion
from mqttlite.message import Message
from mqttlite.packets import Packet, PacketReader, Pingresp, Puback, Pubrec

SETTINGS: Final = settings(deadline=None, max_examples=150, database=None)

VERSIONS: Final = st.sampled_from(ProtocolVersion)
V5: Final = ProtocolVersion.MQTT_5_0

# Around what a reader may treat in another way.
SIZES: Final = st.one_of(
    st.integers(0, 300),
    st.sampled_from([16_370, 16_383, 16_384, 16_400, 65_535, 65_536, 65_537, 131_072]),
    st.integers(60_000, 200_000),
)


def length(size: int) -> bytes:
    """A Remaining Length, as section 1.5.5 says it."""
    encoded = b""
    while True:
        size, digit = divmod(size, 128)
        encoded += bytes((digit | (128 if size else 0),))
        if not size:
            return encoded


@st.composite
def publishes(draw: st.DrawFn, version: ProtocolVersion) -> tuple[Packet, bytes]:
    """A PUBLISH and its bytes, which are not written by the package."""
    qos = draw(st.integers(0, 2))
    retain = draw(st.booleans())
    dup = bool(qos) and draw(st.booleans())
    topic = draw(st.sampled_from(["t", "a/b", "ä/" * 60, "long/" * 50, "x" * 20_000]))
    packet_id = draw(st.integers(1, 65_535)) if qos else 0
    size = draw(SIZES)
    payload = (draw(st.binary(min_size=1, max_size=9)) * (size // 1 + 1))[:size]
    encoded = topic.encode()
    body = len(encoded).to_bytes(2) + encoded
    body += packet_id.to_bytes(2) if qos else b""
    properties = None
    if version == V5:
        data = draw(st.sampled_from([b"", b"", b"d" * 3, b"d" * 130, b"d" * 17_000]))
        if data:  # the Correlation Data
            section = b"\x09" + len(data).to_bytes(2) + data
            body += length(len(section)) + section
            properties = {"correlation_data": data}
        else:
            body += b"\0"
    body += payload
    first = 0x30 | dup << 3 | qos << 1 | retain
    message = Message(
        topic,
        payload,
        qos,
        retain,
        dup,
        packet_id,
        properties,  # type: ignore[arg-type]  # a TypedDict
    )
    return message, bytes((first,)) + length(len(body)) + body


def others() -> st.SearchStrategy[tuple[Packet, bytes]]:
    return st.sampled_from(
        [
            (Puback(7), b"\x40\x02\0\x07"),
            (Pubrec(258), b"\x50\x02\x01\x02"),
            (Pingresp(), b"\xd0\0"),
        ]
    )


@st.composite
def streams(draw: st.DrawFn) -> tuple[ProtocolVersion, list[Packet], list[bytes]]:
    version = draw(VERSIONS)
    parts = draw(st.lists(publishes(version) | others(), min_size=1, max_size=5))
    return version, [packet for packet, _ in parts], [data for _, data in parts]


@SETTINGS
@given(streams(), st.data())
def test_any_way_to_hand_them_over(
    stream: tuple[ProtocolVersion, list[Packet], list[bytes]], data: st.DataObject
) -> None:
    """In pieces of a buffer that is used again, or where the reader wants to have them."""
    version, expected, parts = stream
    written = b"".join(parts)
    sizes = st.one_of(st.integers(1, 8), st.integers(1, 70_000), st.integers(60_000, 200_000))
    buffer = memoryview(bytearray(200_000))
    reader = PacketReader(version)
    found: list[Packet] = []
    position = 0
    while position < len(written):
        size = min(data.draw(sizes), len(written) - position)
        if size < 8 and len(written) - position > 1000 and data.draw(st.booleans()):
            size = 1000
        piece = written[position : position + size]
        room = reader.room() if data.draw(st.booleans()) else None
        if room is None:
            buffer[:size] = piece
            before = len(found)
            found += reader.feed(buffer[:size])
            if reader.are_plain:
                assert all(
                    type(each) is Message and not each.qos and each.properties is None
                    for each in found[before:]
                )
            buffer[:size] = b"\xee" * size
        else:
            size = min(size, len(room))
            room[:size] = piece[:size]
            found += reader.filled(size)
        position += size
        assert found == expected[: len(found)]
    assert found == expected
    assert reader.error is None
    assert not reader.is_inside_packet
    assert reader.incomplete_type is None


@SETTINGS
@given(streams(), st.data())
def test_every_packet_comes_out_when_it_is_complete(
    stream: tuple[ProtocolVersion, list[Packet], list[bytes]], data: st.DataObject
) -> None:
    version, expected, parts = stream
    written = b"".join(parts)
    ends = list(accumulate(map(len, parts)))
    near = [end + by for end in ends for by in (-1, 0, 1) if end + by <= len(written)]
    cut = data.draw(st.integers(0, len(written)) | st.sampled_from(near))
    count = sum(end <= cut for end in ends)
    reader = PacketReader(version)
    first = reader.feed(written[:cut])
    assert first == expected[:count]
    assert reader.is_inside_packet == (cut > 0 and cut not in ends)
    assert first + reader.feed(written[cut:]) == expected
    assert not reader.is_inside_packet


@SETTINGS
@given(streams(), st.data())
def test_any_byte_that_is_changed(
    stream: tuple[ProtocolVersion, list[Packet], list[bytes]], data: st.DataObject
) -> None:
    """What is wrong is found in pieces as in the whole, with the same packets before it."""
    version, _, parts = stream
    broken = bytearray(b"".join(parts))
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.one_of(st.integers(0, 12), st.integers(0, len(broken) - 1)))
        broken[min(where, len(broken) - 1)] = data.draw(st.integers(0, 255))
    whole = PacketReader(version)
    expected = whole.feed(bytes(broken))
    reader = PacketReader(version)
    found: list[Packet] = []
    position = 0
    while position < len(broken):
        size = data.draw(st.one_of(st.integers(1, 20), st.integers(1000, 100_000)))
        room = reader.room() if data.draw(st.booleans()) else None
        piece = bytes(broken[position : position + size])
        if room is None:
            found += reader.feed(piece)
        else:
            piece = piece[: len(room)]
            room[: len(piece)] = piece
            found += reader.filled(len(piece))
        position += len(piece)
        if size <= 20 and len(broken) - position > 2000:
            size = len(broken) - position - 1000
            found += reader.feed(bytes(broken[position : position + size]))
            position += size
    assert found == expected
    if whole.error is not None:
        assert str(reader.error) == str(whole.error)
    elif reader.error is None:
        assert reader.is_inside_packet == whole.is_inside_packet
