"""Publishing and subscribing, as every program does it."""

from typing import Any

import pytest

from mqttlite.aio import AsyncDelivery
from mqttlite.enums import Fate, ReasonCode, RetainHandling
from mqttlite.errors import (
    ConnectionClosed,
    NotSupported,
    OperationError,
    UsageError,
)
from mqttlite.message import Message, Will
from tests.behaviour import rule
from tests.conformance.conforms import conforms
from tests.shells.lab import TIMEOUT, Lab
from tests.support.proxy import Proxy

only_5 = pytest.mark.parametrize("version", ["5.0"])
all_versions = pytest.mark.parametrize("version", ["5.0", "3.1.1", "3.1"])


def retained_is(message: Message, value: bool) -> bool:
    return message.retain is value


@conforms("3.1.1", "MQTT-7.0.0-2", "MQTT-7.1.2-1")
@conforms("5.0", "MQTT-4.2-1")
@all_versions
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_message_arrives_once(lab: Lab, qos: int) -> None:
    async with lab.client() as client, client.subscribe(f"{lab.topic}/+", qos=qos) as messages:
        assert client.version == lab.version
        assert messages.granted == {f"{lab.topic}/+": qos}
        delivery = await client.publish(f"{lab.topic}/a", b"one", qos=qos)
        assert delivery.done
        assert delivery.fate is (Fate.ACKNOWLEDGED if qos else Fate.SENT)
        await client.publish(f"{lab.topic}/b", "zwei €", qos=qos)
        first, second = await messages.get(TIMEOUT), await messages.get(TIMEOUT)
        assert (first.topic, first.payload) == (f"{lab.topic}/a", b"one")
        assert (second.topic, second.payload) == (f"{lab.topic}/b", "zwei €".encode())
        assert {first.qos, second.qos} == {qos}
        assert not first.retain
        assert not first.dup
        with pytest.raises(TimeoutError):
            await messages.get(0.01)


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_thousand_messages_arrive_in_order(lab: Lab, qos: int) -> None:
    async with lab.client() as client, client.subscribe(lab.topic, qos=qos) as messages:
        deliveries = [client.publish_nowait(lab.topic, b"%d" % i, qos=qos) for i in range(1000)]
        for i in range(1000):
            assert (await messages.get(TIMEOUT)).payload == b"%d" % i
        for delivery in deliveries:
            assert (await delivery.wait(TIMEOUT)).fate in (Fate.ACKNOWLEDGED, Fate.SENT)


async def test_iteration_ends_when_the_subscription_does(lab: Lab) -> None:
    async with lab.client() as client:
        async with client.subscribe(lab.topic, qos=1) as messages:
            for i in range(3):
                await client.publish(lab.topic, b"%d" % i, qos=1)
            payloads = []
            async for message in messages:
                payloads.append(message.payload)
                if len(payloads) == 3:
                    break
        assert payloads == [b"0", b"1", b"2"]
        assert [message async for message in messages] == []
        with pytest.raises(ConnectionClosed, match="has ended"):
            await messages.get(TIMEOUT)


async def test_closing_ends_the_iteration(lab: Lab) -> None:
    client = lab.client()
    await client.connect()
    messages = await client.subscribe(lab.topic)

    async def iterate() -> list[Message]:
        return [message async for message in messages]

    iterating = lab.start(iterate())
    await client.publish(lab.topic, b"x", qos=1)
    await client.close()
    assert [message.payload for message in await iterating.result()] in ([], [b"x"])


async def test_a_retained_message_greets_new_subscribers(lab: Lab) -> None:
    async with lab.client() as client:
        await client.publish(lab.topic, b"kept", qos=1, retain=True)
        async with client.subscribe(lab.topic, qos=1) as messages:
            message = await messages.get(TIMEOUT)
            assert (message.payload, message.retain) == (b"kept", True)
            await client.publish(lab.topic, b"new", qos=1, retain=True)
            assert retained_is(await messages.get(TIMEOUT), value=False)
        await client.publish(lab.topic, b"", qos=1, retain=True)
        async with client.subscribe(lab.topic, qos=1) as messages:
            await client.publish(lab.topic, b"after", qos=1)
            assert (await messages.get(TIMEOUT)).payload == b"after"


