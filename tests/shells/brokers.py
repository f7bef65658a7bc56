"""Brokers to test against: the embedded one and a real Mosquitto."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from mqttlite.testing import Broker as EmbeddedBroker
from tests.shells.leaks import ignored_port
from tests.support.certificates import Certificates
from tests.support.mosquitto import Mosquitto, find_mosquitto

UNBOUNDED = ("max_queued_messages 0", "set_tcp_nodelay true")
"""Mosquitto keeps all messages for a client that is away, and answers without delay."""


class Broker(Protocol):
    """A broker that can go away and come back, at the same port."""

    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    def start(self) -> Any: ...
    def stop(self) -> Any: ...


class MosquittoBroker:
    """A Mosquitto as a Broker."""

    def __init__(self, mosquitto: Mosquitto) -> None:
        self.mosquitto = mosquitto
        self.start = mosquitto.start
        self.stop = mosquitto.stop

    @property
    def port(self) -> int:
        return self.mosquitto.port

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"


def mosquitto(directory: Path, *, tls: Certificates | None = None, **options: Any) -> Mosquitto:
    """Make a Mosquitto, or skip the test."""
    if find_mosquitto() is None:
        pytest.skip("Mosquitto is not installed (Debian: apt-get install mosquitto)")
    options.setdefault("extra", UNBOUNDED)
    return Mosquitto(directory, tls=tls, **options)


@contextmanager
def embedded(**options: Any) -> Iterator[EmbeddedBroker]:
    """Run an embedded broker with these options."""
    with EmbeddedBroker(**options) as broker, ignored_port(broker.port):
        yield broker


@contextmanager
def make_broker(kind: str, directory: Path) -> Iterator[Broker]:
    """Run a broker: "embedded" or "mosquitto"."""
    if kind == "mosquitto":
        with mosquitto(directory, persistence=True) as process:
            yield MosquittoBroker(process)
    else:
        with embedded() as broker:
            yield broker
