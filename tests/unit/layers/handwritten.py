"""A WebSocket server by hand: answers to the handshake and frames, as RFC 6455 wants them."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, NamedTuple

from mqttlite.layers.websocket import WebSocketLayer

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

MIB = 1024 * 1024

NORMAL = b"\x88\x02\x03\xe8"
"""The server's close frame with code 1000."""


class Sent(NamedTuple):
    """A frame that the client has sent, unmasked."""

    opcode: int
    payload: bytes


def layer_to(
    host: str = "broker.example",
    port: int = 8083,
    path: str = "/mqtt",
    *,
    secure: bool = False,
    **arguments: Any,
) -> WebSocketLayer:
    return WebSocketLayer(host, port, path, secure=secure, **arguments)


def accept_for(key: str) -> str:
    """Compute Sec-WebSocket-Accept (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return base64.b64encode(digest).decode()


def request_of(layer: WebSocketLayer) -> list[str]:
    """Take the request; return its lines."""
    data = layer.data_to_send()
    assert data.endswith(b"\r\n\r\n")
    return data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")


def answer_to(layer: WebSocketLayer, **changes: str | None) -> bytes:
    """Accept the request; headers can be added, changed, or with None left out."""
    (key,) = (
        line.partition(": ")[2]
        for line in request_of(layer)
        if line.startswith("Sec-WebSocket-Key: ")
    )
    headers: dict[str, str | None] = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Accept": accept_for(key),
        "Sec_WebSocket_Protocol": "mqtt",
    }
    lines = [
        f"{name.replace('_', '-')}: {value}\r\n"
        for name, value in (headers | changes).items()
        if value is not None
    ]
    return "".join(["HTTP/1.1 101 Switching Protocols\r\n", *lines, "\r\n"]).encode("latin-1")


def opened(**arguments: Any) -> WebSocketLayer:
    layer = layer_to(**arguments)
    assert layer.receive(answer_to(layer)) == b""
    assert layer.is_open
    assert layer.data_to_send() == b""
    return layer


def frame(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """Write a frame of a server, unmasked (RFC 6455 section 5.2)."""
    first = opcode | 0x80 * final
    size = len(payload)
    if size < 126:
        header = bytes((first, size))
    elif size < 65_536:
        header = bytes((first, 126)) + size.to_bytes(2, "big")
    else:
        header = bytes((first, 127)) + size.to_bytes(8, "big")
    return header + payload


def frames_of(layer: WebSocketLayer) -> list[Sent]:
    """Take the frames that the client sends: all must be final, masked, and of shortest form."""
    data = layer.data_to_send()
    frames = []
    while data:
        first, second = data[:2]
        assert first & 0xF0 == 0x80
        assert second & 0x80
        size, position = second & 0x7F, 2
        if size == 126:
            size, position = int.from_bytes(data[2:4], "big"), 4
            assert size > 125
        elif size == 127:
            size, position = int.from_bytes(data[2:10], "big"), 10
            assert size > 65_535
        mask, data = data[position : position + 4], data[position + 4 :]
        assert len(mask) == 4
        assert len(data) >= size
        payload = bytes(byte ^ mask[index & 3] for index, byte in enumerate(data[:size]))
        frames.append(Sent(first & 0x0F, payload))
        data = data[size:]
    return frames


def fed(layer: WebSocketLayer, data: bytes, size: int = 1) -> bytes:
    """Give the layer data in pieces."""
    return b"".join(
        layer.receive(data[start : start + size]) for start in range(0, len(data), size)
    )


def close_code(layer: WebSocketLayer) -> int:
    """Take the one frame that the client sends, which closes; return its code."""
    ((opcode, payload),) = frames_of(layer)
    assert opcode == CLOSE
    return int.from_bytes(payload[:2], "big")
