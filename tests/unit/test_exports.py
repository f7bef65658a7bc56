"""What ``import mqttlite`` gives."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mqttlite

EXPORTED = {
    "AsyncClient",
    "AsyncDelivery",
    "AsyncSubscription",
    "AuthError",
    "AuthHandler",
    "Client",
    "ClientCore",
    "ClosedBy",
    "ConnectFailed",
    "ConnectRefused",
    "Connected",
    "ConnectionClosed",
    "ConnectionLost",
    "Counters",
    "Delivery",
    "Disconnected",
    "DropReason",
    "Dropped",
    "Fate",
    "InvalidTopic",
    "KeepAliveTimeout",
    "MalformedPacket",
    "Message",
    "MqttError",
    "NotSupported",
    "OperationError",
    "PacketTooLarge",
    "ProtocolError",
    "ProtocolVersion",
    "PublishError",
    "QueueFull",
    "ReasonCode",
    "Reconnect",
    "Reconnecting",
    "RetainHandling",
    "ScramAuth",
    "SubscribeError",
    "Subscription",
    "TLS",
    "UnsubscribeError",
    "Unsubscribed",
    "UsageError",
    "WebSocketRefused",
    "Will",
    "__version__",
}


def test_the_list_of_exports() -> None:
    assert set(mqttlite.__all__) == EXPORTED
    assert len(mqttlite.__all__) == len(EXPORTED)


@pytest.mark.parametrize("name", sorted(EXPORTED))
def test_every_export_can_be_had(name: str) -> None:
    assert getattr(mqttlite, name) is not None
    assert name in dir(mqttlite)


def test_type_checkers_see_the_same() -> None:
    tree = ast.parse(Path(mqttlite.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname or alias.name
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen | {"__version__"} == EXPORTED


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'mqttlite' has no attribute 'Nonsense'"):
        _ = mqttlite.Nonsense


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return set(output.stdout.decode().split())


def test_a_program_with_threads_never_imports_asyncio() -> None:
    loaded = _modules_after("import mqttlite; mqttlite.Client('mqtt://localhost')")
    assert "mqttlite.sync.client" in loaded
    assert "asyncio" not in loaded


# What is slow to import is not loaded before a program needs it.
SLOW = {
    "asyncio",
    "ast",
    "certifi",
    "dataclasses",
    "email",
    "hashlib",
    "hmac",
    "importlib.resources",
    "inspect",
    "ipaddress",
    "pathlib",
    "random",
    "secrets",
    "ssl",
    "tempfile",
    "typing_extensions",
    "unicodedata",
    "urllib.parse",
    "urllib.request",
    "websockets",
}


def test_a_client_loads_nothing_that_is_slow_and_not_needed() -> None:
    before = _modules_after("")  # the interpreter itself may have loaded some of them
    loaded = _modules_after("from mqttlite import Client; Client('mqtt://localhost')")
    assert (loaded - before) & SLOW == set()


def test_a_client_for_asyncio_loads_little_beside_it() -> None:
    before = _modules_after("import asyncio")
    loaded = _modules_after("from mqttlite import AsyncClient; AsyncClient('mqtt://localhost')")
    assert (loaded - before) & SLOW == set()


def test_a_program_with_asyncio_does_not_import_the_threaded_client() -> None:
    assert "mqttlite.sync" not in _modules_after("import mqttlite; mqttlite.AsyncClient")
