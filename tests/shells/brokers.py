"""Brokers to test against: the embedded one and a real Mosquitto."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import pytest

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
def make_broker(kind: str, directory: Path) -> Iterator[Broker]:
    """Run a broker: "embedded" or "mosquitto"."""
    if kind == "mosquitto":
        with mosquitto(directory, persistence=True) as process:
            yield MosquittoBroker(process)
    else:
        if find_spec("mqttlite.testing.broker") is None:
            pytest.skip("there is no embedded broker yet")
        with import_module("mqttlite.testing").Broker() as broker, ignored_port(broker.port):
            yield broker
