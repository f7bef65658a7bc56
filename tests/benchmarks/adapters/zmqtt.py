# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""zmqtt, with asyncio; MQTT 3.1.1, its default.

``publish()`` waits for the acknowledgement, so as many tasks as the window has places publish at
the same time. Messages come by the iterator of a subscription, each with a buffer of its own, which
holds all that may wait; it acknowledges by itself, which is the default.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from operator import length_hint
from time import perf_counter_ns

from zmqtt import MQTTClient, QoS, ReconnectConfig, Subscription, create_client

from tests.benchmarks.adapters.run import Run

PACKAGE = "zmqtt==0.2.5"
IMPORT = "zmqtt"
CANNOT = {"drain": "publish() raises an error while there is no connection"}
PATIENCE = 20.0


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


def make_client(run: Run) -> MQTTClient:
    """A client as for all scenarios."""
    context = ssl.create_default_context(cafile=run.ca_file) if run.ca_file else False
    return create_client(run.host, run.port, tls=context, reconnect=ReconnectConfig(enabled=False))


async def subscribe(client: MQTTClient, run: Run, filter_: str) -> Subscription:
    """A subscription, which ends with the connection."""
    subscription = client.subscribe(filter_, qos=QoS(run.qos), receive_buffer_size=run.buffer)
    await subscription.start()
    return subscription


async def publish(run: Run) -> None:
    """A task for each place of the window; at QoS 0, where nothing is waited for, one is enough."""
    payload, qos = run.payload, QoS(run.qos)
    remaining = iter(range(run.count))
    async with make_client(run) as client:

        async def work() -> None:
            for _ in remaining:
                await client.publish(run.topic, payload, qos=qos)

        run.start()
        tasks = asyncio.gather(*(work() for _ in range(run.window if run.qos else 1)))
        await finish(tasks, lambda: length_hint(remaining))
        await run.delivered()
        run.stop()


async def receive(run: Run) -> None:
    """As in the documentation."""
    async with make_client(run) as client:

        async def work() -> None:
            async for _ in subscription:
                run.received += 1
                if run.received == run.count:
                    break

        subscription = await subscribe(client, run, run.topic)
        run.start()
        run.go()
        await finish(work(), lambda: run.received)
        await run.delivered()
        run.stop()


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
        run.start()
        await finish(work(), lambda: len(run.latencies))
        run.stop()


async def bursts(run: Run) -> None:
    """A task for each message of the burst."""
    payload, qos = run.payload, QoS(run.qos)
    async with make_client(run) as client:

        async def collect(started: int) -> None:
            for _ in range(run.burst):
                await subscription.get_message()
                run.latencies.append(perf_counter_ns() - started)

        async def work() -> None:
            for _ in range(run.count):
                await asyncio.gather(
                    collect(perf_counter_ns()),
                    *(client.publish(run.topic, payload, qos=qos) for _ in range(run.burst)),
                )

        subscription = await subscribe(client, run, run.topic)
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
    run.start()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(run.count):
            await stack.enter_async_context(make_client(run))
        run.stop()


async def echo(run: Run) -> None:
    """As publish; there is a place again when a message has come."""
    payload, qos = run.payload, QoS(run.qos)
    remaining = iter(range(run.count))
    places = asyncio.Semaphore(run.window)
    async with make_client(run) as client:

        async def work() -> None:
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
        run.start()
        tasks = asyncio.gather(collect(), *(work() for _ in range(run.window if run.qos else 1)))
        await finish(tasks, lambda: run.received)
        await run.delivered()
        run.stop()


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
        run.start()
        run.go()
        await finish(done.wait(), lambda: run.received)
        await run.delivered()
        run.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
