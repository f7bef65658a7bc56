"""What the tests of the clients share: the kinds of client, servers, deadlines, leaks."""

import faulthandler
import inspect
import signal
from collections.abc import Iterator
from itertools import count
from types import FrameType
from typing import Any

import pytest

from tests.shells.brokers import Broker, make_broker
from tests.shells.lab import Asyncio, Kind, Lab, Threads
from tests.shells.leaks import nothing_left
from tests.support.certificates import Certificates, make_certificates

_numbers = count(1)

DEADLINE = 30.0
"""Seconds that a test may take, if it does not say otherwise with `@pytest.mark.deadline`."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "deadline(seconds): how long the test may take")
    config.addinivalue_line(
        "markers", "conforms(version, *identifiers): statements that the test shows"
    )
    config.addinivalue_line("markers", "rule(number): the rules of behaviour that it shows")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine function as a scenario of its kind of client."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    kind: Any = pyfuncitem.funcargs["kind"]
    kind.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.fixture
def deadline(request: pytest.FixtureRequest) -> Iterator[None]:
    """End a test that hangs: by an exception, and if that does not help, with the process."""
    marker = request.node.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else DEADLINE

    def too_late(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        faulthandler.dump_traceback()
        raise AssertionError(f"the test takes longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, too_late)
    faulthandler.dump_traceback_later(seconds + 20.0, exit=True)
    signal.setitimer(signal.ITIMER_REAL, seconds, 5.0)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    faulthandler.cancel_dump_traceback_later()
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fail if the test leaves a thread or a socket behind."""
    with nothing_left():
        yield


@pytest.fixture(params=["sync", "aio"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Both kinds of client."""
    return Threads() if request.param == "sync" else Asyncio()


@pytest.fixture(params=["5.0", "3.1.1"])
def version(request: pytest.FixtureRequest) -> Any:
    """Run with both versions that every server has."""
    return request.param


@pytest.fixture
def topic() -> str:
    """Return a topic that no other test uses."""
    return f"test/{next(_numbers)}"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Make certificates, once."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session", params=["embedded", "mosquitto"])
def broker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """Run a broker of each kind, for all tests; they do not stop it."""
    with make_broker(request.param, tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def lab(kind: Kind, broker: Broker, version: Any, topic: str) -> Lab:
    """Return what a scenario with a broker works with."""
    return Lab(kind, broker.url, version, topic)


@pytest.fixture
def bench(kind: Kind, version: Any, topic: str) -> Lab:
    """Return a lab without a server: the test brings its own."""
    return Lab(kind, "mqtt://127.0.0.1:1", version, topic)
