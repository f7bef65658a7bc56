"""What MQTT 5.0 calls Protocol Error or Malformed Packet without giving it a number."""

from __future__ import annotations

from typing import Any, Final

import pytest

from mqttlite.client import Disconnected
from mqttlite.errors import ConnectionClosed, ConnectRefused, UsageError
from mqttlite.message import Will
from mqttlite.packets import Connect, Subscribe, SubscriptionOptions, encode
from tests.conformance.conforms import conforms
from tests.conformance.wire_5_0 import (
    FAULT,
    WITH_PROPERTIES,
    Program,
    accepts,
    bearing,
    goes_on,
    refuses,
    waiting_for,
)
from tests.unit.protocol.sides import V5, Client, connack

# Table 2-4: every property with a value that it may have, and the packets from a server that may
# bear it. AUTH, and the two properties of enhanced authentication in CONNACK, are not here.
EVERYWHERE: Final = frozenset(WITH_PROPERTIES)
REASONS: Final = EVERYWHERE - {"PUBLISH"}
PROPERTIES: Final[dict[str, tuple[str, frozenset[str]]]] = {
    "payload format indicator": ("01 01", frozenset({"PUBLISH"})),
    "message expiry interval": ("02 00 00 00 09", frozenset({"PUBLISH"})),
    "content type": ("03 00 01 63", frozenset({"PUBLISH"})),
    "response topic": ("08 00 01 72", frozenset({"PUBLISH"})),
    "correlation data": ("09 00 01 ff", frozenset({"PUBLISH"})),
    "subscription identifier": ("0b 07", frozenset({"PUBLISH"})),
    "session expiry interval": ("11 00 00 00 09", frozenset({"CONNACK"})),
    "assigned client identifier": ("12 00 01 63", frozenset({"CONNACK"})),
    "server keep alive": ("13 00 09", frozenset({"CONNACK"})),
    "request problem information": ("17 01", frozenset()),
    "will delay interval": ("18 00 00 00 09", frozenset()),
    "request response information": ("19 01", frozenset()),
    "response information": ("1a 00 01 72", frozenset({"CONNACK"})),
    "server reference": ("1c 00 01 73", frozenset({"CONNACK", "DISCONNECT"})),
    "reason string": ("1f 00 01 72", REASONS),
    "receive maximum": ("21 00 09", frozenset({"CONNACK"})),
    "topic alias maximum": ("22 00 09", frozenset({"CONNACK"})),
    "topic alias": ("23 00 05", frozenset({"PUBLISH"})),
    "maximum QoS": ("24 01", frozenset({"CONNACK"})),
    "retain available": ("25 01", frozenset({"CONNACK"})),
    "user property": ("26 00 01 6b 00 01 76", EVERYWHERE),
    "maximum packet size": ("27 00 00 ff ff", frozenset({"CONNACK"})),
    "wildcard subscription available": ("28 01", frozenset({"CONNACK"})),
    "subscription identifier available": ("29 01", frozenset({"CONNACK"})),
    "shared subscription available": ("2a 01", frozenset({"CONNACK"})),
}
REPEATABLE: Final = ("user property", "subscription identifier")
FITTING: Final = [
    (packet, name)
    for packet in WITH_PROPERTIES
    for name in PROPERTIES
    if packet in PROPERTIES[name][1]
]
# A server's DISCONNECT has no Session Expiry Interval, though DISCONNECT may have one.
MISPLACED: Final = [
    (packet, name)
    for packet in WITH_PROPERTIES
    for name in PROPERTIES
    if packet not in PROPERTIES[name][1]
    and (packet, name) != ("DISCONNECT", "session expiry interval")
]


@conforms("5.0", "RULE-1", "RULE-2")
@pytest.mark.parametrize(("packet", "name"), FITTING)
def test_a_property_in_its_place_is_taken(packet: str, name: str) -> None:
    # Else the tests below would show nothing.
    assert accepts(waiting_for(packet), bearing(packet, PROPERTIES[name][0]))


