# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""zmqtt, with asyncio; MQTT 3.1.1, its default.

``publish()`` waits for the acknowledgement, so as many tasks as the window has places publish at
the same time. Messages come by the iterator of a subscription, each with a buffer of its own, which
holds all that may wait; it acknowledges by itself, which is the default.
"""

import asyncio
from collections.abc import Awaitable, Iterator
from time import perf_counter_ns

from zmqtt import MQTTClient, QoS, ReconnectConfig, Subscription, create_client

from tests.benchmarks.adapters import asynchronous
from tests.benchmarks.adapters.run import Run

PACKAGE = "zmqtt==0.2.5"
IMPORT = "zmqtt"
CANNOT = {"drain": "publish() raises an error while there is no connection"}


def make_client(run: Run) -> MQTTClient:
    """A client as for all scenarios."""
    return create_client(
        run.host,
        run.port,
        tls=run.tls_context or False,
        reconnect=ReconnectConfig(enabled=False),
    )


async def subscribe(client: MQTTClient, run: Run, filter_: str) -> Subscription:
    """A subscription, which ends with the connection."""
    subscription = client.subscribe(filter_, qos=QoS(run.qos), receive_buffer_size=run.buffer)
    await subscription.start()
    return subscription


async def publish(run: Run) -> None:
    """A task for each place of the window; at QoS 0, where nothing is waited for, one is enough."""
    payload, qos = run.payload, QoS(run.qos)
    async with make_client(run) as client:

        async def work(remaining: Iterator[int]) -> None:
            for _ in remaining:
                await client.publish(run.topic, payload, qos=qos)

        await asynchronous.publish(run, work, tasks=run.window if run.qos else 1)


async def receive(run: Run) -> None:
    """As in the documentation."""
    async with make_client(run) as client:

        async def work() -> None:
            async for _ in subscription:
                run.received += 1
                if run.received == run.count:
                    break

        subscription = await subscribe(client, run, run.topic)
        await asynchronous.receive(run, work())


async def round_trips(run: Run) -> None:
    """One after the other, in one task."""
    payload, qos = run.payload, QoS(run.qos)
    async with make_client(run) as client:

        async def work() -> None:
            for _ in range(run.count):
                started = perf_counter_ns()
                await client.publish(run.topic, payload, qos=qos)
                await subscription.get_message()
                run.latencies.append(perf_counter_ns() - started)

        subscription = await subscribe(client, run, run.topic)
        await asynchronous.trips(run, work())


async def bursts(run: Run) -> None:
    """A task for each message of the burst."""
    payload, qos = run.payload, QoS(run.qos)
    async with make_client(run) as client:

        def send() -> Iterator[Awaitable[object]]:
            return (client.publish(run.topic, payload, qos=qos) for _ in range(run.burst))

        subscription = await subscribe(client, run, run.topic)
        await asynchronous.bursts(run, send, subscription.get_message)


async def connects(run: Run) -> None:
    """A new client each time."""
    await asynchronous.connects(run, make_client)


async def idle(run: Run) -> None:
    """All of them in one event loop."""
    await asynchronous.idle(run, make_client)


async def echo(run: Run) -> None:
    """As publish; there is a place again when a message has come."""
    payload, qos = run.payload, QoS(run.qos)
    places = asyncio.Semaphore(run.window)
    async with make_client(run) as client:

        async def work(remaining: Iterator[int]) -> None:
            for _ in remaining:
                await places.acquire()
                await client.publish(run.topic, payload, qos=qos)

        async def collect() -> None:
            async for _ in subscription:
                run.received += 1
                places.release()
                if run.received == run.count:
                    break

        subscription = await subscribe(client, run, run.topic)
        await asynchronous.echo(run, work, collect, tasks=run.window if run.qos else 1)


async def dispatch(run: Run) -> None:
    """A subscription, and a task which reads it, for each filter."""
    done = asyncio.Event()
    async with make_client(run) as client:

        async def work(subscription: Subscription) -> None:
            async for _ in subscription:
                run.received += 1
                if run.received == run.count:
                    done.set()

        subscriptions = [await subscribe(client, run, filter_) for filter_ in run.filters]
        tasks = [asyncio.create_task(work(subscription)) for subscription in subscriptions]
        await asynchronous.receive(run, done.wait())
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
