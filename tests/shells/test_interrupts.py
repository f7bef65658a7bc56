"""Waits that end before what they wait for: by a time-out, or by Ctrl-C in the main thread.

A proxy that is frozen keeps the answers away, so that a call waits for as long as the test wants.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import FrameType
from typing import Any

import pytest

from mqttlite import AsyncClient, Client, Delivery, Message, PublishError, Subscription
from mqttlite.testing import Broker
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.leaks import ignored_port, ignored_proxy
from tests.support.proxy import Proxy

only_5 = pytest.mark.parametrize("version", ["5.0"])


@pytest.fixture(scope="module")
def own_broker() -> Iterator[Broker]:
    """Run an embedded broker of this module's own."""
    with Broker() as broker, ignored_port(broker.port):
        yield broker


@pytest.fixture
def proxy(own_broker: Broker) -> Iterator[Proxy]:
    """Stand between the client and the broker."""
    with Proxy(("127.0.0.1", own_broker.port)) as proxy, ignored_proxy(proxy):
        yield proxy


async def until(lab: Lab, condition: Callable[[], object], what: str) -> None:
    """Let the clients go on until something has come true."""
    deadline = monotonic() + TIMEOUT
    while not condition():
        assert monotonic() < deadline, f"never: {what}"
        await lab.blocking(lambda: None)


def is_clean(client: Any) -> bool:
    """Whether nothing is under way, and nothing is left of what was."""
    core = client._core
    connection = core._connection
    outbox = core.publisher.outbox
    return (
        not core.session.outgoing
        and not connection._requests
        and not connection._in_flight
        and not len(outbox)
        and not outbox._parked
        and not core._subscriber._asked
        and not core._subscriber._unsubscribing
        and not (core._replies and core._replies._expected)
    )


async def works(lab: Lab, client: AsyncClient, topic: str) -> None:
    """Show that a client works, and that nothing was lost of it."""
    async with client.subscribe(topic, qos=1) as messages:
        await client.publish(topic, b"works", qos=1, timeout=TIMEOUT)
        assert (await messages.get(TIMEOUT)).payload == b"works"
    await until(lab, lambda: is_clean(client), "all is settled")
    owners = [state.owner for state in client._core._subscriber.table.subscriptions if state.owner]
    assert len(owners) == 1, "there is but the subscription of the test"


# --- time-outs

TINY = [0, 0.001]

CALLS: dict[str, Callable[[AsyncClient, str, float], Awaitable[object]]] = {
    "publish 1": lambda client, topic, t: client.publish(topic, b"x", qos=1, timeout=t),
    "publish 2": lambda client, topic, t: client.publish(topic, b"x", qos=2, timeout=t),
    "delivery": lambda client, topic, t: client.publish_nowait(topic, b"x", qos=2).wait(t),
    "request": lambda client, topic, t: client.request(topic, b"x", timeout=t),
}


@only_5
@pytest.mark.parametrize("timeout", TINY)
@pytest.mark.parametrize("name", CALLS)
async def test_a_time_out_loses_nothing(
    bench: Lab, proxy: Proxy, name: str, timeout: float
) -> None:
    """What was accepted arrives once, and in its order."""
    topic = bench.topic
    async with bench.client(f"mqtt://127.0.0.1:{proxy.port}") as client:
        messages = await client.subscribe(topic, qos=2)
        await bench.blocking(proxy.freeze)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await CALLS[name](client, topic, timeout)
        last = client.publish_nowait(topic, b"last", qos=1)
        await bench.blocking(proxy.thaw)
        await last.wait(TIMEOUT)
        # A request that has timed out before it was sent is not sent.
        expected = [b"last"] if name == "request" else [b"x"] * 5 + [b"last"]
        assert [(await messages.get(TIMEOUT)).payload for _ in expected] == expected
        await works(bench, client, f"{topic}/works")
        assert messages.buffered == 0


@only_5
async def test_waiting_in_vain_for_a_delivery_leaves_no_waiters(bench: Lab, proxy: Proxy) -> None:
    async with bench.client(f"mqtt://127.0.0.1:{proxy.port}") as client:
        await bench.blocking(proxy.freeze)
        delivery = client.publish_nowait(bench.topic, b"x", qos=1)
        for timeout in (0, 0.001, 0):
            with pytest.raises(TimeoutError):
                await delivery.wait(timeout)
            assert not delivery.waiters
        await bench.blocking(proxy.thaw)
        await delivery.wait(TIMEOUT)


