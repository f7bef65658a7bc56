"""A client written by hand: it talks to a BrokerCore in packets, and time is what it says."""

from __future__ import annotations

from typing import Any, cast

from mqttlite.enums import ProtocolVersion
from mqttlite.message import Properties
from mqttlite.packets import (
    Connack,
    Connect,
    Disconnect,
    Message,
    Packet,
    PacketReader,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionOptions,
    Unsubscribe,
    encode,
)
from mqttlite.protocol import ConnectionState
from mqttlite.testing import BrokerCore

V5 = ProtocolVersion.MQTT_5_0
V311 = ProtocolVersion.MQTT_3_1_1
V31 = ProtocolVersion.MQTT_3_1


class HandClient:
    """One network connection to a core; ``read()`` returns what the broker has sent since."""

    def __init__(self, core: BrokerCore, now: float = 0.0, version: ProtocolVersion = V5) -> None:
        self.core = core
        self.version = version
        self.connection = core.connection_opened(now)
        self.reader = PacketReader(version)
        self._came_meanwhile: list[Packet] = []

    def feed(self, data: bytes, now: float = 0.0) -> None:
        self.core.receive(self.connection, data, now)

    def write(self, *packets: Packet, now: float = 0.0) -> None:
        self.feed(b"".join(encode(packet, self.version) for packet in packets), now)

    def read(self, now: float = 0.0) -> list[Packet]:
        packets: list[Packet] = []
        while data := self.core.data_to_send(self.connection, now):
            packets += self.reader.feed(bytes(data))
        assert self.reader.error is None
        return packets

    def ask(self, *packets: Packet, now: float = 0.0) -> list[Packet]:
        """Write packets and read what comes then."""
        self.write(*packets, now=now)
        return self.read(now)

    def connect(self, client_id: str = "", now: float = 0.0, **arguments: Any) -> Connack:
        connect = Connect(client_id, version=self.version, **arguments)
        self.write(connect, now=now)
        connack, *self.early = self.read(now)
        assert isinstance(connack, Connack)
        return connack

    def subscribe(
        self,
        topic_filter: str,
        qos: int = 2,
        now: float = 0.0,
        identifier: int | None = None,
        **options: Any,
    ) -> list[Packet]:
        """Subscribe to a filter; return what came behind the SUBACK."""
        packet = Subscribe(
            1,
            [(topic_filter, SubscriptionOptions(qos, **options))],
            None if identifier is None else {"subscription_identifiers": [identifier]},
        )
        suback, *rest = self.ask(packet, now=now)
        assert isinstance(suback, Suback)
        assert suback.reason_codes[0] < 0x80
        return rest

    def unsubscribe(self, *topic_filters: str) -> list[Packet]:
        return self.ask(Unsubscribe(2, list(topic_filters)))

    def publish(
        self,
        topic: str,
        payload: bytes = b"",
        qos: int = 0,
        retain: bool = False,
        now: float = 0.0,
        packet_id: int = 1,
        **properties: Any,
    ) -> int:
        """Publish a message, to the end of its flow; return the reason code."""
        message = Message(topic, payload, qos, retain, packet_id=packet_id if qos else 0)
        if properties:
            message.properties = cast("Properties", properties)
        self.write(message, now=now)
        answers = []
        for packet in self.read(now):
            if isinstance(packet, Message):
                self._came_meanwhile.append(packet)
            else:
                answers.append(packet)
        if not qos:
            assert answers == []
            return 0
        (answer,) = answers
        assert isinstance(answer, Puback if qos == 1 else Pubrec)
        assert answer.packet_id == packet_id
        if isinstance(answer, Pubrec) and answer.reason_code < 0x80:
            assert self.ask(Pubrel(packet_id), now=now) == [Pubcomp(packet_id)]
        return answer.reason_code

    def messages(self, now: float = 0.0) -> list[Message]:
        """Return the messages that have come, and acknowledge them."""
        found = []
        packets = self._came_meanwhile + self.read(now)
        self._came_meanwhile = []
        while packets:
            for packet in packets:
                if isinstance(packet, Message):
                    found.append(packet)
                    if packet.qos == 1:
                        self.write(Puback(packet.packet_id), now=now)
                    elif packet.qos == 2:
                        self.write(Pubrec(packet.packet_id), now=now)
                elif isinstance(packet, Pubrel):
                    self.write(Pubcomp(packet.packet_id), now=now)
            packets = self.read(now)
        return found

    def payloads(self, now: float = 0.0) -> list[bytes]:
        return [message.payload for message in self.messages(now)]

    def disconnect(self, now: float = 0.0, code: int = 0, **properties: Any) -> None:
        """Say goodbye, and close."""
        self.write(Disconnect(code, cast("Properties | None", properties or None)), now=now)
        self.lose(now)

    def lose(self, now: float = 0.0) -> None:
        """Close without a word."""
        self.core.connection_lost(self.connection, now)

    def farewell(self, now: float = 0.0) -> int | None:
        """Return the reason code with which the broker ended the connection, if it gave one."""
        packets = self.read(now)
        assert self.connection.state in (ConnectionState.CLOSING, ConnectionState.CLOSED)
        if not packets:
            return None
        assert len(packets) == 1
        assert isinstance(packets[0], Disconnect)
        return packets[0].reason_code


def connected(
    core: BrokerCore,
    client_id: str = "",
    now: float = 0.0,
    version: ProtocolVersion = V5,
    **arguments: Any,
) -> HandClient:
    """Return a client that the broker has let in."""
    client = HandClient(core, now, version)
    connack = client.connect(client_id, now, **arguments)
    assert connack.reason_code == 0
    return client


def lasting(core: BrokerCore, client_id: str, now: float = 0.0, **arguments: Any) -> HandClient:
    """Return a client with a session that outlives its connection by 100 seconds."""
    properties = {"session_expiry_interval": 100} | arguments.pop("properties", {})
    arguments.setdefault("clean_start", False)
    return connected(core, client_id, now, properties=properties, **arguments)
