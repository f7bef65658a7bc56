"""A client core, a small broker and the link between them, with a clock of their own.

Nothing happens by itself: ``World.run()`` moves bytes, obeys the core's actions and, when nothing
moves any more, sets the clock to the next deadline.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from mqttlite.client import (
    ClientCore,
    ClientOptions,
    ClientState,
    Connected,
    DeliveryState,
    Dial,
    Disconnected,
    Event,
    HangUp,
    Operation,
    SubscriptionState,
    make_subscription,
)
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ProtocolVersion
from mqttlite.message import Message, Properties
from mqttlite.options import Reconnect
from mqttlite.packets import Connack, Connect, Disconnect, Suback, Subscribe, Unsuback, Unsubscribe
from mqttlite.protocol import Outgoing, ServerConnection, Session
from mqttlite.topics import matches

ENDPOINT = Endpoint("mqtt", "server.example", 1883)

V5 = ProtocolVersion.MQTT_5_0


def make_core(*, random: Callable[[], float] = lambda: 1.0, **options: Any) -> ClientCore:
    """A core with these options; without jitter: every delay is the longest that it can be."""
    options.setdefault("endpoints", (ENDPOINT,))
    return ClientCore(ClientOptions(**options), random)


class BrokerSession:
    """What the broker keeps of one client."""

    def __init__(self) -> None:
        self.state = Session()
        self.filters: dict[str, int] = {}
        self.queue: deque[Outgoing] = deque()
        self.is_kept = False

    def queue_matching(self, message: Message) -> None:
        granted = [qos for each, qos in self.filters.items() if matches(each, message.topic)]
        if granted:
            qos = min(message.qos, max(granted))
            self.queue.append(Outgoing(message.topic, message.payload, qos))


class Broker:
    """Takes messages and hands them on; what it takes is in ``published``, in order."""

    def __init__(
        self,
        *,
        connack: Properties | None = None,
        receive_maximum: int = 65_535,
        topic_alias_maximum: int = 0,
    ) -> None:
        self.connack = connack
        self.receive_maximum = receive_maximum
        self.topic_alias_maximum = topic_alias_maximum
        self.sessions: dict[str, BrokerSession] = {}
        self.published: list[Message] = []
        self.connects: list[Connect] = []
        self.pings_answered = 0
        self.is_silent = False
        """Takes no bytes and sends none, as a machine that has died would."""

    def open(self, now: float) -> Peer:
        return Peer(self, now)

    def publish(self, topic: str, payload: bytes, qos: int = 0) -> None:
        """A message from some other client."""
        for session in self.sessions.values():
            session.queue_matching(Message(topic, payload, qos))

    def forget_sessions(self) -> None:
        """Restart without a disk."""
        self.sessions.clear()


class Peer:
    """The broker's side of one connection."""

    def __init__(self, broker: Broker, now: float) -> None:
        self.broker = broker
        self.connection = ServerConnection(
            now,
            receive_maximum=broker.receive_maximum,
            topic_alias_maximum=broker.topic_alias_maximum,
        )
        self.session = BrokerSession()

    def receive(self, data: bytes, now: float) -> None:
        self.connection.receive(data, now)
        self._process()

    def _process(self) -> None:
        connection = self.connection
        while received := connection.take_received():
            for packet in received:
                if isinstance(packet, Connect):
                    self._accept(packet)
                elif isinstance(packet, Message):
                    self._take(packet)
                elif isinstance(packet, Subscribe):
                    codes = []
                    for topic_filter, options in packet.subscriptions:
                        self.session.filters[topic_filter] = options.qos
                        codes.append(options.qos)
                    connection.send(Suback(packet.packet_id, codes))
                elif isinstance(packet, Unsubscribe):
                    for topic_filter in packet.topic_filters:
                        self.session.filters.pop(topic_filter, None)
                    connection.send(Unsuback(packet.packet_id, [0] * len(packet.topic_filters)))
                elif isinstance(packet, Disconnect):
                    properties = packet.properties or {}
                    if properties.get("session_expiry_interval") == 0:
                        self.session.is_kept = False
        connection.completed.clear()

    def _accept(self, connect: Connect) -> None:
        broker = self.broker
        broker.connects.append(connect)
        known = broker.sessions.get(connect.client_id)
        present = known is not None and not connect.clean_start
        if known is None or connect.clean_start:
            known = BrokerSession()
        self.session = broker.sessions[connect.client_id] = known
        if connect.version == V5:
            properties = connect.properties or {}
            known.is_kept = properties.get("session_expiry_interval", 0) > 0
        else:
            known.is_kept = not connect.clean_start
        answer: Properties = {}
        if broker.connack is not None:
            answer = broker.connack.copy()
        if broker.receive_maximum < 65_535:
            answer["receive_maximum"] = broker.receive_maximum
        self.connection.accept(known.state, session_present=present, properties=answer)
        self.connection.resume()

    def _take(self, message: Message) -> None:
        self.broker.published.append(message)
        for session in self.broker.sessions.values():
            session.queue_matching(message)
        message.ack()

    def data_to_send(self, now: float) -> bytes:
        """What goes to the client now."""
        connection = self.connection
        queue = self.session.queue
        while queue and (not queue[0].qos or connection.send_quota > 0):
            if connection.close_cause is not None or connection.connect is None:
                break
            connection.publish(queue.popleft())
        return b"".join(iter(lambda: bytes(connection.data_to_send(now)), b""))

    def close(self) -> None:
        """The network connection is gone."""
        self.connection.receive_eof()
        connect = self.connection.connect
        if connect is not None and not self.session.is_kept:
            sessions = self.broker.sessions
            if sessions.get(connect.client_id) is self.session:
                del sessions[connect.client_id]


