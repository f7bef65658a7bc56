"""Bytes that nobody would send: the only errors are ProtocolError, and memory stays bounded."""

import random
import tracemalloc
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.enums import ProtocolVersion
from mqttlite.errors import MalformedPacket, ProtocolError, UsageError
from mqttlite.packets import Connect, Packet, PacketReader, decode, encode
from tests.behaviour import rule
from tests.unit.packets.test_golden import ALL, DECODED_ONLY, GOLDEN
from tests.unit.packets.test_malformed import FAULTS

SEEDS: Final = {
    version: [
        case.data
        for case in GOLDEN + DECODED_ONLY
        if version in case.versions and len(case.data) < 300
    ]
    for version in ALL
}
WRONG_SEEDS: Final = [fault.data for fault in FAULTS]
INTERESTING: Final = bytes.fromhex(
    "00 01 02 03 04 05 0B 15 16 1F 20 23 26 2B 2F 7F 80 81 C0 ED FE FF"
)


def _mutate(source: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
        where = source.randrange(len(changed) + 1)
        match source.randrange(6):
            case 0 if where < len(changed):
                changed[where] ^= 1 << source.randrange(8)
            case 1 if where < len(changed):
                changed[where] = source.choice(INTERESTING)
            case 2:
                changed[where:where] = source.randbytes(source.randrange(1, 4))
            case 3:
                del changed[where : where + source.randrange(1, 4)]
            case 4:
                del changed[where:]
            case _:
                changed[where:where] = changed[: source.randrange(len(changed) + 1)]
    return bytes(changed)


def _repair_length(data: bytes) -> bytes:
    """Make the Remaining Length fit, so that the change is seen by the decoder."""
    if not 2 <= len(data) < 130:
        return data
    return data[:1] + bytes((len(data) - 2,)) + data[2:]


def _write(packet: Packet, version: ProtocolVersion) -> None:
    """What was understood can be shown, and written by the same rules."""
    assert repr(packet)
    if isinstance(packet, Connect) and packet.version is not ProtocolVersion.MQTT_5_0:
        return  # a server may have to answer a client identifier that no client should send
    assert PacketReader(version).feed(encode(packet, version)) == [packet]


def _read(version: ProtocolVersion | None, data: bytes, size: int) -> PacketReader:
    reader = PacketReader(version)
    found: list[Packet] = []
    for start in range(0, len(data), size):
        found += reader.feed(data[start : start + size])
    assert reader.error is None or isinstance(reader.error, ProtocolError)
    if reader.error is not None:
        assert str(reader.error)
        assert reader.error.reason_code is not None
        assert reader.error.reason_code >= 0x80
        assert reader.feed(data) == []
    for packet in found:
        _write(packet, reader.version or ProtocolVersion.MQTT_5_0)
    return reader


def _agree(version: ProtocolVersion | None, data: bytes) -> None:
    """Whatever the chunking, the same comes out."""
    whole = _read(version, data, max(1, len(data)))
    pieces = _read(version, data, 1)
    assert repr(whole.error) == repr(pieces.error)
    assert whole.is_inside_packet == pieces.is_inside_packet
    assert whole.version == pieces.version


@pytest.mark.parametrize("version", ALL)
@pytest.mark.parametrize("seed", range(4))
def test_mutated_packets(version: ProtocolVersion, seed: int) -> None:
    source = random.Random(f"{seed} {version.value}")
    for _ in range(1200):
        data = _mutate(source, source.choice(SEEDS[version]))
        if source.random() < 0.7:
            data = _repair_length(data)
        _agree(version, data)


@pytest.mark.parametrize("seed", range(2))
def test_mutated_streams_to_a_server(seed: int) -> None:
    source = random.Random(f"server {seed}")
    connects = [data for version in ALL for data in SEEDS[version] if data[0] == 0x10]
    for _ in range(1200):
        data = source.choice(connects) + b"".join(
            source.choice(SEEDS[source.choice(ALL)]) for _ in range(source.randrange(3))
        )
        _agree(None, _mutate(source, data))


@pytest.mark.parametrize("version", ALL)
def test_mutated_faults(version: ProtocolVersion) -> None:
    source = random.Random(f"faults {version.value}")
    for _ in range(1200):
        _agree(version, _repair_length(_mutate(source, source.choice(WRONG_SEEDS))))


@pytest.mark.parametrize("version", ALL)
def test_every_cut_of_every_packet(version: ProtocolVersion) -> None:
    for data in SEEDS[version]:
        for end in range(2, len(data)):
            _agree(version, _repair_length(data[:end]))


@pytest.mark.parametrize("version", ALL)
def test_every_byte_of_every_packet(version: ProtocolVersion) -> None:
    for data in SEEDS[version]:
        for position in range(len(data)):
            for value in INTERESTING:
                _read(version, data[:position] + bytes((value,)) + data[position + 1 :], len(data))


@rule(25)
@settings(deadline=None, max_examples=500, database=None)
@given(st.sampled_from([None, *ALL]), st.binary(max_size=64))
def test_random_bytes(version: ProtocolVersion | None, data: bytes) -> None:
    _agree(version, data)


@settings(deadline=None, max_examples=1000, database=None)
@given(st.sampled_from(ALL), st.integers(0, 255), st.binary(max_size=40))
def test_decode_alone(version: ProtocolVersion, first: int, body: bytes) -> None:
    try:
        packet = decode(first, body, version)
    except ProtocolError as error:
        expected = MalformedPacket if error.reason_code == 0x81 else ProtocolError
        assert type(error) is expected  # noqa: PT017 - most of the examples raise
    else:
        _write(packet, version)


def test_all_first_bytes_with_all_short_bodies() -> None:
    for version in ALL:
        for first in range(256):
            for body in (
                b"",
                b"\0",
                b"\0\1",
                b"\0\1\0",
                b"\0\1a",
                b"\0\1\0\0",
                b"\0\0\0\0",
                b"\xff" * 6,
            ):
                _agree(version, bytes((first, len(body))) + body)


@rule(25)
@pytest.mark.parametrize("version", [None, *ALL])
def test_memory_is_bounded(version: ProtocolVersion | None) -> None:
    """Headers that promise much, endless garbage, and topics that never repeat."""
    source = random.Random(f"memory {version}")
    limit = 10_000
    garbage = [source.randbytes(2000) for _ in range(50)]
    promises = [bytes((first,)) + b"\xff\xff\xff\x7f" for first in range(256)]
    almost = [bytes((first,)) + b"\x8c\x4e" for first in range(256)]  # 9996 bytes: it would fit
    topics = bytes.fromhex("3006 0004")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for header in promises + almost:
            reader = PacketReader(version, limit)
            for piece in (header, *garbage[:3]):
                reader.feed(piece)
                assert len(reader._gathered) <= limit
        for piece in garbage:
            reader = PacketReader(version, limit)
            for _ in range(5):
                reader.feed(piece)
                assert len(reader._gathered) <= limit
        if version is not None:
            reader = PacketReader(version, limit)
            for number in range(10_000):
                reader.feed(topics + b"%04d\0\0" % number)
        _, peak = tracemalloc.get_traced_memory()
        assert peak - before < 1_000_000
    finally:
        tracemalloc.stop()


def test_many_properties_do_not_cost_more_than_they_weigh() -> None:
    # The smallest properties are user properties of 5 bytes; a packet of 100 kB has 20000.
    count = 20_000
    section = bytes.fromhex("26 0000 0000") * count
    length = bytes((len(section) & 127 | 128, len(section) >> 7 & 127 | 128, len(section) >> 14))
    body = b"\0\1t" + length + section
    whole = bytes((len(body) & 127 | 128, len(body) >> 7 & 127 | 128, len(body) >> 14))
    reader = PacketReader(ProtocolVersion.MQTT_5_0)
    tracemalloc.start()
    try:
        (packet,) = reader.feed(b"\x30" + whole + body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(getattr(packet, "user_properties")) == count  # noqa: B009 - Packet is a union
    assert peak < 100 * len(body)


def test_what_cannot_be_encoded_is_a_usage_error() -> None:
    for version in ALL:
        for data in SEEDS[version]:
            (packet,) = PacketReader(version).feed(data)
            for other in ALL:
                try:
                    encode(packet, other)
                except UsageError as error:
                    assert str(error)  # noqa: PT017 - most of the packets can be written
