"""A network, a clock and a scheduler in memory, in the place of those of the system.

``install()`` replaces what the standard library offers; the clients, their threads, and asyncio
with its transports run upon it unchanged. Threads take turns only where one of them has to wait:
so everything happens in the same order every time.
"""

import asyncio
import selectors
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from itertools import count
from typing import Any, Self

from tests.benchmarks.server import Server

_ADDRESS = ("127.0.0.1", 1883)
_SystemLock = threading.Lock
_NEVER = 1e6
"""Seconds after which the interpreter would take the turn from a thread."""


class Clock:
    """Stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Tell the time."""
        NETWORK.calls += 1
        return self.now


_MOMENT = 0.01
"""Seconds below which somebody only wants to let others do what they are at."""


class Network:
    """All sockets and selectors, and how often they were used."""

    def __init__(self) -> None:
        self.sends = 0
        self.receives = 0
        self.selects = 0
        self.calls = 0
        """Calls of functions that would be C functions elsewhere: of the clock, and of locks."""
        self.sockets: dict[int, MemorySocket] = {}
        self.waiting: list[MemorySelector] = []
        """The selectors at which a thread waits."""
        self.lingering: list[MemorySelector] = []
        """Those at which one only waits for a moment."""
        self.selectors: list[MemorySelector] = []
        self.servers: list[MemorySocket] = []
        """The clients' ends of the connections to servers, in the order of their making."""
        self._quiet = _SystemLock()
        self._quiet.acquire()
        self._numbers = count(100_000)

    def number(self) -> int:
        """Return a file descriptor that is none."""
        return next(self._numbers)

    def changed(self) -> None:
        """Wake the threads that have something to do now."""
        for selector in self.waiting.copy():
            if selector.ready():
                self.waiting.remove(selector)
                selector.wakeup.release()

    def settle(self) -> None:
        """Wait until every thread with a selector waits for the network."""
        while len(self.waiting) < len(self.selectors):
            self.end_lingering()
            self._quiet.acquire()

    def linger(self, selector: "MemorySelector") -> None:
        """Wait for as long as the other threads have something to do."""
        self.lingering.append(selector)
        if self._quiet.locked():
            self._quiet.release()
        selector.wakeup.acquire()

    def end_lingering(self) -> None:
        """The moment is over: this thread is going to wait."""
        while self.lingering:
            self.lingering.pop().wakeup.release()

    def wait(self, selector: "MemorySelector") -> None:
        """Wait until there is something to do at a selector."""
        if threading.current_thread() is threading.main_thread():
            raise RuntimeError("nothing will ever happen any more")
        self.waiting.append(selector)
        if self._quiet.locked():
            self._quiet.release()
        selector.wakeup.acquire()


NETWORK = Network()
CLOCK = Clock()


class TurnLock:
    """A lock that is handed on when its next holder has its turn.

    Who waits for one of the system's locks gets it as soon as the system pleases, while another
    thread still has the turn.
    """

    def __init__(self, *, is_reentrant: bool = False) -> None:
        self._is_reentrant = is_reentrant
        self._holder: int | None = None
        self._depth = 0
        self._tickets: deque[Any] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        NETWORK.calls += 1
        this = threading.get_ident()
        if self._is_reentrant and self._holder == this:
            self._depth += 1
            return True
        while self._depth:
            if not blocking:
                return False
            NETWORK.end_lingering()
            ticket = _SystemLock()
            ticket.acquire()
            self._tickets.append(ticket)
            if not ticket.acquire(timeout=timeout):
                self._tickets.remove(ticket)
                return False
        self._holder = this
        self._depth = 1
        return True

    def release(self) -> None:
        NETWORK.calls += 1
        if not self._depth:
            raise RuntimeError("release unlocked lock")
        self._depth -= 1
        if not self._depth:
            self._holder = None
            if self._tickets:
                self._tickets.popleft().release()

    def locked(self) -> bool:
        return bool(self._depth)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    # --- what threading.Condition asks of its lock

    def _is_owned(self) -> bool:
        return self._holder == threading.get_ident()

    def _release_save(self) -> int:
        depth, self._depth = self._depth, 1
        self.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        self.acquire()
        self._depth = depth


def _reentrant_lock() -> TurnLock:
    return TurnLock(is_reentrant=True)


