"""Enhanced authentication over sockets: SCRAM, handlers of one's own, and what goes wrong."""

import threading
from typing import Any

import pytest

from mqttlite.auth import ScramAuth
from mqttlite.enums import ReasonCode
from mqttlite.errors import (
    AuthError,
    ConnectionClosed,
    ConnectRefused,
    MqttError,
    UsageError,
)
from mqttlite.message import Properties
from mqttlite.options import Reconnect
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import Call, Peer, Script, answers
from tests.shells.scram import (
    DATA,
    METHOD,
    ScramServer,
    auth,
    connack,
    expect_auth,
    let_in,
    let_in_again,
)
from tests.shells.wire import packet, pair, read, section, split, text

pytestmark = pytest.mark.parametrize("version", ["5.0"])

AT_ONCE = Reconnect(first_delay=0.01, maximum_delay=0.05)
REFUSES = answers(b"\x20\x03\x00\x87\x00")
"""Ends the attempts of a client that should not have made another one."""
GOOD: dict[str, Any] = {"username": "meter", "password": "hunter2"}


EVERYWHERE = ["start", "respond", "finish"]


def guards(server: ScramServer) -> Script:
    def script(call: Call) -> None:
        let_in(call, server)
        call.read_to_end()

    return script


def last_packet(call: Call) -> bytes:
    return split(call.received)[-1]


def leaves_with_an_error(call: Call) -> bool:
    """Whether the client's last word is a DISCONNECT that says that something is wrong."""
    goodbye = last_packet(call)
    return goodbye[0] == 0xE0 and len(goodbye) > 2 and goodbye[2] >= 0x80


# --- SCRAM


@pytest.mark.parametrize("name", ["sha256", "sha1"])
async def test_scram(bench: Lab, name: Any) -> None:
    server = ScramServer(name)
    with Peer(guards(server)) as peer:
        client = bench.client(peer.url, auth=ScramAuth(**GOOD, hash_name=name))
        for _ in range(2):
            async with client:
                assert client.is_connected
    assert len(set(server.nonces)) == 2
    assert b"hunter2" not in peer.received


async def test_scram_with_a_user_name_that_has_to_be_quoted(bench: Lab) -> None:
    server = ScramServer(user="a=3Db=2Cc")
    with Peer(guards(server)) as peer:
        async with bench.client(peer.url, auth=ScramAuth("a=b,c", "hunter2")) as client:
            assert client.is_connected


@pytest.mark.parametrize("name", ["sha256", "sha1"])
async def test_scram_with_the_wrong_password(bench: Lab, name: Any) -> None:
    with Peer(guards(ScramServer(name))) as peer:
        client = bench.client(peer.url, auth=ScramAuth("meter", "wrong", hash_name=name))
        with pytest.raises(ConnectRefused) as caught:
            await client.connect()
        assert caught.value.reason_code == ReasonCode.NOT_AUTHORIZED
        assert "wrong" not in f"{caught.value} {caught.value!r} {client!r}"
        assert client.is_idle
        assert len(peer.calls) == 1


async def test_a_server_that_cannot_prove_itself(bench: Lab) -> None:
    """It let the client in, and is not believed: nothing that it sends reaches the program."""
    up, got = bench.queue(), bench.queue()
    server = ScramServer(knows_password=False)

    def script(call: Call) -> None:
        let_in(call, server)
        call.send(b"\x30\x05\x00\x01t\x00x")
        call.read_to_end()

    with Peer(script, REFUSES) as peer:
        options: dict[str, Any] = {"reconnect": AT_ONCE, "on_connect": up.put}
        client = bench.client(peer.url, auth=ScramAuth(**GOOD), **options)
        await client.subscribe("t", handler=got.put)
        with pytest.raises(AuthError, match="proved"):
            await client.connect()
        assert client.is_idle
        assert len(peer.calls) == 1
        assert leaves_with_an_error(peer.calls[0])
        assert client.counters.received_messages == 0
        for nothing in (up, got):
            with pytest.raises(TimeoutError):
                await nothing.get(0.01)
        await client.close()


