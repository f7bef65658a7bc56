"""MQTT 5.0, section 3.2: CONNACK, and what the client has to keep to because of it."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientState, HangUp
from mqttlite.enums import ClosedBy, Fate
from mqttlite.errors import ConnectRefused, NotSupported, PacketTooLarge, ProtocolError, UsageError
from mqttlite.packets import SubscriptionOptions
from mqttlite.protocol import ConnectionState
from tests.conformance.by_hand_5_0 import (
    Talk,
    check_fault,
    connack,
    packet,
    publish,
    take_apart,
    text,
    two,
)
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import Client

CLEAN_START = 0x02

# Table 3-1, the codes of a refusal.
REFUSALS = (
    *(0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97),
    *(0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F),
)


def kept(**options: Any) -> Talk:
    """A client that wants its session to outlive the connection."""
    return Talk(client_id="me", session_expiry_interval=60, **options)


def maximum_packet_size(size: int) -> bytes:
    return b"\x27\x00\x00" + two(size)


class TestFirstPacket:
    @conforms("5.0", "MQTT-3.2.0-1")
    @pytest.mark.parametrize(
        "data",
        [
            b"\x30\x04\x00\x01t\x00",
            b"\x32\x06\x00\x01t\x00\x01\x00",
            b"\x40\x02\x00\x01",
            b"\x50\x02\x00\x01",
            b"\x62\x02\x00\x01",
            b"\x70\x02\x00\x01",
            b"\x90\x04\x00\x01\x00\x00",
            b"\xb0\x04\x00\x01\x00\x00",
            b"\xd0\x00",
        ],
        ids=lambda data: hex(data[0]),
    )
    def test_anything_before_connack_is_a_protocol_error(self, data: bytes) -> None:
        talk = Talk()
        subscription = talk.subscribe("t")
        connecting = talk.core.connect(talk.now)
        talk.core.take_action()
        talk.core.transport_opened(talk.now)
        talk.sent()
        talk.hear(data, connack())  # CONNACK comes too late
        assert talk.sent() == b"\xe0\x01\x82"
        assert talk.hang_up() == HangUp(graceful=True)
        assert isinstance(connecting.error, ProtocolError)
        assert connecting.error.by is ClosedBy.CLIENT
        assert not subscription.buffer
        assert not talk.core.session.incoming

    @conforms("5.0", "MQTT-3.2.0-2")
    @pytest.mark.parametrize("at_once", [True, False])
    def test_second_connack_is_a_protocol_error(self, at_once: bool) -> None:
        talk = Talk()
        talk.ask()
        if at_once:
            talk.hear(connack() + connack())
        else:
            talk.hear(connack())
            assert talk.core.is_connected
            talk.hear(connack())
        assert talk.sent() == b"\xe0\x01\x82"
        assert talk.hang_up() == HangUp(graceful=True)

    @conforms("5.0", "MQTT-3.2.0-2")
    def test_second_connack_that_refuses_is_a_protocol_error(self) -> None:
        check_fault(Client(), b"\x20\x03\x00\x87\x00", 0x82)


class TestSessionPresent:
    @conforms("5.0", "MQTT-3.2.2-1")
    def test_reserved_flags_are_malformed(self) -> None:
        for flags in range(2, 256):
            check_fault(Client(None, clean_start=False), bytes((0x20, 3, flags, 0, 0)), 0x81)

    @conforms("5.0", "MQTT-3.2.2-2", "MQTT-3.2.2-4")
    @pytest.mark.parametrize("options", [{}, {"client_id": "me", "session_expiry_interval": 60}])
    def test_session_after_a_clean_start_is_not_gone_on_with(self, options: Any) -> None:
        talk = Talk(**options)
        operation = talk.core.connect(talk.now)
        assert take_apart(talk.ask_now()).flags & CLEAN_START
        talk.hear(connack(session_present=True))
        assert talk.sent() == b"\xe0\x01\x82"
        assert talk.hang_up() == HangUp(graceful=True)
        assert isinstance(operation.error, ProtocolError)
        # The next attempt is for a new session, too.
        assert take_apart(talk.open()).flags & CLEAN_START

    @conforms("5.0", "MQTT-3.2.2-4")
    def test_session_that_was_given_up_is_not_gone_on_with(self) -> None:
        talk = kept()
        talk.open()
        talk.publish("t", b"", 1)
        talk.core.close(talk.now, 5.0, drain=False)
        talk.sent()
        talk.hang_up()
        talk.ask()
        talk.hear(connack(session_present=True))
        assert talk.sent() == b"\xe0\x01\x82"
        assert talk.hang_up() == HangUp(graceful=True)

    @conforms("5.0", "MQTT-3.2.2-5")
    def test_lost_session_is_forgotten(self) -> None:
        talk = kept()
        talk.open()
        subscription = talk.subscribed("t", 2)
        released = talk.publish("a", b"", 2)
        talk.hear(b"\x50\x02" + two(released.packet_id))
        talk.hear(publish(first=0x34, packet_id=9))
        talk.sent()
        talk.lose()
        talk.open(session_present=False)
        packets = talk.packets()
        # No PUBREL for what the new session does not know, and nothing that says it was sent
        # before.
        assert [each[0] for each in packets] == [0x82]
        assert released.fate is Fate.LOST
        talk.hear(publish(first=0x3C, packet_id=9))
        assert len(subscription.buffer) == 2  # a new message, whatever DUP says

    @conforms("5.0", "MQTT-3.2.2-5")
    def test_message_of_a_lost_session_is_published_as_a_new_one(self) -> None:
        talk = kept()
        talk.open()
        deliveries = [talk.publish("a", b"", 1), talk.publish("b", b"", 2)]
        talk.sent()
        talk.lose()
        talk.open(session_present=False)
        first, second = (two(each.packet_id) for each in deliveries)
        assert talk.packets() == [
            packet(0x32, text("a"), first, b"\0"),
            packet(0x34, text("b"), second, b"\0"),
        ]
        talk.hear(packet(0x40, first), packet(0x50, second), packet(0x70, second))
        assert {each.fate for each in deliveries} == {Fate.ACKNOWLEDGED}

    @conforms("5.0", "MQTT-3.2.2-5")
    def test_answers_of_a_lost_session_are_not_given(self) -> None:
        talk = kept()
        talk.open()
        subscription = talk.subscribed("t", 2, ack="manual")
        talk.hear(publish(first=0x34, packet_id=9), publish(first=0x32, packet_id=10))
        talk.lose()
        talk.open(session_present=False)
        talk.sent()
        while message := subscription.take():
            message.ack()
        assert talk.sent() == b""

    @conforms("5.0", "MQTT-3.2.2-6")
    @pytest.mark.parametrize("code", REFUSALS, ids=hex)
    def test_refusal_with_a_session_is_a_protocol_error(self, code: int) -> None:
        check_fault(Client(None, clean_start=False), bytes((0x20, 3, 1, code, 0)), 0x82)


class TestReasonCode:
    @conforms("5.0", "MQTT-3.2.2-7", "MQTT-3.2.2-8")
    @pytest.mark.parametrize("code", REFUSALS, ids=hex)
    def test_refusal_is_the_end_of_the_connection(self, code: int) -> None:
        talk = Talk()
        connecting = talk.core.connect(talk.now)
        subscription = talk.subscribe("t")
        talk.ask_now()
        talk.publish("t", b"", 1)
        talk.hear(bytes((0x20, 3, 0, code, 0)), publish())
        assert talk.sent() == b""
        assert talk.core.state is ClientState.HANGING_UP
        talk.hang_up()
        assert isinstance(connecting.error, ConnectRefused)
        assert connecting.error.reason_code == code
        assert not subscription.buffer
        assert talk.core.is_idle

    @conforms("5.0", "MQTT-3.2.2-7")
    def test_session_outlives_a_refusal(self) -> None:
        talk = kept()
        talk.open()
        delivery = talk.publish("a", b"", 1)
        talk.lose()
        talk.ask()
        talk.hear(b"\x20\x03\x00\x89\x00")  # server busy
        assert talk.sent() == b""
        talk.hang_up()
        talk.open(session_present=True)
        assert talk.packets() == [packet(0x3A, text("a"), two(delivery.packet_id), b"\0")]

    @conforms("5.0", "MQTT-3.2.2-8")
    def test_other_codes_are_a_protocol_error(self) -> None:
        for code in set(range(1, 256)) - set(REFUSALS):
            check_fault(Client(None), bytes((0x20, 3, 0, code, 0)), 0x82)


class TestMaximumQos:
    @conforms("5.0", "MQTT-3.2.2-11")
    @pytest.mark.parametrize("maximum", [0, 1])
    def test_message_above_it_is_refused(self, maximum: int) -> None:
        talk = Talk()
        talk.open(bytes((0x24, maximum)))
        for qos in range(maximum + 1, 3):
            with pytest.raises(NotSupported):
                talk.publish("t", b"", qos)
        assert talk.sent() == b""
        for qos in range(maximum + 1):
            talk.publish("t", b"", qos)
        assert [each[0] for each in talk.packets()] == [0x30, 0x32][: maximum + 1]

    @conforms("5.0", "MQTT-3.2.2-11")
    def test_queued_message_above_it_is_not_sent(self) -> None:
        talk = Talk()
        talk.core.connect(talk.now)
        above, below = talk.publish("t", b"", 2), talk.publish("u", b"", 1)
        talk.ask_now()
        talk.hear(connack(b"\x24\x01"))
        assert talk.packets() == [packet(0x32, text("u"), two(below.packet_id), b"\0")]
        assert above.fate is Fate.DROPPED
        assert isinstance(above.error, NotSupported)

    @conforms("5.0", "MQTT-3.2.2-11")
    def test_message_above_it_is_not_sent_again(self) -> None:
        talk = kept()
        talk.open()
        above, below = talk.publish("t", b"", 2), talk.publish("u", b"", 1)
        talk.lose()
        talk.open(b"\x24\x01", session_present=True)
        assert talk.packets() == [packet(0x3A, text("u"), two(below.packet_id), b"\0")]
        assert above.done
        assert above.error is not None


class TestRetainAvailable:
    @conforms("5.0", "MQTT-3.2.2-14")
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_retained_message_is_refused(self, qos: int) -> None:
        talk = Talk()
        talk.open(b"\x25\x00")
        with pytest.raises(NotSupported):
            talk.retain("t", qos)
        assert talk.sent() == b""
        talk.publish("t", b"", qos)
        assert [each[0] for each in talk.packets()] == [0x30 | qos << 1]

    @conforms("5.0", "MQTT-3.2.2-14")
    def test_queued_message_is_not_sent(self) -> None:
        talk = Talk()
        talk.core.connect(talk.now)
        retained, other = talk.retain("t", 1), talk.publish("u", b"", 1)
        talk.ask_now()
        talk.hear(connack(b"\x25\x00"))
        assert talk.packets() == [packet(0x32, text("u"), two(other.packet_id), b"\0")]
        assert retained.fate is Fate.DROPPED
        assert isinstance(retained.error, NotSupported)

    @conforms("5.0", "MQTT-3.2.2-14")
    def test_message_is_not_sent_again(self) -> None:
        talk = kept()
        talk.open()
        retained, other = talk.retain("t", 1), talk.publish("u", b"", 1)
        talk.lose()
        talk.open(b"\x25\x00", session_present=True)
        assert talk.packets() == [packet(0x3A, text("u"), two(other.packet_id), b"\0")]
        assert retained.done
        assert retained.error is not None

    @conforms("5.0", "MQTT-3.2.2-14")
    @pytest.mark.parametrize("properties", [(), (b"\x25\x01",)], ids=["absent", "1"])
    def test_retained_message_is_sent_where_it_may_be(self, properties: tuple[bytes, ...]) -> None:
        talk = Talk()
        talk.open(*properties)
        talk.retain("t", 0)
        assert talk.sent() == b"\x31\x04\x00\x01t\x00"


class TestMaximumPacketSize:
    @conforms("5.0", "MQTT-3.2.2-15")
    @pytest.mark.parametrize("qos", [0, 1, 2])
    def test_message_of_a_byte_too_many_is_refused(self, qos: int) -> None:
        talk = Talk()
        talk.open(maximum_packet_size(200))
        most = 200 - 3 - 3 - 1 - (2 if qos else 0)
        with pytest.raises(PacketTooLarge):
            talk.publish("t", bytes(most + 1), qos)
        assert talk.sent() == b""
        talk.publish("t", bytes(most), qos)
        assert [len(each) for each in talk.packets()] == [200]

    @conforms("5.0", "MQTT-3.2.2-15")
    def test_properties_of_a_message_count(self) -> None:
        talk = Talk()
        talk.open(maximum_packet_size(50))
        with pytest.raises(PacketTooLarge):
            talk.publish("t", b"", 0, user_properties=[("n", "v" * 39)])
        assert talk.sent() == b""
        talk.publish("t", b"", 0, user_properties=[("n", "v" * 38)])
        assert [len(each) for each in talk.packets()] == [50]

    @conforms("5.0", "MQTT-3.2.2-15")
    def test_queued_message_is_not_sent(self) -> None:
        talk = Talk()
        talk.core.connect(talk.now)
        large, small = talk.publish("t", bytes(100), 1), talk.publish("u", b"", 1)
        talk.ask_now()
        talk.hear(connack(maximum_packet_size(50)))
        assert talk.packets() == [packet(0x32, text("u"), two(small.packet_id), b"\0")]
        assert large.fate is Fate.DROPPED
        assert isinstance(large.error, PacketTooLarge)

    @conforms("5.0", "MQTT-3.2.2-15")
    def test_message_is_not_sent_again(self) -> None:
        talk = kept()
        talk.open()
        large, small = talk.publish("t", bytes(100), 1), talk.publish("u", b"", 1)
        talk.lose()
        talk.open(maximum_packet_size(50), session_present=True)
        assert talk.packets() == [packet(0x3A, text("u"), two(small.packet_id), b"\0")]
        assert large.done
        assert large.error is not None

    @conforms("5.0", "MQTT-3.2.2-15")
    def test_request_of_a_byte_too_many_is_refused(self) -> None:
        client = Client(connack(maximum_packet_size(50)).hex())
        connection = client.connection
        with pytest.raises(PacketTooLarge):
            connection.subscribe([("f" * 43, SubscriptionOptions(0))])
        with pytest.raises(PacketTooLarge):
            connection.unsubscribe(["f" * 44])
        assert client.sent() == ""
        connection.subscribe([("f" * 42, SubscriptionOptions(0))])
        assert len(bytes.fromhex(client.sent())) == 50
        connection.unsubscribe(["f" * 43])
        assert len(bytes.fromhex(client.sent())) == 50

    @conforms("5.0", "MQTT-3.2.2-15")
    def test_no_request_of_a_program_becomes_too_large(self) -> None:
        talk = Talk()
        talk.open(maximum_packet_size(50))
        filters = [f"{number:020}" for number in range(20)]
        talk.subscribe(filters)
        talk.core.unsubscribe_filters([each + "x" for each in filters])
        with pytest.raises(UsageError):
            talk.subscribe("f" * 100)
        sent = talk.packets()
        assert {each[0] for each in sent} == {0x82, 0xA2}
        assert max(map(len, sent)) <= 50
        assert all(each.encode() in b"".join(sent) for each in filters)

    @conforms("5.0", "MQTT-3.2.2-15")
    def test_everything_else_fits_the_smallest_size_that_is_worked_with(self) -> None:
        talk = Talk(keep_alive=10)
        talk.open(maximum_packet_size(9))
        talk.publish("t", b"", 2)
        talk.hear(b"\x50\x02\x00\x01", b"\x50\x02\x00\x07")
        talk.hear(publish(first=0x32, packet_id=1), publish(first=0x34, packet_id=2))
        talk.hear(b"\x62\x02\x00\x02", b"\x62\x02\x00\x03")
        talk.pass_deadline()
        talk.hear(b"\xd0\x00")
        talk.core.close(talk.now, 5.0, drain=False)
        sent = talk.packets()
        assert {each[0] for each in sent} == {0x34, 0x62, 0x40, 0x50, 0x70, 0xC0, 0xE0}
        assert max(map(len, sent)) <= 9

    @conforms("5.0", "MQTT-3.2.2-15")
    def test_size_of_one_connection_is_not_that_of_the_next(self) -> None:
        talk = kept()
        talk.open(maximum_packet_size(50))
        talk.lose()
        talk.open(session_present=True)
        talk.publish("t", bytes(100), 0)
        assert [len(each) for each in talk.packets()] == [106]


class TestAssignedIdentifier:
    @conforms("5.0", "MQTT-3.2.2-16")
    def test_identifier_of_the_server_is_taken(self) -> None:
        talk = Talk()
        assert take_apart(talk.open(b"\x12" + text("it/ß"))).payload == b"\x00\x00"
        assert talk.core.client_id == "it/ß"
        talk.lose()
        # A server that finds the session again does not assign another one.
        assert take_apart(talk.open(session_present=True)).payload == text("it/ß")
        assert talk.core.client_id == "it/ß"

    @conforms("5.0", "MQTT-3.2.2-16")
    def test_last_identifier_of_the_server_is_taken(self) -> None:
        talk = Talk()
        talk.open(b"\x12" + text("it"))
        talk.lose()
        talk.open(b"\x12" + text("other"))
        assert talk.core.client_id == "other"
        talk.lose()
        assert take_apart(talk.ask()).payload == text("other")

    @conforms("5.0", "MQTT-3.2.2-16")
    def test_two_clients_do_not_share_it(self) -> None:
        one, other = Talk(), Talk()
        one.open(b"\x12" + text("it"))
        assert take_apart(other.open(b"\x12" + text("you"))).payload == b"\x00\x00"
        assert (one.core.client_id, other.core.client_id) == ("it", "you")


class TestServerKeepAlive:
    @conforms("5.0", "MQTT-3.2.2-21")
    @pytest.mark.parametrize("own", [0, 60])
    def test_it_is_used_for_the_pings_of_the_connection(self, own: int) -> None:
        client = Client(connack(b"\x13\x00\x1e").hex(), keep_alive=own)
        connection = client.connection
        for _ in range(3):
            sent_at = client.now
            deadline = connection.next_deadline()
            assert deadline is not None
            client.now = deadline
            connection.handle_deadline(client.now)
            assert client.sent() == "c0 00"
            assert 15 < client.now - sent_at <= 30
            client.give("d0 00")
        assert connection.state is ConnectionState.OPEN
