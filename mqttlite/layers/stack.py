"""Which layers a connection has, and how one stands on another."""

from __future__ import annotations

import sys
from typing import Protocol

from mqttlite.client import Dial
from mqttlite.enums import ProtocolVersion


class Layer(Protocol):
    """What stands between the network and MQTT: bytes in, bytes out.

    ``receive()`` takes what came from the network and returns what it means; ``send()`` takes
    what is to be sent, once ``is_open``; ``data_to_send()`` returns what the network is to get,
    at the beginning and after each of them. What the server does wrong raises during the
    handshake; later it is in ``error``, after what came before it has been returned.
    """

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done, and nothing has ended."""
        raise NotImplementedError

    @property
    def error(self) -> Exception | None:
        """What the other side did wrong, so that nothing more will come."""
        raise NotImplementedError

    @property
    def has_ended(self) -> bool:
        """Whether the other side has said that nothing more will come."""
        raise NotImplementedError

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the network; return what they contain."""
        raise NotImplementedError

    def send(self, data: bytes | memoryview) -> None:
        """Prepare bytes for the network."""
        raise NotImplementedError

    def data_to_send(self) -> bytes:
        """Return what is to be written to the network."""
        raise NotImplementedError

    def close(self) -> None:
        """Say that nothing more will be sent."""
        raise NotImplementedError

    def describe(self) -> str:
        """What was agreed on, for the log."""
        raise NotImplementedError


class Stack:
    """Two layers as one: the lower one is next to the network."""

    def __init__(self, lower: Layer, upper: Layer) -> None:
        self._lower = lower
        self._upper = upper

    @property
    def is_open(self) -> bool:
        """Whether both are open."""
        return self._lower.is_open and self._upper.is_open

    @property
    def error(self) -> Exception | None:
        """What the other side did wrong."""
        return self._upper.error or self._lower.error

    @property
    def has_ended(self) -> bool:
        """Whether the other side has ended one of them."""
        return self._upper.has_ended or self._lower.has_ended

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the network; return what they contain."""
        data = self._lower.receive(data)
        return self._upper.receive(data) if data else b""

    def send(self, data: bytes | memoryview) -> None:
        """Prepare bytes for the network."""
        self._upper.send(data)

    def data_to_send(self) -> bytes:
        """Return what is to be written to the network."""
        if self._lower.is_open:
            data = self._upper.data_to_send()
            if data:
                self._lower.send(data)
        return self._lower.data_to_send()

    def close(self) -> None:
        """Say that nothing more will be sent, from above to below."""
        self._upper.close()
        data = self._upper.data_to_send()
        if data:
            self._lower.send(data)
        self._lower.close()

    def describe(self) -> str:
        """What was agreed on, for the log."""
        return f"{self._lower.describe()}, {self._upper.describe()}"


def needs_time(dial: Dial) -> bool:
    """Whether ``make_layer()`` has files to read, certificates or modules."""
    endpoint = dial.endpoint
    if endpoint.tls:
        tls = sys.modules.get("mqttlite.layers.tls")
        if tls is None or not tls.has_context(dial.tls):
            return True
    return endpoint.is_websocket and "mqttlite.layers.websocket" not in sys.modules


def make_layer(dial: Dial) -> Layer | None:
    """Make the layers that a connection needs; None: it needs none.

    It may take some time, see ``needs_time()``. Raises OSError or ssl.SSLError for files that
    cannot be used, NotSupported for a package that is missing.
    """
    endpoint = dial.endpoint
    layer: Layer | None = None
    # A program that uses no TLS, or no WebSocket, does not wait for these to be imported.
    if endpoint.tls:
        from mqttlite.layers.tls import TlsLayer, make_context  # noqa: PLC0415

        hostname = dial.tls.server_hostname or endpoint.host
        layer = TlsLayer(make_context(dial.tls), hostname)
    if endpoint.is_websocket:
        from mqttlite.layers.websocket import WebSocketLayer  # noqa: PLC0415

        is_3_1 = dial.version == ProtocolVersion.MQTT_3_1
        websocket = WebSocketLayer(
            endpoint.host,
            endpoint.port,
            endpoint.path,
            secure=endpoint.tls,
            subprotocols=["mqttv3.1"] if is_3_1 else ["mqtt"],
            headers=dial.headers,
            maximum_packet_size=dial.maximum_packet_size,
        )
        layer = websocket if layer is None else Stack(layer, websocket)
    return layer