@only_5
async def test_retain_handling_and_retain_as_published(lab: Lab) -> None:
    async with lab.client() as client:
        await client.publish(lab.topic, b"kept", qos=1, retain=True)
        async with client.subscribe(
            lab.topic,
            qos=1,
            retain_as_published=True,
            retain_handling=RetainHandling.DO_NOT_SEND,
        ) as messages:
            await client.publish(lab.topic, b"new", qos=1, retain=True)
            message = await messages.get(TIMEOUT)
            assert (message.payload, message.retain) == (b"new", True)
        await client.publish(lab.topic, b"", qos=1, retain=True)


@only_5
async def test_no_local(lab: Lab) -> None:
    async with (
        lab.client() as client,
        lab.client() as other,
        client.subscribe(lab.topic, qos=1, no_local=True) as messages,
    ):
        await client.publish(lab.topic, b"mine", qos=1)
        await other.publish(lab.topic, b"other", qos=1)
        assert (await messages.get(TIMEOUT)).payload == b"other"


@only_5
async def test_every_property_arrives(lab: Lab) -> None:
    properties: dict[str, Any] = {
        "payload_format_indicator": 1,
        "message_expiry_interval": 1000,
        "response_topic": "answers/here",
        "correlation_data": b"\0\xff",
        "user_properties": [("b", "1"), ("a", "ä"), ("b", "2")],
        "content_type": "text/plain",
    }
    async with lab.client() as client, client.subscribe(lab.topic, qos=2) as messages:
        await client.publish(lab.topic, "x", qos=2, **properties)
        message = await messages.get(TIMEOUT)
        assert {name: getattr(message, name) for name in properties} == properties


@all_versions
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_will_is_published_when_the_connection_is_cut(lab: Lab, qos: int) -> None:
    with Proxy(lab.address) as proxy:
        url = f"mqtt://127.0.0.1:{proxy.port}"
        will = Will(lab.topic, b"gone", qos=qos)
        async with (
            lab.client() as watcher,
            watcher.subscribe(lab.topic, qos=2) as messages,
            lab.client(url, will=will, reconnect=False) as client,
        ):
            await lab.blocking(proxy.cut)
            message = await messages.get(TIMEOUT)
            assert (message.payload, message.qos) == (b"gone", qos)
            del client


async def test_no_will_after_an_orderly_end(lab: Lab) -> None:
    async with lab.client() as watcher, watcher.subscribe(lab.topic, qos=1) as messages:
        async with lab.client(will=Will(lab.topic, b"gone", qos=1)) as client:
            await client.publish(f"{lab.topic}/other")
        await watcher.publish(lab.topic, b"next", qos=1)
        assert (await messages.get(TIMEOUT)).payload == b"next"


@only_5
async def test_will_properties(lab: Lab) -> None:
    with Proxy(lab.address) as proxy:
        url = f"mqtt://127.0.0.1:{proxy.port}"
        will = Will(lab.topic, b"gone", content_type="x/y", user_properties=[("a", "b")])
        async with (
            lab.client() as watcher,
            watcher.subscribe(lab.topic) as messages,
            lab.client(url, will=will, reconnect=False),
        ):
            await lab.blocking(proxy.cut)
            message = await messages.get(TIMEOUT)
            assert message.content_type == "x/y"
            assert message.user_properties == [("a", "b")]


@only_5
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_request_gets_its_own_answer(lab: Lab, qos: int) -> None:
    async with lab.client() as server, lab.client() as client:

        async def answer(message: Message) -> None:
            assert message.response_topic is not None
            await server.publish(
                message.response_topic,
                message.payload + b"!",
                qos=1,
                correlation_data=message.correlation_data or b"",
            )

        await server.subscribe(f"{lab.topic}/add", qos=2, handler=answer)
        running = [
            lab.start(client.request(f"{lab.topic}/add", b"%d" % i, qos=qos, timeout=TIMEOUT))
            for i in range(5)
        ]
        answers = [(await each.result()).payload for each in running]
        assert answers == [b"%d!" % i for i in range(5)]


@only_5
async def test_a_request_that_nobody_answers(lab: Lab) -> None:
    async with lab.client() as client:
        with pytest.raises(OperationError, match="nobody answers"):
            await client.request(f"{lab.topic}/nobody", timeout=TIMEOUT)
        await client.subscribe(f"{lab.topic}/silent", qos=1)
        with pytest.raises(TimeoutError):
            await client.request(f"{lab.topic}/silent", timeout=0.05)


@pytest.mark.parametrize("version", ["3.1.1", "3.1"])
async def test_requests_need_mqtt_5(lab: Lab) -> None:
    async with lab.client() as client:
        with pytest.raises(NotSupported, match=r"5\.0"):
            await client.request(lab.topic)


