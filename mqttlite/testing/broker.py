"""The embedded broker on real sockets: ``AsyncBroker`` for asyncio, ``Broker`` for threads."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from ipaddress import ip_address
from os import PathLike, fspath
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar, Unpack
from urllib.parse import quote

from mqttlite.enums import ReasonCode
from mqttlite.errors import UsageError
from mqttlite.message import Payload, PublishProperties
from mqttlite.testing.connection import BrokerConnection
from mqttlite.testing.core import BrokerCore, Counters
from mqttlite.testing.link import Link
from mqttlite.testing.options import BrokerKeywords
from mqttlite.testing.session import SessionInfo

T = TypeVar("T")

_NEXT_TURN: Final = 1e-6
"""Seconds: no time, but not 0, which would be no timer."""


class AsyncBroker:
    """A broker on the running event loop, for tests and demonstrations.

    It listens on ``host`` and ``port`` (0: a free one, which it keeps), or on the Unix socket
    ``unix``; encrypted with ``tls``. Other addresses than loopback need ``allow_remote=True``:
    this is no broker for a network. The other arguments are the fields of ``BrokerOptions``.
    ``core`` is the broker without its sockets; its ``options`` may be changed at any time.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        unix: str | PathLike[str] | None = None,
        tls: ssl.SSLContext | None = None,
        allow_remote: bool = False,
        **options: Unpack[BrokerKeywords],
    ) -> None:
        if unix is None and not allow_remote and not _is_loopback(host):
            raise UsageError(
                f"{host!r} is not a loopback address: the embedded broker is for tests; "
                f"allow_remote=True lets others in nevertheless"
            )
        self.core = BrokerCore(**options)
        self._host = "127.0.0.1" if host == "localhost" else host  # one address has one port
        self._port = port
        self._unix = None if unix is None else fspath(unix)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._links: dict[BrokerConnection, Link] = {}
        self._all_closed: asyncio.Future[None] | None = None  # while stop() waits for it
        self._timer: asyncio.Handle | None = None  # that of uvloop does not tell its time
        self._timer_due = 0.0
        self._pump_scheduled = False

    # --- what it is

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before the first start, and with a Unix socket."""
        return self._port

    @property
    def url(self) -> str:
        """What a client is to be given; the port is there after the first start."""
        if self._unix is not None:
            return f"unix://{quote(str(Path(self._unix).absolute()))}"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'mqtts' if self._tls else 'mqtt'}://{host}:{self._port}"

    @property
    def counters(self) -> Counters:
        """What it has done."""
        return self.core.counters

    @property
    def sessions(self) -> dict[str, SessionInfo]:
        """The sessions by client identifier, as they are now."""
        return {name: SessionInfo.of(item) for name, item in self.core.sessions.items()}

    # --- starting and stopping

    async def start(self) -> None:
        """Listen; does nothing if it does already. After ``stop()`` at the same port."""
        if self._server is not None:
            return
        loop = asyncio.get_running_loop()
        if self._unix is not None:
            self._server = await loop.create_unix_server(self._make_link, self._unix)
        else:
            self._server = await loop.create_server(self._make_link, self._host, self._port)
            self._port = self._server.sockets[0].getsockname()[1]
        self._set_timer()  # for sessions that expire

    def _make_link(self) -> Link:
        return Link(self, self._tls)

    async def stop(self, *, drop: bool = False, forget: bool = False) -> None:
        """Close all connections and do not listen any more; does nothing if it does not.

        Clients are told that the server is shutting down; with ``drop`` their connections are
        cut without a word. Sessions and retained messages stay for the next ``start()``; with
        ``forget`` they are lost, as if the broker had been killed.
        """
        server, self._server = self._server, None
        if server is not None:
            # asyncio breaks, and leaks, a connection that it accepted just before close(). Right
            # after a timer there is none: timers come last in a turn of the loop.
            await asyncio.sleep(_NEXT_TURN)
            server.close()
            self.disconnect_all(None if drop else ReasonCode.SERVER_SHUTTING_DOWN)
            if self._links:
                self._all_closed = asyncio.get_running_loop().create_future()
                await self._all_closed
            await server.wait_closed()
            if self._unix is not None:
                _remove(self._unix)  # Python does so itself from 3.13 on
        if forget:
            self.core.forget()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    # --- what a test does to it

    def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[PublishProperties],
    ) -> int:
        """Publish a message from the server's side; return how many copies are on their way."""
        now = self.now()
        count = self.core.publish(topic, payload, now, qos=qos, retain=retain, **properties)
        self.pump()
        return count

    def disconnect_all(self, reason_code: int | None = None) -> None:
        """End all connections: with a DISCONNECT, or (None) without a word."""
        self.core.disconnect_all(self.now(), reason_code)
        self.pump()

    # --- what the links call

    def now(self) -> float:
        """The loop's time."""
        return asyncio.get_running_loop().time()

    def link_opened(self, link: Link) -> BrokerConnection:
        """A client has connected."""
        connection = self.core.connection_opened(self.now())
        self._links[connection] = link
        if self._server is None:  # it came while the broker was stopping
            link.abort()
        self.pump_soon()
        return connection

    def link_lost(self, connection: BrokerConnection) -> None:
        """A connection is closed."""
        del self._links[connection]
        self.core.connection_lost(connection, self.now())
        if self._all_closed is not None and not self._links:
            self._all_closed.set_result(None)
            self._all_closed = None
        self.pump_soon()

    def pump_soon(self) -> None:
        """Pump in the loop's next turn: once for all that happens in this one."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump_scheduled_now)

    def _pump_scheduled_now(self) -> None:
        self._pump_scheduled = False
        self.pump()

    def pump(self) -> None:
        """Do what the core wants done."""
        for connection in self.core.take_changed():
            link = self._links.get(connection)
            if link is not None:
                link.pump()
        self._set_timer()

    def _set_timer(self) -> None:
        # A timer that is too early costs one look; to move it with every packet would cost more.
        deadline = self.core.next_deadline() if self._server is not None else None
        timer = self._timer
        if timer is not None:
            if deadline is not None and self._timer_due <= deadline:
                return
            timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer_due = deadline
            self._timer = asyncio.get_running_loop().call_at(deadline, self._deadline)

    def _deadline(self) -> None:
        self._timer = None
        # A loop's clock may be a hair early.
        self.core.handle_deadline(max(self.now(), self._timer_due))
        self.pump()


class Broker:
    """A broker in a thread of its own, for tests and demonstrations.

    The arguments are those of ``AsyncBroker``. All methods may be called from any thread; the
    functions that were given as options are called in the broker's.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        unix: str | PathLike[str] | None = None,
        tls: ssl.SSLContext | None = None,
        allow_remote: bool = False,
        **options: Unpack[BrokerKeywords],
    ) -> None:
        self._broker = AsyncBroker(
            host=host, port=port, unix=unix, tls=tls, allow_remote=allow_remote, **options
        )
        self._lock = threading.Lock()  # for those that start, stop and call
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Future[tuple[bool, bool]] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before the first start, and with a Unix socket."""
        return self._broker.port

    @property
    def url(self) -> str:
        """What a client is to be given; the port is there after the first start."""
        return self._broker.url

    @property
    def core(self) -> BrokerCore:
        """The broker without its sockets; it belongs to the broker's thread.

        Its ``options`` may be changed at any time, from any thread.
        """
        return self._broker.core

    @property
    def counters(self) -> Counters:
        """What it has done."""
        return self._broker.counters

    @property
    def sessions(self) -> dict[str, SessionInfo]:
        """The sessions by client identifier, as they are now."""
        return self._call(lambda: self._broker.sessions)

    def start(self) -> None:
        """Listen; does nothing if it does already. After ``stop()`` at the same port."""
        with self._lock:
            if self._thread is not None:
                return
            started: Future[None] = Future()
            thread = threading.Thread(
                target=lambda: asyncio.run(self._run(started)), name="mqttlite broker", daemon=True
            )
            thread.start()
            try:
                started.result()
            except BaseException:
                thread.join()
                raise
            self._thread = thread

    async def _run(self, started: Future[None]) -> None:
        """Be the broker's thread."""
        try:
            await self._broker.start()
        except BaseException as error:
            started.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        self._stop = self._loop.create_future()
        started.set_result(None)
        drop, forget = await self._stop
        await self._broker.stop(drop=drop, forget=forget)

    def stop(self, *, drop: bool = False, forget: bool = False) -> None:
        """Close all connections and do not listen any more; does nothing if it does not.

        Clients are told that the server is shutting down; with ``drop`` their connections are
        cut without a word. Sessions and retained messages stay for the next ``start()``; with
        ``forget`` they are lost, as if the broker had been killed.
        """
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None and self._loop is not None and self._stop is not None:
                self._loop.call_soon_threadsafe(self._stop.set_result, (drop, forget))
                thread.join()
            elif forget:
                self._broker.core.forget()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[PublishProperties],
    ) -> int:
        """Publish a message from the server's side; return how many copies are on their way.

        Raises UsageError if the broker is not running.
        """

        def publish() -> int:
            self._check_running()
            return self._broker.publish(topic, payload, qos=qos, retain=retain, **properties)

        return self._call(publish)

    def disconnect_all(self, reason_code: int | None = None) -> None:
        """End all connections: with a DISCONNECT, or (None) without a word.

        Raises UsageError if the broker is not running.
        """

        def disconnect_all() -> None:
            self._check_running()
            self._broker.disconnect_all(reason_code)

        self._call(disconnect_all)

    def _check_running(self) -> None:
        if self._thread is None:
            raise UsageError("the broker is not running: call start() first")

    def _call(self, function: Callable[[], T]) -> T:
        """Run a function in the broker's thread; while there is none, in this one."""
        if threading.current_thread() is self._thread:
            return function()  # called by one of the functions that the broker calls
        with self._lock:
            if self._thread is None or self._loop is None:
                return function()
            done: Future[T] = Future()

            def run() -> None:
                try:
                    done.set_result(function())
                except BaseException as error:
                    done.set_exception(error)

            self._loop.call_soon_threadsafe(run)
            return done.result()


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        Path(path).unlink()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
