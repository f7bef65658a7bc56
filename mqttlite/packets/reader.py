"""Finds the packets in a stream of bytes that comes in pieces of any size."""

from struct import Struct
from typing import Final

from mqttlite.enums import PacketType, ProtocolVersion, ReasonCode
from mqttlite.errors import MalformedPacket, ProtocolError
from mqttlite.limits import MAXIMUM_PACKET_SIZE
from mqttlite.message import Message
from mqttlite.packets.decode import check_header, decode
from mqttlite.packets.types import Connect, Packet, Puback, Pubcomp, Pubrec, Pubrel
from mqttlite.packets.wire import decode_topic

_TOPICS_CACHED: Final = 16_384  # of less than 128 bytes each: the fast path knows no longer ones

# First byte, Remaining Length (if it is below 128), length of the topic name or packet identifier.
_HEAD = Struct(">BBH").unpack_from

# Acknowledgements without a reason code and properties, by the first byte.
_BARE_ACKNOWLEDGEMENTS: Final[dict[int, type[Puback | Pubrec | Pubrel | Pubcomp]]] = {
    0x40: Puback,
    0x50: Pubrec,
    0x62: Pubrel,
    0x70: Pubcomp,
}


class PacketReader:
    """An incremental decoder: ``feed()`` it bytes, get the packets that are complete.

    What was complete before a fault is still returned; the fault is then in ``error``, and
    nothing is read any more. The length of a packet is held against ``maximum_packet_size``
    before its body is kept. An incomplete packet is gathered in one growing buffer, so the cost
    is linear in its size, whatever the size of the pieces.

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
        self._gathered = bytearray()
        self._wanted = 0  # gather until there are so many bytes
        self._topics: dict[bytes, str] = {}

    @property
    def is_inside_packet(self) -> bool:
        """Whether a packet has begun that is not complete yet."""
        return bool(self._gathered)

    @property
    def first_byte(self) -> int | None:
        """The first byte of the packet that is not complete yet; None: there is none."""
        return self._gathered[0] if self._gathered else None

    def feed(self, chunk: bytes) -> list[Packet]:
        """Take the next bytes of the stream and return the packets that they complete."""
        packets: list[Packet] = []
        if self.error is not None or not chunk:
            return packets
        gathered = self._gathered
        if gathered:
            gathered += chunk
            if len(gathered) < self._wanted:
                return packets
            chunk = bytes(gathered)
            gathered.clear()
        try:
            rest = self._read(chunk, packets)
        except ProtocolError as error:
            self.error = error
            return packets
        if rest < len(chunk):
            gathered += memoryview(chunk)[rest:]
        return packets

    def _read(self, data: bytes, packets: list[Packet]) -> int:
        """Append the packets in data; return where the first incomplete one begins.

        This is the hot path of receiving: one loop, in which a PUBLISH shorter than 128 bytes
        and a bare acknowledgement are read without a further call. What is not plainly one of
        these goes through ``_read_one()``, which also says what is wrong with it.
        """
        position = 0
        size = len(data)
        if self.version is None:
            position = self._read_one(data, 0, packets)
            if self.version is None:
                return 0
        is_v5 = self.version == ProtocolVersion.MQTT_5_0
        limit = self.maximum_packet_size
        topics = self._topics
        acknowledgements = _BARE_ACKNOWLEDGEMENTS
        append = packets.append
        while size - position >= 4:
            first, length, number = _HEAD(data, position)
            if 0x30 <= first <= 0x35 and length < 128 and length + 2 <= limit:
                end = position + 2 + length
                if end > size:
                    break
                start = position + 4 + number  # the end of the topic name
                qos = first >> 1 & 3
                if number and start + (2 if qos else 0) + is_v5 <= end:
                    raw = data[position + 4 : start]
                    topic = topics.get(raw)
                    if topic is None:
                        topic = self._remember(raw)
                    packet_id = 0
                    if qos:
                        packet_id = data[start] << 8 | data[start + 1]
                        start += 2
                    # In MQTT 5 a 0 says that there are no properties.
                    if (packet_id or not qos) and not (is_v5 and data[start]):
                        start += is_v5
                        append(
                            Message(topic, data[start:end], qos, first & 1 != 0, False, packet_id)
                        )
                        position = end
                        continue
            elif length == 2 and number and first in acknowledgements and limit >= 4:
                append(acknowledgements[first](number))
                position += 4
                continue
            following = self._read_one(data, position, packets)
            if following == position:
                return position
            position = following
        while position < size:
            following = self._read_one(data, position, packets)
            if following == position:
                return position
            position = following
        return position

    def _read_one(self, data: bytes, position: int, packets: list[Packet]) -> int:
        """Read one packet of any kind; return where it ends, or ``position`` if it is incomplete.

        Sets how many bytes the incomplete one wants before it is worth another look.
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
        check_header(first, length, version)  # before a body is kept that can only be wrong
        if end > len(data):
            self._wanted = end - position
            return position
        packet = decode(first, data[index:end], version)
        if type(packet) is Connect and self.version is None:
            self.version = packet.version
        packets.append(packet)
        return end

    def _remember(self, raw: bytes) -> str:
        """Check a topic name and keep it, so that its next message need not check it again."""
        topic = decode_topic(raw)
        if len(self._topics) >= _TOPICS_CACHED:
            self._topics.clear()
        self._topics[raw] = topic
        return topic
