"""Outgoing topic aliases, and subscriptions that overlap: what shortens, and what tells apart."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mqttlite.options import Reconnect
from tests.shells.brokers import embedded, mosquitto
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.leaks import ignored_proxy
from tests.shells.peer import Call, Peer
from tests.shells.wire import Publish, packet, read_publish, section, two
from tests.support.proxy import Proxy

pytestmark = pytest.mark.parametrize("version", ["5.0"])

AT_ONCE = Reconnect(first_delay=0.01, maximum_delay=0.05)
LONG = "x" * 200


@pytest.fixture(params=["embedded", "mosquitto"])
def generous(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Proxy]:
    """Run a broker that takes topic aliases, behind a proxy."""
    if request.param == "embedded":
        with (
            embedded(topic_alias_maximum=5) as broker,
            Proxy(("127.0.0.1", broker.port)) as proxy,
            ignored_proxy(proxy),
        ):
            yield proxy
    else:
        with (
            mosquitto(tmp_path) as process,
            Proxy(("127.0.0.1", process.port)) as proxy,
            ignored_proxy(proxy),
        ):
            yield proxy


def url(proxy: Proxy) -> str:
    return f"mqtt://127.0.0.1:{proxy.port}"


# --- topic aliases


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_the_topics_are_right(bench: Lab, generous: Proxy, qos: int) -> None:
    """Among a few that come often there are many that come once or twice."""
    often = [f"{bench.topic}/{LONG}/{i}" for i in range(3)]
    seldom = [f"{bench.topic}/{LONG}/seldom/{i % 40}" for i in range(80)]
    sent = [topic for topic in seldom for topic in (*often, topic)]
    async with (
        bench.client(url(generous)) as other,
        other.subscribe(f"{bench.topic}/#", qos=qos) as messages,
        bench.client(url(generous), use_topic_aliases=True) as client,
    ):
        deliveries = [client.publish_nowait(topic, b"x", qos=qos) for topic in sent]
        assert [(await messages.get(TIMEOUT)).topic for _ in sent] == sent
        for delivery in deliveries:
            await delivery.wait(TIMEOUT)
        # Three of four are among those that come often.
        assert client.counters.sent_bytes < len(sent) * len(LONG) * 0.6


async def test_none_without_being_asked_for(bench: Lab, generous: Proxy) -> None:
    async with bench.client(url(generous)) as client:
        for _ in range(20):
            await client.publish(f"{bench.topic}/{LONG}", b"x", qos=1)
        assert client.counters.sent_bytes > 20 * len(LONG)


async def test_an_alias_ends_with_its_connection(bench: Lab, generous: Proxy) -> None:
    up = bench.queue()
    topics = [f"{bench.topic}/{i}" for i in range(3)]
    options: dict[str, Any] = {"reconnect": AT_ONCE, "use_topic_aliases": True}
    with Proxy(("127.0.0.1", generous.port)) as proxy:
        async with (
            bench.client(url(generous)) as other,
            other.subscribe(f"{bench.topic}/#", qos=1) as messages,
            bench.client(url(proxy), on_connect=up.put, **options) as client,
        ):
            await up.get()
            for turn in range(3):
                # In another order, so that an alias of old would be of another topic.
                order = topics[turn:] + topics[:turn]
                for topic in order * 4:
                    await client.publish(topic, b"x", qos=1, timeout=TIMEOUT)
                    assert (await messages.get(TIMEOUT)).topic == topic
                await bench.blocking(proxy.cut)
                await up.get()


def resolve(publications: list[Publish], maximum: int) -> list[str]:
    """Find the topics of what came over one connection, as a server has to."""
    known: dict[int, bytes] = {}
    topics = []
    for publish in publications:
        alias = int.from_bytes(publish.properties.get(0x23, [b"\0"])[0], "big")
        assert alias <= maximum
        if alias and publish.topic:
            known[alias] = publish.topic
        topics.append((publish.topic or known[alias]).decode())
    return topics


@pytest.mark.parametrize("maximum", [0, 1, 2, 65_535])
async def test_no_more_aliases_than_the_server_takes(bench: Lab, maximum: int) -> None:
    sent = [topic for _ in range(10) for topic in ("a", "b", "c")]
    came: list[Publish] = []

    def script(call: Call) -> None:
        call.read_packet()
        limit = b"\x22" + maximum.to_bytes(2, "big")
        call.send(packet(0x20, b"\0\0", section(*([limit] if maximum else []))))
        came.extend(read_publish(call.read_packet()) for _ in sent)
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url, use_topic_aliases=True) as client:
            for topic in sent:
                await client.publish(topic)
    assert resolve(came, maximum) == sent
    shortened = [publish for publish in came if not publish.topic]
    assert bool(shortened) is bool(maximum)
    assert any(0x23 in publish.properties for publish in came) is bool(maximum)


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_sent_again_has_its_topic(bench: Lab, qos: int) -> None:
    """The next connection knows nothing of the aliases of the one before."""
    first: list[Publish] = []
    second: list[Publish] = []
    limit = section(b"\x22\x00\x05")

    def cut_short(call: Call) -> None:
        call.read_packet()
        call.send(packet(0x20, b"\0\0", limit))
        first.extend(read_publish(call.read_packet()) for _ in range(5))

    def goes_on(call: Call) -> None:
        call.read_packet()
        call.send(packet(0x20, b"\1\0", limit))
        second.extend(read_publish(call.read_packet()) for _ in range(5))
        for publish in second:
            call.send(bytes((0x40 if qos == 1 else 0x50, 2)) + two(publish.packet_id))
            if qos == 2:
                assert call.read_packet()[0] == 0x62
                call.send(b"\x70\x02" + two(publish.packet_id))
        call.read_to_end()

    with Peer(cut_short, goes_on) as peer:
        options: dict[str, Any] = {"reconnect": AT_ONCE, "use_topic_aliases": True}
        async with bench.client(peer.url, **options) as client:
            deliveries = [client.publish_nowait("a/topic", b"%d" % i, qos=qos) for i in range(5)]
            for delivery in deliveries:
                await delivery.wait(TIMEOUT)
    assert any(not publish.topic for publish in first)
    assert resolve(second, 5) == ["a/topic"] * 5
    assert [publish.payload for publish in second] == [b"%d" % i for i in range(5)]
    assert all(publish.first & 0x08 for publish in second)


# --- subscriptions that overlap


async def take_until_the_end(messages: Any) -> list[bytes]:
    payloads: list[bytes] = []
    while not payloads or payloads[-1] != b"end":
        payloads.append((await messages.get(TIMEOUT)).payload)
    return payloads[:-1]


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_of_them_gets_each_message_once(lab: Lab, qos: int) -> None:
    handled = lab.queue()
    count = 20
    async with lab.client() as client:
        first = await client.subscribe(f"{lab.topic}/a/b", qos=qos)
        # From here on they overlap.
        filters = [f"{lab.topic}/#", f"{lab.topic}/a/b/#", f"{lab.topic}/a/+"]
        others = [await client.subscribe(each, qos=2) for each in filters]
        several = await client.subscribe([f"{lab.topic}/+/b", f"{lab.topic}/a/b/+", *filters])
        await client.subscribe(f"{lab.topic}/+/+", qos=1, handler=handled.put)
        for i in range(count):
            await client.publish(f"{lab.topic}/a/b", b"%d" % i, qos=qos)
        await client.publish(f"{lab.topic}/a/b", b"end", qos=qos)
        expected = [b"%d" % i for i in range(count)]
        for each in (first, *others, several):
            assert await take_until_the_end(each) == expected, each.topic_filters
        assert [(await handled.get()).payload for _ in range(count + 1)] == [*expected, b"end"]
        assert client.unmatched_messages == 0


async def test_also_after_a_reconnection(lab: Lab) -> None:
    up = lab.queue()
    with Proxy(lab.address) as proxy:
        async with (
            lab.client() as other,
            lab.client(url(proxy), reconnect=AT_ONCE, on_connect=up.put) as client,
        ):
            wide = await client.subscribe(f"{lab.topic}/#", qos=1)
            narrow = await client.subscribe(f"{lab.topic}/a", qos=1)
            await up.get()
            await lab.blocking(proxy.cut)
            await up.get()
            async with client.subscribe(f"{lab.topic}/probe/x", qos=1) as probe:
                await client.publish(f"{lab.topic}/probe/x", b"probe", qos=1)
                await probe.get(TIMEOUT)
            assert (await wide.get(TIMEOUT)).payload == b"probe"
            for payload in (b"1", b"2", b"3", b"end"):
                await other.publish(f"{lab.topic}/a", payload, qos=1)
            for each in (wide, narrow):
                assert await take_until_the_end(each) == [b"1", b"2", b"3"]


async def test_when_one_of_them_ends(lab: Lab) -> None:
    async with lab.client() as client:
        wide = await client.subscribe(f"{lab.topic}/#", qos=1)
        narrow = await client.subscribe(f"{lab.topic}/a", qos=1)
        await client.publish(f"{lab.topic}/a", b"1", qos=1)
        assert (await narrow.get(TIMEOUT)).payload == b"1"
        await narrow.unsubscribe(TIMEOUT)
        for payload in (b"2", b"end"):
            await client.publish(f"{lab.topic}/a", payload, qos=1)
        assert await take_until_the_end(wide) == [b"1", b"2"]
        assert client.unmatched_messages == 0


async def test_a_server_without_identifiers(bench: Lab) -> None:
    """It sends the message once for both, or twice: nobody misses it."""
    with embedded(subscription_identifier_available=False) as broker:
        async with bench.client(broker.url) as client:
            wide = await client.subscribe(f"{bench.topic}/#", qos=1)
            narrow = await client.subscribe(f"{bench.topic}/a", qos=1)
            await client.publish(f"{bench.topic}/a", b"x", qos=1)
            for each in (wide, narrow):
                assert (await each.get(TIMEOUT)).payload == b"x"
