"""Handlers and callbacks: the user's functions, called by the client."""

import logging
import threading
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.client.events import Connected, Disconnected
from mqttlite.errors import ConnectionClosed, UsageError
from mqttlite.message import Message
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab

pytestmark = pytest.mark.parametrize("version", ["5.0"])


@pytest.mark.parametrize("plain", [True, False])
async def test_a_handler_gets_every_message_in_order(lab: Lab, plain: bool) -> None:
    got = lab.queue()

    async def handler(message: Message) -> None:
        got.put(message)

    async with lab.client() as client:
        await client.subscribe(lab.topic, qos=1, handler=got.put if plain else handler)
        for i in range(300):
            client.publish_nowait(lab.topic, b"%d" % i, qos=1)
        assert [(await got.get()).payload for _ in range(300)] == [b"%d" % i for i in range(300)]


async def test_the_messages_of_a_handler_cannot_be_taken(lab: Lab) -> None:
    async with lab.client() as client:
        messages = await client.subscribe(lab.topic, handler=print)
        with pytest.raises(UsageError, match="handler"):
            await messages.get(TIMEOUT)


@rule(5)
async def test_a_handler_that_raises_is_reported_and_goes_on(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    errors, got = lab.queue(), lab.queue()

    async def handler(message: Message) -> None:
        if message.payload == b"bad":
            raise KeyError("a fault")
        got.put(message)

    def on_error(error: Exception, message: Message) -> None:
        errors.put((error, message))

    async with lab.client(on_error=on_error) as client:
        await client.subscribe(lab.topic, qos=1, handler=handler)
        with caplog.at_level(logging.ERROR):
            for payload in (b"1", b"bad", b"2"):
                await client.publish(lab.topic, payload, qos=1)
            assert (await got.get()).payload == b"1"
            assert (await got.get()).payload == b"2"
            error, message = await errors.get()
        assert isinstance(error, KeyError)
        assert message.payload == b"bad"
        [record] = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[1] is error
        assert "bad" not in record.getMessage()


@rule(5)
async def test_on_error_may_raise(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    got = lab.queue()

    async def handler(message: Message) -> None:
        got.put(message)
        raise KeyError("a fault")

    def on_error(_error: Exception, _message: Message) -> None:
        raise RuntimeError("another")

    async with lab.client(on_error=on_error) as client:
        await client.subscribe(lab.topic, qos=1, handler=handler)
        with caplog.at_level(logging.CRITICAL):
            for i in range(3):
                await client.publish(lab.topic, b"%d" % i, qos=1)
                assert (await got.get()).payload == b"%d" % i


@rule(4)
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_publishing_and_waiting_inside_a_handler(lab: Lab, qos: int) -> None:
    done = lab.queue()
    async with lab.client() as client:

        async def handler(message: Message) -> None:
            delivery = await client.publish(
                f"{lab.topic}/answer", message.payload, qos=qos, timeout=TIMEOUT
            )
            assert delivery.done
            done.put(message.payload)

        answers = await client.subscribe(f"{lab.topic}/answer", qos=qos)
        await client.subscribe(f"{lab.topic}/ask", qos=qos, handler=handler)
        for i in range(10):
            client.publish_nowait(f"{lab.topic}/ask", b"%d" % i, qos=qos)
        for i in range(10):
            assert (await answers.get(TIMEOUT)).payload == b"%d" % i
            assert await done.get() == b"%d" % i


@rule(4)
async def test_subscribing_and_taking_inside_a_handler(lab: Lab) -> None:
    done = lab.queue()
    async with lab.client() as client:

        async def handler(_message: Message) -> None:
            async with client.subscribe(f"{lab.topic}/more", qos=1) as more:
                await client.publish(f"{lab.topic}/more", b"more", qos=1)
                done.put((await more.get(TIMEOUT)).payload)

        await client.subscribe(f"{lab.topic}/ask", qos=1, handler=handler)
        await client.publish(f"{lab.topic}/ask", qos=1)
        assert await done.get() == b"more"


@rule(4)
async def test_a_request_inside_a_handler(lab: Lab) -> None:
    done = lab.queue()
    async with lab.client() as client, lab.client() as server:

        async def serve(message: Message) -> None:
            assert message.response_topic is not None
            assert message.correlation_data is not None
            await server.publish(
                message.response_topic, b"yes", correlation_data=message.correlation_data
            )

        async def handler(_message: Message) -> None:
            done.put((await client.request(f"{lab.topic}/service", timeout=TIMEOUT)).payload)

        await server.subscribe(f"{lab.topic}/service", qos=1, handler=serve)
        await client.subscribe(f"{lab.topic}/ask", qos=1, handler=handler)
        await client.publish(f"{lab.topic}/ask", qos=1)
        assert await done.get() == b"yes"


@rule(2, 4)
async def test_closing_the_client_inside_a_handler(lab: Lab) -> None:
    done = lab.queue()
    client = lab.client()

    async def handler(_message: Message) -> None:
        await client.close(TIMEOUT)
        done.put(client.is_idle)

    await client.connect()
    await client.subscribe(lab.topic, qos=1, handler=handler)
    client.publish_nowait(lab.topic, b"end", qos=1)
    assert await done.get() is True
    with pytest.raises(ConnectionClosed):
        await client.publish(lab.topic, b"more", qos=1)
    await client.close()


@rule(4)
async def test_a_subscription_that_ends_itself(lab: Lab) -> None:
    done = lab.queue()
    subscriptions: list[Any] = []
    async with lab.client() as client:

        async def handler(message: Message) -> None:
            await subscriptions[0].unsubscribe(TIMEOUT)
            done.put(message.payload)

        subscriptions.append(await client.subscribe(lab.topic, qos=1, handler=handler))
        await client.publish(lab.topic, b"first", qos=1)
        assert await done.get() == b"first"
        probe = await client.subscribe(f"{lab.topic}/probe", qos=1)
        await client.publish(lab.topic, b"second", qos=1)
        await client.publish(f"{lab.topic}/probe", qos=1)
        await probe.get(TIMEOUT)
        with pytest.raises(TimeoutError):
            await done.get(0.01)


async def test_handlers_of_one_client_in_threads_never_run_at_once(lab: Lab) -> None:
    if lab.kind.name != "sync":
        pytest.skip("threads only")
    got = lab.queue()
    names = []

    def handler(message: Message) -> None:
        names.append(threading.current_thread().name)
        got.put(message)

    async with lab.client() as client:
        await client.subscribe(f"{lab.topic}/a", handler=handler)
        await client.subscribe(f"{lab.topic}/b", handler=handler)
        await client.publish(f"{lab.topic}/a")
        await client.publish(f"{lab.topic}/b")
        await got.get()
        await got.get()
    assert len(set(names)) == 1
    assert names[0] != threading.current_thread().name


@rule(18)
async def test_a_handler_that_is_slow_does_not_hold_up_the_rest(lab: Lab) -> None:
    """The reader never waits for the application: acknowledgements are processed."""
    entered, leave = lab.queue(), lab.queue()

    async def handler(message: Message) -> None:
        entered.put(message)
        await leave.get()

    async with lab.client() as client:
        await client.subscribe(f"{lab.topic}/slow", qos=1, handler=handler)
        async with client.subscribe(f"{lab.topic}/fast", qos=1) as fast:
            await client.publish(f"{lab.topic}/slow", qos=1)
            await entered.get()
            for _ in range(20):
                await client.publish(f"{lab.topic}/fast", qos=2, timeout=TIMEOUT)
                await fast.get(TIMEOUT)
        leave.put(None)


@rule(2, 17)
async def test_closing_waits_for_the_handler_and_acknowledges(lab: Lab) -> None:
    """What a handler has done when the client closes is not delivered again."""
    options: dict[str, Any] = {"client_id": f"h-{lab.topic}", "clean_start": False}
    entered, leave, finished = lab.queue(), lab.queue(), lab.queue()

    async def handler(message: Message) -> None:
        entered.put(message)
        await leave.get()
        finished.put(message)

    client = lab.client(**options)
    await client.connect()
    await client.subscribe(lab.topic, qos=1, handler=handler)
    await client.publish(lab.topic, b"x", qos=1)
    await entered.get()
    closing = lab.start(client.close(TIMEOUT))
    leave.put(None)
    await closing.result()
    assert (await finished.get(0.01)).payload == b"x"
    async with lab.client(client_id=options["client_id"]):
        pass


async def test_on_connect_and_on_disconnect(lab: Lab) -> None:
    events = lab.queue()
    async with lab.client(on_connect=events.put, on_disconnect=events.put):
        connected = await events.get()
        assert isinstance(connected, Connected)
        assert connected.connack.reason_code == 0
    disconnected = await events.get()
    assert isinstance(disconnected, Disconnected)
    assert isinstance(disconnected.error, ConnectionClosed)
    assert disconnected.retry_in is None


@rule(4)
async def test_callbacks_may_call_the_client(lab: Lab) -> None:
    clients: list[AsyncClient] = []
    got = lab.queue()

    def on_connect(_event: Connected) -> None:
        clients[0].publish_nowait(f"{lab.topic}/online", b"1", qos=1)

    clients.append(lab.client(on_connect=on_connect))
    await clients[0].subscribe(f"{lab.topic}/online", qos=1, handler=got.put)
    async with clients[0]:
        assert (await got.get()).payload == b"1"
