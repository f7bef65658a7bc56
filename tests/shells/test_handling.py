"""How AsyncClient calls handlers: plain functions at once, what is to be awaited in a task."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from queue import Queue
from typing import Any

import pytest

from mqttlite.aio import AsyncClient, AsyncSubscription
from mqttlite.aio.handling import handled_by
from mqttlite.aio.link import Link
from mqttlite.message import Message
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT
from tests.shells.peer import Call, Peer, Script, accept
from tests.shells.test_written_soon import SILENT, answer, publish, subscribed

Scenario = Callable[[AsyncClient], Awaitable[None]]


def run_beside(script: Script, scenario: Scenario, **options: Any) -> None:
    """Run a scenario with a client of a scripted server; nothing may be left of it."""

    async def run() -> None:
        with Peer(script) as peer:
            client = AsyncClient(peer.url, version="5.0", **{**SILENT, **options})
            try:
                await scenario(client)
            finally:
                await client.close(0.1)
            assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def sends(*packets: bytes) -> Script:
    """Make a script that lets a client in and subscribe, and sends packets in one piece."""

    def script(call: Call) -> None:
        subscribed(call)
        call.send(b"".join(packets))
        call.read_to_end()

    return script


def test_a_plain_handler_needs_no_task() -> None:
    async def scenario(client: AsyncClient) -> None:
        handled: asyncio.Future[tuple[Any, int]] = asyncio.get_running_loop().create_future()

        def handler(_message: Message) -> None:
            handled.set_result((asyncio.current_task(), len(asyncio.all_tasks())))

        await client.connect()
        await client.subscribe("t", handler=handler)
        assert await asyncio.wait_for(handled, TIMEOUT) == (None, 1)

    run_beside(sends(publish(b"x")), scenario)


def test_what_a_handler_publishes_is_written_with_the_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[bytes] = []
    write = Link.write

    def note(link: Link, data: bytes | memoryview) -> None:
        written.append(bytes(data))
        write(link, data)

    monkeypatch.setattr(Link, "write", note)

    async def scenario(client: AsyncClient) -> None:
        handled = asyncio.Event()

        def handler(message: Message) -> None:
            client.publish_nowait("a", message.payload)
            if message.payload == b"2":
                handled.set()

        await client.connect()
        await client.subscribe("t", qos=1, handler=handler)
        await client.publish("a")  # from now on such a message is written at once, if it may be
        await asyncio.wait_for(handled.wait(), TIMEOUT)
        answers = {publish(b"1", topic="a"), publish(b"2", topic="a"), answer(1, 1), answer(1, 2)}
        (together,) = (data for data in written if answer(1, 1) in data)
        assert len(together) == sum(map(len, answers))
        assert all(each in together for each in answers)

    def script(call: Call) -> None:
        subscribed(call)
        call.read_until(0x30)
        call.send(publish(b"1", 1, 1) + publish(b"2", 1, 2))
        call.read_to_end()

    run_beside(script, scenario)


def test_who_waits_for_an_answer_has_it_before_the_messages_behind_it() -> None:
    """As with retained messages, which come with SUBACK."""

    def script(call: Call) -> None:
        accept("5.0", call)
        request = call.read_until(0x82)
        call.send(b"\x90\x04" + request[2:4] + b"\0\x02" + publish(b"x"))
        call.read_to_end()

    async def scenario(client: AsyncClient) -> None:
        seen: list[str] = []
        handled = asyncio.Event()

        def handler(_message: Message) -> None:
            seen.append("message")
            handled.set()

        await client.connect()
        await client.subscribe("t", handler=handler)
        seen.append("subscribed")
        await asyncio.wait_for(handled.wait(), TIMEOUT)
        assert seen == ["subscribed", "message"]

    run_beside(script, scenario)


def test_a_callback_is_called_before_the_handlers_of_messages_behind_its_event() -> None:
    def script(call: Call) -> None:
        accept("5.0", call, b"\x20\x03\x01\x00\x00" + publish(b"x"))
        call.read_to_end()

    seen: list[str] = []

    async def scenario(client: AsyncClient) -> None:
        handled = asyncio.Event()

        def handler(_message: Message) -> None:
            seen.append("message")
            handled.set()

        client.subscribe("t", handler=handler)
        await client.connect()
        seen.append("connect")
        await asyncio.wait_for(handled.wait(), TIMEOUT)
        assert seen == ["connect", "on_connect", "message"]

    run_beside(
        script,
        scenario,
        client_id="c",
        clean_start=False,
        session_expiry_interval=60,
        on_connect=lambda _event: seen.append("on_connect"),
    )


variable: ContextVar[str] = ContextVar("variable", default="that of nobody")


@pytest.mark.parametrize("plain", [True, False])
def test_a_handler_runs_in_the_context_of_its_subscription(plain: bool) -> None:
    async def scenario(client: AsyncClient) -> None:
        handled: asyncio.Queue[str] = asyncio.Queue()

        def handler(_message: Message) -> None:
            handled.put_nowait(variable.get())
            variable.set("changed by the handler")

        async def handle(message: Message) -> None:
            handler(message)

        await client.connect()
        variable.set("that of subscribe()")
        subscribing = client.subscribe("t", handler=handler if plain else handle)
        variable.set("a later one")
        await subscribing
        assert await asyncio.wait_for(handled.get(), TIMEOUT) == "that of subscribe()"
        await asyncio.sleep(0)  # the task of the first message ends
        client.publish_nowait("next")
        assert await asyncio.wait_for(handled.get(), TIMEOUT) == "changed by the handler"
        assert variable.get() == "a later one"

    def script(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"1"))
        call.read_until(0x30)
        call.send(publish(b"2"))
        call.read_to_end()

    run_beside(script, scenario)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_some_results_are_awaited_and_some_are_not(topic: str, qos: int) -> None:
    """The messages are handled one after the other, in order, and all are acknowledged."""
    payloads = [b"%d" % number for number in range(700)]

    async def scenario() -> None:
        handled: list[bytes] = []
        everything = asyncio.Event()

        def note(message: Message) -> None:
            handled.append(message.payload)
            if len(handled) == len(payloads):
                everything.set()

        async def note_soon(message: Message) -> None:
            await asyncio.sleep(0)
            note(message)

        def handler(message: Message) -> Awaitable[None] | None:
            if int(message.payload) % 5 == 3:
                return note_soon(message)
            note(message)
            return None

        with embedded() as broker:
            async with AsyncClient(broker.url) as client:
                await client.subscribe(topic, qos=qos, handler=handler)
                for payload in payloads:
                    client.publish_nowait(topic, payload, qos=qos)
                await asyncio.wait_for(everything.wait(), TIMEOUT)
                assert handled == payloads
                await client.publish("other", qos=1)  # after it the last is acknowledged
                assert client.counters.buffered_messages == 0

    asyncio.run(scenario())


def test_all_results_are_done_at_once() -> None:
    """Coroutines that never wait do not keep others from their turn."""

    async def scenario() -> None:
        turns = handled = 0

        async def handler(message: Message) -> None:
            nonlocal handled
            handled += 1
            if message.payload == b"end":
                everything.set()

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += handled > 0

        def script(call: Call) -> None:
            subscribed(call)
            call.send(publish(b"") * 3000 + publish(b"end"))
            call.read_to_end()

        everything = asyncio.Event()
        with Peer(script) as peer:
            async with AsyncClient(peer.url, version="5.0") as client:
                await client.subscribe("t", handler=handler, buffer_size=4000)
                counting = asyncio.create_task(count_turns())
                await asyncio.wait_for(everything.wait(), TIMEOUT)
                counting.cancel()
                with suppress(asyncio.CancelledError):
                    await counting
        assert handled == 3001
        assert turns >= 10

    asyncio.run(scenario())


def test_many_messages_at_once_for_a_plain_handler_leave_others_their_turn() -> None:
    async def scenario(client: AsyncClient) -> None:
        handled = 0
        at_first_turn = -1
        everything = asyncio.Event()

        def look() -> None:
            nonlocal at_first_turn
            at_first_turn = handled

        def handler(_message: Message) -> None:
            nonlocal handled
            handled += 1
            if handled == 1:
                asyncio.get_running_loop().call_soon(look)
            if handled == 3000:
                everything.set()

        await client.connect()
        await client.subscribe("t", handler=handler, buffer_size=4000)
        await asyncio.wait_for(everything.wait(), TIMEOUT)
        assert 1 <= at_first_turn <= 200

    run_beside(sends(publish(b"") * 3000), scenario)


def test_a_handler_that_ends_the_program() -> None:
    """The loop ends with what it has raised; the message is not acknowledged."""

    async def scenario(client: AsyncClient) -> None:
        def handler(_message: Message) -> None:
            calls.append(None)
            raise SystemExit("the end")

        await client.connect()
        await client.subscribe("t", qos=1, handler=handler)
        await asyncio.Event().wait()

    calls: list[None] = []
    received: list[bytes] = []

    def script(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"x", 1, 1) + publish(b"y", 1, 2))
        received.append(call.read_to_end())

    with pytest.raises(SystemExit, match="the end"):
        run_beside(script, scenario)
    assert calls == [None]
    assert all(answer(1, number) not in received[0] for number in (1, 2))


@pytest.mark.parametrize("way", ["from outside", "by itself"])
def test_a_task_that_is_cancelled_handles_nothing_more(way: str) -> None:
    async def scenario(client: AsyncClient) -> None:
        tasks: list[asyncio.Task[Any] | None] = []

        async def handler(_message: Message) -> None:
            task = asyncio.current_task()
            tasks.append(task)
            if way == "by itself":
                assert task is not None
                task.cancel()
            await asyncio.Event().wait()

        await client.connect()
        subscription = await client.subscribe("t", qos=1, handler=handler)
        while not tasks:  # noqa: ASYNC110 - until the loop has come to it
            await asyncio.sleep(0)
        (task,) = tasks
        assert task is not None
        if way == "from outside":
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert subscription.buffered == 1
        client.publish_nowait("next")
        while subscription.buffered == 1:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)
        assert subscription.buffered == 2
        assert len(tasks) == 1

    def script(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"1", 1, 1) + publish(b"2", 1, 2))
        call.read_until(0x30)
        call.send(publish(b"3", 1, 3))
        call.read_to_end()

    run_beside(script, scenario)


def test_a_handler_that_will_not_be_cancelled_is_called_no_more_when_the_client_closes() -> None:
    async def scenario(client: AsyncClient) -> None:
        calls: list[bytes] = []
        entered = asyncio.Event()

        async def handler(message: Message) -> None:
            calls.append(message.payload)
            entered.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        await client.connect()
        await client.subscribe("t", handler=handler)
        await asyncio.wait_for(entered.wait(), TIMEOUT)
        await client.close(0.05)
        assert calls == [b"1"]

    run_beside(sends(publish(b"1") + publish(b"2")), scenario)


def test_a_handler_that_will_never_be_done_is_called_no_more_when_the_client_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It makes itself a message for each that it handles."""

    async def scenario(client: AsyncClient) -> None:
        calls = 0
        working = asyncio.Event()
        subscriptions: list[AsyncSubscription] = []

        def handler(message: Message) -> None:
            nonlocal calls
            calls += 1
            subscriptions[0]._state.buffer.append(message)
            working.set()

        await client.connect()
        subscriptions.append(await client.subscribe("t", handler=handler))
        await asyncio.wait_for(working.wait(), TIMEOUT)
        await client.close(0.05)
        before = calls
        for _ in range(5):
            await asyncio.sleep(0)
        assert calls == before > 0

    with caplog.at_level(logging.WARNING, "mqttlite.aio"):
        run_beside(sends(publish(b"x")), scenario)
    assert not caplog.records  # it is at nothing that would have to end


