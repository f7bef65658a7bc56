"""The tests of messages once more: over TLS with a client certificate, a Unix socket, WebSocket."""

from collections.abc import Iterator
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.options import TLS
from tests.shells.brokers import mosquitto
from tests.shells.lab import Kind, Lab
from tests.shells.test_messages import *  # noqa: F403 - the same tests, with another lab
from tests.support.certificates import Certificates
from tests.support.mosquitto import Mosquitto
from tests.support.websocket_bridge import WebSocketBridge


class ElsewhereLab(Lab):
    """A lab whose server wants a client certificate, if it is one with TLS."""

    def __init__(
        self, kind: Kind, url: str, version: Any, topic: str, *, port: int, tls: TLS | None
    ) -> None:
        super().__init__(kind, url, version, topic)
        self._port = port
        self._tls = tls

    @property
    def address(self) -> tuple[str, int]:
        """The same server's listener for plain TCP."""
        return "127.0.0.1", self._port

    def client(self, url: str | None = None, **options: Any) -> AsyncClient:
        """Make a client that shows its certificate."""
        if url is None and self._tls is not None:
            options.setdefault("tls", self._tls)
        return super().client(url, **options)


@pytest.fixture(scope="module")
def elsewhere(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mosquitto]:
    """Run a Mosquitto that can be reached in these ways."""
    directory = tmp_path_factory.mktemp("elsewhere")
    with mosquitto(directory, tls=certificates, unix=True) as process:
        yield process


@pytest.fixture(scope="module")
def bridge(elsewhere: Mosquitto) -> Iterator[WebSocketBridge]:
    """Run a WebSocket server before it: Mosquitto's own reads large messages too slowly."""
    with WebSocketBridge(elsewhere.port) as bridge:
        yield bridge


@pytest.fixture(params=["tls", "unix", "websocket"])
def lab(
    request: pytest.FixtureRequest,
    kind: Kind,
    elsewhere: Mosquitto,
    bridge: WebSocketBridge,
    certificates: Certificates,
    version: Any,
    topic: str,
) -> Lab:
    """Return a lab over TLS, over a Unix socket, or in WebSocket."""
    if request.param == "websocket":
        url = f"ws://127.0.0.1:{bridge.port}/mqtt"
        return ElsewhereLab(kind, url, version, topic, port=elsewhere.port, tls=None)
    if request.param == "unix":
        url = f"unix://{elsewhere.unix_path}"
        return ElsewhereLab(kind, url, version, topic, port=elsewhere.port, tls=None)
    tls = TLS(
        ca_file=certificates.ca_file,
        certificate=certificates.client_certificate,
        private_key=certificates.client_key,
    )
    url = f"mqtts://localhost:{elsewhere.tls_client_port}"
    return ElsewhereLab(kind, url, version, topic, port=elsewhere.port, tls=tls)
