"""AsyncClient, with ``publish_nowait()`` and handlers."""

import asyncio
from collections import deque
from time import perf_counter_ns

from mqttlite import AsyncDelivery, Message
from tests.benchmarks.adapters.mqttlite_async import make_client
from tests.benchmarks.adapters.run import Run

LABEL = "mqttlite (asyncio, nowait, handlers)"
PACKAGE = "certifi typing-extensions"
IMPORT = "mqttlite.aio"
CANNOT = "the same as mqttlite (asyncio)"


async def publish(run: Run) -> None:
    """When the window is full, the oldest message has to be waited for."""
    payload = run.payload
    deliveries: deque[AsyncDelivery] = deque()
    async with make_client(run) as client:
        run.start()
        for _ in range(run.count):
            if len(deliveries) == run.window:
                await deliveries.popleft()
            deliveries.append(client.publish_nowait(run.topic, payload, qos=run.qos))
        for delivery in deliveries:
            await delivery
        await run.delivered()
        run.stop()


async def _count(run: Run, filters: list[str]) -> None:
    everything = asyncio.Event()

    def count(_message: Message) -> None:
        run.received += 1
        if run.received == run.count:
            everything.set()

    async with make_client(run) as client:
        subscriptions = [
            client.subscribe(topic_filter, qos=run.qos, handler=count, buffer_size=run.buffer)
            for topic_filter in filters
        ]
        for subscription in subscriptions:
            await subscription
        run.start()
        run.go()
        await everything.wait()
        run.stop()


async def receive(run: Run) -> None:
    """A handler."""
    await _count(run, [run.topic])


async def dispatch(run: Run) -> None:
    """A handler for each filter."""
    await _count(run, run.filters)


async def round_trips(run: Run) -> None:
    """The handler publishes the next message: so no task has to be woken."""
    payload = run.payload
    done = asyncio.Event()
    started = 0
    async with make_client(run) as client:

        def send() -> None:
            nonlocal started
            started = perf_counter_ns()
            client.publish_nowait(run.topic, payload, qos=run.qos)

        def note(_message: Message) -> None:
            run.latencies.append(perf_counter_ns() - started)
            if len(run.latencies) < run.count:
                send()
            else:
                done.set()

        await client.subscribe(run.topic, qos=run.qos, handler=note)
        run.start()
        send()
        await done.wait()
        run.stop()


async def bursts(run: Run) -> None:
    """The handler publishes the next burst when it has the last message of one."""
    payload = run.payload
    done = asyncio.Event()
    started = came = 0
    async with make_client(run) as client:

        def send() -> None:
            nonlocal started, came
            came = 0
            started = perf_counter_ns()
            for _ in range(run.burst):
                client.publish_nowait(run.topic, payload, qos=run.qos)

        def note(_message: Message) -> None:
            nonlocal came
            run.latencies.append(perf_counter_ns() - started)
            came += 1
            if came == run.burst:
                if len(run.latencies) < run.count * run.burst:
                    send()
                else:
                    done.set()

        await client.subscribe(run.topic, qos=run.qos, handler=note)
        run.start()
        send()
        await done.wait()
        run.stop()


async def echo(run: Run) -> None:
    """The handler publishes the next message when one has come."""
    payload = run.payload
    everything = asyncio.Event()
    sent = min(run.window, run.count)
    async with make_client(run) as client:

        def again(_message: Message) -> None:
            nonlocal sent
            run.received += 1
            if sent < run.count:
                sent += 1
                client.publish_nowait(run.topic, payload, qos=run.qos)
            elif run.received == run.count:
                everything.set()

        await client.subscribe(run.topic, qos=run.qos, handler=again)
        run.start()
        for _ in range(sent):
            client.publish_nowait(run.topic, payload, qos=run.qos)
        await everything.wait()
        run.stop()
