"""Finds the packets in a stream of bytes that comes in pieces of any size."""

from contextlib import suppress
from io import SEEK_END, BytesIO
from struct import Struct
from typing import Final
from weakref import ReferenceType, ref

from mqttlite.enums import PacketType, ProtocolVersion, ReasonCode
from mqttlite.errors import MalformedPacket, ProtocolError
from mqttlite.limits import MAXIMUM_PACKET_SIZE
from mqttlite.message import Message
from mqttlite.packets.decode import check_header, decode_body, decode_publish_head, find_payload
from mqttlite.packets.types import Connect, Packet, Puback, Pubcomp, Pubrec, Pubrel
from mqttlite.packets.wire import Cursor, decode_topic

_TOPICS_CACHED: Final = 16_384
_LONGEST_CACHED: Final = 128  # bytes of a topic

_NO_TOPICS: Final[dict[bytes, str]] = {}

_LARGE: Final = 64 * 1024
"""From so many missing bytes on, a payload is gathered where it is to stay."""

_WORTH_A_READ: Final = 16 * 1024
"""For so many missing bytes it is worth to read them, and nothing else, from the network."""

_FIRST_ROOM: Final = 1024 * 1024
"""Bytes of memory that the head of a packet can ask for, without a payload behind it."""

# First byte, Remaining Length (if it is below 128), length of the topic name or packet identifier.
_HEAD: Final = Struct(">BBH").unpack_from

# QoS and RETAIN by the first byte of a PUBLISH that is no duplicate, None for all other packets.
_PLAIN_FLAGS: Final[list[tuple[int, bool] | None]] = [None] * 256
_PLAIN_FLAGS[0x30:0x36] = [(qos, retain) for qos in (0, 1, 2) for retain in (False, True)]

_NO_PLAIN_FLAGS: Final[list[tuple[int, bool] | None]] = [None] * 256
_LONGEST_PLAIN: Final = 16 * 1024 + 2
"""Bytes of the longest packet whose length takes two bytes."""

# Acknowledgements without a reason code and properties, by the first byte.
_BARE_ACKNOWLEDGEMENTS: Final[dict[int, type[Puback | Pubrec | Pubrel | Pubcomp]]] = {
    0x40: Puback,
    0x50: Pubrec,
    0x62: Pubrel,
    0x70: Pubcomp,
}


class _LargePayload:
    """The payload of a message of which the rest is still to come.

    It is gathered in a BytesIO, because that can be written to in place, through ``room()``, and
    hands out its bytes in the end without copying them. Its memory grows with what has come, not
    with what was announced.
    """

    def __init__(self, message: Message, size: int, begin: memoryview) -> None:
        self._message = message
        self._size = size
        self.missing = size - len(begin)
        self._file = BytesIO()
        self._file.write(begin)
        # Not the view itself: a BytesIO must not be collected together with a view of it.
        self._room: ReferenceType[memoryview] | None = None

    def room(self) -> memoryview:
        """Where the next bytes are to be written to."""
        self._release()
        filled = self._size - self.missing
        capacity = min(self._size, max(2 * filled, _FIRST_ROOM))
        if self._file.seek(0, SEEK_END) < capacity:
            self._file.seek(capacity - 1)
            self._file.write(b"\0")
        view = self._file.getbuffer()[filled:]
        self._room = ref(view)
        return view

    def _release(self) -> None:
        view = None if self._room is None else self._room()
        if view is not None:
            # uvloop keeps what room() has returned until it has told of the bytes in it. The
            # payload is copied then, if these are the last ones.
            with suppress(BufferError):
                view.release()
        self._room = None

    def filled(self, count: int) -> None:
        """So many bytes have been written to what ``room()`` has returned."""
        self._release()
        self.missing -= count

    def add(self, data: memoryview) -> None:
        """Take bytes from elsewhere, not more than are missing."""
        self._release()
        self._file.seek(self._size - self.missing)
        self._file.write(data)
        self.missing -= len(data)

    def finish(self) -> Message:
        """Return the message, of which nothing is missing."""
        self._message.payload = self._file.getvalue()
        return self._message


