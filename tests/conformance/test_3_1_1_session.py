"""MQTT 3.1.1, sections 3.1.2.4, 4.1 and 4.4: what outlives a connection, and what does not."""

from __future__ import annotations

from mqttlite.enums import Fate
from tests.conformance.conforms import conforms
from tests.conformance.talk import ACCEPTED, RESUMED, Talk, all_of


@conforms("3.1.1", "MQTT-3.1.2-4", "MQTT-4.1.0-1", "MQTT-4.4.0-1")
def test_a_kept_session_goes_on_with_what_was_sent() -> None:
    talk = Talk(clean_start=False)
    assert talk.opened() == "10 0d 00 04 4d 51 54 54 04 00 00 00 00 01 63"
    talk.give(ACCEPTED)
    talk.publish("t", b"a", 1)
    talk.publish("t", b"b", 2)
    talk.publish("t", b"c", 2)
    talk.took()
    talk.give("50 02 00 03")
    talk.took()
    for _ in range(3):
        assert talk.again() == "3a 06 00 01 74 00 01 61 3c 06 00 01 74 00 02 62 62 02 00 03"
    talk.give("40 02 00 01", "50 02 00 02", "70 02 00 03")
    assert talk.took() == "62 02 00 02"
    talk.give("70 02 00 02")
    assert talk.again() == ""


@conforms("3.1.1", "MQTT-3.1.2-4", "MQTT-4.1.0-1")
def test_a_kept_session_remembers_the_qos_2_messages_that_came() -> None:
    talk = Talk(clean_start=False).open()
    received = talk.listen("t")
    talk.give("34 06 00 01 74 00 07 61")
    assert [message.payload for message in all_of(received)] == [b"a"]
    received.take()
    assert talk.took() == "50 02 00 07"
    talk.again()
    talk.give("3c 06 00 01 74 00 07 61")
    assert all_of(received) == []
    assert talk.took() == "50 02 00 07"
    talk.give("62 02 00 07")
    assert talk.took() == "70 02 00 07"


@conforms("3.1.1", "MQTT-3.1.2-4")
def test_a_kept_session_needs_no_new_subscribe() -> None:
    talk = Talk(clean_start=False).open()
    received = talk.listen("t", qos=0)
    assert talk.again(RESUMED) == ""
    talk.give("30 04 00 01 74 61")
    assert [message.payload for message in all_of(received)] == [b"a"]
    # But if the server has lost it, it is made anew.
    assert talk.again(ACCEPTED) == "82 06 00 02 00 01 74 00"


@conforms("3.1.1", "MQTT-3.1.2-4", "MQTT-4.1.0-1")
def test_a_kept_session_outlives_close() -> None:
    talk = Talk(clean_start=False).open()
    talk.publish("t", b"a", 1)
    talk.took()
    talk.core.close(talk.now, 0.0, drain=False)
    assert talk.took() == "e0 00"
    talk.hang_up()
    assert talk.core.is_idle
    assert talk.opened() == "10 0d 00 04 4d 51 54 54 04 00 00 00 00 01 63"
    talk.give(RESUMED)
    assert talk.took() == "3a 06 00 01 74 00 01 61"


@conforms("3.1.1", "MQTT-3.1.2-6")
def test_a_clean_session_sends_nothing_of_the_last_connection_again() -> None:
    talk = Talk().open()
    first = talk.publish("t", b"a", 1)
    second = talk.publish("t", b"b", 2)
    third = talk.publish("t", b"c", 2)
    talk.took()
    talk.give("50 02 00 03")
    talk.took()
    # What was not acknowledged is published anew: no DUP, a new identifier, a flow of its own.
    assert talk.again(ACCEPTED) == "32 06 00 01 74 00 04 61 34 06 00 01 74 00 05 62"
    assert third.fate is Fate.LOST
    talk.give("40 02 00 04", "50 02 00 05")
    assert talk.took() == "62 02 00 05"
    talk.give("70 02 00 05")
    assert first.fate is second.fate is Fate.ACKNOWLEDGED


