"""Payloads that are said to be text, and are not (MQTT 5.0 section 3.3.2.3.2)."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.protocol import ConnectionState
from tests.unit.protocol.sides import V311, Client, connack

GOOD_0 = "30 07 00 01 74 02 01 01 78"
BAD_0 = "30 07 00 01 74 02 01 01 ff"
GOOD_1 = "32 09 00 01 74 00 {:02x} 02 01 01 78"
BAD_1 = "32 09 00 01 74 00 {:02x} 02 01 01 ff"
GOOD_2 = "34 09 00 01 74 00 {:02x} 02 01 01 78"
BAD_2 = "34 09 00 01 74 00 {:02x} 02 01 01 ff"


def make(**arguments: Any) -> Client:
    client = Client(**arguments)
    client.connection.checks_payload_format = True
    return client


def test_it_is_not_checked_if_the_owner_does_not_want_it() -> None:
    client = Client()
    received = client.give(BAD_0, BAD_1.format(1), BAD_2.format(2))
    assert [message.payload for message in received] == [b"\xff"] * 3
    assert client.connection.refused_payloads == 0


def test_text_passes() -> None:
    client = make()
    received = client.give(GOOD_0, GOOD_1.format(1), GOOD_2.format(2))
    assert [message.payload for message in received] == [b"x"] * 3
    # Of several bytes, and with U+0000, which a payload may have.
    assert client.message("30 0a 00 01 74 02 01 01 e2 82 ac 00").payload == "€\0".encode()
    assert client.message("30 06 00 01 74 02 01 01").payload == b""
    assert client.connection.refused_payloads == 0


@pytest.mark.parametrize(
    "packet",
    [
        "30 05 00 01 74 00 ff",  # no properties
        "30 07 00 01 74 02 01 00 ff",  # it is just bytes
        "30 09 00 01 74 04 03 00 01 63 ff",  # another property
    ],
)
def test_what_is_not_said_to_be_text_is_not_checked(packet: str) -> None:
    client = make()
    assert client.message(packet).payload == b"\xff"
    assert client.connection.refused_payloads == 0


def test_mqtt_3_has_no_such_property() -> None:
    client = make(version=V311)
    assert client.message("30 04 00 01 74 ff").payload == b"\xff"


@pytest.mark.parametrize("payload", ["ff", "61 80", "c3", "ed a0 80", "c0 80", "f4 90 80 80"])
def test_what_is_no_text(payload: str) -> None:
    client = make()
    size = 6 + len(bytes.fromhex(payload))
    assert client.give(f"30 {size:02x} 00 01 74 02 01 01 {payload}") == []
    assert client.connection.refused_payloads == 1


def test_qos_0_is_dropped() -> None:
    client = make()
    first, second = client.give(GOOD_0, BAD_0, BAD_0, GOOD_0)
    assert first.payload == second.payload == b"x"
    assert client.sent() == ""
    assert client.connection.refused_payloads == 2
    assert client.connection.state is ConnectionState.OPEN


@pytest.mark.parametrize(("packet", "answer"), [(BAD_1, "40"), (BAD_2, "50")])
def test_the_others_are_refused(packet: str, answer: str) -> None:
    client = make()
    assert client.give(packet.format(9)) == []
    assert client.sent() == f"{answer} 03 00 09 99"
    assert client.connection.refused_payloads == 1
    assert client.connection.state is ConnectionState.OPEN


def test_they_are_refused_in_their_turn() -> None:
    # [MQTT-4.6.0-2]
    client = make()
    first, fourth = client.give(
        GOOD_1.format(1), BAD_1.format(2), BAD_2.format(3), GOOD_2.format(4), BAD_1.format(5)
    )
    assert client.sent() == ""
    first.ack()
    assert client.sent() == "40 02 00 01 40 03 00 02 99 50 03 00 03 99"
    fourth.ack()
    assert client.sent() == "50 02 00 04 40 03 00 05 99"
    assert client.connection.refused_payloads == 3


def test_refusal_ends_the_flow() -> None:
    # They do not count against the Receive Maximum any more, and the identifiers are free.
    client = make(properties={"receive_maximum": 1})
    for _ in range(3):
        assert client.give(BAD_1.format(9)) == []
        assert client.give(BAD_2.format(9)) == []
    assert client.connection.state is ConnectionState.OPEN
    assert client.sent() == "40 03 00 09 99 50 03 00 09 99 " * 2 + "40 03 00 09 99 50 03 00 09 99"
    assert not client.session.incoming
    assert client.message(GOOD_2.format(9)).payload == b"x"


def test_alias_of_a_message_that_is_refused_is_known() -> None:
    client = make(properties={"topic_alias_maximum": 1})
    assert client.give("30 0a 00 01 74 05 01 01 23 00 01 ff") == []
    assert client.message("30 07 00 00 03 23 00 01 78").topic == "t"


def test_qos_2_that_comes_again_is_refused_again_and_counted_once() -> None:
    client = make()
    client.give(GOOD_1.format(1), BAD_2.format(9))  # which waits for its turn
    client.connection.receive_eof()
    again = Client(connack(session_present=True), session=client.session, clean_start=False)
    again.connection.checks_payload_format = True
    again.connection.resume()
    assert again.give(BAD_2.format(9).replace("34", "3c", 1)) == []
    assert again.sent() == "50 03 00 09 99"
    assert client.connection.refused_payloads + again.connection.refused_payloads == 1
    assert not again.session.incoming
