"""Acknowledgements are written together, with what is sent next: none is lost, none goes twice."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.errors import ConnectionLost, ProtocolError
from mqttlite.packets import Message, Packet
from mqttlite.protocol import ConnectionState, Session
from tests.unit.protocol.sides import V5, V311, Client, Server, connack

QOS_1 = "32 06 00 01 74 00 {:02x} 00"
QOS_2 = "34 06 00 01 74 00 {:02x} 00"


def test_due_is_data_to_send() -> None:
    client = Client()
    first, second = client.give(QOS_1.format(1), QOS_2.format(2))
    assert not client.connection.has_data
    second.ack()
    client.sent()
    assert not client.connection.has_data
    first.ack()
    assert client.connection.has_data
    assert client.connection.unsent_size == 0  # it is not written yet
    assert client.sent() == "40 02 00 01 50 02 00 02"
    assert not client.connection.has_data
    assert client.sent() == ""


def test_due_goes_behind_what_was_sent_before() -> None:
    client = Client()
    message = client.message(QOS_1.format(1))
    client.publish("t")
    message.ack()
    assert client.sent() == "30 04 00 01 74 00 40 02 00 01"


@pytest.mark.parametrize("give", ["30 04 00 01 74 00", "40", "d0 00"])
def test_due_is_written_before_anything_is_received(give: str) -> None:
    client = Client()
    client.message(QOS_1.format(1)).ack()
    client.give(give)
    assert client.connection.unsent_size == 4
    assert client.sent() == "40 02 00 01"


def test_it_has_made_room_for_what_comes() -> None:
    client = Client(properties={"receive_maximum": 2})
    for message in client.give(QOS_1.format(1), QOS_1.format(2)):
        message.ack()
    assert len(client.give(QOS_1.format(1), QOS_1.format(2))) == 2
    assert client.connection.remarks == ()
    client.give(QOS_1.format(3))  # but that one is too many
    assert len(client.connection.remarks) == 1
    assert client.sent() == "40 02 00 01 40 02 00 02"


class TestEnd:
    """What becomes of what is due when the connection ends."""

    def test_disconnect_comes_behind_it(self) -> None:
        client = Client()
        client.message(QOS_1.format(1)).ack()
        client.connection.disconnect()
        assert client.sent() == "40 02 00 01 e0 00"
        assert not client.connection.has_data

    def test_fault_of_the_peer_comes_behind_it(self) -> None:
        client = Client()
        client.message(QOS_1.format(1)).ack()
        client.give("f1 00")
        assert client.sent() == "40 02 00 01 e0 01 81"

    def test_fault_in_mqtt_3_1_1(self) -> None:
        client = Client(version=V311)
        client.message("32 05 00 01 74 00 01").ack()
        client.give("f1 00")
        assert client.connection.state is ConnectionState.CLOSING
        assert isinstance(client.connection.close_cause, ProtocolError)
        assert client.sent() == "40 02 00 01"

    def test_the_same_piece_has_a_message_that_comes_again_and_a_fault(self) -> None:
        client = Client()
        client.message(QOS_2.format(1)).ack()
        assert client.sent() == "50 02 00 01"
        client.give(QOS_2.format(1), "f1 00")
        assert client.sent() == "50 02 00 01 e0 01 81"

    def test_nothing_more_after_disconnect(self) -> None:
        client = Client()
        first, second = client.give(QOS_1.format(1), QOS_1.format(2))
        first.ack()
        client.connection.disconnect()
        second.ack()
        assert client.sent() == "40 02 00 01 e0 00"
        assert client.sent() == ""
        assert not client.connection.has_data

    def test_nothing_after_a_disconnect_of_the_server(self) -> None:
        client = Client()
        first, second = client.give(QOS_1.format(1), QOS_2.format(2))
        first.ack()
        client.give("e0 01 8b")
        second.ack()
        assert client.connection.is_closed
        assert client.sent() == ""

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_lost_connection(self, when: str) -> None:
        client = Client()
        message = client.message(QOS_1.format(1))
        if when == "before":
            message.ack()
        client.connection.lose(ConnectionLost("gone"))
        if when == "after":
            message.ack()
        assert client.sent() == ""
        assert not client.connection.has_data
        again = Client(connack(session_present=True), session=client.session, clean_start=False)
        assert again.sent() == ""

    def test_those_of_qos_2_are_answered_when_they_come_again(self) -> None:
        client = Client()
        first, second = client.give(QOS_2.format(1), QOS_2.format(2))
        second.ack()
        first.ack()
        client.connection.receive_eof()  # before anything was written
        again = Client(connack(session_present=True), session=client.session, clean_start=False)
        assert again.give("3c 06 00 01 74 00 01 00", "3c 06 00 01 74 00 02 00") == []
        assert again.sent() == "50 02 00 01 50 02 00 02"
        assert again.give("62 02 00 01 62 02 00 02") == []
        assert again.sent() == "70 02 00 01 70 02 00 02"
        assert not client.session.incoming

    def test_server_of_mqtt_5_says_goodbye_behind_it(self) -> None:
        server = Server()
        server.message(QOS_1.format(1)).ack()
        server.connection.disconnect(0x8B)
        assert server.sent() == "40 02 00 01 e0 01 8b"


def test_message_that_comes_again_on_a_connection_with_an_excess() -> None:
    # A message of QoS 2 that an older connection has brought counts as any other.
    session = Session()
    client = Client(session=session)
    client.give(QOS_2.format(1), QOS_2.format(2))
    client.connection.receive_eof()
    again = Client(
        connack(session_present=True),
        session=session,
        clean_start=False,
        properties={"receive_maximum": 1},
    )
    again.give("3c 06 00 01 74 00 01 00")
    assert again.connection.state is ConnectionState.OPEN
    assert again.connection.remarks == ()
    again.give("3c 06 00 01 74 00 02 00")  # borne, for DUP is set
    assert again.connection.state is ConnectionState.OPEN
    assert len(again.connection.remarks) == 1
    server = Server(session=Session(), receive_maximum=1)
    server.give(QOS_2.format(1))
    other = Server(session=server.connection.session, receive_maximum=1)
    other.give(QOS_2.format(7), "3c 06 00 01 74 00 01 00")
    assert other.failure().reason_code == 0x93


# --- any order ---


class Model:
    """What a client has to answer, by the words of section 4.6: a list, and whose turn it is."""

    def __init__(self) -> None:
        self.waiting: list[list[Any]] = []  # a message's answer, and whether it is done

    def arrive(self, answer: str) -> list[Any]:
        entry = [answer, False]
        self.waiting.append(entry)
        return entry

    def answers(self) -> list[str]:
        found = []
        while self.waiting and self.waiting[0][1]:
            found.append(self.waiting.pop(0)[0])
        return found


@settings(deadline=None, max_examples=300, database=None)
@given(
    st.booleans(),
    st.lists(
        st.sampled_from(["message", "message", "ack", "ack", "refuse", "abandon", "send", "give"]),
        max_size=60,
    ),
    st.randoms(use_true_random=False),
)
def test_every_answer_once_and_in_order(is_traced: bool, operations: list[str], rng: Any) -> None:
    trace: list[Packet] = []
    client = Client(
        tracer=(lambda _, packet: trace.append(packet)) if is_traced else None,
        properties={"session_expiry_interval": 9},
    )
    model = Model()
    open_messages: list[tuple[Message, list[Any]]] = []
    expected: list[str] = []
    sent = ""
    number = abandoned = 0
    for operation in [*operations, "send"]:
        if operation == "message":
            number += 1
            qos = rng.choice([1, 2])
            message = client.message((QOS_1 if qos == 1 else QOS_2).format(number))
            answer = f"{'40' if qos == 1 else '50'} 02 00 {number:02x}"
            open_messages.append((message, model.arrive(answer)))
        elif operation == "send":
            sent = f"{sent} {client.sent()}".strip()
            assert not client.connection.has_data
            assert sent == " ".join(expected)
        elif operation == "give":
            client.give("30 04 00 01 74 00")
        elif open_messages:
            message, entry = open_messages.pop(rng.randrange(len(open_messages)))
            if operation == "ack":
                message.ack()
            elif operation == "refuse":
                message.ack(0x80)
                entry[0] = f"{entry[0][:2]} 03 {entry[0][6:]} 80"
            elif abandoned < 7:  # with the eighth the connection ends
                abandoned += 1
                receipt: Any = message._receipt
                receipt.abandon()
                entry[0] = ""
            else:
                message.ack()
            entry[1] = True
            message.ack()  # does nothing
        expected += [answer for answer in model.answers() if answer]


def test_shared_nothing() -> None:
    # Most connections never have one of these: what stands for them is the same object.
    one, other = Client(), Client(version=V5)
    one.give(QOS_1.format(1))
    assert not other.connection._unacknowledged
    assert len(one.connection._unacknowledged) == 1
    third = Client()
    assert not third.connection._unacknowledged
    assert third.connection._unacknowledged is other.connection._unacknowledged
