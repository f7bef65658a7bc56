# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""The client of aMQTT, with asyncio; MQTT 3.1.1, which is all it has.

``publish()`` waits for the acknowledgement, so as many tasks as the window has places publish at
the same time. Messages come by ``deliver_message()``, one by one. The plugin that logs all packets
(it would at level DEBUG) is on by default, and is turned off.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Iterator
from time import perf_counter_ns

from amqtt.client import MQTTClient
from amqtt.contexts import ClientConfig

from tests.benchmarks.adapters import asynchronous
from tests.benchmarks.adapters.run import Run

PACKAGE = "amqtt==0.12.1"
IMPORT = "amqtt.client"
CANNOT = {"dispatch": "it has no handlers per filter: deliver_message() for all messages"}


async def connect(client: MQTTClient, run: Run) -> None:
    """Connect."""
    scheme = "mqtts" if run.ca_file else "mqtt"
    await client.connect(f"{scheme}://{run.host}:{run.port}", cafile=run.ca_file)


def new_client() -> MQTTClient:
    """A client as for all scenarios, not connected."""
    # It warns of each connection that has been closed, also by itself.
    logging.getLogger("amqtt").setLevel(logging.ERROR)
    return MQTTClient(config=ClientConfig(plugins={}, auto_reconnect=False))


@contextlib.asynccontextmanager
async def make_client(run: Run) -> AsyncIterator[MQTTClient]:
    """A connected client."""
    client = new_client()
    await connect(client, run)
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

        await asynchronous.publish(run, work, tasks=run.window if run.qos else 1)


async def receive(run: Run) -> None:
    """As in the documentation."""
    async with make_client(run) as client:

        async def work() -> None:
            while run.received < run.count:
                await client.deliver_message()
                run.received += 1

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
                await client.deliver_message()
                run.latencies.append(perf_counter_ns() - started)

        await client.subscribe([(run.topic, run.qos)])
        await asynchronous.trips(run, work())


async def bursts(run: Run) -> None:
    """A task for each message of the burst."""
    payload = run.payload
    async with make_client(run) as client:

        def send() -> Iterator[Awaitable[object]]:
            return (client.publish(run.topic, payload, run.qos) for _ in range(run.burst))

        await client.subscribe([(run.topic, run.qos)])
        await asynchronous.bursts(run, send, client.deliver_message)


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
            while run.received < run.count:
                await client.deliver_message()
                run.received += 1
                places.release()

        await client.subscribe([(run.topic, run.qos)])
        await asynchronous.echo(run, work, collect, tasks=run.window if run.qos else 1)


async def drain(run: Run) -> None:
    """``publish()`` waits for the connection: it is the tasks which are the queue."""
    payload = run.payload
    client = new_client()
    tasks = [
        asyncio.create_task(client.publish(run.topic, payload, run.qos)) for _ in range(run.count)
    ]
    await asyncio.sleep(0)
    run.start()
    await connect(client, run)
    await asynchronous.finish(asyncio.wait(tasks), lambda: sum(task.done() for task in tasks))
    await run.delivered()
    run.stop()
    await client.disconnect()
