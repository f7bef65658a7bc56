"""One AsyncClient in event loops that follow each other."""

from __future__ import annotations

import asyncio
import gc
import logging
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Queue
from typing import Any

import pytest

import mqttlite.aio.driver
from mqttlite.aio import AsyncClient, AsyncDelivery
from mqttlite.client.events import Dropped
from mqttlite.enums import Fate
from mqttlite.errors import PublishError, UsageError
from mqttlite.message import Message
from mqttlite.options import Reconnect
from tests.behaviour import rule
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT
from tests.shells.mischief import AT_ONCE
from tests.shells.peer import Call, Peer, accept
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


NOT_AT_ONCE = Reconnect(first_delay=0.2, maximum_delay=0.2)

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


def sends(call: Call) -> None:
    """Let a client subscribe, and send it a message."""
    subscribed(call)
    call.send(publish(b"x"))
    call.read_to_end()


@pytest.fixture
def collected() -> Iterator[None]:
    """See that a transport whose loop is closed is gone, of which asyncio warns."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("collected")
@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
class TestALoopThatIsClosedUnderAConnection:
    """As by test frameworks that have a loop for each test: the next one begins anew."""

    @rule(2)
    def test_closing_ends(self, name: str) -> None:
        ended = threading.Event()

        def script(call: Call) -> None:
            subscribed(call)
            call.read_to_end()
            ended.set()

        async def connect() -> None:
            await client.connect()
            await client.subscribe("t", timeout=TIMEOUT)

        with Peer(script) as peer:
            client = AsyncClient(peer.url, **SILENT)
            with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
                runner.run(connect())
            asyncio.run(asyncio.wait_for(client.close(), TIMEOUT))
            assert client.is_idle
            assert ended.wait(TIMEOUT)

    def test_all_goes_on(self, name: str, topic: str) -> None:
        handled: list[bytes] = []

        async def begin() -> Any:
            await client.connect()
            await client.subscribe(topic, qos=2, handler=lambda it: handled.append(it.payload))
            messages = await client.subscribe(topic, qos=2, timeout=TIMEOUT)
            await use(messages, 0, 0)  # what is published first goes another way
            return messages

        async def use(messages: Any, number: int, qos: int = 1) -> None:
            await client.publish(topic, b"%d" % number, qos=qos, timeout=TIMEOUT)
            assert (await messages.get(TIMEOUT)).payload == b"%d" % number

        async def go_on() -> None:
            for number in range(1, 10):
                await use(messages, number)
            await client.close()

        with embedded() as broker:
            client = AsyncClient(broker.url, reconnect=AT_ONCE)
            with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
                messages = runner.run(begin())
            asyncio.run(go_on())
            assert handled == [b"%d" % number for number in range(10)]

    def test_before_all_is_written(self, name: str, topic: str) -> None:
        async def publish_and_stop() -> None:
            loop.stop()
            deliveries.extend(client.publish_nowait(topic, qos=1) for _ in range(3))

        async def go_on() -> None:
            await client.publish(topic, qos=1, timeout=TIMEOUT)
            await client.close()

        deliveries: list[AsyncDelivery] = []
        with embedded() as broker:
            client = AsyncClient(broker.url, reconnect=AT_ONCE)
            loop = LOOPS[name]()
            loop.run_until_complete(client.connect())
            task = loop.create_task(publish_and_stop())
            loop.run_forever()
            assert task.done()
            loop.close()
            asyncio.run(go_on())
            assert {delivery.fate for delivery in deliveries} == {Fate.ACKNOWLEDGED}

    def test_before_the_next_attempt(self, name: str) -> None:
        async def connect_and_lose() -> Any:
            await client.connect()
            messages = await client.subscribe("t", timeout=TIMEOUT)
            await asyncio.wait_for(lost.get(), TIMEOUT)
            return messages

        lost: asyncio.Queue[object] = asyncio.Queue()
        with Peer(subscribed, sends) as peer:
            client = AsyncClient(
                peer.url, reconnect=NOT_AT_ONCE, on_disconnect=lost.put_nowait, **SILENT
            )
            with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
                messages = runner.run(connect_and_lose())

            async def take() -> None:
                assert (await messages.get(TIMEOUT)).payload == b"x"
                await client.close()

            asyncio.run(take())

    def test_while_it_is_restored(
        self, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The task that does it has not even been cancelled."""

        async def connect_and_lose() -> Any:
            async def dial_for_ever(_endpoint: object) -> None:
                dials.put_nowait(None)
                await asyncio.Event().wait()

            dials: asyncio.Queue[None] = asyncio.Queue()
            await client.connect()
            messages = await client.subscribe("t", timeout=TIMEOUT)
            monkeypatch.setattr(mqttlite.aio.driver, "connect_socket", dial_for_ever)
            lost.set()
            await asyncio.wait_for(dials.get(), TIMEOUT)
            return messages

        def lose(call: Call) -> None:
            subscribed(call)
            lost.wait(TIMEOUT)

        async def take() -> None:
            assert (await messages.get(TIMEOUT)).payload == b"x"
            await client.close()

        lost = threading.Event()
        with caplog.at_level(logging.CRITICAL, "asyncio"), Peer(lose, sends) as peer:
            client = AsyncClient(peer.url, reconnect=NOT_AT_ONCE, **SILENT)
            loop = LOOPS[name]()
            messages = loop.run_until_complete(connect_and_lose())
            loop.close()
            monkeypatch.undo()
            asyncio.run(take())
            gc.collect()

    @rule(2)
    def test_while_somebody_waits(self, name: str, caplog: pytest.LogCaptureFixture) -> None:
        async def connect() -> None:
            await client.connect()
            tasks.append(asyncio.create_task(client.publish("t", qos=1)))
            await asyncio.to_thread(came.get, timeout=TIMEOUT)

        def read(call: Call) -> None:
            accept("5.0", call)
            came.put(call.read_until(0x32))
            call.read_to_end()

        came: Queue[bytes] = Queue()
        tasks: list[asyncio.Task[Any]] = []
        with caplog.at_level(logging.CRITICAL, "asyncio"), Peer(read) as peer:
            client = AsyncClient(peer.url, **SILENT)
            loop = LOOPS[name]()
            loop.run_until_complete(connect())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            asyncio.run(asyncio.wait_for(client.close(0.1), TIMEOUT))
            assert client.is_idle
            tasks.clear()
            gc.collect()

    def test_while_messages_are_iterated(
        self, name: str, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def begin() -> Any:
            await client.connect()
            messages = await client.subscribe(topic, qos=1, timeout=TIMEOUT)
            tasks.append(asyncio.create_task(messages.get()))
            await asyncio.sleep(0)
            return messages

        async def go_on() -> None:
            taking = asyncio.create_task(messages.get(TIMEOUT))
            await asyncio.sleep(0)
            await client.publish(topic, b"x", qos=1, timeout=TIMEOUT)
            assert (await taking).payload == b"x"
            await client.close()

        tasks: list[asyncio.Task[Any]] = []
        with caplog.at_level(logging.CRITICAL, "asyncio"), embedded() as broker:
            client = AsyncClient(broker.url, reconnect=AT_ONCE)
            loop = LOOPS[name]()
            messages = loop.run_until_complete(begin())
            loop.close()
            asyncio.run(go_on())
            tasks.clear()
            gc.collect()

    @rule(2)
    def test_that_is_not_to_be_restored(self, name: str) -> None:
        """What is waited for is over as soon as somebody waits for it."""

        async def begin() -> AsyncDelivery:
            await client.connect()
            return client.publish_nowait("t", qos=1)

        async def wait() -> None:
            with pytest.raises(PublishError):
                (await delivery.wait(TIMEOUT)).result()

        def read(call: Call) -> None:
            accept("5.0", call)
            call.read_to_end()

        with Peer(read) as peer:
            client = AsyncClient(peer.url, reconnect=False, **SILENT)
            with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
                delivery = runner.run(begin())
            asyncio.run(wait())
            assert client.is_idle

    # Of asyncio itself, which wants to close a transport when its task is collected.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize("way", ["connect", "close"])
    def test_what_is_left_of_it_does_no_harm(
        self, name: str, way: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A task that waited in it is collected when the next connection is there."""

        async def begin() -> None:
            if way == "close":
                await client.connect()
            tasks.append(asyncio.create_task(getattr(client, way)()))
            await asyncio.sleep(0)

        async def go_on() -> None:
            with suppress(UsageError):  # it is connecting already
                await client.connect()
            await client.publish("t", qos=1, timeout=TIMEOUT)
            tasks.clear()
            gc.collect()
            await asyncio.sleep(0)
            assert client.is_connected
            await client.publish("t", qos=1, timeout=TIMEOUT)
            await client.close()

        tasks: list[asyncio.Task[None]] = []
        with caplog.at_level(logging.CRITICAL, "asyncio"), embedded() as broker:
            client = AsyncClient(broker.url, reconnect=AT_ONCE)
            loop = LOOPS[name]()
            loop.run_until_complete(begin())
            loop.close()
            asyncio.run(go_on())

    def test_while_a_function_is_asked(self, name: str) -> None:
        async def password() -> bytes:
            asked.put(None)
            if not may_answer.is_set():
                await asyncio.Event().wait()
            return b"x"

        async def begin() -> None:
            may_answer.set()
            await client.connect()
            may_answer.clear()
            asked.get_nowait()
            lost.set()
            await asyncio.to_thread(asked.get, timeout=TIMEOUT)

        async def go_on() -> None:
            may_answer.set()
            await client.publish("t", qos=1, timeout=TIMEOUT)
            await client.close()

        def lose(call: Call) -> None:
            accept("5.0", call)
            lost.wait(TIMEOUT)

        def acknowledge(call: Call) -> None:
            accept("5.0", call)
            call.send(b"\x40\x02" + call.read_until(0x32)[5:7])
            call.read_to_end()

        asked: Queue[None] = Queue()
        may_answer, lost = threading.Event(), threading.Event()
        with Peer(lose, acknowledge) as peer:
            client = AsyncClient(
                peer.url,
                username="u",
                password=password,
                reconnect=AT_ONCE,
                **SILENT,
            )
            with asyncio.Runner(loop_factory=LOOPS[name]) as runner:
                runner.run(begin())
            asyncio.run(go_on())

    def test_before_drops_are_reported(self, name: str) -> None:
        """Those that come later are."""

        async def begin() -> Any:
            await client.connect()
            return await client.subscribe("t", buffer_size=1, when_full="drop_oldest")

        async def go_on() -> None:
            for _ in range(2):  # only the first one is here already
                await messages.get(TIMEOUT)
            await asyncio.wait_for(reports.get(), TIMEOUT)
            await client.close()

        def flood(call: Call) -> None:
            subscribed(call)
            call.send(publish(b"x") * 10)
            call.read_to_end()

        def report_and_stop() -> None:
            report()
            loop.stop()

        reports: asyncio.Queue[Dropped] = asyncio.Queue()
        with Peer(flood) as peer:
            client = AsyncClient(
                peer.url,
                reconnect=AT_ONCE,
                on_dropped=reports.put_nowait,
                **SILENT,
            )
            report = client.report_drops
            client.report_drops = report_and_stop  # type: ignore[method-assign]
            loop = LOOPS[name]()
            task = loop.create_task(begin())
            loop.run_forever()
            messages = task.result()
            loop.close()
            client.report_drops = report  # type: ignore[method-assign]
            asyncio.run(go_on())

    def test_while_messages_are_to_be_handled(self, name: str) -> None:
        """They are."""

        def script(call: Call) -> None:
            subscribed(call)
            call.send(b"".join(publish(b"%d" % number) for number in range(500)))
            call.read_to_end()

        async def connect() -> None:
            def note(message: Message) -> None:
                handled.append(message)
                loop.stop()

            await client.connect()
            await client.subscribe("t", handler=note)

        async def close() -> None:
            await client.close()
            await asyncio.sleep(0)

        handled: list[Message] = []
        with Peer(script) as peer:
            client = AsyncClient(peer.url, **SILENT)
            loop = LOOPS[name]()
            task = loop.create_task(connect())
            loop.run_forever()
            assert task.done()
            loop.close()
            assert len(handled) < 500
            asyncio.run(asyncio.wait_for(close(), TIMEOUT))
            assert len(handled) == 500

    @pytest.mark.parametrize("closing", [False, True])
    def test_while_a_handler_is_at_work(
        self, name: str, closing: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is not to be called again, as if its task had been cancelled."""

        async def connect() -> None:
            async def handle(_message: Message) -> None:
                began.set()
                await asyncio.Event().wait()

            began = asyncio.Event()
            await client.connect()
            await client.subscribe("t", handler=handle)
            await asyncio.wait_for(began.wait(), TIMEOUT)
            if closing:
                tasks.append(asyncio.create_task(client.close()))
                while not client.is_idle:  # noqa: ASYNC110 - until the loop has come to it
                    await asyncio.sleep(0)
                for _ in range(5):
                    await asyncio.sleep(0)

        tasks: list[asyncio.Task[None]] = []
        with caplog.at_level(logging.CRITICAL, "asyncio"), Peer(sends) as peer:
            client = AsyncClient(peer.url, **SILENT)
            loop = LOOPS[name]()
            loop.run_until_complete(connect())
            loop.close()
            asyncio.run(asyncio.wait_for(client.close(), TIMEOUT))
            assert client.is_idle
            tasks.clear()
            gc.collect()


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
