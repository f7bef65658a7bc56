"""SUBSCRIBE and UNSUBSCRIBE, and what the server answers."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.errors import InvalidTopic, NotSupported, PacketTooLarge
from mqttlite.packets import Suback, SubscriptionOptions, Unsuback
from mqttlite.protocol import ConnectionState
from tests.behaviour import rule
from tests.unit.protocol.sides import V5, V311, Client, connack

F = [("f", SubscriptionOptions(1))]
FG = [("f", SubscriptionOptions(1)), ("g", SubscriptionOptions(2))]


@pytest.mark.parametrize(
    ("version", "expected"),
    [(V5, "82 07 00 01 00 00 01 66 01"), (V311, "82 06 00 01 00 01 66 01")],
)
def test_subscribe(version: Any, expected: str) -> None:
    client = Client(version=version)
    assert client.connection.subscribe(F) == 1
    assert client.sent() == expected
    (answer,) = client.give("90 04 00 01 00 01" if version == V5 else "90 03 00 01 01")
    assert answer == Suback(1, [1], answer.properties)


@pytest.mark.parametrize(
    ("version", "expected"), [(V5, "a2 06 00 01 00 00 01 66"), (V311, "a2 05 00 01 00 01 66")]
)
def test_unsubscribe(version: Any, expected: str) -> None:
    client = Client(version=version)
    assert client.connection.unsubscribe(["f"]) == 1
    assert client.sent() == expected
    (answer,) = client.give("b0 04 00 01 00 00" if version == V5 else "b0 02 00 01")
    assert isinstance(answer, Unsuback)
    assert answer.packet_id == 1


def test_options_and_properties() -> None:
    client = Client()
    options = SubscriptionOptions(2, no_local=True, retain_as_published=True, retain_handling=2)
    client.connection.subscribe([("f", options)], {"user_properties": [("a", "b")]})
    assert client.sent() == "82 0e 00 01 07 26 00 01 61 00 01 62 00 01 66 2e"
    client.connection.unsubscribe(["f"], {"user_properties": [("a", "b")]})
    assert client.sent() == "a2 0d 00 02 07 26 00 01 61 00 01 62 00 01 66"


def test_refusal_is_passed_on() -> None:
    client = Client()
    client.connection.subscribe(FG)
    (answer,) = client.give("90 05 00 01 00 01 87")
    assert answer.reason_codes == [1, 0x87]
    assert client.connection.state is ConnectionState.OPEN


def test_refusal_of_mqtt_3_1_1() -> None:
    client = Client(version=V311)
    client.connection.subscribe(F)
    (answer,) = client.give("90 03 00 01 80")
    assert answer.reason_codes == [0x80]


def test_answers_in_any_order() -> None:
    client = Client()
    client.connection.subscribe(F)
    client.connection.subscribe(FG)
    assert len(client.give("90 05 00 02 00 01 02", "90 04 00 01 00 01")) == 2


@pytest.mark.parametrize(
    "packets",
    [
        ("90 04 00 02 00 01",),  # unknown
        ("b0 04 00 01 00 00",),  # the wrong kind
        ("90 05 00 01 00 01 01",),  # more codes than filters
        ("90 04 00 01 00 01", "90 04 00 01 00 01"),  # twice
    ],
)
def test_answer_that_fits_nothing(packets: tuple[str, ...]) -> None:
    client = Client()
    client.connection.subscribe(F)
    client.sent()
    client.give(*packets)
    assert client.failure().reason_code == 0x82
    assert client.sent() == "e0 01 82"


def test_fewer_codes_than_filters() -> None:
    # [MQTT-3.8.4-6]
    client = Client()
    client.connection.subscribe(FG)
    assert client.give("90 04 00 01 00 01") == []
    assert str(client.failure()) == "1 reason codes answer a request of 2 filters"


def test_unsuback_with_too_few_codes() -> None:
    # [MQTT-3.11.3-2]
    client = Client()
    client.connection.unsubscribe(["f", "g"])
    assert client.give("b0 04 00 01 00 00") == []
    assert client.failure().reason_code == 0x82


def test_unsuback_of_mqtt_3_1_1_has_no_codes() -> None:
    client = Client(version=V311)
    client.connection.unsubscribe(["f", "g"])
    assert len(client.give("b0 02 00 01")) == 1


def test_suback_of_mqtt_3_1_1_with_too_few_codes() -> None:
    client = Client(version=V311)
    client.connection.subscribe(FG)
    client.give("90 03 00 01 00")
    assert client.failure()


def test_identifier_becomes_free_with_the_answer() -> None:
    client = Client()
    client.connection.subscribe(F)
    client.session.last_packet_id = 0
    assert client.connection.subscribe(F) == 2
    client.give("90 04 00 01 00 01")
    client.session.last_packet_id = 0
    assert client.connection.subscribe(F) == 1


def test_what_cannot_be_sent_is_not_remembered() -> None:
    client = Client(connack("27 00 00 00 14"))
    with pytest.raises(PacketTooLarge, match="the peer takes at most 20"):
        client.connection.subscribe([("f" * 20, SubscriptionOptions())])
    with pytest.raises(PacketTooLarge):
        client.connection.unsubscribe(["f" * 20])
    with pytest.raises(InvalidTopic):
        client.connection.subscribe([("a#", SubscriptionOptions())])
    assert client.sent() == ""
    assert client.connection._requests == {}


class TestWhatTheServerDoes:
    @rule(24)
    @pytest.mark.parametrize(
        ("properties", "topic_filter"),
        [("28 00", "a/+"), ("28 00", "#"), ("2a 00", "$share/g/a"), ("28 00", "$share/g/+")],
    )
    def test_not_available(self, properties: str, topic_filter: str) -> None:
        # Rule 24.
        client = Client(connack(properties))
        with pytest.raises(NotSupported) as raised:
            client.connection.check_subscription(topic_filter, SubscriptionOptions())
        assert repr(topic_filter) in str(raised.value)

    @pytest.mark.parametrize(
        ("properties", "topic_filter"),
        [
            ("28 00", "a"),
            ("28 00", "$share/g/a"),
            ("2a 00", "a/+"),
            ("28 01 2a 01", "#"),
            ("", "#"),
        ],
    )
    def test_available(self, properties: str, topic_filter: str) -> None:
        client = Client(connack(properties))
        client.connection.check_subscription(topic_filter, SubscriptionOptions(2))

    @pytest.mark.parametrize(
        "options",
        [
            SubscriptionOptions(no_local=True),
            SubscriptionOptions(retain_as_published=True),
            SubscriptionOptions(retain_handling=1),
        ],
        ids=str,
    )
    def test_options_need_mqtt_5(self, options: SubscriptionOptions) -> None:
        Client().connection.check_subscription("f", options)
        with pytest.raises(NotSupported, match=r"MQTT 5\.0"):
            Client(version=V311).connection.check_subscription("f", options)

    def test_user_properties_need_mqtt_5(self) -> None:
        options = SubscriptionOptions()
        Client().connection.check_subscription("f", options, [("a", "b")])
        connection = Client(version=V311).connection
        with pytest.raises(NotSupported, match=r"MQTT 5\.0"):
            connection.check_subscription("f", options, [("a", "b")])
        connection.check_subscription("f", SubscriptionOptions(2))

    def test_nothing_is_known_before_connack(self) -> None:
        Client(None).connection.check_subscription("#", SubscriptionOptions())
