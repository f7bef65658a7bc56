"""MQTT 3.1.1, sections 3.1, 3.2, 3.12 and 3.14: a connection begins, lives and ends."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientState, Dial, HangUp
from mqttlite.errors import ConnectRefused, KeepAliveTimeout, UsageError
from mqttlite.message import Will
from mqttlite.packets import Connect, encode
from tests.conformance.conforms import conforms
from tests.conformance.talk import ACCEPTED, Talk, all_of
from tests.unit.protocol.sides import V311

CONNECT = "10 0d 00 04 4d 51 54 54 04 02 00 00 00 01 63"
"""MQTT 3.1.1, clean session, no keep alive, client identifier "c"."""


def payload(connect: str) -> str:
    """What stands behind the ten bytes of CONNECT's variable header."""
    return connect.replace(" ", "")[24:]


def flags(connect: str) -> int:
    return bytes.fromhex(connect)[9]


@conforms("3.1.1", "MQTT-3.1.0-1", "MQTT-3.1.0-2")
def test_connect_is_the_first_packet_and_comes_once() -> None:
    talk = Talk(queue_qos_0=True)
    talk.subscribe("f", 1)
    assert talk.core.next_deadline() is None
    assert talk.opened() == CONNECT
    talk.publish("t", b"", 1)
    assert talk.took() == ""  # nothing before CONNACK
    talk.give(ACCEPTED)
    rest = talk.took()
    assert rest.startswith("82 06")
    assert "4d 51 54 54" not in rest
    talk.lose()
    # The next connection begins with its own.
    assert talk.opened() == CONNECT
    assert talk.took() == ""


@conforms("3.1.1", "MQTT-3.1.2-3")
def test_the_reserved_flag_is_0_whatever_is_asked_for() -> None:
    for options in (
        {},
        {"clean_start": False},
        {"username": "u", "password": b"p", "will": Will("w", b"", qos=2, retain=True)},
    ):
        assert flags(Talk(**options).opened()) & 0x01 == 0


@conforms("3.1.1", "MQTT-3.1.2-9", "MQTT-3.1.3-10", "MQTT-3.1.2-14")
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_will_is_in_the_payload(qos: int, retain: bool) -> None:
    connect = Talk(will=Will("w€", b"\xff\0", qos=qos, retain=retain)).opened()
    assert flags(connect) == 0x06 | qos << 3 | retain << 5
    assert payload(connect) == "000163" + "000477e282ac" + "0002ff00"


@conforms("3.1.1", "MQTT-3.1.2-9")
def test_an_empty_will_message_is_there_all_the_same() -> None:
    connect = Talk(will=Will("w", b"")).opened()
    assert payload(connect) == "000163" + "000177" + "0000"


@conforms("3.1.1", "MQTT-3.1.2-11", "MQTT-3.1.2-13", "MQTT-3.1.2-15")
def test_without_a_will_there_is_nothing_of_it() -> None:
    connect = Talk().opened()
    assert flags(connect) == 0x02
    assert payload(connect) == "000163"


@conforms("3.1.1", "MQTT-3.1.2-14")
@pytest.mark.parametrize("qos", [3, -1, 4])
def test_a_will_has_no_other_qos(qos: int) -> None:
    with pytest.raises(UsageError):
        Talk(will=Will("w", b"", qos=qos))
    # Nor if it was changed behind the constructor's back.
    will = Will("w", b"")
    will.qos = qos
    with pytest.raises(UsageError):
        encode(Connect("c", will=will, version=V311), V311)


@conforms("3.1.1", "MQTT-3.1.3-10")
@pytest.mark.parametrize("topic", ["", "a\ud800", "a\0", "a/#", "+", "x" * 65_536])
def test_a_will_topic_that_is_not_allowed_is_refused(topic: str) -> None:
    with pytest.raises(UsageError):
        Talk(will=Will(topic, b""))