def test_reading_goes_on_when_half_of_a_full_buffer_is_handled() -> None:
    count = 10
    came: Queue[None] = Queue()

    def script(call: Call) -> None:
        subscribed(call)
        for _ in range(3):
            call.send(publish(b"x") * count)
            came.get(timeout=TIMEOUT)
        call.read_to_end()

    async def scenario(client: AsyncClient) -> None:
        handled = 0
        everything = asyncio.Event()

        async def handler(_message: Message) -> None:
            nonlocal handled
            await asyncio.sleep(0)
            handled += 1
            if handled % count == 0:
                came.put(None)
            if handled == 3 * count:
                everything.set()

        await client.connect()
        await client.subscribe("t", handler=handler, buffer_size=2, when_full="pause")
        await asyncio.wait_for(everything.wait(), TIMEOUT)

    run_beside(script, scenario)


def test_what_a_failure_has_held_back_is_acknowledged() -> None:
    """The message that fails is one too many for a turn, and that behind it is handled before."""

    def script(call: Call) -> None:
        subscribed(call, 2)
        packets = [publish(b"x", 1, number, "a") for number in range(1, 202)]
        call.send(b"".join(packets) + publish(b"x", 1, 202, "b"))
        for number in (*range(1, 201), 202):
            assert call.read_packet() == answer(1, number)
        enough.put(None)
        call.read_to_end()

    enough: Queue[None] = Queue()

    async def scenario(client: AsyncClient) -> None:
        handled = 0

        def handler(_message: Message) -> None:
            nonlocal handled
            handled += 1
            if handled == 201:
                raise ValueError("a fault")

        await client.connect()
        await client.subscribe("a", qos=1, handler=handler)
        await client.subscribe("b", qos=1, handler=lambda _message: None)
        await asyncio.to_thread(enough.get, timeout=TIMEOUT)

    run_beside(script, scenario)