@conforms("3.1.1", "MQTT-3.1.2-6")
def test_a_clean_session_forgets_the_qos_2_messages_that_came() -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.give("34 06 00 01 74 00 07 61")
    all_of(received)
    received.take()
    assert talk.took() == "50 02 00 07"
    talk.again(ACCEPTED)
    talk.give("34 06 00 01 74 00 07 62")
    assert [message.payload for message in all_of(received)] == [b"b"]
    received.take()
    assert talk.took() == "50 02 00 07"


@conforms("3.1.1", "MQTT-3.1.2-6")
def test_a_clean_session_asks_for_it_in_every_connection_and_subscribes_anew() -> None:
    talk = Talk().open()
    talk.listen("t", qos=0)
    talk.lose()
    assert talk.opened() == "10 0d 00 04 4d 51 54 54 04 02 00 00 00 01 63"
    talk.give(ACCEPTED)
    assert talk.took() == "82 06 00 02 00 01 74 00"


@conforms("3.1.1", "MQTT-3.1.2-6")
def test_a_clean_start_of_a_session_that_is_kept_comes_once() -> None:
    # 3.1.1 has one flag for two wishes: to begin anew, and to end with the connection.
    talk = Talk(clean_start=True, session_expiry_interval=60)
    assert talk.opened() == "10 0d 00 04 4d 51 54 54 04 02 00 00 00 01 63"
    talk.give(ACCEPTED)
    talk.publish("t", b"a", 1)
    talk.took()
    talk.lose()
    assert talk.opened() == "10 0d 00 04 4d 51 54 54 04 00 00 00 00 01 63"
    talk.give(ACCEPTED)
    assert talk.took() == "32 06 00 01 74 00 02 61"


@conforms("3.1.1", "MQTT-4.1.0-2")
def test_a_clean_session_lasts_as_long_as_its_connection() -> None:
    talk = Talk().open()
    received = talk.listen("t")
    talk.publish("t", b"a", 2)
    talk.took()
    talk.give("34 06 00 01 74 00 07 62")
    all_of(received)
    received.take()
    talk.took()
    talk.now += 1e6  # however long that is
    talk.core.handle_deadline(talk.now)
    talk.give("3c 06 00 01 74 00 07 62")
    assert all_of(received) == []
    assert talk.took() == "50 02 00 07"
    talk.give("50 02 00 02")
    assert talk.took() == "62 02 00 02"


@conforms("3.1.1", "MQTT-4.4.0-1", "MQTT-4.6.0-1")
def test_what_is_sent_again_keeps_its_order() -> None:
    talk = Talk(clean_start=False).open()
    for payload in (b"a", b"b", b"c", b"d"):
        talk.publish("t", payload, 1)
    talk.took()
    talk.give("40 02 00 02")
    again = "3a 06 00 01 74 00 01 61 3a 06 00 01 74 00 03 63 3a 06 00 01 74 00 04 64"
    assert talk.again() == again
    talk.give("40 02 00 03")
    talk.publish("t", b"e", 1)
    talk.took()
    # What was first sent in a later connection stands behind.
    assert talk.again() == (
        "3a 06 00 01 74 00 01 61 3a 06 00 01 74 00 04 64 3a 06 00 01 74 00 05 65"
    )


@conforms("3.1.1", "MQTT-4.4.0-1", "MQTT-4.6.0-1")
def test_nothing_new_is_sent_before_what_is_sent_again() -> None:
    talk = Talk(clean_start=False, maximum_in_flight=2).open()
    talk.publish("t", b"a", 1)
    talk.publish("t", b"b", 1)
    talk.publish("t", b"c", 1)  # waits: there are two in flight
    talk.took()
    assert talk.again() == "3a 06 00 01 74 00 01 61 3a 06 00 01 74 00 02 62"
    talk.give("40 02 00 01")
    assert talk.took() == "32 06 00 01 74 00 03 63"