class MemorySocket:
    """A socket that is connected to another one, or to a server of its own."""

    proto = socket.IPPROTO_TCP

    def __init__(
        self, family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM, *_: object
    ) -> None:
        self.family = family
        self.type = kind
        self.server: Server | None = None
        self.other: MemorySocket | None = None
        self.incoming = bytearray()
        self.has_ended = False
        self._number = NETWORK.number()
        NETWORK.sockets[self._number] = self

    def fileno(self) -> int:
        return self._number

    def connect(self, _address: object) -> None:
        self.server = Server()
        NETWORK.servers.append(self)

    def connect_ex(self, address: object) -> int:
        self.connect(address)
        return 0

    def send(self, data: bytes | memoryview) -> int:
        NETWORK.sends += 1
        size = len(data)
        if self.other is not None:
            self.other.push(data)
        elif self.server is not None and (answer := self.server.receive(data)):
            self.push(answer)
        return size

    def sendmsg(self, parts: list[bytes | memoryview]) -> int:
        return self.send(b"".join(parts))

    def recv(self, size: int) -> bytes:
        NETWORK.receives += 1
        if not self.incoming and not self.has_ended:
            raise BlockingIOError
        data = bytes(self.incoming[:size])
        del self.incoming[:size]
        return data

    def recv_into(self, buffer: Any) -> int:
        data = self.recv(len(buffer))
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def push(self, data: bytes | memoryview) -> None:
        """Let data arrive here."""
        self.incoming += data
        NETWORK.changed()

    @property
    def is_readable(self) -> bool:
        return bool(self.incoming) or self.has_ended

    def shutdown(self, _how: int) -> None:
        """The server closes its direction when it has heard the goodbye."""
        self.has_ended = True
        NETWORK.changed()

    def close(self) -> None:
        NETWORK.sockets.pop(self._number, None)
        self._number = -1

    def detach(self) -> int:
        number, self._number = self._number, -1
        return number

    def setblocking(self, flag: bool) -> None:
        pass

    def gettimeout(self) -> float:
        return 0.0

    def setsockopt(self, *_: object) -> None:
        pass

    def getsockopt(self, *_: object) -> int:
        return 0

    def getsockname(self) -> tuple[str, int]:
        return _ADDRESS

    def getpeername(self) -> tuple[str, int]:
        return _ADDRESS


def _socketpair(*_: object) -> tuple[MemorySocket, MemorySocket]:
    here, there = MemorySocket(socket.AF_UNIX), MemorySocket(socket.AF_UNIX)
    here.other, there.other = there, here
    return here, there


class MemorySelector(selectors.BaseSelector):
    """Tells which sockets are ready; everything can always be written."""

    def __init__(self) -> None:
        self.wakeup = _SystemLock()
        self.wakeup.acquire()
        self._keys: dict[int, selectors.SelectorKey] = {}
        NETWORK.selectors.append(self)

    def _number(self, fileobj: Any) -> int:
        return fileobj if isinstance(fileobj, int) else int(fileobj.fileno())

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        number = self._number(fileobj)
        key = self._keys[number] = selectors.SelectorKey(fileobj, number, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(self._number(fileobj))

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self.register(fileobj, events, data)

    def ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, without waiting."""
        found = []
        for number, key in self._keys.items():
            end = NETWORK.sockets.get(number)
            events = key.events & selectors.EVENT_WRITE
            if end is not None and end.is_readable:
                events |= key.events & selectors.EVENT_READ
            if events:
                found.append((key, events))
        return found

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        NETWORK.selects += 1
        ready = self.ready()
        if not ready and timeout is not None and 0 < timeout < _MOMENT:
            NETWORK.linger(self)
            ready = self.ready()
        elif not ready and (timeout is None or timeout > 0):
            NETWORK.wait(self)
            ready = self.ready()
        return ready

    def close(self) -> None:
        if self in NETWORK.selectors:
            NETWORK.selectors.remove(self)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[self._number(fileobj)]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Loop(asyncio.SelectorEventLoop):
    """An event loop upon the network in memory."""

    def __init__(self) -> None:
        super().__init__(MemorySelector())

    async def getaddrinfo(self, *_: Any, **__: Any) -> list[Any]:
        return _addresses()


def _addresses(*_: Any, **__: Any) -> list[Any]:
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", _ADDRESS)]


def install() -> None:
    """Replace the system's; to be called before the package is imported, which keeps some."""
    import ssl  # noqa: F401, PLC0415 - it derives from the real socket

    replaced: list[tuple[Any, str, Any]] = [
        (time, "monotonic", CLOCK.monotonic),
        (socket, "socket", MemorySocket),
        (socket, "socketpair", _socketpair),
        (socket, "getaddrinfo", _addresses),
        (threading, "Lock", TurnLock),
        (threading, "RLock", _reentrant_lock),
        (selectors, "DefaultSelector", MemorySelector),
    ]
    for module, name, replacement in replaced:
        setattr(module, name, replacement)
    sys.setswitchinterval(_NEVER)
