"""A client core driven by hand: the test is the shell and the server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from mqttlite.packets import Connack, Packet, PacketReader, Suback, Subscribe, encode

ENDPOINT = Endpoint("mqtt", "server.example", 1883)
VERSIONS = {
    None: ProtocolVersion.MQTT_5_0,
    "5.0": ProtocolVersion.MQTT_5_0,
    "3.1.1": ProtocolVersion.MQTT_3_1_1,
    "3.1": ProtocolVersion.MQTT_3_1,
}


class Hand:
    """A core, the time, and what a shell would do, one thing at a time."""

    def __init__(self, random: Callable[[], float] = lambda: 1.0, **options: Any) -> None:
        options.setdefault("endpoints", (ENDPOINT,))
        self.core = ClientCore(ClientOptions(**options), random)
        self.version = VERSIONS[options.get("version")]
        self.now = 1000.0

    def dial(self) -> None:
        """Begin to connect (or let the time of the next attempt come), and open the transport."""
        core = self.core
        if core.state is ClientState.IDLE:
            core.connect(self.now)
        if core.state is ClientState.WAITING:
            self.pass_deadline()
        if core.question is not None:
            self.answer()
        self.take_dial()
        core.transport_opened(self.now)

    def take_dial(self) -> Endpoint:
        """Where the core wants a network connection to; it is not opened yet."""
        action = self.core.take_action()
        assert isinstance(action, Dial)
        return action.endpoint

    def refuse(self, reason_code: int, **properties: Any) -> None:
        """Open the transport that was dialed; the server answers CONNECT with a reason code."""
        self.core.transport_opened(self.now)
        connack: Properties = properties  # type: ignore[assignment]
        self.receive(Connack(False, reason_code, connack or None))
        self.hang_up()

    def answer(self) -> None:
        """Call the functions that the core asks for, as a shell does."""
        question = self.core.question
        assert question is not None
        answers: dict[str, Any] = {}
        failure: Exception | None = None
        try:
            for name, function in question.functions.items():
                answers[name] = function()
        except Exception as error:
            failure = error
        self.core.answered(question, answers, failure, self.now)

    def connect(self, *, session_present: bool = False, **properties: Any) -> Hand:
        """Have an accepted connection; CONNECT and what follows CONNACK stay to be sent."""
        self.dial()
        connack: Properties = properties  # type: ignore[assignment]
        self.receive(Connack(session_present, 0, connack or None))
        if self.core.question is not None:
            self.answer()
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

    def lose_patience(self) -> None:
        """Wait until messages are dropped because nobody takes any."""
        assert not self.core.wants_data(self.now)
        self.pass_deadline()
        assert self.core.wants_data(self.now)

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
        self.consent()
        return subscription

    def consent(self) -> list[Subscribe]:
        """Grant all that was asked for with SUBSCRIBE, and return it."""
        reader = PacketReader(self.version, 1_000_000)
        asked = [each for each in reader.feed(self.sent()) if isinstance(each, Subscribe)]
        for each in asked:
            codes = [options.qos for _, options in each.subscriptions]
            self.receive(Suback(each.packet_id, codes))
        return asked

    def connect_now(self, *, session_present: bool = False, **properties: Any) -> Hand:
        """As connect(), for a core that dials already."""
        assert isinstance(self.core.take_action(), Dial)
        self.core.transport_opened(self.now)
        connack: Properties = properties  # type: ignore[assignment]
        self.receive(Connack(session_present, 0, connack or None))
        return self
