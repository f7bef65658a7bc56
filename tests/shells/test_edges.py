"""Where other clients leak, hang or lose: each of these has happened to somebody."""

import asyncio
import contextlib
import logging
import subprocess
import sys
import threading
from time import monotonic
from typing import Any

import pytest

from mqttlite import AsyncClient, Client, Message, PublishError, Reconnect
from mqttlite.enums import Fate
from mqttlite.testing import Broker
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab

only_5 = pytest.mark.parametrize("version", ["5.0"])


@rule(17)
@only_5
async def test_unsubscribing_acknowledges_what_was_taken_last(lab: Lab) -> None:
    async with lab.client(receive_maximum=3) as client:
        got = lab.queue()
        await client.subscribe(f"{lab.topic}/b", qos=1, handler=got.put)
        messages = await client.subscribe(f"{lab.topic}/a", qos=1)
        await client.publish(f"{lab.topic}/a", b"", qos=1)
        await messages.get(TIMEOUT)
        await messages.unsubscribe(TIMEOUT)
        for _ in range(10):  # they would stop at the Receive Maximum
            await client.publish(f"{lab.topic}/b", b"", qos=1)
            await got.get()


@rule(3)
@only_5
async def test_waiting_in_vain_leaves_nothing_behind(lab: Lab) -> None:
    async with lab.client() as client, client.subscribe(lab.topic) as messages:
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await messages.get(0.001)
        inner: Any = messages
        waiters = getattr(inner, "_open", lambda: inner)()._waiters
        assert len(waiters) == 0


@rule(20, 21)
@only_5
async def test_a_message_expires_while_there_is_no_connection(lab: Lab) -> None:
    lost = lab.queue()
    with Broker() as broker:
        url = broker.url
        client = lab.client(
            url, reconnect=Reconnect(first_delay=50, maximum_delay=50), on_disconnect=lost.put
        )
        await client.connect()
        broker.stop(drop=True)
    await lost.get()
    started = monotonic()
    with pytest.raises(PublishError) as caught:
        await client.publish("t", b"", qos=1, message_expiry_interval=1, timeout=TIMEOUT)
    assert caught.value.fate is Fate.EXPIRED
    assert monotonic() - started < 5.0
    await client.close()


@rule(2)
@only_5
async def test_a_handler_with_much_to_do_does_not_hold_up_the_end(lab: Lab) -> None:
    client = lab.client()
    handled = lab.queue()
    await client.connect()
    await client.subscribe(lab.topic, handler=handled.put)
    for _ in range(500):
        await client.publish(lab.topic, b"")
    await handled.get()
    started = monotonic()
    await client.close(5.0)
    assert monotonic() - started < 4.0


@rule(5)
@only_5
@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError, SystemExit])
async def test_a_handler_goes_on_after_any_error(lab: Lab, error: type[BaseException]) -> None:
    if error is SystemExit and lab.kind.name == "aio":
        pytest.skip("asyncio itself ends the loop with SystemExit")
    handled = lab.queue()

    async def handler(message: Message) -> None:
        handled.put(message)
        raise error

    async with lab.client() as client:
        await client.subscribe(lab.topic, handler=handler)
        for number in range(3):
            await client.publish(lab.topic, str(number))
            assert (await handled.get()).payload == str(number).encode()


