"""What a program can see: counters, callbacks, and the log, in which there are no secrets."""

import logging
from typing import Any

import pytest

from mqttlite.auth import ScramAuth
from mqttlite.client.events import DropReason
from mqttlite.enums import ClosedBy, ReasonCode
from mqttlite.message import Will
from mqttlite.options import Reconnect
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import ACCEPTED, Call, Peer, Script
from tests.shells.scram import ScramServer, let_in
from tests.shells.wire import body

AT_ONCE = Reconnect(first_delay=0.01, maximum_delay=0.05)

only_5 = pytest.mark.parametrize("version", ["5.0"])


# --- counters


async def test_counters(lab: Lab) -> None:
    async with lab.client() as client:
        messages = await client.subscribe(lab.topic, qos=1)
        for qos in (0, 1, 2):
            await client.publish(lab.topic, b"x", qos=qos)
        taken = await messages.get(TIMEOUT)
        assert taken.payload == b"x"
        await messages.get(TIMEOUT)
        await messages.get(TIMEOUT)
        counters = client.counters
        assert (counters.connections, counters.failed_attempts) == (1, 0)
        assert (counters.sent_messages, counters.received_messages) == (3, 3)
        assert (counters.in_flight, counters.outbox_messages, counters.outbox_bytes) == (0, 0, 0)
        assert counters.buffered_messages == 0
        before = client.counters
        await client.publish(lab.topic, b"y", qos=1)
        assert before.sent_messages == 3  # a picture of that moment
        assert client.counters.sent_bytes > before.sent_bytes


async def test_every_byte_is_counted(bench: Lab) -> None:
    """In both directions, over two connections."""
    accepted = ACCEPTED["5.0" if bench.is_5 else "3.1.1"]
    message = b"\x30\x05\0\1t\0x" if bench.is_5 else b"\x30\x04\0\1tx"

    def script(call: Call) -> None:
        call.read_packet()
        call.send(accepted)
        call.read_packet()
        call.send(message)
        call.read_to_end()

    with Peer(script) as peer:
        client = bench.client(peer.url)
        for number in (1, 2):
            unmatched = client.unmatched()
            async with client:
                await client.publish("t", b"x")
                await unmatched.get(TIMEOUT)
                await unmatched.unsubscribe()
            counters = client.counters
            assert counters.connections == counters.received_messages == number
            assert counters.received_bytes == number * len(accepted + message)
            assert counters.sent_bytes == len(peer.received)


async def test_what_waits(bench: Lab) -> None:
    down = bench.queue()
    policy = Reconnect(first_delay=50, maximum_delay=50)
    with embedded() as broker:
        client = bench.client(broker.url, reconnect=policy, on_disconnect=down.put)
        await client.connect()
        broker.stop()
    await down.get()
    for _ in range(3):
        client.publish_nowait("t", b"12345", qos=1)
    assert (client.counters.outbox_messages, client.counters.outbox_bytes) == (3, 15)
    client.publish_nowait("t", b"dropped")
    assert client.counters.dropped_messages == {DropReason.NOT_CONNECTED: 1}
    await client.close(drain=False)
    assert client.counters.outbox_messages == 0


async def test_the_time_that_a_ping_takes(bench: Lab) -> None:
    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0" if bench.is_5 else "3.1.1"])
        assert call.read_packet() == b"\xc0\0"
        call.send(b"\xd0\0" + (b"\x30\x05\0\1t\0x" if bench.is_5 else b"\x30\x04\0\1tx"))
        call.read_to_end()

    with Peer(script) as peer:
        client = bench.client(peer.url, keep_alive=1)
        unmatched = client.unmatched()
        async with client:
            assert client.counters.ping_round_trip is None
            await unmatched.get(TIMEOUT)
            trip = client.counters.ping_round_trip
            assert trip is not None
            assert 0 <= trip < TIMEOUT


# --- callbacks