class TestRepeatedProperties:
    @conforms("5.0", "RULE-1")
    @pytest.mark.parametrize(("packet", "name"), FITTING)
    def test_twice(self, packet: str, name: str) -> None:
        twice = bearing(packet, *(PROPERTIES[name][0],) * 2)
        if name in REPEATABLE:
            assert accepts(waiting_for(packet), twice)
        else:
            assert refuses(waiting_for(packet), twice) == 0x82

    @conforms("5.0", "RULE-1")
    @pytest.mark.parametrize(
        ("packet", "properties"),
        [
            ("PUBLISH", ("03 00 01 61", "02 00 00 00 09", "03 00 01 62")),
            ("PUBACK", ("1f 00 00", "26 00 01 6b 00 01 76", "1f 00 01 72")),
            ("CONNACK", ("21 00 09", "13 00 09", "21 00 08")),
        ],
    )
    def test_twice_with_other_values_and_others_between(
        self, packet: str, properties: tuple[str, ...]
    ) -> None:
        assert refuses(waiting_for(packet), bearing(packet, *properties)) == 0x82

    @conforms("5.0", "RULE-1")
    def test_what_may_be_repeated_is_handed_over_in_its_order(self) -> None:
        message = Client().message(
            bearing(
                "PUBLISH",
                *("26 00 01 62 00 01 31", "0b 07", "26 00 01 61 00 01 32", "0b 05"),
                "26 00 01 62 00 01 31",
            )
        )
        assert message.user_properties == [("b", "1"), ("a", "2"), ("b", "1")]
        assert message.subscription_identifiers == [7, 5]


class TestForeignProperties:
    @conforms("5.0", "RULE-2")
    @pytest.mark.parametrize(("packet", "name"), MISPLACED)
    def test_that_belong_to_other_packets(self, packet: str, name: str) -> None:
        assert refuses(waiting_for(packet), bearing(packet, PROPERTIES[name][0])) == 0x81

    @conforms("5.0", "RULE-2")
    @pytest.mark.parametrize("identifier", ["00", "04", "0a", "10", "20", "2b", "7f", "80 01"])
    @pytest.mark.parametrize("packet", WITH_PROPERTIES)
    def test_that_do_not_exist(self, packet: str, identifier: str) -> None:
        assert refuses(waiting_for(packet), bearing(packet, identifier, "00")) == 0x81

    @conforms("5.0", "RULE-2")
    @pytest.mark.parametrize("packet", WITH_PROPERTIES)
    def test_that_go_beyond_their_length(self, packet: str) -> None:
        # The last property ends behind the section: in some packets there are bytes left for it.
        assert refuses(waiting_for(packet), bearing(packet, "26 00 01 6b 00 02 76")) == 0x81

    @conforms("5.0", "RULE-2")
    @pytest.mark.parametrize(
        "packet",
        [
            "30 05 00 01 74 02 01",
            "40 05 00 01 00 02 1f",
            "90 04 00 04 02 00",
            "b0 05 00 05 03 00 00",
            "e0 02 00 01",
        ],
    )
    def test_that_are_longer_than_the_packet(self, packet: str) -> None:
        assert refuses(waiting_for("PUBLISH"), packet) == 0x81


class TestBytesThatAreTrueOrFalse:
    @conforms("5.0", "RULE-3")
    @pytest.mark.parametrize("value", ["02", "80", "ff"])
    @pytest.mark.parametrize("identifier", ["24", "25", "28", "29", "2a"])
    def test_in_connack(self, identifier: str, value: str) -> None:
        assert refuses(Client(None), bearing("CONNACK", identifier, value)) == 0x82

    @conforms("5.0", "RULE-3")
    @pytest.mark.parametrize("value", ["02", "80", "ff"])
    def test_payload_format_indicator(self, value: str) -> None:
        assert refuses(Client(), bearing("PUBLISH", "01", value)) in FAULT

    @conforms("5.0", "RULE-3")
    @pytest.mark.parametrize("identifier", ["24", "25", "28", "29", "2a"])
    def test_0_and_1_are_taken(self, identifier: str) -> None:
        for value in ("00", "01"):
            assert accepts(Client(None), bearing("CONNACK", identifier, value))

    @conforms("5.0", "RULE-3")
    @pytest.mark.parametrize("value", [-1, 2, 255, 256, None, "1"])
    def test_others_are_refused_before_a_byte_is_sent(self, value: Any) -> None:
        program = Program().open()
        with pytest.raises(UsageError):
            program.publish("t", b"", 1, payload_format_indicator=value)
        assert program.said() == ""
        with pytest.raises(UsageError):
            Program(will=Will("t", payload_format_indicator=value))
        for name in ("request_problem_information", "request_response_information"):
            properties: Any = {name: value}
            with pytest.raises(UsageError):
                encode(Connect("c", properties=properties), V5)


