# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""zenmqtt, with asyncio; MQTT 5, which is all it has.

``publish()`` waits for the acknowledgement, so as many tasks as the window has places publish at
the same time. Messages come by its one iterator, and the program acknowledges them, which its
documentation asks for. It does not reconnect but for ``drain``, and so does not wait for that with
each call.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Iterator
from time import perf_counter_ns
from uuid import uuid4

from zenmqtt import MQTTClient, ReconnectPolicy

from tests.benchmarks.adapters import asynchronous
from tests.benchmarks.adapters.run import Run

PACKAGE = "zenmqtt==0.1.0rc6"
IMPORT = "zenmqtt"
CANNOT = {"dispatch": "it has no handlers per filter: one iterator for all messages"}


async def connect(client: MQTTClient, run: Run, **options: object) -> None:
    """Connect."""
    scheme = "mqtts" if run.ca_file else "tcp"
    await client.connect(f"{scheme}://{run.host}:{run.port}", ssl=run.tls_context, **options)


@contextlib.asynccontextmanager
async def make_client(run: Run) -> AsyncIterator[MQTTClient]:
    """A connected client."""
    client = MQTTClient(f"bench-{uuid4().hex}", reconnect=None)
    await connect(client, run, clean_start=True)
    try:
        yield client
    finally:
        await client.disconnect()


async def publish(run: Run) -> None:
    """A task for each place of the window; at QoS 0, where nothing is waited for, one is enough."""
    payload = run.payload
    async with make_client(run) as client:

        async def work(remaining: Iterator[int]) -> None:
            for _ in remaining:
                await client.publish(run.topic, payload, run.qos)

        await asynchronous.publish(run, work, tasks=run.narrow_window if run.qos else 1)


async def receive(run: Run) -> None:
    """As in the documentation."""
    async with make_client(run) as client:

        async def work() -> None:
            async for message in client.messages:
                run.received += 1
                await client.ack(message)
                if run.received == run.count:
                    break

        await client.subscribe([(run.topic, run.qos)])
        await asynchronous.receive(run, work())


async def round_trips(run: Run) -> None:
    """One after the other, in one task."""
    payload = run.payload
    async with make_client(run) as client:

        async def work() -> None:
            for _ in range(run.count):
                started = perf_counter_ns()
                await client.publish(run.topic, payload, run.qos)
                await client.ack(await anext(client.messages))
                run.latencies.append(perf_counter_ns() - started)

        await client.subscribe([(run.topic, run.qos)])
        await asynchronous.trips(run, work())


async def bursts(run: Run) -> None:
    """A task for each message of the burst."""
    payload = run.payload
    async with make_client(run) as client:

        def send() -> Iterator[Awaitable[object]]:
            return (client.publish(run.topic, payload, run.qos) for _ in range(run.burst))

        async def next_message() -> None:
            await client.ack(await anext(client.messages))

        await client.subscribe([(run.topic, run.qos)])
        await asynchronous.bursts(run, send, next_message)


async def connects(run: Run) -> None:
    """A new client each time."""
    await asynchronous.connects(run, make_client)


async def idle(run: Run) -> None:
    """All of them in one event loop."""
    await asynchronous.idle(run, make_client)


async def echo(run: Run) -> None:
    """As publish; there is a place again when a message has come."""
    payload = run.payload
    places = asyncio.Semaphore(run.window)
    async with make_client(run) as client:

        async def work(remaining: Iterator[int]) -> None:
            for _ in remaining:
                await places.acquire()
                await client.publish(run.topic, payload, run.qos)

        async def collect() -> None:
            async for message in client.messages:
                run.received += 1
                places.release()
                await client.ack(message)
                if run.received == run.count:
                    break

        await client.subscribe([(run.topic, run.qos)])
        await asynchronous.echo(run, work, collect, tasks=run.window if run.qos else 1)


async def drain(run: Run) -> None:
    """``publish()`` waits while it reconnects: it is the tasks which are the queue."""
    payload = run.payload
    lost = asyncio.Event()
    policy = ReconnectPolicy(initial_delay=0.01, max_delay=0.01)
    client = MQTTClient(f"bench-{uuid4().hex}", reconnect=policy)
    await connect(client, run, properties={"session_expiry_interval": 60})
    client.on_disconnect = lambda _error: lost.set()
    client.on_connect = lambda _result: run.start()
    run.cut()
    await lost.wait()
    tasks = [
        asyncio.create_task(client.publish(run.topic, payload, run.qos)) for _ in range(run.count)
    ]
    await asyncio.sleep(0)
    run.restore()
    await asynchronous.finish(asyncio.wait(tasks), lambda: sum(task.done() for task in tasks))
    await run.delivered()
    run.stop()
    await client.disconnect()
