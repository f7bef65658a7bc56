"""The embedded broker: who gets which message, and how."""

from typing import Any

import pytest

from mqttlite.enums import ProtocolVersion, ReasonCode
from mqttlite.errors import InvalidTopic, UsageError
from mqttlite.packets import Message, Puback, Pubcomp, Pubrec, Pubrel
from mqttlite.testing import BrokerCore
from tests.conformance.conforms import conforms
from tests.unit.testing.client import V5, V31, V311, connected

VERSIONS = pytest.mark.parametrize("version", [V31, V311, V5])


@conforms("3.1.1", "MQTT-3.8.4-6")
@conforms("5.0", "MQTT-3.8.4-8")
@VERSIONS
@pytest.mark.parametrize("published", [0, 1, 2])
@pytest.mark.parametrize("subscribed", [0, 1, 2])
def test_a_message_comes_with_the_lower_qos(
    version: ProtocolVersion, published: int, subscribed: int
) -> None:
    core = BrokerCore()
    sender = connected(core, "s", version=version)
    receiver = connected(core, "r", version=version)
    receiver.subscribe("a/b", subscribed)
    assert sender.publish("a/b", b"x", published) == 0
    (message,) = receiver.messages()
    assert (message.topic, message.payload) == ("a/b", b"x")
    assert message.qos == min(published, subscribed)
    assert not message.retain
    assert not message.dup
    assert core.sessions["r"].held == core.sessions["r"].held_bytes == 0
    assert core.counters.received == core.counters.sent == 1


def test_a_qos_2_message_that_comes_again_is_not_delivered_again() -> None:
    core = BrokerCore()
    client = connected(core)
    client.subscribe("a", 0)
    packet = Message("a", b"x", 2, packet_id=7)
    assert client.ask(packet) == [Message("a", b"x"), Pubrec(7)]
    packet.dup = True
    assert client.ask(packet) == [Pubrec(7)]
    assert client.ask(Pubrel(7)) == [Pubcomp(7)]
    packet.dup = False
    assert client.ask(packet) == [Message("a", b"x"), Pubrec(7)]


def test_answers_come_in_the_order_of_the_messages() -> None:
    client = connected(BrokerCore())
    client.subscribe("here")
    assert client.ask(
        Message("nowhere", b"", 1, packet_id=1),
        Message("nowhere", b"", 2, packet_id=2),
        Message("here", b"", 1, packet_id=3),
        Message("nowhere", b"", 1, packet_id=4),
    ) == [
        Puback(1, ReasonCode.NO_MATCHING_SUBSCRIBERS),
        Pubrec(2, ReasonCode.NO_MATCHING_SUBSCRIBERS),
        Message("here", b"", 1, packet_id=1),
        Puback(3),
        Puback(4, ReasonCode.NO_MATCHING_SUBSCRIBERS),
    ]


@VERSIONS
def test_nobody_listens(version: ProtocolVersion) -> None:
    client = connected(BrokerCore(), "c", version=version)
    code = ReasonCode.NO_MATCHING_SUBSCRIBERS if version == V5 else 0
    assert client.publish("a", b"", 1) == code
    assert client.publish("a", b"", 2) == code


@conforms(
    "5.0",
    "MQTT-3.3.2-4",
    "MQTT-3.3.2-15",
    "MQTT-3.3.2-16",
    "MQTT-3.3.2-17",
    "MQTT-3.3.2-18",
    "MQTT-3.3.2-20",
)
def test_properties_are_passed_on() -> None:
    core = BrokerCore(topic_alias_maximum=2)
    client = connected(core)
    client.subscribe("a")
    properties: dict[str, Any] = {
        "payload_format_indicator": 1,
        "content_type": "text/plain",
        "response_topic": "b",
        "correlation_data": b"1",
        "user_properties": [("z", "1"), ("a", "2"), ("z", "3")],
    }
    client.publish("a", b"x", topic_alias=2, **properties)
    (message,) = client.messages()
    assert message.properties == properties  # and no topic alias
    client.write(Message("", b"y", properties={"topic_alias": 2}))
    assert client.payloads() == [b"y"]


def test_properties_do_not_reach_mqtt_3() -> None:
    core = BrokerCore()
    old = connected(core, "old", version=V311)
    old.subscribe("a")
    connected(core).publish("a", b"x", 1, content_type="text/plain")
    assert old.messages() == [Message("a", b"x", 1, packet_id=1)]


