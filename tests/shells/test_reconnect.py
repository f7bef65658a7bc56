"""Connections that are lost: what was subscribed is restored, what was accepted arrives."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mqttlite.client.events import Disconnected
from mqttlite.enums import Fate
from mqttlite.errors import ConnectionClosed, ConnectionLost, MqttError, PublishError
from mqttlite.options import Reconnect
from tests.behaviour import rule
from tests.shells.brokers import Broker, MosquittoBroker, make_broker
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.leaks import ignored_proxy
from tests.shells.mischief import AT_ONCE
from tests.support.proxy import Proxy


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", broker.port)) as proxy, ignored_proxy(proxy):
        yield proxy


@pytest.fixture
def url(proxy: Proxy) -> str:
    return f"mqtt://127.0.0.1:{proxy.port}"


@rule(9, 13)
async def test_the_subscription_is_restored(lab: Lab, proxy: Proxy, url: str) -> None:
    up, down = lab.queue(), lab.queue()
    options: dict[str, Any] = {
        "reconnect": AT_ONCE,
        "on_connect": up.put,
        "on_disconnect": down.put,
    }
    async with lab.client() as other, lab.client(url, **options) as client:
        messages = await client.subscribe(lab.topic, qos=1)
        await up.get()
        for i in range(3):
            await lab.blocking(proxy.cut)
            lost = await down.get()
            assert isinstance(lost, Disconnected)
            assert isinstance(lost.error, ConnectionLost)
            assert lost.retry_in is not None
            await up.get()
            # A subscription that the server has again is what an answered one behind it shows.
            async with client.subscribe(f"{lab.topic}/probe"):
                await other.publish(lab.topic, b"%d" % i, qos=1)
                # The one before was not acknowledged before the cut: it may come again.
                while (message := await messages.get(TIMEOUT)).payload != b"%d" % i:
                    assert message.dup


@rule(9, 13)
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_accepted_meanwhile_arrives(
    lab: Lab, proxy: Proxy, url: str, qos: int
) -> None:
    down = lab.queue()
    options: dict[str, Any] = {"reconnect": AT_ONCE, "on_disconnect": down.put}
    async with (
        lab.client() as other,
        other.subscribe(lab.topic, qos=qos) as messages,
        lab.client(url, **options) as client,
    ):
        proxy.refuse = True
        await lab.blocking(proxy.cut)
        await down.get()
        deliveries = [client.publish_nowait(lab.topic, b"%d" % i, qos=qos) for i in range(50)]
        dropped = client.publish_nowait(lab.topic, b"dropped", qos=0)
        assert dropped.fate is Fate.DROPPED
        await down.get()
        assert not any(delivery.done for delivery in deliveries)
        proxy.refuse = False
        for i in range(50):
            assert (await messages.get(TIMEOUT)).payload == b"%d" % i
        for delivery in deliveries:
            assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED


@rule(13, 15)
@pytest.mark.parametrize("qos", [1, 2])
async def test_cuts_in_mid_stream(lab: Lab, proxy: Proxy, url: str, qos: int) -> None:
    """Both clients keep their sessions: nothing is missing, and QoS 2 brings no duplicate."""
    count = 500
    base: dict[str, Any] = {"reconnect": AT_ONCE, "clean_start": False}
    sender = lab.client(url, client_id=f"s-{lab.topic}", **base)
    receiver = lab.client(url, client_id=f"r-{lab.topic}", **base)
    messages = await receiver.subscribe(lab.topic, qos=qos)

    async def send() -> None:
        deliveries = []
        for i in range(count):
            deliveries.append(sender.publish_nowait(lab.topic, b"%d" % i, qos=qos))
            if i >= 15:
                await deliveries[-15].wait(TIMEOUT)
        for delivery in deliveries:
            await delivery.wait(TIMEOUT)

    got: Counter[bytes] = Counter()
    async with receiver, sender:
        sending = lab.start(send())
        while len(got) < count:
            message = await messages.get(TIMEOUT)
            got[message.payload] += 1
            if len(got) % 60 == 0 and got[message.payload] == 1:
                await lab.blocking(proxy.cut)
        await sending.result()
        await messages.unsubscribe()
    assert set(got) == {b"%d" % i for i in range(count)}
    if qos == 2:
        assert max(got.values()) == 1
    for name in ("s", "r"):  # the sessions are not to stay
        async with lab.client(client_id=f"{name}-{lab.topic}"):
            pass


@rule(9, 13)
@pytest.mark.parametrize("broker_kind", ["embedded", "mosquitto"])
async def test_the_broker_stops_and_comes_back(
    bench: Lab, broker_kind: str, tmp_path: Path
) -> None:
    up, down = bench.queue(), bench.queue()
    with make_broker(broker_kind, tmp_path) as broker:
        options: dict[str, Any] = {"on_connect": up.put, "on_disconnect": down.put}
        client = bench.client(broker.url, reconnect=AT_ONCE, **options)
        async with client:
            await up.get()
            messages = await client.subscribe(bench.topic, qos=2)
            await bench.blocking(broker.stop)
            await down.get()
            deliveries = [
                client.publish_nowait(bench.topic, b"%d" % qos, qos=qos) for qos in (1, 2)
            ]
            await bench.blocking(broker.start)
            await up.get()
            for delivery in deliveries:
                await delivery.wait(TIMEOUT)
            got = [(await messages.get(TIMEOUT)).payload for _ in range(2)]
            assert got == [b"1", b"2"]


@rule(9, 21)
async def test_without_reconnecting_everything_ends(lab: Lab, proxy: Proxy, url: str) -> None:
    client = lab.client(url, reconnect=False)
    await client.connect()
    messages = await client.subscribe(lab.topic, qos=1)
    await lab.blocking(proxy.freeze)
    delivery = client.publish_nowait(lab.topic, b"x", qos=1)
    await lab.blocking(proxy.cut)
    with pytest.raises(PublishError) as caught:
        await delivery.wait(TIMEOUT)
    assert isinstance(caught.value.__cause__, ConnectionLost)
    with pytest.raises(ConnectionClosed):
        await messages.get(TIMEOUT)
    with pytest.raises(ConnectionClosed, match="given up"):
        await client.publish(lab.topic, b"x", qos=1)
    await lab.blocking(proxy.thaw)
    await client.connect()
    await client.publish(lab.topic, b"x", qos=1)
    await client.close()


@rule(9, 10)
async def test_giving_up_after_so_many_attempts(lab: Lab, proxy: Proxy, url: str) -> None:
    down = lab.queue()
    policy = Reconnect(first_delay=0.0, maximum_delay=0.01, maximum_attempts=3)
    client = lab.client(url, reconnect=policy, on_disconnect=down.put)
    await client.connect()
    proxy.refuse = True
    await lab.blocking(proxy.cut)
    events = [await down.get() for _ in range(4)]
    assert [event.retry_in is None for event in events] == [False, False, False, True]
    assert client.is_idle
    await client.close()


# --- the first connection is cut after every number of bytes


async def _session(lab: Lab, url: str, name: str) -> list[bytes]:
    """Run a whole session, whatever the network does; return what has come back."""
    client = lab.client(url, client_id=name, clean_start=False, reconnect=AT_ONCE)
    messages = await client.subscribe(f"{name}/+", qos=2)
    for _ in range(3):
        try:
            await client.connect()
            break
        except (MqttError, TimeoutError):  # cut before CONNACK
            assert client.is_idle
    assert not client.is_idle
    sent = [(b"%d" % i, 1 + i % 2) for i in range(4)]
    deliveries = [client.publish_nowait(f"{name}/a", data, qos=qos) for data, qos in sent]
    got: list[bytes] = []
    while not {data for data, _ in sent} <= set(got):
        got.append((await messages.get(TIMEOUT)).payload)
    for delivery in deliveries:
        assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
    await messages.unsubscribe(TIMEOUT)
    await client.close()
    return got


@rule(13, 15)
@pytest.mark.deadline(120)
async def test_cut_after_every_number_of_bytes(
    lab: Lab, broker: Broker, proxy: Proxy, url: str
) -> None:
    # Names of its own: the broker keeps sessions, and all tests have the same one.
    await _session(lab, url, f"{lab.topic}/000")
    length = proxy.bytes_up + proxy.bytes_down
    assert length > 200
    # With Mosquitto only some, for the time that it takes.
    step = 7 if isinstance(broker, MosquittoBroker) else 1
    for number in range(1, length + 1, step):
        proxy.cuts = 1
        proxy.cut_after = number
        try:
            got = await _session(lab, url, f"{lab.topic}/{number:03}")
        except BaseException as error:
            error.add_note(f"cut after {number} of {length} bytes")
            raise
        exactly_once = [data for data in got if int(data) % 2]
        assert sorted(exactly_once) == [b"1", b"3"], f"cut after {number} bytes: {got}"
        proxy.cut_after = None
