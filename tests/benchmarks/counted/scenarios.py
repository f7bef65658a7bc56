"""What is counted: messages of all kinds, many at once and one by one, for both clients."""

import asyncio
import collections
import gc
import threading
import tracemalloc
from asyncio import selector_events
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import mqttlite
from mqttlite import AsyncClient, Client, Message
from tests.benchmarks.counted.counter import Counter
from tests.benchmarks.counted.network import CLOCK, NETWORK, Loop, MemorySocket
from tests.benchmarks.server import Server, publish

COUNT: Final = 500
"""Messages that come together: fewer than a client takes before it has acknowledged some."""
SINGLE: Final = 100
"""Messages that come one by one."""
TASKS: Final = 100
KEPT: Final = 1000
"""Messages whose memory is measured."""
CLIENTS: Final = 10

URL: Final = "mqtt://127.0.0.1"
TOPIC: Final = "bench/topic/00001"
PAYLOAD: Final = b"x" * 64
PROPERTIES: Final[Any] = {
    "message_expiry_interval": 3600,
    "content_type": "text/plain",
    "user_properties": [("origin", "benchmark")],
}
ENCODED_PROPERTIES: Final = (
    b"\x02\x00\x00\x0e\x10\x03\x00\x0atext/plain\x26\x00\x06origin\x00\x09benchmark"
)

Version = Literal["5.0", "3.1.1"]
Figures = dict[str, float]
Run = Callable[[int], Awaitable[None]]
"""Publishes or receives so many messages."""


class Bench:
    """Counts what happens, and keeps the figures."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.figures: dict[str, Figures] = {}
        self.profiled: str | None = None
        """The scenario whose functions are wanted."""
        self.profile: list[tuple[str, float]] = []

    def _now(self) -> list[int]:
        return [
            self.counter.instructions,
            self.counter.calls + NETWORK.calls,
            NETWORK.sends,
            NETWORK.receives,
            NETWORK.selects,
        ]

    @contextmanager
    def counted(self, name: str, count: int) -> Iterator[None]:
        """Count what is done ``count`` times in the block."""
        gc.collect()
        before = self._now()
        functions: collections.Counter[str] = collections.Counter()
        self.counter.functions = functions if name == self.profiled else None
        yield
        self.counter.functions = None
        self.profile += [(function, number / count) for function, number in functions.most_common()]
        work = [end - start for start, end in zip(before, self._now(), strict=True)]
        self.figures[name] = {
            "instructions": round(work[0] / count, 1),
            "C calls": round(work[1] / count, 1),
            "sends per 1,000": round(work[2] * 1000 / count, 1),
            "receives per 1,000": round(work[3] * 1000 / count, 1),
            "selects per 1,000": round(work[4] * 1000 / count, 1),
            "objects in cycles per 1,000": round(gc.collect() * 1000 / count, 1),
        }

    @contextmanager
    def kept(self, name: str, count: int) -> Iterator[None]:
        """Measure the memory that is in use behind the block, and was not before it."""
        gc.collect()
        before = _memory()
        yield
        gc.collect()
        after = _memory()
        self.figures[name] = {
            "bytes": round((after[0] - before[0]) / count, 1),
            "allocations": round((after[1] - before[1]) / count, 1),
        }


def _memory() -> tuple[int, int]:
    """Bytes and pieces of memory that the package has, and what it stands on.

    Not those of the harness, nor of what the interpreter keeps of its own accord.
    """
    places = (Path(mqttlite.__file__).parent, Path(asyncio.__file__).parent)
    patterns = [*(f"{place}/*" for place in places), threading.__file__]
    filters = [tracemalloc.Filter(inclusive=True, filename_pattern=each) for each in patterns]
    # Its contexts are used again, in an order that differs from time to time.
    filters.append(tracemalloc.Filter(inclusive=False, filename_pattern=selector_events.__file__))
    statistics = tracemalloc.take_snapshot().filter_traces(filters).statistics("filename")
    return sum(each.size for each in statistics), sum(each.count for each in statistics)


# --- what the server sends


class Source:
    """Sends messages to a client."""

    def __init__(self, version: Version, qos: int) -> None:
        self.connection: MemorySocket = NETWORK.servers[-1]
        self._qos = qos
        self._none = b"\0" if version == "5.0" else b""
        self.sent = 0

    @property
    def server(self) -> Server:
        """The server that sends them."""
        assert self.connection.server is not None
        return self.connection.server

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that becomes true when bytes come from the client."""
        if not condition():
            future = asyncio.get_running_loop().create_future()

            def look() -> None:
                if condition() and not future.done():
                    future.set_result(None)

            self.server.on_progress = look
            await future
            self.server.on_progress = None

    async def published(self, count: int) -> None:
        """Wait until so many messages have come."""
        await self.until(lambda: self.server.published >= count)

    async def acknowledged(self, count: int) -> None:
        """Wait until so many messages have been acknowledged; those of QoS 0 never are."""
        if self._qos:
            await self.until(lambda: self.server.acknowledged >= count)

    def send(
        self, count: int, *, payload: bytes = PAYLOAD, properties: bytes = b"", new: bool = False
    ) -> None:
        """Let messages arrive together; ``new``: each with a topic that was not seen before."""
        encoded = (len(properties).to_bytes(1) + properties) if properties else self._none
        packets = []
        for _ in range(count):
            self.sent += 1
            topic = f"bench/topic/{self.sent:05}" if new else TOPIC
            packet_id = self.sent % 60_000 + 1
            packets.append(publish(topic.encode(), payload, self._qos, packet_id, encoded))
        self.connection.push(b"".join(packets))