async def test_a_server_that_proves_nothing_at_all(bench: Lab) -> None:
    def script(call: Call) -> None:
        call.read_packet()
        call.send(connack(0, "SCRAM-SHA-256"))
        call.read_to_end()

    with Peer(script, REFUSES) as peer:
        client = bench.client(peer.url, auth=ScramAuth(**GOOD), reconnect=AT_ONCE)
        with pytest.raises(AuthError):
            await client.connect()
        assert client.is_idle
        assert len(peer.calls) == 1
        assert leaves_with_an_error(peer.calls[0])


async def test_a_reconnection_authenticates_anew(bench: Lab) -> None:
    up = bench.queue()
    server = ScramServer()

    def lets_in_and_goes(call: Call) -> None:
        let_in(call, server)
        call.read_packet()

    with Peer(lets_in_and_goes, guards(server)) as peer:
        options: dict[str, Any] = {"reconnect": AT_ONCE, "on_connect": up.put}
        async with bench.client(peer.url, auth=ScramAuth(**GOOD), **options) as client:
            await up.get()
            client.publish_nowait("t", b"")
            await up.get()
            assert client.is_connected
            assert len(peer.calls) == 2
    assert len(set(server.nonces)) == 2


@pytest.mark.parametrize(
    "refusal", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00"], ids=["as 3.1.1", "as 5.0"]
)
async def test_no_falling_back_to_a_version_without_authentication(
    bench: Lab, refusal: bytes
) -> None:
    with Peer(answers(refusal)) as peer:
        with pytest.raises(ConnectRefused) as caught:
            await bench.client(peer.url, auth=ScramAuth(**GOOD), version=None).connect()
        assert caught.value.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        assert len(peer.calls) == 1


# --- again, on the same connection


async def test_reauthentication(bench: Lab) -> None:
    server = ScramServer()

    def script(call: Call) -> None:
        let_in(call, server)
        for _ in range(2):
            let_in_again(call, server)
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url, auth=ScramAuth(**GOOD)) as client:
            for _ in range(2):
                await client.reauthenticate(TIMEOUT)
                assert client.is_connected
        assert len(peer.calls) == 1
    assert len(set(server.nonces)) == 3


async def test_messages_pass_during_a_reauthentication(bench: Lab) -> None:
    server = ScramServer()

    def script(call: Call) -> None:
        let_in(call, server)
        first = expect_auth(call, 0x19, server.method)
        call.send(b"\x30\x05\x00\x01t\x00x")
        assert call.read_packet()[0] == 0x32  # only now does it go on
        call.send(b"\x40\x02\x00\x01")
        call.send(auth(0x18, server.method, server.challenge(first)))
        proof = server.verify(expect_auth(call, 0x18, server.method))
        call.send(auth(0, server.method, proof))
        call.read_to_end()

    with Peer(script) as peer:
        client = bench.client(peer.url, auth=ScramAuth(**GOOD))
        unmatched = client.unmatched()
        async with client:
            running = bench.start(client.reauthenticate(TIMEOUT))
            assert (await unmatched.get(TIMEOUT)).payload == b"x"
            await client.publish("t", qos=1, timeout=TIMEOUT)
            await running.result()


async def test_a_reauthentication_that_is_refused(bench: Lab) -> None:
    lost = bench.queue()
    server = ScramServer()

    def script(call: Call) -> None:
        let_in(call, server)
        let_in_again(call, ScramServer(password="changed meanwhile"))

    with Peer(script) as peer:
        client = bench.client(peer.url, auth=ScramAuth(**GOOD), on_disconnect=lost.put)
        await client.connect()
        with pytest.raises(ConnectionClosed) as caught:
            await client.reauthenticate(TIMEOUT)
        assert caught.value.reason_code == ReasonCode.NOT_AUTHORIZED
        event = await lost.get()
        assert event.error is caught.value
        assert event.retry_in is None
        assert client.is_idle
        await client.close()