class TestNumbersOutOfRange:
    @conforms("5.0", "RULE-4")
    @pytest.mark.parametrize("properties", ["21 00 00", "27 00 00 00 00"])
    def test_in_connack(self, properties: str) -> None:
        assert refuses(Client(None), connack(properties)) == 0x82

    @conforms("5.0", "RULE-4")
    @pytest.mark.parametrize(
        ("packet", "code"),
        [
            ("30 07 00 01 74 03 23 00 00", 0x94),
            ("30 06 00 00 03 23 00 00", 0x94),
            ("30 06 00 01 74 02 0b 00", 0x82),
            ("30 0a 00 01 74 06 0b 80 80 80 80 01", 0x81),
        ],
        ids=["alias", "alias alone", "subscription identifier 0", "subscription identifier 2**28"],
    )
    def test_in_publish(self, packet: str, code: int) -> None:
        assert refuses(Client(properties={"topic_alias_maximum": 5}), packet) == code

    @conforms("5.0", "RULE-4")
    def test_the_limits_are_taken(self) -> None:
        assert accepts(Client(None), connack("21 00 01 27 ff ff ff ff"))
        client = Client(properties={"topic_alias_maximum": 65_535})
        message = client.message("30 0c 00 01 74 08 23 ff ff 0b ff ff ff 7f")
        assert message.subscription_identifiers == [268_435_455]
        assert client.message("30 06 00 00 03 23 ff ff").topic == "t"

    @conforms("5.0", "RULE-4")
    def test_they_are_refused_before_a_byte_is_sent(self) -> None:
        options: Any
        for options in ({"receive_maximum": 0}, {"maximum_packet_size": 0}):
            with pytest.raises(UsageError):
                Program(**options)
            with pytest.raises(UsageError):
                encode(Connect("c", properties=options), V5)
        program = Program().open()
        with pytest.raises(UsageError):
            program.publish("t", b"", 0, topic_alias=0)
        assert program.said() == ""
        for identifier in (0, 268_435_456):
            with pytest.raises(UsageError):
                encode(
                    Subscribe(
                        1,
                        [("f", SubscriptionOptions())],
                        {"subscription_identifiers": [identifier]},
                    ),
                    V5,
                )


class TestLengths:
    @conforms("5.0", "RULE-5")
    @pytest.mark.parametrize(
        "packet",
        [
            "30 80 80 80 80 01",
            "40 82 80 80 80 00 00 01",
            "d0 ff ff ff ff",
            "30 09 00 01 74 80 80 80 80 00 00",
            "40 08 00 01 00 80 80 80 80 00",
            "90 08 00 04 80 80 80 80 00 00",
            "30 0b 00 01 74 06 80 80 80 80 01 00 00",
            "30 0b 00 01 74 06 0b 81 80 80 80 00 00",
        ],
    )
    def test_integer_of_more_than_four_bytes(self, packet: str) -> None:
        assert refuses(waiting_for("PUBLISH"), packet) == 0x81

    @conforms("5.0", "RULE-5")
    @pytest.mark.parametrize(
        "packet",
        [
            *("30 00", "30 01 00", "30 02 00 01", "30 03 00 01 74", "30 04 00 03 74 00"),
            *("32 03 00 01 74", "32 04 00 01 74 00", "34 05 00 01 74 00 07"),
            *("40 00", "40 01 00", "50 01 00", "62 00", "70 01 00"),
            *("90 00", "90 02 00 04", "b0 01 00", "b0 02 00 05"),
        ],
    )
    def test_packet_that_is_too_short(self, packet: str) -> None:
        assert refuses(waiting_for("PUBLISH"), packet) == 0x81

    @conforms("5.0", "RULE-5")
    @pytest.mark.parametrize("packet", ["20 00", "20 01 00", "20 02 00 00"])
    def test_connack_that_is_too_short(self, packet: str) -> None:
        assert refuses(Client(None), packet) in FAULT

    @conforms("5.0", "RULE-5")
    @pytest.mark.parametrize(
        "packet",
        [
            *("40 05 00 01 00 00 00", "50 05 00 02 00 00 00", "62 05 00 09 00 00 00"),
            *("70 05 00 03 00 00 00", "d0 01 00", "e0 03 00 00 00"),
        ],
    )
    def test_packet_that_is_too_long(self, packet: str) -> None:
        assert refuses(waiting_for("PUBLISH"), packet) == 0x81

    @conforms("5.0", "RULE-5")
    def test_connack_that_is_too_long(self) -> None:
        assert refuses(Client(None), "20 04 00 00 00 00") == 0x81