@conforms("3.1.1", "MQTT-3.1.2-18", "MQTT-3.1.2-19", "MQTT-3.1.2-20", "MQTT-3.1.2-21")
@conforms("3.1.1", "MQTT-3.1.3-11")
@pytest.mark.parametrize(
    ("arguments", "expected_flags", "expected"),
    [
        ({}, 0x02, ""),
        ({"username": "ü"}, 0x82, "0002c3bc"),
        ({"username": ""}, 0x82, "0000"),
        ({"username": "u", "password": b"\0\xff"}, 0xC2, "000175" + "000200ff"),
        ({"username": "", "password": b""}, 0xC2, "0000" + "0000"),
    ],
)
def test_flags_say_which_credentials_are_there(
    arguments: dict[str, Any], expected_flags: int, expected: str
) -> None:
    connect = Talk(**arguments).opened()
    assert flags(connect) == expected_flags
    assert payload(connect) == "000163" + expected


@conforms("3.1.1", "MQTT-3.1.3-11")
@pytest.mark.parametrize("username", ["a\ud800", "a\0", "x" * 65_536, b"bytes"])
def test_a_user_name_that_is_not_allowed_is_refused(username: Any) -> None:
    with pytest.raises(UsageError):
        Talk(username=username)


@conforms("3.1.1", "MQTT-3.1.2-22")
def test_a_password_without_a_user_name_is_refused() -> None:
    with pytest.raises(UsageError, match="username"):
        Talk(password=b"secret")


@conforms("3.1.1", "MQTT-3.1.2-22")
def test_a_client_with_a_password_only_does_not_fall_back() -> None:
    # MQTT 5.0 allows it.
    talk = Talk(version=None, password=b"secret")
    connecting = talk.core.connect(talk.now)
    talk.dial()
    talk.give("20 02 00 01")
    talk.hang_up()
    assert isinstance(connecting.error, ConnectRefused)
    assert talk.core.take_action() is None


@conforms("3.1.1", "MQTT-3.1.3-1", "MQTT-3.1.3-3")
def test_the_order_of_the_payload() -> None:
    talk = Talk(client_id="id", will=Will("wt", b"wm"), username="us", password=b"pw")
    assert talk.opened() == (
        "10 1e 00 04 4d 51 54 54 04 c6 00 00 "
        "00 02 69 64 00 02 77 74 00 02 77 6d 00 02 75 73 00 02 70 77"
    )


@conforms("3.1.1", "MQTT-3.1.3-3", "MQTT-3.1.3-7")
def test_an_empty_client_identifier_is_there_and_asks_for_a_clean_session() -> None:
    talk = Talk(client_id="", username="u")
    connect = talk.opened()
    assert flags(connect) == 0x82
    assert payload(connect) == "0000" + "000175"
    # And again for the next connection.
    talk.give(ACCEPTED)
    talk.lose()
    assert talk.opened() == connect


@conforms("3.1.1", "MQTT-3.1.3-7")
@pytest.mark.parametrize("arguments", [{"clean_start": False}, {"session_expiry_interval": 60}])
def test_an_empty_client_identifier_for_a_session_that_is_kept_is_refused(
    arguments: dict[str, Any],
) -> None:
    with pytest.raises(UsageError, match="client_id"):
        Talk(client_id="", **arguments)


@conforms("3.1.1", "MQTT-3.1.3-4")
def test_the_client_identifier_is_utf_8() -> None:
    assert payload(Talk(client_id="ü€").opened()) == "0005c3bce282ac"
    for client_id in ("a\ud800", "a\0", "x" * 65_536, b"bytes"):
        with pytest.raises(UsageError):
            Talk(client_id=client_id)


@conforms("3.1.1", "MQTT-3.1.2-23")
def test_a_ping_goes_out_in_time_when_nothing_else_does() -> None:
    talk = Talk(keep_alive=10)
    assert talk.opened()[30:35] == "00 0a"
    talk.give(ACCEPTED)
    for _ in range(5):
        last = talk.now
        talk.pass_deadline()
        assert talk.now - last < 10
        assert talk.took() == "c0 00"
        talk.give("d0 00")
    assert talk.core.state is ClientState.CONNECTED


@conforms("3.1.1", "MQTT-3.1.2-23")
def test_a_ping_goes_out_although_the_server_sends() -> None:
    talk = Talk(keep_alive=10).open()
    for _ in range(9):
        talk.now += 1.0
        talk.give("30 04 00 01 74 61")
        talk.core.handle_deadline(talk.now)
    assert talk.took() == "c0 00"