@only_5
@pytest.mark.parametrize("timeout", TINY)
async def test_a_time_out_at_a_full_outbox_takes_the_message_back(
    bench: Lab, proxy: Proxy, timeout: float
) -> None:
    topic = bench.topic
    url = f"mqtt://127.0.0.1:{proxy.port}"
    async with bench.client(url, maximum_in_flight=1, outbox_messages=1) as client:
        messages = await client.subscribe(topic, qos=2)
        await bench.blocking(proxy.freeze)
        accepted = [client.publish_nowait(topic, payload, qos=1) for payload in (b"1", b"2")]
        for qos in (0, 1, 2):
            with pytest.raises(TimeoutError):
                await client.publish(topic, b"parked", qos=qos, timeout=timeout)
        await bench.blocking(proxy.thaw)
        for delivery in accepted:
            await delivery.wait(TIMEOUT)
        assert [(await messages.get(TIMEOUT)).payload for _ in range(2)] == [b"1", b"2"]
        await works(bench, client, f"{topic}/works")
        assert messages.buffered == 0


@only_5
@pytest.mark.parametrize("timeout", TINY)
async def test_a_time_out_while_there_is_no_connection(
    bench: Lab, own_broker: Broker, timeout: float
) -> None:
    topic = bench.topic
    lost = bench.queue()
    with Proxy(("127.0.0.1", own_broker.port)) as proxy, ignored_proxy(proxy):
        url = f"mqtt://127.0.0.1:{proxy.port}"
        async with bench.client(url, on_disconnect=lost.put) as client:
            messages = await client.subscribe(topic, qos=2)
            proxy.black_hole = True
            await bench.blocking(proxy.cut)
            await lost.get()
            for number in range(3):
                with pytest.raises(TimeoutError):
                    await client.publish(topic, b"%d" % number, qos=1, timeout=timeout)
            proxy.black_hole = False
            await bench.blocking(proxy.cut)
            got = [(await messages.get(TIMEOUT)).payload for _ in range(3)]
            assert got == [b"0", b"1", b"2"]
            await works(bench, client, f"{topic}/works")


@only_5
@pytest.mark.parametrize("timeout", TINY)
async def test_a_time_out_of_subscribe_leaves_no_subscription(
    bench: Lab, proxy: Proxy, own_broker: Broker, timeout: float
) -> None:
    topic = bench.topic
    async with bench.client(f"mqtt://127.0.0.1:{proxy.port}") as client:
        kept = await client.subscribe(f"{topic}/kept", qos=1)
        await bench.blocking(proxy.freeze)
        for number in range(3):
            with pytest.raises(TimeoutError, match="SUBSCRIBE"):
                await client.subscribe(f"{topic}/{number}", qos=1, timeout=timeout)
        await bench.blocking(proxy.thaw)
        await works(bench, client, f"{topic}/works")
        assert list(own_broker.sessions[client.client_id].subscriptions) == [f"{topic}/kept"]
        assert kept.granted == {f"{topic}/kept": 1}


@only_5
@pytest.mark.parametrize("timeout", TINY)
@pytest.mark.parametrize("whose", ["subscription", "client"])
async def test_a_time_out_of_unsubscribe_ends_the_subscription_all_the_same(
    bench: Lab, proxy: Proxy, own_broker: Broker, timeout: float, whose: str
) -> None:
    topic = bench.topic
    async with bench.client(f"mqtt://127.0.0.1:{proxy.port}") as client:
        await client.subscribe(f"{topic}/kept", qos=1)
        ending = await client.subscribe(f"{topic}/ending", qos=1)
        await bench.blocking(proxy.freeze)
        with pytest.raises(TimeoutError):
            await (
                client.unsubscribe(f"{topic}/ending", timeout=timeout)
                if whose == "client"
                else ending.unsubscribe(timeout)
            )
        await bench.blocking(proxy.thaw)
        assert [message async for message in ending] == []
        await works(bench, client, f"{topic}/works")
        assert list(own_broker.sessions[client.client_id].subscriptions) == [f"{topic}/kept"]


@only_5
@pytest.mark.parametrize("timeout", TINY)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_get_that_times_out_again_and_again_swallows_no_message(
    bench: Lab, own_broker: Broker, timeout: float, qos: int
) -> None:
    topic = bench.topic
    async with bench.client(own_broker.url) as client:
        messages = await client.subscribe(topic, qos=2)
        deliveries = [client.publish_nowait(topic, b"%d" % n, qos=qos) for n in range(50)]
        got: list[bytes] = []
        deadline = monotonic() + TIMEOUT
        while len(got) < 50 and monotonic() < deadline:
            try:
                got.append((await messages.get(timeout)).payload)
            except TimeoutError:
                await bench.blocking(lambda: None)  # let a loop that never waits turn
        assert got == [b"%d" % n for n in range(50)]
        for delivery in deliveries:
            await delivery.wait(TIMEOUT)
        await works(bench, client, f"{topic}/works")


