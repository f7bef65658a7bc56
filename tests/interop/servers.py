"""The real brokers of these tests, and what a scenario with one of them works with."""

from pathlib import Path
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from tests.shells.brokers import MosquittoBroker, mosquitto
from tests.shells.lab import Kind, Lab
from tests.support.aedes import Aedes, find_aedes
from tests.support.amqtt_broker import Amqtt, find_amqtt
from tests.support.broker_process import BrokerProcess

VERSIONS = [
    ("mosquitto", "5.0"),
    ("mosquitto", "3.1.1"),
    ("aedes", "5.0"),
    ("aedes", "3.1.1"),
    ("amqtt", "3.1.1"),
]
"""The brokers, and the versions of MQTT that each of them speaks."""

USER = ("someone", "secret")
"""Who may connect: aMQTT keeps no session for a client that gives no name."""

Server = MosquittoBroker | BrokerProcess


def spoken_by(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Take a broker and its version from the parameter, or skip the test if they cannot do it."""
    name, version = request.param
    for marker in request.node.iter_markers("lacks"):
        broker, reason = marker.args
        if broker in (name, f"{name}-{version}"):
            pytest.skip(f"{name}: {reason}")
    return name, version


def make_server(name: str, directory: Path) -> Server:
    """Prepare a broker that wants a password, or skip the test."""
    if name == "mosquitto":
        return MosquittoBroker(mosquitto(directory, password=USER))
    if name == "aedes":
        if find_aedes() is None:
            pytest.skip("aedes is not installed: tests/run.py does that, with Node.js and npm")
        return Aedes(directory, password=USER)
    if find_amqtt() is None:
        pytest.skip("amqtt is not installed: tests/run.py does that")
    return Amqtt(directory, password=USER)


class ServerLab(Lab):
    """A lab with one of these brokers; its clients know the password."""

    def __init__(self, kind: Kind, name: str, server: Server, version: Any, topic: str) -> None:
        super().__init__(kind, server.url, version, topic)
        self.name = name
        self.server = server

    def client(self, url: str | None = None, **options: Any) -> AsyncClient:
        """Make a client that is let in."""
        options.setdefault("username", USER[0])
        options.setdefault("password", USER[1])
        return super().client(url, **options)

    def kept(self, name: str) -> dict[str, Any]:
        """Options of a client whose session is to be kept."""
        return {"client_id": f"{name}-{self.topic.replace('/', '-')}", "clean_start": False}

    async def forget(self, options: dict[str, Any]) -> None:
        """End such a session at the broker."""
        async with self.client(client_id=options["client_id"]):
            pass
