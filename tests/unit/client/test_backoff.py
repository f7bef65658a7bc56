"""The delays before attempts to connect (rule 10)."""

from __future__ import annotations

import pytest

from mqttlite.client.backoff import Backoff
from mqttlite.options import Reconnect
from tests.behaviour import rule


def delays(backoff: Backoff, count: int) -> list[float | None]:
    return [backoff.next_delay() for _ in range(count)]


@rule(10)
def test_the_bound_doubles_up_to_the_maximum() -> None:
    backoff = Backoff(Reconnect(first_delay=1.0, maximum_delay=10.0), lambda: 1.0)
    assert delays(backoff, 6) == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


@rule(10)
def test_full_jitter() -> None:
    randoms = iter([0.0, 0.5, 0.25])
    backoff = Backoff(Reconnect(first_delay=4.0), lambda: next(randoms))
    assert delays(backoff, 3) == [0.0, 4.0, 4.0]


def test_default_policy() -> None:
    backoff = Backoff(Reconnect(), lambda: 1.0)
    assert delays(backoff, 8) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_first_delay_0_never_waits() -> None:
    assert delays(Backoff(Reconnect(first_delay=0.0), lambda: 1.0), 3) == [0.0, 0.0, 0.0]


def test_after_very_many_failures() -> None:
    backoff = Backoff(Reconnect(), lambda: 1.0)
    backoff.failures = 100_000
    assert backoff.next_delay() == 60.0


@pytest.mark.parametrize("attempts", [0, 1, 3])
def test_maximum_attempts(attempts: int) -> None:
    backoff = Backoff(Reconnect(maximum_attempts=attempts), lambda: 1.0)
    assert None not in delays(backoff, attempts)
    assert delays(backoff, 2) == [None, None]


@rule(10)
def test_begins_anew_only_after_a_connection_that_lasted() -> None:
    backoff = Backoff(Reconnect(stable_after=10.0), lambda: 1.0)
    delays(backoff, 3)
    backoff.connection_lasted(9.9)
    assert backoff.next_delay() == 8.0
    backoff.connection_lasted(10.0)
    assert backoff.next_delay() == 1.0
