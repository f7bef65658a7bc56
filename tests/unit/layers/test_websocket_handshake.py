"""The handshake of the WebSocket layer: what is asked, and every answer to it (RFC 6455)."""

from __future__ import annotations

import base64
import pickle
import re

import pytest

from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectFailed, ProtocolError, UsageError, WebSocketRefused
from mqttlite.layers.websocket import WebSocketLayer
from tests.unit.layers.handwritten import (
    BINARY,
    NORMAL,
    PING,
    PONG,
    TEXT,
    accept_for,
    answer_to,
    close_code,
    fed,
    frame,
    frames_of,
    layer_to,
    request_of,
)


def test_the_example_of_the_rfc() -> None:
    # Section 1.3: the two helpers above compute as the standard does.
    assert accept_for("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert frame(BINARY, bytes(256))[:4] == bytes.fromhex("827E0100")
    assert frame(BINARY, bytes(65_536))[:10] == bytes.fromhex("827F0000000000010000")


# --- the request


class TestRequest:
    def test_everything_in_it(self) -> None:
        start, *headers = request_of(layer_to())
        assert start == "GET /mqtt HTTP/1.1"
        (key,) = (line for line in headers if line.startswith("Sec-WebSocket-Key: "))
        assert len(base64.b64decode(key.partition(": ")[2], validate=True)) == 16
        # [MQTT-6.0.0-3]; and no extension is offered, as none could be used.
        assert sorted(headers) == [
            "Connection: Upgrade",
            "Host: broker.example:8083",
            key,
            "Sec-WebSocket-Protocol: mqtt",
            "Sec-WebSocket-Version: 13",
            "Upgrade: websocket",
        ]

    def test_the_key_is_new_every_time(self) -> None:
        assert request_of(layer_to()) != request_of(layer_to())

    @pytest.mark.parametrize(
        ("host", "port", "secure", "said"),
        [
            ("broker.example", 80, False, "broker.example"),
            ("broker.example", 443, True, "broker.example"),
            ("broker.example", 443, False, "broker.example:443"),
            ("broker.example", 80, True, "broker.example:80"),
            ("127.0.0.1", 8083, False, "127.0.0.1:8083"),
            ("::1", 8083, False, "[::1]:8083"),
            ("fe80::1%eth0", 80, False, "[fe80::1]"),
            ("b\u00fccher.example", 80, False, "xn--bcher-kva.example"),
        ],
    )
    def test_host(self, host: str, port: int, secure: bool, said: str) -> None:
        assert f"Host: {said}" in request_of(layer_to(host, port, secure=secure))

    @pytest.mark.parametrize(
        ("path", "target"),
        [
            ("", "/"),
            ("/", "/"),
            ("/mqtt/?a=b&c=%20/?~", "/mqtt/?a=b&c=%20/?~"),
            ("?token=x", "/?token=x"),
            ("/\u00fc/%C3%BC", "/%C3%BC/%C3%BC"),
            ("/a b\r\nHost: evil#c", "/a%20b%0D%0AHost:%20evil%23c"),
        ],
    )
    def test_path(self, path: str, target: str) -> None:
        start, *headers = request_of(layer_to(path=path))
        assert start == f"GET {target} HTTP/1.1"
        assert len(headers) == 6

    def test_the_name_of_mqtt_3_1(self) -> None:
        layer = layer_to(subprotocols=["mqttv3.1"])
        answer = answer_to(layer, Sec_WebSocket_Protocol="mqttv3.1")
        assert layer.receive(answer) == b""
        assert layer.is_open

    def test_several_names(self) -> None:
        layer = layer_to(subprotocols=["mqtt", "mqttv3.1"])
        assert "Sec-WebSocket-Protocol: mqtt, mqttv3.1" in request_of(layer)

    def test_headers_of_ones_own(self) -> None:
        given_headers = [
            ("Authorization", "Basic dXNlcjpzZWNyZXQ="),
            ("Cookie", "a=1"),
            ("cookie", "b=2\tc"),
            ("Origin", "https://broker.example"),
            ("X-Empty", ""),
        ]
        lines = request_of(layer_to(headers=given_headers))
        assert lines[-5:] == [f"{name}: {value}" for name, value in given_headers]

    @pytest.mark.parametrize(
        "name", ["Host", "upgrade", "Connection", "Sec-WebSocket-Key", "sec-websocket-extensions"]
    )
    def test_a_header_of_the_handshake_is_not_for_others(self, name: str) -> None:
        with pytest.raises(UsageError, match=f"{name} is set by") as raised:
            layer_to(headers=[(name, "secret")])
        assert "secret" not in str(raised.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("X-A", "secret\r\nX-B: c"),
            ("X-A", "secret\n"),
            ("X-A", "secret\0"),
            ("X-A", "secret \u00e9"),
            ("X-A: secret", "b"),
            ("secret\r\nX-B", "c"),
            ("secret\n", "c"),
            ("", "secret"),
        ],
    )
    def test_a_header_cannot_bring_another_one(self, name: str, value: str) -> None:
        with pytest.raises(UsageError, match="characters that HTTP does not allow") as raised:
            layer_to(headers=[(name, value)])
        assert "secret" not in str(raised.value)


