"""AsyncClient, waiting: as many tasks as the window has places publish, messages are iterated."""

import asyncio
from time import perf_counter_ns

from mqttlite import TLS, AsyncClient, Reconnect
from tests.benchmarks.adapters import asynchronous
from tests.benchmarks.adapters.run import Run

LABEL = "mqttlite (asyncio)"
PACKAGE = "certifi typing-extensions"
IMPORT = "mqttlite.aio"
CANNOT = {"dispatch": "the same as mqttlite (asyncio, nowait, handlers)"}


def make_client(run: Run) -> AsyncClient:
    """A client as for all scenarios."""
    return AsyncClient(
        host=run.host, port=run.port, tls=TLS(ca_file=run.ca_file) if run.ca_file else None
    )


async def publish(run: Run) -> None:
    """At QoS 0 there is nothing to wait for, and one task will do."""
    payload = run.payload
    remaining = iter(range(run.count))
    async with make_client(run) as client:

        async def work() -> None:
            for _ in remaining:
                await client.publish(run.topic, payload, qos=run.qos)

        run.start()
        await asyncio.gather(*(work() for _ in range(run.window if run.qos else 1)))
        await run.delivered()
        run.stop()


async def receive(run: Run) -> None:
    """Iterate."""
    async with make_client(run) as client:
        messages = await client.subscribe(run.topic, qos=run.qos, buffer_size=run.buffer)
        run.start()
        run.go()
        async for _ in messages:
            run.received += 1
            if run.received == run.count:
                break
        run.stop()


async def round_trips(run: Run) -> None:
    """One at a time."""
    payload = run.payload
    async with make_client(run) as client:
        messages = await client.subscribe(run.topic, qos=run.qos)
        run.start()
        for _ in range(run.count):
            started = perf_counter_ns()
            await client.publish(run.topic, payload, qos=run.qos)
            await anext(messages)
            run.latencies.append(perf_counter_ns() - started)
        run.stop()


async def bursts(run: Run) -> None:
    """Publish without waiting, then take what comes."""
    payload = run.payload
    async with make_client(run) as client:
        messages = await client.subscribe(run.topic, qos=run.qos)
        run.start()
        for _ in range(run.count):
            started = perf_counter_ns()
            for _ in range(run.burst):
                client.publish_nowait(run.topic, payload, qos=run.qos)
            for _ in range(run.burst):
                await anext(messages)
                run.latencies.append(perf_counter_ns() - started)
        run.stop()


async def connects(run: Run) -> None:
    """A new client each time."""
    await asynchronous.connects(run, make_client)


async def idle(run: Run) -> None:
    """All in one event loop."""
    await asynchronous.idle(run, make_client)


async def drain(run: Run) -> None:
    """What is published after the connection has been lost waits in the outbox."""
    payload = run.payload
    lost = asyncio.Event()
    client = AsyncClient(
        host=run.host,
        port=run.port,
        maximum_in_flight=run.window,
        reconnect=Reconnect(first_delay=0.01, maximum_delay=0.01),
        on_disconnect=lambda _event: lost.set(),
        on_connect=lambda _event: run.start(),  # the second one counts
    )
    async with client:
        run.cut()
        await lost.wait()
        deliveries = [
            client.publish_nowait(run.topic, payload, qos=run.qos) for _ in range(run.count)
        ]
        run.restore()
        for delivery in deliveries:
            await delivery
        await run.delivered()
        run.stop()


async def echo(run: Run) -> None:
    """As many tasks publish, each with a place that is free again when a message has come."""
    payload = run.payload
    remaining = iter(range(run.count))
    places = asyncio.Semaphore(run.window)
    async with make_client(run) as client:
        messages = await client.subscribe(run.topic, qos=run.qos)

        async def work() -> None:
            for _ in remaining:
                await places.acquire()
                await client.publish(run.topic, payload, qos=run.qos)

        run.start()
        tasks = [asyncio.create_task(work()) for _ in range(run.window)]
        async for _ in messages:
            run.received += 1
            places.release()
            if run.received == run.count:
                break
        await asyncio.gather(*tasks)
        run.stop()
