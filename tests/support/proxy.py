"""A TCP proxy that plays a misbehaving network between a client and a broker."""

import fcntl
import selectors
import socket
import struct
import termios
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from time import monotonic
from typing import Literal, Self

Direction = Literal["both", "up", "down"]

_READ_SIZE = 65536
_DEADLINE = 5.0
_CONNECT_TIMEOUT = 1.0
_DRAIN_TIMEOUT = 1.0
_DRAIN_POLL = 0.002


def _abort(sock: socket.socket) -> None:
    """Close with a reset instead of an orderly end of the stream."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _unsent(sock: socket.socket) -> int:
    """Return how many bytes the peer's kernel has not acknowledged yet."""
    try:
        answer = fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(answer, "little")


class _Pipe:
    """One direction of a connection; without a destination what is read is thrown away."""

    def __init__(
        self, direction: Direction, source: socket.socket, destination: socket.socket | None
    ) -> None:
        self.direction = direction
        self.source = source
        self.destination = destination
        self.buffer = b""
        self.done = False


class _Link:
    """A client's connection and, except in a black hole, the one made to the target for it."""

    def __init__(self, client: socket.socket, server: socket.socket | None) -> None:
        self.sockets = [client] if server is None else [client, server]
        self.pipes = [_Pipe("up", client, server)]
        if server is not None:
            self.pipes.append(_Pipe("down", server, client))
        self.counted = 0
        self.doomed_until: float | None = None


