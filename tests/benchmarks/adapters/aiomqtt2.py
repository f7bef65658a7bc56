# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""aiomqtt 2, which is Paho under asyncio; MQTT 3.1.1, its default.

``publish()`` waits, at every QoS: for the acknowledgement, or until the message has been written.
So as many tasks as the window has places publish at the same time. Paho's limit for messages in
flight (20) and the number of waiting calls above which aiomqtt logs a warning for each (10) are
raised to that, and TCP_NODELAY is set, which Paho does not do. Messages come by the one iterator
that there is, which is how its documentation does it.
"""

import asyncio
import socket
from collections.abc import Awaitable, Iterator
from time import perf_counter_ns

import aiomqtt

from tests.benchmarks.adapters import asynchronous
from tests.benchmarks.adapters.run import PATIENCE, Run

PACKAGE = "aiomqtt==2.5.1"
IMPORT = "aiomqtt"
CANNOT = {
    "dispatch": "it has no handlers per filter: one iterator for all messages",
    "drain": "publish() raises an error while there is no connection",
}


def make_client(run: Run) -> aiomqtt.Client:
    """A client as for all scenarios."""
    waiting = max(run.window, run.burst)
    client = aiomqtt.Client(
        run.host,
        run.port,
        max_inflight_messages=waiting,
        timeout=PATIENCE,
        tls_context=run.tls_context,
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
    )
    client.pending_calls_threshold = waiting + 1
    return client


async def publish(run: Run) -> None:
    """A task for each place of the window."""
    payload = run.payload
    async with make_client(run) as client:

        async def work(remaining: Iterator[int]) -> None:
            for _ in remaining:
                await client.publish(run.topic, payload, run.qos)

        await asynchronous.publish(run, work, tasks=run.window)


async def receive(run: Run) -> None:
    """The iterator, as in the documentation."""
    async with make_client(run) as client:

        async def work() -> None:
            async for _ in client.messages:
                run.received += 1
                if run.received == run.count:
                    break

        await client.subscribe(run.topic, run.qos)
        await asynchronous.receive(run, work())


async def round_trips(run: Run) -> None:
    """One after the other, in one task."""
    payload = run.payload
    async with make_client(run) as client:
        messages = client.messages

        async def work() -> None:
            for _ in range(run.count):
                started = perf_counter_ns()
                await client.publish(run.topic, payload, run.qos)
                await anext(messages)
                run.latencies.append(perf_counter_ns() - started)

        await client.subscribe(run.topic, run.qos)
        await asynchronous.trips(run, work())


async def bursts(run: Run) -> None:
    """A task for each message of the burst."""
    payload = run.payload
    async with make_client(run) as client:

        def send() -> Iterator[Awaitable[object]]:
            return (client.publish(run.topic, payload, run.qos) for _ in range(run.burst))

        await client.subscribe(run.topic, run.qos)
        await asynchronous.bursts(run, send, client.messages.__anext__)


async def connects(run: Run) -> None:
    """A new client each time."""
    await asynchronous.connects(run, make_client)


async def idle(run: Run) -> None:
    """All of them in one event loop."""
    await asynchronous.idle(run, make_client)


async def echo(run: Run) -> None:
    """A task for each place of the window, which has its place again when a message has come."""
    payload = run.payload
    places = asyncio.Semaphore(run.window)
    async with make_client(run) as client:

        async def work(remaining: Iterator[int]) -> None:
            for _ in remaining:
                await places.acquire()
                await client.publish(run.topic, payload, run.qos)

        async def collect() -> None:
            async for _ in client.messages:
                run.received += 1
                places.release()
                if run.received == run.count:
                    break

        await client.subscribe(run.topic, run.qos)
        await asynchronous.echo(run, work, collect, tasks=run.window)
