"""What the broker remembers of a client between two connections."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from mqttlite.limits import NEVER_EXPIRES
from mqttlite.message import Properties, Will, remaining_seconds
from mqttlite.packets import SubscriptionOptions
from mqttlite.protocol import Outgoing, Session
from mqttlite.testing.connection import BrokerConnection


class Publication:
    """A message as the broker got it, from a client, a will or the program.

    ``properties`` are those that are passed on as they are; the expiry is counted down, so
    ``expires_at`` stands in its place. ``sender`` is a client identifier.
    """

    __slots__ = ("expires_at", "payload", "properties", "qos", "retain", "sender", "topic")

    def __init__(
        self,
        topic: str,
        payload: bytes,
        qos: int,
        retain: bool,
        properties: Properties | None,
        sender: str | None,
        now: float,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.sender = sender
        self.properties: Properties = {}
        self.expires_at: float | None = None
        if properties:
            self.properties = properties.copy()
            # These two say something between a client and the broker only.
            self.properties.pop("topic_alias", None)
            self.properties.pop("will_delay_interval", None)
            interval = self.properties.pop("message_expiry_interval", None)
            if interval is not None:
                self.expires_at = now + interval

    def has_expired(self, now: float) -> bool:
        """Whether the message is worth nothing any more."""
        return self.expires_at is not None and now >= self.expires_at


class Delivery(Outgoing):
    """A publication on its way to one client."""

    __slots__ = ("expires_at",)

    def __init__(
        self, publication: Publication, qos: int, retain: bool, identifiers: list[int]
    ) -> None:
        properties: Properties | None = None
        if publication.properties or identifiers or publication.expires_at is not None:
            properties = publication.properties.copy()
            if identifiers:  # [MQTT-3.3.4-3] [MQTT-3.3.4-4]
                properties["subscription_identifiers"] = identifiers
        super().__init__(publication.topic, publication.payload, qos, retain, properties)
        self.expires_at = publication.expires_at

    def has_expired(self, now: float) -> bool:
        """Whether the message is worth nothing any more."""
        return self.expires_at is not None and now >= self.expires_at

    def count_down(self, now: float) -> None:
        """Set the expiry interval to what is left of it [MQTT-3.3.2-6]."""
        if self.expires_at is not None and self.properties is not None:
            left = remaining_seconds(self.expires_at, now)
            self.properties["message_expiry_interval"] = left


@dataclass(slots=True, eq=False)
class Subscription:
    """One topic filter of one session."""

    session: BrokerSession
    topic_filter: str
    options: SubscriptionOptions
    identifier: int | None


@dataclass(slots=True, eq=False)
class BrokerSession:
    """The state that belongs to a client identifier [MQTT-3.1.3-2].

    ``flows`` holds the messages whose QoS 1 or 2 exchange has begun, ``queue`` those that wait
    for the client to come back, or to acknowledge others. ``connection`` is None while the
    client is away; then ``expires_at`` says when the session ends (None: never), and
    ``will_at`` when its ``will`` is to be published.
    """

    client_id: str
    flows: Session = field(default_factory=Session)
    subscriptions: dict[str, Subscription] = field(default_factory=dict)
    queue: deque[Delivery] = field(default_factory=deque)
    held_bytes: int = 0
    connection: BrokerConnection | None = None
    expiry_interval: int = 0
    expires_at: float | None = None
    will: Will | None = None
    will_at: float | None = None

    @property
    def is_online(self) -> bool:
        """Whether the client can be sent something now."""
        return self.connection is not None and self.connection.is_open

    @property
    def held(self) -> int:
        """The messages of QoS 1 and 2 that the client has not acknowledged yet."""
        return len(self.queue) + len(self.flows.outgoing)

    def leave(self, now: float) -> None:
        """The connection is gone: the session's remaining life begins."""
        self.connection = None
        if self.expiry_interval != NEVER_EXPIRES:
            self.expires_at = now + self.expiry_interval

    def next_deadline(self) -> float | None:
        """When the session ends, or its will is due."""
        times = [time for time in (self.expires_at, self.will_at) if time is not None]
        return min(times) if times else None


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as it was when the broker was asked."""

    client_id: str
    connected: bool
    subscriptions: dict[str, SubscriptionOptions]
    queued: int
    """Messages that wait to be sent."""
    unacknowledged: int
    """Messages that were sent and wait for the client's acknowledgement."""

    @classmethod
    def of(cls, session: BrokerSession) -> SessionInfo:
        """Take a picture of a session."""
        return cls(
            session.client_id,
            session.is_online,
            {name: item.options for name, item in session.subscriptions.items()},
            len(session.queue),
            len(session.flows.outgoing),
        )