@rule(4)
def test_a_log_handler_may_publish() -> None:
    with Broker() as broker, Client(broker.url) as client:

        class Publishing(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                client.publish_nowait("log", record.getMessage())

        logger = logging.getLogger("mqttlite")
        handler = Publishing()
        logger.addHandler(handler)
        try:
            with client.subscribe("log") as log, client.subscribe("x", buffer_size=1):
                for _ in range(3):
                    client.publish("x", b"")
                assert b"is full" in log.get(TIMEOUT).payload
        finally:
            logger.removeHandler(handler)


@rule(4)
def test_a_signal_handler_is_told_that_it_interrupts() -> None:
    with Broker() as broker, Client(broker.url) as client:
        with client.driver.lock, pytest.raises(Exception, match="signal handler"):
            client.publish_nowait("t")
        client.publish("t", qos=1, timeout=TIMEOUT)


def test_notes_are_delivered_once() -> None:
    events: list[object] = []
    done = threading.Event()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with Broker() as broker, Client(broker.url, on_connect=events.append) as client:

            def publish() -> None:
                for _ in range(200):
                    client.publish("t", qos=1, timeout=TIMEOUT)

            threads = [threading.Thread(target=publish) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            done.set()
    finally:
        sys.setswitchinterval(before)
    assert done.is_set()
    assert len(events) == 1


@rule(30)
@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 - for mypy on 3.11
        async with AsyncBrokerClient() as client:
            got: asyncio.Queue[Message] = asyncio.Queue()
            await client.subscribe("t", handler=got.put_nowait)
            await client.publish("t", b"eager")
            assert (await asyncio.wait_for(got.get(), TIMEOUT)).payload == b"eager"

    asyncio.run(scenario())


@rule(3)
def test_a_cancelled_subscribe_leaves_no_subscription() -> None:
    async def scenario() -> None:
        async with AsyncBrokerClient() as client:
            task = asyncio.ensure_future(_await(client.subscribe("t", qos=1)))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await client.publish("t", b"", qos=1)
            async with client.subscribe("u", qos=1) as others:
                await client.publish("u", b"", qos=1)
                await others.get(TIMEOUT)

    asyncio.run(scenario())


@rule(2)
def test_a_handler_that_does_not_end_does_not_hold_up_the_end() -> None:
    async def scenario() -> None:
        begun, release = asyncio.Event(), asyncio.Event()

        async def handler(_message: Message) -> None:
            begun.set()
            while not release.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await release.wait()

        async with AsyncBrokerClient() as client:
            await client.subscribe("t", handler=handler)
            await client.publish("t")
            await begun.wait()
            started = monotonic()
            await client.close(0.1)
            assert monotonic() - started < 5.0
            release.set()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            await asyncio.wait(others, timeout=TIMEOUT)

    asyncio.run(scenario())


NOBODY_CLOSES = """
import sys, mqttlite
client = mqttlite.Client(sys.argv[1])
client.connect()
for number in range(1000):
    client.publish_nowait("end", str(number), qos=1)
"""

FORKS = """
import os, sys, warnings, mqttlite
warnings.simplefilter("ignore", DeprecationWarning)  # fork() with threads: that is the point
client = mqttlite.Client(sys.argv[1])
client.connect()
child = os.fork()
if not child:
    try:
        try:
            client.publish("end", "child", qos=1, timeout=5)
        except mqttlite.ConnectionClosed as error:
            assert "before fork()" in str(error), error
        try:
            client.connect()
        except mqttlite.UsageError as error:
            assert "one in each process" in str(error), error
        client.close()
    except BaseException as error:
        print(repr(error), file=sys.stderr)
        os._exit(1)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.publish("end", "parent", qos=1, timeout=5)
client.close()
"""


def run(code: str, url: str) -> str:
    """Run a program; return what it wrote as errors."""
    result = subprocess.run(
        [sys.executable, "-c", code, url], capture_output=True, text=True, timeout=30, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


@rule(2)
def test_the_end_of_the_interpreter_loses_nothing() -> None:
    with (
        Broker() as broker,
        Client(broker.url) as client,
        client.subscribe("end", qos=1, buffer_size=2000) as messages,
    ):
        assert not run(NOBODY_CLOSES, broker.url)
        got = [messages.get(TIMEOUT).payload for _ in range(1000)]
    assert got == [str(number).encode() for number in range(1000)]


def test_a_fork() -> None:
    with (
        Broker() as broker,
        Client(broker.url) as client,
        client.subscribe("end", qos=1) as messages,
    ):
        run(FORKS, broker.url)
        assert messages.get(TIMEOUT).payload == b"parent"


class AsyncBrokerClient:
    """A client of an embedded broker in a thread of its own."""

    async def __aenter__(self) -> AsyncClient:
        self._broker = Broker()
        self._broker.start()
        self._client = AsyncClient(self._broker.url)
        await self._client.connect()
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
        await asyncio.to_thread(self._broker.stop)


async def _await(awaitable: Any) -> Any:
    return await awaitable
