# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""aiomqtt 3 (a pre-release), with asyncio and a codec in Rust; MQTT 5, which is all it has.

``publish()`` waits for the acknowledgement, so as many tasks as the window has places publish at
the same time. The program acknowledges what it receives, and releases what it publishes at QoS 2.
A message of QoS 0 is dropped if no task waits for it at that moment: so many tasks iterate, as
many as there may be messages on their way; in ``receive`` as many as the buffers of asyncio hold,
which costs it most of the time, but with fewer of them most of the messages are lost.

The version of the codec that aiomqtt asks for, mqtt5 0.5, exists for Linux as its source only,
which needs a compiler for Rust. The next one has the same interface: it is installed instead.
"""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from operator import length_hint
from time import perf_counter_ns

from aiomqtt import Client, PubRelPacket, QoS

from tests.benchmarks.adapters.run import Run

PACKAGE = "aiomqtt==3.0.0a1 mqtt5==0.6.0 --no-deps"
IMPORT = "aiomqtt"
CANNOT = {
    "dispatch": "it has no handlers per filter: one iterator for all messages",
    "drain": "publish() raises an error while there is no connection",
}
PATIENCE = 20.0
AT_ONCE = 4 * 1024 * 1024
"""Bytes on their way with which it is fastest."""
MOST_CLIENTS = 200
READ_AT_ONCE = (256 + 2 * 64) * 1024
"""Bytes that a stream of asyncio may hold, and so is read from without waiting."""


def window(run: Run) -> int:
    """As many messages on their way as is good for it: of big ones that is not the most."""
    return max(1, min(run.window, AT_ONCE // run.size))


async def finish(work: Awaitable[None], progress: Callable[[], int]) -> None:
    """Wait for the work as long as there is progress: what was lost would be waited for forever."""
    task = asyncio.ensure_future(work)
    before = progress()
    while not (await asyncio.wait({task}, timeout=PATIENCE))[0]:
        if progress() == before:
            task.cancel()
            raise TimeoutError(f"no progress for {PATIENCE} s")
        before = progress()
    task.result()


def make_client(run: Run) -> Client:
    """A client as for all scenarios."""
    context = ssl.create_default_context(cafile=run.ca_file) if run.ca_file else None
    return Client(hostname=run.host, port=run.port, clean_start=True, ssl_context=context)


async def subscribe(client: Client, run: Run) -> None:
    """Subscribe."""
    await client.subscribe(run.topic, max_qos=QoS(run.qos))


def make_send(client: Client, run: Run) -> Callable[[], Awaitable[object]]:
    """What publishes one message, with all that its QoS asks for."""
    topic, payload, qos = run.topic, run.payload, QoS(run.qos)

    async def send() -> None:
        if qos == QoS.AT_MOST_ONCE:
            await client.publish(topic, payload)
            return
        packet_id = next(client.packet_ids)
        await client.publish(topic, payload, qos=qos, packet_id=packet_id)
        if qos == QoS.EXACTLY_ONCE:
            await client.pubrel(packet_id)

    return send


async def messages(client: Client) -> AsyncIterator[None]:
    """Messages; what they need is done when the next one is asked for."""
    async for packet in client.messages():
        if isinstance(packet, PubRelPacket):
            await client.pubcomp(packet.packet_id)
            continue
        yield
        if packet.qos == QoS.AT_LEAST_ONCE:
            await client.puback(packet.packet_id)
        elif packet.qos == QoS.EXACTLY_ONCE:
            await client.pubrec(packet.packet_id)


@contextlib.asynccontextmanager
async def consumers(
    client: Client, run: Run, number: int, on_message: Callable[[], None]
) -> AsyncIterator[None]:
    """Subscribe, and have each message counted by one of some tasks."""

    async def work() -> None:
        async for _ in messages(client):
            on_message()

    # What is not of QoS 0 waits in a queue, for which one task is the fastest.
    tasks = [asyncio.create_task(work()) for _ in range(1 if run.qos else number)]
    await subscribe(client, run)
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def publish(run: Run) -> None:
    """A task for each place of the window; at QoS 0, where nothing is waited for, one is enough."""
    remaining = iter(range(run.count))
    async with make_client(run) as client:
        send = make_send(client, run)

        async def work() -> None:
            for _ in remaining:
                await send()

        run.start()
        tasks = asyncio.gather(*(work() for _ in range(window(run) if run.qos else 1)))
        await finish(tasks, lambda: length_hint(remaining))
        await run.delivered()
        run.stop()


async def receive(run: Run) -> None:
    """The iterator, in one task or, at QoS 0, in many."""
    done = asyncio.Event()

    def on_message() -> None:
        run.received += 1
        if run.received == run.count:
            done.set()

    number = READ_AT_ONCE // (run.size + len(run.topic)) + 1
    async with make_client(run) as client, consumers(client, run, number, on_message):
        run.start()
        run.go()
        await finish(done.wait(), lambda: run.received)
        await run.delivered()
        run.stop()


async def round_trips(run: Run) -> None:
    """One after the other, in one task."""
    async with make_client(run) as client:
        send, incoming = make_send(client, run), messages(client)

        async def work() -> None:
            for _ in range(run.count):
                started = perf_counter_ns()
                await send()
                await anext(incoming)
                run.latencies.append(perf_counter_ns() - started)

        await subscribe(client, run)
        run.start()
        await finish(work(), lambda: len(run.latencies))
        run.stop()


async def bursts(run: Run) -> None:
    """A task for each message of the burst."""
    started = 0
    back = asyncio.Event()

    def on_message() -> None:
        run.latencies.append(perf_counter_ns() - started)
        if len(run.latencies) % run.burst == 0:
            back.set()

    async with make_client(run) as client, consumers(client, run, run.burst, on_message):
        send = make_send(client, run)

        async def work() -> None:
            nonlocal started
            for _ in range(run.count):
                back.clear()
                started = perf_counter_ns()
                await asyncio.gather(*(send() for _ in range(run.burst)))
                await back.wait()

        run.start()
        await finish(work(), lambda: len(run.latencies))
        run.stop()


async def connects(run: Run) -> None:
    """A new client each time."""
    run.start()
    for _ in range(run.count):
        async with make_client(run):
            pass
    run.stop()


async def idle(run: Run) -> None:
    """All of them in one event loop."""
    if run.count > MOST_CLIENTS:
        raise NotImplementedError("each client has a buffer of 16 MiB")
    run.start()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(run.count):
            await stack.enter_async_context(make_client(run))
        run.stop()


async def echo(run: Run) -> None:
    """As publish; there is a place again when a message has come."""
    remaining = iter(range(run.count))
    places = asyncio.Semaphore(run.window)
    done = asyncio.Event()

    def on_message() -> None:
        run.received += 1
        places.release()
        if run.received == run.count:
            done.set()

    async with make_client(run) as client, consumers(client, run, run.window, on_message):
        send = make_send(client, run)

        async def work() -> None:
            for _ in remaining:
                await places.acquire()
                await send()

        run.start()
        tasks = asyncio.gather(done.wait(), *(work() for _ in range(run.window if run.qos else 1)))
        await finish(tasks, lambda: run.received)
        await run.delivered()
        run.stop()
