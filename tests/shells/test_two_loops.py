"""One AsyncClient in event loops that follow each other."""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.message import Message
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT
from tests.shells.peer import Call, Peer
from tests.shells.test_written_soon import SILENT, answer, publish, subscribed

Factory = Callable[[], asyncio.AbstractEventLoop]


def uvloop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = pytest.importorskip("uvloop").new_event_loop()
    return loop


class LateLoop(asyncio.SelectorEventLoop):
    """Its clock is ahead of that of all others."""

    def time(self) -> float:
        return super().time() + 1_000_000.0


class EarlyLoop(asyncio.SelectorEventLoop):
    """Its clock is behind that of all others."""

    def time(self) -> float:
        return super().time() - 1_000_000.0


LOOPS: dict[str, Factory] = {
    "asyncio": asyncio.SelectorEventLoop,
    "uvloop": uvloop,
    "late": LateLoop,
    "early": EarlyLoop,
}


async def use(client: AsyncClient, topic: str) -> list[bytes]:
    """Do a bit of everything in one connection."""
    handled: asyncio.Queue[Message] = asyncio.Queue()
    async with client:
        messages = await client.subscribe(topic, qos=2, timeout=TIMEOUT)
        await client.subscribe(f"{topic}/h", qos=2, handler=handled.put, timeout=TIMEOUT)
        for number in range(10):
            for qos in (0, 1, 2):
                client.publish_nowait(topic, b"%d" % number, qos=qos)
            await client.publish(f"{topic}/h", b"%d" % number, qos=number % 3, timeout=TIMEOUT)
        got = [(await messages.get(TIMEOUT)).payload for _ in range(30)]
        for number in range(10):
            message = await asyncio.wait_for(handled.get(), TIMEOUT)
            assert message.payload == b"%d" % number
        await messages.unsubscribe(TIMEOUT)
    return sorted(got)


@pytest.mark.parametrize("second", LOOPS)
@pytest.mark.parametrize("first", LOOPS)
def test_one_after_the_other(first: str, second: str, topic: str) -> None:
    expected = sorted([b"%d" % number for number in range(10)] * 3)
    with embedded() as broker:
        client = AsyncClient(broker.url)
        for name in (first, second, first):
            with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
                assert runner.run(use(client, topic)) == expected


def test_a_loop_that_is_left_and_entered_again(topic: str) -> None:
    """What is published while it stands still goes out when it goes on."""
    with embedded() as broker, asyncio.Runner() as runner:
        client = AsyncClient(broker.url)
        runner.run(client.connect())

        async def subscribe() -> Any:
            return await client.subscribe(topic, qos=1)

        async def take(count: int) -> list[bytes]:
            return [(await messages.get(TIMEOUT)).payload for _ in range(count)]

        messages = runner.run(subscribe())
        for _ in range(3):
            for number in range(5):
                client.publish_nowait(topic, b"%d" % number, qos=number % 2)
            assert sorted(runner.run(take(5))) == [b"%d" % number for number in range(5)]
        runner.run(client.close())


def test_acknowledging_where_no_loop_runs(topic: str) -> None:
    """It does nothing, or raises; in the next loop all is well."""
    with embedded() as broker:
        client = AsyncClient(broker.url)

        async def take_one() -> Message:
            async with client:
                messages = await client.subscribe(topic, qos=1, ack="manual")
                await client.publish(topic, b"x", qos=1, timeout=TIMEOUT)
                return await messages.get(TIMEOUT)

        async def subscribe() -> None:
            async with client:
                await client.subscribe(f"{topic}/other", timeout=1.0)

        message = asyncio.run(take_one())
        with suppress(RuntimeError):
            message.ack()
        asyncio.run(subscribe())


class _TellingSelector(selectors.DefaultSelector):
    """Sets an event when it is about to wait for something that has no end in sight."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps = threading.Event()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0.1:
            self.sleeps.set()
        try:
            return super().select(timeout)
        finally:
            self.sleeps.clear()


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("qos", [1, 2])
def test_acknowledging_in_another_thread(qos: int, debug: bool) -> None:
    """``Message.ack()`` may be called from any thread, while the loop has nothing to do."""
    selector = _TellingSelector()
    errors: list[Exception] = []

    def script(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"x", qos, 1))
        assert call.read_packet() == answer(qos, 1)
        call.send(publish(b"end"))
        call.read_to_end()

    def acknowledge(message: Message) -> None:
        try:
            assert selector.sleeps.wait(TIMEOUT)
            message.ack()
        except Exception as error:
            errors.append(error)

    async def scenario() -> None:
        async with AsyncClient(peer.url, **SILENT) as client:
            messages = await client.subscribe("t", qos=2, ack="manual")
            message = await messages.get(TIMEOUT)
            thread = threading.Thread(target=acknowledge, args=(message,))
            thread.start()
            try:
                assert (await messages.get(2.0)).payload == b"end"
            finally:
                thread.join()
        assert not errors

    with Peer(script) as peer:

        def make_loop() -> asyncio.AbstractEventLoop:
            return asyncio.SelectorEventLoop(selector)

        with asyncio.Runner(debug=debug, loop_factory=make_loop) as runner:
            runner.run(scenario())
