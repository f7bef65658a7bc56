"""Reconnect and TLS."""

from __future__ import annotations

import re
import ssl
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from mqttlite.enums import describe_reason
from mqttlite.errors import UsageError
from mqttlite.options import FINAL_REASON_CODES, TLS, Reconnect
from tests.behaviour import rule


def test_defaults_of_reconnect() -> None:
    policy = Reconnect()
    assert (policy.first_delay, policy.maximum_delay, policy.stable_after) == (1.0, 60.0, 10.0)
    assert policy.maximum_attempts is None
    assert policy.final_reason_codes is FINAL_REASON_CODES
    assert policy.first_server == "last"
    assert policy.return_after is None
    assert policy.retry_first is False


@rule(10)
def test_final_reason_codes() -> None:
    # Malformed, unsupported version, client identifier, user name or password, not authorized,
    # banned, bad authentication method, session taken over, topic name, packet too large,
    # payload format, retain, QoS, another server, server moved. All others may pass.
    assert sorted(FINAL_REASON_CODES) == [
        *(0x81, 0x84, 0x85, 0x86, 0x87, 0x8A, 0x8C, 0x8E, 0x90, 0x95, 0x99, 0x9A, 0x9B, 0x9D)
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        {"first_delay": 0.0},
        {"first_delay": 60.0, "maximum_delay": 60.0},
        {"first_delay": 0.0, "maximum_delay": 0.0},
        {"stable_after": 0.0},
        {"maximum_attempts": 0},
        {"final_reason_codes": frozenset()},
        {"first_server": "preferred"},
        {"first_server": "last"},
        {"return_after": 0.1},
        {"return_after": 3600},
        {"retry_first": True},
    ],
)
def test_reconnect(arguments: dict[str, Any]) -> None:
    policy = Reconnect(**arguments)
    for name, value in arguments.items():
        assert getattr(policy, name) == value


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"first_delay": -1.0}, "0 <= first_delay"),
        ({"first_delay": 61.0}, "first_delay <= maximum_delay"),
        ({"maximum_delay": 0.5}, "first_delay <= maximum_delay"),
        ({"first_delay": float("nan")}, "first_delay"),
        ({"stable_after": -0.1}, "stable_after"),
        ({"maximum_attempts": -1}, "maximum_attempts"),
        ({"first_server": "first"}, 'first_server is "preferred" or "last"'),
        ({"first_server": None}, "first_server"),
        ({"return_after": 0}, "return_after must be positive"),
        ({"return_after": -1.0}, "return_after must be positive"),
        ({"return_after": "60"}, "return_after must be positive"),
    ],
)
def test_bad_reconnect(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Reconnect(**arguments)


def test_values_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        Reconnect().first_delay = 5.0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        TLS().verify = False  # type: ignore[misc]


@rule(6)
def test_tls_verifies_by_default() -> None:
    assert TLS().verify is True
    assert TLS() == TLS(
        ca_file=None,
        certificate=None,
        private_key=None,
        password=None,
        server_hostname=None,
        alpn=(),
        context=None,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        {"ca_file": "ca.pem"},
        {"ca_file": Path("ca.pem"), "alpn": ["mqtt"]},
        {"certificate": "c.pem"},
        {"certificate": "c.pem", "private_key": "k.pem", "password": "secret"},
        {"verify": False, "certificate": "c.pem"},
        {"server_hostname": "h", "verify": False},
    ],
)
def test_tls(arguments: dict[str, Any]) -> None:
    tls = TLS(**arguments)
    for name, value in arguments.items():
        assert getattr(tls, name) == value
    assert "secret" not in repr(tls)


def test_context_of_ones_own() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert TLS(context=context).context is context
    assert TLS(context=context, server_hostname="h").server_hostname == "h"


@pytest.mark.parametrize(
    "arguments",
    [
        {"ca_file": "ca.pem"},
        {"certificate": "c.pem"},
        {"password": "secret"},
        {"alpn": ["mqtt"]},
        {"verify": False},
    ],
)
def test_context_of_ones_own_is_used_as_it_is(arguments: dict[str, Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(UsageError, match="used as it is"):
        TLS(context=context, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"private_key": "k.pem"}, "private_key needs TLS.certificate"),
        ({"context": "yes"}, "not str"),
        ({"alpn": "mqtt"}, "list of names"),
        ({"verify": False, "ca_file": "ca.pem"}, "ca_file has no effect"),
    ],
)
def test_bad_tls(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TLS(**arguments)


@pytest.mark.parametrize(
    "arguments", [{"first_delay": "1"}, {"stable_after": None}, {"maximum_attempts": "1"}], ids=str
)
def test_reconnect_wants_numbers(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="numbers"):
        Reconnect(**arguments)


@pytest.mark.parametrize("name", ["return_after", "stable_after"])
def test_no_delay_is_not_a_number(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Reconnect(**{name: float("nan")})  # type: ignore[arg-type]


def test_the_documentation_has_the_same_table() -> None:
    page = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "connections.md"
    rows = re.findall(r"^\| 0x([0-9A-F]{2}) \| (.*) \|$", page.read_text("utf-8"), re.MULTILINE)
    assert {int(code, 16) for code, _ in rows} == FINAL_REASON_CODES
    assert all(describe_reason(int(code, 16)) == f"{words} (0x{code})" for code, words in rows)