def test_closing_waits_for_handlers_that_end_in_any_order(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def script(call: Call) -> None:
        subscribed(call, 2)
        call.send(publish(b"x", topic="a") + publish(b"x", topic="b"))
        call.read_to_end()

    async def scenario(client: AsyncClient) -> None:
        leave = {"a": asyncio.Event(), "b": asyncio.Event()}
        entered: asyncio.Queue[None] = asyncio.Queue()
        ended: list[str] = []

        async def handler(message: Message) -> None:
            entered.put_nowait(None)
            await leave[message.topic].wait()
            ended.append(message.topic)

        await client.connect()
        for topic in leave:
            await client.subscribe(topic, handler=handler)
        for _ in leave:
            await asyncio.wait_for(entered.get(), TIMEOUT)
        closing = asyncio.create_task(client.close(TIMEOUT))
        while not client.is_idle:  # noqa: ASYNC110 - until the loop has come to it
            await asyncio.sleep(0)
        leave["b"].set()
        while not ended:  # noqa: ASYNC110
            await asyncio.sleep(0)
        leave["a"].set()
        await closing
        assert ended == ["b", "a"]

    with caplog.at_level(logging.WARNING, "mqttlite.aio"):
        run_beside(script, scenario)
    assert not caplog.records


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_the_loop_ends_while_closing_waits_for_a_handler(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario(client: AsyncClient) -> None:
        entered = asyncio.Event()

        async def handler(_message: Message) -> None:
            entered.set()
            await asyncio.Event().wait()

        await client.connect()
        await client.subscribe("t", handler=handler)
        await asyncio.wait_for(entered.wait(), TIMEOUT)
        closing.append(asyncio.create_task(client.close(TIMEOUT)))
        while not client.is_idle:  # noqa: ASYNC110 - until the loop has come to it
            await asyncio.sleep(0)
        for _ in range(5):
            await asyncio.sleep(0)

    closing: list[asyncio.Task[None]] = []
    with caplog.at_level(logging.CRITICAL, "asyncio"), Peer(sends(publish(b"x"))) as peer:
        loop = asyncio.new_event_loop()
        client = AsyncClient(peer.url, version="5.0", **SILENT)
        loop.run_until_complete(scenario(client))
        loop.close()
        del client
        closing.clear()
        gc.collect()


def test_a_plain_handler_publishes_more_than_is_written_at_once() -> None:
    payload = bytes(1000)
    came: Queue[bool] = Queue()

    def script(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"x"))
        came.put(all(call.read_packet() == publish(payload, topic="a") for _ in range(1000)))
        call.read_to_end()

    async def scenario(client: AsyncClient) -> None:
        def handler(_message: Message) -> None:
            for _ in range(1000):
                client.publish_nowait("a", payload)

        await client.connect()
        await client.subscribe("t", handler=handler)
        assert await asyncio.to_thread(came.get, timeout=TIMEOUT)

    run_beside(script, scenario)


@pytest.mark.parametrize("plain", [True, False])
def test_a_subscription_with_a_handler_ends_with_an_error(
    caplog: pytest.LogCaptureFixture, plain: bool
) -> None:
    """What has come before is handled; then it is logged why no more comes."""

    def script(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"x"))
        call.send(b"\xe0\x01\x8e")  # session taken over

    async def scenario(client: AsyncClient) -> None:
        handled = asyncio.Queue[bytes]()

        async def handle(message: Message) -> None:
            await asyncio.sleep(0)
            handled.put_nowait(message.payload)

        def handler(message: Message) -> None:
            handled.put_nowait(message.payload)

        await client.connect()
        await client.subscribe("t", handler=handler if plain else handle)
        assert await asyncio.wait_for(handled.get(), TIMEOUT) == b"x"
        while not client.is_idle:  # noqa: ASYNC110 - until the loop has come to it
            await asyncio.sleep(0)
        for _ in range(3):
            await asyncio.sleep(0)

    with caplog.at_level(logging.WARNING, "mqttlite.aio"):
        run_beside(script, scenario, reconnect=None)
    texts = [record.getMessage() for record in caplog.records if record.name == "mqttlite.aio"]
    assert len(texts) == 1
    assert texts[0].startswith("the subscription to t ended: ")


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("together", [True, False], ids=["with SUBACK", "behind SUBACK"])
def test_a_full_buffer_is_read_into_again_when_it_was_handled(plain: bool, together: bool) -> None:
    """Many times more than fit, which only pauses the reading, whatever else comes with them."""
    count = 10_000

    def script(call: Call) -> None:
        accept("5.0", call)
        request = call.read_until(0x82)
        suback = b"\x90\x04" + request[2:4] + b"\0\x02"
        if together:
            call.send(suback + publish(b"x") * 10)
        else:
            call.send(suback)
            call.send(publish(b"x") * 10)
        call.read_until(0x30)
        call.send(publish(b"x") * (count - 10))
        call.read_to_end()

    async def scenario(client: AsyncClient) -> None:
        handled = 0
        some, everything = asyncio.Event(), asyncio.Event()

        def handler(_message: Message) -> None:
            nonlocal handled
            handled += 1
            if handled == 10:
                some.set()
            if handled == count:
                everything.set()

        async def handle(message: Message) -> None:
            handler(message)

        await client.connect()
        handler_or_coroutine = handler if plain else handle
        await client.subscribe("t", handler=handler_or_coroutine, buffer_size=2, when_full="pause")
        await asyncio.wait_for(some.wait(), TIMEOUT)
        client.publish_nowait("next")
        await asyncio.wait_for(everything.wait(), TIMEOUT)

    run_beside(script, scenario)


