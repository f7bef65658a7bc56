"""WebSocket (MQTT 5.0 section 6), against both clients."""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from mqttlite import (
    TLS,
    ConnectFailed,
    ConnectionLost,
    Disconnected,
    ProtocolError,
    UsageError,
    WebSocketRefused,
)
from mqttlite.testing import Broker
from tests.behaviour import rule
from tests.conformance.conforms import conforms
from tests.shells.brokers import mosquitto
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.leaks import ignored_port
from tests.shells.peer import Call, Peer, Script
from tests.support.certificates import Certificates
from tests.support.websocket_bridge import WebSocketBridge

only_5 = pytest.mark.parametrize("version", ["5.0"])

CONNACK = b"\x20\x03\0\0\0"


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker() as broker, ignored_port(broker.port):
        yield broker


def read_request(call: Call) -> str:
    """Read the client's HTTP request."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += call.read(1)
    return request.decode()


def upgrade(request: str, *, subprotocol: str | None = "mqtt") -> bytes:
    """Write the answer to a request (RFC 6455 section 4.2.2)."""
    [key] = [
        line.partition(": ")[2]
        for line in request.split("\r\n")
        if line.lower().startswith("sec-websocket-key")
    ]
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return "\r\n".join([*lines, "", ""]).encode()


def read_frame(call: Call) -> tuple[int, bytes]:
    """Read a frame of the client, which has a mask; return its first byte and the payload."""
    first, length = call.read(2)
    assert length & 0x80
    size = length & 0x7F
    if size == 126:
        size = int.from_bytes(call.read(2))
    mask = call.read(4)
    return first, bytes(byte ^ mask[i % 4] for i, byte in enumerate(call.read(size)))


def frame(payload: bytes, first: int = 0x82) -> bytes:
    return bytes([first, len(payload)]) + payload


def websocket(then: Script | None = None, first: bytes = frame(CONNACK)) -> Script:
    """Make a script that accepts WebSocket and MQTT, and then does something."""

    def script(call: Call) -> None:
        call.send(upgrade(read_request(call)))
        opcode, connect = read_frame(call)
        assert opcode == 0x82  # [MQTT-6.0.0-1]
        assert connect[:1] == b"\x10"
        call.send(first)
        if then is not None:
            then(call)
        call.read_to_end()

    return script


@rule(29)
@conforms("5.0", "MQTT-6.0.0-1", "MQTT-6.0.0-2", "MQTT-6.0.0-3", "MQTT-6.0.0-4")
@conforms("3.1.1", "MQTT-6.0.0-1", "MQTT-6.0.0-2", "MQTT-6.0.0-3", "MQTT-6.0.0-4")
@pytest.mark.parametrize("version", ["5.0", "3.1.1", "3.1"])
@pytest.mark.parametrize("size", [0, 200, 1_000_000])
async def test_there_and_back(bench: Lab, broker: Broker, size: int) -> None:
    with WebSocketBridge(broker.port) as bridge:
        async with (
            bench.client(f"ws://127.0.0.1:{bridge.port}/mqtt") as client,
            client.subscribe(bench.topic, qos=2) as messages,
        ):
            for qos in (0, 1, 2):
                await client.publish(bench.topic, bytes(size), qos=qos, timeout=TIMEOUT)
                assert (await messages.get(TIMEOUT)).payload == bytes(size)


@rule(29)
async def test_with_tls(bench: Lab, broker: Broker, certificates: Certificates) -> None:
    files = certificates.server_certificate, certificates.server_key
    with WebSocketBridge(broker.port, *files) as bridge:
        tls = TLS(ca_file=certificates.ca_file)
        url = f"wss://localhost:{bridge.port}/mqtt"
        async with (
            bench.client(url, tls=tls) as client,
            client.subscribe(bench.topic, qos=1) as messages,
        ):
            await client.publish(bench.topic, bytes(300_000), qos=1, timeout=TIMEOUT)
            assert (await messages.get(TIMEOUT)).payload == bytes(300_000)
        with pytest.raises(ConnectFailed, match="certificate"):
            await bench.client(url).connect()


@only_5
async def test_mosquitto(bench: Lab, tmp_path_factory: pytest.TempPathFactory) -> None:
    with mosquitto(tmp_path_factory.mktemp("websocket"), websocket=True) as process:
        async with (
            bench.client(f"ws://127.0.0.1:{process.websocket_port}/mqtt") as client,
            client.subscribe(bench.topic, qos=2) as messages,
        ):
            for qos in (0, 1, 2):
                await client.publish(bench.topic, bytes(5000), qos=qos, timeout=TIMEOUT)
                assert (await messages.get(TIMEOUT)).payload == bytes(5000)


@only_5
async def test_the_request(bench: Lab) -> None:
    requests = []

    def script(call: Call) -> None:
        requests.append(read_request(call))
        call.send(upgrade(requests[-1]))
        read_frame(call)
        call.send(frame(CONNACK))
        call.read_to_end()

    with Peer(script) as peer:
        url = f"ws://me:secret@127.0.0.1:{peer.port}/some/path?key=value"
        async with bench.client(url, headers={"X-Token": "abc"}) as client:
            assert "secret" not in repr(client)
            assert "value" not in repr(client)
    lines = requests[0].split("\r\n")
    assert lines[0] == "GET /some/path?key=value HTTP/1.1"
    assert f"Host: 127.0.0.1:{peer.port}" in lines
    assert "X-Token: abc" in lines
    assert "Sec-WebSocket-Protocol: mqtt" in lines
    assert "secret" not in requests[0]


@rule(7)
@only_5
async def test_headers_are_asked_for_every_attempt(bench: Lab) -> None:
    requests = []
    tokens = iter(["first", "second"])

    def script(call: Call) -> None:
        request = read_request(call)
        requests.append([line for line in request.split("\r\n") if line.startswith("Token")])
        call.send(upgrade(request))
        read_frame(call)
        call.send(frame(CONNACK))
        call.read_to_end()

    with Peer(script) as peer:
        client = bench.client(
            f"ws://127.0.0.1:{peer.port}", headers=lambda: [("Token", next(tokens))]
        )
        for _ in range(2):
            await client.connect()
            await client.close()
        with pytest.raises(ConnectFailed, match="asked for each attempt"):
            await client.connect()
    assert requests == [["Token: first"], ["Token: second"]]


@rule(29)
@only_5
@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("401 Unauthorized", "credentials"),
        ("403 Forbidden", "credentials"),
        ("404 Not Found", "path"),
        ("302 Found\r\nLocation: https://other.example/?signature=secret", "other.example"),
        ("503 Service Unavailable", "cannot serve"),
        ("200 OK", "101"),
    ],
)
async def test_an_answer_other_than_101(bench: Lab, status: str, advice: str) -> None:
    def script(call: Call) -> None:
        read_request(call)
        call.send(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        call.read_to_end()

    with Peer(script) as peer:
        with pytest.raises(WebSocketRefused, match=advice) as raised:
            await bench.client(f"ws://127.0.0.1:{peer.port}").connect()
        assert raised.value.status == int(status[:3])
        assert "secret" not in str(raised.value)


@rule(29)
@only_5
@pytest.mark.parametrize(
    "answer",
    [
        lambda _request: b"220 mail.example\r\n\r\n",
        lambda _request: b"\x20\x03\0\0\0",
        lambda request: upgrade(request, subprotocol=None),
        lambda request: upgrade(request, subprotocol="chat"),
        lambda request: upgrade(request.replace("Key: ", "Key: x")),
        lambda _request: b"",
    ],
    ids=["another protocol", "MQTT", "no subprotocol", "another subprotocol", "wrong key", "end"],
)
async def test_a_wrong_answer(bench: Lab, answer: Any) -> None:
    def script(call: Call) -> None:
        call.send(answer(read_request(call)))

    with Peer(script) as peer, pytest.raises(ConnectFailed):
        await bench.client(f"ws://127.0.0.1:{peer.port}").connect()


@rule(29)
@only_5
async def test_silence_before_the_answer(bench: Lab) -> None:
    with Peer(lambda call: call.read_to_end()) as peer, pytest.raises(TimeoutError):
        await bench.client(f"ws://127.0.0.1:{peer.port}", connect_timeout=0.3).connect()


@rule(29)
@conforms("5.0", "MQTT-6.0.0-2")
@only_5
async def test_fragments_with_pings_between(bench: Lab) -> None:
    message = b"\x30\x06\0\x01t\0hi"
    first = (
        frame(CONNACK[:1], 0x02)
        + frame(b"are you there", 0x89)
        + frame(CONNACK[1:], 0x80)
        + frame(message[:3], 0x02)
        + frame(message[3:], 0x80)
        + frame(message + message)
    )
    pongs = []

    def script(call: Call) -> None:
        pongs.append(read_frame(call))

    with Peer(websocket(script, first)) as peer:
        client = bench.client(f"ws://127.0.0.1:{peer.port}")
        messages = client.unmatched()
        await client.connect()
        for _ in range(3):
            assert (await messages.get(TIMEOUT)).payload == b"hi"
        await client.close()
    assert pongs == [(0x8A, b"are you there")]


@rule(29)
@conforms("5.0", "MQTT-6.0.0-1")
@conforms("3.1.1", "MQTT-6.0.0-1")
@only_5
@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (frame(b"text", 0x81), ProtocolError),
        (frame(b"mask", 0x82)[:1] + b"\x84" + b"\0" * 8, ProtocolError),
        (b"\xf2\x00", ProtocolError),
        (frame(b"\x03\xf0bye", 0x88), ConnectionLost),
    ],
    ids=["text", "masked", "reserved bits", "closed"],
)
async def test_the_end(bench: Lab, bad: bytes, error: type[Exception]) -> None:
    """What came before it is delivered; the client connects again."""
    message = frame(b"\x30\x06\0\x01t\0hi")
    good = websocket(lambda call: call.send(message))
    with Peer(websocket(lambda call: call.send(message + bad)), good) as peer:
        ends = bench.queue()
        client = bench.client(f"ws://127.0.0.1:{peer.port}", on_disconnect=ends.put)
        messages = client.unmatched()
        await client.connect()
        for _ in range(2):
            assert (await messages.get(TIMEOUT)).payload == b"hi"
        event: Disconnected = await ends.get()
        assert isinstance(event.error, (error, ConnectionLost))
        assert event.retry_in is not None
        await client.close()


def test_headers_without_a_websocket(bench: Lab) -> None:
    with pytest.raises(UsageError, match="ws://"):
        bench.kind.client("mqtt://h", headers={"a": "b"})
    for headers in ("a: b", [("a", 1)], [("a b", "c")], {"a": "b\r\nc: d"}, 5):
        with pytest.raises(UsageError, match="header"):
            bench.kind.client("ws://h", headers=headers)  # type: ignore[arg-type]