async def test_unsubscribing(lab: Lab) -> None:
    async with lab.client() as client:
        messages = await client.subscribe([f"{lab.topic}/a", f"{lab.topic}/b"], qos=1)
        control = await client.subscribe(f"{lab.topic}/c", qos=1)
        await messages.unsubscribe(TIMEOUT)
        await client.publish(f"{lab.topic}/a", b"", qos=1)
        await client.publish(f"{lab.topic}/c", b"", qos=1)
        await control.get(TIMEOUT)
        assert client.unmatched_messages == 0
        assert [message async for message in messages] == []
        await client.unsubscribe(f"{lab.topic}/c", timeout=TIMEOUT)
        assert [message async for message in control] == []
        await client.unsubscribe(f"{lab.topic}/never", timeout=TIMEOUT)


@rule(17, 19)
@pytest.mark.parametrize("qos", [1, 2])
async def test_acknowledged_by_hand_out_of_order(lab: Lab, qos: int) -> None:
    """With a session that is resumed what was not acknowledged comes again."""
    options: dict[str, Any] = {"client_id": f"hand-{lab.topic}", "clean_start": False}
    async with lab.client(**options) as client:
        messages = await client.subscribe(lab.topic, qos=qos, ack="manual")
        for i in range(5):
            await client.publish(lab.topic, b"%d" % i, qos=qos)
        taken = [await messages.get(TIMEOUT) for _ in range(5)]
        for i in (3, 1, 0, 1):
            taken[i].ack()
    again = lab.client(**options)
    messages = await again.subscribe(lab.topic, qos=qos)
    async with again:
        # The acknowledgement of 3 had to wait for that of 2, which never came.
        expected = [b"2", b"3", b"4"]
        payloads: list[bytes] = []
        while len(payloads) < len(expected):
            payloads.append((await messages.get(TIMEOUT)).payload)
        assert payloads == expected
        with pytest.raises(TimeoutError):
            await messages.get(0.05)
        await messages.unsubscribe()
    # The session is not to stay at the broker.
    async with lab.client(client_id=options["client_id"]):
        pass


async def test_several_filters_in_one_subscription(lab: Lab) -> None:
    async with lab.client() as client:
        filters = [f"{lab.topic}/{name}" for name in ("a", "+/b", "c/#")]
        async with client.subscribe(filters, qos=1) as messages:
            assert messages.topic_filters == tuple(filters)
            assert messages.granted == dict.fromkeys(filters, 1)
            sent = [f"{lab.topic}/{name}" for name in ("a", "x/b", "c", "c/d/e")]
            for topic in sent:
                await client.publish(topic, qos=1)
            await client.publish(f"{lab.topic}/b", qos=1)
            assert [(await messages.get(TIMEOUT)).topic for _ in sent] == sent
            with pytest.raises(TimeoutError):
                await messages.get(0.01)


async def test_two_subscriptions_to_the_same_filter(lab: Lab) -> None:
    async with lab.client() as client:
        first = await client.subscribe(lab.topic, qos=1)
        second = await client.subscribe(lab.topic, qos=1)
        await client.publish(lab.topic, b"x", qos=1)
        assert (await first.get(TIMEOUT)).payload == (await second.get(TIMEOUT)).payload == b"x"
        await first.unsubscribe(TIMEOUT)
        await client.publish(lab.topic, b"y", qos=1)
        assert (await second.get(TIMEOUT)).payload == b"y"


async def test_overlapping_subscriptions_each_get_the_message(lab: Lab) -> None:
    """A server may send it once or once a subscription: each has it at least once."""
    async with lab.client() as client:
        wide = await client.subscribe(f"{lab.topic}/#", qos=1)
        narrow = await client.subscribe(f"{lab.topic}/a", qos=2)
        await client.publish(f"{lab.topic}/a", b"x", qos=2)
        assert (await wide.get(TIMEOUT)).payload == b"x"
        assert (await narrow.get(TIMEOUT)).payload == b"x"


