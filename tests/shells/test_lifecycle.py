"""Connecting and closing, well and badly: always within a deadline, and nothing stays behind."""

import asyncio
import signal
import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.enums import ClosedBy, Fate
from mqttlite.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    MqttError,
    ProtocolError,
    PublishError,
    UsageError,
)
from mqttlite.options import TLS
from mqttlite.sync import Client
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.leaks import ignored_proxy, open_sockets
from tests.shells.peer import ACCEPTED, Call, Peer, answers
from tests.support.ports import free_ports
from tests.support.proxy import Proxy

only_5 = pytest.mark.parametrize("version", ["5.0"])


@pytest.fixture
def silent() -> Iterator[Proxy]:
    """Accepts connections and never says anything."""
    with Proxy(("127.0.0.1", 1), black_hole=True) as proxy, ignored_proxy(proxy):
        yield proxy


# --- the end


@rule(2)
def test_when_close_returns_the_threads_have_ended() -> None:
    before = set(threading.enumerate())
    with Peer(answers(ACCEPTED["5.0"])) as peer:
        running = set(threading.enumerate())
        for _ in range(100):
            with Client(peer.url, version="5.0"):
                assert set(threading.enumerate()) > running
            assert set(threading.enumerate()) == running
    assert set(threading.enumerate()) == before


@rule(1)
def test_when_connect_fails_the_threads_have_ended() -> None:
    before, sockets = set(threading.enumerate()), open_sockets()
    [port] = free_ports(1)
    client = Client(f"mqtt://127.0.0.1:{port}")
    for _ in range(100):
        with pytest.raises(ConnectFailed):
            client.connect()
        assert set(threading.enumerate()) == before
        assert open_sockets() == sockets


@rule(3)
async def test_a_closed_client_can_connect_again(lab: Lab) -> None:
    client = lab.client()
    for i in range(3):
        async with client:
            assert client.is_connected
            async with client.subscribe(lab.topic, qos=1) as messages:
                await client.publish(lab.topic, b"%d" % i, qos=1)
                assert (await messages.get(TIMEOUT)).payload == b"%d" % i
        assert client.is_idle
        with pytest.raises(ConnectionClosed, match="connect"):
            await client.publish(lab.topic, b"x", qos=1)


async def test_connecting_twice_is_a_mistake(lab: Lab) -> None:
    async with lab.client() as client:
        with pytest.raises(UsageError, match="already"):
            await client.connect()
        assert client.is_connected
        await client.publish(lab.topic, qos=1)


@rule(2)
async def test_closing_twice_and_before_connecting(lab: Lab) -> None:
    client = lab.client()
    await client.close()
    await client.connect()
    await client.close()
    await client.close()
    assert client.is_idle


@rule(2)
async def test_two_close_at_the_same_time(lab: Lab) -> None:
    client = lab.client()
    await client.connect()
    first, second = lab.start(client.close()), lab.start(client.close())
    await first.result()
    await second.result()
    assert client.is_idle


@rule(2, 3)
async def test_an_exception_in_the_block_closes_the_client(lab: Lab) -> None:
    client = lab.client()
    with pytest.raises(KeyError):
        async with client, client.subscribe(lab.topic, qos=1, handler=print):
            raise KeyError
    assert client.is_idle


@rule(2)
async def test_closing_sends_what_was_accepted(lab: Lab) -> None:
    async with lab.client() as other, other.subscribe(lab.topic, qos=2) as messages:
        async with lab.client() as client:
            deliveries = [client.publish_nowait(lab.topic, b"%d" % i, qos=2) for i in range(200)]
        assert {delivery.fate for delivery in deliveries} == {Fate.ACKNOWLEDGED}
        for i in range(200):
            assert (await messages.get(TIMEOUT)).payload == b"%d" % i