class TestPublishWithoutATopic:
    @conforms("5.0", "RULE-6")
    @pytest.mark.parametrize("packet", ["30 03 00 00 00", "32 05 00 00 00 07 00"])
    def test_and_without_an_alias(self, packet: str) -> None:
        assert refuses(Client(), packet) == 0x82

    @conforms("5.0", "RULE-6")
    def test_with_an_alias_that_is_not_known(self) -> None:
        client = Client(properties={"topic_alias_maximum": 5})
        assert client.message("30 07 00 01 74 03 23 00 01").topic == "t"
        assert client.message("30 06 00 00 03 23 00 01").topic == "t"
        assert refuses(client, "30 06 00 00 03 23 00 02") == 0x82

    @conforms("5.0", "RULE-6")
    def test_with_an_alias_of_the_connection_before(self) -> None:
        program = Program(topic_alias_maximum=5).open()
        program.give("30 07 00 01 74 03 23 00 01")
        program.reopen()
        program.give("30 06 00 00 03 23 00 01")
        assert program.said() == "e0 01 82"


@conforms("5.0", "RULE-7")
def test_a_subscription_identifier_that_was_not_asked_for_is_handed_over() -> None:
    # It is the server's fault, but no reason to lose the message.
    program = Program().open()
    subscription = program.subscribed("t", 1, ack="manual")
    program.give("32 08 00 01 74 00 07 02 0b 05")
    message = subscription.take()
    assert message is not None
    assert message.subscription_identifiers == [5]
    message.ack()
    assert program.said() == "40 02 00 07"


class TestAuthenticationDataAlone:
    @conforms("5.0", "RULE-8")
    @pytest.mark.parametrize("properties", ["16 00 00", "16 00 01 64"])
    def test_in_connack(self, properties: str) -> None:
        assert refuses(Client(None), connack(properties)) == 0x82

    @conforms("5.0", "RULE-8")
    def test_it_is_refused_before_a_byte_is_sent(self) -> None:
        with pytest.raises(UsageError):
            encode(Connect("c", properties={"authentication_data": b"d"}), V5)


@conforms("5.0", "RULE-9")
@pytest.mark.parametrize(
    ("kind", "packet"),
    [
        ("CONNACK", "20 03 00 8e 00"),
        ("PUBACK", "40 03 00 01 92"),
        ("PUBREC", "50 03 00 02 8b"),
        ("PUBREL", "62 03 00 09 80"),
        ("PUBCOMP", "70 03 00 03 10"),
        ("SUBACK", "90 04 00 04 00 03"),
        ("UNSUBACK", "b0 04 00 05 00 97"),
        ("DISCONNECT", "e0 01 85"),
    ],
)
def test_a_reason_code_of_another_packet(kind: str, packet: str) -> None:
    assert refuses(waiting_for(kind), packet) in FAULT


class TestAnswersThatNobodyWaitsFor:
    @conforms("5.0", "RULE-11")
    @pytest.mark.parametrize("packet", [connack(), "20 03 01 00 00", "20 03 00 87 00"])
    def test_second_connack(self, packet: str) -> None:
        assert refuses(Client(), packet) == 0x82

    @conforms("5.0", "RULE-11")
    @pytest.mark.parametrize(
        "packet",
        [
            *("40 02 00 63", "90 04 00 63 00 00", "b0 04 00 63 00 00"),
            # Those of other packets in flight: 2 and 3 have QoS 2, 4 is a SUBSCRIBE, 5 an
            # UNSUBSCRIBE.
            *("40 02 00 02", "40 02 00 03", "40 02 00 04", "40 02 00 05", "40 02 00 09"),
            *("50 02 00 01", "70 02 00 01", "70 02 00 02"),
            *("90 04 00 01 00 00", "90 04 00 05 00 00", "b0 04 00 02 00 00", "b0 04 00 04 00 00"),
        ],
    )
    def test_unknown_identifier(self, packet: str) -> None:
        assert refuses(waiting_for("PUBACK"), packet) == 0x82

    @conforms("5.0", "RULE-11")
    @pytest.mark.parametrize("packet", ["40 02 00 01", "90 04 00 04 00 00", "b0 04 00 05 00 00"])
    def test_twice(self, packet: str) -> None:
        client = waiting_for("PUBACK")
        client.give(packet)
        assert goes_on(client)
        assert refuses(client, packet) == 0x82

    @conforms("5.0", "RULE-11")
    def test_pubrel_of_an_unknown_identifier_is_no_error(self) -> None:
        client = Client()
        client.give("62 02 00 07")
        assert client.sent() == "70 03 00 07 92"
        assert goes_on(client)

    @conforms("5.0", "RULE-11")
    def test_pubrec_and_pubcomp_of_an_unknown_identifier_complete_nothing(self) -> None:
        # After a lost session they are no fault of the server: it is told by PUBREL with 0x92.
        client = waiting_for("PUBREC")
        client.give("50 02 00 63")
        assert client.sent() == "62 03 00 63 92"
        client.give("70 03 00 63 92")
        assert client.sent() == ""
        assert client.connection.completed == []
        assert list(client.session.outgoing) == [1, 2, 3]


