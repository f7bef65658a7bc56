"""Cancelling an awaited call at every point at which it can be: nothing is lost, all goes on.

The broker runs on the same loop, so that a turn of the loop is a fixed point in what happens.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite import AsyncClient, AsyncSubscription, Message, Reconnect
from mqttlite.testing import AsyncBroker
from tests.shells.cutting import HOWS, Cut, How, TurningLoop, at_every_point, run, until
from tests.shells.lab import TIMEOUT

every_how = pytest.mark.parametrize("how", HOWS)

pytestmark = pytest.mark.deadline(60.0)

SOON = Reconnect(first_delay=0.01, maximum_delay=0.01)


class Stage:
    """A connected client, its broker, and what the client receives at QoS 2 of topic `t/#`."""

    def __init__(self, broker: AsyncBroker, client: AsyncClient) -> None:
        self.broker = broker
        self.client = client
        self.messages: AsyncSubscription
        self._tasks = asyncio.all_tasks()
        self._marks = 0

    async def begin(self) -> None:
        self.messages = await self.client.subscribe("t/#", qos=2)

    async def received(self) -> list[bytes]:
        """Show that the client works; return the payloads that came to `t/#` until now."""
        self._marks += 1
        mark = b"mark %d" % self._marks
        await self.client.publish("t/mark", mark, qos=1, timeout=TIMEOUT)
        await self.client.publish("t/end")  # to take it acknowledges the mark
        payloads: list[bytes] = []
        while b"" not in payloads:
            payloads.append((await self.messages.get(TIMEOUT)).payload)
        assert payloads[-2] == mark
        [flows] = [session.flows for session in self.broker.core.sessions.values()]
        await until(lambda: not (flows.outgoing or flows.incoming), "all is acknowledged")
        return payloads[:-2]

    async def check(self) -> list[bytes]:
        """Show that nothing is lost and nothing is left behind; return as received()."""
        payloads = await self.received()
        core = self.client._core
        connection, publisher, subscriber = core._connection, core.publisher, core._subscriber
        assert connection is not None
        await until(lambda: not core.session.outgoing, "all packet identifiers are free")
        await until(lambda: not connection._requests, "all answers have come")
        assert connection._in_flight == 0
        assert connection.send_quota > 0
        outbox = publisher.outbox
        assert (len(outbox), outbox.size, len(outbox._parked), outbox._expiring) == (0, 0, 0, {})
        assert (subscriber._asked, subscriber._unsubscribing) == ({}, {})
        assert [state.owner for state in subscriber.table.subscriptions if state.owner] == [
            self.messages
        ]
        assert self.messages._waiters == []
        assert core._replies is None or core._replies._expected == {}
        assert core.finished == []
        [session] = self.broker.core.sessions.values()
        assert session.held == 0
        replies = [core._replies.response_topic] if core._replies is not None else []
        assert list(session.subscriptions) == ["t/#", *replies]
        await until(lambda: asyncio.all_tasks() <= self._tasks, "all tasks have ended")
        return payloads


@asynccontextmanager
async def stage(**options: Any) -> AsyncIterator[Stage]:
    options.setdefault("reconnect", SOON)
    async with AsyncBroker() as broker:
        async with AsyncClient(broker.url, client_id="c", **options) as client:
            scene = Stage(broker, client)
            await scene.begin()
            yield scene
            await scene.check()
            client.publish_nowait("t", b"last", qos=2)
        assert client.is_idle


# --- publishing


@every_how
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish(how: How, qos: int) -> None:
    async def scenario() -> None:
        async with stage() as scene:

            async def cut_publish(cut: Cut) -> bool:
                begun = []

                async def call() -> None:
                    begun.append(b"x")
                    await scene.client.publish("t/x", b"x", qos=qos)

                cancelled = await cut.run(call())
                # What was accepted is not taken back, and not sent twice.
                assert await scene.check() == begun
                return cancelled

            if qos:
                await at_every_point(how, cut_publish)
            else:
                # With a connection QoS 0 is handed over at once: there is only its beginning.
                assert not await cut_publish(Cut("suspended", 1))

    run(scenario())


@every_how
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publish_into_a_full_outbox(how: How, qos: int) -> None:
    """A caller that is parked takes its message back; one whose message moved up does not."""

    async def scenario() -> None:
        async with stage(maximum_in_flight=1, outbox_messages=1) as scene:
            outbox = scene.client._core.publisher.outbox
            parked = []

            async def cut_publish(cut: Cut) -> bool:
                before = [
                    scene.client.publish_nowait("t/x", payload, qos=2) for payload in (b"1", b"2")
                ]
                begun: list[bytes] = []

                async def call() -> None:
                    begun.append(b"3")
                    await scene.client.publish("t/x", b"3", qos=qos)

                cancelled = await cut.run(call())
                parked.append(bool(outbox._parked))
                for delivery in before:
                    await delivery.wait(TIMEOUT)
                payloads = await scene.check()
                assert payloads[:2] == [b"1", b"2"]
                assert payloads[2:] in ([], begun)
                assert cancelled or payloads[2:] == [b"3"]
                return cancelled

            await at_every_point(how, cut_publish)
            assert not any(parked), "nobody waits for a message that is parked"

    run(scenario())


@every_how
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("room", [True, False])
def test_publish_while_there_is_no_connection(how: How, qos: int, room: bool) -> None:
    async def scenario() -> None:
        async with stage(queue_qos_0=True, outbox_messages=5 if room else 1) as scene:
            loop = asyncio.get_running_loop()

            async def cut_publish(cut: Cut) -> bool:
                await scene.broker.stop(drop=True)
                await until(lambda: not scene.client.is_connected, "the connection is lost")
                scene.client.publish_nowait("t/x", b"1", qos=1)
                begun: list[bytes] = []

                async def call() -> None:
                    begun.append(b"2")
                    await scene.client.publish("t/x", b"2", qos=qos)

                restart = loop.create_task(scene.broker.start())
                cancelled = await cut.run(call())
                await restart
                await until(lambda: scene.client.is_connected, "the connection is back")
                payloads = await scene.check()
                assert payloads[:1] == [b"1"]
                if room:
                    assert payloads[1:] == begun
                else:
                    assert payloads[1:] in ([], begun)
                return cancelled

            await at_every_point(how, cut_publish)

    run(scenario())


@every_how
@pytest.mark.parametrize("by_await", [True, False])
def test_waiting_for_a_delivery(how: How, by_await: bool) -> None:
    async def scenario() -> None:
        async with stage() as scene:

            async def cut_wait(cut: Cut) -> bool:
                delivery = scene.client.publish_nowait("t/x", b"x", qos=2)

                async def call() -> None:
                    if by_await:
                        await delivery
                    else:
                        await delivery.wait(TIMEOUT)

                cancelled = await cut.run(call())
                if not delivery.done:
                    assert not delivery.waiters
                await delivery.wait(TIMEOUT)
                assert await scene.check() == [b"x"]
                return cancelled

            await at_every_point(how, cut_wait)

    run(scenario())


# --- subscribing and receiving


@every_how
@pytest.mark.parametrize("handler", [False, True])
def test_subscribe(how: How, handler: bool) -> None:
    """Cancelled, it leaves no subscription, here or at the server."""

    async def scenario() -> None:
        async with stage() as scene:
            client = scene.client

            async def cut_subscribe(cut: Cut) -> bool:
                done: list[AsyncSubscription] = []
                ignore = handled.append if handler else None

                async def call() -> None:
                    done.append(await client.subscribe("s", qos=1, handler=ignore))

                cancelled = await cut.run(call())
                assert cancelled or done
                for subscription in done:
                    await subscription.unsubscribe(TIMEOUT)
                assert await scene.check() == []
                return cancelled

            handled: list[Message] = []
            await at_every_point(how, cut_subscribe)

    run(scenario())


@every_how
def test_a_block_that_subscribes_and_receives(how: How) -> None:
    async def scenario() -> None:
        async with stage() as scene:
            client = scene.client

            async def cut_block(cut: Cut) -> bool:
                async def call() -> None:
                    # QoS 0: a block that an exception ends leaves others unacknowledged.
                    async with client.subscribe("s", qos=2) as messages:
                        client.publish_nowait("s", b"1")
                        client.publish_nowait("s", b"2")
                        assert (await anext(messages)).payload == b"1"
                        assert (await messages.get(TIMEOUT)).payload == b"2"

                cancelled = await cut.run(call())
                assert await scene.check() == []
                return cancelled

            await at_every_point(how, cut_block)

    run(scenario())


TAKE: dict[str, Callable[[AsyncSubscription], Coroutine[Any, Any, Message]]] = {
    "anext": lambda messages: messages.__anext__(),
    "get": lambda messages: messages.get(),
    "get in time": lambda messages: messages.get(TIMEOUT),
}
if sys.version_info >= (3, 12):  # before, it could be swallowed by wait_for() itself
    TAKE["wait_for"] = lambda messages: asyncio.wait_for(messages.get(), TIMEOUT)


@every_how
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("take", TAKE)
def test_taking_a_message(how: How, qos: int, take: str) -> None:
    """Whatever the cancelled consumer did not take, the one after it gets: nothing is swallowed."""

    async def scenario() -> None:
        async with stage() as scene:
            client = scene.client

            async def cut_take(cut: Cut) -> bool:
                taken: list[bytes] = []

                async def call() -> None:
                    taken.append((await TAKE[take](scene.messages)).payload)

                client.publish_nowait("t/x", b"1", qos=qos)
                client.publish_nowait("t/x", b"2", qos=qos)
                cancelled = await cut.run(call())
                assert cancelled == (not taken)
                assert scene.messages._waiters == []
                assert taken + await scene.check() == [b"1", b"2"]
                return cancelled

            await at_every_point(how, cut_take)

    run(scenario())


@every_how
@pytest.mark.parametrize("whose", ["subscription", "client"])
def test_unsubscribe(how: How, whose: str) -> None:
    async def scenario() -> None:
        async with stage() as scene:
            client = scene.client

            async def cut_unsubscribe(cut: Cut) -> bool:
                subscription = await client.subscribe("s", qos=1)
                begun = []

                async def call() -> None:
                    begun.append(True)
                    if whose == "client":
                        await client.unsubscribe("s")
                    else:
                        await subscription.unsubscribe()

                cancelled = await cut.run(call())
                if begun:
                    assert [message async for message in subscription] == []
                else:
                    await subscription.unsubscribe(TIMEOUT)
                assert await scene.check() == []
                return cancelled

            await at_every_point(how, cut_unsubscribe)

    run(scenario())


async def serve(server: AsyncClient) -> None:
    """Answer requests."""

    def answer(request: Message) -> None:
        assert request.response_topic is not None
        assert request.correlation_data is not None
        server.publish_nowait(
            request.response_topic, b"yes", correlation_data=request.correlation_data
        )

    await server.subscribe("service", qos=1, handler=answer)


@every_how
@pytest.mark.parametrize("first", [True, False])
def test_request(how: How, first: bool) -> None:
    """`first`: the topic of answers is not subscribed to yet."""

    async def scenario() -> None:
        async with stage() as scene, AsyncClient(scene.broker.url, client_id="c2") as server:
            client = scene.client
            await serve(server)

            async def cut_request(cut: Cut) -> bool:
                if first and client._core._replies is not None:
                    client._core.end_subscription(client._core._replies, processed=True)
                    client._core._replies = None
                answers = []

                async def call() -> None:
                    answers.append(await client.request("service", b"?", timeout=TIMEOUT))

                cancelled = await cut.run(call())
                assert cancelled == (not answers)
                assert client._core._replies is None or client._core._replies._expected == {}
                again = await client.request("service", b"?", timeout=TIMEOUT)
                assert again.payload == b"yes"
                return cancelled

            await at_every_point(how, cut_request)
            await server.close()
            await until(lambda: len(scene.broker.sessions) == 1, "the server is gone")

    run(scenario())


@every_how
@pytest.mark.parametrize("qos", [1, 2])
def test_waiting_inside_a_handler(how: How, qos: int) -> None:
    """The handler gives up waiting, and gets the messages that follow."""

    async def scenario() -> None:
        async with stage() as scene:
            client = scene.client
            outcome: asyncio.Queue[bool] = asyncio.Queue()
            cuts: list[Cut] = []

            async def handler(message: Message) -> None:
                outcome.put_nowait(await cuts[-1].run(work(message)))

            async def work(message: Message) -> None:
                await client.publish("t/x", message.payload, qos=qos)
                await (await client.subscribe("inner", qos=qos)).unsubscribe()

            async def cut_handler(cut: Cut) -> bool:
                cuts.append(cut)
                await client.publish("h", b"x", qos=1)
                return await asyncio.wait_for(outcome.get(), TIMEOUT)

            handling = await client.subscribe("h", qos=qos, handler=handler)
            await at_every_point(how, cut_handler)
            await handling.unsubscribe()
            payloads = await scene.check()
            if how != "turn":  # where it may be cancelled before it begins
                assert payloads == [b"x"] * len(cuts)

    run(scenario())


# --- several at once

turns = st.integers(1, 30)
calls = st.tuples(st.sampled_from(["publish", "wait", "subscribe", "block", "request"]), turns)


class Crowd:
    """Calls of several kinds at once, each cancelled in a turn of its own."""

    def __init__(self, scene: Stage, server: AsyncClient) -> None:
        self._scene = scene
        self._server = server
        self._numbers = count(1)
        self.accepted: list[bytes] = []
        self.taken: list[bytes] = []
        self.answers: list[bytes] = []

    def _next(self) -> bytes:
        payload = b"%d" % next(self._numbers)
        self.accepted.append(payload)
        return payload

    async def call(self, kind: str) -> None:
        client = self._scene.client
        if kind == "publish":
            await client.publish("t/x", self._next(), qos=1)
        elif kind == "wait":
            await client.publish_nowait("t/x", self._next(), qos=2).wait(TIMEOUT)
        elif kind == "subscribe":
            await (await client.subscribe("s", qos=1)).unsubscribe()
        elif kind == "block":
            async with client.subscribe("s/+", qos=1) as messages:
                client.publish_nowait("s/s", b"x")
                await anext(messages)
        else:
            self.answers.append((await client.request("service", timeout=TIMEOUT)).payload)

    async def take(self, cut_turns: list[int]) -> None:
        """Be a consumer who is cancelled again and again."""

        async def take_one() -> None:
            self.taken.append((await anext(self._scene.messages)).payload)

        for turn in cut_turns:
            await Cut("turn", turn).run(take_one())


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    plan=st.lists(st.tuples(calls, turns), min_size=1, max_size=8),
    takes=st.lists(turns, max_size=5),
    in_flight=st.sampled_from([1, 3, 100]),
)
def test_many_calls_cancelled_in_any_turn(
    plan: list[tuple[tuple[str, int], int]], takes: list[int], in_flight: int
) -> None:
    async def scenario() -> None:
        async with (
            stage(maximum_in_flight=in_flight) as scene,
            AsyncClient(scene.broker.url, client_id="c2") as server,
        ):
            await serve(server)
            crowd = Crowd(scene, server)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, TurningLoop)
            running: list[asyncio.Task[Any]] = [loop.create_task(crowd.take(takes))]

            def begin(kind: str, turn: int) -> None:
                running.append(loop.create_task(Cut("turn", turn).run(crowd.call(kind))))

            for (kind, turn), start in plan:
                loop.at_turn(start, partial(begin, kind, turn))
            # Until then the loop turns, whether anything happens or not.
            await until(
                lambda: len(running) == 1 + len(plan) and all(task.done() for task in running),
                "all calls have ended",
            )
            for task in running:
                task.result()
            await server.close()
            await until(lambda: len(scene.broker.sessions) == 1, "the server is gone")
            rest = await scene.check()
            assert crowd.taken + rest == crowd.accepted
            assert set(crowd.answers) <= {b"yes"}

    run(scenario())
