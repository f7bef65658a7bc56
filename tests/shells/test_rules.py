"""Rules of behaviour that no other test of the clients shows."""

import ast
import os
import resource
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mqttlite
import mqttlite.layers.tls
from mqttlite import QueueFull, SubscribeError, UsageError
from mqttlite.enums import Fate
from mqttlite.layers.tls import make_context
from mqttlite.options import TLS
from mqttlite.testing import Broker
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.mischief import AT_ONCE, only_5, works
from tests.shells.peer import Call, Peer, accept, decent, serve
from tests.support.ports import free_ports

# --- connecting


@rule(1)
@only_5
async def test_every_address_of_a_name_is_tried(
    bench: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    [closed] = free_ports(1)
    with Peer(decent("5.0")) as peer:

        def lookup(*_args: Any, **_options: Any) -> list[tuple[Any, ...]]:
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
                for port in (closed, peer.port)
            ]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        async with bench.client("mqtt://two-addresses.example") as client:
            await works(client)


@rule(12)
@pytest.mark.parametrize("clean_start", [True, False])
async def test_a_clean_start_is_asked_for_once(bench: Lab, clean_start: bool) -> None:
    version = str(bench.version)

    def go(call: Call) -> None:
        accept(version, call)
        call.read_until(0x32)

    with Peer(go, go, decent(version)) as peer:
        options: dict[str, Any] = {"client_id": "me", "clean_start": clean_start}
        async with bench.client(peer.url, reconnect=AT_ONCE, **options) as client:
            await client.publish("a", b"x", qos=1, timeout=TIMEOUT)
        # The flags stand behind the header, the protocol's name and its level.
        flags = [bool(call.packets[0][9] & 0x02) for call in peer.calls]
    if version == "5.0":
        assert flags == [clean_start, False, False]
    else:  # where a clean start means that the session is not to be kept, either
        assert flags == [clean_start] * 3