class TestPacketsOfAClient:
    @conforms("5.0", "RULE-12")
    @pytest.mark.parametrize(
        "packet",
        [
            "10 0e 00 04 4d 51 54 54 05 02 00 00 00 00 01 63",
            "82 07 00 01 00 00 01 74 00",
            "a2 06 00 01 00 00 01 74",
            "c0 00",
        ],
        ids=["CONNECT", "SUBSCRIBE", "UNSUBSCRIBE", "PINGREQ"],
    )
    def test_from_a_server(self, packet: str) -> None:
        assert refuses(Client(), packet) == 0x82
        assert refuses(Client(None), packet, connack()) == 0x82

    @conforms("5.0", "RULE-12")
    @pytest.mark.parametrize("flags", [0, 2, 15])
    def test_type_0(self, flags: int) -> None:
        assert refuses(Client(), f"0{flags:x} 00") == 0x81
        assert refuses(Client(None), f"0{flags:x} 00", connack()) == 0x81


class TestPayloadFormat:
    @conforms("5.0", "RULE-13")
    @pytest.mark.parametrize(
        ("first", "identifier", "answer"), [("32", "00 07", "40 02 00 07"), ("30", "", "")]
    )
    def test_a_payload_that_is_not_utf_8_is_handed_over_with_its_indicator(
        self, first: str, identifier: str, answer: str
    ) -> None:
        # A receiver may refuse it; it is for the program to judge.
        program = Program().open()
        subscription = program.subscribed("t", 1, ack="manual")
        length = 8 + len(bytes.fromhex(identifier))
        program.give(f"{first} {length:02x} 00 01 74 {identifier} 02 01 01 ff fe")
        message = subscription.take()
        assert message is not None
        assert message.payload == b"\xff\xfe"
        assert message.payload_format_indicator == 1
        message.ack()
        assert program.said() == answer

    @conforms("5.0", "RULE-13")
    def test_a_payload_that_is_not_utf_8_is_refused_before_a_byte_is_sent(self) -> None:
        # Section 3.3.2.3.2 binds the sender.
        program = Program().open()
        with pytest.raises(UsageError):
            program.publish("t", b"\xff", 1, payload_format_indicator=1)
        assert program.said() == ""


class TestWhatIsForTheProgram:
    @conforms("5.0", "RULE-14")
    def test_assigned_client_identifier(self) -> None:
        program = Program(client_id="", clean_start=True).open("12 00 02 6d 65")
        assert program.core.client_id == "me"
        assert program.core.connack is not None
        assert program.core.connack.properties == {"assigned_client_identifier": "me"}

    @conforms("5.0", "RULE-14")
    def test_response_information(self) -> None:
        program = Program().open("1a 00 03 72 2f 78")
        assert program.core.connack is not None
        assert program.core.connack.properties == {"response_information": "r/x"}
        # It is a hint: nothing is subscribed to because of it.
        assert program.said() == ""

    @conforms("5.0", "RULE-14")
    def test_server_reference_of_a_success(self) -> None:
        program = Program().open("1c 00 01 62")
        assert program.core.connack is not None
        assert program.core.connack.properties == {"server_reference": "b"}
        assert program.core.take_action() is None
        assert program.core.is_connected

    @conforms("5.0", "RULE-14")
    @pytest.mark.parametrize("code", ["9c", "9d"])
    def test_server_reference_of_a_refusal(self, code: str) -> None:
        client = Client(None)
        client.give(f"20 07 00 {code} 04 1c 00 01 62")
        cause = client.connection.close_cause
        assert isinstance(cause, ConnectRefused)
        assert cause.server_reference == "b"

    @conforms("5.0", "RULE-14")
    @pytest.mark.parametrize("code", ["9c", "9d"])
    def test_server_reference_of_a_disconnect(self, code: str) -> None:
        program = Program().open()
        program.give(f"e0 06 {code} 04 1c 00 01 62")
        program.hang_up()
        (event,) = (each for each in program.core.events if isinstance(each, Disconnected))
        assert isinstance(event.error, ConnectionClosed)
        assert event.error.server_reference == "b"