# --- the answer


class TestAnswer:
    """[MQTT-6.0.0-4], and rule 29: what is not the right answer is a typed error."""

    def refused(self, answer: bytes) -> WebSocketRefused:
        layer = layer_to()
        layer.data_to_send()
        with pytest.raises(WebSocketRefused) as raised:
            layer.receive(answer)
        assert not layer.is_open
        assert raised.value.by is ClosedBy.SERVER
        assert str(raised.value.status) in str(raised.value)
        return raised.value

    def wrong(self, layer: WebSocketLayer, answer: bytes) -> str:
        with pytest.raises(ConnectFailed) as raised:
            layer.receive(answer)
        assert not isinstance(raised.value, WebSocketRefused)
        assert raised.value.by is ClosedBy.CLIENT
        assert not layer.is_open
        return str(raised.value)

    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    def test_in_pieces(self, size: int) -> None:
        layer = layer_to()
        answer = answer_to(layer)
        assert fed(layer, answer[:-1], size) == b""
        assert not layer.is_open
        assert layer.receive(answer[-1:]) == b""
        assert layer.is_open

    def test_in_other_words(self) -> None:
        layer = layer_to()
        answer = answer_to(layer, Upgrade="WebSocket", Connection="keep-alive, upgrade", Server="x")
        layer.receive(answer.replace(b"101 Switching Protocols", b"101 "))
        assert layer.is_open

    def test_frames_that_come_with_it(self) -> None:
        layer = layer_to()
        data = answer_to(layer) + frame(BINARY, b"early") + frame(PING) + frame(BINARY, b"late")
        assert layer.receive(data[:-1]) == b"early"
        assert layer.is_open
        assert frames_of(layer) == [(PONG, b"")]
        assert layer.receive(data[-1:]) == b"late"

    def test_an_error_that_comes_with_it(self) -> None:
        layer = layer_to()
        assert layer.receive(answer_to(layer) + frame(BINARY, b"good") + frame(TEXT)) == b"good"
        assert isinstance(layer.error, ProtocolError)

    def test_a_close_frame_that_comes_with_it(self) -> None:
        layer = layer_to()
        assert layer.receive(answer_to(layer) + NORMAL) == b""
        assert not layer.is_open
        assert layer.close_reason is not None
        assert layer.error is None
        assert close_code(layer) == 1000

    @pytest.mark.parametrize(
        ("status", "advice"),
        [
            ("100 Continue", "check port and path"),
            ("200 OK", "check port and path"),
            ("400 Bad Request", "check port and path"),
            ("401 Unauthorized", "check the credentials; .* headers of the HTTP request"),
            ("403 Forbidden", "check the credentials; .* headers of the HTTP request"),
            ("404 Not Found", 'check the path of the URL; .* "/mqtt"'),
            ("426 Upgrade Required", "a proxy has removed the Upgrade header"),
            ("500 Internal Server Error", "cannot serve at the moment"),
            ("503", "cannot serve at the moment"),
        ],
    )
    def test_another_status(self, status: str, advice: str) -> None:
        error = self.refused(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        assert error.status == int(status[:3])
        assert re.search(advice, str(error))

    def test_a_refusal_can_be_pickled(self) -> None:
        error = pickle.loads(pickle.dumps(self.refused(b"HTTP/1.1 401 No\r\n\r\n")))
        assert error.status == 401

    @pytest.mark.parametrize(
        "rest",
        [
            b"\r\n",  # up to the end of the connection, which does not come
            b"Content-Length: 100\r\n\r\nincompl",
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"Transfer-Encoding: gzip\r\n\r\n",
            b"Content-Length: 99999999999\r\n\r\n",
        ],
    )
    @pytest.mark.parametrize("version", [b"1.0", b"1.1"])
    def test_a_refusal_is_seen_without_its_body(self, version: bytes, rest: bytes) -> None:
        assert self.refused(b"HTTP/" + version + b" 401 No\r\n" + rest).status == 401

    @pytest.mark.parametrize(
        ("location", "said"),
        [
            ("Location: wss://new.example:444/mqtt", "location 'wss://new.example:444/mqtt': "),
            ("location:/other", "location '/other': "),
            ("LOCATION: /other?token=secret", "location '/other': "),
            ("Location: /other#secret", "location '/other': "),
            ("Location: /\x1b[31m\u00fc", r"location '/\x1b[31m\xfc': "),
            ("Location: ", "301: "),
            ("X-Location: /secret", "301: "),
        ],
    )
    def test_a_redirection_says_where_to(self, location: str, said: str) -> None:
        answer = f"HTTP/1.1 301 Moved\r\nServer: x\r\n{location}\r\n\r\n".encode("latin-1")
        message = str(self.refused(answer))
        assert said in message
        assert "not followed" in message
        assert "secret" not in message

    def test_only_a_redirection_does(self) -> None:
        assert "location" not in str(self.refused(b"HTTP/1.1 401 No\r\nLocation: /login\r\n\r\n"))

    def test_a_long_location_is_cut(self) -> None:
        answer = b"HTTP/1.1 302 Found\r\nLocation: /" + bytes(9000).hex().encode() + b"\r\n\r\n"
        assert len(str(self.refused(answer))) < 500

    @pytest.mark.parametrize(
        "data",
        [
            bytes.fromhex("15030100020246"),  # the alert of a TLS server
            bytes.fromhex("20020000"),  # CONNACK
            b"\r\n",
            b"H2",
            b"HTTP/2 200\r\n\r\n",
            b"<html>",
        ],
    )
    def test_what_is_not_http_is_refused_at_once(self, data: bytes) -> None:
        layer = layer_to()
        with pytest.raises(ConnectFailed, match="is not HTTP"):
            fed(layer, data)
        assert "not HTTP/1.1: check the port" in self.wrong(layer_to(), data)

    @pytest.mark.parametrize(
        "line",
        [b"HTTP/1.1 abc", b"HTTP/1.1", b"HTTP/1.1 1010 X", b"HTTP/1.1 099 X", b"HTTP/1.x 101 X"],
    )
    def test_a_wrong_status_line(self, line: bytes) -> None:
        assert "not HTTP/1.1" in self.wrong(layer_to(), line + b"\r\n\r\n")

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"HTTP/1.1", b"HTTP/1.0"),
            (b"\r\n", b"\n"),
            (b"Upgrade: ", b"Up grade: "),
            (b"Upgrade: ", b"secret "),
            (b"Upgrade: ", b"X: " + bytes(5000).hex().encode() + b"\r\nUpgrade: "),
        ],
    )
    def test_headers_that_cannot_be_read(self, old: bytes, new: bytes) -> None:
        layer = layer_to()
        said = self.wrong(layer, answer_to(layer).replace(old, new))
        assert "cannot be read" in said
        assert "secret" not in said

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"Upgrade": None}, "Upgrade"),
            ({"Upgrade": "h2c"}, "Upgrade"),
            ({"Connection": None}, "Connection"),
            ({"Connection": "close"}, "Connection"),
            ({"Sec_WebSocket_Accept": None}, "Sec-WebSocket-Accept"),
            ({"Sec_WebSocket_Accept": accept_for("another key")}, "Sec-WebSocket-Accept"),
            ({"Sec_WebSocket_Protocol": "mqtt, mqttv3.1"}, "Sec-WebSocket-Protocol"),
            ({"Sec_WebSocket_Protocol": "chat"}, "subprotocol"),
            ({"Sec_WebSocket_Protocol": "MQTT"}, "subprotocol"),
            ({"Sec_WebSocket_Extensions": "permessage-deflate"}, "extensions"),
        ],
    )
    def test_an_upgrade_to_something_else(self, changes: dict[str, str | None], named: str) -> None:
        layer = layer_to()
        assert named in self.wrong(layer, answer_to(layer, **changes))

    def test_no_subprotocol_is_selected(self) -> None:
        layer = layer_to()
        said = self.wrong(layer, answer_to(layer, Sec_WebSocket_Protocol=None))
        assert "did not select a subprotocol of MQTT" in said
        assert close_code(layer) == 1002  # for the server the WebSocket is open

    def test_an_error_is_short_and_plain(self) -> None:
        layer = layer_to()
        said = self.wrong(layer, answer_to(layer, Upgrade="\u009b" + "x" * 5000))
        assert len(said) < 300
        assert said.isascii()

    def test_endless_headers_are_not_kept(self) -> None:
        layer = layer_to()
        layer.data_to_send()
        layer.receive(b"HTTP/1.1 101 Switching Protocols\r\n")
        with pytest.raises(ConnectFailed, match="too many headers"):
            fed(layer, b"X: y\r\n" * 100_000, 600)
