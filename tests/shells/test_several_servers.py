"""Several servers: which one is tried, and when."""

from collections.abc import Iterator
from typing import Any

import pytest

from mqttlite.errors import ConnectFailed
from mqttlite.options import Reconnect
from mqttlite.testing import Broker
from tests.behaviour import rule
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import Peer, answers
from tests.support.ports import free_ports

AT_ONCE: dict[str, Any] = {"first_delay": 0.01, "maximum_delay": 0.05}

only_5 = pytest.mark.parametrize("version", ["5.0"])


@pytest.fixture
def servers() -> Iterator[tuple[Broker, Broker]]:
    with embedded() as first, embedded() as second:
        yield first, second


Servers = tuple[Broker, Broker]


def urls(servers: Servers) -> list[str]:
    return [server.url for server in servers]


@rule(11)
async def test_the_first_one_is_preferred(bench: Lab, servers: Servers) -> None:
    up = bench.queue()
    async with bench.client(urls(servers), on_connect=up.put):  # type: ignore[arg-type]
        assert (await up.get()).server == servers[0].url
    assert servers[1].counters.connections == 0


@rule(11)
@pytest.mark.parametrize("how", ["nobody", "refuses", "closes"])
async def test_the_next_one_if_the_first_does_not_want(
    bench: Lab, servers: Servers, how: str
) -> None:
    """It is one attempt of connect(), which does not fail."""
    up, trying, down = bench.queue(), bench.queue(), bench.queue()
    refusal = b"\x20\x03\x00\x88\x00" if bench.is_5 else b"\x20\x02\x00\x03"
    script = answers(refusal) if how == "refuses" else lambda call: call.read_packet()
    with Peer(script) as peer:
        [nobody] = free_ports(1)
        bad = f"mqtt://127.0.0.1:{nobody}" if how == "nobody" else peer.url
        callbacks: dict[str, Any] = {
            "on_connect": up.put,
            "on_reconnecting": trying.put,
            "on_disconnect": down.put,
        }
        given: Any = [bad, *urls(servers)]
        async with bench.client(given, **callbacks) as client:
            assert client.is_connected
            assert (await trying.get()).server == servers[0].url
            assert (await up.get()).server == servers[0].url
            for nothing in (trying, down):
                with pytest.raises(TimeoutError):
                    await nothing.get(0.01)


@rule(11)
@only_5
async def test_one_that_does_not_answer_leaves_time_for_the_next(
    bench: Lab, servers: Servers
) -> None:
    with Peer(lambda call: call.read_to_end()) as silent:
        given: Any = [silent.url, servers[0].url]
        async with bench.client(given, connect_timeout=3.0) as client:
            assert client.is_connected


@rule(11)
async def test_nobody_wants(bench: Lab) -> None:
    given: Any = [f"mqtt://127.0.0.1:{port}" for port in free_ports(3)]
    client = bench.client(given)
    with pytest.raises(ConnectFailed):
        await client.connect()
    assert client.is_idle


@rule(11)
async def test_failing_over_later(bench: Lab, servers: Servers) -> None:
    """What was subscribed goes along, and what was accepted meanwhile."""
    up, down = bench.queue(), bench.queue()
    options: dict[str, Any] = {"on_connect": up.put, "on_disconnect": down.put}
    given: Any = urls(servers)
    async with bench.client(given, reconnect=Reconnect(**AT_ONCE), **options) as client:
        await up.get()
        messages = await client.subscribe(bench.topic, qos=1)
        await bench.blocking(servers[0].stop)
        await down.get()
        delivery = client.publish_nowait(bench.topic, b"x", qos=1)
        assert (await up.get()).server == servers[1].url
        await delivery.wait(TIMEOUT)
        assert (await messages.get(TIMEOUT)).payload == b"x"


@rule(11)
@pytest.mark.parametrize("first_server", ["last", "preferred"])
async def test_where_a_reconnection_begins(bench: Lab, servers: Servers, first_server: Any) -> None:
    up = bench.queue()
    await bench.blocking(servers[0].stop)
    policy = Reconnect(**AT_ONCE, first_server=first_server)
    given: Any = urls(servers)
    async with bench.client(given, reconnect=policy, on_connect=up.put):
        assert (await up.get()).server == servers[1].url
        await bench.blocking(servers[0].start)
        await bench.blocking(servers[1].disconnect_all)
        expected = {"last": servers[1], "preferred": servers[0]}[first_server]
        assert (await up.get()).server == expected.url
    await bench.blocking(servers[0].stop)