@conforms("3.1.1", "MQTT-3.1.2-23")
def test_keep_alive_0_sends_none() -> None:
    assert Talk().open().core.next_deadline() is None


@conforms("3.1.1", "MQTT-3.12.4-1")
def test_without_an_answer_to_the_ping_the_connection_is_closed() -> None:
    talk = Talk(keep_alive=20).open()
    talk.pass_deadline()
    assert talk.took() == "c0 00"
    talk.pass_deadline()
    assert talk.took() == ""
    assert talk.core.take_action() == HangUp(graceful=False)
    talk.lose()
    error = talk.core.events[-1].error  # type: ignore[union-attr]
    assert isinstance(error, KeepAliveTimeout)


@conforms("3.1.1", "MQTT-3.2.0-1")
@pytest.mark.parametrize(
    "packet",
    ["30 04 00 01 74 61", "40 02 00 01", "90 03 00 01 00", "b0 02 00 01", "d0 00", "e0 00"],
)
def test_anything_before_connack_ends_the_connection(packet: str) -> None:
    talk = Talk()
    talk.subscribe("t", 0)
    talk.opened()
    talk.give(packet, ACCEPTED)
    assert not talk.core.is_connected
    talk.fault()


@conforms("3.1.1", "MQTT-3.2.2-1")
def test_session_present_for_a_clean_session_ends_the_connection() -> None:
    talk = Talk()
    talk.opened()
    talk.give("20 02 01 00")
    assert not talk.core.is_connected
    talk.fault()


@conforms("3.1.1", "MQTT-3.2.2-1")
def test_session_present_0_for_a_clean_session_is_right() -> None:
    talk = Talk()
    talk.opened()
    talk.give("20 02 00 00")
    assert talk.core.is_connected


@conforms("3.1.1", "MQTT-3.2.2-4")
@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_a_refusal_with_session_present_is_a_violation(code: int) -> None:
    talk = Talk(clean_start=False)
    talk.opened()
    talk.give(f"20 02 01 0{code}")
    talk.fault()


@conforms("3.1.1", "MQTT-3.2.2-5")
@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
def test_after_a_refusal_the_connection_is_over(code: int) -> None:
    talk = Talk()
    connecting = talk.core.connect(talk.now)
    talk.subscribe("t", 0)
    assert isinstance(talk.core.take_action(), Dial)
    talk.core.transport_opened(talk.now)
    talk.took()
    talk.give(f"20 02 00 0{code}", "30 04 00 01 74 61")
    assert not talk.core.is_connected
    assert talk.took() == ""
    assert talk.core.take_action() == HangUp(graceful=False)
    talk.lose()
    assert isinstance(connecting.error, ConnectRefused)


@conforms("3.1.1", "MQTT-3.14.4-1", "MQTT-3.14.4-2")
def test_after_disconnect_nothing_is_sent_and_the_connection_is_closed() -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give("32 05 00 01 74 00 07", "34 05 00 01 74 00 08")
    closing = talk.core.close(talk.now, 5.0, drain=False)
    assert talk.took() == "e0 00"
    assert isinstance(talk.core.take_action(), HangUp)
    # What the program does meanwhile, and what comes still, makes no packet.
    all_of(received)
    talk.core.unsubscribe(received)
    talk.give("32 05 00 01 74 00 09", "62 02 00 08", "c0 00")
    assert talk.took() == ""
    talk.pass_deadline()  # the server does not close: it is not waited for
    assert talk.took() == ""
    assert talk.core.take_action() == HangUp(graceful=False)
    talk.lose()
    assert closing.done
    assert talk.core.is_idle


@conforms("3.1.1", "MQTT-3.1.3-2")
def test_every_connection_of_a_client_has_its_identifier() -> None:
    talk = Talk(clean_start=False, client_id="one")
    for _ in range(3):
        connect = talk.opened()
        assert payload(connect) == "00036f6e65"
        talk.give("20 02 01 00")
        talk.lose()


@conforms("3.1.1", "MQTT-3.1.3-2")
def test_two_clients_share_no_state() -> None:
    one, two = Talk(clean_start=False), Talk(clean_start=False, client_id="d").open()
    one.open()
    one.publish("t", b"", 1)
    one.took()
    assert one.again() == "3a 05 00 01 74 00 01"
    assert two.again() == ""
