"""What the core reports: the connection as it comes and goes, and messages that are dropped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

from mqttlite.packets import Connack
from mqttlite.records import record


@record(frozen=True)
class Connected:
    """The server has accepted the connection; ``connack`` is what it said.

    ``server`` is its address as a URL without credentials.
    """

    connack: Connack
    server: str = ""


@record(frozen=True)
class Disconnected:
    """The connection, or an attempt to connect, has ended because of ``error``.

    Where that is a ConnectionClosed, ``error.by`` says who ended it, and ``error.reason_code``
    why. The next attempt is made ``retry_in`` seconds later; None: there will be none.
    """

    error: Exception
    retry_in: float | None


@record(frozen=True)
class Reconnecting:
    """A server is about to be tried, other than at the beginning of ``connect()``.

    ``server`` is its address, ``attempt`` the number of attempts since the last connection that
    has lasted.
    """

    server: str
    attempt: int


class DropReason(Enum):
    """Why a message went no further."""

    BUFFER_FULL = "buffer full"
    """Received with QoS 0, and the subscription's buffer had no room."""
    UNMATCHED = "unmatched"
    """Received, and no subscription matches its topic."""
    INVALID_PAYLOAD = "invalid payload"
    """Received, said to be UTF-8 text, and is not (``check_payload_format``)."""
    OUTBOX_FULL = "outbox full"
    """Published, and given up by the policy of the outbox."""
    NOT_CONNECTED = "not connected"
    """Published with QoS 0 while there was no connection."""
    EXPIRED = "expired"
    """Published, and its Message Expiry Interval ran out before it could be sent."""
    NOT_SENDABLE = "not sendable"
    """Published, and more than the server takes that is connected now."""


@record(frozen=True)
class Dropped:
    """``count`` messages were dropped since the last report of the same kind.

    ``topic_filters`` are those of the subscription whose buffer was full.
    """

    reason: DropReason
    count: int
    topic_filters: tuple[str, ...] = ()


Event = Connected | Disconnected | Reconnecting
"""What is reported at once, in order."""


class Reporter(Protocol):
    """Who tells the program; so do the clients. Neither calls a function of the program at once."""

    def report(self, event: Event) -> None:
        """Something has happened to the connection."""

    def report_drops(self) -> None:
        """Messages were dropped: there are new ones in ``ClientCore.drops``."""


@record(frozen=True, eq=False)
class Question:
    """Functions of the program to call, by name; then ``ClientCore.answered()``.

    They may take their time, and may return something to be awaited. When
    ``ClientCore.question`` is another one, or None, nobody wants the answers any more.
    """

    functions: Mapping[str, Callable[[], Any]]
    then: Callable[[Mapping[str, Any], float], None]
    """For the core: goes on with the answers."""
    failed: Callable[[Exception, float], None]
    """For the core: goes on without."""
