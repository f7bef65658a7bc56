"""A server that has lost the session, and payloads that are not what they are said to be."""

from collections.abc import Iterator
from typing import Any

import pytest

from mqttlite.client.events import DropReason
from mqttlite.enums import Fate
from mqttlite.errors import PublishError, UsageError
from mqttlite.options import Reconnect
from mqttlite.testing import Broker
from tests.behaviour import rule
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.leaks import ignored_proxy
from tests.shells.peer import ACCEPTED, Call, Peer
from tests.shells.wire import body
from tests.support.proxy import Proxy

AT_ONCE = Reconnect(first_delay=0.01, maximum_delay=0.05)

only_5 = pytest.mark.parametrize("version", ["5.0"])


@pytest.fixture
def forgetful() -> Iterator[Broker]:
    with embedded() as broker:
        yield broker


@pytest.fixture
def proxy(forgetful: Broker) -> Iterator[Proxy]:
    with Proxy(("127.0.0.1", forgetful.port)) as proxy, ignored_proxy(proxy):
        yield proxy


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("policy", ["report", "republish"])
async def test_what_was_in_flight(
    bench: Lab, forgetful: Broker, proxy: Proxy, policy: Any, qos: int
) -> None:
    up = bench.queue()
    url = f"mqtt://127.0.0.1:{proxy.port}"
    options: dict[str, Any] = {"client_id": "c", "clean_start": False, "on_connect": up.put}
    async with bench.client(url, when_session_lost=policy, reconnect=AT_ONCE, **options) as client:
        await up.get()
        messages = await client.subscribe(bench.topic, qos=qos)
        await bench.blocking(proxy.freeze)
        deliveries = [client.publish_nowait(bench.topic, b"%d" % i, qos=qos) for i in range(3)]
        assert client.counters.in_flight == 3
        await bench.blocking(proxy.cut)
        await bench.blocking(forgetful.stop)
        forgetful.core.forget()
        await bench.blocking(forgetful.start)
        await bench.blocking(proxy.thaw)
        assert not (await up.get()).connack.session_present
        for delivery in deliveries:
            if policy == "republish":
                assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
                continue
            with pytest.raises(PublishError, match="lost") as caught:
                await delivery.wait(TIMEOUT)
            assert caught.value.fate is delivery.fate is Fate.LOST
        # In both cases the client goes on.
        await client.publish(bench.topic, b"new", qos=qos, timeout=TIMEOUT)
        sent = [b"0", b"1", b"2"] if policy == "republish" else []
        got = [(await messages.get(TIMEOUT)).payload for _ in [*sent, b"new"]]
        assert got == [*sent, b"new"]
    await bench.blocking(forgetful.stop)


@rule(13)
async def test_what_was_not_sent_yet_is_not_lost(bench: Lab, forgetful: Broker) -> None:
    """It was never in the session."""
    down = bench.queue()
    options: dict[str, Any] = {"client_id": "c", "clean_start": False, "on_disconnect": down.put}
    async with bench.client(
        forgetful.url, when_session_lost="report", reconnect=AT_ONCE, **options
    ) as client:
        await bench.blocking(forgetful.stop)
        await down.get()
        delivery = client.publish_nowait(bench.topic, b"x", qos=1)
        forgetful.core.forget()
        await bench.blocking(forgetful.start)
        assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
    await bench.blocking(forgetful.stop)


# --- payloads that are said to be text


def sends(answers: list[bytes], qos: int) -> Any:
    """Send bytes that are no UTF-8, and are said to be; the same, said to be bytes; and text."""

    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        request = call.read_packet()
        call.send(b"\x90\x04" + request[2:4] + b"\0" + bytes((qos,)))
        for number, (indicator, payload) in enumerate(
            [(1, b"\xff\xfe"), (0, b"\xff\xfe"), (1, "ä€".encode())], 1
        ):
            identifier = bytes((0, number)) if qos else b""
            rest = b"\0\1t" + identifier + b"\2\1" + bytes((indicator,)) + payload
            call.send(bytes((0x30 | qos << 1, len(rest))) + rest)
        answers.extend(call.read_packet() for _ in range(3 if qos else 0))
        for answer in answers if qos == 2 else []:
            if body(answer)[2:3] < b"\x80":
                call.send(b"\x62\x02" + answer[2:4])
        call.read_to_end()

    return script


@only_5
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_payload_that_is_no_text_is_refused(bench: Lab, qos: int) -> None:
    answers: list[bytes] = []
    drops = bench.queue()
    with Peer(sends(answers, qos)) as peer:
        async with bench.client(
            peer.url, check_payload_format=True, on_dropped=drops.put
        ) as client:
            messages = await client.subscribe("t", qos=qos, ack="manual")
            for expected in (b"\xff\xfe", "ä€".encode()):
                message = await messages.get(TIMEOUT)
                assert message.payload == expected
                message.ack()
            dropped = await drops.get()
            assert (dropped.reason, dropped.count) == (DropReason.INVALID_PAYLOAD, 1)
            assert client.counters.dropped_messages == {DropReason.INVALID_PAYLOAD: 1}
            assert client.is_connected
    codes = [body(answer)[2:3] or b"\0" for answer in answers]
    assert codes == ([b"\x99", b"\0", b"\0"] if qos else [])


@only_5
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_without_the_check_it_is_delivered(bench: Lab, qos: int) -> None:
    answers: list[bytes] = []
    with Peer(sends(answers, qos)) as peer:
        async with bench.client(peer.url) as client:
            messages = await client.subscribe("t", qos=qos, ack="manual")
            for expected in (b"\xff\xfe", b"\xff\xfe", "ä€".encode()):
                message = await messages.get(TIMEOUT)
                assert message.payload == expected
                message.ack()
    assert all(body(answer)[2:3] in (b"", b"\0") for answer in answers)


@only_5
async def test_ones_own_text_is_checked_in_any_case(bench: Lab, forgetful: Broker) -> None:
    async with bench.client(forgetful.url) as client:
        with pytest.raises(UsageError, match="UTF-8"):
            await client.publish("t", b"\xff", payload_format_indicator=1)
        await client.publish("t", b"\xff", payload_format_indicator=0)