@only_5
@pytest.mark.parametrize("timeout", TINY)
async def test_closing_in_no_time(bench: Lab, proxy: Proxy, timeout: float) -> None:
    """The network is dead: it ends at once, and what was accepted is settled."""
    client = bench.client(f"mqtt://127.0.0.1:{proxy.port}")
    await client.connect()
    await bench.blocking(proxy.freeze)
    delivery = client.publish_nowait(bench.topic, b"x", qos=1)
    await client.close(timeout)
    assert client.is_idle
    with pytest.raises(PublishError, match="closed"):
        await delivery.wait(TIMEOUT)
    await bench.blocking(proxy.thaw)
    async with client:
        await client.subscribe(f"{bench.topic}/kept")
        await works(bench, client, f"{bench.topic}/works")


@only_5
async def test_connecting_in_no_time(bench: Lab, proxy: Proxy) -> None:
    client = bench.client(f"mqtt://127.0.0.1:{proxy.port}", connect_timeout=1e-9)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await client.connect()
        assert client.is_idle


# --- Ctrl-C


class CtrlC(BaseException):
    """What the signal handler raises."""


WAITS = {"wait", "join", "_wait_for_message"}
"""The functions of the threaded client in which it waits."""


@contextmanager
def ctrl_c_while_it_waits(client: Client) -> Iterator[None]:
    """Raise CtrlC in the main thread once it waits in a method of a client.

    A thread sends signals, and their handler looks whether the moment is right: it raises
    nothing while the main thread has the client's lock, nor anywhere else than in a wait.
    """
    lock: Any = client.driver._lock
    done = threading.Event()
    main = threading.main_thread().ident or 0

    def raise_if_it_waits(_signum: int, frame: FrameType | None) -> None:
        while frame is not None and "mqttlite/sync" not in frame.f_code.co_filename:
            frame = frame.f_back
        waits = frame is not None and frame.f_code.co_name in WAITS
        if waits and not lock._is_owned() and not done.is_set():
            done.set()
            raise CtrlC

    def press() -> None:
        while not done.wait(0.001):
            signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, raise_if_it_waits)
    thread = threading.Thread(target=press, name="ctrl-c")
    thread.start()
    try:
        with pytest.raises(CtrlC):
            yield
    finally:
        done.set()
        thread.join()
        signal.signal(signal.SIGUSR1, before)


class Ground:
    """A connected client behind a proxy, and a subscription to `topic` and all below it."""

    def __init__(self, proxy: Proxy, topic: str, **options: Any) -> None:
        self.proxy = proxy
        self.topic = topic
        self.client = Client(f"mqtt://127.0.0.1:{proxy.port}", **options)

    def begin(self) -> None:
        self.messages: Subscription = self.client.subscribe(f"{self.topic}/#", qos=2)

    def works(self) -> list[bytes]:
        """Show that the client works, and nothing was lost; return what came until now."""
        self.client.publish(f"{self.topic}/end", b"end", qos=1, timeout=TIMEOUT)
        payloads: list[bytes] = []
        while b"end" not in payloads:
            payloads.append(self.messages.get(TIMEOUT).payload)
        deadline = monotonic() + TIMEOUT
        while not is_clean(self.client):
            assert monotonic() < deadline, "never settled"
        return payloads[:-1]


@contextmanager
def ground(proxy: Proxy, topic: str, **options: Any) -> Iterator[Ground]:
    it = Ground(proxy, topic, **options)
    with it.client:
        it.begin()
        yield it


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("way", ["publish", "delivery"])
def test_ctrl_c_while_publishing(proxy: Proxy, topic: str, qos: int, way: str) -> None:
    with ground(proxy, topic) as it:
        for number in range(3):
            proxy.freeze()
            payload = b"%d" % number
            with ctrl_c_while_it_waits(it.client):
                if way == "publish":
                    it.client.publish(f"{topic}/x", payload, qos=qos)
                else:
                    it.client.publish_nowait(f"{topic}/x", payload, qos=qos).wait()
            proxy.thaw()
            assert it.works() == [payload]


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_ctrl_c_at_a_full_outbox(proxy: Proxy, topic: str, qos: int) -> None:
    with ground(proxy, topic, maximum_in_flight=1, outbox_messages=1) as it:
        proxy.freeze()
        accepted = [it.client.publish_nowait(f"{topic}/x", p, qos=1) for p in (b"1", b"2")]
        with ctrl_c_while_it_waits(it.client):
            it.client.publish(f"{topic}/x", b"parked", qos=qos)
        assert not it.client._core.publisher.outbox._parked
        proxy.thaw()
        for delivery in accepted:
            delivery.wait(TIMEOUT)
        assert it.works() == [b"1", b"2"]