# --- asyncio


def _in_loop(scenario: Awaitable[None]) -> None:
    async def run() -> None:
        await scenario

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(run())


@asynccontextmanager
async def _connected(version: Version, **options: Any) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(URL, client_id="counted", version=version, **options) as client:
        yield client


async def _turns() -> None:
    """Let the loop do what there is to do."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _count(bench: Bench, name: str, run: Run, count: int = COUNT) -> None:
    await run(TASKS)  # everything has been done once
    with bench.counted(name, count):
        await run(count)


async def aio_publish(bench: Bench, version: Version, qos: int) -> None:
    """Messages that are awaited one by one, by many tasks, and not at all."""
    async with _connected(version) as client:
        source = Source(version, qos)
        server = source.server

        async def one_by_one(count: int) -> None:
            for _ in range(count):
                goal = server.published + 1
                await client.publish(TOPIC, PAYLOAD, qos=qos)
                await source.published(goal)

        async def by_tasks(count: int) -> None:
            async def publish_some() -> None:
                for _ in range(count // TASKS):
                    await client.publish(TOPIC, PAYLOAD, qos=qos)

            goal = server.published + count
            await asyncio.gather(*(publish_some() for _ in range(TASKS)))
            await source.published(goal)

        async def nowait(count: int) -> None:
            goal = server.published + count
            deliveries = [client.publish_nowait(TOPIC, PAYLOAD, qos=qos) for _ in range(count)]
            await source.published(goal)
            await deliveries[-1]
            assert all(delivery.done for delivery in deliveries)

        start = f"aio {version} publish QoS {qos}"
        await _count(bench, f"{start} one by one", one_by_one, SINGLE)
        await _count(bench, f"{start} by {TASKS} tasks", by_tasks)
        await _count(bench, f"{start} not awaited", nowait)


async def aio_receive(bench: Bench, version: Version, qos: int) -> None:
    """Messages that are iterated over, or handled."""
    start = f"aio {version} receive QoS {qos}"
    async with _connected(version) as client:
        source = Source(version, qos)

        async with client.subscribe(TOPIC, qos=qos) as messages:
            # The last message is acknowledged when the next one is taken.

            async def one_by_one(count: int) -> None:
                for _ in range(count):
                    source.send(1)
                    await anext(messages)
                    await source.acknowledged(source.sent - 1)

            async def together(count: int) -> None:
                source.send(count)
                for _ in range(count):
                    await anext(messages)
                await source.acknowledged(source.sent - 1)

            await _count(bench, f"{start} one by one", one_by_one, SINGLE)
            await _count(bench, f"{start} together", together)

        waiting = 0
        done: asyncio.Future[None]

        def handle(_message: Message) -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                done.set_result(None)

        async def handle_awaited(message: Message) -> None:
            handle(message)

        async def handled(count: int) -> None:
            nonlocal waiting, done
            waiting = count
            done = asyncio.get_running_loop().create_future()
            source.send(count)
            await done
            await source.acknowledged(source.sent)

        async def handled_singly(count: int) -> None:
            for _ in range(count):
                await handled(1)

        async with client.subscribe(TOPIC, qos=qos, handler=handle):
            await _count(bench, f"{start} by a function", handled)
            await _count(bench, f"{start} by a function, one by one", handled_singly, SINGLE)
        async with client.subscribe(TOPIC, qos=qos, handler=handle_awaited):
            await _count(bench, f"{start} by a coroutine", handled)


async def aio_others(bench: Bench) -> None:
    """Messages with properties, with topics that were never used before, and large ones."""
    async with _connected("5.0") as client:
        source = Source("5.0", 1)
        numbers = iter(range(10**6))

        def publish_with_properties() -> Any:
            return client.publish_nowait(TOPIC, PAYLOAD, qos=1, **PROPERTIES)

        def publish_to_new_topic() -> Any:
            return client.publish_nowait(f"bench/topic/{next(numbers)}", PAYLOAD, qos=1)

        large = bytes(16384)

        def publish_large() -> Any:
            return client.publish_nowait(TOPIC, large, qos=1)

        for what, publish_one in (
            ("with properties", publish_with_properties),
            ("new topics", publish_to_new_topic),
            ("16 KiB", publish_large),
        ):

            async def nowait(count: int, publish_one: Callable[[], Any] = publish_one) -> None:
                deliveries = [publish_one() for _ in range(count)]
                await deliveries[-1]
                assert all(delivery.done for delivery in deliveries)

            await _count(bench, f"aio 5.0 publish {what}", nowait)

        async with client.subscribe("bench/topic/+", qos=1) as messages:
            kinds: list[tuple[str, dict[str, Any]]] = [
                ("with properties", {"properties": ENCODED_PROPERTIES}),
                ("new topics", {"new": True}),
                ("16 KiB", {"payload": bytes(16384)}),
            ]
            for what, arguments in kinds:

                async def together(count: int, arguments: dict[str, Any] = arguments) -> None:
                    source.send(count, **arguments)
                    for _ in range(count):
                        await anext(messages)
                    await source.acknowledged(source.sent - 1)

                await _count(bench, f"aio 5.0 receive {what}", together)


async def aio_clients(bench: Bench, count: int) -> None:
    """Many clients in one loop, each of which publishes a message and waits for it."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_connected("5.0")) for _ in range(count)]

        async def play(rounds: int) -> None:
            for _ in range(rounds):
                deliveries = [each.publish_nowait(TOPIC, PAYLOAD, qos=1) for each in clients]
                for delivery in deliveries:
                    await delivery

        await play(1)
        with bench.counted(f"aio 5.0 publish QoS 1, {count} clients", 3 * count):
            await play(3)


