"""A server that goes without a word, in each state; or that is no MQTT server at all."""

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from mqttlite.enums import ClosedBy, Fate, ReasonCode
from mqttlite.errors import (
    ConnectFailed,
    ConnectionClosed,
    ConnectionLost,
    ConnectRefused,
    ProtocolError,
    PublishError,
)
from mqttlite.options import TLS, Reconnect
from mqttlite.sync import Client
from mqttlite.sync.driver import Driver
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.mischief import AT_ONCE, first_meets, only_5, works
from tests.shells.peer import ACCEPTED, Call, Peer, Script, accept, decent

ENDS: dict[str, Callable[[Call], None]] = {
    "EOF": lambda call: call.sock.close(),
    "reset": Call.reset,
}

ends = pytest.mark.parametrize("end", ENDS)


def until(version: str, *steps: tuple[int, bytes], end: str) -> Script:
    """Make a script: wait for a packet and answer it, and so on; then end the connection."""

    def script(call: Call) -> None:
        accept(version, call)
        for first, answer in steps:
            if first:
                call.read_until(first)
            call.send(answer)
        ENDS[end](call)

    return script


# --- before CONNACK


@rule(1)
@ends
@pytest.mark.parametrize("sent", [None, 0, 1, 2])
async def test_before_connack(bench: Lab, end: str, sent: int | None) -> None:
    """At once, after CONNECT, or in the middle of CONNACK."""
    version = str(bench.version)

    def script(call: Call) -> None:
        if sent is not None:
            call.read_packet()
            call.send(ACCEPTED[version][:sent])
        ENDS[end](call)

    with Peer(script, decent(version)) as peer:
        client = bench.client(peer.url)
        with pytest.raises(ConnectFailed) as caught:
            await client.connect()
        assert caught.value.by is ClosedBy.NETWORK
        assert str(caught.value)
        assert client.is_idle
        await client.connect()
        await works(client)
        await client.close()


ALERT = b"\x15\x03\x03\x00\x02\x02\x28"  # TLS: fatal, handshake failure


@rule(25)
@pytest.mark.parametrize(
    ("garbage", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "PUBREL|PUBACK|header flags"),
        (b"<!doctype html>", "before CONNACK"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "PUBREC|header flags"),
        (ALERT, "CONNECT"),
        (b"220 mail.example ESMTP\r\n", "before CONNACK"),
        (b"\0" * 20, "packet type 0"),
        (b"\x20\xff\xff\xff\xff\x01", "length"),
        (b"\xd0\x00", "PINGRESP before CONNACK"),
    ],
    ids=["HTTP", "HTML", "SSH", "TLS alert", "SMTP", "zeros", "length", "PINGRESP"],
)
async def test_no_mqtt_server(bench: Lab, garbage: bytes, words: str) -> None:
    version = str(bench.version)

    def script(call: Call) -> None:
        call.read_packet()
        call.send(garbage)

    with Peer(script, decent(version)) as peer:
        client = bench.client(peer.url)
        with pytest.raises((ProtocolError, ConnectFailed), match=words):
            await client.connect()
        assert client.is_idle
        await client.connect()
        await works(client)
        await client.close()


