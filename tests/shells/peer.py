"""A server that does what a script says, byte by byte."""

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from traceback import format_exception
from types import TracebackType
from typing import Self

_TIMEOUT = 10.0


class Call:
    """One connection to the peer, as its script sees it; `received` is all that was read."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.received = b""

    def read(self, count: int) -> bytes:
        """Read so many bytes; raises EOFError."""
        data = b""
        while len(data) < count:
            part = self.sock.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
            self.received += part
        return data

    def read_packet(self) -> bytes:
        """Read one control packet."""
        packet = self.read(1)
        size = shift = 0
        while True:
            digit = self.read(1)
            packet += digit
            size |= (digit[0] & 0x7F) << shift
            shift += 7
            if digit[0] < 0x80:
                return packet + self.read(size)

    def read_until(self, first: int) -> bytes:
        """Read packets up to the one with this type and these flags; return that one."""
        while (packet := self.read_packet())[0] != first:
            pass
        return packet

    @property
    def packets(self) -> list[bytes]:
        """The packets that were read whole."""
        found = []
        data = self.received
        while data:
            size = shift = 0
            index = 1
            while index < len(data):
                size |= (data[index] & 0x7F) << shift
                index += 1
                shift += 7
                if data[index - 1] < 0x80:
                    break
            if len(data) < index + size or index == 1:
                break
            found.append(data[: index + size])
            data = data[index + size :]
        return found

    def read_to_end(self) -> bytes:
        """Read until the client closes."""
        start = len(self.received)
        with suppress(EOFError, ConnectionResetError):
            while True:
                self.read(1)
        return self.received[start:]

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.sock.sendall(data)

    def send_bytewise(self, data: bytes) -> None:
        """Send bytes one by one, as far as the system lets them go alone."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in data:
            self.send(bytes([byte]))

    def reset(self) -> None:
        """Close the connection with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


Script = Callable[[Call], object]


class Peer:
    """Listens at `port`; the first connection runs the first script, and so on, the last for ever.

    A connection is closed when its script ends. The scripts run one after the other in a thread;
    what one raises, other than the client's going, is raised when the `with` block is left.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = list(scripts)
        self._errors: list[Exception] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._closing = False
        self.port: int = self._listener.getsockname()[1]
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self.calls: list[Call] = []
        self._thread = threading.Thread(target=self._run, name="peer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for call in list(self.calls):
            with suppress(OSError):
                call.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(_TIMEOUT)
        self._listener.close()
        assert not self._thread.is_alive(), "the script does not end"
        if exc is None and self._errors:
            raise self._errors[0]
        if exc is not None:
            for error in self._errors:
                exc.add_note("the script raised " + "".join(format_exception(error)))

    @property
    def received(self) -> bytes:
        """All that came, over all connections."""
        return b"".join(call.received for call in self.calls)

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                sock.settimeout(_TIMEOUT)
                call = Call(sock)
                self.calls.append(call)
                if self._closing:
                    return
                script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
                try:
                    script(call)
                except (EOFError, ConnectionError):
                    pass
                except Exception as error:  # shown at the end of the with block
                    if not self._closing:
                        self._errors.append(error)


def answers(*packets: bytes) -> Script:
    """Make a script that answers a packet with each of these, then reads until the client goes."""

    def script(call: Call) -> None:
        for packet in packets:
            call.read_packet()
            call.send(packet)
        call.read_to_end()

    return script


ACCEPTED = {
    "5.0": b"\x20\x03\x00\x00\x00",
    "3.1.1": b"\x20\x02\x00\x00",
    "3.1": b"\x20\x02\x00\x00",
}
"""CONNACK: the connection is accepted, there is no session."""


def accept(version: str, call: Call, connack: bytes | None = None) -> None:
    """Let a client in."""
    call.read_until(0x10)
    call.send(ACCEPTED[version] if connack is None else connack)


def decent(version: str, connack: bytes | None = None) -> Script:
    """Make a script of a server that lets the client in and answers all it asks."""
    is_5 = version == "5.0"

    def script(call: Call) -> None:
        accept(version, call, connack)
        serve(call, is_5=is_5)

    return script


def serve(call: Call, *, is_5: bool) -> None:
    """Answer everything, until the client goes."""
    while True:
        packet = call.read_packet()
        kind, flags = packet[0] >> 4, packet[0] & 15
        # The length of what these tests send has up to four bytes.
        start = next(index for index in range(1, 5) if packet[index] < 0x80) + 1
        packet_id = packet[start : start + 2]
        if kind == 3 and flags & 6:
            size = int.from_bytes(packet_id)
            packet_id = packet[start + 2 + size : start + 4 + size]
            call.send((b"\x40\x02" if flags & 6 == 2 else b"\x50\x02") + packet_id)
        elif kind == 6:
            call.send(b"\x70\x02" + packet_id)
        elif kind == 8:  # of one filter
            call.send(
                (b"\x90\x04" + packet_id + b"\0" if is_5 else b"\x90\x03" + packet_id) + b"\x02"
            )
        elif kind == 10:  # of one filter
            call.send(b"\xb0\x04" + packet_id + b"\0\0" if is_5 else b"\xb0\x02" + packet_id)
        elif kind == 12:
            call.send(b"\xd0\x00")
        elif kind == 14:
            return