async def aio_connect(bench: Bench, version: Version) -> None:
    """A client that connects and closes."""

    async def once() -> None:
        async with _connected(version):
            pass

    await once()
    with bench.counted(f"aio {version} connect and close", 1):
        await once()


# --- threads


def _count_threads(bench: Bench, name: str, run: Callable[[int], None], count: int = COUNT) -> None:
    run(TASKS)
    NETWORK.settle()
    with bench.counted(name, count):
        run(count)
        NETWORK.settle()


def threads_publish(bench: Bench, version: Version, qos: int) -> None:
    """Messages that are waited for one by one, and not at all."""
    with Client(URL, client_id="counted", version=version) as client:
        NETWORK.settle()
        server = Source(version, qos).server

        def one_by_one(count: int) -> None:
            for _ in range(count):
                CLOCK.now += 0.001
                client.publish(TOPIC, PAYLOAD, qos=qos)
                NETWORK.settle()

        def nowait(count: int) -> None:
            goal = server.published + count
            deliveries = [client.publish_nowait(TOPIC, PAYLOAD, qos=qos) for _ in range(count)]
            NETWORK.settle()
            assert server.published == goal
            assert all(delivery.done for delivery in deliveries)

        start = f"threads {version} publish QoS {qos}"
        _count_threads(bench, f"{start} one by one", one_by_one, SINGLE)
        _count_threads(bench, f"{start} not awaited", nowait)


def threads_receive(bench: Bench, version: Version, qos: int) -> None:
    """Messages that are iterated over, or handled."""
    start = f"threads {version} receive QoS {qos}"
    with Client(URL, client_id="counted", version=version) as client:
        source = Source(version, qos)

        with client.subscribe(TOPIC, qos=qos) as messages:

            def one_by_one(count: int) -> None:
                for _ in range(count):
                    CLOCK.now += 0.001
                    source.send(1)
                    next(messages)
                    NETWORK.settle()

            def together(count: int) -> None:
                source.send(count)
                for _ in range(count):
                    next(messages)

            _count_threads(bench, f"{start} one by one", one_by_one, SINGLE)
            _count_threads(bench, f"{start} together", together)

        waiting = 0
        done = threading.Lock()
        done.acquire()

        def handle(_message: Message) -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                done.release()

        def handled(count: int) -> None:
            nonlocal waiting
            waiting = count
            source.send(count)
            done.acquire()
            NETWORK.settle()
            assert source.server.acknowledged == (source.sent if qos else 0)

        with client.subscribe(TOPIC, qos=qos, handler=handle):
            _count_threads(bench, f"{start} by a function", handled)


