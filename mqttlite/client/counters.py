"""What a client has done, in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mqttlite.client.events import DropReason
from mqttlite.records import field, record

_NONE: Final[Mapping[DropReason, int]] = {}


@record()
class Counters:
    """A client's numbers as they were when it was asked: ``client.counters``.

    The first group counts from the making of the client on, over all connections; the second is
    what there is at the moment.
    """

    connections: int = 0
    """Connections that a server has accepted; all but the first are reconnections."""
    failed_attempts: int = 0
    """Connections that were lost, and attempts to reconnect that came to nothing."""
    sent_messages: int = 0
    """Messages that were sent; those that were sent again are not counted again."""
    received_messages: int = 0
    """Messages that came, whoever they were for."""
    sent_bytes: int = 0
    """Bytes of MQTT, without what TLS and the network add."""
    received_bytes: int = 0
    dropped_messages: Mapping[DropReason, int] = field(default_factory=lambda: _NONE)
    """Messages that went no further, by the reason."""

    outbox_messages: int = 0
    """Messages that wait to be sent."""
    outbox_bytes: int = 0
    """Bytes of their payloads."""
    in_flight: int = 0
    """Messages of QoS 1 and 2 that were sent and are not acknowledged."""
    buffered_messages: int = 0
    """Messages that wait for the program, in all subscriptions."""
    ping_round_trip: float | None = None
    """Seconds that the server took to answer the last ping of this connection."""