class Link:
    """One network connection: bytes under way, and when it will be cut."""

    def __init__(self, peer: Peer, cut_after: int | None) -> None:
        self.peer = peer
        self.to_server = bytearray()
        self.to_client = bytearray()
        self.left = cut_after
        """Bytes, of both directions, until the link is cut; None: never."""
        self.finishing = False

    def admit(self, data: bytes) -> bytes:
        """Return as much of the data as passes before the cut."""
        if self.left is None:
            return data
        data = data[: self.left]
        self.left -= len(data)
        return data

    @property
    def is_cut(self) -> bool:
        return self.left == 0


class World:
    """The core, the broker, the links between them, and the time."""

    def __init__(
        self,
        core: ClientCore,
        broker: Broker,
        *,
        chunk: Callable[[], int] = lambda: 1 << 30,
        cuts: Iterator[int | None] | None = None,
    ) -> None:
        self.core = core
        self.broker = broker
        self.now = 1000.0
        self.link: Link | None = None
        self.events: list[Event] = []
        self.dials = 0
        self.steps = 0
        self._chunk = chunk
        self._cuts = cuts
        self.after_step: Callable[[], None] = lambda: None

    # --- what a program does

    def connect(self) -> Operation[Connack]:
        return self.core.connect(self.now)

    def connected(self) -> World:
        """Connect, and run until it is done."""
        operation = self.connect()
        self.run_until(lambda: operation.done)
        operation.result()
        return self

    def connected_at_last(self) -> World:
        """Connect, as often as it takes."""
        while self.try_to_connect() is not None:
            pass
        return self

    def try_to_connect(self) -> Exception | None:
        """Connect; return why it failed, if it did."""
        operation = self.connect()
        self.run_until(lambda: operation.done)
        return operation.error

    def publish(
        self, topic: str, payload: bytes = b"", qos: int = 0, **properties: Any
    ) -> DeliveryState:
        delivery = DeliveryState(topic, payload, qos, False, properties or None)  # type: ignore[arg-type]
        self.core.publish(delivery, self.now, can_wait=False)
        return delivery

    def subscribe(self, topic_filters: str | Sequence[str], **arguments: Any) -> SubscriptionState:
        subscription = make_subscription(topic_filters, **arguments)
        self.core.subscribe(subscription)
        return subscription

    # --- time passes

    def run(self, seconds: float = 0.0) -> None:
        """Let everything happen that happens within this time."""
        end = self.now + seconds
        while True:
            if self.step():
                continue
            due = self._next_deadline()
            if due is None or due > end:
                self.now = max(self.now, end)
                return
            self.now = max(self.now, due)
            self._handle_deadlines()

    def run_until(self, condition: Callable[[], bool], seconds: float = 86_400.0) -> None:
        """Let time pass until something is so."""
        end = self.now + seconds
        while not condition():
            if self.step():
                continue
            due = self._next_deadline()
            if due is None or due > end:
                raise AssertionError(f"it never happens ({self.core.state}, next deadline {due})")
            self.now = max(self.now, due)
            self._handle_deadlines()

    def _next_deadline(self) -> float | None:
        deadlines = [self.core.next_deadline()]
        if self.link is not None and not self.broker.is_silent:
            deadlines.append(self.link.peer.connection.next_deadline())
        return min((each for each in deadlines if each is not None), default=None)

    def _handle_deadlines(self) -> None:
        self.core.handle_deadline(self.now)
        if self.link is not None and not self.broker.is_silent:
            self.link.peer.connection.handle_deadline(self.now)
        due = self.core.next_deadline()
        assert due is None or due > self.now or self.core._action is not None, "a busy loop"

    def step(self) -> bool:
        """Do one round of what can be done now; tell whether anything was."""
        self.steps += 1
        moved = self._act()
        moved |= self._move()
        self.events += self.core.events
        self.core.events.clear()
        self.core.take_ready()
        self.core.finished.clear()
        self.after_step()
        return moved

    def _act(self) -> bool:
        action = self.core.take_action()
        if isinstance(action, Dial):
            self.dials += 1
            cut = next(self._cuts, None) if self._cuts is not None else None
            self.link = Link(self.broker.open(self.now), cut)
            self.core.transport_opened(self.now)
        elif isinstance(action, HangUp):
            if action.graceful and self.link is not None:
                self.link.finishing = True
            else:
                self.drop()
        return action is not None

    def _move(self) -> bool:
        link = self.link
        if link is None:
            return False
        moved = False
        while data := self.core.data_to_send(self.now):
            moved = True
            link.to_server += link.admit(bytes(data))
        if link.to_server and not self.broker.is_silent:
            moved = True
            chunk = bytes(link.to_server[: self._chunk()])
            del link.to_server[: len(chunk)]
            link.peer.receive(chunk, self.now)
        if not self.broker.is_silent and (data := link.peer.data_to_send(self.now)):
            moved = True
            link.to_client += link.admit(data)
        if link.to_client and self.core.wants_data(self.now):
            moved = True
            chunk = bytes(link.to_client[: self._chunk()])
            del link.to_client[: len(chunk)]
            self.core.receive(chunk, self.now)
            self.core.wants_data(self.now)
        if self.link is not link:
            return True
        done = not link.to_server and not link.to_client
        over = link.is_cut or link.finishing or link.peer.connection.close_cause is not None
        if done and over and not self.broker.is_silent:
            self.drop()
            return True
        return moved

    def drop(self, error: Exception | None = None) -> None:
        """The network connection is gone."""
        link, self.link = self.link, None
        if link is not None:
            link.peer.close()
        self.core.transport_closed(self.now, error)

    # --- what happened

    @property
    def connections(self) -> int:
        return sum(isinstance(event, Connected) for event in self.events)

    @property
    def losses(self) -> int:
        return sum(isinstance(event, Disconnected) for event in self.events)


def take_all(subscription: SubscriptionState) -> list[bytes]:
    """Take what a subscription has, and acknowledge it."""
    payloads = []
    while (message := subscription.take()) is not None:
        payloads.append(message.payload)
    return payloads


FAST = Reconnect(first_delay=0.1, maximum_delay=1.0)
"""A policy for links that break all the time."""

__all__ = [
    "ENDPOINT",
    "FAST",
    "V5",
    "Broker",
    "BrokerSession",
    "ClientState",
    "Link",
    "Peer",
    "World",
    "make_core",
    "take_all",
]