def two_arguments(loop: asyncio.AbstractEventLoop, coroutine: Any) -> asyncio.Task[Any]:
    """A task factory as they were before there was a context to be given."""
    return asyncio.Task(coroutine, loop=loop)


@pytest.mark.parametrize("name", ["eager", "old"])
def test_loops_that_make_other_tasks(topic: str, name: str) -> None:
    factory: Any = two_arguments
    if name == "eager":
        factory = getattr(asyncio, "eager_task_factory", None)
        if factory is None:
            pytest.skip("since Python 3.12")

    async def scenario() -> None:
        asyncio.get_running_loop().set_task_factory(factory)
        handled: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()

        async def handle(message: Message) -> None:
            if message.payload != b"1":
                await asyncio.sleep(0)
            handled.put_nowait((message.payload, variable.get()))

        with embedded() as broker:
            async with AsyncClient(broker.url) as client:
                variable.set("that of subscribe()")
                await client.subscribe(topic, qos=1, handler=handle)
                for payload in (b"1", b"2", b"3"):
                    await client.publish(topic, payload, qos=1, timeout=TIMEOUT)
                for payload in (b"1", b"2", b"3"):
                    expected = payload, "that of subscribe()"
                    assert await asyncio.wait_for(handled.get(), TIMEOUT) == expected

    asyncio.run(scenario())