@rule(6)
@only_5
async def test_the_context_is_not_built_where_it_would_block(
    bench: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def watched(tls: TLS) -> Any:
        threads.append(threading.current_thread())
        return make_context(tls)

    monkeypatch.setattr(mqttlite.layers.tls, "make_context", watched)
    monkeypatch.setattr(mqttlite.layers.tls, "_kept", OrderedDict())
    with Peer(lambda call: call.read(1)) as peer, pytest.raises(mqttlite.ConnectFailed):
        await bench.client(peer.url.replace("mqtt:", "mqtts:")).connect()
    assert threads
    assert threading.current_thread() not in threads


# --- what is subscribed to


@rule(27)
async def test_the_dollar_sign(bench: Lab) -> None:
    version = str(bench.version)
    topics = ["price/us$", "$SYS/load", "plain"]

    def script(call: Call) -> None:
        accept(version, call)
        for _ in range(3):
            packet = call.read_until(0x82)
            if version == "5.0":
                call.send(b"\x90\x04" + packet[2:4] + b"\0\x01")
            else:
                call.send(b"\x90\x03" + packet[2:4] + b"\x01")
        for topic in topics:
            body = bytes([0, len(topic)]) + topic.encode() + (b"\0" if version == "5.0" else b"")
            call.send(bytes([0x30, len(body)]) + body)
        serve(call, is_5=version == "5.0")

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            unmatched = client.unmatched()
            shared = await client.subscribe("$share/group/price/+", timeout=TIMEOUT)
            wild = await client.subscribe("+", timeout=TIMEOUT)
            last = await client.subscribe("plain", timeout=TIMEOUT)
            assert (await last.get(TIMEOUT)).topic == "plain"
            assert (await shared.get(TIMEOUT)).topic == "price/us$"
            assert (await wild.get(TIMEOUT)).topic == "plain"
            assert (await unmatched.get(TIMEOUT)).topic == "$SYS/load"
            assert not wild.buffered + shared.buffered + unmatched.buffered


@rule(31)
@pytest.mark.parametrize("version", ["3.1.1", "3.1"])
async def test_a_refused_subscription_of_mqtt_3(bench: Lab) -> None:
    def script(call: Call) -> None:
        accept(str(bench.version), call)
        packet = call.read_packet()
        call.send(b"\x90\x03" + packet[2:4] + b"\x80")
        serve(call, is_5=False)

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            with pytest.raises(SubscribeError, match="'a': unspecified error") as caught:
                await client.subscribe("a", qos=1, timeout=TIMEOUT)
            assert caught.value.reason_codes == {"a": 0x80}
            await works(client)


@rule(31)
@only_5
@pytest.mark.parametrize(
    "options",
    [
        {"version": "3.1.1", "clean_start": False},
        {"version": "3.1", "client_id": ""},
        {"version": "3.1", "client_id": "x" * 24},
    ],
)
async def test_identifiers_that_mqtt_3_does_not_take(bench: Lab, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="client_id"):
        bench.kind.client("mqtt://localhost", **options)


# --- what waits to be sent


@rule(3, 16, 20)
async def test_who_waits_for_room_gets_it_in_turn(bench: Lab) -> None:
    """The outbox is full: who may wait is let in, who may not is refused."""
    version = str(bench.version)
    go = threading.Event()

    def script(call: Call) -> None:
        accept(version, call)
        assert go.wait(TIMEOUT)
        serve(call, is_5=version == "5.0")

    with Peer(script) as peer:
        client = bench.client(peer.url, maximum_in_flight=1, outbox_messages=2)
        async with client:
            first = [client.publish_nowait("a", b"%d" % i, qos=1) for i in range(3)]
            with pytest.raises(QueueFull):
                client.publish_nowait("a", b"refused", qos=1)
            with pytest.raises(TimeoutError):
                await client.publish("a", b"withdrawn", qos=1, timeout=0.05)
            waiting = bench.start(client.publish("a", b"last", qos=1, timeout=TIMEOUT))
            await bench.blocking(go.set)
            for delivery in first:
                assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
            assert (await waiting.result()).fate is Fate.ACKNOWLEDGED
        published = [packet for packet in peer.calls[0].packets if packet[0] == 0x32]
    assert [packet[-1:] for packet in published] == [b"0", b"1", b"2", b"t"]


# --- the system


@pytest.fixture
def many_files() -> Iterator[None]:
    """Have more open files than select() can tell apart."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1200
    if soft < wanted + 200:
        if hard != resource.RLIM_INFINITY and hard < wanted + 200:
            pytest.skip("so many files are not allowed here")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted + 200, hard))
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] < wanted:
        opened.append(os.dup(opened[0]))
    yield
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@rule(28)
@only_5
async def test_descriptors_above_1024(bench: Lab, many_files: None) -> None:  # noqa: ARG001
    with Peer(decent("5.0")) as peer:
        async with bench.client(peer.url) as client:
            await works(client)


@rule(28)
@only_5
@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="looks for the client's socket there"
)
async def test_small_packets_leave_at_once(bench: Lab) -> None:
    with Peer(decent("5.0")) as peer:
        async with bench.client(peer.url) as client:
            sockets = [
                socket.socket(fileno=os.dup(int(name)))
                for name in os.listdir("/proc/self/fd")  # noqa: PTH208
                if _peer_port(int(name)) == peer.port
            ]
            assert len(sockets) == 1
            with sockets[0] as copy:
                assert copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            await works(client)


def _peer_port(descriptor: int) -> int | None:
    """The port at the other end, if this is a connected socket of TCP."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as copy:
            name = copy.getpeername()
    except OSError:
        return None
    return name[1] if isinstance(name, tuple) else None


PACKAGE = Path(mqttlite.__file__).parent
SHELLS = [path for part in ("aio", "sync") for path in sorted((PACKAGE / part).glob("*.py"))]

NOT_EVERYWHERE = {
    "add_reader": "not in the Proactor loop",
    "remove_reader": "not in the Proactor loop",
    "add_writer": "not in the Proactor loop",
    "remove_writer": "not in the Proactor loop",
    "add_signal_handler": "not on Windows",
    "get_event_loop": "may make a loop of its own",
    "_selector": "inside of a loop",
    "_ready": "inside of a loop",
    "_scheduled": "inside of a loop",
    "getrefcount": "not on PyPy",
    "__del__": "at no certain time on PyPy",
}


@rule(30)
@pytest.mark.parametrize("path", SHELLS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_nothing_that_only_some_loops_and_pythons_have(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in NOT_EVERYWHERE:
            owner = node.value
            own = isinstance(owner, ast.Name) and owner.id == "self"
            assert own, f"{path.name}:{node.lineno} {node.attr}: {NOT_EVERYWHERE[node.attr]}"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.name != "__del__", f"{path.name}:{node.lineno}"


@rule(28)
@pytest.mark.parametrize("path", SHELLS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_select_is_not_used(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert "select" not in {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module != "select"


UVLOOP = """
import asyncio, os, sys, uvloop
from mqttlite import AsyncClient

async def scenario():
    async with AsyncClient(sys.argv[1]) as client, client.subscribe("t", qos=2) as messages:
        payload = b"x" * 1_000_000
        await client.publish("t", payload, qos=2)
        assert (await messages.get()).payload == payload

async def main():
    task = asyncio.ensure_future(scenario())
    if not (await asyncio.wait({task}, timeout=10))[0]:
        print("it hangs", file=sys.stderr)
        os._exit(1)
    task.result()

uvloop.run(main())
"""


@rule(30)
def test_uvloop() -> None:
    pytest.importorskip("uvloop")
    with Broker() as broker:
        result = subprocess.run(
            [sys.executable, "-c", UVLOOP, broker.url],
            capture_output=True,
            text=True,
            timeout=25,
            check=False,
        )
    assert result.returncode == 0, result.stderr