@rule(14)
async def test_unmatched_messages_are_counted_or_taken(lab: Lab) -> None:
    options: dict[str, Any] = {"client_id": f"unmatched-{lab.topic}", "clean_start": False}
    async with lab.client() as other:
        async with lab.client(**options) as client:
            await client.subscribe(lab.topic, qos=1)
        await other.publish(lab.topic, b"1", qos=1)
        client = lab.client(**options)
        connack = await client.connect()
        assert connack.session_present
        await other.publish(lab.topic, b"2", qos=1)
        async with client.subscribe(f"{lab.topic}/probe", qos=1) as probe:
            await client.publish(f"{lab.topic}/probe", qos=1)
            await probe.get(TIMEOUT)
        assert client.unmatched_messages == 2
        await client.close()
        await other.publish(lab.topic, b"3", qos=1)
        client = lab.client(**options)
        unmatched = client.unmatched()
        with pytest.raises(UsageError):
            client.unmatched()
        async with client:
            assert (await unmatched.get(TIMEOUT)).payload == b"3"
            assert client.unmatched_messages == 0
            await client.unsubscribe(lab.topic, timeout=TIMEOUT)
    async with lab.client(client_id=options["client_id"]):
        pass


@rule(14)
async def test_declared_before_connecting(lab: Lab) -> None:
    handled = lab.queue()
    client = lab.client()
    messages = await client.subscribe(f"{lab.topic}/a", qos=1)
    await client.subscribe(f"{lab.topic}/b", qos=1, handler=handled.put)
    async with client:
        await client.publish(f"{lab.topic}/a", b"a", qos=1)
        await client.publish(f"{lab.topic}/b", b"b", qos=1)
        assert (await messages.get(TIMEOUT)).payload == b"a"
        assert (await handled.get()).payload == b"b"


@rule(14)
async def test_what_a_session_kept_reaches_a_subscription_declared_before(lab: Lab) -> None:
    options: dict[str, Any] = {"client_id": f"kept-{lab.topic}", "clean_start": False}
    async with lab.client(**options) as client:
        await client.subscribe(lab.topic, qos=2)
    async with lab.client() as other:
        for i in range(100):
            await other.publish(lab.topic, b"%d" % i, qos=2)
    client = lab.client(**options)
    messages = await client.subscribe(lab.topic, qos=2)
    async with client:
        got = [(await messages.get(TIMEOUT)).payload for _ in range(100)]
        assert got == [b"%d" % i for i in range(100)]
        assert client.unmatched_messages == 0
        await messages.unsubscribe()
    async with lab.client(client_id=options["client_id"]):
        pass


async def test_a_delivery_can_be_waited_for_twice(lab: Lab) -> None:
    async with lab.client() as client:
        delivery: AsyncDelivery = client.publish_nowait(lab.topic, b"x", qos=2)
        await delivery.wait(TIMEOUT)
        await delivery
        assert delivery.fate is Fate.ACKNOWLEDGED
        if lab.is_5:
            assert delivery.reason_code in (
                ReasonCode.SUCCESS,
                ReasonCode.NO_MATCHING_SUBSCRIBERS,
            )


@rule(27)
async def test_shared_subscriptions_share_the_messages(lab: Lab) -> None:
    if not lab.is_5:
        pytest.skip("MQTT 5.0 only")
    async with lab.client() as one, lab.client() as two:
        first = await one.subscribe(f"$share/g/{lab.topic}", qos=1)
        second = await two.subscribe(f"$share/g/{lab.topic}", qos=1)
        for i in range(10):
            await one.publish(lab.topic, b"%d" % i, qos=1)
        probes = [await client.subscribe(f"{lab.topic}/probe", qos=1) for client in (one, two)]
        await one.publish(f"{lab.topic}/probe", qos=1)
        for probe in probes:
            await probe.get(TIMEOUT)
        got = []
        for each in (first, second):
            while each.buffered:
                got.append((await each.get(TIMEOUT)).payload)
        assert sorted(got) == [b"%d" % i for i in range(10)]


@rule(17)
async def test_a_full_buffer_drops_qos_0_only(lab: Lab) -> None:
    drops = lab.queue()
    async with lab.client(on_dropped=drops.put) as client:
        oldest = await client.subscribe(lab.topic, buffer_size=3)
        newest = await client.subscribe(f"{lab.topic}/+", buffer_size=3, when_full="drop_newest")
        probe = await client.subscribe(f"{lab.topic}/probe/x", qos=1)
        for i in range(10):
            await client.publish(lab.topic, b"%d" % i)
            await client.publish(f"{lab.topic}/a", b"%d" % i)
        await client.publish(f"{lab.topic}/probe/x", qos=1)
        await probe.get(TIMEOUT)
        count = 0
        while count < 14:
            count += (await drops.get()).count
        assert (oldest.dropped, newest.dropped) == (7, 7)
        assert [(await oldest.get(TIMEOUT)).payload for _ in range(3)] == [b"7", b"8", b"9"]
        assert [(await newest.get(TIMEOUT)).payload for _ in range(3)] == [b"0", b"1", b"2"]