@pytest.mark.parametrize("ack", ["auto", "manual"])
def test_a_task_is_cancelled_before_it_has_begun(ack: Any) -> None:
    """Its message is given up, and holds back no other; closing does not wait for it."""

    def script(call: Call) -> None:
        subscribed(call, 3)
        messages = [publish(b"x", 1, number, topic) for number, topic in enumerate("abc", 1)]
        call.send(b"".join(messages))
        assert call.read_packet() == answer(1, 1)
        assert call.read_packet() == answer(1, 3)
        acknowledged.put(None)
        call.read_to_end()

    acknowledged: Queue[None] = Queue()

    async def scenario(client: AsyncClient) -> None:
        began: list[Message] = []
        handled = asyncio.get_running_loop().create_future()

        async def handler(message: Message) -> None:
            began.append(message)

        await client.connect()
        await client.subscribe("a", qos=1, handler=lambda _: handled.set_result(None))
        await client.subscribe("b", qos=1, handler=handler, ack=ack)
        await client.subscribe("c", qos=1, handler=lambda _: None)
        # Not with wait_for(): on Python 3.11 it takes a turn of the loop more, and the task begins.
        async with asyncio.timeout(TIMEOUT):
            await handled
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        task.cancel()
        while not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not client.driver.handling
        assert not began
        await asyncio.to_thread(acknowledged.get, timeout=TIMEOUT)

    run_beside(script, scenario)


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("error", [asyncio.CancelledError, ValueError])
def test_on_error_raises_what_it_likes(error: type[BaseException], plain: bool) -> None:
    """The other subscriptions go on, and the connection does."""

    def on_error(_error: BaseException, _message: Message) -> None:
        raise error("from on_error")

    def script(call: Call) -> None:
        subscribed(call, 2)
        call.send(publish(b"1", topic="a") + publish(b"1", topic="b"))
        call.read_until(0x30)
        call.send(publish(b"2", topic="a") + publish(b"2", topic="b"))
        call.read_to_end()

    async def scenario(client: AsyncClient) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        handled: asyncio.Queue[bytes] = asyncio.Queue()

        def fail(_message: Message) -> None:
            raise KeyError("a fault")

        async def fail_later(message: Message) -> None:
            fail(message)

        await client.connect()
        await client.subscribe("a", handler=fail if plain else fail_later)
        await client.subscribe("b", handler=lambda message: handled.put_nowait(message.payload))
        assert await asyncio.wait_for(handled.get(), TIMEOUT) == b"1"
        client.publish_nowait("next")
        assert await asyncio.wait_for(handled.get(), TIMEOUT) == b"2"

    run_beside(script, scenario, on_error=on_error)