@only_5
async def test_who_ended_the_connection_and_why(bench: Lab) -> None:
    up, down, trying = bench.queue(), bench.queue(), bench.queue()
    with embedded() as broker:
        client = bench.client(
            broker.url,
            reconnect=AT_ONCE,
            on_connect=up.put,
            on_disconnect=down.put,
            on_reconnecting=trying.put,
        )
        await client.connect()
        connected = await up.get()
        assert (connected.server, connected.connack) == (broker.url, client.connack)
        await bench.blocking(broker.disconnect_all, ReasonCode.SERVER_BUSY)
        event = await down.get()
        assert event.error.by is ClosedBy.SERVER
        assert event.error.reason_code == ReasonCode.SERVER_BUSY
        assert 0 <= event.retry_in <= 0.05
        event = await trying.get()
        assert (event.server, event.attempt) == (broker.url, 1)
        await up.get()
        await bench.blocking(broker.disconnect_all)
        event = await down.get()
        assert event.error.by is ClosedBy.NETWORK
        assert event.error.reason_code is None
        await up.get()
        await client.close()
        event = await down.get()
        assert event.error.by is ClosedBy.CLIENT
        assert event.retry_in is None


@only_5
async def test_what_was_dropped(lab: Lab) -> None:
    drops = lab.queue()
    async with lab.client(on_dropped=drops.put) as client:
        await client.subscribe(lab.topic, buffer_size=3)
        for i in range(10):
            await client.publish(lab.topic, b"%d" % i)
        async with client.subscribe(f"{lab.topic}/probe", qos=1) as probe:
            await client.publish(f"{lab.topic}/probe", qos=1)
            await probe.get(TIMEOUT)
        assert client.counters.dropped_messages == {DropReason.BUFFER_FULL: 7}
        count = 0
        while count < 7:
            event = await drops.get()
            assert event.reason is DropReason.BUFFER_FULL
            assert event.topic_filters == (lab.topic,)
            count += event.count
        assert count == 7