@rule(11)
async def test_going_back_to_the_preferred_server(bench: Lab, servers: Servers) -> None:
    up, down = bench.queue(), bench.queue()
    await bench.blocking(servers[0].stop)
    policy = Reconnect(**AT_ONCE, return_after=0.3)
    options: dict[str, Any] = {"on_connect": up.put, "on_disconnect": down.put}
    given: Any = urls(servers)
    async with bench.client(given, reconnect=policy, **options) as client:
        assert (await up.get()).server == servers[1].url
        messages = await client.subscribe(bench.topic, qos=1)
        await bench.blocking(servers[0].start)
        while (await up.get()).server != servers[0].url:
            pass  # it may have tried before the server was there again
        delivery = await client.publish(bench.topic, b"x", qos=1, timeout=TIMEOUT)
        assert delivery.done
        assert (await messages.get(TIMEOUT)).payload == b"x"
        event = await down.get()
        assert event.error.by.value == "client"
        assert "preferred" in str(event.error)
    # It came to stay.
    with pytest.raises(TimeoutError):
        await up.get(0.01)
    await bench.blocking(servers[0].stop)


@rule(11)
async def test_shuffled(bench: Lab, servers: Servers) -> None:
    """Sooner or later each of them is the first; that one is not within 60 does not happen."""
    up = bench.queue()
    seen = set()
    given: Any = urls(servers)
    for _ in range(60):
        client = bench.client(given, server_order="shuffled", on_connect=up.put)
        async with client:
            seen.add((await up.get()).server)
        if len(seen) == 2:
            break
    assert seen == set(given)


@rule(11)
async def test_shuffled_tries_all(bench: Lab, servers: Servers) -> None:
    given: Any = [f"mqtt://127.0.0.1:{port}" for port in free_ports(3)] + [servers[0].url]
    for _ in range(5):
        async with bench.client(given, server_order="shuffled") as client:
            assert client.is_connected


@rule(11)
async def test_the_program_starts_before_the_server(bench: Lab, servers: Servers) -> None:
    down = bench.queue()
    broker = servers[0]
    await bench.blocking(broker.stop)
    policy = Reconnect(**AT_ONCE, retry_first=True)
    client = bench.client(broker.url, reconnect=policy, on_disconnect=down.put)
    connecting = bench.start(client.connect())
    for _ in range(3):
        event = await down.get()
        assert isinstance(event.error, ConnectFailed)
        assert event.retry_in is not None
    assert not client.is_connected
    await bench.blocking(broker.start)
    connack: Any = await connecting.result()
    assert connack.reason_code == 0
    assert client.is_connected
    await client.close()
    await bench.blocking(broker.stop)


@rule(11)
async def test_without_it_the_first_attempt_is_the_last(bench: Lab) -> None:
    [nobody] = free_ports(1)
    down = bench.queue()
    client = bench.client(
        f"mqtt://127.0.0.1:{nobody}", reconnect=Reconnect(**AT_ONCE), on_disconnect=down.put
    )
    with pytest.raises(ConnectFailed):
        await client.connect()
    assert client.is_idle
    with pytest.raises(TimeoutError):
        await down.get(0.01)
    await client.close()


@rule(11)
async def test_giving_up_what_connect_goes_on_with(bench: Lab) -> None:
    """A reason that is final, or the last of the attempts, ends it nevertheless."""
    [nobody] = free_ports(1)
    policy = Reconnect(**AT_ONCE, retry_first=True, maximum_attempts=3)
    client = bench.client(f"mqtt://127.0.0.1:{nobody}", reconnect=policy)
    with pytest.raises(ConnectFailed):
        await client.connect()
    assert client.is_idle
    refusal = b"\x20\x03\x00\x87\x00" if bench.is_5 else b"\x20\x02\x00\x05"
    with Peer(answers(refusal)) as peer:
        client = bench.client(peer.url, reconnect=Reconnect(**AT_ONCE, retry_first=True))
        with pytest.raises(Exception, match="not authorized"):
            await client.connect()
        assert len(peer.calls) == 1
        assert client.is_idle