@conforms("3.1.1", "MQTT-3.3.2-3", "MQTT-4.7.2-1")
@conforms("5.0", "MQTT-3.3.2-3", "MQTT-4.7.2-1")
@VERSIONS
def test_wildcards(version: ProtocolVersion) -> None:
    core = BrokerCore()
    client = connected(core, "c", version=version)
    client.subscribe("a/+/c")
    client.subscribe("d/#")
    client.subscribe("+/x")
    for topic in ("a/b/c", "a/b", "d", "d/e/f", "$SYS/x", "y/x"):
        core.publish(topic, topic, 0)
    assert client.payloads() == [b"a/b/c", b"d", b"d/e/f", b"y/x"]


@conforms("3.1.1", "MQTT-3.3.5-1")
@conforms("5.0", "MQTT-3.3.4-2", "MQTT-3.3.4-3", "MQTT-3.3.4-4")
@VERSIONS
def test_overlapping_subscriptions_give_one_copy(version: ProtocolVersion) -> None:
    core = BrokerCore()
    client = connected(core, "c", version=version)
    five = version == V5
    client.subscribe("a/#", 1, identifier=5 if five else None)
    client.subscribe("a/b", 2, identifier=6 if five else None)
    client.subscribe("+/b", 0)
    core.publish("a/b", b"x", 0, qos=2)
    (message,) = client.messages()
    assert message.qos == 2
    assert sorted(message.subscription_identifiers) == ([5, 6] if five else [])


@conforms("5.0", "MQTT-3.8.3-3")
def test_no_local() -> None:
    core = BrokerCore()
    client, other = connected(core, "c"), connected(core, "o")
    client.subscribe("a", no_local=True)
    assert client.publish("a", b"mine", 1) == ReasonCode.NO_MATCHING_SUBSCRIBERS
    other.publish("a", b"other's")
    core.publish("a", b"the broker's", 0)
    assert client.payloads() == [b"other's", b"the broker's"]


@conforms("5.0", "MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-6")
def test_unsubscribe() -> None:
    core = BrokerCore()
    client = connected(core)
    client.subscribe("a")
    client.subscribe("$share/g/a")
    (unsuback,) = client.unsubscribe("a", "b", "$share/g/a")
    assert unsuback.reason_codes == [0, ReasonCode.NO_SUBSCRIPTION_EXISTED, 0]  # type: ignore[union-attr]
    assert core.publish("a", b"x", 0) == 0


@conforms("5.0", "MQTT-3.8.4-3")
def test_subscribing_again_replaces_the_options() -> None:
    core = BrokerCore()
    client = connected(core)
    client.subscribe("a", 2, identifier=1)
    client.subscribe("a", 1, identifier=2)
    assert core.publish("a", b"x", 0, qos=2) == 1
    (message,) = client.messages()
    assert (message.qos, message.subscription_identifiers) == (1, [2])


class TestShared:
    def test_members_take_turns(self) -> None:
        core = BrokerCore()
        clients = [connected(core, name) for name in "abc"]
        for client in clients:
            client.subscribe("$share/g/t/#")
        for number in range(6):
            assert core.publish("t/x", str(number), 0, qos=1) == 1
        assert [client.payloads() for client in clients] == [
            [b"0", b"3"],
            [b"1", b"4"],
            [b"2", b"5"],
        ]

    def test_who_is_away_is_passed_over_unless_all_are(self) -> None:
        core = BrokerCore()
        keep: dict[str, Any] = {"properties": {"session_expiry_interval": 100}}
        clients = [connected(core, name, **keep) for name in "ab"]
        for client in clients:
            client.subscribe("$share/g/t")
        clients[0].lose()
        for number in range(2):
            core.publish("t", str(number), 0, qos=1)
        assert clients[1].payloads() == [b"0", b"1"]
        clients[1].lose()
        for number in range(2):
            core.publish("t", str(number), 0, qos=1)
        assert [len(core.sessions[name].queue) for name in "ab"] == [1, 1]

    def test_each_group_gets_a_copy_and_so_do_own_subscriptions(self) -> None:
        core = BrokerCore()
        client = connected(core)
        client.subscribe("$share/g/t", 1, identifier=1)
        client.subscribe("$share/h/t", 1, identifier=2)
        client.subscribe("t", 1, identifier=3)
        assert core.publish("t", b"x", 0) == 3
        found = [message.subscription_identifiers for message in client.messages()]
        assert sorted(found) == [[1], [2], [3]]

    @conforms("5.0", "MQTT-4.8.2-4")
    def test_a_message_stays_with_the_member_that_was_chosen(self) -> None:
        core = BrokerCore()
        keep: dict[str, Any] = {
            "properties": {"session_expiry_interval": 100},
            "clean_start": False,
        }
        first, second = (connected(core, name, **keep) for name in "ab")
        first.subscribe("$share/g/t")
        second.subscribe("$share/g/t")
        core.publish("t", b"x", 0, qos=2)
        first.lose()
        assert second.payloads() == []
        again = connected(core, "a", **keep)
        assert [packet.payload for packet in again.early if isinstance(packet, Message)] == [b"x"]

    def test_the_last_member_takes_the_group_along(self) -> None:
        core = BrokerCore()
        first, second = connected(core, "a"), connected(core, "b")
        first.subscribe("$share/g/t")
        second.subscribe("$share/g/t")
        first.unsubscribe("$share/g/t")
        assert core.publish("t", b"x", 0) == 1
        second.disconnect()
        assert core.publish("t", b"x", 0) == 0


