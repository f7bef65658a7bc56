"""MQTT 3.1.1, sections 3.8 to 3.11 and 4.7: subscriptions, and their filters."""

from __future__ import annotations

import pytest

from mqttlite.client import SubscriptionState
from mqttlite.errors import InvalidTopic, NotSupported, SubscribeError, UsageError
from mqttlite.packets import Subscribe, SubscriptionOptions, Unsubscribe, encode
from tests.conformance.conforms import conforms
from tests.conformance.talk import Talk
from tests.unit.protocol.sides import V311

NO_FILTERS = ["", "a\0", "a\ud800", "x" * 65_536, "ü" * 32_768]


@conforms("3.1.1", "MQTT-3.8.3-1", "MQTT-4.7.3-1", "MQTT-4.7.3-2", "MQTT-4.7.3-3")
@pytest.mark.parametrize("topic_filter", NO_FILTERS, ids=range(5))
def test_a_filter_that_is_no_string_of_mqtt_is_refused(topic_filter: str) -> None:
    talk = Talk().open()
    talk.refuses(InvalidTopic, lambda: talk.subscribe(topic_filter))
    talk.refuses(InvalidTopic, lambda: talk.subscribe(["right", topic_filter]))
    assert talk.took() == ""
    assert talk.again("20 02 00 00") == ""  # nor is it remembered


@conforms("3.1.1", "MQTT-3.10.3-1", "MQTT-4.7.3-1", "MQTT-4.7.3-2", "MQTT-4.7.3-3")
@pytest.mark.parametrize("topic_filter", NO_FILTERS, ids=range(5))
def test_a_filter_to_unsubscribe_from_is_refused_likewise(topic_filter: str) -> None:
    talk = Talk().open()
    talk.refuses(InvalidTopic, lambda: talk.core.unsubscribe_filters(topic_filter))
    talk.refuses(InvalidTopic, lambda: talk.core.unsubscribe_filters(["right", topic_filter]))
    assert talk.took() == ""


@conforms("3.1.1", "MQTT-3.8.3-1", "MQTT-3.8.3-3", "MQTT-3-8.3-4")
def test_each_filter_is_followed_by_its_qos() -> None:
    talk = Talk().open()
    talk.subscribe("€", 0)
    talk.subscribe(["a/+", "#", "/"], 2)
    assert talk.took() == (
        "82 08 00 01 00 03 e2 82 ac 00 82 10 00 02 00 03 61 2f 2b 02 00 01 23 02 00 01 2f 02"
    )
    connection_options = [(each, SubscriptionOptions(qos)) for qos, each in enumerate("abc")]
    assert encode(Subscribe(7, connection_options), V311).hex(" ") == (
        "82 0e 00 07 00 01 61 00 00 01 62 01 00 01 63 02"
    )


@conforms("3.1.1", "MQTT-3.8.3-3")
def test_a_subscription_without_a_filter_is_refused() -> None:
    talk = Talk().open()
    talk.refuses(UsageError, lambda: talk.subscribe([]))
    assert talk.took() == ""
    with pytest.raises(UsageError):
        encode(Subscribe(1, []), V311)


@conforms("3.1.1", "MQTT-3-8.3-4")
@pytest.mark.parametrize("qos", [3, -1, 4, 128])
def test_a_subscription_has_no_other_qos(qos: int) -> None:
    talk = Talk().open()
    talk.refuses(UsageError, lambda: talk.subscribe("f", qos))
    assert talk.took() == ""


@conforms("3.1.1", "MQTT-3-8.3-4")
@pytest.mark.parametrize(
    "option", [{"no_local": True}, {"retain_as_published": True}, {"retain_handling": 1}], ids=str
)
def test_the_options_of_mqtt_5_do_not_get_into_the_reserved_bits(option: dict[str, int]) -> None:
    talk = Talk().open()
    talk.refuses(NotSupported, lambda: talk.subscribe("f", 1, **option))
    assert talk.took() == ""
    data = encode(Subscribe(1, [("f", SubscriptionOptions(1, **option))]), V311)  # type: ignore[arg-type]
    assert data.hex(" ") == "82 06 00 01 00 01 66 01"


@conforms("3.1.1", "MQTT-3.8.4-5", "MQTT-3.9.3-1")
def test_each_filter_has_its_code() -> None:
    talk = Talk().open()
    subscription = talk.subscribe(["a", "b", "c"], 2)
    talk.took()
    talk.give("90 05 00 01 02 00 01")
    assert subscription.granted == {"a": 2, "b": 0, "c": 1}