@rule(1)
@only_5
@pytest.mark.parametrize(
    "answer",
    [ALERT, b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x20\x03\0\0\0", b""],
    ids=["alert", "HTTP", "CONNACK", "nothing"],
)
async def test_no_tls_server(bench: Lab, answer: bytes) -> None:
    def script(call: Call) -> None:
        hello = call.read(5)
        call.read(int.from_bytes(hello[3:]))
        call.send(answer)

    with Peer(script) as peer:
        client = bench.client(peer.url.replace("mqtt:", "mqtts:"), tls=TLS(verify=False))
        with pytest.raises(ConnectFailed) as caught:
            await client.connect()
        assert isinstance(caught.value.__cause__, ssl.SSLError if answer else OSError)
        assert peer.url.removeprefix("mqtt:") in str(caught.value)
        assert client.is_idle


@rule(25)
@pytest.mark.parametrize(
    ("version", "connack", "words"),
    [
        ("5.0", "2002 0000", "CONNACK|return code"),
        ("3.1.1", "2003 000000", "byte|end"),
        ("5.0", "2003 010000", "clean start"),
        ("3.1.1", "2002 0100", "clean start"),
        ("5.0", "2003 020000", "flags"),
        ("5.0", "2003 000100", "0x01"),
        ("3.1.1", "2002 0006", "6 is not a return code"),
        ("5.0", "2006 0000 03 210000", "receive_maximum"),
        ("5.0", "2008 0000 05 2700000000", "maximum_packet_size|packet size"),
        ("5.0", "2005 0000 02 2402", "maximum_qos"),
        ("5.0", "2005 0000 02 2502", "retain_available"),
        ("5.0", "2003 018700", "refusal"),
        ("3.1.1", "2002 0105", "refusal"),
    ],
)
async def test_a_connack_that_is_wrong(bench: Lab, connack: str, words: str) -> None:
    version = str(bench.version)

    def script(call: Call) -> None:
        call.read_packet()
        call.send(bytes.fromhex(connack))
        call.read_to_end()

    with Peer(script, decent(version)) as peer:
        client = bench.client(peer.url)
        with pytest.raises(ProtocolError, match=words):
            await client.connect()
        assert client.is_idle
        await client.connect()
        await works(client)
        await client.close()


# --- on an open connection


@rule(9)
@ends
async def test_while_nothing_happens(bench: Lab, end: str) -> None:
    async with first_meets(bench, until(str(bench.version), end=end)) as scene:
        error = await scene.lost()
        assert type(error) is ConnectionLost
        assert error.by is ClosedBy.NETWORK
        assert "lost" in str(error)


@rule(13)
@ends
@pytest.mark.parametrize("qos", [1, 2])
async def test_before_an_acknowledgement(bench: Lab, end: str, qos: int) -> None:
    script = until(str(bench.version), (0x30 | qos << 1, b""), end=end)
    async with first_meets(bench, script) as scene:
        delivery = await scene.client.publish("a", b"x", qos=qos, timeout=TIMEOUT)
        assert delivery.fate is Fate.ACKNOWLEDGED
        assert type(await scene.lost()) is ConnectionLost


@rule(13, 21)
@ends
async def test_between_pubrec_and_pubcomp(bench: Lab, end: str) -> None:
    """A new session has forgotten the message: nobody knows whether it was delivered."""
    script = until(str(bench.version), (0x34, b"\x50\x02\0\x01"), (0x62, b""), end=end)
    async with first_meets(bench, script) as scene:
        with pytest.raises(PublishError) as caught:
            await scene.client.publish("a", b"only once", qos=2, timeout=TIMEOUT)
        assert caught.value.fate is Fate.LOST
    assert b"only once" not in scene.peer.calls[1].received


@rule(13, 15)
@ends
async def test_between_pubrec_and_pubcomp_in_a_session(bench: Lab, end: str) -> None:
    """The session goes on: PUBREL is the first packet, and the message is not sent again."""
    version = str(bench.version)
    script = until(version, (0x34, b"\x50\x02\0\x01"), (0x62, b""), end=end)
    resumed = b"\x20\x03\x01\x00\x00" if version == "5.0" else b"\x20\x02\x01\x00"
    with Peer(script, decent(version, resumed)) as peer:
        client = bench.client(peer.url, client_id="me", clean_start=False, reconnect=AT_ONCE)
        await client.connect()
        delivery = await client.publish("a", b"only once", qos=2, timeout=TIMEOUT)
        assert delivery.fate is Fate.ACKNOWLEDGED
        await works(client)
        await client.close()
        assert peer.calls[1].packets[1] == b"\x62\x02\0\x01"
        assert b"only once" not in peer.calls[1].received


@rule(13)
@ends
async def test_before_suback_and_unsuback(bench: Lab, end: str) -> None:
    version = str(bench.version)
    suback = b"\x90\x04\0\x02\0\x02" if version == "5.0" else b"\x90\x03\0\x02\x02"
    scripts = [
        until(version, (0x82, b""), end=end),
        until(version, (0x82, suback), (0xA2, b""), end=end),
    ]
    async with first_meets(bench, *scripts) as scene:
        subscription = await scene.client.subscribe("a", qos=1, timeout=TIMEOUT)
        assert subscription.granted == {"a": 2}  # as the good server says
        await subscription.unsubscribe(TIMEOUT)
        for _ in scripts:
            assert type(await scene.lost()) is ConnectionLost


@ends
@pytest.mark.parametrize("sent", [1, 4, 9])
async def test_in_the_middle_of_a_message(bench: Lab, end: str, sent: int) -> None:
    """The part that came is forgotten with its connection."""
    version = str(bench.version)
    message = b"\x30\x09\0\x01t\0whole" if version == "5.0" else b"\x30\x08\0\x01twhole"
    again = until(version, (0, message), end=end)
    async with first_meets(
        bench, until(version, (0, message[:sent]), end="EOF"), again, connected=False
    ) as scene:
        messages = scene.client.unmatched()
        await scene.client.connect()
        for _ in range(2):
            assert type(await scene.lost()) is ConnectionLost
        if end == "EOF":  # a reset may take away what came before it
            assert (await messages.get(TIMEOUT)).payload == b"whole"
        assert not messages.buffered or end == "reset"


@rule(15)
@ends
async def test_before_pubrel(bench: Lab, end: str) -> None:
    """A message of QoS 2 that was received is not received again in the same session."""
    version = str(bench.version)
    message = b"\x34\x08\0\x01t\0\x07\0ok" if version == "5.0" else b"\x34\x07\0\x01t\0\x07ok"
    resumed = b"\x20\x03\x01\x00\x00" if version == "5.0" else b"\x20\x02\x01\x00"

    def again(call: Call) -> None:
        accept(version, call, resumed)
        call.send(b"\x3c" + message[1:])
        call.read_until(0x50)
        call.send(b"\x62\x02\0\x07")
        call.read_until(0x70)
        call.read_to_end()

    with Peer(until(version, (0x30, message), (0x50, b""), end=end), again) as peer:
        client = bench.client(peer.url, client_id="me", clean_start=False, reconnect=AT_ONCE)
        got = bench.queue()
        client.unmatched(handler=got.put)
        await client.connect()
        await client.publish("go", b"on")
        assert (await got.get()).payload == b"ok"
        while len(peer.calls) < 2 or not any(p[0] == 0x70 for p in peer.calls[1].packets):
            with pytest.raises(TimeoutError):  # nothing comes a second time
                await got.get(0.05)
        await client.close(drain=False)


@rule(2)
@ends
async def test_while_it_closes(bench: Lab, end: str) -> None:
    """After the client's DISCONNECT the server may go as it likes."""

    def script(call: Call) -> None:
        accept(str(bench.version), call)
        call.read_until(0xE0)
        ENDS[end](call)

    with Peer(script) as peer:
        for _ in range(2):
            async with bench.client(peer.url):
                pass
        assert len(peer.calls) == 2


# --- while it reconnects


@rule(9)
async def test_every_failure_of_an_attempt_is_followed_by_another(bench: Lab) -> None:
    version = str(bench.version)
    busy = b"\x20\x03\x00\x89\x00" if version == "5.0" else b"\x20\x02\x00\x03"

    def then(answer: bytes, end: str = "EOF") -> Script:
        def script(call: Call) -> None:
            call.read_packet()
            call.send(answer)
            ENDS[end](call)

        return script

    scripts: list[Script] = [
        until(version, end="EOF"),
        Call.reset,
        then(b""),
        then(ACCEPTED[version][:2]),
        then(b"", "reset"),
        then(busy),
        then(b"\x20\x03\x02\x00\x00" if version == "5.0" else b"\x20\x02\x02\x00"),
        then(b"\0\0"),
        then(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"),
    ]
    kinds: list[Any] = []
    async with first_meets(bench, *scripts) as scene:
        delivery = scene.client.publish_nowait("a", b"x", qos=1)
        kinds.extend([type(await scene.lost()) for _ in scripts])
        assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
    assert kinds[0] is ConnectionLost
    assert kinds[1:5] == [ConnectFailed] * 4
    assert kinds[5] is ConnectRefused
    assert all(issubclass(kind, ProtocolError) for kind in kinds[6:])


@rule(9)
async def test_a_final_refusal_while_it_reconnects(bench: Lab) -> None:
    """The client gives up, and everything that waits ends with the reason."""
    version = str(bench.version)
    bad_password = b"\x20\x03\x00\x86\x00" if version == "5.0" else b"\x20\x02\x00\x04"

    def refuse(call: Call) -> None:
        call.read_packet()
        call.send(bad_password)

    with Peer(until(version, (0x32, b""), end="EOF"), refuse, decent(version)) as peer:
        client = bench.client(peer.url, reconnect=AT_ONCE)
        messages = await client.subscribe("a")
        await client.connect()
        with pytest.raises(PublishError) as caught:
            await client.publish("a", b"x", qos=1, timeout=TIMEOUT)
        cause = caught.value.__cause__
        assert isinstance(cause, ConnectRefused)
        assert cause.reason_code == ReasonCode.BAD_USER_NAME_OR_PASSWORD
        with pytest.raises(ConnectRefused, match="bad user name or password"):
            await messages.get(TIMEOUT)
        with pytest.raises(ConnectionClosed, match=r"given up.*bad user name or password"):
            await client.publish("a", b"x")
        assert client.is_idle
        await client.connect()
        await works(client)
        await client.close()


def test_connect_does_not_wait_for_a_thread_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is lost at once is restored by the thread that opened it."""
    joined: list[bool] = []
    join = Driver.join

    def watched(driver: Driver, timeout: float) -> None:
        joined.append(driver.core.is_idle)
        join(driver, timeout if driver.core.is_idle else 0.0)

    monkeypatch.setattr(Driver, "join", watched)
    fault = ACCEPTED["5.0"] + b"\0\0"  # in one piece: both are processed at once

    def script(call: Call) -> None:
        call.read_packet()
        call.send(fault)
        call.read_to_end()

    never = Reconnect(first_delay=60.0, maximum_delay=60.0)
    with Peer(script) as peer:
        client = Client(peer.url, version="5.0", reconnect=never)
        client.connect()
        try:
            assert joined == []
        finally:
            client.close(drain=False)
