"""The data types of the wire (MQTT 5.0 section 1.5): integers, strings, binary data."""

from typing import Final

from mqttlite.errors import MalformedPacket, UsageError
from mqttlite.limits import MAXIMUM_STRING_LENGTH
from mqttlite.topics import shorten

_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(128))


def encode_variable_byte_integer(value: int) -> bytes:
    """Write an integer with the fewest bytes, one to four [MQTT-1.5.5-1]."""
    if value < 128:
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_string(text: str, what: str) -> bytes:
    """Write a UTF-8 string; ``what`` names it in the UsageError for one that cannot be written."""
    if not isinstance(text, str):
        raise UsageError(f"{what} must be a str, not {type(text).__name__}")
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:  # [MQTT-1.5.4-1]
        raise UsageError(
            f"{what} cannot be written as UTF-8: it has a lone surrogate at position {error.start}"
        ) from None
    if b"\0" in encoded:  # [MQTT-1.5.4-2]
        raise UsageError(f"{what} contains U+0000")
    return encode_binary(encoded, what)


def encode_binary(data: bytes, what: str) -> bytes:
    """Write binary data; ``what`` names it in the UsageError for data that is too long."""
    if not isinstance(data, bytes):
        raise UsageError(f"{what} must be bytes, not {type(data).__name__}")
    if len(data) > MAXIMUM_STRING_LENGTH:
        raise UsageError(f"{what} is {len(data)} bytes long, the limit is {MAXIMUM_STRING_LENGTH}")
    return len(data).to_bytes(2) + data


def decode_utf8(encoded: bytes, what: str) -> str:
    """Read the bytes of a UTF-8 string. A byte order mark is kept [MQTT-1.5.4-3]."""
    try:
        text = encoded.decode()
    except UnicodeDecodeError as error:  # [MQTT-1.5.4-1]; surrogates are errors to Python, too
        # The exception object holds the bytes, which may be a secret: it is not chained.
        raise MalformedPacket(f"{what} is not UTF-8 at byte {error.start}") from None
    if "\0" in text:  # [MQTT-1.5.4-2]
        raise MalformedPacket(f"{what} contains U+0000")
    return text


def decode_topic(encoded: bytes, what: str = "the topic name") -> str:
    """Read the bytes of a topic name, which has no wildcards [MQTT-3.3.2-2] [MQTT-4.7.0-1]."""
    topic = decode_utf8(encoded, what)
    if "+" in topic or "#" in topic:
        raise MalformedPacket(f"{what} {shorten(topic)!r} contains a wildcard")
    return topic


class Cursor:
    """A place in the body of a packet, from which the fields are read one after the other.

    Every method raises MalformedPacket where the packet ends before the field does.
    """

    __slots__ = ("data", "end", "position")

    def __init__(self, data: bytes, position: int, end: int) -> None:
        self.data = data
        self.position = position
        self.end = end

    @property
    def remaining(self) -> int:
        """How many bytes are left."""
        return self.end - self.position

    def _advance(self, count: int, what: str) -> int:
        start = self.position
        if start + count > self.end:
            raise MalformedPacket(f"the packet ends inside of {what}")
        self.position = start + count
        return start

    def byte(self, what: str) -> int:
        """Read one byte."""
        return self.data[self._advance(1, what)]

    def two_byte_integer(self, what: str) -> int:
        """Read a Two Byte Integer."""
        start = self._advance(2, what)
        return int.from_bytes(self.data[start : start + 2])

    def four_byte_integer(self, what: str) -> int:
        """Read a Four Byte Integer."""
        start = self._advance(4, what)
        return int.from_bytes(self.data[start : start + 4])

    def variable_byte_integer(self, what: str) -> int:
        """Read a Variable Byte Integer of at most four bytes, and no more than it needs."""
        value = shift = 0
        while True:
            byte = self.byte(what)
            value |= (byte & 127) << shift
            if byte < 128:
                if not byte and shift:  # [MQTT-1.5.5-1]
                    raise MalformedPacket(f"{what} is written with more bytes than it needs")
                return value
            shift += 7
            if shift > 21:
                raise MalformedPacket(f"{what} has more than four bytes")

    def binary(self, what: str) -> bytes:
        """Read binary data with its length before it."""
        start = self._advance(self.two_byte_integer(what), what)
        return self.data[start : self.position]

    def string(self, what: str) -> str:
        """Read a UTF-8 string."""
        return decode_utf8(self.binary(what), what)

    def expect_end(self) -> None:
        """Raise MalformedPacket if anything is left."""
        if self.remaining:
            raise MalformedPacket(f"{self.remaining} bytes follow the end of the packet")
