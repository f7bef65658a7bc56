"""Both clients with three real brokers, which have nothing in common but the specification."""

from typing import Any

import pytest

from mqttlite.client.events import Disconnected
from mqttlite.enums import ClosedBy, Fate, ReasonCode
from mqttlite.errors import (
    ConnectionClosed,
    ConnectRefused,
    KeepAliveTimeout,
    MqttError,
)
from mqttlite.message import Message, Will
from mqttlite.options import Reconnect
from tests.interop.servers import USER, ServerLab
from tests.shells.lab import TIMEOUT
from tests.support.proxy import Proxy

lacks = pytest.mark.lacks

AT_ONCE = Reconnect(first_delay=0.05, maximum_delay=0.1)
MIB = 1024 * 1024
COUNT = 2000
OVER_CUTS = 300


def proxied(proxy: Proxy) -> str:
    return f"mqtt://127.0.0.1:{proxy.port}"


# --- connecting


async def test_connecting_and_closing(lab: ServerLab) -> None:
    client = lab.client()
    for _ in range(2):
        connack = await client.connect()
        assert client.is_connected
        assert client.version == lab.version
        assert not connack.session_present
        await client.close()
        assert client.is_idle


@lacks("amqtt", "reads a CONNECT of MQTT 5.0 as one of 3.1.1, and waits for more of it for ever")
async def test_the_version_that_both_speak_is_found(lab: ServerLab) -> None:
    async with lab.client(version=None) as client:
        assert client.version == "5.0"
        await client.publish(lab.topic, b"", qos=1)


@pytest.mark.parametrize("wrong", ["username", "password"])
async def test_a_wrong_user_or_password_is_refused(lab: ServerLab, wrong: str) -> None:
    client = lab.client(**{wrong: "wrong"})
    with pytest.raises(ConnectRefused) as caught:
        await client.connect()
    assert caught.value.by is ClosedBy.SERVER
    assert caught.value.reason_code in (
        ReasonCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.NOT_AUTHORIZED,
    )
    assert client.is_idle


async def test_user_and_password_in_the_url(lab: ServerLab) -> None:
    url = lab.url.replace("//", f"//{USER[0]}:{USER[1]}@")
    async with lab.client(url, username=None, password=None) as client:
        assert client.is_connected


@lacks("amqtt", "leaves the first connection open [MQTT-3.1.4-2]")
async def test_a_second_client_with_the_same_id_takes_over(lab: ServerLab) -> None:
    lost = lab.queue()
    options: dict[str, Any] = {"client_id": f"same-{lab.topic.replace('/', '-')}"}
    async with (
        lab.client(reconnect=False, on_disconnect=lost.put, **options),
        lab.client(**options) as second,
    ):
        event = await lost.get()
        assert isinstance(event, Disconnected)
        assert isinstance(event.error, ConnectionClosed)
        assert event.error.by in (ClosedBy.SERVER, ClosedBy.NETWORK)
        assert event.retry_in is None
        await second.publish(lab.topic, b"", qos=1)


# --- messages


