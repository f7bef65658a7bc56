"""The asyncio client on uvloop: some scenarios of the other modules once more."""

import asyncio
import gc
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.aio.link import Link
from mqttlite.errors import ConnectFailed
from mqttlite.options import TLS, Reconnect
from mqttlite.testing import AsyncBroker
from tests.shells.brokers import mosquitto
from tests.shells.lab import TIMEOUT, Asyncio, Kind, Lab
from tests.shells.test_messages import (
    test_a_message_arrives_once,
    test_a_thousand_messages_arrive_in_order,
    test_closing_ends_the_iteration,
    test_several_filters_in_one_subscription,
    test_the_will_is_published_when_the_connection_is_cut,
)
from tests.shells.test_reconnect import (
    proxy,
    test_cuts_in_mid_stream,
    test_the_broker_stops_and_comes_back,
    test_the_subscription_is_restored,
    test_what_was_accepted_meanwhile_arrives,
    url,
)
from tests.support.certificates import Certificates

uvloop: Any = pytest.importorskip("uvloop")

__all__ = [
    "proxy",
    "test_a_message_arrives_once",
    "test_a_thousand_messages_arrive_in_order",
    "test_closing_ends_the_iteration",
    "test_cuts_in_mid_stream",
    "test_several_filters_in_one_subscription",
    "test_the_broker_stops_and_comes_back",
    "test_the_subscription_is_restored",
    "test_the_will_is_published_when_the_connection_is_cut",
    "test_what_was_accepted_meanwhile_arrives",
    "url",
]

T = TypeVar("T")

only_5 = pytest.mark.parametrize("version", ["5.0"])


class Uvloop(Asyncio):
    """Scenarios with `AsyncClient` on uvloop."""

    name = "aio"
    client = AsyncClient

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        async def check() -> T:
            assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
            result = await scenario
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left: {left}"
            return result

        answer: T = uvloop.run(check())
        return answer


@pytest.fixture
def kind() -> Kind:
    return Uvloop()


async def test_a_megabyte(lab: Lab) -> None:
    payload = bytes(range(256)) * 4096
    async with lab.client() as client, client.subscribe(lab.topic, qos=1) as messages:
        for _ in range(3):
            await client.publish(lab.topic, payload, qos=1, timeout=TIMEOUT)
            assert (await messages.get(TIMEOUT)).payload == payload


@only_5
@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_tls(bench: Lab, certificates: Certificates, tmp_path: Any, size: int) -> None:
    with mosquitto(tmp_path, tls=certificates) as process:
        tls = TLS(ca_file=certificates.ca_file)
        address = f"mqtts://localhost:{process.tls_port}"
        async with (
            bench.client(address, tls=tls) as client,
            client.subscribe(bench.topic, qos=1) as messages,
        ):
            await client.publish(bench.topic, bytes(size), qos=1, timeout=TIMEOUT)
            assert (await messages.get(TIMEOUT)).payload == bytes(size)


async def test_cancelling(lab: Lab) -> None:
    """A wait that is cancelled takes nothing with it."""
    async with lab.client() as client, client.subscribe(lab.topic, qos=1) as messages:
        waiting = asyncio.create_task(messages.get())
        await asyncio.sleep(0)
        waiting.cancel()
        publishing = asyncio.create_task(client.publish(lab.topic, b"x", qos=1))
        await asyncio.sleep(0)
        publishing.cancel()
        await asyncio.wait([waiting, publishing])
        assert waiting.cancelled()
        assert publishing.cancelled()
        assert (await messages.get(TIMEOUT)).payload == b"x"


@only_5
async def test_cancelling_connect(bench: Lab) -> None:
    client = bench.client("mqtt://127.0.0.1:1", reconnect=Reconnect(retry_first=True))
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.wait([connecting])
    assert connecting.cancelled()
    assert client.is_idle


@only_5
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
async def test_cancelling_connect_at_any_turn(bench: Lab, scheme: str, tmp_path: Path) -> None:
    """The loop does not tell of the end of a connection that it was just about to make."""
    async with AsyncBroker(unix=tmp_path / "broker" if scheme == "unix" else None) as broker:
        for turns in range(12):
            client = bench.client(broker.url, reconnect=False)
            connecting = asyncio.create_task(client.connect())
            for _ in range(turns):
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait_for(asyncio.wait([connecting]), TIMEOUT)
            assert connecting.cancelled() or not connecting.exception()
            await client.close()
            await client.connect()
            await client.close()


@only_5
async def test_a_connection_that_ends_in_the_turn_in_which_it_is_made(
    bench: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket object is not left behind: an unclosed one would be warned of."""
    made = Link.connection_made

    def make_and_end(self: Link, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        self.abort()

    async with AsyncBroker() as broker:
        monkeypatch.setattr(Link, "connection_made", make_and_end)
        client = bench.client(broker.url, reconnect=False)
        with pytest.raises(ConnectFailed):
            await client.connect()
        assert client.is_idle
        gc.collect()