class PacketReader:
    """An incremental decoder: ``feed()`` it bytes, get the packets that are complete.

    What was complete before a fault is still returned; the fault is then in ``error``, and
    nothing is read any more. The length of a packet is held against ``maximum_packet_size``
    before its body is kept. An incomplete packet is gathered in one growing buffer, so the cost
    is linear in its size, whatever the size of the pieces.

    While a large payload is coming, the next bytes may be put into ``room()`` instead, and be
    reported with ``filled()``: so they are never copied.

    ``version`` decides how packets are read. With ``None`` the first packet has to be CONNECT,
    which sets it: so does a server.
    """

    def __init__(
        self,
        version: ProtocolVersion | None,
        maximum_packet_size: int = MAXIMUM_PACKET_SIZE,
    ) -> None:
        self.version = version
        self.maximum_packet_size = maximum_packet_size
        self.error: ProtocolError | None = None
        self.are_plain = False
        """Whether all that was read last are messages of QoS 0 without properties."""
        self._gathered = bytearray()
        self._wanted = 0  # gather until there are so many bytes
        self._large: _LargePayload | None = None
        self._topics = _NO_TOPICS

    @property
    def is_inside_packet(self) -> bool:
        """Whether a packet has begun that is not complete yet."""
        return self._large is not None or bool(self._gathered)

    @property
    def incomplete_type(self) -> int | None:
        """The packet type of the packet that is not complete yet; None: there is none."""
        if self._large is not None:
            return PacketType.PUBLISH
        return self._gathered[0] >> 4 if self._gathered else None

    def room(self) -> memoryview | None:
        """Where to put the next bytes, if that is worth it: they belong to a large payload."""
        large = self._large
        if large is None or large.missing < _WORTH_A_READ:
            return None
        return large.room()

    def filled(self, count: int) -> list[Packet]:
        """So many bytes were put into ``room()``; return the packet if that completes it."""
        self.are_plain = False
        large = self._large
        assert large is not None
        large.filled(count)
        return self._take_large(large)

    def _take_large(self, large: _LargePayload) -> list[Packet]:
        if large.missing:
            return []
        self._large = None
        return [large.finish()]

    def close(self) -> None:
        """Nothing more will come: let go of a payload that is not complete."""
        self._large = None

    def feed(self, chunk: bytes | memoryview) -> list[Packet]:
        """Take the next bytes of the stream and return the packets that they complete."""
        packets: list[Packet] = []
        self.are_plain = False
        if self.error is not None or not chunk:
            return packets
        large = self._large
        if large is not None:
            view = memoryview(chunk)
            chunk = view[large.missing :]
            large.add(view[: large.missing])
            packets = self._take_large(large)
            if not chunk:
                return packets
        gathered = self._gathered
        if gathered:
            if len(gathered) + len(chunk) < self._wanted:
                gathered += chunk
                return packets
            chunk = b"".join((gathered, chunk))
            gathered.clear()
        elif isinstance(chunk, memoryview):
            chunk = bytes(chunk)
        try:
            rest = self._read(chunk, packets)
        except ProtocolError as error:
            self.error = error
            return packets
        if rest < len(chunk):
            gathered += memoryview(chunk)[rest:]
        return packets

    def _read(  # noqa: PLR0915 - the hot path of receiving: a call costs as much as a packet
        self, data: bytes, packets: list[Packet]
    ) -> int:
        """Append the packets in data; return where the first incomplete one begins.

        One loop, in which a PUBLISH without properties and
        shorter than 16 KiB and a bare acknowledgement are read without a further call. What is
        not plainly one of these goes through ``_read_one()``, which also says what is wrong.
        """
        position = 0
        size = len(data)
        if self.version is None:
            position = self._read_one(data, 0, packets)
            if self.version is None:
                return 0
        # In MQTT 5 one byte, 0, says that there are no properties.
        no_properties = 1 if self.version == ProtocolVersion.MQTT_5_0 else 0
        topics = self._topics
        plain_flags = _PLAIN_FLAGS
        acknowledgements = _BARE_ACKNOWLEDGEMENTS
        if self.maximum_packet_size < _LONGEST_PLAIN:  # the length of each is to be looked at
            plain_flags = _NO_PLAIN_FLAGS
            acknowledgements = {}
        append = packets.append
        are_plain = not packets
        topic: str | None
        while size - position >= 4:
            first, length, number = _HEAD(data, position)
            flags = plain_flags[first]
            if flags is not None:
                start = position + 4  # of the topic name
                if length > 127:
                    if size - position > 4 and 0 < data[position + 2] < 128:  # two bytes
                        length += data[position + 2] - 1 << 7
                        number = data[position + 3] << 8 | data[position + 4]
                        start += 1
                    else:
                        length = size
                end = start - 2 + length
                stop = start + number
                if end <= size and stop + no_properties <= end:
                    raw = data[start:stop]
                    try:
                        topic = topics[raw]
                    except KeyError:
                        topic = self._remember(raw) if raw else None
                    if topic is None:
                        pass
                    elif first < 0x32:  # QoS 0
                        if not no_properties or not data[stop]:
                            payload = data[stop + no_properties : end]
                            append(Message(topic, payload, 0, flags[1]))
                            position = end
                            continue
                    elif stop + 2 + no_properties <= end:
                        packet_id = data[stop] * 256 + data[stop + 1]
                        stop += 2
                        if packet_id and (not no_properties or not data[stop]):
                            payload = data[stop + no_properties : end]
                            qos, retain = flags
                            append(Message(topic, payload, qos, retain, False, packet_id))
                            position = end
                            are_plain = False
                            continue
            elif length == 2 and number and first in acknowledgements:
                append(acknowledgements[first](number))
                position += 4
                are_plain = False
                continue
            following = self._read_one(data, position, packets)
            if following == position:
                break
            position = following
            are_plain = False
        else:  # up to three bytes are left: packets without a body, or an incomplete one
            while position < size:
                following = self._read_one(data, position, packets)
                if following == position:
                    break
                position = following
                are_plain = False
        self.are_plain = are_plain
        return position

    def _read_one(self, data: bytes, position: int, packets: list[Packet]) -> int:
        """Read one packet of any kind; return where it ends, or ``position`` if it is incomplete.

        Sets how many bytes the incomplete one wants before it is worth another look. Of one with
        a large payload nothing is left to be looked at: it ends, so far, with the data.
        """
        length = shift = 0
        index = position + 1
        while True:
            if index == len(data):
                self._wanted = index - position + 1
                return position
            byte = data[index]
            index += 1
            length |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift > 21:
                raise MalformedPacket("the remaining length has more than four bytes")
        version = self.version
        if not byte and shift and version == ProtocolVersion.MQTT_5_0:  # [MQTT-1.5.5-1]
            raise MalformedPacket("the remaining length is written with more bytes than it needs")
        end = index + length
        if end - position > self.maximum_packet_size:  # [MQTT-3.1.2-24]
            raise ProtocolError(
                f"a packet of {end - position} bytes is larger than the maximum packet size, "
                f"{self.maximum_packet_size}",
                ReasonCode.PACKET_TOO_LARGE,
            )
        first = data[position]
        if version is None:
            if first >> 4 != PacketType.CONNECT:  # [MQTT-3.1.0-1]
                raise ProtocolError("the first packet must be CONNECT")
            version = ProtocolVersion.MQTT_5_0
        # Before a body is kept that can only be wrong.
        packet_type = check_header(first, length, version)
        is_publish = packet_type is PacketType.PUBLISH
        if end > len(data):
            self._wanted = end - position
            if is_publish and end - len(data) >= _LARGE:
                return self._begin_large(data, position, index, end, version)
            return position
        packet: Packet
        if is_publish:
            cursor = Cursor(data, index, end)
            packet = decode_publish_head(cursor, first, version)
            packet.payload = data[cursor.position : end]
        else:
            packet = decode_body(packet_type, data[index:end], version)
            if type(packet) is Connect and self.version is None:
                self.version = packet.version
        packets.append(packet)
        return end

    def _begin_large(
        self, data: bytes, position: int, index: int, end: int, version: ProtocolVersion
    ) -> int:
        """Begin with a PUBLISH whose body is at ``index``, if all but its payload is there."""
        first = data[position]
        start = find_payload(data, index, first, version)
        if not start or start > len(data):
            wanted = start - position if start else 2 * (len(data) - position)
            self._wanted = min(end - position, wanted)
            return position
        cursor = Cursor(data, index, end)
        message = decode_publish_head(cursor, first, version)
        start = cursor.position
        self._large = _LargePayload(message, end - start, memoryview(data)[start:])
        return len(data)

    def _remember(self, raw: bytes) -> str:
        """Check a topic name and keep it, so that its next message need not check it again."""
        topic = decode_topic(raw)
        if len(raw) <= _LONGEST_CACHED:
            if not self._topics or len(self._topics) >= _TOPICS_CACHED:
                self._topics = {}
            self._topics[raw] = topic
        return topic
