"""Cancelling connect() and close() at every point: nothing is left, and it can be done again."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
import warnings

import pytest

from mqttlite import TLS, AsyncClient, Message, Reconnect
from mqttlite.testing import AsyncBroker
from tests.shells.cutting import HOWS, Cut, How, TurningLoop, at_every_point, run, until
from tests.shells.lab import TIMEOUT
from tests.shells.leaks import open_sockets
from tests.shells.peer import ACCEPTED, Call, Peer
from tests.support.certificates import Certificates

every_how = pytest.mark.parametrize("how", HOWS)

pytestmark = pytest.mark.deadline(60.0)

SOON = Reconnect(first_delay=0.01, maximum_delay=0.01)


class Servers:
    """A broker, and what it is behind: TCP; or TLS, and an address that does not answer."""

    def __init__(self, certificates: Certificates | None) -> None:
        self._certificates = certificates
        self._full = socket.socket()
        self._fillers = [socket.socket() for _ in range(4)]

    async def __aenter__(self) -> AsyncClient:
        context = tls = None
        if self._certificates is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(
                self._certificates.server_certificate, self._certificates.server_key
            )
            tls = TLS(context=ssl.create_default_context(cafile=self._certificates.ca_file))
        self._broker = AsyncBroker(tls=context)
        await self._broker.start()
        loop = asyncio.get_running_loop()
        assert isinstance(loop, TurningLoop)
        loop.addresses = [("127.0.0.1", self._broker.port)]
        if tls is not None:
            loop.addresses.insert(0, self._fill())
        self._before = open_sockets()
        # A socket that is forgotten is closed by the interpreter, which only warns of it.
        self._catching = warnings.catch_warnings(record=True)
        self._warnings = self._catching.__enter__()
        warnings.simplefilter("always")
        return AsyncClient(self._broker.url, client_id="c", tls=tls, reconnect=SOON)

    def _fill(self) -> tuple[str, int]:
        """Return an address where nobody accepts, and the backlog is full."""
        self._full.bind(("127.0.0.1", 0))
        self._full.listen(0)
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(self._full.getsockname())
        return "127.0.0.1", self._full.getsockname()[1]

    async def check(self, client: AsyncClient) -> None:
        """Show that nothing is left of a connection, and that there can be another one."""
        assert client.is_idle
        await until(lambda: not self._broker.core.connections, "the broker has noticed")
        # The broker's side of a connection that was given up at once may still be at its begin.
        left = asyncio.all_tasks() - {asyncio.current_task()}
        own = {task for task in left if "_accept_connection" in repr(task.get_coro())}
        assert left == own, f"tasks are left: {left - own}"
        await until(lambda: not own & asyncio.all_tasks(), "asyncio has accepted it")
        await until(lambda: not self._broker.core.connections, "the broker has noticed")
        more = open_sockets() - self._before
        assert not more, f"sockets are left: {sorted(more)}"
        gc.collect()
        forgotten = [str(warning.message) for warning in self._warnings]
        assert not forgotten, f"not closed: {forgotten}"
        core = client._core
        assert (core._connection, core._connecting, core._closing) == (None, None, None)
        assert core.next_deadline() is None
        async with client, client.subscribe("a", qos=1) as messages:
            await client.publish("a", b"x", qos=1, timeout=TIMEOUT)
            assert (await messages.get(TIMEOUT)).payload == b"x"
        await until(lambda: not self._broker.core.connections, "the broker has noticed")

    async def __aexit__(self, *_: object) -> None:
        self._catching.__exit__(None, None, None)
        await self._broker.stop()
        for each in (self._full, *self._fillers):
            each.close()


TWO_ADDRESSES = "tls with two addresses"


@pytest.fixture(params=["tcp", TWO_ADDRESSES])
def servers(
    request: pytest.FixtureRequest, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> Servers:
    # As soon as may be, but later than an answer from an address that answers at once.
    monkeypatch.setattr("mqttlite.aio.dial.HAPPY_EYEBALLS_DELAY", 0.002)
    return Servers(None if request.param == "tcp" else certificates)


@every_how
def test_connect(how: How, servers: Servers) -> None:
    """Cancelled, it leaves nothing behind; the next one works."""

    async def scenario() -> None:
        async with servers as client:

            async def cut_connect(cut: Cut) -> bool:
                cancelled = await cut.run(client.connect())
                if how == "impatient" or not cancelled:
                    await client.close()
                await servers.check(client)
                return cancelled

            await at_every_point(how, cut_connect)

    run(scenario())


@every_how
@pytest.mark.parametrize("drain", [True, False])
def test_close(how: How, servers: Servers, drain: bool) -> None:
    async def scenario() -> None:
        async with servers as client:

            async def cut_close(cut: Cut) -> bool:
                await client.connect()
                deliveries = [client.publish_nowait("a", b"x", qos=2) for _ in range(3)]
                begun = []

                async def call() -> None:
                    begun.append(True)
                    await client.close(drain=drain)

                cancelled = await cut.run(call())
                if how == "impatient" or not begun:
                    await client.close()
                await servers.check(client)
                assert all(delivery.done for delivery in deliveries)
                return cancelled

            await at_every_point(how, cut_close)

    run(scenario())


@pytest.mark.parametrize("how", ["suspended", "impatient"])
def test_a_cancelled_close_does_not_wait_for_the_server(how: How) -> None:
    """It neither acknowledges nor closes."""

    def deaf(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_to_end()
        release.wait(TIMEOUT)

    async def scenario() -> None:
        with Peer(deaf) as peer:
            client = AsyncClient(peer.url, client_id="c", version="5.0")
            await client.connect()
            delivery = client.publish_nowait("a", b"x", qos=1)
            assert await Cut(how, 1).run(client.close(1000.0))
            release.set()
            if how == "impatient":
                await client.close()
            assert client.is_idle
            assert delivery.done
            assert asyncio.all_tasks() == {asyncio.current_task()}

    release = threading.Event()
    run(scenario())


@every_how
def test_close_while_a_handler_is_at_work(how: How) -> None:
    """The handler does not end by itself; closing again ends it."""

    async def scenario() -> None:
        async with AsyncBroker() as broker:
            client = AsyncClient(broker.url, client_id="c")

            async def cut_close(cut: Cut) -> bool:
                entered, never = asyncio.Event(), asyncio.Event()

                async def handler(_message: Message) -> None:
                    entered.set()
                    await never.wait()

                await client.connect()
                await client.subscribe("a", handler=handler)
                client.publish_nowait("a", b"x")
                await asyncio.wait_for(entered.wait(), TIMEOUT)
                cancelled = await cut.run(client.close(0.05))
                await client.close(0.05)
                assert asyncio.all_tasks() == {asyncio.current_task()}
                return cancelled

            await at_every_point(how, cut_close)

    run(scenario())


@every_how
def test_a_block_with_a_client(how: How, servers: Servers) -> None:
    async def scenario() -> None:
        async with servers as client:

            async def cut_block(cut: Cut) -> bool:
                async def call() -> None:
                    async with client, client.subscribe("b", qos=1) as messages:
                        await client.publish("b", b"x", qos=2)
                        assert (await anext(messages)).payload == b"x"

                cancelled = await cut.run(call())
                if how == "impatient":
                    await client.close()
                await servers.check(client)
                return cancelled

            await at_every_point(how, cut_block)

    run(scenario())