class Proxy:
    """Forwards connections to `target` in a thread of its own, as badly as it is told to.

    These attributes can be set at any time:

    - `cut_after`: reset a connection when exactly this many bytes of it have been forwarded;
      `direction` says which bytes count, those to the target ("up"), from it ("down") or both.
    - `cuts`: to how many more connections `cut_after` applies; None means all.
    - `chunk`: the most bytes to forward at once.
    - `refuse`: close new connections at once, as is done when the target cannot be reached.
    - `black_hole`: accept new connections, but neither connect to the target nor ever answer.
    - `target`: where to connect for new connections.

    The counters `connections` (accepted ones), `open_connections`, `bytes_up`, `bytes_down`
    (forwarded ones) and `cuts_made` are meant for `wait_for`.

    A peer can read what was forwarded before a reset, but one that writes first may see the
    reset first, as in a real network. With `cut_after` 0 even connecting may fail that way.
    """

    def __init__(
        self,
        target: tuple[str, int],
        *,
        cut_after: int | None = None,
        cuts: int | None = None,
        direction: Direction = "both",
        chunk: int = _READ_SIZE,
        refuse: bool = False,
        black_hole: bool = False,
    ) -> None:
        """Listen on a free loopback port and forward from now on; see the class for options."""
        self.target = target
        self.cut_after = cut_after
        self.cuts = cuts
        self.direction: Direction = direction
        self.chunk = chunk
        self.refuse = refuse
        self.black_hole = black_hole
        self.connections = self.bytes_up = self.bytes_down = self.cuts_made = 0
        self._frozen = False
        self._closing = False
        self._links: list[_Link] = []
        self._requests: deque[tuple[Callable[[], None], Future[None]]] = deque()
        # Held by the thread whenever it is not waiting for the sockets.
        self._changed = threading.Condition()
        self._selector = selectors.DefaultSelector()
        self._wake_up, self._woken = socket.socketpair()
        self._listener = socket.create_server(("127.0.0.1", 0))
        for sock in (self._listener, self._woken):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        """Return the proxy, which is running already."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the proxy."""
        self.close()

    @property
    def open_connections(self) -> int:
        """How many clients' connections are open at the moment."""
        return len(self._links)

    def close(self) -> None:
        """Reset all connections and end the thread."""
        with self._changed:
            if not self._closing:
                self._closing = True
                self._wake_up.send(b"\0")
        self._thread.join(_DEADLINE)
        if self._thread.is_alive():
            raise TimeoutError("the proxy's thread did not end")
        self._wake_up.close()

    def cut(self) -> None:
        """Reset all connections; they are gone when this returns."""
        self._request(self._abort_all)

    def freeze(self) -> None:
        """Forward nothing, old connections or new, until `thaw`; connections stay open."""
        self._request(lambda: self._set_frozen(True))

    def thaw(self) -> None:
        """Forward again, beginning with what was held back."""
        self._request(lambda: self._set_frozen(False))

    def wait_for(self, predicate: "Callable[[Proxy], bool]", timeout: float = _DEADLINE) -> None:
        """Wait until the predicate holds, looking whenever the proxy has done something."""
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(self), timeout):
                raise TimeoutError(
                    f"not after {timeout} s: {self.connections} connections, {len(self._links)} "
                    f"open, {self.bytes_up} bytes up, {self.bytes_down} bytes down, "
                    f"{self.cuts_made} cuts"
                )

    def _request(self, action: Callable[[], None]) -> None:
        """Have the thread do something, and wait until it has."""
        future: Future[None] = Future()
        with self._changed:
            if self._closing:
                raise RuntimeError("the proxy is closed")
            self._requests.append((action, future))
            self._wake_up.send(b"\0")
        future.result(_DEADLINE)

    # Everything below runs in the thread.

    def _run(self) -> None:
        try:
            while not self._closing:
                draining = any(link.doomed_until is not None for link in self._links)
                events = self._selector.select(_DRAIN_POLL if draining else None)
                with self._changed:
                    self._handle({key.fileobj: mask for key, mask in events})
                    self._changed.notify_all()
        finally:
            with self._changed:
                self._closing = True
                self._abort_all()
                self._selector.close()
                self._listener.close()
                self._woken.close()
                for _, future in self._requests:
                    future.cancel()
                self._changed.notify_all()

    def _handle(self, ready: dict[object, int]) -> None:
        if self._woken in ready:
            self._woken.recv(_READ_SIZE)
        while self._requests:
            action, future = self._requests.popleft()
            action()
            future.set_result(None)
        for link in list(self._links):
            if link.doomed_until is None and not self._frozen:
                self._forward(link, ready)
            self._settle(link)
        if self._listener in ready:
            self._accept()

    def _set_frozen(self, frozen: bool) -> None:
        self._frozen = frozen

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            # The client has given up already.
            return
        self.connections += 1
        server: socket.socket | None = None
        if not self.refuse and not self.black_hole:
            with suppress(OSError):
                server = socket.create_connection(self.target, _CONNECT_TIMEOUT)
        if server is None and (self.refuse or not self.black_hole):
            client.close()
            return
        link = _Link(client, server)
        for sock in link.sockets:
            sock.setblocking(False)
            # Or else the kernel would put small chunks together again.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._links.append(link)
        self._doom_if_spent(link)
        self._settle(link)

    def _forward(self, link: _Link, ready: dict[object, int]) -> None:
        for pipe in link.pipes:
            if ready.get(pipe.source, 0) & selectors.EVENT_READ and not pipe.buffer:
                self._read(link, pipe)
            if pipe.buffer and not self._doom_if_spent(link):
                self._write(link, pipe)
            if link.doomed_until is not None:
                return

    def _read(self, link: _Link, pipe: _Pipe) -> None:
        try:
            pipe.buffer = pipe.source.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            link.doomed_until = monotonic() + _DRAIN_TIMEOUT
            return
        if not pipe.buffer:
            pipe.done = True
            if pipe.destination is not None:
                with suppress(OSError):
                    pipe.destination.shutdown(socket.SHUT_WR)
        if pipe.destination is None:
            pipe.buffer = b""

    def _write(self, link: _Link, pipe: _Pipe) -> None:
        assert pipe.destination is not None
        counts = self.direction in ("both", pipe.direction)
        limit = self.chunk
        if counts and self.cut_after is not None and self.cuts != 0:
            limit = min(limit, self.cut_after - link.counted)
        try:
            sent = pipe.destination.send(pipe.buffer[:limit])
        except BlockingIOError:
            return
        except OSError:
            # What the peer said before it closed may still have to go the other way.
            pipe.buffer = b""
            pipe.done = True
            return
        pipe.buffer = pipe.buffer[sent:]
        link.counted += sent if counts else 0
        if pipe.direction == "up":
            self.bytes_up += sent
        else:
            self.bytes_down += sent
        self._doom_if_spent(link)

    def _doom_if_spent(self, link: _Link) -> bool:
        if self.cut_after is None or self.cuts == 0 or link.counted < self.cut_after:
            return False
        if self.cuts is not None:
            self.cuts -= 1
        self.cuts_made += 1
        link.doomed_until = monotonic() + _DRAIN_TIMEOUT
        return True

    def _settle(self, link: _Link) -> None:
        """Close the link if it has ended, and else wait for what it needs next."""
        if link.doomed_until is not None:
            # A reset throws away what the kernel has yet to send, which was forwarded already.
            if not any(map(_unsent, link.sockets)) or monotonic() > link.doomed_until:
                self._remove(link, _abort)
                return
        elif all(pipe.done for pipe in link.pipes):
            self._remove(link, socket.socket.close)
            return
        wanted = dict.fromkeys(link.sockets, 0)
        if link.doomed_until is None and not self._frozen:
            for pipe in link.pipes:
                if pipe.buffer and pipe.destination is not None:
                    wanted[pipe.destination] |= selectors.EVENT_WRITE
                elif not pipe.done:
                    wanted[pipe.source] |= selectors.EVENT_READ
        for sock, events in wanted.items():
            self._watch(sock, events)

    def _watch(self, sock: socket.socket, events: int) -> None:
        if sock not in self._selector.get_map():
            if events:
                self._selector.register(sock, events)
        elif events:
            self._selector.modify(sock, events)
        else:
            self._selector.unregister(sock)

    def _remove(self, link: _Link, close: Callable[[socket.socket], None]) -> None:
        self._links.remove(link)
        for sock in link.sockets:
            self._watch(sock, 0)
            close(sock)

    def _abort_all(self) -> None:
        for link in list(self._links):
            self._remove(link, _abort)