class TestRetained:
    @conforms(
        "3.1.1", "MQTT-3.3.1-8", "MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11", "MQTT-3.3.1-12"
    )
    @conforms("5.0", "MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-7", "MQTT-3.3.1-8")
    @VERSIONS
    def test_it_is_kept_replaced_and_deleted(self, version: ProtocolVersion) -> None:
        core = BrokerCore()
        client = connected(core, "c", version=version)
        client.publish("a", b"1", 1, retain=True)
        client.publish("a", b"2", 1, retain=True)
        client.publish("a", b"not retained", 1)
        assert client.subscribe("a", 0) == [Message("a", b"2", 0, True)]
        client.publish("a", b"", retain=True)
        assert client.messages() == [Message("a", b"")]
        assert client.subscribe("a") == []
        assert core.router.retained == {}

    @conforms("3.1.1", "MQTT-3.3.1-6", "MQTT-4.7.2-1")
    @conforms("5.0", "MQTT-4.7.2-1")
    def test_wildcards_find_it(self) -> None:
        core = BrokerCore()
        for topic in ("a/b", "a/c", "b", "$SYS/a"):
            core.publish(topic, topic, 0, retain=True)
        client = connected(core)
        client.subscribe("$share/g/a/+")
        assert client.payloads() == []  # not for shared subscriptions
        assert [m.topic for m in client.subscribe("a/+", identifier=9)] == ["a/b", "a/c"]  # type: ignore[union-attr]
        found = client.subscribe("#", 0)
        assert [m.topic for m in found] == ["a/b", "a/c", "b"]  # type: ignore[union-attr]

    @conforms("5.0", "MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11")
    def test_retain_handling(self) -> None:
        core = BrokerCore()
        core.publish("a", b"x", 0, retain=True)
        client = connected(core)
        assert client.subscribe("a", retain_handling=2) == []
        assert client.subscribe("a", retain_handling=1) == []  # not a new subscription
        client.unsubscribe("a")
        (message,) = client.subscribe("a", retain_handling=1, identifier=3)
        assert isinstance(message, Message)
        assert message.retain
        assert message.subscription_identifiers == [3]
        assert len(client.subscribe("a", retain_handling=0)) == 1
        assert len(client.subscribe("a", retain_handling=0)) == 1

    @conforms("5.0", "MQTT-3.3.1-12", "MQTT-3.3.1-13")
    def test_retain_as_published(self) -> None:
        core = BrokerCore()
        plain, verbatim = connected(core, "p"), connected(core, "v")
        plain.subscribe("a")
        verbatim.subscribe("a", retain_as_published=True)
        core.publish("a", b"x", 0, retain=True)
        core.publish("a", b"x", 0, retain=False)
        assert [message.retain for message in plain.messages()] == [False, False]
        assert [message.retain for message in verbatim.messages()] == [True, False]

    def test_it_expires(self) -> None:
        core = BrokerCore()
        core.publish("a", b"x", 0.0, retain=True, message_expiry_interval=10)
        client = connected(core)
        (message,) = client.subscribe("a", now=4.5)
        assert isinstance(message, Message)
        assert message.message_expiry_interval == 6
        assert client.subscribe("a", now=10.0) == []
        assert core.router.retained == {}


class TestExpiry:
    @conforms("5.0", "MQTT-3.3.2-5", "MQTT-3.3.2-6")
    def test_it_is_counted_down_in_the_queue(self) -> None:
        core = BrokerCore()
        keep: dict[str, Any] = {
            "properties": {"session_expiry_interval": 100},
            "clean_start": False,
        }
        client = connected(core, "c", **keep)
        client.subscribe("a")
        client.lose()
        core.publish("a", b"short", 0.0, qos=1, message_expiry_interval=5)
        core.publish("a", b"long", 0.0, qos=1, message_expiry_interval=50)
        client = connected(core, "c", now=10.0, **keep)
        (message,) = client.early
        assert isinstance(message, Message)
        assert (message.payload, message.message_expiry_interval) == (b"long", 40)
        assert core.counters.expired == 1
        client.lose(10.0)
        # Delivery has begun: it does not expire any more, but goes on to be counted down.
        client = connected(core, "c", now=70.0, **keep)
        (message,) = client.early
        assert isinstance(message, Message)
        assert message.dup
        assert message.message_expiry_interval == 0
        assert core.sessions["c"].held_bytes == 4


