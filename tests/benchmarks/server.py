"""A server that costs next to nothing: it answers every packet, and remembers nothing.

It reads packets by hand, so that what is measured is the client alone.
"""

from collections.abc import Callable

_ANSWERS = {0x32: b"\x40\x02", 0x34: b"\x50\x02", 0x33: b"\x40\x02", 0x35: b"\x50\x02"}


def publish(topic: bytes, payload: bytes, qos: int, packet_id: int, properties: bytes) -> bytes:
    """Return a PUBLISH; ``properties`` are with their length, and empty in MQTT 3.x."""
    body = len(topic).to_bytes(2) + topic
    if qos:
        body += packet_id.to_bytes(2)
    body += properties
    size = len(body) + len(payload)
    first = bytes([0x30 | qos << 1])
    return first + variable_byte_integer(size) + body + payload


def variable_byte_integer(value: int) -> bytes:
    """Encode a length."""
    encoded = bytearray()
    while value > 127:
        encoded.append(value & 127 | 128)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class Server:
    """One connection of the server: bytes in, answers out."""

    def __init__(self) -> None:
        self._rest = b""
        self.is_5 = True
        self.published = 0
        """Messages that have come."""
        self.acknowledged = 0
        """Messages that this server has sent, and whose flow has ended."""
        self.goodbye = False
        self.holds_back = False
        """Whether messages are not acknowledged."""
        self.on_progress: Callable[[], object] | None = None
        """Called when something has come."""

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take what the client has sent; return the answer to it."""
        if self._rest:
            data = self._rest + data
        answers = []
        position, end = 0, len(data)
        while end - position >= 2:
            size, body = data[position + 1], position + 2
            if size > 127:
                size &= 127
                shift = 7
                while body < end:
                    digit = data[body]
                    size |= (digit & 127) << shift
                    shift += 7
                    body += 1
                    if digit < 128:
                        break
                else:
                    break
            if body + size > end:
                break
            first = data[position]
            position = body + size
            if first & 0xF0 == 0x30:
                self.published += 1
                if first & 6 and not self.holds_back:
                    at = body + 2 + (data[body] << 8 | data[body + 1])
                    answers.append(_ANSWERS[first & ~1] + bytes(data[at : at + 2]))
            else:
                answers.append(self._answer(first, bytes(data[body:position])))
        self._rest = bytes(data[position:])
        if self.on_progress is not None:
            self.on_progress()
        return b"".join(answers)

    def _answer(self, first: int, body: bytes) -> bytes:
        kind = first >> 4
        if kind == 1:
            self.is_5 = body[6] == 5
            return b"\x20\x03\0\0\0" if self.is_5 else b"\x20\x02\0\0"
        if kind == 4:
            self.acknowledged += 1
        elif kind == 5:
            return b"\x62\x02" + body[:2]
        elif kind == 6:
            return b"\x70\x02" + body[:2]
        elif kind == 7:
            self.acknowledged += 1
        elif kind == 8:  # with one filter, and nothing but the QoS in its options
            granted = body[-1:]
            head = b"\x90\x04" + body[:2] + b"\0" if self.is_5 else b"\x90\x03" + body[:2]
            return head + granted
        elif kind == 10:
            return b"\xb0\x04" + body[:2] + b"\0\0" if self.is_5 else b"\xb0\x02" + body[:2]
        elif kind == 12:
            return b"\xd0\0"
        elif kind == 14:
            self.goodbye = True
        return b""
