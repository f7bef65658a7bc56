"""Statements that bind a server only: the embedded broker is held to them, as a server in tests."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.enums import ProtocolVersion
from mqttlite.message import Will
from mqttlite.packets import (
    Message,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionOptions,
    Unsuback,
    Unsubscribe,
)
from mqttlite.testing import BrokerCore
from tests.conformance.conforms import conforms
from tests.unit.testing.client import V5, V311, HandClient, connected

both = pytest.mark.parametrize("version", [V311, V5])


def keeping(core: BrokerCore, client_id: str, version: ProtocolVersion) -> HandClient:
    """Return a client whose session outlives its connection."""
    properties: dict[str, Any] | None = {"session_expiry_interval": 99} if version == V5 else None
    return connected(core, client_id, version=version, clean_start=False, properties=properties)


@conforms("3.1.1", "MQTT-3.1.4-1")
@conforms("5.0", "MQTT-3.1.4-1")
@pytest.mark.parametrize(
    "connect",
    [
        "10 0d 00 04 4d 51 54 54 04 03 00 00 00 01 63",  # the reserved flag
        "10 0d 00 04 4d 51 54 54 04 1a 00 00 00 01 63",  # a will QoS without a will
        "10 0d 00 04 4d 51 54 54 04 02 00 00 00 02 63",  # an identifier that is cut short
        "10 0e 00 04 4d 51 54 54 05 03 00 00 00 00 01 63",
        "10 0e 00 04 4d 51 54 54 05 1a 00 00 00 00 01 63",
        "10 0e 00 04 4d 51 54 54 05 02 00 00 00 00 02 63",
        "11 0d 00 04 4d 51 54 54 04 02 00 00 00 01 63",
    ],
)
def test_a_connect_that_is_not_in_order_is_not_answered(connect: str) -> None:
    core = BrokerCore()
    client = HandClient(core)
    client.feed(bytes.fromhex(connect))
    assert client.farewell() is None
    assert core.sessions == {}


@conforms("3.1.1", "MQTT-3.1.2-1")
def test_a_wrong_protocol_name_goes_no_further() -> None:
    core = BrokerCore()
    client = HandClient(core)
    client.feed(bytes.fromhex("10 0d 00 04 4d 51 54 58 04 02 00 00 00 01 63"))
    client.core.data_to_send(client.connection, 0.0)
    assert client.farewell() is None
    assert core.sessions == {}


@conforms("3.1.1", "MQTT-3.1.3-5", "MQTT-3.1.4-4")
@conforms("5.0", "MQTT-3.1.3-5", "MQTT-3.1.4-5")
@both
def test_identifiers_of_letters_and_digits_are_accepted(version: ProtocolVersion) -> None:
    core = BrokerCore()
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for client_id in (*letters, letters[:23], letters[23:46], letters[39:]):
        client = HandClient(core, version=version)
        assert client.connect(client_id).reason_code == 0
        assert client_id in core.sessions


@conforms("3.1.1", "MQTT-3.1.4-3", "MQTT-3.2.2-3", "MQTT-3.2.2-2")
@conforms("5.0", "MQTT-3.1.2-6", "MQTT-3.2.2-3")
@both
def test_session_present_says_what_there_is(version: ProtocolVersion) -> None:
    core = BrokerCore()
    properties: Any = {"session_expiry_interval": 99} if version == V5 else None
    present = []
    for clean in (False, False, True, True, False):
        client = HandClient(core, version=version)
        connack = client.connect("c", clean_start=clean, properties=properties)
        assert connack.reason_code == 0
        present.append(connack.session_present)
        client.lose()
    # In 3.1.1 a clean session ends with its connection; in 5.0 the interval decides.
    assert present == [False, True, False, False, version == V5]


@conforms("3.1.1", "MQTT-3.1.2-8", "MQTT-3.1.2-10", "MQTT-3.1.2-12", "MQTT-3.14.4-3")
@pytest.mark.parametrize("goodbye", [False, True])
@pytest.mark.parametrize("with_will", [False, True])
def test_a_will_is_published_once_and_not_after_disconnect(goodbye: bool, with_will: bool) -> None:
    core = BrokerCore()
    watcher = connected(core, "watcher", version=V311)
    watcher.subscribe("#")
    will = Will("w", b"gone", qos=1) if with_will else None
    client = connected(core, "c", version=V311, clean_start=False, will=will)
    if goodbye:
        client.disconnect()
    else:
        client.lose()
    assert watcher.payloads() == ([b"gone"] if with_will and not goodbye else [])
    keeping(core, "c", V311).lose()
    assert watcher.payloads() == []


@conforms("3.1.1", "MQTT-3.1.2-16", "MQTT-3.1.2-17")
@conforms("5.0", "MQTT-3.1.2-14", "MQTT-3.1.2-15")
@pytest.mark.parametrize("retain", [False, True])
@both
def test_a_will_is_retained_if_it_says_so(version: ProtocolVersion, retain: bool) -> None:
    core = BrokerCore()
    connected(core, "c", version=version, will=Will("w", b"gone", retain=retain)).lose()
    late = connected(core, "late", version=version)
    assert late.subscribe("w", 0) == ([Message("w", b"gone", 0, True)] if retain else [])


@conforms("3.1.1", "MQTT-3.1.2-7", "MQTT-3.3.1-5", "MQTT-3.3.1-7", "MQTT-3.3.1-8")
@conforms("5.0", "MQTT-3.3.1-5")
@both
def test_a_retained_message_is_kept_with_its_qos_beyond_its_session(
    version: ProtocolVersion,
) -> None:
    core = BrokerCore()
    sender = connected(core, "s", version=version)
    sender.publish("a", b"one", 1, retain=True)
    sender.disconnect()
    assert core.sessions == {}
    receiver = connected(core, "r", version=version)
    (message,) = receiver.subscribe("a", 2)
    assert isinstance(message, Message)
    assert (message.payload, message.qos, message.retain) == (b"one", 1, True)
    connected(core, "s", version=version).publish("a", b"two", 0, retain=True)
    assert connected(core, "late", version=version).subscribe("a", 0) == [
        Message("a", b"two", 0, True)
    ]


@conforms("3.1.1", "MQTT-3.3.1-3")
@conforms("5.0", "MQTT-3.3.1-3")
@both
def test_dup_is_not_passed_on(version: ProtocolVersion) -> None:
    core = BrokerCore()
    receiver = keeping(core, "r", version)
    receiver.subscribe("a", 1)
    sender = connected(core, "s", version=version)
    sender.write(Message("a", b"x", 1, dup=True, packet_id=5))
    (first,) = receiver.read()
    assert isinstance(first, Message)
    assert not first.dup
    receiver.lose()
    (again,) = keeping(core, "r", version).early
    assert isinstance(again, Message)
    assert again.dup


@conforms("3.1.1", "MQTT-3.8.4-3")
@conforms("5.0", "MQTT-3.8.4-3", "MQTT-3.8.4-4")
@both
def test_the_same_filter_again_brings_retained_messages_again_and_one_copy(
    version: ProtocolVersion,
) -> None:
    core = BrokerCore()
    client = connected(core, "c", version=version)
    core.publish("a", b"kept", 0, retain=True)
    for qos in (0, 0, 1):
        (message,) = client.subscribe("a", qos)
        assert isinstance(message, Message)
        assert message.retain
    core.publish("a", b"new", 0, qos=2)
    (message,) = client.messages()
    assert (message.payload, message.qos) == (b"new", 1)


@conforms("3.1.1", "MQTT-3.8.4-1", "MQTT-3.8.4-4")
@conforms("5.0", "MQTT-3.8.4-1", "MQTT-3.8.4-5")
@both
def test_several_filters_have_one_suback(version: ProtocolVersion) -> None:
    core = BrokerCore()
    client = connected(core, "c", version=version)
    filters = [(each, SubscriptionOptions(qos)) for qos, each in enumerate("abc")]
    assert client.ask(Subscribe(7, filters)) == [Suback(7, [0, 1, 2])]
    for topic in "abc":
        core.publish(topic, topic, 0, qos=2)
    assert [message.qos for message in client.messages()] == [0, 1, 2]


@conforms("3.1.1", "MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-6")
@conforms("5.0", "MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-6")
@both
def test_unsubscribe_takes_back_the_filters_that_are_the_same(version: ProtocolVersion) -> None:
    core = BrokerCore()
    client = connected(core, "c", version=version)
    for topic_filter in ("a", "b/+", "c"):
        client.subscribe(topic_filter, 0)
    (unsuback,) = client.ask(Unsubscribe(9, ["a", "b/x", "C", "c"]))
    assert isinstance(unsuback, Unsuback)
    assert unsuback.packet_id == 9
    for topic in ("a", "b/x", "c"):
        core.publish(topic, topic, 0)
    assert client.payloads() == [b"b/x"]  # "b/x" matches the filter, but is not the filter
    (unsuback,) = client.ask(Unsubscribe(10, ["b/+"]))
    core.publish("b/x", b"", 0)
    assert client.payloads() == []


@conforms("3.1.1", "MQTT-3.10.4-3")
@conforms("5.0", "MQTT-3.10.4-3")
@both
def test_what_was_sent_before_unsubscribe_is_brought_to_its_end(version: ProtocolVersion) -> None:
    core = BrokerCore()
    client = keeping(core, "c", version)
    client.subscribe("a", 2)
    core.publish("a", b"x", 0, qos=2)
    core.publish("a", b"y", 0, qos=1)
    assert len(client.read()) == 2
    client.unsubscribe("a")
    assert client.ask(Pubrec(1)) == [Pubrel(1)]
    client.lose()
    client = keeping(core, "c", version)
    assert client.early == [Message("a", b"y", 1, dup=True, packet_id=2), Pubrel(1)]
    client.write(Pubcomp(1), Puback(2))
    client.lose()
    assert keeping(core, "c", version).early == []


@conforms("3.1.1", "MQTT-4.5.0-1", "MQTT-4.6.0-5", "MQTT-4.6.0-6")
@conforms("5.0", "MQTT-4.5.0-1", "MQTT-4.6.0-5", "MQTT-4.6.0-6")
@pytest.mark.parametrize("qos", [0, 1, 2])
@both
def test_messages_reach_every_subscriber_in_order(version: ProtocolVersion, qos: int) -> None:
    core = BrokerCore()
    here, away = connected(core, "here", version=version), keeping(core, "away", version)
    for each in (here, away):
        each.subscribe("a/#", qos)
    away.lose()
    sender = connected(core, "s", version=version)
    expected = [b"%d" % number for number in range(20)]
    for payload in expected:
        sender.publish("a/b", payload, qos)
    assert here.payloads() == expected
    away = keeping(core, "away", version)
    waiting = [packet.payload for packet in away.early if isinstance(packet, Message)]
    assert waiting == (expected if qos else [])


@conforms("3.1.1", "MQTT-4.7.3-4", "MQTT-3.3.2-3")
@conforms("5.0", "MQTT-4.7.3-4", "MQTT-3.3.2-3")
@both
def test_names_are_compared_as_they_are(version: ProtocolVersion) -> None:
    core = BrokerCore()
    client = connected(core, "c", version=version)
    names = ["é", "e\u0301", "É", "a", "a/", "/a", "a//b", "a/b", "ﬁ", "fi", "\ufeffa"]
    for name in names:
        client.subscribe(name, 0)
        for other in names:
            core.publish(other, other, 0)
        assert [message.topic for message in client.messages()] == [name]
        client.unsubscribe(name)
