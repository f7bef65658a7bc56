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
from typing import Final, Self, TypeVar
from urllib.parse import quote

from typing_extensions import Unpack

from mqttlite.enums import ReasonCode
from mqttlite.errors import UsageError
from mqttlite.message import Payload, PublishProperties
from mqttlite.protocol import ConnectionState
from mqttlite.testing.connection import BrokerConnection
from mqttlite.testing.core import BrokerCore, Counters
from mqttlite.testing.options import BrokerKeywords
from mqttlite.testing.session import SessionInfo

T = TypeVar("T")

_CLOSE_TIMEOUT: Final = 2.0
"""Seconds in which a client has to read its last packets and to close its side."""


class _Link(asyncio.Protocol):
    """One client: bytes to the core and from it."""

    def __init__(self, broker: AsyncBroker) -> None:
        self._broker = broker
        self._transport: asyncio.Transport | None = None
        self._connection: BrokerConnection | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._is_writable = True
        self._has_finished = False

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected (and made its TLS handshake)."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connection = self._broker.link_opened(self)

    def data_received(self, data: bytes) -> None:
        """The client has sent bytes."""
        if self._connection is not None:
            self._broker.core.receive(self._connection, data, self._broker.now())
            self._broker.pump_soon()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is sent to: keep the rest in the core."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """The client has read."""
        self._is_writable = True
        self.pump()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why is no matter
        """The socket is closed."""
        if self._closing is not None:
            self._closing.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._broker.link_lost(self, connection)

    # --- what the broker calls

    def pump(self) -> None:
        """Do what the core wants done with this connection."""
        transport, connection = self._transport, self._connection
        if transport is None or connection is None:
            return
        core = self._broker.core
        now = self._broker.now()
        while self._is_writable and (data := core.data_to_send(connection, now)):
            transport.write(data)
        if connection.is_ending:
            self._close(transport, connection)
        elif core.wants_data(connection):
            transport.resume_reading()
        else:
            transport.pause_reading()

    def _close(self, transport: asyncio.Transport, connection: BrokerConnection) -> None:
        if self._closing is None:
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(_CLOSE_TIMEOUT, transport.abort)
            transport.resume_reading()  # to see the end of what the client sends
        if connection.state is ConnectionState.CLOSED:
            transport.abort()
        elif not connection.unsent_size and not self._has_finished:
            self._has_finished = True
            # Close our direction only: to close both while the client is still sending would
            # make the system answer with a reset, which can take our last packet away from it.
            if transport.can_write_eof():
                transport.write_eof()
            else:
                transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


class AsyncBroker:
    """A broker on the running event loop, for tests and demonstrations.

    It listens on ``host`` and ``port`` (0: a free one, which it keeps), or on the Unix socket
    ``unix``, with ``tls`` encrypted. Other addresses than loopback need ``allow_remote=True``:
    this is no broker for a network. The other arguments are the fields of ``BrokerOptions``.
    ``core`` is the broker without its sockets, for whom needs more.
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
        self._host = "127.0.0.1" if host == "localhost" else host
        self._port = port
        self._unix = None if unix is None else fspath(unix)
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._links: dict[BrokerConnection, _Link] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._pump_scheduled = False
        self._all_closed = asyncio.Event()

    # --- what it is

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before the first start, and with a Unix socket."""
        return self._port

    @property
    def url(self) -> str:
        """What a client is to be given."""
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
            self._server = await loop.create_unix_server(
                lambda: _Link(self), self._unix, ssl=self._tls
            )
            return
        self._server = await loop.create_server(
            lambda: _Link(self), self._host, self._port, ssl=self._tls
        )
        self._port = self._server.sockets[0].getsockname()[1]
        self.pump_soon()

    async def stop(self, *, drop: bool = False, forget: bool = False) -> None:
        """Close all connections and do not listen any more.

        Clients are told that the server is shutting down; with ``drop`` their connections are
        cut without a word. Sessions and retained messages stay for the next ``start()``; with
        ``forget`` they are lost.
        """
        server, self._server = self._server, None
        if server is not None:
            server.close()
            reason = None if drop else ReasonCode.SERVER_SHUTTING_DOWN
            self.core.disconnect_all(self.now(), reason)
            self.pump()
            while self._links:
                self._all_closed.clear()
                await self._all_closed.wait()
            await server.wait_closed()
            if self._unix is not None:
                _remove(self._unix)  # Python does it from 3.13 on
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
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
        """Publish a message from the server's side; return how many clients it is for."""
        count = self.core.publish(topic, payload, self.now(), qos=qos, retain=retain, **properties)
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

    def link_opened(self, link: _Link) -> BrokerConnection:
        """A client has connected."""
        connection = self.core.connection_opened(self.now())
        self._links[connection] = link
        if self._server is None:  # while it was stopping
            link.abort()
        self.pump_soon()
        return connection

    def link_lost(self, link: _Link, connection: BrokerConnection) -> None:  # noqa: ARG002
        """A connection is closed."""
        del self._links[connection]
        self.core.connection_lost(connection, self.now())
        if not self._links:
            self._all_closed.set()
        self.pump_soon()

    def pump_soon(self) -> None:
        """Pump in the loop's next turn: once for all that happens in this one."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Do what the core wants done."""
        self._pump_scheduled = False
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
            if deadline is not None and timer.when() <= deadline:
                return
            timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(deadline, self._deadline)

    def _deadline(self) -> None:
        timer, self._timer = self._timer, None
        now = self.now()
        if timer is not None:
            now = max(now, timer.when())  # a loop's clock may be a hair early
        self.core.handle_deadline(now)
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
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Future[tuple[bool, bool]] | None = None

    @property
    def port(self) -> int:
        """The port that it listens on; 0 before the first start, and with a Unix socket."""
        return self._broker.port

    @property
    def url(self) -> str:
        """What a client is to be given."""
        return self._broker.url

    @property
    def core(self) -> BrokerCore:
        """The broker without its sockets; it belongs to the broker's thread."""
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
        if self._thread is not None:
            return
        started: Future[None] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="mqttlite broker", daemon=True
        )
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self._thread.join()
            self._thread = None
            raise

    async def _run(self, started: Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = self._loop.create_future()
        try:
            await self._broker.start()
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        drop, forget = await self._stop
        await self._broker.stop(drop=drop, forget=forget)

    def stop(self, *, drop: bool = False, forget: bool = False) -> None:
        """Close all connections and do not listen any more.

        Clients are told that the server is shutting down; with ``drop`` their connections are
        cut without a word. Sessions and retained messages stay for the next ``start()``; with
        ``forget`` they are lost.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            if forget:
                self._broker.core.forget()
            return
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set_result, (drop, forget))
        thread.join()
        self._loop = self._stop = None

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
        """Publish a message from the server's side; return how many clients it is for."""
        return self._call(
            lambda: self._broker.publish(topic, payload, qos=qos, retain=retain, **properties)
        )

    def disconnect_all(self, reason_code: int | None = None) -> None:
        """End all connections: with a DISCONNECT, or (None) without a word."""
        self._call(lambda: self._broker.disconnect_all(reason_code))

    def _call(self, function: Callable[[], T]) -> T:
        """Run a function in the broker's thread."""
        loop = self._loop
        if loop is None:
            raise UsageError("the broker is not running: call start() first")
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(function())
            except BaseException as error:
                done.set_exception(error)

        loop.call_soon_threadsafe(run)
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
