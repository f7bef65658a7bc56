"""The order in which servers are tried, and what a redirection makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mqttlite.client import ClientOptions
from mqttlite.client.options import Given
from mqttlite.client.servers import Servers
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionClosed, ConnectRefused, UsageError
from mqttlite.options import Reconnect

ANOTHER = 0x9C
MOVED = 0x9D


def servers(
    *hosts: str, random: Callable[[], float] = lambda: 0.5, scheme: str = "mqtt", **options: Any
) -> Servers:
    endpoints = tuple(Endpoint(scheme, host, 1883) for host in hosts)
    return Servers(ClientOptions(endpoints=endpoints, **options), random)


def a_round(these: Servers) -> list[str]:
    """Go through one round; the hosts in the order in which they would be tried."""
    these.begin_round()
    return rest(these)


def rest(these: Servers) -> list[str]:
    """The current server, and what comes after it in this round."""
    hosts = [these.current.host]
    while these.next():
        hosts.append(these.current.host)
    return hosts


def connect_to(these: Servers, host: str) -> None:
    these.begin_round()
    while these.current.host != host:
        assert these.next()
    these.connected()


def sent_to(reference: str | None, reason_code: int = ANOTHER) -> ConnectionClosed:
    return ConnectRefused(
        "go there", reason_code=reason_code, by=ClosedBy.SERVER, server_reference=reference
    )


class TestOrder:
    def test_in_order(self) -> None:
        these = servers("a", "b", "c")
        assert a_round(these) == ["a", "b", "c"]
        assert a_round(these) == ["a", "b", "c"]

    def test_shuffled_anew_for_each_round(self) -> None:
        numbers = iter([0.9, 0.1, 0.5, 0.2, 0.3, 0.1])
        these = servers("a", "b", "c", random=lambda: next(numbers), server_order="shuffled")
        assert a_round(these) == ["b", "c", "a"]
        assert a_round(these) == ["c", "a", "b"]

    def test_how_many_are_left(self) -> None:
        these = servers("a", "b")
        these.begin_round()
        assert these.left == 2
        assert these.next()
        assert these.left == 1
        assert not these.next()
        assert these.current.host == "b"

    def test_the_same_server_twice_is_tried_once(self) -> None:
        assert a_round(servers("a", "b", "a")) == ["a", "b"]

    def test_the_one_that_was_connected_last_comes_first(self) -> None:
        these = servers("a", "b", "c")
        connect_to(these, "b")
        assert a_round(these) == ["b", "a", "c"]

    def test_the_preferred_one_comes_first(self) -> None:
        these = servers("a", "b", "c", reconnect=Reconnect(first_server="preferred"))
        connect_to(these, "b")
        assert a_round(these) == ["a", "b", "c"]

    def test_shuffled_behind_the_last_one(self) -> None:
        numbers = iter([0.1, 0.2, 0.3, 0.9, 0.1, 0.2])
        these = servers("a", "b", "c", random=lambda: next(numbers), server_order="shuffled")
        connect_to(these, "c")
        assert a_round(these) == ["c", "b", "a"]

    def test_without_reconnection_connect_begins_anew(self) -> None:
        these = servers("a", "b", reconnect=None)
        connect_to(these, "b")
        these.reset()
        assert a_round(these) == ["a", "b"]

    def test_another_list_counts_from_the_next_round_on(self) -> None:
        these = servers("a", "b")
        these.begin_round()
        these.replace([Endpoint("mqtt", "x", 1), Endpoint("mqtt", "y", 1)])
        assert rest(these) == ["a", "b"]
        assert a_round(these) == ["x", "y"]

    def test_the_last_one_is_not_in_another_list(self) -> None:
        these = servers("a", "b")
        connect_to(these, "b")
        these.replace([Endpoint("mqtt", "x", 1)])
        assert a_round(these) == ["x"]

    def test_preferred_is_the_first_of_the_list(self) -> None:
        these = servers("a", "b")
        these.begin_round()
        assert these.is_preferred
        these.next()
        assert not these.is_preferred


class TestRedirection:
    def test_another_server_comes_first_once(self) -> None:
        these = servers("a", "b")
        these.begin_round()
        assert these.redirect(sent_to("x"), Given())
        assert a_round(these) == ["x", "a", "b"]
        assert a_round(these) == ["a", "b"]

    def test_several_are_tried_before_the_others(self) -> None:
        these = servers("a", "b", "c")
        these.begin_round()
        assert these.redirect(sent_to("x b:1883 y"), Given())
        assert a_round(these) == ["x", "b", "y", "a", "c"]

    def test_in_the_middle_of_a_round(self) -> None:
        these = servers("a", "b", "c")
        these.begin_round()
        assert these.redirect(sent_to("c:1883 x"), Given())
        these.follow()
        assert rest(these) == ["c", "x", "b"]
        assert a_round(these) == ["a", "b", "c"]

    def test_a_server_that_has_moved_is_replaced_for_good(self) -> None:
        these = servers("a", "b", "c")
        these.begin_round()
        these.next()
        assert these.redirect(sent_to("x y", MOVED), Given())
        assert a_round(these) == ["x", "y", "a", "c"]
        assert a_round(these) == ["a", "x", "y", "c"]
        these.reset()
        assert a_round(these) == ["a", "x", "y", "c"]

    def test_moved_to_one_of_the_list(self) -> None:
        these = servers("a", "b")
        these.begin_round()
        assert these.redirect(sent_to("b:1883", MOVED), Given())
        assert a_round(these) == ["b"]
        assert a_round(these) == ["b"]
        assert these.is_preferred

    def test_moved_from_where_it_was_sent_to(self) -> None:
        these = servers("a", "b")
        these.begin_round()
        assert these.redirect(sent_to("x"), Given())
        these.follow()
        assert these.redirect(sent_to("y", MOVED), Given())
        these.follow()
        assert rest(these) == ["y", "b"]
        assert a_round(these) == ["a", "b"]

    @pytest.mark.parametrize(
        "error",
        [
            sent_to(None),
            sent_to(""),
            sent_to("  "),
            sent_to("x", 0x88),
            sent_to("x", 0x00),
            sent_to("http://x"),
            sent_to("quic://x"),
            sent_to("x:port"),
            sent_to("x mqtt://"),
            OSError("use x"),
            UsageError("use x"),
            ConnectionClosed("by the network", server_reference="x"),
        ],
    )
    @pytest.mark.parametrize("moved", [False, True])
    def test_nowhere_to_go(self, error: Exception, moved: bool) -> None:
        if moved and isinstance(error, ConnectRefused) and error.reason_code == ANOTHER:
            error = sent_to(error.server_reference, MOVED)
        these = servers("a", "b")
        these.begin_round()
        assert not these.redirect(error, Given())
        assert rest(these) == ["a", "b"]
        assert a_round(these) == ["a", "b"]

    @pytest.mark.parametrize("reason_code", [ANOTHER, MOVED])
    @pytest.mark.parametrize("reference", ["mqtt://x", "x mqtt://y", "unix:///x"])
    def test_never_from_tls_to_plain(self, reason_code: int, reference: str) -> None:
        these = servers("a", scheme="mqtts")
        these.begin_round()
        assert not these.redirect(sent_to(reference, reason_code), Given())
        assert a_round(these) == ["a"]

    def test_a_name_alone_keeps_tls(self) -> None:
        these = servers("a", scheme="mqtts")
        these.begin_round()
        assert these.redirect(sent_to("x"), Given())
        these.follow()
        assert these.current == Endpoint("mqtts", "x", 8883)


class TestLimit:
    def test_so_many_times_in_a_row(self) -> None:
        these = servers("a", maximum_redirects=2)
        these.begin_round()
        assert these.redirect(sent_to("x"), Given())
        these.follow()
        assert these.redirect(sent_to("y"), Given())
        these.follow()
        assert not these.redirect(sent_to("z"), Given())
        assert these.current.host == "y"

    def test_never(self) -> None:
        these = servers("a", maximum_redirects=0)
        these.begin_round()
        assert not these.redirect(sent_to("x"), Given())

    def test_what_cannot_be_read_does_not_count(self) -> None:
        these = servers("a", maximum_redirects=1)
        these.begin_round()
        assert not these.redirect(sent_to("quic://x"), Given())
        assert these.redirect(sent_to("x"), Given())

    def test_a_lasting_connection_counts_anew(self) -> None:
        these = servers("a", maximum_redirects=1, reconnect=Reconnect(stable_after=7))
        these.begin_round()
        assert these.redirect(sent_to("x"), Given())
        these.connection_lasted(6.9)
        assert not these.redirect(sent_to("x"), Given())
        these.connection_lasted(7.0)
        assert these.redirect(sent_to("x"), Given())

    def test_connect_counts_anew_and_forgets_what_was_named(self) -> None:
        these = servers("a", maximum_redirects=1)
        these.begin_round()
        assert these.redirect(sent_to("x"), Given())
        these.reset()
        assert a_round(these) == ["a"]
        assert these.redirect(sent_to("x"), Given())