def test_callbacks_are_not_called_on_behalf_of_a_handler() -> None:
    """Though it may be a handler's doing that the connection is read from again."""
    called_by: list[object] = []
    disconnected = asyncio.Event()

    def script(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"x") * 30)
        call.read_until(0x30)

    def on_disconnect(_event: object) -> None:
        called_by.append(handled_by.get())
        disconnected.set()

    async def scenario(client: AsyncClient) -> None:
        calls = 0

        async def handler(_message: Message) -> None:
            nonlocal calls
            await asyncio.sleep(0)
            calls += 1
            if calls == 30:
                client.publish_nowait("enough")

        await client.connect()
        await client.subscribe("t", handler=handler, buffer_size=5, when_full="pause")
        await asyncio.wait_for(disconnected.wait(), TIMEOUT)

    run_beside(script, scenario, on_disconnect=on_disconnect)
    assert called_by[0] is None


def test_a_loop_whose_clock_was_replaced() -> None:
    """As those who test with a virtual time do it."""

    async def scenario(client: AsyncClient) -> None:
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + 1e6  # type: ignore[method-assign]
        await client.connect()
        deadline = client._core.next_deadline()
        assert deadline is not None
        assert 0 < deadline - loop.time() < 60

    run_beside(sends(), scenario, keep_alive=60)