def threads_connect(bench: Bench, version: Version) -> None:
    """A client that connects and closes."""

    def once() -> None:
        with Client(URL, client_id="counted", version=version):
            NETWORK.settle()

    once()
    with bench.counted(f"threads {version} connect and close", 1):
        once()


# --- memory


async def aio_memory(bench: Bench) -> None:
    """What clients and messages keep."""
    clients: list[AsyncClient] = []

    async def connect() -> None:
        clients.append(AsyncClient(URL, client_id="counted"))
        await clients[-1].connect()
        await _turns()

    for _ in range(CLIENTS):
        await connect()
    with bench.kept("aio idle client", CLIENTS):
        for _ in range(CLIENTS):
            await connect()
    for client in clients:
        await client.close()

    for what, window in (("waiting", 1), ("in flight", None)):
        async with _connected("5.0", maximum_in_flight=window) as client:
            server = Source("5.0", 1).server
            server.holds_back = True
            deliveries = [client.publish_nowait(TOPIC, PAYLOAD, qos=1)]
            await _turns()
            assert server.published == 1
            with bench.kept(f"aio published message {what}", KEPT):
                deliveries += [client.publish_nowait(TOPIC, PAYLOAD, qos=1) for _ in range(KEPT)]
                await _turns()
            assert server.published == (1 if window else KEPT + 1)
            await client.close(drain=False)

    for qos in (0, 1):
        async with (
            _connected("5.0", receive_maximum=2 * KEPT) as client,
            client.subscribe(TOPIC, qos=qos, buffer_size=2 * KEPT) as messages,
        ):
            source = Source("5.0", qos)
            source.send(1)
            await _turns()
            assert messages.buffered == 1
            with bench.kept(f"aio received message of QoS {qos}", KEPT):
                source.send(KEPT)
                await _turns()
            assert messages.buffered == KEPT + 1


def threads_memory(bench: Bench) -> None:
    """What clients and messages keep; the stacks of threads are not Python's."""
    clients: list[Client] = []

    def connect() -> None:
        clients.append(Client(URL, client_id="counted"))
        clients[-1].connect()
        NETWORK.settle()
        clients[-1].publish_nowait(TOPIC)  # so that its thread forgets what was before
        NETWORK.settle()

    for _ in range(CLIENTS):
        connect()
    with bench.kept("threads idle client", CLIENTS):
        for _ in range(CLIENTS):
            connect()
    for client in clients:
        client.close()

    for what, window in (("waiting", 1), ("in flight", None)):
        with Client(URL, client_id="counted", version="5.0", maximum_in_flight=window) as client:
            server = Source("5.0", 1).server
            server.holds_back = True
            deliveries = [client.publish_nowait(TOPIC, PAYLOAD, qos=1)]
            NETWORK.settle()
            assert server.published == 1
            with bench.kept(f"threads published message {what}", KEPT):
                deliveries += [client.publish_nowait(TOPIC, PAYLOAD, qos=1) for _ in range(KEPT)]
                NETWORK.settle()
            assert server.published == (1 if window else KEPT + 1)
            client.close(drain=False)


def profile(name: str) -> list[tuple[str, float]]:
    """Return the functions of one scenario, with the instructions of each per message."""
    bench = Bench()
    bench.profiled = name
    run_all(bench)
    return bench.profile


def run_all(bench: Bench) -> dict[str, Figures]:
    """Count everything."""
    gc.disable()
    versions: tuple[Version, ...] = ("5.0", "3.1.1")

    tracemalloc.start()
    _in_loop(aio_memory(bench))
    threads_memory(bench)
    tracemalloc.stop()

    bench.counter.install()
    for version in versions:
        for qos in (0, 1, 2):
            _in_loop(aio_publish(bench, version, qos))
            _in_loop(aio_receive(bench, version, qos))
            threads_publish(bench, version, qos)
            threads_receive(bench, version, qos)
        _in_loop(aio_connect(bench, version))
        threads_connect(bench, version)
    _in_loop(aio_others(bench))
    for count in (10, 200):
        _in_loop(aio_clients(bench, count))
    bench.counter.uninstall()
    return bench.figures