class TestBounds:
    def test_the_clients_receive_maximum(self) -> None:
        core = BrokerCore()
        client = connected(core, "c", properties={"receive_maximum": 2})
        client.subscribe("a")
        for number in range(4):
            core.publish("a", str(number), 0, qos=1)
        core.publish("a", b"not held back", 0)
        packets = client.read()
        assert [p.payload for p in packets if isinstance(p, Message)] == [
            b"0",
            b"1",
            b"not held back",
        ]
        assert client.ask(Puback(1)) == [Message("a", b"2", 1, packet_id=3)]
        assert core.sessions["c"].held == 3

    def test_a_session_holds_so_many_messages(self) -> None:
        core = BrokerCore(maximum_held=2)
        client = connected(core, "c", properties={"session_expiry_interval": 9})
        client.subscribe("a")
        client.lose()
        for number in range(3):
            core.publish("a", str(number), 0, qos=1)
        core.publish("a", b"qos 0 does not wait", 0)
        client = connected(core, "c", clean_start=False)
        assert [p.payload for p in client.early if isinstance(p, Message)] == [b"0", b"1"]
        core.publish("a", b"not acknowledged yet", 0, qos=1)
        assert client.read() == []
        assert core.counters.dropped == 2

    def test_a_session_holds_so_many_bytes(self) -> None:
        core = BrokerCore(maximum_held_bytes=10)
        client = connected(core, "c")
        client.subscribe("a")
        core.publish("a", bytes(8), 0, qos=1)
        core.publish("a", bytes(3), 0, qos=1)
        core.publish("a", bytes(2), 0, qos=1)
        assert [len(payload) for payload in client.payloads()] == [8, 2]
        assert core.counters.dropped == 1
        core.publish("a", bytes(10), 0, qos=1)
        assert [len(payload) for payload in client.payloads()] == [10]

    def test_a_client_that_does_not_read(self) -> None:
        core = BrokerCore(maximum_unsent=1000)
        client = connected(core, "c")
        client.subscribe("a")
        for _ in range(20):
            core.publish("a", bytes(100), 0)
            core.publish("a", bytes(100), 0, qos=1)
        assert client.connection.unsent_size < 1200
        assert not core.wants_data(client.connection)
        assert core.counters.dropped == 15
        assert len(client.messages()) == 5 + 20
        assert core.wants_data(client.connection)

    @conforms("5.0", "MQTT-3.1.2-25")
    def test_a_message_too_large_for_the_client(self) -> None:
        core = BrokerCore()
        client = connected(core, "c", properties={"maximum_packet_size": 100})
        client.subscribe("a")
        for qos in (0, 1):
            core.publish("a", bytes(200), 0, qos=qos)
        core.publish("a", b"small", 0)
        assert client.payloads() == [b"small"]
        assert core.counters.dropped == 2
        assert core.sessions["c"].held_bytes == 0


class TestServerSide:
    def test_publish(self) -> None:
        core = BrokerCore()
        client = connected(core)
        client.subscribe("a")
        assert core.publish("a", "text", 0, qos=1, content_type="t") == 1
        (message,) = client.messages()
        assert (message.payload, message.content_type) == (b"text", "t")

    def test_mistakes_are_refused(self) -> None:
        core = BrokerCore()
        with pytest.raises(InvalidTopic):
            core.publish("a/#", b"", 0)
        with pytest.raises(UsageError):
            core.publish("a", b"", 0, qos=3)

    @conforms("3.1.1", "MQTT-3.3.5-2")
    def test_authorize_publish(self) -> None:
        def authorize(client_id: str, message: Message) -> int:
            assert client_id == "c"
            return ReasonCode.NOT_AUTHORIZED if message.topic == "no" else 0

        core = BrokerCore(authorize_publish=authorize)
        client = connected(core, "c")
        client.subscribe("#")
        for qos in (1, 2):
            assert client.publish("no", b"x", qos) == ReasonCode.NOT_AUTHORIZED
        client.publish("no", b"x", 0)
        client.publish("yes", b"x", 1)
        assert [message.topic for message in client.messages()] == ["yes"]
        # Its flow has ended with the refusal: the identifier is free.
        assert core.sessions["c"].flows.incoming == {}
        old = connected(BrokerCore(authorize_publish=authorize), "c", version=V311)
        assert old.publish("no", b"x", 1) == 0