async def test_a_server_that_cannot_prove_itself_later(bench: Lab) -> None:
    server = ScramServer()

    def script(call: Call) -> None:
        let_in(call, server)
        let_in_again(call, ScramServer(knows_password=False))
        call.read_to_end()

    with Peer(script) as peer:
        client = bench.client(peer.url, auth=ScramAuth(**GOOD), reconnect=False)
        await client.connect()
        with pytest.raises(AuthError):
            await client.reauthenticate(TIMEOUT)
        await client.close()
        assert leaves_with_an_error(peer.calls[0])


async def test_a_reauthentication_that_is_not_answered(bench: Lab) -> None:
    server = ScramServer()
    with Peer(guards(server)) as peer:
        async with bench.client(peer.url, auth=ScramAuth(**GOOD)) as client:
            with pytest.raises(TimeoutError):
                await client.reauthenticate(0.05)
            assert client.is_connected


async def test_reauthentication_without_what_it_takes(bench: Lab) -> None:
    with Peer(answers(b"\x20\x03\x00\x00\x00")) as peer:
        async with bench.client(peer.url) as client:
            with pytest.raises(UsageError, match="auth"):
                await client.reauthenticate(TIMEOUT)
    client = bench.client(auth=ScramAuth(**GOOD))
    with pytest.raises(ConnectionClosed):
        await client.reauthenticate(TIMEOUT)


# --- handlers of one's own


class Plain:
    """Counts: the client says 1, the server 2, the client 3, the server 4."""

    method = "counting"

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, list[tuple[str, str]]]] = []
        self.threads: set[str] = set()

    def start(self) -> bytes:
        self.threads.add(threading.current_thread().name)
        return b"1"

    def respond(self, data: bytes, properties: Properties) -> bytes:
        self.threads.add(threading.current_thread().name)
        self.seen.append((data, properties.get("user_properties", [])))
        return b"%d" % (int(data) + 1)

    def finish(self, data: bytes, properties: Properties) -> None:
        self.threads.add(threading.current_thread().name)
        self.seen.append((data, properties.get("user_properties", [])))


class Coroutines:
    """The same with coroutine functions."""

    method = "counting"

    def __init__(self) -> None:
        self.plain = Plain()

    async def start(self) -> bytes:
        return self.plain.start()

    async def respond(self, data: bytes, properties: Properties) -> bytes:
        return self.plain.respond(data, properties)

    async def finish(self, data: bytes, properties: Properties) -> None:
        self.plain.finish(data, properties)


def counts(call: Call) -> None:
    properties = read(call.read_packet())
    assert (properties[METHOD], properties[DATA]) == ([b"counting"], [b"1"])
    said = (b"\x15" + text("counting"), b"\x16" + text("2"), pair("a", "b"))
    call.send(packet(0xF0, b"\x18", section(*said)))
    assert expect_auth(call, 0x18, "counting") == b"3"
    call.send(connack(0, "counting", b"4"))
    call.read_to_end()


async def test_a_handler_of_plain_functions(bench: Lab) -> None:
    """They run in threads that are neither the caller's nor the one for the network."""
    handler = Plain()
    with Peer(counts) as peer:
        async with bench.client(peer.url, auth=handler) as client:
            assert client.is_connected
    assert handler.seen == [(b"2", [("a", "b")]), (b"4", [])]
    assert threading.current_thread().name not in handler.threads
    assert "mqttlite" not in handler.threads


async def test_a_handler_of_coroutine_functions(bench: Lab) -> None:
    handler = Coroutines()
    with Peer(counts) as peer:
        client = bench.client(peer.url, auth=handler)
        if bench.kind.name == "sync":
            with pytest.raises(UsageError, match="AsyncClient"):
                await client.connect()
            assert client.is_idle
            assert not peer.calls
            return
        async with client:
            assert client.is_connected
    assert handler.plain.seen == [(b"2", [("a", "b")]), (b"4", [])]
    assert handler.plain.threads == {threading.current_thread().name}


