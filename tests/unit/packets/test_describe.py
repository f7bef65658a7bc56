"""Packets in words: what is in them, and nothing that may be a secret."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.enums import ProtocolVersion
from mqttlite.message import Message, Properties, Will
from mqttlite.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
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
from mqttlite.packets.describe import describe
from mqttlite.packets.properties import PROPERTIES


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (
            Connect("c", False, 60),
            "CONNECT client_id='c' clean_start=False keep_alive=60 version=MQTT_5_0",
        ),
        (
            Connect("", True, 0, "alice", b"s3cret", version=ProtocolVersion.MQTT_3_1_1),
            (
                "CONNECT client_id='' clean_start=True keep_alive=0 username=(5 hidden) "
                "password=(6 hidden) version=MQTT_3_1_1"
            ),
        ),
        (
            Connect(will=Will("w", b"s3cret", qos=1, retain=True, will_delay_interval=5)),
            (
                "CONNECT client_id='' clean_start=True keep_alive=0 "
                "will=(topic='w' payload=6 bytes qos=1 retain=True will_delay_interval=5) "
                "version=MQTT_5_0"
            ),
        ),
        (
            Connack(True, 0x87, {"reason_string": "no"}),
            "CONNACK session_present=True reason_code=not authorized (0x87) reason_string='no'",
        ),
        (
            Message("a/b", b"hello", 1, packet_id=7),
            "PUBLISH topic='a/b' payload=5 bytes qos=1 packet_id=7",
        ),
        (Message("t", b""), "PUBLISH topic='t' payload=0 bytes qos=0"),
        (
            Message("t", b"x", 2, True, True, 65_535, {"topic_alias": 3, "content_type": "c"}),
            (
                "PUBLISH topic='t' payload=1 bytes qos=2 retain=True dup=True packet_id=65535 "
                "topic_alias=3 content_type='c'"
            ),
        ),
        (Puback(1), "PUBACK packet_id=1 reason_code=success (0x00)"),
        (Pubrec(2, 0x10), "PUBREC packet_id=2 reason_code=no matching subscribers (0x10)"),
        (Pubrel(3, 0x92), "PUBREL packet_id=3 reason_code=packet identifier not found (0x92)"),
        (
            Pubcomp(4, 0, {"reason_string": "r"}),
            "PUBCOMP packet_id=4 reason_code=success (0x00) reason_string='r'",
        ),
        (
            Subscribe(5, [("a/#", SubscriptionOptions(1))], {"subscription_identifiers": [9]}),
            (
                "SUBSCRIBE packet_id=5 subscriptions=[('a/#', SubscriptionOptions(qos=1, "
                "no_local=False, retain_as_published=False, retain_handling=0))] "
                "subscription_identifiers=[9]"
            ),
        ),
        (
            Suback(5, [1, 0x87]),
            "SUBACK packet_id=5 reason_codes=[granted qos 1 (0x01), not authorized (0x87)]",
        ),
        (Unsubscribe(6, ["a", "b"]), "UNSUBSCRIBE packet_id=6 topic_filters=['a', 'b']"),
        (
            Unsuback(6, [0x11]),
            "UNSUBACK packet_id=6 reason_codes=[no subscription existed (0x11)]",
        ),
        (Unsuback(6), "UNSUBACK packet_id=6 reason_codes=[]"),
        (Pingreq(), "PINGREQ"),
        (Pingresp(), "PINGRESP"),
        (
            Disconnect(0x8B, {"server_reference": "b"}),
            "DISCONNECT reason_code=server shutting down (0x8B) server_reference='b'",
        ),
        (
            Auth(0x18, {"authentication_method": "M", "authentication_data": b"s3cret"}),
            (
                "AUTH reason_code=continue authentication (0x18) authentication_method='M' "
                "authentication_data=(6 hidden)"
            ),
        ),
    ],
    ids=lambda each: "" if isinstance(each, str) else type(each).__name__,
)
def test_packet_in_words(packet: Packet, expected: str) -> None:
    assert describe(packet) == expected


def _value(name: str) -> Any:
    """A value of every property, which says what it is if it may be a secret."""
    if name == "user_properties":
        return [("first", "s3cret"), ("second", "s3cret")]
    if name == "subscription_identifiers":
        return [77]
    if name in ("authentication_data", "correlation_data"):
        return b"s3cret"
    if name in TEXTS:
        return "text"
    return 77


TEXTS = (
    *("assigned_client_identifier", "authentication_method", "content_type", "reason_string"),
    *("response_information", "response_topic", "server_reference"),
)


@pytest.mark.parametrize("name", [each.name for each in PROPERTIES], ids=str)
def test_property_in_words(name: str) -> None:
    properties: Properties = {name: _value(name)}  # type: ignore[misc]
    expected = {
        "user_properties": "user_properties=['first', 'second']",
        "subscription_identifiers": "subscription_identifiers=[77]",
        "authentication_data": "authentication_data=(6 hidden)",
        "correlation_data": "correlation_data=(6 hidden)",
    }
    shown = expected.get(name, f"{name}='text'" if name in TEXTS else f"{name}=77")
    head = "CONNECT client_id='c' clean_start=True keep_alive=0"
    assert describe(Connect("c", properties=properties)) == f"{head} version=MQTT_5_0 {shown}"
    assert describe(Message("t", b"", properties=properties)).endswith(f"qos=0 {shown}")
    will = Will("w")
    will.properties = properties
    assert describe(Connect("c", will=will)) == (
        f"{head} will=(topic='w' payload=0 bytes qos=0 {shown}) version=MQTT_5_0"
    )


def test_nothing_secret_in_any_packet() -> None:
    secret = "s3cret"
    properties: Properties = {
        "user_properties": [("name", secret)],
        "correlation_data": secret.encode(),
        "authentication_data": secret.encode(),
    }
    will = Will("t", secret)
    will.properties = properties
    packets: list[Packet] = [
        Connect("c", True, 0, secret, secret.encode(), will, properties),
        Connack(properties=properties),
        Message("t", secret.encode(), properties=properties),
        *(kind(1, 0, properties) for kind in (Puback, Pubrec, Pubrel, Pubcomp)),
        Subscribe(1, [("t", SubscriptionOptions())], properties),
        Suback(1, [0], properties),
        Unsubscribe(1, ["t"], properties),
        Unsuback(1, [0], properties),
        Disconnect(0, properties),
        Auth(0, properties),
    ]
    for packet in packets:
        words = describe(packet)
        assert "user_properties=['name']" in words
        assert "correlation_data=(6 hidden)" in words
        assert secret not in words
        assert secret.encode().hex() not in words


def test_long_texts_are_cut() -> None:
    long = "x" * 60_000
    packets: list[Packet] = [
        Message(long, b"", properties={"content_type": long, "user_properties": [(long, "")]}),
        Connect(long, will=Will(long)),
        Disconnect(0x80, {"reason_string": long}),
    ]
    for packet in packets:
        assert len(describe(packet)) < 400
        assert "x" * 77 + "..." in describe(packet)


def test_it_is_one_line() -> None:
    # What the other side chooses cannot begin a line of its own in the log.
    text = "a\nb\r\x1b[31m"
    packets: list[Packet] = [
        Message(text, b"", properties={"response_topic": text, "user_properties": [(text, "")]}),
        Connect(text, will=Will(text)),
        Disconnect(0x80, {"reason_string": text}),
        Subscribe(1, [(text, SubscriptionOptions())]),
        Unsubscribe(1, [text]),
    ]
    for packet in packets:
        assert describe(packet).isprintable()
