"""Both clients with the real brokers that speak MQTT 5.0: what only that version has."""

from typing import Any

import pytest

from mqttlite.enums import ReasonCode, RetainHandling
from mqttlite.errors import ConnectionClosed, NotSupported
from mqttlite.message import Message, Will
from mqttlite.options import Reconnect
from tests.interop.servers import VERSIONS, ServerLab, spoken_by
from tests.shells.lab import TIMEOUT
from tests.support.proxy import Proxy

lacks = pytest.mark.lacks

AT_ONCE = Reconnect(first_delay=0.05, maximum_delay=0.1)

PROPERTIES: dict[str, Any] = {
    "payload_format_indicator": 1,
    "response_topic": "answers/here",
    "correlation_data": b"\0\xff",
    "user_properties": [("b", "1"), ("b", "2"), ("a", "ä")],
    "content_type": "text/plain",
}


@pytest.fixture(params=[pair for pair in VERSIONS if pair[1] == "5.0"], ids="-".join)
def spoken(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Each broker that speaks MQTT 5.0; skips what the broker lacks."""
    return spoken_by(request)


def properties_of(message: Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in PROPERTIES}


async def test_the_broker_assigns_a_client_id(lab: ServerLab) -> None:
    async with lab.client() as client:
        assert client.connack is not None
        assigned = (client.connack.properties or {}).get("assigned_client_identifier")
        assert assigned
        assert client.client_id == assigned


@lacks("mosquitto", "2.0.11 closes the connection without the DISCONNECT of [MQTT-3.1.4-3]")
async def test_the_first_of_two_clients_hears_why_it_ends(lab: ServerLab) -> None:
    lost = lab.queue()
    options: dict[str, Any] = {"client_id": f"same-{lab.topic.replace('/', '-')}"}
    async with lab.client(on_disconnect=lost.put, **options), lab.client(**options):
        event = await lost.get()
        assert isinstance(event.error, ConnectionClosed)
        assert event.error.reason_code == ReasonCode.SESSION_TAKEN_OVER
        # The two would end each other for ever.
        assert event.retry_in is None


# --- properties


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_properties_of_a_message_arrive(lab: ServerLab, qos: int) -> None:
    async with lab.client() as client, client.subscribe(lab.topic, qos=2) as messages:
        await client.publish(lab.topic, "x", qos=qos, message_expiry_interval=1000, **PROPERTIES)
        message = await messages.get(TIMEOUT)
        assert properties_of(message) == PROPERTIES
        assert message.message_expiry_interval is not None
        assert 900 < message.message_expiry_interval <= 1000


@lacks("aedes", "puts properties of the same name together [MQTT-3.3.2-18]")
async def test_user_properties_keep_their_order(lab: ServerLab) -> None:
    properties = [("b", "1"), ("a", "ä"), ("b", "2"), ("a", "")]
    async with lab.client() as client, client.subscribe(lab.topic, qos=1) as messages:
        await client.publish(lab.topic, b"x", qos=1, user_properties=properties)
        assert (await messages.get(TIMEOUT)).user_properties == properties


async def test_the_properties_of_a_retained_message_are_kept(lab: ServerLab) -> None:
    async with lab.client() as client:
        await client.publish(lab.topic, "x", qos=1, retain=True, **PROPERTIES)
        async with client.subscribe(lab.topic, qos=1) as messages:
            assert properties_of(await messages.get(TIMEOUT)) == PROPERTIES
        await client.publish(lab.topic, b"", qos=1, retain=True)


async def test_the_properties_of_a_message_are_kept_for_a_session(lab: ServerLab) -> None:
    options = lab.kept("away")
    async with lab.client(**options) as client:
        await client.subscribe(lab.topic, qos=1)
    async with lab.client() as sender:
        await sender.publish(lab.topic, "x", qos=1, **PROPERTIES)
    client = lab.client(**options)
    messages = await client.subscribe(lab.topic, qos=1)
    async with client:
        assert properties_of(await messages.get(TIMEOUT)) == PROPERTIES
        await messages.unsubscribe()
    await lab.forget(options)


async def test_the_properties_of_a_will_arrive(lab: ServerLab) -> None:
    will = Will(lab.topic, "gone", qos=1, **PROPERTIES)
    with Proxy(lab.address) as proxy:
        url = f"mqtt://127.0.0.1:{proxy.port}"
        async with (
            lab.client() as watcher,
            watcher.subscribe(lab.topic, qos=1) as messages,
            lab.client(url, will=will, reconnect=False),
        ):
            await lab.blocking(proxy.cut)
            assert properties_of(await messages.get(TIMEOUT)) == PROPERTIES


@lacks("aedes", "leaves the Will Delay Interval in the PUBLISH, where it may not be")
async def test_a_will_can_be_delayed(lab: ServerLab) -> None:
    will = Will(lab.topic, b"gone", qos=1, will_delay_interval=1)
    with Proxy(lab.address) as proxy:
        url = f"mqtt://127.0.0.1:{proxy.port}"
        async with (
            lab.client() as watcher,
            watcher.subscribe(lab.topic, qos=1) as messages,
            lab.client(url, will=will, reconnect=False),
        ):
            await lab.blocking(proxy.cut)
            assert (await messages.get(2 * TIMEOUT)).payload == b"gone"


async def test_user_properties_in_connect(lab: ServerLab) -> None:
    async with lab.client(user_properties=[("a", "ä"), ("a", "")]) as client:
        assert client.is_connected


async def test_what_nobody_subscribed_to_is_accepted_all_the_same(lab: ServerLab) -> None:
    async with lab.client() as client:
        delivery = await client.publish(f"{lab.topic}/nobody", b"x", qos=1)
        assert delivery.reason_code in (ReasonCode.SUCCESS, ReasonCode.NO_MATCHING_SUBSCRIBERS)


# --- subscription options


async def test_no_local(lab: ServerLab) -> None:
    async with (
        lab.client() as client,
        lab.client() as other,
        client.subscribe(lab.topic, qos=1, no_local=True) as messages,
    ):
        await client.publish(lab.topic, b"mine", qos=1)
        await other.publish(lab.topic, b"other", qos=1)
        assert (await messages.get(TIMEOUT)).payload == b"other"


async def test_retain_handling_and_retain_as_published(lab: ServerLab) -> None:
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


async def test_a_shared_subscription_shares_or_is_refused(lab: ServerLab) -> None:
    """What the broker said in CONNACK decides: aedes has none."""
    async with lab.client() as one, lab.client() as two:
        shared = f"$share/group/{lab.topic}"
        assert one.connack is not None
        if not (one.connack.properties or {}).get("shared_subscription_available", 1):
            with pytest.raises(NotSupported):
                await one.subscribe(shared, qos=1)
            return
        first = await one.subscribe(shared, qos=1)
        second = await two.subscribe(shared, qos=1)
        for i in range(10):
            await one.publish(lab.topic, b"%d" % i, qos=1)
        for client in (one, two):
            probe = await client.subscribe(f"{lab.topic}/probe", qos=1)
            await one.publish(f"{lab.topic}/probe", qos=1)
            await probe.get(TIMEOUT)
        got = [
            (await each.get(TIMEOUT)).payload
            for each in (first, second)
            for _ in range(each.buffered)
        ]
        assert sorted(got) == [b"%d" % i for i in range(10)]


# --- requests, flow, sessions


async def test_a_request_gets_its_answer(lab: ServerLab) -> None:
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
        for i in range(3):
            reply = await client.request(f"{lab.topic}/add", b"%d" % i, qos=1, timeout=TIMEOUT)
            assert reply.payload == b"%d!" % i


@lacks("aedes", "sends all at once, in every connection anew, whatever the Receive Maximum is")
@pytest.mark.parametrize("qos", [1, 2])
async def test_nothing_is_lost_when_the_receive_maximum_is_small(lab: ServerLab, qos: int) -> None:
    """Mosquitto 2.0.11 sends more than it allows [MQTT-3.3.4-9]."""
    payloads = {b"%d" % i for i in range(20)}
    async with (
        lab.client() as sender,
        lab.client(receive_maximum=3, reconnect=AT_ONCE) as receiver,
        receiver.subscribe(lab.topic, qos=qos, ack="manual") as messages,
    ):
        for payload in payloads:
            await sender.publish(lab.topic, payload, qos=qos)
        got: set[bytes] = set()
        while got != payloads:
            message = await messages.get(TIMEOUT)
            got.add(message.payload)
            message.ack()


@lacks("aedes", "does not heed the Receive Maximum [MQTT-3.3.4-9]")
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_slow_consumer_stays_connected(lab: ServerLab, qos: int) -> None:
    ups = lab.queue()
    async with (
        lab.client() as sender,
        lab.client(receive_maximum=3, reconnect=AT_ONCE, on_connect=ups.put) as receiver,
        receiver.subscribe(lab.topic, qos=qos, ack="manual") as messages,
    ):
        await ups.get()
        for i in range(20):
            await sender.publish(lab.topic, b"%d" % i, qos=qos)
        waiting = [await messages.get(TIMEOUT) for _ in range(3)]
        for i in range(20):
            assert waiting[0].payload == b"%d" % i
            waiting.pop(0).ack()
            if i + 3 < 20:
                waiting.append(await messages.get(TIMEOUT))
        with pytest.raises(TimeoutError):
            await ups.get(0.01)


async def test_a_message_expires_while_its_receiver_is_away(lab: ServerLab) -> None:
    options = lab.kept("late")
    async with lab.client(**options) as client:
        await client.subscribe(f"{lab.topic}/#", qos=1)
    will = Will(f"{lab.topic}/gone", b"")
    async with lab.client() as sender, sender.subscribe(f"{lab.topic}/gone") as gone:
        await sender.publish(f"{lab.topic}/x", b"short", qos=1, message_expiry_interval=1)
        await sender.publish(f"{lab.topic}/x", b"long", qos=1, message_expiry_interval=1000)
        # The broker misses a client of this keep alive after four and a half seconds. Mosquitto
        # counts whole seconds, so that a message of one second may live for two.
        with Proxy(lab.address) as proxy:
            url = f"mqtt://127.0.0.1:{proxy.port}"
            async with lab.client(url, will=will, keep_alive=3, reconnect=False):
                await lab.blocking(proxy.freeze)
                await gone.get(2 * TIMEOUT)
                await lab.blocking(proxy.cut)
    client = lab.client(**options)
    messages = await client.subscribe(f"{lab.topic}/#", qos=1)
    async with client:
        message = await messages.get(TIMEOUT)
        assert message.payload == b"long"
        assert message.message_expiry_interval is not None
        assert 900 < message.message_expiry_interval < 1000
        await messages.unsubscribe()
    await lab.forget(options)


async def test_a_session_that_the_client_does_not_want_kept_ends(lab: ServerLab) -> None:
    """Without other words the session is for reconnections: close() ends it."""
    options: dict[str, Any] = {"client_id": f"brief-{lab.topic.replace('/', '-')}"}
    async with lab.client(**options) as client:
        await client.subscribe(lab.topic, qos=1)
    resumed = lab.client(**options, clean_start=False)
    assert not (await resumed.connect()).session_present
    await resumed.close()
    await lab.forget(options)
