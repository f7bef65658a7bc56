"""Functions in the place of arguments: asked for every attempt to connect."""

import logging
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mqttlite.errors import ConnectFailed, ConnectRefused, UsageError
from mqttlite.options import TLS, Reconnect
from mqttlite.packets import Connect
from tests.behaviour import rule
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import ACCEPTED, Peer, answers
from tests.support.certificates import Certificates

AT_ONCE = Reconnect(first_delay=0.01, maximum_delay=0.05)

kinds = pytest.mark.parametrize("plain", [True, False], ids=["plain", "coroutine"])
only_5 = pytest.mark.parametrize("version", ["5.0"])


def asked(values: list[Any], *, plain: bool) -> Callable[[], Any]:
    """Make a function that returns one value after the other."""
    left = iter(values)

    def ask() -> Any:
        return next(left)

    async def ask_later() -> Any:
        return next(left)

    return ask if plain else ask_later


def can(bench: Lab, plain: bool) -> bool:
    return plain or bench.kind.name == "aio"


@rule(7)
@kinds
async def test_a_token_that_changes_with_each_connection(bench: Lab, plain: bool) -> None:
    if not can(bench, plain):
        pytest.skip("asyncio only")
    up = bench.queue()
    seen: list[tuple[str | None, bytes | None]] = []

    def authenticate(connect: Connect) -> int:
        seen.append((connect.username, connect.password))
        return 0 if connect.password == b"token-%d" % len(seen) else 0x87

    with embedded(authenticate=authenticate) as broker:
        client = bench.client(
            broker.url,
            username=asked(["first", "second", "third"], plain=plain),
            password=asked(["token-1", b"token-2", "token-3"], plain=plain),
            reconnect=AT_ONCE,
            on_connect=up.put,
        )
        async with client:
            await up.get()
            for _ in range(2):
                await bench.blocking(broker.disconnect_all)
                await up.get()
            assert client.is_connected
    assert seen == [("first", b"token-1"), ("second", b"token-2"), ("third", b"token-3")]


@rule(7)
@kinds
async def test_a_url_that_changes(bench: Lab, plain: bool) -> None:
    if not can(bench, plain):
        pytest.skip("asyncio only")
    up = bench.queue()
    with embedded() as first, embedded() as second:
        urls = [first.url, [second.url]]
        options: dict[str, Any] = {"reconnect": AT_ONCE, "on_connect": up.put}
        async with bench.client(asked(urls, plain=plain), **options):  # type: ignore[arg-type]
            assert (await up.get()).server == first.url
            await bench.blocking(first.disconnect_all)
            assert (await up.get()).server == second.url


@rule(7)
@kinds
@only_5
async def test_a_certificate_that_changes(
    bench: Lab, certificates: Certificates, plain: bool
) -> None:
    if not can(bench, plain):
        pytest.skip("asyncio only")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    own = ssl.create_default_context(cafile=str(certificates.ca_file))
    roots = [TLS(ca_file=certificates.other_ca_file), TLS(ca_file=certificates.ca_file), own]
    with embedded(tls=context) as broker:
        client = bench.client(broker.url, tls=asked(roots, plain=plain), reconnect=False)
        with pytest.raises(ConnectFailed, match="certificate"):
            await client.connect()
        for _ in range(2):
            async with client:
                assert client.is_connected


@rule(7)
@only_5
@pytest.mark.parametrize("name", ["url", "username", "password", "tls"])
async def test_a_coroutine_function_is_not_for_threads(bench: Lab, name: str) -> None:
    if bench.kind.name == "aio":
        pytest.skip("threads only")

    async def ask() -> str:
        return "x"

    with Peer(answers(ACCEPTED["5.0"])) as peer:
        arguments: dict[str, Any] = {"url": peer.url.replace("mqtt:", "mqtts:")} | {name: ask}
        client = bench.client(**arguments)
        with pytest.raises(UsageError, match="AsyncClient"):
            await client.connect()
        assert client.is_idle
        assert not peer.calls


@rule(7)
@kinds
@only_5
@pytest.mark.parametrize("name", ["url", "username", "password", "tls"])
async def test_a_function_that_raises(bench: Lab, name: str, plain: bool) -> None:
    """The attempt fails, with an error that does not repeat what may be a secret."""
    if not can(bench, plain):
        pytest.skip("asyncio only")
    error = KeyError("hunter2")

    def ask() -> str:
        raise error

    async def ask_later() -> str:
        raise error

    function: Callable[[], str | Awaitable[str]] = ask if plain else ask_later
    with Peer(answers(ACCEPTED["5.0"])) as peer:
        arguments: dict[str, Any] = {"url": peer.url.replace("mqtt:", "mqtts:"), name: function}
        client = bench.client(**arguments)
        with pytest.raises(ConnectFailed, match="KeyError") as caught:
            await client.connect()
        assert caught.value.__cause__ is error
        assert "hunter2" not in f"{caught.value} {caught.value!r} {client!r}"
        assert client.is_idle
        assert not peer.calls