@only_5
@pytest.mark.parametrize(
    "name", ["on_connect", "on_disconnect", "on_reconnecting", "on_dropped", "on_error"]
)
async def test_a_callback_that_raises(
    bench: Lab, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and the client goes on."""
    called, up = bench.queue(), bench.queue()

    def callback(*_arguments: Any) -> None:
        called.put(None)
        if name == "on_connect":
            up.put(None)
        raise KeyError("a fault")

    async def fails(_message: Any) -> None:
        raise RuntimeError("another")

    options: dict[str, Any] = {"on_connect": up.put} | {name: callback}
    with caplog.at_level(logging.ERROR), embedded() as broker:
        async with bench.client(broker.url, reconnect=AT_ONCE, **options) as client:
            await client.subscribe("fails", handler=fails)
            await client.subscribe("full", buffer_size=1)
            await up.get()
            for _ in range(2):
                for topic in ("full", "full", "fails"):
                    await client.publish(topic)
                async with client.subscribe("probe", qos=1) as probe:
                    await client.publish("probe", qos=1, timeout=TIMEOUT)
                    await probe.get(TIMEOUT)
                await bench.blocking(broker.disconnect_all)
                await up.get()
            await called.get()
            await called.get()
    errors = [r.exc_info[1] for r in caplog.records if r.exc_info]
    assert any(isinstance(error, KeyError) for error in errors)
    expected = "mqttlite.sync" if bench.kind.name == "sync" else "mqttlite.aio"
    assert {record.name for record in caplog.records} == {expected}


# --- the log

SECRETS = ["s3cret-user", "s3cret-pass", "s3cret-payload", "s3cret-will", "s3cret-value"]


def conversation(is_5: bool) -> Script:
    """Everything that happens in a connection; the answers are those of a willing server."""
    end = b"\0" if is_5 else b""

    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0" if is_5 else "3.1.1"])
        subscribe = call.read_packet()
        call.send(b"\x90" + bytes((3 + is_5,)) + subscribe[2:4] + end + b"\2")
        content = b"\0\1t\0\1" + end + b"s3cret-payload"
        call.send(b"\x32" + bytes((len(content),)) + content)
        assert call.read_packet()[0] == 0x40
        for first, answers in ((0x32, (0x40,)), (0x34, (0x50, 0x70))):
            publish = call.read_packet()
            assert publish[0] == first
            packet_id = body(publish)[3:5]
            for index, answer in enumerate(answers):
                if index:
                    assert call.read_packet()[0] == 0x62
                call.send(bytes((answer, 2)) + packet_id)
        unsubscribe = call.read_packet()
        call.send(b"\xb0" + (b"\4" if is_5 else b"\2") + unsubscribe[2:4] + end + end)
        call.read_to_end()

    return script


LINES = """> CONNECT, < CONNACK, > SUBSCRIBE, < SUBACK, < PUBLISH, > PUBACK, > PUBLISH, < PUBACK,
> PUBLISH, < PUBREC, > PUBREL, < PUBCOMP, > UNSUBSCRIBE, < UNSUBACK, > DISCONNECT"""


async def converse(bench: Lab, **options: Any) -> None:
    with Peer(conversation(bench.is_5)) as peer:
        url = peer.url.replace("mqtt://", "mqtt://s3cret-user:s3cret-pass@")
        will = Will("will", b"s3cret-will")
        async with bench.client(url, will=will, **options) as client:
            messages = await client.subscribe("t", qos=2, ack="manual")
            (await messages.get(TIMEOUT)).ack()
            for qos in (1, 2):
                properties: Any = {}
                if bench.is_5:
                    properties["user_properties"] = [("name", "s3cret-value")]
                    properties["correlation_data"] = b"s3cret-value"
                await client.publish("t", "s3cret-payload", qos=qos, timeout=TIMEOUT, **properties)
            await messages.unsubscribe(TIMEOUT)
        for secret in ("s3cret-user", "s3cret-pass", "s3cret-payload", "s3cret-will"):
            assert secret.encode() in peer.received


async def test_the_packets_of_a_conversation(bench: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await converse(bench)
    records = [record for record in caplog.records if record.name == "mqttlite.packets"]
    assert {record.levelno for record in records} == {logging.DEBUG}
    lines = [" ".join(record.getMessage().split()[:2]) for record in records]
    expected = [line.strip() for line in LINES.split(",")]
    if bench.kind.name == "sync":  # two threads log, each in its order
        for direction in "<>":
            assert [line for line in lines if line[0] == direction] == [
                line for line in expected if line[0] == direction
            ]
    else:
        assert lines == expected


async def test_nothing_secret_is_in_the_log(bench: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await converse(bench)
    said = [f"{record.getMessage()} {record.args}" for record in caplog.records]
    assert any("CONNECT" in line for line in said)
    for secret in SECRETS:
        assert not [line for line in said if secret in line]


@only_5
async def test_no_authentication_data_is_in_the_log(
    bench: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    server = ScramServer(user="s3cret-user")

    def script(call: Call) -> None:
        let_in(call, server)
        call.read_to_end()

    with caplog.at_level(logging.DEBUG), Peer(script) as peer:
        async with bench.client(peer.url, auth=ScramAuth("s3cret-user", "hunter2")) as client:
            assert client.is_connected
    text = "".join(f"{record.getMessage()} {record.args}" for record in caplog.records)
    assert "> AUTH" in text
    assert "< AUTH" in text
    for secret in ("s3cret-user", "hunter2", *server.nonces, "biws"):
        assert secret not in text


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING])
async def test_silence_while_all_is_well(
    bench: Lab, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(level):
        await converse(bench)
    assert [record for record in caplog.records if record.name.startswith("mqttlite")] == []


@only_5
async def test_which_logger_says_what(bench: Lab, caplog: pytest.LogCaptureFixture) -> None:
    up = bench.queue()

    def breaks_the_protocol(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_packet()
        call.send(b"\x40\x02\x00\x63")
        call.read_to_end()

    def accepts(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_to_end()

    with caplog.at_level(logging.DEBUG), Peer(breaks_the_protocol, accepts) as peer:
        async with bench.client(peer.url, reconnect=AT_ONCE, on_connect=up.put) as client:
            await up.get()
            client.publish_nowait("t")
            await up.get()
    said = {(record.name, record.levelno): record.getMessage() for record in caplog.records}
    assert f"127.0.0.1:{peer.port}" in said["mqttlite.layers", logging.DEBUG]
    assert "99" in said["mqttlite.protocol", logging.WARNING]
    assert "again" in said["mqttlite.client", logging.INFO]
    assert ("mqttlite.packets", logging.DEBUG) in said
    assert not [name for name, level in said if level > logging.WARNING]


@only_5
async def test_a_handler_that_raises_is_logged(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    failed = lab.queue()

    async def handler(_message: Any) -> None:
        raise KeyError("a fault")

    def on_error(error: BaseException, _message: Any) -> None:
        failed.put(error)

    with caplog.at_level(logging.WARNING):
        async with lab.client(on_error=on_error) as client:
            await client.subscribe(lab.topic, handler=handler)
            await client.publish(lab.topic, b"s3cret-payload")
            await failed.get()
    [record] = caplog.records
    assert record.name == ("mqttlite.sync" if lab.kind.name == "sync" else "mqttlite.aio")
    assert record.levelno == logging.ERROR
    assert lab.topic in record.getMessage()
    assert "s3cret" not in record.getMessage()
