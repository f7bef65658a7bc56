"""A client core driven by hand: the test is the shell and the server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mqttlite.client import (
    ClientCore,
    ClientOptions,
    ClientState,
    DeliveryState,
    Dial,
    HangUp,
    SubscriptionState,
    make_subscription,
)
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ProtocolVersion
from mqttlite.message import Properties
from mqttlite.packets import Connack, Packet, Suback, encode

ENDPOINT = Endpoint("mqtt", "server.example", 1883)
VERSIONS = {
    None: ProtocolVersion.MQTT_5_0,
    "5.0": ProtocolVersion.MQTT_5_0,
    "3.1.1": ProtocolVersion.MQTT_3_1_1,
    "3.1": ProtocolVersion.MQTT_3_1,
}


class Hand:
    """A core, the time, and what a shell would do, one thing at a time."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("endpoints", (ENDPOINT,))
        self.core = ClientCore(ClientOptions(**options), lambda: 1.0)
        self.version = VERSIONS[options.get("version")]
        self.now = 1000.0

    def dial(self) -> None:
        """Begin to connect (or let the time of the next attempt come), and open the transport."""
        core = self.core
        if core.state is ClientState.IDLE:
            core.connect(self.now)
        if core.state is ClientState.WAITING:
            self.pass_deadline()
        assert isinstance(core.take_action(), Dial)
        core.transport_opened(self.now)

    def connect(self, *, session_present: bool = False, **properties: Any) -> Hand:
        """Have an accepted connection; CONNECT and what follows CONNACK stay to be sent."""
        self.dial()
        connack: Properties = properties  # type: ignore[assignment]
        self.receive(Connack(session_present, 0, connack or None))
        assert self.core.state is ClientState.CONNECTED
        return self

    def receive(self, *packets: Packet) -> None:
        self.core.receive(b"".join(encode(each, self.version) for each in packets), self.now)

    def sent(self) -> bytes:
        """What the core has to send now."""
        return b"".join(iter(lambda: bytes(self.core.data_to_send(self.now)), b""))

    def pass_deadline(self) -> None:
        deadline = self.core.next_deadline()
        assert deadline is not None
        self.now = max(self.now, deadline)
        self.core.handle_deadline(self.now)

    def lose(self, error: Exception | None = None) -> None:
        self.core.transport_closed(self.now, error)

    def hang_up(self) -> HangUp:
        """Obey the core's wish to close."""
        action = self.core.take_action()
        assert isinstance(action, HangUp)
        self.lose()
        return action

    def publish(
        self, topic: str, payload: bytes = b"", qos: int = 1, **properties: Any
    ) -> DeliveryState:
        delivery = DeliveryState(topic, payload, qos, False, properties or None)  # type: ignore[arg-type]
        delivery.waiters = ["somebody"]
        self.core.publish(delivery, self.now, can_wait=False)
        return delivery

    def subscribe(
        self, topic_filters: str | Sequence[str], qos: int = 1, **arguments: Any
    ) -> SubscriptionState:
        subscription = make_subscription(topic_filters, qos=qos, **arguments)
        subscription.subscribed.waiters = ["somebody"]
        self.core.subscribe(subscription)
        return subscription

    def subscribed(
        self, topic_filters: str | Sequence[str], qos: int = 1, **arguments: Any
    ) -> SubscriptionState:
        """Subscribe, and have the server's consent. The core has to be connected."""
        self.sent()
        subscription = self.subscribe(topic_filters, qos, **arguments)
        sent = self.sent()
        packet_id = int.from_bytes(sent[2:4])
        self.receive(Suback(packet_id, [qos] * len(subscription.topic_filters)))
        return subscription

    def connect_now(self, *, session_present: bool = False, **properties: Any) -> Hand:
        """As connect(), for a core that dials already."""
        assert isinstance(self.core.take_action(), Dial)
        self.core.transport_opened(self.now)
        connack: Properties = properties  # type: ignore[assignment]
        self.receive(Connack(session_present, 0, connack or None))
        return self
