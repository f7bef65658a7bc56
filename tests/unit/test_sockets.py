"""What both shells do with sockets: the options, and what of connecting takes no time."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any

import pytest

from mqttlite.sockets import (
    in_turn,
    is_connected_at_once,
    is_loopback,
    make_socket,
    numeric_address,
)

FOUR, SIX = socket.AF_INET, socket.AF_INET6


def entry(family: int, address: str) -> tuple[Any, ...]:
    """What ``getaddrinfo()`` returns of an address."""
    return (family, socket.SOCK_STREAM, 6, "", (address, 1883))


def test_families_take_turns() -> None:
    found = [entry(SIX, "::1"), entry(SIX, "::2"), entry(FOUR, "1.2.3.4"), entry(SIX, "::3")]
    assert [address[0] for _, address in in_turn(found)] == ["::1", "1.2.3.4", "::2", "::3"]


def test_no_addresses() -> None:
    assert in_turn([]) == []


@pytest.mark.parametrize(
    ("host", "family"),
    [("127.0.0.1", FOUR), ("192.0.2.7", FOUR), ("2001:db8::7", SIX), ("::1", SIX)],
)
def test_an_address_needs_no_lookup(host: str, family: int) -> None:
    assert numeric_address(host, 1883) == (family, (host, 1883))


@pytest.mark.parametrize(
    "host",
    ["localhost", "broker.example", "1.2.3.4.5", "", "a:b", "a" * 70, "bücher", "\0", "\ud800"],
)
def test_a_name_does(host: str) -> None:
    assert numeric_address(host, 1883) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost", "127.example", "128.0.0.1", "::2", "192.168.127.1"])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)


def test_options() -> None:
    with make_socket(FOUR) as connection:
        assert not connection.getblocking()
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 131_072


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the system has no such sockets")
def test_a_unix_socket_has_none() -> None:
    with make_socket(socket.AF_UNIX) as connection:
        assert not connection.getblocking()


def test_a_system_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_NOTSENT_LOWAT", raising=False)
    with make_socket(FOUR) as connection:
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_socket_that_cannot_be_set_up_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "TCP_NODELAY", 12345)
    with pytest.raises(OSError, match=r"[Pp]rotocol"):  # a warning would be an error
        make_socket(FOUR)


class Answering:
    """A socket whose ``connect_ex()`` returns what it is told."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)

    def connect_ex(self, _address: object) -> int:
        return self.codes.pop(0)


def connect(*codes: int) -> bool:
    answering: Any = Answering(*codes)
    try:
        return is_connected_at_once(answering, ("127.0.0.1", 1))
    finally:
        assert not answering.codes


@pytest.mark.skipif(sys.platform != "linux", reason="nothing is tried elsewhere")
class TestConnectedAtOnce:
    """What ``connect()`` may say."""

    def test_by_the_first_call(self) -> None:
        assert connect(0)

    def test_by_the_second_call(self) -> None:
        assert connect(errno.EINPROGRESS, 0)

    @pytest.mark.parametrize("again", [errno.EALREADY, errno.EINPROGRESS, errno.EINTR])
    def test_not_yet(self, again: int) -> None:
        assert not connect(errno.EINPROGRESS, again)

    @pytest.mark.parametrize("before", [[], [errno.EINPROGRESS]])
    def test_refused(self, before: list[int]) -> None:
        with pytest.raises(ConnectionRefusedError):
            connect(*before, errno.ECONNREFUSED)

    def test_a_server_of_this_machine(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            client.setblocking(False)
            assert is_connected_at_once(client, server.getsockname())
            client.getpeername()  # raises if it is not connected


def test_nothing_is_tried_on_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    assert not connect()
