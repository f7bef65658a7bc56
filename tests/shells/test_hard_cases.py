"""What a hostile reader of the clients tried, against both of them."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from mqttlite import AuthError, ConnectFailed, Fate, PublishError, Reconnect, UsageError
from mqttlite.packets import Connack, encode
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import Call, Peer, accept, decent
from tests.shells.test_interrupts import until

only_5 = pytest.mark.parametrize("version", ["5.0"])
aio = pytest.mark.parametrize("kind", ["aio"], indirect=True)
sync = pytest.mark.parametrize("kind", ["sync"], indirect=True)


@only_5
async def test_whose_message_is_dropped_is_told_at_once(bench: Lab) -> None:
    """Though it is another caller who has it dropped, and the network has nothing to say."""

    def script(call: Call) -> None:
        accept("5.0", call)
        call.read_to_end()

    with Peer(script) as peer:
        client = bench.client(
            peer.url, outbox_messages=1, maximum_in_flight=1, when_full="drop_oldest"
        )
        await client.connect()
        client.publish_nowait("in flight", qos=1)
        first = bench.start(client.publish("first", qos=1, timeout=TIMEOUT))
        await until(bench, lambda: client.counters.outbox_messages, "the first one waits")
        client.publish_nowait("second", qos=1)
        with pytest.raises(PublishError) as raised:
            await first.result()
        assert raised.value.fate is Fate.DROPPED
        await client.close(drain=False)


@only_5
async def test_times_without_an_end(bench: Lab) -> None:
    endless = Reconnect(return_after=float("inf"))
    with Peer(decent("5.0")) as peer:
        urls: Any = ["mqtt://127.0.0.1:1", peer.url]
        options: dict[str, Any] = {"reconnect": endless, "keep_alive": 0}
        async with bench.client(urls, connect_timeout=float("inf"), **options) as client:
            await client.publish("a", qos=1, timeout=TIMEOUT)


class Quits:
    """An auth handler that ends with something that is no Exception, the first time."""

    method = "m"

    def __init__(self) -> None:
        self.begun = 0

    def start(self) -> bytes:
        self.begun += 1
        if self.begun == 2:
            raise SystemExit
        return b"start"

    def respond(self, data: bytes, properties: Any) -> bytes:  # noqa: ARG002
        return b""

    def finish(self, data: bytes, properties: Any) -> None:
        """Agree."""


@only_5
async def test_a_question_that_ends_with_a_system_exit(bench: Lab) -> None:
    from mqttlite.enums import ProtocolVersion  # noqa: PLC0415

    connack = encode(Connack(False, 0, {"authentication_method": "m"}), ProtocolVersion.MQTT_5_0)
    with Peer(decent("5.0", connack)) as peer:
        async with bench.client(
            peer.url, auth=Quits(), reconnect=Reconnect(first_delay=0.01)
        ) as client:
            with pytest.raises(AuthError):
                await client.reauthenticate(TIMEOUT)


@only_5
async def test_functions_that_block_do_not_pile_up(bench: Lab) -> None:
    """There is one call at a time, and closing does not wait for it."""
    leave = threading.Event()
    calls: list[int] = []

    def password() -> str:
        calls.append(1)
        leave.wait(TIMEOUT)
        return "late"

    before = threading.active_count()
    failures = bench.queue()
    client = bench.client(
        "mqtt://127.0.0.1:1",
        on_disconnect=failures.put,
        username="u",
        password=password,
        connect_timeout=0.05,
        reconnect=Reconnect(retry_first=True, first_delay=0.01, maximum_delay=0.01),
    )
    connecting = bench.start(client.connect())
    for _ in range(4):
        await failures.get()
    assert len(calls) == 1
    assert threading.active_count() <= before + 6  # the client's own, and those of the test
    await client.close(1.0)
    with pytest.raises(Exception, match="closed"):
        await connecting.result()
    leave.set()
    await until(bench, lambda: threading.active_count() <= before + 1, "the thread has ended")


@aio
@only_5
async def test_a_coroutine_that_does_not_end(bench: Lab) -> None:
    forever: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def password() -> str:
        while True:
            try:
                return await asyncio.shield(forever)
            except asyncio.CancelledError:
                if forever.done():
                    raise

    client = bench.client("mqtt://127.0.0.1:1", username="u", password=password)
    connecting = bench.start(client.connect())
    await until(bench, lambda: client._core.question is not None, "it is asked")
    await client.close(0.5)
    forever.set_result("at last")
    with pytest.raises(Exception, match="closed"):
        await connecting.result()
    await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=TIMEOUT)


@aio
@only_5
async def test_a_question_that_awaits_what_was_cancelled(bench: Lab) -> None:
    async def password() -> str:
        cancelled: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        cancelled.cancel()
        return await cancelled

    client = bench.client("mqtt://127.0.0.1:1", username="u", password=password)
    with pytest.raises(ConnectFailed, match="asked for each attempt"):
        await client.connect()


@sync
@only_5
async def test_a_subscription_that_nobody_got(bench: Lab) -> None:
    """It was asked for while connecting, and connecting came to nothing."""
    gate = threading.Event()

    def refuses(call: Call) -> None:
        call.read_until(0x10)
        gate.wait(TIMEOUT)
        call.send(b"\x20\x03\x00\x88\x00")

    with Peer(refuses, decent("5.0")) as peer:
        client = bench.client(peer.url, reconnect=False)
        connecting = bench.start(client.connect())
        await until(bench, lambda: peer.calls and peer.calls[0].received, "it connects")
        subscribing = bench.start(client.subscribe("orphan").__aenter__())
        table = client._core._subscriber.table
        await until(bench, lambda: table.subscriptions, "it is asked for")
        gate.set()
        for meanwhile in (connecting, subscribing):
            with pytest.raises(Exception, match="refused"):
                await meanwhile.result()
        assert not table.subscriptions
        await client.connect()
        await client.publish("a", qos=1, timeout=TIMEOUT)
        await client.close()
    assert b"orphan" not in peer.received


@sync
@only_5
async def test_a_coroutine_function_is_no_handler_for_threads(bench: Lab) -> None:
    from mqttlite import Client  # noqa: PLC0415

    async def handler(_message: object) -> None: ...

    client = Client(bench.url)
    with pytest.raises(UsageError, match="AsyncClient"):
        client.subscribe("a", handler=handler)
    with pytest.raises(UsageError, match="AsyncClient"):
        client.unmatched(handler=handler)
