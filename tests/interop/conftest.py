"""Every test here has a deadline, and leaves nothing behind; what brokers the tests run with."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.interop.servers import VERSIONS, Server, ServerLab, make_server, spoken_by
from tests.shells.lab import Kind

Servers = Callable[[str], Server]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "lacks(broker, reason): skipped with this broker, which cannot do it"
    )


@pytest.fixture(autouse=True)
def guard(deadline: None, no_leaks: None) -> None:
    """See the fixtures that this one uses."""


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """Run each broker once, when it is first asked for; the tests do not stop it."""
    running: dict[str, Server] = {}
    with ExitStack() as stack:

        def get(name: str) -> Server:
            if name not in running:
                server = make_server(name, tmp_path_factory.mktemp(name))
                server.start()
                stack.callback(server.stop)
                running[name] = server
            return running[name]

        yield get


@pytest.fixture(params=VERSIONS, ids="-".join)
def spoken(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Each broker with each version that it speaks; skips what the broker lacks."""
    return spoken_by(request)


@pytest.fixture
def lab(kind: Kind, servers: Servers, spoken: tuple[str, Any], topic: str) -> ServerLab:
    """Return a lab with a broker that runs for all tests."""
    name, version = spoken
    return ServerLab(kind, name, servers(name), version, topic)


@pytest.fixture
def own_lab(kind: Kind, spoken: tuple[str, Any], topic: str, tmp_path: Path) -> Iterator[ServerLab]:
    """Return a lab with a broker that the test may stop and start."""
    name, version = spoken
    server = make_server(name, tmp_path)
    server.start()
    try:
        yield ServerLab(kind, name, server, version, topic)
    finally:
        server.stop()