def test_ctrl_c_while_subscribing(proxy: Proxy, own_broker: Broker, topic: str) -> None:
    with ground(proxy, topic) as it:
        for number in range(3):
            proxy.freeze()
            with ctrl_c_while_it_waits(it.client):
                it.client.subscribe(f"other/{number}", qos=1)
            proxy.thaw()
            assert it.works() == []
            subscriptions = own_broker.sessions[it.client.client_id].subscriptions
            assert list(subscriptions) == [f"{topic}/#"]


def test_ctrl_c_while_unsubscribing(proxy: Proxy, own_broker: Broker, topic: str) -> None:
    with ground(proxy, topic) as it:
        for whose in ("subscription", "client", "block"):
            ending = it.client.subscribe("ending", qos=1)
            proxy.freeze()
            with ctrl_c_while_it_waits(it.client):
                if whose == "client":
                    it.client.unsubscribe("ending")
                elif whose == "block":
                    with ending:
                        pass
                else:
                    ending.unsubscribe()
            proxy.thaw()
            assert list(ending) == []
            assert it.works() == []
            subscriptions = own_broker.sessions[it.client.client_id].subscriptions
            assert list(subscriptions) == [f"{topic}/#"]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("way", ["next", "get", "get in time"])
def test_ctrl_c_while_it_waits_for_a_message(proxy: Proxy, topic: str, qos: int, way: str) -> None:
    """The message that comes then is for the consumer that follows."""
    with ground(proxy, topic) as it:
        for number in range(3):
            with ctrl_c_while_it_waits(it.client):
                if way == "next":
                    next(it.messages)
                else:
                    it.messages.get(None if way == "get" else TIMEOUT)
            it.client.publish(f"{topic}/x", b"%d" % number, qos=qos)
            assert it.messages.get(TIMEOUT).payload == b"%d" % number
        assert it.works() == []


@pytest.mark.parametrize("waits_for", ["the subscription", "the acknowledgement", "the answer"])
def test_ctrl_c_during_a_request(proxy: Proxy, topic: str, waits_for: str) -> None:
    with ground(proxy, topic) as it:

        def answer(request: Message) -> None:
            if request.payload == b"answer":
                assert request.response_topic is not None
                assert request.correlation_data is not None
                it.client.publish_nowait(
                    request.response_topic, b"yes", correlation_data=request.correlation_data
                )

        it.client.subscribe("service", qos=1, handler=answer)
        if waits_for != "the subscription":
            it.client.request("service", b"answer")
        if waits_for != "the answer":
            proxy.freeze()
        with ctrl_c_while_it_waits(it.client):
            it.client.request("service", b"do not answer", timeout=1000.0)
        proxy.thaw()
        assert it.client.request("service", b"answer").payload == b"yes"
        assert it.works() == []


def test_ctrl_c_while_connecting(proxy: Proxy, topic: str) -> None:
    threads = set(threading.enumerate())
    client = Client(f"mqtt://127.0.0.1:{proxy.port}")
    proxy.freeze()
    for _ in range(3):
        with ctrl_c_while_it_waits(client):
            client.connect()
        assert client.is_idle
        assert set(threading.enumerate()) == threads
    proxy.thaw()
    with client, client.subscribe(topic) as messages:
        client.publish(topic, b"x")
        assert messages.get(TIMEOUT).payload == b"x"


def test_ctrl_c_while_closing(proxy: Proxy, topic: str) -> None:
    """It goes on closing; to close again waits for the end, and it can be connected again."""
    threads = set(threading.enumerate())
    client = Client(f"mqtt://127.0.0.1:{proxy.port}")
    for drain in (True, False):
        client.connect()
        proxy.freeze()
        delivery: Delivery = client.publish_nowait(topic, b"x", qos=1)
        with ctrl_c_while_it_waits(client):
            client.close(1000.0)
        if drain:
            proxy.thaw()
        client.close(drain=drain)
        assert client.is_idle
        assert delivery.done
        assert (delivery.error is None) == drain
        assert set(threading.enumerate()) == threads
        proxy.cut()
        proxy.thaw()
    with client, client.subscribe(topic) as messages:
        client.publish(topic, b"x")
        assert messages.get(TIMEOUT).payload == b"x"


def test_ctrl_c_again_and_again_leaves_no_waiters(proxy: Proxy, topic: str) -> None:
    with ground(proxy, topic) as it:
        proxy.freeze()
        delivery = it.client.publish_nowait(f"{topic}/x", b"x", qos=1)
        for _ in range(3):
            with ctrl_c_while_it_waits(it.client):
                delivery.wait()
            with ctrl_c_while_it_waits(it.client):
                it.messages.get()
        left = (len(delivery.waiters or ()), len(it.messages._waiters))
        proxy.thaw()
        assert it.works() == [b"x"]
        assert left == (0, 0)