@rule(7)
@only_5
async def test_a_function_that_raises_later(bench: Lab) -> None:
    """It makes a failed attempt, after which there is another one."""
    up, down = bench.queue(), bench.queue()
    calls: list[None] = []

    def ask() -> str:
        calls.append(None)
        if len(calls) == 2:
            raise KeyError
        return "token"

    with embedded(users={"meter": "token"}) as broker:
        options: dict[str, Any] = {"reconnect": AT_ONCE, "on_connect": up.put}
        options |= {"username": "meter", "password": ask, "on_disconnect": down.put}
        async with bench.client(broker.url, **options):
            await up.get()
            await bench.blocking(broker.disconnect_all)
            await down.get()
            failed = await down.get()
            assert isinstance(failed.error, ConnectFailed)
            assert isinstance(failed.error.__cause__, KeyError)
            assert failed.retry_in is not None
            await up.get()
    assert len(calls) == 3


@rule(7)
@only_5
@pytest.mark.parametrize("name", ["url", "username", "password", "tls"])
async def test_a_function_that_blocks(bench: Lab, name: str) -> None:
    """The time-out ends the attempt; what the function returns in the end is not used."""
    entered, leave = threading.Event(), threading.Event()

    def ask() -> Any:
        entered.set()
        leave.wait(30.0)
        return None

    with Peer(answers(ACCEPTED["5.0"])) as peer:
        arguments: dict[str, Any] = {"url": peer.url.replace("mqtt:", "mqtts:"), name: ask}
        client = bench.client(**arguments, connect_timeout=0.3)
        try:
            with pytest.raises(TimeoutError, match="function"):
                await client.connect()
            assert entered.is_set()
            assert not leave.is_set()
            assert client.is_idle
        finally:
            leave.set()
        assert not peer.calls


@rule(7)
@only_5
async def test_a_coroutine_that_takes_too_long_is_cancelled(bench: Lab) -> None:
    if bench.kind.name == "sync":
        pytest.skip("asyncio only")
    ended = bench.queue()

    async def ask() -> str:
        try:
            await bench.queue().get(30.0)
        finally:
            ended.put(None)
        return "never"

    with Peer(answers(ACCEPTED["5.0"])) as peer:
        client = bench.client(peer.url, username="u", password=ask, connect_timeout=0.3)
        with pytest.raises(TimeoutError):
            await client.connect()
        assert client.is_idle
        await ended.get(0.01)
        assert not peer.calls


@rule(7)
@only_5
async def test_closing_while_a_function_is_asked(bench: Lab) -> None:
    """Nobody waits for it, and its answer connects nobody."""
    entered, leave, down = threading.Event(), threading.Event(), bench.queue()
    calls: list[None] = []

    def ask() -> str:
        calls.append(None)
        if len(calls) > 1:
            entered.set()
            leave.wait(30.0)
        return "token"

    with embedded() as broker:
        options: dict[str, Any] = {"username": "u", "password": ask, "reconnect": AT_ONCE}
        client = bench.client(broker.url, on_disconnect=down.put, **options)
        await client.connect()
        await bench.blocking(broker.disconnect_all)
        await down.get()
        assert await bench.blocking(entered.wait, TIMEOUT)
        try:
            await client.close()
            assert client.is_idle
            assert not leave.is_set()
        finally:
            leave.set()
        assert broker.counters.connections == 1


@rule(7)
@only_5
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("url", 5),
        ("url", []),
        ("url", "hunter2"),
        ("url", "mqtt://u:hunter2@host:port"),
        ("username", b"hunter2"),
        ("username", "hunter2\0"),
        ("password", ["hunter2"]),
        ("password", "hunter2\ud800"),
        ("tls", "hunter2"),
    ],
)
async def test_answers_that_cannot_be_used(
    bench: Lab, name: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), Peer(answers(ACCEPTED["5.0"])) as peer:
        url = peer.url.replace("mqtt:", "mqtts:") if name == "tls" else peer.url
        arguments: dict[str, Any] = {"url": url, name: lambda: value}
        client = bench.client(**arguments)
        with pytest.raises(UsageError) as caught:
            await client.connect()
        assert "hunter2" not in f"{caught.value} {caught.value!r} {client!r} {caplog.text}"
        assert client.is_idle
        assert not peer.calls


@rule(7)
@only_5
@pytest.mark.parametrize("refused", [True, False])
async def test_the_password_is_never_shown(
    bench: Lab, refused: bool, caplog: pytest.LogCaptureFixture
) -> None:
    up, down = bench.queue(), bench.queue()
    users = {"meter": "another" if refused else "hunter2"}
    with caplog.at_level(logging.DEBUG), embedded(users=users) as broker:
        client = bench.client(
            broker.url,
            username=lambda: "meter",
            password=lambda: "hunter2",
            reconnect=AT_ONCE,
            on_connect=up.put,
            on_disconnect=down.put,
        )
        if refused:
            with pytest.raises(ConnectRefused) as caught:
                await client.connect()
            said = repr(caught.value)
        else:
            await client.connect()
            said = repr(await up.get())
            await bench.blocking(broker.disconnect_all)
            said += repr(await down.get()) + repr(await up.get()) + repr(client)
            await client.close()
    assert "CONNECT" in caplog.text
    assert "hunter2" not in said + caplog.text + repr(client)
    assert "meter" not in caplog.text
