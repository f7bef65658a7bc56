"""One layer on another: TLS below, WebSocket above, or what stands for them."""

from __future__ import annotations

import sys
from collections import OrderedDict
from pathlib import Path

import pytest

import mqttlite.layers.tls
from mqttlite.client import Dial
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ProtocolVersion
from mqttlite.layers.stack import Layer, Stack, make_layer, needs_time
from mqttlite.layers.tls import TlsLayer, make_context
from mqttlite.layers.websocket import WebSocketLayer
from mqttlite.options import TLS
from tests.support.certificates import make_certificates


class Paper:
    """A layer that wraps every piece in its own sign; the first piece from outside opens it."""

    def __init__(self, sign: str) -> None:
        self.sign = sign.encode()
        self.is_open = False
        self.has_ended = False
        self.error: Exception | None = None
        self._out = [self.sign + b"hello"]

    def receive(self, data: bytes) -> bytes:
        assert data.startswith(self.sign)
        data = data.removeprefix(self.sign)
        if not self.is_open:
            self.is_open = True
            return b""
        return data

    def send(self, data: bytes | memoryview) -> None:
        assert self.is_open
        self._out.append(self.sign + bytes(data))

    def data_to_send(self) -> bytes:
        out, self._out = self._out, []
        return b"".join(out)

    def close(self) -> None:
        self.send(b"bye")
        self.is_open = False

    def describe(self) -> str:
        return self.sign.decode()


@pytest.fixture
def lower() -> Paper:
    return Paper("<")


@pytest.fixture
def upper() -> Paper:
    return Paper("(")


def opened(lower: Paper, upper: Paper) -> Stack:
    stack = Stack(lower, upper)
    stack.receive(b"<")
    stack.receive(b"<(")
    stack.data_to_send()
    return stack


def test_the_handshakes_follow_each_other(lower: Paper, upper: Paper) -> None:
    stack = Stack(lower, upper)
    assert stack.data_to_send() == b"<hello"
    assert stack.receive(b"<") == b""
    assert not stack.is_open
    assert stack.data_to_send() == b"<(hello"
    assert stack.data_to_send() == b""
    assert stack.receive(b"<(") == b""
    assert stack.is_open


def test_data_passes_through_both(lower: Paper, upper: Paper) -> None:
    stack = opened(lower, upper)
    assert stack.receive(b"<(data") == b"data"
    stack.send(b"data")
    assert stack.data_to_send() == b"<(data"


def test_the_upper_one_closes_first(lower: Paper, upper: Paper) -> None:
    stack = opened(lower, upper)
    stack.close()
    assert stack.data_to_send() == b"<(bye<bye"
    assert not stack.is_open


def test_an_upper_one_that_has_nothing_to_say_at_the_end(lower: Paper, upper: Paper) -> None:
    stack = opened(lower, upper)
    upper.close = lambda: None  # type: ignore[method-assign]
    stack.close()
    assert stack.data_to_send() == b"<bye"


@pytest.mark.parametrize("which", [0, 1])
def test_faults_and_ends_are_those_of_either(lower: Paper, upper: Paper, which: int) -> None:
    stack = opened(lower, upper)
    assert stack.error is None
    assert not stack.has_ended
    layer = (lower, upper)[which]
    layer.error = OSError("wrong")
    layer.has_ended = True
    assert stack.error is layer.error
    assert stack.has_ended


def test_description(lower: Paper, upper: Paper) -> None:
    assert Stack(lower, upper).describe() == "<, ("


# --- what a connection needs


def layer_of(url: str, **options: object) -> Layer | None:
    return make_layer(Dial(Endpoint.parse(url), **options))  # type: ignore[arg-type]


def test_plain() -> None:
    assert layer_of("mqtt://h") is None
    assert layer_of("unix:///s") is None


def test_what_needs_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tls = TLS(ca_file=make_certificates(tmp_path).ca_file)
    monkeypatch.setattr(mqttlite.layers.tls, "_kept", OrderedDict())

    def needs(url: str, *, not_loaded: str = "") -> bool:
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, f"mqttlite.layers.{not_loaded}", raising=False)
            return needs_time(Dial(Endpoint.parse(url), tls=tls))

    assert not needs("mqtt://h")
    assert needs("mqtts://h")
    make_context(tls)
    assert not needs("mqtts://h")
    assert needs("mqtts://h", not_loaded="tls")
    assert not needs("ws://h")
    assert not needs("wss://h")
    assert needs("ws://h", not_loaded="websocket")
    assert needs("wss://h", not_loaded="websocket")


def test_tls_asks_for_the_name() -> None:
    layer = layer_of("mqtts://host.example", tls=TLS(verify=False))
    assert isinstance(layer, TlsLayer)
    assert b"host.example" in layer.data_to_send()
    other = layer_of("mqtts://h", tls=TLS(verify=False, server_hostname="other.example"))
    assert other is not None
    assert b"other.example" in other.data_to_send()


def test_tls_with_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        layer_of("mqtts://h", tls=TLS(ca_file=tmp_path / "none"))


@pytest.mark.parametrize(
    ("version", "subprotocol"),
    [
        (ProtocolVersion.MQTT_5_0, b"mqtt\r\n"),
        (ProtocolVersion.MQTT_3_1_1, b"mqtt\r\n"),
        (ProtocolVersion.MQTT_3_1, b"mqttv3.1\r\n"),
    ],
)
def test_websocket(version: ProtocolVersion, subprotocol: bytes) -> None:
    layer = layer_of("ws://h:81/path?a=b", version=version, headers=(("X-Name", "value"),))
    assert isinstance(layer, WebSocketLayer)
    request = layer.data_to_send()
    assert request.startswith(b"GET /path?a=b HTTP/1.1\r\n")
    assert b"Host: h:81\r\n" in request
    assert b"X-Name: value\r\n" in request
    assert b"Sec-WebSocket-Protocol: " + subprotocol in request


def test_websocket_over_tls() -> None:
    layer = layer_of("wss://h/path", tls=TLS(verify=False))
    assert isinstance(layer, Stack)
    assert b"GET" not in layer.data_to_send()