@pytest.mark.parametrize("size", [0, 64, MIB])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_message_arrives_as_it_was_sent(lab: ServerLab, qos: int, size: int) -> None:
    payload = (bytes(range(256)) * (size // 256 + 1))[:size]
    async with (
        lab.client() as sender,
        lab.client() as receiver,
        receiver.subscribe(lab.topic, qos=qos) as messages,
    ):
        assert messages.granted == {lab.topic: qos}
        delivery = await sender.publish(lab.topic, payload, qos=qos, timeout=TIMEOUT)
        assert delivery.fate is (Fate.ACKNOWLEDGED if qos else Fate.SENT)
        message = await messages.get(TIMEOUT)
        assert message.payload == payload
        assert (message.topic, message.qos) == (lab.topic, qos)
        assert not message.retain
        assert not message.dup


@pytest.mark.parametrize("granted", [0, 1])
async def test_the_subscription_limits_the_qos(lab: ServerLab, granted: int) -> None:
    async with lab.client() as client, client.subscribe(lab.topic, qos=granted) as messages:
        assert messages.granted == {lab.topic: granted}
        await client.publish(lab.topic, b"x", qos=2)
        assert (await messages.get(TIMEOUT)).qos == granted


@lacks("amqtt", "delivers with the QoS of the subscription, whatever was published")
@pytest.mark.parametrize("qos", [0, 1])
async def test_the_subscription_does_not_raise_the_qos(lab: ServerLab, qos: int) -> None:
    async with lab.client() as client, client.subscribe(lab.topic, qos=2) as messages:
        await client.publish(lab.topic, b"x", qos=qos)
        assert (await messages.get(TIMEOUT)).qos == qos


@pytest.mark.deadline(120)
@pytest.mark.parametrize("qos", [1, 2])
async def test_many_messages_arrive_once_and_in_order(lab: ServerLab, qos: int) -> None:
    async with (
        lab.client() as sender,
        # Aedes does not heed a Receive Maximum; a client that is given more has to come back.
        lab.client(receive_maximum=65_535) as receiver,
        receiver.subscribe(lab.topic, qos=qos) as messages,
    ):
        deliveries = [sender.publish_nowait(lab.topic, b"%d" % i, qos=qos) for i in range(COUNT)]
        got = [(await messages.get(3 * TIMEOUT)).payload for _ in range(COUNT)]
        assert got == [b"%d" % i for i in range(COUNT)]
        for delivery in deliveries:
            assert (await delivery.wait(3 * TIMEOUT)).fate is Fate.ACKNOWLEDGED
        # A message that was sent once more would come before this one.
        await sender.publish(lab.topic, b"end", qos=qos)
        assert (await messages.get(TIMEOUT)).payload == b"end"


async def test_a_retained_message_is_kept_until_it_is_removed(lab: ServerLab) -> None:
    async with lab.client() as client:
        await client.publish(lab.topic, b"old", qos=1, retain=True)
        await client.publish(lab.topic, b"kept", qos=1, retain=True)
        async with client.subscribe(lab.topic, qos=1) as messages:
            message = await messages.get(TIMEOUT)
            assert (message.payload, message.retain) == (b"kept", True)
            await client.publish(lab.topic, b"new", qos=1, retain=True)
            message = await messages.get(TIMEOUT)
            assert (message.payload, message.retain) == (b"new", False)
        await client.publish(lab.topic, b"", qos=1, retain=True)
        async with client.subscribe(lab.topic, qos=1) as messages:
            await client.publish(lab.topic, b"after", qos=1)
            assert (await messages.get(TIMEOUT)).payload == b"after"


# --- subscriptions


async def test_wildcards(lab: ServerLab) -> None:
    sent = ["a", "b", "a/x", "b/x", "a/x/y", "b/x/y", "end"]
    filters = {
        "+": ["a", "b"],
        "+/x": ["a/x", "b/x"],
        "a/#": ["a", "a/x", "a/x/y"],
        "+/+/y": ["a/x/y", "b/x/y"],
        "#": sent[:-1],
    }
    async with lab.client() as sender, lab.client() as client:
        for topic_filter, expected in filters.items():
            wanted = [f"{lab.topic}/{topic_filter}", f"{lab.topic}/end"]
            async with client.subscribe(
                wanted[: 1 + (topic_filter not in "+#")], qos=1
            ) as messages:
                for name in sent:
                    await sender.publish(f"{lab.topic}/{name}", name.encode(), qos=1)
                got = []
                while (message := await messages.get(TIMEOUT)).payload != b"end":
                    got.append(message.payload.decode())
                assert got == expected


@lacks(
    "aedes-5.0",
    "closes the connection (in its log 'no such packet') when it has such a message for a session "
    "that outlives the connection",
)
async def test_a_wildcard_matches_an_empty_level(lab: ServerLab) -> None:
    async with (
        lab.client() as sender,
        lab.client() as client,
        client.subscribe(f"{lab.topic}/+/x", qos=1) as messages,
    ):
        for name in ("a/x", "/x", "b/x"):
            await sender.publish(f"{lab.topic}/{name}", name.encode(), qos=1)
        got = [(await messages.get(TIMEOUT)).payload for _ in range(3)]
        assert got == [b"a/x", b"/x", b"b/x"]


async def test_overlapping_subscriptions_each_get_the_message(lab: ServerLab) -> None:
    """A broker may send it once, or once for each: every subscription has it at least once."""
    # Aedes sends it once, and names one of the subscriptions only [MQTT-3.3.4-3].
    async with lab.client(use_subscription_identifiers=lab.name != "aedes") as client:
        wide = await client.subscribe(f"{lab.topic}/#", qos=1)
        narrow = await client.subscribe(f"{lab.topic}/a", qos=2)
        await client.publish(f"{lab.topic}/a", b"x", qos=2)
        assert (await wide.get(TIMEOUT)).payload == b"x"
        assert (await narrow.get(TIMEOUT)).payload == b"x"


async def test_after_unsubscribing_nothing_comes(lab: ServerLab) -> None:
    async with lab.client() as client:
        gone = await client.subscribe([f"{lab.topic}/a", f"{lab.topic}/+/b"], qos=1)
        control = await client.subscribe(f"{lab.topic}/c", qos=1)
        await gone.unsubscribe(TIMEOUT)
        for name in ("a", "x/b", "c"):
            await client.publish(f"{lab.topic}/{name}", name.encode(), qos=1)
        assert (await control.get(TIMEOUT)).payload == b"c"
        assert client.unmatched_messages == 0
        assert [message async for message in gone] == []
        await client.unsubscribe(f"{lab.topic}/never", timeout=TIMEOUT)


# --- wills


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_will_is_published_after_an_unclean_end(lab: ServerLab, qos: int) -> None:
    will = Will(lab.topic, b"gone", qos=qos)
    with Proxy(lab.address) as proxy:
        async with (
            lab.client() as watcher,
            watcher.subscribe(lab.topic, qos=2) as messages,
            lab.client(proxied(proxy), will=will, reconnect=False),
        ):
            await lab.blocking(proxy.cut)
            message = await messages.get(TIMEOUT)
            assert (message.payload, message.qos, message.retain) == (b"gone", qos, False)


async def test_a_retained_will_is_kept(lab: ServerLab) -> None:
    will = Will(lab.topic, b"gone", qos=1, retain=True)
    with Proxy(lab.address) as proxy:
        async with lab.client() as watcher:
            async with (
                watcher.subscribe(lab.topic, qos=1) as messages,
                lab.client(proxied(proxy), will=will, reconnect=False),
            ):
                await lab.blocking(proxy.cut)
                assert (await messages.get(TIMEOUT)).payload == b"gone"
            async with watcher.subscribe(lab.topic, qos=1) as messages:
                message = await messages.get(TIMEOUT)
                assert (message.payload, message.retain) == (b"gone", True)
            await watcher.publish(lab.topic, b"", qos=1, retain=True)


async def test_no_will_after_an_orderly_end(lab: ServerLab) -> None:
    with Proxy(lab.address) as proxy:
        async with lab.client() as watcher, watcher.subscribe(lab.topic, qos=1) as messages:
            async with lab.client(proxied(proxy), will=Will(lab.topic, b"gone", qos=1)):
                pass
            await lab.blocking(proxy.wait_for, lambda p: p.open_connections == 0)
            await watcher.publish(lab.topic, b"next", qos=1)
            assert (await messages.get(TIMEOUT)).payload == b"next"


# --- keep alive


async def test_pings_keep_a_silent_connection(lab: ServerLab) -> None:
    lost = lab.queue()
    with Proxy(lab.address) as proxy:
        options: dict[str, Any] = {"keep_alive": 1, "on_disconnect": lost.put}
        async with lab.client(proxied(proxy), **options) as client:
            # Each ping is two bytes, and so is its answer.
            up, down = proxy.bytes_up + 6, proxy.bytes_down + 6

            def pinged(proxy: Proxy) -> bool:
                return proxy.bytes_up >= up and proxy.bytes_down >= down

            await lab.blocking(lambda: proxy.wait_for(pinged, timeout=2 * TIMEOUT))
            await client.publish(lab.topic, b"", qos=1)
            assert proxy.connections == 1
            with pytest.raises(TimeoutError):
                await lost.get(0.01)


@lacks("amqtt", "keeps a silent connection for ever, and its will [MQTT-3.1.2-24]")
async def test_a_client_that_falls_silent_is_missed(lab: ServerLab) -> None:
    """Both sides notice: the broker publishes the will, the client says why it ended."""
    lost = lab.queue()
    options: dict[str, Any] = {
        "keep_alive": 1,
        "will": Will(lab.topic, b"gone", qos=1),
        "reconnect": False,
        "on_disconnect": lost.put,
    }
    with Proxy(lab.address) as proxy:
        async with (
            lab.client() as watcher,
            watcher.subscribe(lab.topic, qos=1) as messages,
            lab.client(proxied(proxy), **options),
        ):
            await lab.blocking(proxy.freeze)
            assert isinstance((await lost.get(3 * TIMEOUT)).error, KeepAliveTimeout)
            assert (await messages.get(2 * TIMEOUT)).payload == b"gone"


# --- sessions


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_session_keeps_what_comes_meanwhile(lab: ServerLab, qos: int) -> None:
    options = lab.kept("away")
    async with lab.client(**options) as client:
        await client.subscribe(lab.topic, qos=qos)
    async with lab.client() as sender:
        for i in range(100):
            await sender.publish(lab.topic, b"%d" % i, qos=qos)
    client = lab.client(**options)
    messages = await client.subscribe(lab.topic, qos=qos)
    connack = await client.connect()
    assert connack.session_present
    got = [await messages.get(TIMEOUT) for _ in range(100)]
    assert [message.payload for message in got] == [b"%d" % i for i in range(100)]
    assert {message.qos for message in got} == {qos}
    assert client.unmatched_messages == 0
    await messages.unsubscribe()
    await client.close()
    await lab.forget(options)


async def test_a_clean_start_ends_the_session(lab: ServerLab) -> None:
    options = lab.kept("clean")
    async with lab.client(**options) as client:
        await client.subscribe(lab.topic, qos=1)
    client = lab.client(client_id=options["client_id"])
    assert not (await client.connect()).session_present
    await client.publish(lab.topic, b"", qos=1)
    async with client.subscribe(f"{lab.topic}/probe", qos=1) as probe:
        await client.publish(f"{lab.topic}/probe", qos=1)
        await probe.get(TIMEOUT)
    assert client.unmatched_messages == 0
    await client.close()


async def unacknowledged(lab: ServerLab, qos: int) -> list[Message]:
    """Return what comes again after two of three messages were not acknowledged."""
    options = lab.kept("again")
    async with lab.client(**options) as client:
        messages = await client.subscribe(lab.topic, qos=qos, ack="manual")
        for i in range(3):
            await client.publish(lab.topic, b"%d" % i, qos=qos)
        first, *_ = [await messages.get(TIMEOUT) for _ in range(3)]
        first.ack()
    again = lab.client(**options)
    messages = await again.subscribe(lab.topic, qos=qos)
    async with again:
        got = [await messages.get(TIMEOUT) for _ in range(2)]
        await messages.unsubscribe()
    await lab.forget(options)
    return got


@lacks("amqtt", "does not send again what was not acknowledged [MQTT-4.4.0-1]")
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_not_acknowledged_comes_again(lab: ServerLab, qos: int) -> None:
    got = await unacknowledged(lab, qos)
    assert [(message.payload, message.qos) for message in got] == [(b"1", qos), (b"2", qos)]


@lacks("amqtt", "does not send again what was not acknowledged [MQTT-4.4.0-1]")
@lacks("aedes", "sends again without the DUP flag [MQTT-3.3.1-1]")
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_comes_again_says_so(lab: ServerLab, qos: int) -> None:
    assert all(message.dup for message in await unacknowledged(lab, qos))


async def sent_over_cuts(lab: ServerLab, qos: int) -> list[bytes]:
    """Return the payloads that arrive while the connections are cut, until all are there."""
    sender_options, receiver_options = lab.kept("sender"), lab.kept("receiver")
    got: list[bytes] = []
    with Proxy(lab.address) as proxy:
        url = proxied(proxy)
        sender = lab.client(url, reconnect=AT_ONCE, **sender_options)
        receiver = lab.client(url, reconnect=AT_ONCE, **receiver_options)
        messages = await receiver.subscribe(lab.topic, qos=qos)
        # To aedes a session without a subscription is none (CONNACK says so).
        await sender.subscribe(f"{lab.topic}/none", qos=qos)

        async def send() -> None:
            for i in range(OVER_CUTS):
                await sender.publish(lab.topic, b"%d" % i, qos=qos, timeout=TIMEOUT)

        async with receiver, sender:
            sending = lab.start(send())
            while len(set(got)) < OVER_CUTS:
                try:
                    message = await messages.get(TIMEOUT)
                except TimeoutError as error:
                    for client in (sender, receiver):
                        error.add_note(f"{len(set(got))} of {OVER_CUTS}: {client.counters}")
                    raise
                if message.payload not in got and len(set(got)) % 60 == 30:
                    await lab.blocking(proxy.cut)
                got.append(message.payload)
            await sending.result()
            # What is sent once more comes before this.
            await sender.publish(lab.topic, b"end", qos=qos)
            while (message := await messages.get(TIMEOUT)).payload != b"end":
                got.append(message.payload)
            await messages.unsubscribe()
    await lab.forget(sender_options)
    await lab.forget(receiver_options)
    return got


@lacks("amqtt", "does not send again what was not acknowledged [MQTT-4.4.0-1]")
@pytest.mark.parametrize("qos", [1, 2])
async def test_cut_connections_come_back_and_nothing_is_missing(lab: ServerLab, qos: int) -> None:
    assert set(await sent_over_cuts(lab, qos)) == {b"%d" % i for i in range(OVER_CUTS)}


@lacks("amqtt", "does not send again what was not acknowledged [MQTT-4.4.0-1]")
@lacks(
    "aedes",
    "sends new messages before those that it sends again [MQTT-4.6.0-6], and once more a PUBLISH "
    "whose PUBREC it has answered with PUBREL [MQTT-4.3.3-6]",
)
@pytest.mark.parametrize("qos", [1, 2])
async def test_after_cuts_the_order_is_kept(lab: ServerLab, qos: int) -> None:
    got = await sent_over_cuts(lab, qos)
    if qos == 1:
        got = list(dict.fromkeys(got))
    assert got == [b"%d" % i for i in range(OVER_CUTS)]


async def test_the_broker_is_stopped_and_started(own_lab: ServerLab) -> None:
    """The broker has forgotten the session: the client subscribes anew, and its messages go."""
    lab, up, down = own_lab, own_lab.queue(), own_lab.queue()
    options: dict[str, Any] = {
        "reconnect": AT_ONCE,
        "on_connect": up.put,
        "on_disconnect": down.put,
    }
    async with lab.client(**options) as client:
        messages = await client.subscribe(lab.topic, qos=1)
        await up.get()
        for i in range(2):
            await lab.blocking(lab.server.stop)
            lost = await down.get()
            assert isinstance(lost.error, MqttError)
            assert lost.retry_in is not None
            meanwhile = client.publish_nowait(f"{lab.topic}/other", b"", qos=1)
            await lab.blocking(lab.server.start)
            await up.get(3 * TIMEOUT)
            assert (await meanwhile.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
            # An answered subscription shows that the one before it is in force again.
            async with client.subscribe(f"{lab.topic}/probe"):
                await client.publish(lab.topic, b"%d" % i, qos=1)
                assert (await messages.get(TIMEOUT)).payload == b"%d" % i
