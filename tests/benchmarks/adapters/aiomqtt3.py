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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from time import perf_counter_ns

from aiomqtt import Client, PubRelPacket, QoS

from tests.benchmarks.adapters import asynchronous
from tests.benchmarks.adapters.run import Run

PACKAGE = "aiomqtt==3.0.0a1 mqtt5==0.6.0 --no-deps"
IMPORT = "aiomqtt"
CANNOT = {
    "dispatch": "it has no handlers per filter: one iterator for all messages",
    "drain": "publish() raises an error while there is no connection",
}
MOST_CLIENTS = 200
READ_AT_ONCE = (256 + 2 * 64) * 1024
"""Bytes that a stream of asyncio may hold, and so is read from without waiting."""


def make_client(run: Run) -> Client:
    """A client as for all scenarios."""
    return Client(hostname=run.host, port=run.port, clean_start=True, ssl_context=run.tls_context)


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
    async with make_client(run) as client:
        send = make_send(client, run)

        async def work(remaining: Iterator[int]) -> None:
            for _ in remaining:
                await send()

        await asynchronous.publish(run, work, tasks=run.narrow_window if run.qos else 1)


async def receive(run: Run) -> None:
    """The iterator, in one task or, at QoS 0, in many."""
    done = asyncio.Event()

    def on_message() -> None:
        run.received += 1
        if run.received == run.count:
            done.set()

    number = READ_AT_ONCE // (run.size + len(run.topic)) + 1
    async with make_client(run) as client, consumers(client, run, number, on_message):
        await asynchronous.receive(run, done.wait())


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
        await asynchronous.trips(run, work())


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

        await asynchronous.trips(run, work())


async def connects(run: Run) -> None:
    """A new client each time."""
    await asynchronous.connects(run, make_client)


async def idle(run: Run) -> None:
    """All of them in one event loop."""
    if run.count > MOST_CLIENTS:
        raise NotImplementedError("each client has a buffer of 16 MiB")
    await asynchronous.idle(run, make_client)


async def echo(run: Run) -> None:
    """As publish; there is a place again when a message has come."""
    places = asyncio.Semaphore(run.window)
    done = asyncio.Event()

    def on_message() -> None:
        run.received += 1
        places.release()
        if run.received == run.count:
            done.set()

    async with make_client(run) as client, consumers(client, run, run.window, on_message):
        send = make_send(client, run)

        async def work(remaining: Iterator[int]) -> None:
            for _ in remaining:
                await places.acquire()
                await send()

        await asynchronous.echo(run, work, done.wait, tasks=run.window if run.qos else 1)
