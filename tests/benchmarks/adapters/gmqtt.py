# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""gmqtt, with asyncio; MQTT 5, its default.

``publish()`` writes and returns at once; what has been acknowledged is said to nobody but the
storage for messages in flight, which may be given to the client. So that storage publishes the
next message when one is removed. There are callbacks for all messages, which are plain functions:
a coroutine function would become a task for each message.
"""

import asyncio
import logging
from collections.abc import Callable
from time import perf_counter_ns
from typing import Self

from gmqtt import Client
from gmqtt.storage import PersistentStorage

from tests.benchmarks.adapters import asynchronous
from tests.benchmarks.adapters.run import PATIENCE, Run

PACKAGE = "gmqtt==0.8.0"
IMPORT = "gmqtt"
CANNOT = {"dispatch": "it has no handlers per filter: one callback for all messages"}


def ignore(*_: object) -> None:
    """What the callbacks are when nothing is to be done."""


class Storage(PersistentStorage):
    """Says that a message has been acknowledged."""

    removed: Callable[[], None] = staticmethod(ignore)

    def remove_message_by_mid(self, mid: int) -> None:
        super().remove_message_by_mid(mid)
        self.removed()


class Connection:
    """A connected client; it is set up and closed with ``async with``."""

    def __init__(
        self, run: Run, on_message: Callable[..., int | None] = ignore, **options: object
    ) -> None:
        self.run = run
        self.storage = Storage()
        self.client = Client(None, persistent_storage=self.storage, **options)
        self.client.set_config({"reconnect_retries": 0})
        self.client.on_connect = self.on_connect
        self.client.on_message = on_message
        self.client.on_subscribe = self.on_subscribe
        self.subscribed = asyncio.Event()
        self.limit = run.window

    def on_connect(
        self, _client: Client, _flags: int, _code: int, properties: dict[str, list[int]]
    ) -> None:
        # One below what the server allows is the most that gmqtt has packet identifiers for.
        allowed = properties.get("receive_maximum", [65535])[0] - 1
        self.limit = min(self.run.window, allowed)

    def on_subscribe(self, *_: object) -> None:
        self.subscribed.set()

    async def connect(self) -> None:
        run = self.run
        await self.client.connect(run.host, run.port, ssl=run.tls_context or False)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def subscribe(self) -> None:
        self.client.subscribe(self.run.topic, qos=self.run.qos)
        async with asyncio.timeout(PATIENCE):
            await self.subscribed.wait()

    async def __aexit__(self, *_: object) -> None:
        await self.client.disconnect()


async def publish(run: Run) -> None:
    """A message for each that has been acknowledged; at QoS 0 a window's worth at once."""
    payload = run.payload
    left = run.count
    done = asyncio.Event()
    async with Connection(run) as connection:

        def removed() -> None:
            nonlocal left
            if left:
                left -= 1
                connection.client.publish(run.topic, payload, qos=run.qos)
            elif connection.storage.is_empty:
                done.set()

        async def work() -> None:
            nonlocal left
            if run.qos:
                for _ in range(min(connection.limit, run.narrow_window, run.count)):
                    left -= 1
                    connection.client.publish(run.topic, payload, qos=run.qos)
                await done.wait()
                return
            while left:
                # It never waits until its bytes have been taken: the event loop needs its turn.
                for _ in range(min(run.narrow_window, left)):
                    left -= 1
                    connection.client.publish(run.topic, payload)
                await asyncio.sleep(0)

        connection.storage.removed = removed
        run.start()
        await asynchronous.finish(work(), lambda: left)
        await run.delivered()
        run.stop()


async def receive(run: Run) -> None:
    """A callback that counts."""
    done = asyncio.Event()

    def on_message(*_: object) -> int:
        run.received += 1
        if run.received == run.count:
            done.set()
        return 0

    async with Connection(run, on_message) as connection:
        await connection.subscribe()
        await asynchronous.receive(run, done.wait())


async def round_trips(run: Run) -> None:
    """The callback publishes the next message."""
    payload = run.payload
    done = asyncio.Event()
    started = 0

    def send() -> None:
        nonlocal started
        started = perf_counter_ns()
        connection.client.publish(run.topic, payload, qos=run.qos)

    def on_message(*_: object) -> int:
        run.latencies.append(perf_counter_ns() - started)
        if len(run.latencies) < run.count:
            send()
        else:
            done.set()
        return 0

    async with Connection(run, on_message) as connection:
        await connection.subscribe()
        run.start()
        send()
        await asynchronous.finish(done.wait(), lambda: len(run.latencies))
        run.stop()


async def bursts(run: Run) -> None:
    """The callback publishes the next burst when it has the last message of one."""
    payload = run.payload
    done = asyncio.Event()
    started = 0

    def send() -> None:
        nonlocal started
        started = perf_counter_ns()
        for _ in range(run.burst):
            connection.client.publish(run.topic, payload, qos=run.qos)

    def on_message(*_: object) -> int:
        run.latencies.append(perf_counter_ns() - started)
        if len(run.latencies) == run.count * run.burst:
            done.set()
        elif len(run.latencies) % run.burst == 0:
            send()
        return 0

    async with Connection(run, on_message) as connection:
        await connection.subscribe()
        run.start()
        send()
        await asynchronous.finish(done.wait(), lambda: len(run.latencies))
        run.stop()


async def connects(run: Run) -> None:
    """A new client each time."""
    await asynchronous.connects(run, Connection)


async def idle(run: Run) -> None:
    """All of them in one event loop."""
    await asynchronous.idle(run, Connection)


async def echo(run: Run) -> None:
    """The callbacks publish a message for each that has come, as far as identifiers are free."""
    payload = run.payload
    done = asyncio.Event()
    left = run.count
    unacknowledged = 0

    def send() -> None:
        nonlocal left, unacknowledged
        # A message may be back before it has been acknowledged.
        while (
            left
            and run.count - left - run.received < run.window
            and unacknowledged < connection.limit
        ):
            left -= 1
            unacknowledged += run.qos > 0
            connection.client.publish(run.topic, payload, qos=run.qos)

    def removed() -> None:
        nonlocal unacknowledged
        unacknowledged -= 1
        send()

    def on_message(*_: object) -> int:
        run.received += 1
        send()
        if run.received == run.count:
            done.set()
        return 0

    async with Connection(run, on_message) as connection:
        connection.storage.removed = removed
        await connection.subscribe()
        run.start()
        send()
        await asynchronous.finish(done.wait(), lambda: run.received)
        await run.delivered()
        run.stop()


async def drain(run: Run) -> None:
    """What is published after the connection has been lost is stored, and sent by ``connect()``."""
    payload = run.payload
    lost = asyncio.Event()
    # A line for each message, that it cannot be written.
    logging.getLogger("gmqtt").setLevel(logging.ERROR)
    async with Connection(run, clean_session=False, session_expiry_interval=60) as connection:
        # It tries to connect once by itself, even without retries: after this measurement.
        connection.client.set_config({"reconnect_delay": 2 * PATIENCE})
        connection.client.on_disconnect = lambda *_: lost.set()
        run.cut()
        await lost.wait()
        for _ in range(run.count):
            connection.client.publish(run.topic, payload, qos=run.qos)
        run.restore()
        run.start()
        await connection.connect()
        await run.delivered()
        run.stop()
