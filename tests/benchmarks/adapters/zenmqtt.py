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
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from operator import length_hint
from time import perf_counter_ns
from uuid import uuid4

from zenmqtt import MQTTClient, ReconnectPolicy

from tests.benchmarks.adapters.run import Run

PACKAGE = "zenmqtt==0.1.0rc6"
IMPORT = "zenmqtt"
CANNOT = {"dispatch": "it has no handlers per filter: one iterator for all messages"}
PATIENCE = 20.0
AT_ONCE = 4 * 1024 * 1024
"""Bytes on their way with which it is fastest."""


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


async def connect(client: MQTTClient, run: Run, **options: object) -> None:
    """Connect."""
    context = ssl.create_default_context(cafile=run.ca_file) if run.ca_file else None
    scheme = "mqtts" if context else "tcp"
    await client.connect(f"{scheme}://{run.host}:{run.port}", ssl=context, **options)


@contextlib.asynccontextmanager
async def make_client(run: Run) -> AsyncIterator[MQTTClient]:
    """A connected client."""
    client = MQTTClient(f"bench-{uuid4().hex}", reconnect=None)
    await connect(client, run, clean_start=True)
    try:
        yield client
    finally:
        await client.disconnect()


async def next_message(client: MQTTClient) -> None:
    """Take a message and acknowledge it."""
    await client.ack(await anext(client.messages))


async def publish(run: Run) -> None:
    """A task for each place of the window; at QoS 0, where nothing is waited for, one is enough."""
    payload = run.payload
    remaining = iter(range(run.count))
    async with make_client(run) as client:

        async def work() -> None:
            for _ in remaining:
                await client.publish(run.topic, payload, run.qos)

        run.start()
        tasks = asyncio.gather(*(work() for _ in range(window(run) if run.qos else 1)))
        await finish(tasks, lambda: length_hint(remaining))
        await run.delivered()
        run.stop()


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
        run.start()
        run.go()
        await finish(work(), lambda: run.received)
        await run.delivered()
        run.stop()


async def round_trips(run: Run) -> None:
    """One after the other, in one task."""
    payload = run.payload
    async with make_client(run) as client:

        async def work() -> None:
            for _ in range(run.count):
                started = perf_counter_ns()
                await client.publish(run.topic, payload, run.qos)
                await next_message(client)
                run.latencies.append(perf_counter_ns() - started)

        await client.subscribe([(run.topic, run.qos)])
        run.start()
        await finish(work(), lambda: len(run.latencies))
        run.stop()


async def bursts(run: Run) -> None:
    """A task for each message of the burst."""
    payload = run.payload
    async with make_client(run) as client:

        async def collect(started: int) -> None:
            for _ in range(run.burst):
                await next_message(client)
                run.latencies.append(perf_counter_ns() - started)

        async def work() -> None:
            for _ in range(run.count):
                await asyncio.gather(
                    collect(perf_counter_ns()),
                    *(client.publish(run.topic, payload, run.qos) for _ in range(run.burst)),
                )

        await client.subscribe([(run.topic, run.qos)])
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
    payload = run.payload
    remaining = iter(range(run.count))
    places = asyncio.Semaphore(run.window)
    async with make_client(run) as client:

        async def work() -> None:
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
        run.start()
        tasks = asyncio.gather(collect(), *(work() for _ in range(run.window if run.qos else 1)))
        await finish(tasks, lambda: run.received)
        await run.delivered()
        run.stop()


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
    await finish(asyncio.wait(tasks), lambda: sum(task.done() for task in tasks))
    await run.delivered()
    run.stop()
    await client.disconnect()
