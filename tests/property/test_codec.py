"""What is encoded is decoded to the same, whatever the packet and whatever the chunking."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqttlite.enums import ProtocolVersion
from mqttlite.errors import MalformedPacket
from mqttlite.packets import Packet, PacketReader, encode
from mqttlite.packets.wire import Cursor, encode_variable_byte_integer
from tests.property.strategies import (
    VERSIONS,
    acknowledgements,
    chunked,
    connacks,
    connects,
    packets,
    publishes,
    streams,
    subscriptions,
)

SETTINGS = settings(
    deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow], database=None
)


def _round_trip(packet: Packet, version: ProtocolVersion) -> None:
    data = encode(packet, version)
    reader = PacketReader(version)
    assert reader.feed(data) == [packet]
    assert reader.error is None
    assert not reader.is_inside_packet
    (again,) = PacketReader(version).feed(data)
    assert encode(again, version) == data
    # The length in the header is right: one byte less is not yet a packet.
    reader = PacketReader(version)
    assert reader.feed(data[:-1]) == []
    assert reader.error is None
    assert reader.is_inside_packet


@SETTINGS
@given(VERSIONS.flatmap(connects))
def test_connect(packet: Packet) -> None:
    for version in ProtocolVersion:
        _round_trip(packet, version)


@SETTINGS
@given(VERSIONS.flatmap(lambda version: st.tuples(connacks(version), st.just(version))))
def test_connack(case: tuple[Packet, ProtocolVersion]) -> None:
    _round_trip(*case)


@SETTINGS
@given(VERSIONS.flatmap(lambda version: st.tuples(publishes(version), st.just(version))))
def test_publish(case: tuple[Packet, ProtocolVersion]) -> None:
    _round_trip(*case)


@SETTINGS
@given(VERSIONS.flatmap(lambda version: st.tuples(acknowledgements(version), st.just(version))))
def test_acknowledgements(case: tuple[Packet, ProtocolVersion]) -> None:
    _round_trip(*case)


@SETTINGS
@given(VERSIONS.flatmap(lambda version: st.tuples(subscriptions(version), st.just(version))))
def test_subscriptions(case: tuple[Packet, ProtocolVersion]) -> None:
    _round_trip(*case)


@SETTINGS
@given(VERSIONS.flatmap(lambda version: st.tuples(packets(version), st.just(version))))
def test_any_packet(case: tuple[Packet, ProtocolVersion]) -> None:
    _round_trip(*case)


@SETTINGS
@given(streams(), st.data())
def test_any_chunking(stream: tuple[ProtocolVersion, list[Packet]], data: st.DataObject) -> None:
    version, expected = stream
    written = b"".join(encode(packet, version) for packet in expected)
    reader = PacketReader(version)
    found = []
    for chunk in data.draw(chunked(written)):
        found += reader.feed(chunk)
    assert found == expected
    assert reader.error is None
    assert not reader.is_inside_packet


@SETTINGS
@given(streams(), st.integers(1, 5))
def test_small_pieces(stream: tuple[ProtocolVersion, list[Packet]], size: int) -> None:
    version, expected = stream
    written = b"".join(encode(packet, version) for packet in expected)
    reader = PacketReader(version)
    found = []
    for start in range(0, len(written), size):
        found += reader.feed(written[start : start + size])
    assert found == expected


@SETTINGS
@given(
    VERSIONS.flatmap(lambda v: st.tuples(connects(v), st.lists(packets(v), max_size=4))), st.data()
)
def test_a_server_reads_the_same(case: tuple[Packet, list[Packet]], data: st.DataObject) -> None:
    connect, rest = case
    connects_first = [connect, *rest]
    version = getattr(connect, "version")  # noqa: B009 - Packet is a union
    written = b"".join(encode(packet, version) for packet in connects_first)
    reader = PacketReader(None)
    found = []
    for chunk in data.draw(chunked(written)):
        if chunk:
            found += reader.feed(chunk)
    assert found == connects_first
    assert reader.version is version


@SETTINGS
@given(streams().filter(lambda stream: bool(stream[1])), st.data())
def test_the_maximum_packet_size_is_exact(
    stream: tuple[ProtocolVersion, list[Packet]], data: st.DataObject
) -> None:
    version, expected = stream
    pieces = [encode(packet, version) for packet in expected]
    limit = data.draw(st.sampled_from([len(piece) for piece in pieces])) - data.draw(
        st.integers(0, 1)
    )
    within = 0
    for piece in pieces:
        if len(piece) > limit:
            break
        within += 1
    reader = PacketReader(version, limit)
    found = []
    for chunk in data.draw(chunked(b"".join(pieces))):
        found += reader.feed(chunk)
    assert found == expected[:within]
    assert (reader.error is None) == (within == len(pieces))
    if reader.error is not None:
        assert reader.error.reason_code == 0x95


@settings(deadline=None, max_examples=500, database=None)
@given(st.integers(0, 268_435_455))
def test_variable_byte_integers(value: int) -> None:
    encoded = encode_variable_byte_integer(value)
    assert len(encoded) == 1 + (value > 127) + (value > 16_383) + (value > 2_097_151)
    assert sum((byte & 127) << 7 * index for index, byte in enumerate(encoded)) == value
    assert all(byte & 128 for byte in encoded[:-1])
    cursor = Cursor(encoded, 0, len(encoded))
    assert cursor.variable_byte_integer("it") == value
    assert not cursor.remaining
    for end in range(len(encoded)):
        try:
            Cursor(encoded, 0, end).variable_byte_integer("it")
        except MalformedPacket as error:
            assert str(error) == "the packet ends inside of it"  # noqa: PT017 - in a loop
        else:
            raise AssertionError(encoded[:end])
