"""MQTT 5.0, section 3.1: CONNECT, and what it asks of both sides."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientState
from mqttlite.client.events import DropReason
from mqttlite.enums import Fate, ReasonCode
from mqttlite.errors import UsageError
from mqttlite.message import Message, Will
from mqttlite.packets import Connect, SubscriptionOptions, encode
from tests.conformance.by_hand_5_0 import (
    Talk,
    check_fault,
    connack,
    packet,
    publish,
    section,
    take_apart,
    text,
    two,
)
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import V5, Client

NO_PROBLEMS: dict[str, Any] = {"request_problem_information": 0}

# The bits of the connect flags (figure 3-4).
USER_NAME, PASSWORD, WILL_RETAIN, WILL_QOS, WILL, CLEAN_START, RESERVED = (
    *(0x80, 0x40, 0x20, 0x18, 0x04, 0x02, 0x01),
)

WILLS: list[dict[str, Any]] = [
    {},
    {"will": Will("w", b"m")},
    {"will": Will("w", b"m", qos=1, retain=True)},
    {"will": Will("w", b"", qos=2)},
]
CREDENTIALS: list[dict[str, Any]] = [
    {},
    {"username": "u"},
    {"password": b"p"},
    {"username": "", "password": b""},
]


def kept(**options: Any) -> Talk:
    """A client that wants its session to outlive the connection."""
    return Talk(client_id="me", session_expiry_interval=60, **options)


def published(packets: list[bytes]) -> list[bytes]:
    """Only the PUBLISH packets of what was sent."""
    return [each for each in packets if each[0] >> 4 == 3]


class TestFirstPacket:
    @conforms("5.0", "MQTT-3.1.0-1")
    def test_connect_is_sent_before_anything_else(self) -> None:
        talk = Talk(queue_qos_0=True)
        talk.subscribe("f")
        talk.core.connect(talk.now)
        talk.publish("t", b"", 0)
        talk.publish("t", b"", 1)
        assert talk.sent() == b""
        talk.core.take_action()
        talk.core.transport_opened(talk.now)
        first, *rest = talk.packets()
        assert first[0] == 0x10
        talk.hear(connack())
        assert [each[0] for each in rest + talk.packets()] == [0x82, 0x30, 0x32]

    @conforms("5.0", "MQTT-3.1.0-1")
    def test_connect_is_first_again_on_the_next_connection(self) -> None:
        talk = kept()
        talk.open()
        talk.publish("t", b"", 1)
        talk.lose()
        talk.publish("t", b"", 1)
        assert talk.ask()[0] == 0x10

    @conforms("5.0", "MQTT-3.1.0-2")
    def test_connect_is_sent_once_on_each_connection(self) -> None:
        talk = Talk(keep_alive=10)
        for _ in range(2):
            assert talk.open()[0] == 0x10
            with pytest.raises(UsageError):
                talk.core.connect(talk.now)
            for _ in range(3):
                talk.publish("t", b"", 1)
                talk.pass_deadline()
                talk.hear(b"\xd0\x00")
                packets = talk.packets()
                assert packets
                assert 0x10 not in {each[0] for each in packets}
            talk.lose()


class TestVariableHeader:
    @conforms("5.0", "MQTT-3.1.2-1", "MQTT-3.1.2-2")
    @pytest.mark.parametrize("version", [None, "5.0"])
    def test_protocol_name_and_version(self, version: Any) -> None:
        assert take_apart(Talk(version=version).ask()).protocol == b"\x00\x04MQTT\x05"

    @conforms("5.0", "MQTT-3.1.2-3")
    @pytest.mark.parametrize("clean_start", [False, True])
    @pytest.mark.parametrize("credentials", CREDENTIALS, ids=str)
    @pytest.mark.parametrize("will", WILLS, ids=str)
    def test_reserved_flag_is_never_set(
        self, will: dict[str, Any], credentials: dict[str, Any], clean_start: bool
    ) -> None:
        talk = Talk(clean_start=clean_start, client_id="c", **will, **credentials)
        assert not take_apart(talk.ask()).flags & RESERVED


class TestSessions:
    @conforms("5.0", "MQTT-3.1.2-4")
    def test_clean_start_begins_a_new_session(self) -> None:
        talk = kept()
        assert take_apart(talk.open()).flags & CLEAN_START
        talk.hear(publish(first=0x34, packet_id=9))
        talk.publish("old", b"", 1)
        talk.publish("old", b"", 2)
        talk.core.close(talk.now, 5.0, drain=False)
        talk.sent()
        talk.hang_up()
        # The next connect() of the program asks for a clean start again.
        assert take_apart(talk.open()).flags & CLEAN_START
        assert published(talk.packets()) == []
        talk.hear(publish(first=0x34, packet_id=9))  # a new message, for the old one is forgotten
        assert talk.core.drops.totals[DropReason.UNMATCHED] == 2

    @conforms("5.0", "MQTT-3.1.2-4")
    def test_session_that_goes_on_is_not_asked_to_begin_anew(self) -> None:
        talk = Talk(clean_start=False, client_id="me")
        assert not take_apart(talk.open(session_present=False)).flags & CLEAN_START
        talk.lose()
        assert not take_apart(talk.open(session_present=True)).flags & CLEAN_START

    @conforms("5.0", "MQTT-3.1.2-23")
    def test_messages_that_were_sent_are_stored(self) -> None:
        talk = kept()
        assert b"\x11\x00\x00\x00\x3c" in take_apart(talk.open()).properties
        first = talk.publish("a", b"", 1)
        second = talk.publish("b", b"", 2)
        third = talk.publish("c", b"", 2)
        talk.sent()
        talk.hear(b"\x50\x02" + two(third.packet_id))
        talk.lose()
        talk.open(session_present=True)
        packets = talk.packets()
        assert published(packets) == [
            packet(0x3A, text("a"), two(first.packet_id), b"\0"),
            packet(0x3C, text("b"), two(second.packet_id), b"\0"),
        ]
        assert [each for each in packets if each[0] == 0x62] == [packet(0x62, two(third.packet_id))]
        assert len(packets) == 3
        talk.hear(
            packet(0x40, two(first.packet_id)),
            packet(0x50, two(second.packet_id)),
            packet(0x70, two(third.packet_id)),
            packet(0x70, two(second.packet_id)),
        )
        assert {each.fate for each in (first, second, third)} == {Fate.ACKNOWLEDGED}

    @conforms("5.0", "MQTT-3.1.2-23")
    def test_identifiers_of_messages_that_were_received_are_stored(self) -> None:
        talk = kept()
        talk.open()
        subscription = talk.subscribed("t", 2, ack="manual")
        talk.hear(publish(first=0x34, packet_id=9))
        message = subscription.take()
        assert message is not None
        message.ack()
        assert talk.sent() == b"\x50\x02\x00\x09"
        talk.lose()
        talk.open(session_present=True)
        talk.hear(publish(first=0x3C, packet_id=9))
        assert talk.sent() == b"\x50\x02\x00\x09"
        assert subscription.take() is None
        talk.hear(b"\x62\x02\x00\x09")
        assert talk.sent() == b"\x70\x02\x00\x09"

    @conforms("5.0", "MQTT-3.1.2-23")
    def test_session_is_stored_over_close_if_it_is_to_be_kept(self) -> None:
        talk = Talk(client_id="me", clean_start=False, session_expiry_interval=60)
        talk.open()
        delivery = talk.publish("a", b"", 2)
        talk.core.close(talk.now, 5.0, drain=False)
        assert talk.packets()[-1][0] == 0xE0
        talk.hang_up()
        talk.open(session_present=True)
        assert talk.packets() == [packet(0x3C, text("a"), two(delivery.packet_id), b"\0")]

    @conforms("5.0", "MQTT-3.1.3-2")
    @pytest.mark.parametrize("assigned", [b"", b"\x12" + text("it")], ids=["own", "assigned"])
    def test_session_is_resumed_under_the_same_identifier(self, assigned: bytes) -> None:
        client_id = "" if assigned else "me"
        talk = Talk(client_id=client_id, session_expiry_interval=60)
        assert take_apart(talk.open(assigned)).payload == text(client_id)
        delivery = talk.publish("a", b"", 1)
        for _ in range(2):
            talk.lose()
            connect = talk.open(session_present=True)
            assert take_apart(connect).payload == text("it" if assigned else "me")
            assert talk.packets() == [packet(0x3A, text("a"), two(delivery.packet_id), b"\0")]

    @conforms("5.0", "MQTT-3.1.3-2")
    def test_two_clients_share_no_state(self) -> None:
        one, other = kept(), Talk(client_id="you", session_expiry_interval=60)
        for each in (one, other):
            each.open()
            each.sent()
        one.publish("a", b"", 1)
        one.lose()
        other.lose()
        other.open(session_present=True)
        assert other.packets() == []


class TestWill:
    @conforms("5.0", "MQTT-3.1.2-9", "MQTT-3.1.2-12")
    @pytest.mark.parametrize("qos", [0, 1, 2])
    @pytest.mark.parametrize("retain", [False, True])
    def test_flags_and_fields_of_a_will(self, qos: int, retain: bool) -> None:
        will = Will("w", b"m", qos=qos, retain=retain, will_delay_interval=5)
        connect = take_apart(Talk(client_id="c", will=will).ask())
        assert connect.flags & WILL
        assert (connect.flags & WILL_QOS) >> 3 == qos
        assert bool(connect.flags & WILL_RETAIN) is retain
        delay = b"\x18\x00\x00\x00\x05"
        assert connect.payload == text("c") + b"\x05" + delay + text("w") + text("m")

    @conforms("5.0", "MQTT-3.1.2-9")
    def test_empty_fields_of_a_will_are_there(self) -> None:
        connect = take_apart(Talk(will=Will("w")).ask())
        assert connect.payload == text("") + b"\x00" + text("w") + text("")

    @conforms("5.0", "MQTT-3.1.2-11", "MQTT-3.1.2-13")
    @pytest.mark.parametrize("credentials", CREDENTIALS, ids=str)
    def test_flags_without_a_will(self, credentials: dict[str, Any]) -> None:
        flags = take_apart(Talk(**credentials).ask()).flags
        assert not flags & (WILL | WILL_QOS | WILL_RETAIN)

    @conforms("5.0", "MQTT-3.1.2-12")
    @pytest.mark.parametrize("qos", [3, -1, 4, None, "1"])
    def test_will_of_another_qos_is_refused(self, qos: Any) -> None:
        with pytest.raises(UsageError):
            Will("w", b"m", qos=qos)
        will = Will("w", b"m")
        will.qos = qos
        with pytest.raises(UsageError):
            Talk(will=will)
        with pytest.raises(UsageError):
            encode(Connect(will=will), V5)

    @conforms("5.0", "MQTT-3.1.3-11")
    def test_will_topic_is_written_as_a_string(self) -> None:
        connect = take_apart(Talk(will=Will("wé/€")).ask())
        topic = b"\x00\x07w\xc3\xa9/\xe2\x82\xac"
        assert connect.payload == b"\x00\x00" + b"\x00" + topic + b"\x00\x00"

    @conforms("5.0", "MQTT-3.1.3-11")
    @pytest.mark.parametrize("topic", ["\ud800", "a\0", "", "x" * 65_536, b"w", None])
    def test_will_topic_that_is_no_string_is_refused(self, topic: Any) -> None:
        with pytest.raises(UsageError):
            Will(topic)
        will = Will("w")
        will.topic = topic
        with pytest.raises(UsageError):
            Talk(will=will)


class TestCredentials:
    @conforms("5.0", "MQTT-3.1.2-16", "MQTT-3.1.2-17", "MQTT-3.1.2-18", "MQTT-3.1.2-19")
    @pytest.mark.parametrize(
        ("credentials", "flags", "fields"),
        [
            ({}, 0, b""),
            ({"username": "u"}, USER_NAME, b"\x00\x01u"),
            ({"password": b"\xff\x00"}, PASSWORD, b"\x00\x02\xff\x00"),
            ({"username": "u", "password": b"p"}, USER_NAME | PASSWORD, b"\x00\x01u\x00\x01p"),
            ({"username": ""}, USER_NAME, b"\x00\x00"),
            ({"username": "", "password": b""}, USER_NAME | PASSWORD, b"\x00\x00\x00\x00"),
        ],
        ids=str,
    )
    def test_flags_say_what_is_there(
        self, credentials: dict[str, Any], flags: int, fields: bytes
    ) -> None:
        connect = take_apart(Talk(client_id="c", **credentials).ask())
        assert connect.flags & (USER_NAME | PASSWORD) == flags
        assert connect.payload == b"\x00\x01c" + fields

    @conforms("5.0", "MQTT-3.1.3-12")
    def test_user_name_is_written_as_a_string(self) -> None:
        connect = take_apart(Talk(username="é€\U0001f600").ask())
        assert connect.payload == b"\x00\x00\x00\x09\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"

    @conforms("5.0", "MQTT-3.1.3-12")
    @pytest.mark.parametrize("username", ["\ud800", "a\0", "x" * 65_536, b"u", 5])
    def test_user_name_that_is_no_string_is_refused(self, username: Any) -> None:
        with pytest.raises(UsageError):
            Talk(username=username)


class TestPayload:
    @conforms("5.0", "MQTT-3.1.3-1", "MQTT-3.1.3-3")
    def test_all_fields_in_their_order(self) -> None:
        will = Will("w/t", b"\x00bye", qos=1, content_type="c")
        talk = Talk(client_id="me", username="user", password=b"\xfe", will=will)
        assert take_apart(talk.ask()).payload == (
            b"\x00\x02me\x04\x03\x00\x01c\x00\x03w/t\x00\x04\x00bye\x00\x04user\x00\x01\xfe"
        )

    @conforms("5.0", "MQTT-3.1.3-3")
    @pytest.mark.parametrize("will", WILLS, ids=str)
    @pytest.mark.parametrize("credentials", CREDENTIALS, ids=str)
    def test_identifier_is_first_though_it_is_empty(
        self, will: dict[str, Any], credentials: dict[str, Any]
    ) -> None:
        assert take_apart(Talk(**will, **credentials).ask()).payload[:2] == b"\x00\x00"
        talk = Talk(client_id="me", **will, **credentials)
        assert take_apart(talk.ask()).payload[:4] == b"\x00\x02me"

    @conforms("5.0", "MQTT-3.1.3-4")
    def test_identifier_is_written_as_a_string(self) -> None:
        connect = take_apart(Talk(client_id="é€\U0001f600").ask())
        assert connect.payload == b"\x00\x09\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"
        assert take_apart(Talk(client_id="x" * 65_535).ask()).payload[:3] == b"\xff\xffx"

    @conforms("5.0", "MQTT-3.1.3-4")
    @pytest.mark.parametrize("client_id", ["\ud800", "a\0", "x" * 65_536, "é" * 32_768, b"c", 5])
    def test_identifier_that_is_no_string_is_refused(self, client_id: Any) -> None:
        with pytest.raises(UsageError):
            Talk(client_id=client_id)


class TestKeepAlive:
    @conforms("5.0", "MQTT-3.1.2-20")
    @pytest.mark.parametrize("seconds", [1, 10, 65_535])
    def test_silence_is_ended_by_a_ping_in_time(self, seconds: int) -> None:
        talk = Talk(keep_alive=seconds)
        assert take_apart(talk.open()).keep_alive == seconds
        for _ in range(3):
            last = talk.now
            talk.pass_deadline()
            assert talk.sent() == b"\xc0\x00"
            assert talk.now - last <= seconds
            talk.hear(b"\xd0\x00")

    @conforms("5.0", "MQTT-3.1.2-20")
    def test_a_ping_is_sent_whatever_comes_in(self) -> None:
        talk = Talk(keep_alive=10)
        talk.open()
        sent_at = talk.now
        pings = 0
        for _ in range(60):
            talk.now += 1.0
            talk.hear(publish())
            talk.core.handle_deadline(talk.now)
            sent = talk.sent()
            if sent:
                assert sent == b"\xc0\x00"
                sent_at = talk.now
                pings += 1
                talk.hear(b"\xd0\x00")
            assert talk.now - sent_at <= 10.0
        assert pings >= 6

    @conforms("5.0", "MQTT-3.1.2-20")
    def test_a_ping_is_sent_whatever_takes_long_to_come_in(self) -> None:
        talk = Talk(keep_alive=10)
        talk.open()
        sent_at = talk.now
        # A message of 1,000 bytes, a byte a second: PINGRESP has to wait for its end, which does
        # not come here.
        for byte in packet(0x30, text("t"), b"\0", bytes(993))[:-1]:
            talk.now += 1.0
            talk.hear(bytes((byte,)))
            talk.core.handle_deadline(talk.now)
            if talk.sent():
                sent_at = talk.now
            assert talk.core.is_connected
            assert talk.now - sent_at <= 10.0

    @conforms("5.0", "MQTT-3.1.2-20")
    def test_a_ping_is_sent_though_the_one_before_has_no_answer_yet(self) -> None:
        talk = Talk(keep_alive=2)
        talk.open()
        sent_at = talk.now
        for _ in range(12):
            talk.now += 0.5
            talk.core.handle_deadline(talk.now)
            if talk.sent():
                sent_at = talk.now
            assert talk.core.is_connected
            assert talk.now - sent_at <= 2.0
        talk.hear(b"\xd0\x00")
        assert talk.core.is_connected

    def test_answer_behind_a_long_packet_may_come_after_it(self) -> None:
        talk = Talk(keep_alive=10)
        talk.open()
        for byte in packet(0x30, text("t"), b"\0", bytes(93)):
            talk.now += 1.0
            talk.hear(bytes((byte,)))
            talk.core.handle_deadline(talk.now)
            talk.sent()
        talk.hear(b"\xd0\x00")
        assert talk.core.is_connected

    @conforms("5.0", "MQTT-3.1.2-20")
    def test_keep_alive_0_asks_for_no_ping(self) -> None:
        talk = Talk(keep_alive=0)
        assert take_apart(talk.open()).keep_alive == 0
        talk.now += 1_000_000.0
        talk.core.handle_deadline(talk.now)
        assert talk.sent() == b""
        assert talk.core.is_connected

    @conforms("5.0", "MQTT-3.1.2-21", "MQTT-3.2.2-21")
    @pytest.mark.parametrize("own", [0, 5, 60, 65_535])
    @pytest.mark.parametrize("servers", [1, 30])
    def test_the_servers_keep_alive_is_used(self, own: int, servers: int) -> None:
        talk = Talk(keep_alive=own)
        talk.open(b"\x13" + two(servers))
        opened = talk.now
        talk.pass_deadline()
        assert talk.sent() == b"\xc0\x00"
        # Not as early as the shorter one would have it, either.
        assert servers / 2 < talk.now - opened <= servers

    @conforms("5.0", "MQTT-3.1.2-21")
    def test_the_servers_keep_alive_may_turn_it_off(self) -> None:
        talk = Talk(keep_alive=5)
        talk.open(b"\x13\x00\x00")
        talk.now += 1_000_000.0
        talk.core.handle_deadline(talk.now)
        assert talk.sent() == b""
        assert talk.core.is_connected

    @conforms("5.0", "MQTT-3.1.2-21")
    def test_the_servers_keep_alive_is_for_its_connection(self) -> None:
        talk = Talk(keep_alive=60)
        talk.open(b"\x13\x00\x05")
        talk.lose()
        assert take_apart(talk.open()).keep_alive == 60
        opened = talk.now
        talk.pass_deadline()
        assert talk.sent() == b"\xc0\x00"
        assert 30 < talk.now - opened <= 60


class TestLimitsForTheServer:
    @conforms("5.0", "MQTT-3.1.2-24")
    def test_packet_above_the_maximum_packet_size_is_a_protocol_error(self) -> None:
        talk = Talk(maximum_packet_size=20)
        assert b"\x27\x00\x00\x00\x14" in take_apart(talk.open()).properties
        subscription = talk.subscribed("t")
        talk.hear(packet(0x30, text("t"), b"\0", bytes(14)))  # 20 bytes
        assert len(subscription.buffer) == 1
        assert talk.core.is_connected
        talk.hear(packet(0x30, text("t"), b"\0", bytes(15)))
        assert talk.sent() == b"\xe0\x01\x95"
        assert len(subscription.buffer) == 1
        assert talk.core.state is ClientState.HANGING_UP

    @conforms("5.0", "MQTT-3.1.2-24")
    @pytest.mark.parametrize(
        "data",
        [
            packet(0x30, text("t"), b"\0", bytes(27)),
            packet(0x40, two(1), b"\0", section(b"\x1f" + text("r" * 24))),
            packet(0x90, two(1), section(b"\x1f" + text("r" * 24)), b"\0"),
            packet(0xE0, b"\0", section(b"\x1f" + text("r" * 27))),
        ],
        ids=["PUBLISH", "PUBACK", "SUBACK", "DISCONNECT"],
    )
    def test_maximum_packet_size_is_for_all_packets(self, data: bytes) -> None:
        assert len(data) > 32
        check_fault(Client(properties={"maximum_packet_size": 32}), data, 0x95)

    @conforms("5.0", "MQTT-3.1.2-24")
    def test_maximum_packet_size_is_for_connack_too(self) -> None:
        client = Client(None, properties={"maximum_packet_size": 32})
        check_fault(client, connack(b"\x1f" + text("r" * 30)), 0x95)

    @conforms("5.0", "MQTT-3.1.2-26")
    def test_alias_above_the_maximum_is_refused(self) -> None:
        talk = Talk(topic_alias_maximum=10)
        assert b"\x22\x00\x0a" in take_apart(talk.open()).properties
        subscription = talk.subscribed("t")
        talk.hear(publish(b"\x23\x00\x0a"))
        assert len(subscription.buffer) == 1
        talk.hear(publish(b"\x23\x00\x0b"))
        assert talk.sent() == b"\xe0\x01\x94"
        assert len(subscription.buffer) == 1
        assert talk.core.state is ClientState.HANGING_UP

    @conforms("5.0", "MQTT-3.1.2-27")
    @pytest.mark.parametrize("alias", [b"\x23\x00\x01", b"\x23\xff\xff"])
    def test_no_alias_is_taken_that_was_not_allowed(self, alias: bytes) -> None:
        talk = Talk()
        properties = take_apart(talk.open()).properties
        assert b"\x22" not in properties
        subscription = talk.subscribed("t")
        talk.hear(publish(alias))
        assert talk.sent() == b"\xe0\x01\x94"
        assert not subscription.buffer
        check_fault(Client(properties={"topic_alias_maximum": 0}), publish(alias), 0x94)


class TestInformation:
    @conforms("5.0", "MQTT-3.1.2-28")
    def test_requests_need_no_response_information(self) -> None:
        # It is not asked for, so that a server must not give any.
        talk = Talk()
        assert b"\x19\x01" not in take_apart(talk.open()).properties
        opened = talk.core.open_replies("random")
        (subscribe,) = talk.packets()
        talk.hear(packet(0x90, subscribe[2:4], b"\x00\x00"))
        assert opened.done
        response_topic, correlation_data, answer = talk.core.expect_reply()
        talk.hear(publish(b"\x09" + text(correlation_data), topic=response_topic))
        assert isinstance(answer.value, Message)
        assert answer.value.topic == response_topic

    @conforms("5.0", "MQTT-3.1.2-29")
    def test_problem_information_is_asked_for_and_handed_over(self) -> None:
        talk = Talk()
        assert b"\x17\x00" not in take_apart(talk.open()).properties
        delivery = talk.publish("t", b"", 1)
        information = section(b"\x1f" + text("why"), b"\x26" + text("n") + text("v"))
        talk.hear(packet(0x40, two(delivery.packet_id), b"\x00", information))
        assert delivery.fate is Fate.ACKNOWLEDGED
        assert delivery.reason_string == "why"
        assert delivery.user_properties == [("n", "v")]

    @conforms("5.0", "MQTT-3.1.2-29")
    def test_problem_information_may_always_be_where_it_is_allowed(self) -> None:
        information = b"\x1f" + text("why"), b"\x26" + text("n") + text("v")
        client = Client(connack(*information).hex(), properties=NO_PROBLEMS)
        assert client.message(publish(information[1]).hex()).user_properties == [("n", "v")]
        client.give(packet(0xE0, b"\x89", section(*information)).hex())
        cause = client.connection.close_cause
        assert cause is not None
        assert cause.reason_code == ReasonCode.SERVER_BUSY
        assert cause.reason_string == "why"

    @conforms("5.0", "MQTT-3.1.2-29")
    @pytest.mark.parametrize(
        "information",
        [b"\x1f" + text("r"), b"\x26" + text("n") + text("v")],
        ids=["reason", "user"],
    )
    @pytest.mark.parametrize("first", [0x40, 0x50, 0x62, 0x70, 0x90, 0xB0], ids=hex)
    def test_problem_information_that_was_declined_is_a_protocol_error(
        self, first: int, information: bytes
    ) -> None:
        client = Client(properties=NO_PROBLEMS)
        self.give_cause(client, first)
        properties = section(information)
        if first in (0x90, 0xB0):
            data = packet(first, two(1), properties, b"\x00")
        else:
            data = packet(first, two(1), b"\x00", properties)
        check_fault(client, data, 0x82)

    @staticmethod
    def give_cause(client: Client, first: int) -> None:
        """Let the packet of this first byte be one that is awaited."""
        if first == 0x40:
            client.publish(qos=1)
        elif first == 0x90:
            client.connection.subscribe([("f", SubscriptionOptions(1))])
        elif first in (0x50, 0x70):
            client.publish(qos=2)
        elif first == 0x62:
            client.message(publish(first=0x34, packet_id=1).hex()).ack()
        elif first == 0xB0:
            client.connection.unsubscribe(["f"])
        if first == 0x70:
            client.give("50 02 00 01")