@rule(2)
@pytest.mark.parametrize("qos", [1, 2])
async def test_closing_holds_its_deadline(bench: Lab, qos: int) -> None:
    """The server acknowledges nothing and does not close: close() ends all the same."""

    def deaf(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED[str(bench.version)])
        call.read_to_end()
        with pytest.raises((EOFError, OSError)):
            call.read(1)

    with Peer(deaf) as peer:
        client = bench.client(peer.url)
        await client.connect()
        delivery = client.publish_nowait(bench.topic, b"x", qos=qos)
        start = monotonic()
        await client.close(0.2)
        assert monotonic() - start < 2.0
        assert delivery.fate is Fate.CLOSED
        with pytest.raises(PublishError) as caught:
            await delivery.wait(TIMEOUT)
        assert caught.value.fate is Fate.CLOSED


@rule(2)
@only_5
async def test_closing_when_the_server_never_closes_its_direction(bench: Lab) -> None:
    release = threading.Event()

    def stubborn(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_to_end()
        release.wait(TIMEOUT)

    with Peer(stubborn) as peer:
        client = bench.client(peer.url)
        await client.connect()
        start = monotonic()
        await client.close(0.3)
        took = monotonic() - start
        release.set()
        assert took < 1.5, f"close(0.3) took {took:.1f} s"
        assert client.is_idle


@rule(2)
@only_5
async def test_closing_when_the_network_takes_nothing(bench: Lab) -> None:
    """The socket's buffers are full: DISCONNECT cannot be sent."""
    release = threading.Event()

    def full(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        release.wait(TIMEOUT)

    with Peer(full) as peer:
        client = bench.client(peer.url)
        await client.connect()
        client.publish_nowait(bench.topic, bytes(30_000_000), qos=1)
        start = monotonic()
        await client.close(0.3)
        took = monotonic() - start
        release.set()
        assert took < 1.5, f"close(0.3) took {took:.1f} s"


@rule(2)
async def test_closing_while_it_waits_to_reconnect(bench: Lab) -> None:
    lost = bench.queue()

    def once(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED[str(bench.version)])

    with Peer(once) as peer:
        client = bench.client(peer.url, on_disconnect=lost.put)
        await client.connect()
        event = await lost.get()
        assert isinstance(event.error, ConnectionLost)
        assert event.retry_in is not None
        await client.close()
        assert client.is_idle


@rule(2)
@pytest.mark.parametrize("state", ["dialing", "connecting"])
async def test_closing_while_it_connects(bench: Lab, silent: Proxy, state: str) -> None:
    url = "mqtt://127.0.0.1:{}"
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = silent.port
        fillers = []
        if state == "dialing":  # nobody accepts, and the backlog is full
            port = full.getsockname()[1]
            for _ in range(4):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.1", port))
                fillers.append(filler)
        client = bench.client(url.format(port))
        connecting = bench.start(client.connect())
        if state == "connecting":
            await bench.blocking(silent.wait_for, lambda proxy: proxy.connections == 1)
        start = monotonic()
        while client.is_idle:  # until the other one has begun
            await bench.blocking(lambda: None)
        await client.close(1.0)
        assert monotonic() - start < 3.0
        with pytest.raises(ConnectionClosed) as caught:
            await connecting.result()
        assert caught.value.by is ClosedBy.CLIENT
        for filler in fillers:
            filler.close()


# --- failures to connect


@rule(1)
async def test_a_refused_port(bench: Lab) -> None:
    [port] = free_ports(1)
    client = bench.client(f"mqtt://127.0.0.1:{port}")
    with pytest.raises(ConnectFailed, match=f"127.0.0.1:{port}") as caught:
        await client.connect()
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
    assert client.is_idle


@rule(1)
async def test_a_server_that_is_silent(bench: Lab, silent: Proxy) -> None:
    client = bench.client(f"mqtt://127.0.0.1:{silent.port}", connect_timeout=0.2)
    start = monotonic()
    with pytest.raises(TimeoutError, match=r"0\.2 seconds"):
        await client.connect()
    assert 0.2 <= monotonic() - start < 1.0
    assert client.is_idle


@rule(1)
@only_5
async def test_a_tls_handshake_that_never_ends(bench: Lab, silent: Proxy) -> None:
    client = bench.client(f"mqtts://127.0.0.1:{silent.port}", connect_timeout=0.2)
    start = monotonic()
    with pytest.raises(TimeoutError, match=r"0\.2 seconds"):
        await client.connect()
    assert monotonic() - start < 2.0


@rule(1)
@only_5
async def test_an_unknown_host(bench: Lab) -> None:
    client = bench.client("mqtt://no-such-host.invalid")
    with pytest.raises(ConnectFailed, match=r"no-such-host\.invalid") as caught:
        await client.connect()
    assert isinstance(caught.value.__cause__, socket.gaierror)


@only_5
@pytest.mark.parametrize(
    "host",
    [
        "a" * 70 + ".example",  # the codec for host names raises UnicodeError, which is no OSError
        "127.999.1.1",  # looks like an address
    ],
)
async def test_a_host_name_that_is_no_name(bench: Lab, host: str) -> None:
    client = bench.client(f"mqtt://{host}")
    with pytest.raises(ConnectFailed):
        await client.connect()
    assert client.is_idle


@only_5
async def test_a_unix_socket_that_is_not_there(bench: Lab) -> None:
    client = bench.client("unix:///tmp/no/such/socket")
    with pytest.raises(ConnectFailed, match="no/such/socket"):
        await client.connect()


@only_5
async def test_a_unix_socket_path_that_is_too_long(bench: Lab) -> None:
    client = bench.client("unix:///" + "x" * 200)
    with pytest.raises(MqttError):
        await client.connect()


@rule(1)
async def test_the_end_before_connack(bench: Lab) -> None:
    with Peer(lambda call: call.read_packet()) as peer:
        client = bench.client(peer.url)
        with pytest.raises(ConnectFailed, match="before CONNACK"):
            await client.connect()
        assert client.is_idle
        assert len(peer.calls) == 1


@rule(1, 25)
@pytest.mark.parametrize(
    "garbage",
    [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\0" * 20, b"\x20\xff\xff\xff\xff\x01", b"\xd0\x00"],
)
async def test_garbage_before_connack(bench: Lab, garbage: bytes) -> None:
    with Peer(answers(garbage)) as peer:
        client = bench.client(peer.url)
        with pytest.raises(ProtocolError):
            await client.connect()
        assert client.is_idle


@only_5
async def test_tls_against_a_port_without(lab: Lab) -> None:
    client = lab.client(lab.url.replace("mqtt://", "mqtts://"), connect_timeout=3.0)
    with pytest.raises((ConnectFailed, TimeoutError)):
        await client.connect()


@only_5
async def test_certificate_files_that_are_not_there(bench: Lab) -> None:
    with Peer(answers()) as peer:
        url = peer.url.replace("mqtt://", "mqtts://")
        client = bench.client(url, tls=TLS(ca_file="/no/such/file.pem"))
        with pytest.raises(ConnectFailed, match="No such file"):
            await client.connect()


@rule(11)
async def test_the_next_server_is_tried(lab: Lab) -> None:
    [port] = free_ports(1)
    with Peer(lambda call: call.read_packet()) as peer:
        urls: Any = [f"mqtt://127.0.0.1:{port}", peer.url, lab.url]
        async with lab.client(urls) as client:
            await client.publish(lab.topic, qos=1)


# --- cancellation and Ctrl-C


@rule(3)
def test_a_cancelled_connect_leaves_nothing_behind(silent: Proxy) -> None:
    async def scenario() -> None:
        client = AsyncClient(f"mqtt://127.0.0.1:{silent.port}")
        for number in range(1, 4):
            before = open_sockets()
            task = asyncio.create_task(client.connect())
            await asyncio.to_thread(silent.wait_for, lambda proxy: proxy.connections == number)  # noqa: B023
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.is_idle
            assert asyncio.all_tasks() == {asyncio.current_task()}
            assert open_sockets() <= before

    asyncio.run(scenario())


@rule(3)
def test_a_connect_cancelled_at_once(silent: Proxy) -> None:
    async def scenario() -> None:
        client = AsyncClient(f"mqtt://127.0.0.1:{silent.port}")
        for turns in range(6):
            task = asyncio.create_task(client.connect())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.is_idle
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


@rule(3)
def test_a_cancelled_publish_was_sent_all_the_same() -> None:
    async def scenario() -> None:
        with Peer(answers(ACCEPTED["5.0"])) as peer:
            client = AsyncClient(peer.url, version="5.0")
            await client.connect()
            task = asyncio.create_task(client.publish("a", b"x", qos=1))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.close(0.1)
            assert asyncio.all_tasks() == {asyncio.current_task()}
        assert b"\x32\x07\x00\x01a\x00\x01\x00x" in peer.received

    asyncio.run(scenario())


@rule(3)
def test_a_cancelled_get_swallows_no_message(broker: Any, topic: str) -> None:
    async def scenario() -> None:
        async with AsyncClient(broker.url) as client, client.subscribe(topic, qos=1) as messages:
            for i in range(20):
                task = asyncio.create_task(messages.get())
                await asyncio.sleep(0)
                client.publish_nowait(topic, b"%d" % i, qos=1)
                while not messages.buffered:
                    await asyncio.sleep(0)
                    if task.done():
                        break
                task.cancel()
                try:
                    message = await task
                except asyncio.CancelledError:
                    message = await messages.get(TIMEOUT)
                assert message.payload == b"%d" % i

    asyncio.run(scenario())


@rule(3)
def test_a_cancelled_block_closes_the_client(broker: Any, topic: str) -> None:
    async def scenario() -> None:
        clients = []

        async def program() -> None:
            async with AsyncClient(broker.url) as client:
                clients.append(client)
                async with client.subscribe(topic) as messages:
                    async for _ in messages:
                        pass

        task = asyncio.create_task(program())
        while not (clients and clients[0].is_connected):  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert clients[0].is_idle
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scenario())


def interrupt_when(proxy: Proxy, predicate: Any) -> threading.Thread:
    """Press Ctrl-C in the main thread as soon as the proxy has seen something."""

    def wait() -> None:
        proxy.wait_for(predicate)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=wait, name="ctrl-c")
    thread.start()
    return thread


@rule(3)
def test_ctrl_c_during_connect(silent: Proxy) -> None:
    before = set(threading.enumerate())
    client = Client(f"mqtt://127.0.0.1:{silent.port}")
    for number in range(1, 4):
        thread = interrupt_when(silent, lambda proxy: proxy.connections == number)  # noqa: B023
        with pytest.raises(KeyboardInterrupt):
            client.connect()
        thread.join()
        assert client.is_idle
        assert set(threading.enumerate()) == before


@rule(3)
@pytest.mark.parametrize("qos", [1, 2])
def test_ctrl_c_during_publish(qos: int) -> None:
    with Peer(answers(ACCEPTED["5.0"])) as peer, Proxy(("127.0.0.1", peer.port)) as proxy:
        before = set(threading.enumerate())
        client = Client(f"mqtt://127.0.0.1:{proxy.port}", version="5.0")
        connected = len(b"\x10\x15") + 0x15  # CONNECT has gone
        thread = interrupt_when(proxy, lambda proxy: proxy.bytes_up > connected)
        with pytest.raises(KeyboardInterrupt), client:
            client.publish("a", b"x", qos=qos)
        thread.join()
        assert client.is_idle
        assert set(threading.enumerate()) == before


@rule(3)
def test_ctrl_c_while_it_waits_for_messages(broker: Any, topic: str) -> None:
    before = set(threading.enumerate())
    taken, caught = threading.Event(), threading.Event()

    def press() -> None:
        with Client(broker.url) as other:
            other.publish(topic, b"x", qos=1)
        taken.wait(TIMEOUT)
        # Python does not notice a signal that comes when it is just about to wait for a lock.
        while not caught.is_set():
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            caught.wait(2.0)

    thread = threading.Thread(target=press, name="ctrl-c")
    client = Client(broker.url)
    with pytest.raises(KeyboardInterrupt), client, client.subscribe(topic) as messages:  # noqa: PT012
        thread.start()
        try:
            for _ in messages:
                taken.set()
        finally:
            caught.set()
    thread.join()
    assert client.is_idle
    assert set(threading.enumerate()) == before


def test_ctrl_c_with_asyncio(silent: Proxy) -> None:
    async def scenario() -> None:
        await AsyncClient(f"mqtt://127.0.0.1:{silent.port}").connect()

    thread = interrupt_when(silent, lambda proxy: proxy.connections == 1)
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(scenario())
    thread.join()
