"""The server's side of a connection."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.enums import ClosedBy
from mqttlite.errors import KeepAliveTimeout, ProtocolError
from mqttlite.packets import Connect, Disconnect, Subscribe, Unsubscribe
from mqttlite.protocol import ConnectionState, Outgoing, Session
from mqttlite.protocol.session import Answer
from tests.unit.protocol.sides import CONNECT, CONNECT_311, V5, V31, V311, Server, receipt

CONNECT_31 = "10 0f 00 06 4d 51 49 73 64 70 03 02 00 00 00 01 63"
ALIVE = "10 0e 00 04 4d 51 54 54 05 02 00 0a 00 00 01 63"  # keep alive: 10 seconds
ALIVE_311 = "10 0d 00 04 4d 51 54 54 04 02 00 0a 00 01 63"


class TestHandshake:
    @pytest.mark.parametrize(
        ("connect", "version", "connack"),
        [
            (CONNECT, V5, "20 03 00 00 00"),
            (CONNECT_311, V311, "20 02 00 00"),
            (CONNECT_31, V31, "20 02 00 00"),
        ],
    )
    def test_accept(self, connect: str, version: Any, connack: str) -> None:
        server = Server(None)
        (packet,) = server.give(connect)
        assert isinstance(packet, Connect)
        assert server.connection.connect is packet
        assert server.connection.version == version
        assert server.connection.state is ConnectionState.CONNECTING
        assert server.sent() == ""
        session = Session()
        server.connection.accept(session, session_present=False)
        assert server.connection.session is session
        assert server.connection.state is ConnectionState.OPEN  # type: ignore[comparison-overlap]
        assert server.sent() == connack

    @pytest.mark.parametrize(
        ("connect", "connack"),
        [(CONNECT, "20 06 01 00 03 21 00 05"), (CONNECT_311, "20 02 01 00")],
    )
    def test_accept_with_a_session_and_properties(self, connect: str, connack: str) -> None:
        server = Server(None)
        server.give(connect)
        server.connection.accept(Session(), session_present=True, properties={"receive_maximum": 5})
        assert server.sent() == connack

    def test_limits_of_the_client(self) -> None:
        server = Server("10 16 00 04 4d 51 54 54 05 02 00 00 08 21 00 02 27 00 00 00 64 00 01 63")
        assert server.connection.peer_receive_maximum == 2
        assert server.connection.peer_maximum_packet_size == 100
        assert server.connection.send_quota == 2

    def test_a_client_of_mqtt_3_knows_no_receive_maximum(self) -> None:
        assert Server(CONNECT, receive_maximum=3).connection.receive_maximum == 3
        assert Server(CONNECT_311, receive_maximum=3).connection.receive_maximum == 65_535

    def test_what_comes_before_connack_waits(self) -> None:
        server = Server(None)
        received = server.give(CONNECT, "30 05 00 01 74 00 78", "c0 00")
        assert len(received) == 1
        server.connection.accept(Session(), session_present=False)
        (message,) = server.connection.take_received()
        assert getattr(message, "payload", None) == b"x"
        assert server.sent() == "20 03 00 00 00 d0 00"

    def test_fault_in_what_came_before_connack(self) -> None:
        server = Server(None)
        server.give(CONNECT, "d0 00")
        server.connection.accept(Session(), session_present=False)
        assert str(server.failure()) == "a client must not send PINGRESP here"
        assert server.sent() == "20 03 00 00 00 e0 01 82"

    def test_too_much_before_connack(self) -> None:
        server = Server(None)
        server.give(CONNECT, "c0 00" * 1000)
        assert server.connection.state is ConnectionState.CONNECTING
        server.give("c0 00")
        assert "too many" in str(server.failure())
        assert server.sent() == ""
        server.connection.accept(Session(), session_present=False)  # it is too late
        assert server.sent() == ""
        assert server.connection.state is ConnectionState.CLOSING  # type: ignore[comparison-overlap]

    def test_first_packet_is_connect(self) -> None:
        # [MQTT-3.1.0-1]: closed without a word.
        server = Server(None)
        assert server.give("c0 00") == []
        assert str(server.failure()) == "the first packet must be CONNECT"
        assert server.sent() == ""

    def test_second_connect_is_a_fault(self) -> None:
        # [MQTT-3.1.0-2]
        server = Server()
        server.give(CONNECT)
        assert server.failure().reason_code == 0x82
        assert server.sent() == "e0 01 82"

    def test_unknown_version_is_answered_so_that_any_client_understands(self) -> None:
        # [MQTT-3.1.2-2]
        server = Server(None)
        server.give("10 0d 00 04 4d 51 54 54 09 02 00 00 00 01 63")
        assert server.failure().reason_code == 0x84
        assert server.sent() == "20 02 00 01"

    def test_maximum_packet_size_that_cannot_be_worked_with(self) -> None:
        server = Server(None)
        server.give("10 13 00 04 4d 51 54 54 05 02 00 00 05 27 00 00 00 08 00 01 63")
        assert "maximum packet size of 8" in str(server.failure())
        assert server.sent() == ""

    def test_connack_too_large_for_the_client(self) -> None:
        server = Server(None)
        server.give("10 13 00 04 4d 51 54 54 05 02 00 00 05 27 00 00 00 09 00 01 63")
        server.connection.accept(
            Session(), session_present=False, properties={"assigned_client_identifier": "abc"}
        )
        assert isinstance(server.connection.close_cause, ProtocolError)
        assert server.connection.state is ConnectionState.CLOSING
        assert server.sent() == ""

    @pytest.mark.parametrize(
        ("connect", "code", "expected"),
        [
            (CONNECT, 0x87, "20 03 00 87 00"),
            (CONNECT_311, 0x87, "20 02 00 05"),
            (CONNECT_311, 0x86, "20 02 00 04"),
            (CONNECT_311, 0x8A, "20 02 00 03"),
            (CONNECT_31, 0x85, "20 02 00 02"),
        ],
    )
    def test_refuse(self, connect: str, code: int, expected: str) -> None:
        server = Server(None)
        server.give(connect)
        server.connection.refuse(code)
        assert server.sent() == expected
        assert server.failure().reason_code == code
        assert server.give("c0 00") == []
        assert server.sent() == ""

    def test_refuse_with_an_explanation(self) -> None:
        server = Server(None)
        server.give(CONNECT)
        server.connection.refuse(0x87, {"reason_string": "no"})
        assert server.sent() == "20 08 00 87 05 1f 00 02 6e 6f"

    def test_refusal_of_a_client_that_takes_small_packets(self) -> None:
        server = Server(None)
        server.give("10 13 00 04 4d 51 54 54 05 02 00 00 05 27 00 00 00 09 00 01 63")
        server.connection.refuse(0x87, {"reason_string": "no" * 20})
        assert server.sent() == "20 03 00 87 00"


class TestOpen:
    def test_ping(self) -> None:
        server = Server()
        assert server.give("c0 00") == []
        assert server.sent() == "d0 00"

    def test_requests_are_passed_on(self) -> None:
        server = Server()
        subscribe, unsubscribe = server.give(
            "82 07 00 01 00 00 01 74 00", "a2 06 00 02 00 00 01 74"
        )
        assert isinstance(subscribe, Subscribe)
        assert isinstance(unsubscribe, Unsubscribe)

    @pytest.mark.parametrize(
        "packet", ["20 03 00 00 00", "90 04 00 01 00 00", "b0 04 00 01 00 00", "d0 00", "f0 00"]
    )
    def test_what_a_client_must_not_send(self, packet: str) -> None:
        server = Server()
        server.give(packet)
        assert server.failure().reason_code == 0x82
        assert server.sent() == "e0 01 82"

    def test_fault_in_mqtt_3_is_not_answered(self) -> None:
        server = Server(CONNECT_311)
        server.give("d0 00")
        assert server.failure()
        assert server.sent() == ""

    def test_disconnect_from_the_client(self) -> None:
        server = Server()
        (packet,) = server.give("e0 01 04")
        assert isinstance(packet, Disconnect)
        assert packet.reason_code == 4
        assert server.connection.is_closed
        assert server.connection.close_cause is not None
        assert server.connection.close_cause.by is ClosedBy.CLIENT

    def test_disconnect_may_change_the_session_expiry(self) -> None:
        server = Server("10 13 00 04 4d 51 54 54 05 02 00 00 05 11 00 00 00 09 00 01 63")
        (packet,) = server.give("e0 07 00 05 11 00 00 00 05")
        assert packet.properties == {"session_expiry_interval": 5}

    def test_disconnect_must_not_begin_a_session_that_was_not_to_be_kept(self) -> None:
        # Section 3.14.2.2.2
        server = Server()
        assert server.give("e0 07 00 05 11 00 00 00 05") == []
        assert server.failure().reason_code == 0x82
        assert server.sent() == "e0 01 82"

    def test_both_directions_have_identifiers_of_their_own(self) -> None:
        # Section 2.2.1.
        server = Server()
        outgoing = server.publish("t", b"", 2)
        message = server.message("34 06 00 01 74 00 01 00")
        message.ack()
        assert server.sent() == "34 06 00 01 74 00 01 00 50 02 00 01"
        server.give("50 02 00 01", "62 02 00 01", "70 02 00 01")
        assert server.sent() == "62 02 00 01 70 02 00 01"
        assert server.connection.completed == [outgoing]

    def test_resume(self) -> None:
        session = Session()
        session.outgoing[7] = outgoing = Outgoing("t", b"", 1)
        outgoing.packet_id = 7
        server = Server(session=session)
        server.connection.resume()
        assert server.sent() == "3a 06 00 01 74 00 07 00"

    def test_receive_maximum(self) -> None:
        server = Server(receive_maximum=1)
        server.give("32 06 00 01 74 00 01 00", "32 06 00 01 74 00 02 00")
        assert server.sent() == "e0 01 93"

    def test_topic_alias(self) -> None:
        server = Server(topic_alias_maximum=1)
        server.message("30 07 00 01 74 03 23 00 01")
        assert server.message("30 06 00 00 03 23 00 01").topic == "t"

    def test_maximum_packet_size(self) -> None:
        server = Server(maximum_packet_size=20)
        server.give("30 13")
        assert server.sent() == "e0 01 95"


class TestTime:
    def test_connect_has_to_come_in_time(self) -> None:
        server = Server(None, now=100.0)
        assert server.connection.next_deadline() == 110.0
        server.connection.handle_deadline(109.9)
        assert server.connection.state is ConnectionState.CONNECTING
        server.connection.handle_deadline(110.0)
        assert server.connection.is_closed
        assert isinstance(server.connection.close_cause, KeepAliveTimeout)
        assert server.connection.close_cause.by is ClosedBy.SERVER
        assert server.connection.next_deadline() is None

    @pytest.mark.parametrize(("connect", "expected"), [(ALIVE, "e0 01 8d"), (ALIVE_311, "")])
    def test_one_and_a_half_keep_alives(self, connect: str, expected: str) -> None:
        # [MQTT-3.1.2-22]
        server = Server(connect, now=100.0)
        assert server.connection.next_deadline() == 115.0
        server.now = 110.0
        server.give("c0 00")
        server.sent()
        assert server.connection.next_deadline() == 125.0
        server.connection.handle_deadline(124.9)
        assert server.connection.state is ConnectionState.OPEN
        server.connection.handle_deadline(125.0)
        assert server.sent() == expected
        assert isinstance(server.connection.close_cause, KeepAliveTimeout)
        assert server.connection.next_deadline() is None

    def test_no_keep_alive(self) -> None:
        server = Server()
        assert server.connection.next_deadline() is None
        server.connection.handle_deadline(1e9)
        assert server.connection.state is ConnectionState.OPEN

    def test_after_disconnect(self) -> None:
        server = Server(ALIVE)
        server.connection.disconnect()
        assert server.connection.next_deadline() is None

    def test_refused_before_accept(self) -> None:
        server = Server(None)
        server.give(CONNECT)
        server.connection.refuse(0x87)
        server.connection.accept(Session(), session_present=False)
        assert server.sent() == "20 03 00 87 00"
        assert server.connection.state is ConnectionState.CLOSING


class TestGoodbye:
    @pytest.mark.parametrize(("connect", "expected"), [(CONNECT, "e0 01 8e"), (CONNECT_311, "")])
    def test_open(self, connect: str, expected: str) -> None:
        server = Server(connect)
        server.connection.disconnect(0x8E)
        assert server.sent() == expected
        assert server.connection.state is ConnectionState.CLOSING

    def test_before_connack(self) -> None:
        # [MQTT-3.14.0-1]
        server = Server(None)
        server.give(CONNECT)
        server.connection.disconnect(0x8B)
        assert server.sent() == ""
        assert server.connection.state is ConnectionState.CLOSING


class TestAnswersWithAReason:
    @pytest.mark.parametrize("code", [0x10, 0x87])
    def test_qos_1(self, code: int) -> None:
        server = Server(receive_maximum=1)
        for _ in range(2):
            message = server.message("32 06 00 01 74 00 05 00")
            server.connection.acknowledge(receipt(message), Answer(code))
            assert server.sent() == f"40 03 00 05 {code:02x}"

    def test_qos_2_goes_on(self) -> None:
        server = Server(receive_maximum=1)
        message = server.message("34 06 00 01 74 00 05 00")
        server.connection.acknowledge(receipt(message), Answer(0x10))
        assert server.sent() == "50 03 00 05 10"
        assert server.give("3c 06 00 01 74 00 05 00") == []
        assert server.sent() == "50 03 00 05 10"
        server.give("62 02 00 05")
        assert server.sent() == "70 02 00 05"

    def test_qos_2_ends_with_a_failure(self) -> None:
        # [MQTT-4.3.3-9]
        server = Server(receive_maximum=1)
        message = server.message("34 06 00 01 74 00 05 00")
        server.connection.acknowledge(receipt(message), Answer(0x97))
        assert server.sent() == "50 03 00 05 97"
        assert not server.connection.session.incoming
        server.message("34 06 00 01 74 00 05 00").ack()  # the identifier is free, and the quota
        assert server.sent() == "50 02 00 05"

    def test_mqtt_3_cannot_say_it(self) -> None:
        server = Server(CONNECT_311)
        message = server.message("32 05 00 01 74 00 05")
        server.connection.acknowledge(receipt(message), Answer(0x87))
        assert server.sent() == "40 02 00 05"

    def test_in_its_turn(self) -> None:
        server = Server()
        first = server.message("32 06 00 01 74 00 05 00")
        second = server.message("34 06 00 01 74 00 06 00")
        server.connection.acknowledge(receipt(second), Answer(0x87))
        assert server.sent() == ""
        first.ack()
        assert server.sent() == "40 02 00 05 50 03 00 06 87"