@conforms("3.1.1", "MQTT-3.8.4-5", "MQTT-3.9.3-1")
def test_several_requests_at_once_keep_each_its_codes() -> None:
    talk = Talk()
    one, two = talk.subscribe(["a", "b"], 2), talk.subscribe("c", 1)
    talk.open()
    sent = talk.took()
    # Declared before connecting, they go into one SUBSCRIBE.
    assert sent == "82 0e 00 01 00 01 61 02 00 01 62 02 00 01 63 01"
    talk.give("90 05 00 01 01 02 00")
    assert one.granted == {"a": 1, "b": 2}
    assert two.granted == {"c": 0}


@conforms("3.1.1", "MQTT-3.8.4-5")
@pytest.mark.parametrize(
    "answer", ["90 02 00 01", "90 03 00 01 00", "90 05 00 01 00 00 00"], ids=["0", "1", "3"]
)
def test_another_number_of_codes_ends_the_connection(answer: str) -> None:
    talk = Talk().open()
    subscription = talk.subscribe(["a", "b"], 0)
    talk.took()
    talk.give(answer)
    talk.fault()
    assert subscription.granted == {}


@conforms("3.1.1", "MQTT-3.9.3-2")
@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_code_that_grants(code: int) -> None:
    talk = Talk().open()
    subscription = talk.subscribe("a", 2)
    talk.took()
    talk.give(f"90 03 00 01 {code:02x}")
    assert subscription.subscribed.result() == {"a": code}


@conforms("3.1.1", "MQTT-3.9.3-2")
def test_the_code_that_refuses() -> None:
    talk = Talk().open()
    subscription = talk.subscribe("a", 2)
    talk.took()
    talk.give("90 03 00 01 80")
    with pytest.raises(SubscribeError):
        subscription.subscribed.result()


@conforms("3.1.1", "MQTT-3.9.3-2")
def test_every_other_code_ends_the_connection() -> None:
    for code in set(range(256)) - {0, 1, 2, 0x80}:
        talk = Talk().open()
        subscription: SubscriptionState = talk.subscribe("a", 2)
        talk.took()
        talk.give(f"90 03 00 01 {code:02x}")
        talk.fault()
        assert subscription.granted == {}


@conforms("3.1.1", "MQTT-3.10.3-1", "MQTT-3.10.3-2")
def test_the_filters_of_unsubscribe_are_packed_together() -> None:
    talk = Talk().open()
    talk.core.unsubscribe_filters(["a/+", "€", "#"])
    assert talk.took() == "a2 0f 00 01 00 03 61 2f 2b 00 03 e2 82 ac 00 01 23"


@conforms("3.1.1", "MQTT-3.10.3-2")
def test_to_unsubscribe_from_nothing_is_refused() -> None:
    talk = Talk().open()
    talk.refuses(UsageError, lambda: talk.core.unsubscribe_filters([]))
    assert talk.took() == ""
    with pytest.raises(UsageError):
        encode(Unsubscribe(1, []), V311)


@conforms("3.1.1", "MQTT-3.10.4-5")
def test_unsubscribing_is_done_when_the_answer_comes() -> None:
    talk = Talk().open()
    subscription = talk.listen("a")
    ours = talk.core.unsubscribe(subscription)
    nobodys = talk.core.unsubscribe_filters("never subscribed")
    assert talk.took()[:11] == "a2 05 00 02"
    assert not ours.done
    assert not nobodys.done
    talk.give("b0 02 00 02")
    assert ours.done
    assert not nobodys.done
    talk.give("b0 02 00 03")
    assert nobodys.done


@conforms("3.1.1", "MQTT-4.7.1-2", "MQTT-4.7.1-3")
@pytest.mark.parametrize(
    "topic_filter",
    ["a#", "#a", "#/", "#/a", "a/#/b", "a/b#", "##", "a+", "+a", "a/b+/c", "++", "a/+b", "+#"],
)
def test_a_wildcard_is_a_whole_level(topic_filter: str) -> None:
    talk = Talk().open()
    talk.refuses(InvalidTopic, lambda: talk.subscribe(topic_filter))
    talk.refuses(InvalidTopic, lambda: talk.core.unsubscribe_filters(topic_filter))
    assert talk.took() == ""


@conforms("3.1.1", "MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-4.7.1-1")
@pytest.mark.parametrize("topic_filter", ["#", "a/#", "/#", "+", "+/a", "a/+", "/+", "+/+/#"])
def test_a_whole_level_may_be_a_wildcard(topic_filter: str) -> None:
    talk = Talk().open()
    talk.subscribe(topic_filter, 1)
    assert talk.sent()[6:-1] == topic_filter.encode()