async def test_a_handler_without_data(bench: Lab) -> None:
    """None is no data, which is not the same as empty data."""

    class Silent(Plain):
        def start(self) -> Any:
            return None

        def respond(self, data: bytes, properties: Properties) -> bytes:
            assert data == b""
            super().finish(data, properties)
            return b""

    def script(call: Call) -> None:
        assert DATA not in read(call.read_packet())
        call.send(auth(0x18, "counting"))
        assert expect_auth(call, 0x18, "counting") == b""
        call.send(connack(0, "counting"))
        call.read_to_end()

    handler = Silent()
    with Peer(script) as peer:
        async with bench.client(peer.url, auth=handler) as client:
            assert client.is_connected
    assert handler.seen == [(b"", []), (b"", [])]


class Failing(Plain):
    def __init__(self, where: str, error: Exception) -> None:
        super().__init__()
        self._where = where
        self._error = error

    def _fail(self, where: str) -> None:
        if where == self._where:
            raise self._error

    def start(self) -> bytes:
        self._fail("start")
        return super().start()

    def respond(self, data: bytes, properties: Properties) -> bytes:
        self._fail("respond")
        return super().respond(data, properties)

    def finish(self, data: bytes, properties: Properties) -> None:
        self._fail("finish")
        super().finish(data, properties)


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_a_handler_that_raises(bench: Lab, where: str) -> None:
    """The error names its type and not what it says, which may be a secret."""
    error = KeyError("hunter2")
    with Peer(counts, REFUSES) as peer:
        client = bench.client(peer.url, auth=Failing(where, error), reconnect=AT_ONCE)
        with pytest.raises(MqttError, match="KeyError") as caught:
            await client.connect()
        assert caught.value.__cause__ is error
        assert "hunter2" not in str(caught.value)
        assert client.is_idle
        if where == "start":
            assert not peer.calls
        else:
            assert isinstance(caught.value, AuthError)
            assert len(peer.calls) == 1
            assert leaves_with_an_error(peer.calls[0])


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_what_a_handler_raises_of_this_library_is_raised(bench: Lab, where: str) -> None:
    error = AuthError("not this server")
    with Peer(counts, REFUSES) as peer:
        client = bench.client(peer.url, auth=Failing(where, error), reconnect=AT_ONCE)
        with pytest.raises(AuthError) as caught:
            await client.connect()
        assert caught.value is error
        assert client.is_idle
        assert len(peer.calls) == (0 if where == "start" else 1)


@pytest.mark.parametrize("where", EVERYWHERE)
async def test_a_handler_that_blocks(bench: Lab, where: str) -> None:
    """The time-out ends the attempt, though nothing can end the handler; and it is not missed."""
    entered, leave = threading.Event(), threading.Event()

    class Blocking(Failing):
        def _fail(self, where: str) -> None:
            if where == self._where and not entered.is_set():
                entered.set()
                leave.wait(30.0)

    with Peer(counts) as peer:
        handler = Blocking(where, Exception())
        client = bench.client(peer.url, auth=handler, connect_timeout=0.5)
        try:
            with pytest.raises(TimeoutError):
                await client.connect()
            assert entered.is_set()
            assert not leave.is_set()
            assert client.is_idle
        finally:
            leave.set()
            await client.close()
    with Peer(counts) as peer:
        async with bench.client(peer.url, auth=handler) as client:
            assert client.is_connected


async def test_a_coroutine_that_takes_too_long_is_cancelled(bench: Lab) -> None:
    if bench.kind.name == "sync":
        pytest.skip("asyncio only")
    ended = bench.queue()

    class Endless(Coroutines):
        async def respond(self, data: bytes, properties: Properties) -> bytes:
            try:
                await bench.queue().get(30.0)
            finally:
                ended.put(None)
            return await super().respond(data, properties)

    with Peer(counts) as peer:
        client = bench.client(peer.url, auth=Endless(), connect_timeout=0.5)
        with pytest.raises(TimeoutError):
            await client.connect()
        assert client.is_idle
        await ended.get(0.01)
