"""Enhanced authentication (MQTT 5.0 section 4.12): every step of it, legal or not."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.enums import ClosedBy
from mqttlite.errors import AuthError, ConnectRefused, UsageError
from mqttlite.packets import Auth
from mqttlite.protocol import ConnectionState
from tests.conformance.conforms import conforms
from tests.conformance.wire_5_0 import Program
from tests.unit.protocol.sides import V311, Client, connack

# Authentication Method "M", and "N"; Authentication Data "d".
METHOD, OTHER, DATA = "15 00 01 4d", "15 00 01 4e", "16 00 01 64"
CONTINUE = "f0 06 18 04 " + METHOD
SUCCESS = "f0 06 00 04 " + METHOD
ANSWER = "f0 0a 18 08 15 00 01 4d 16 00 01 64"
AGAIN = "f0 0a 19 08 15 00 01 4d 16 00 01 64"


def connecting(method: str | None = "M", **arguments: Any) -> Client:
    """A client before CONNACK; CONNECT is taken."""
    properties = {} if method is None else {"authentication_method": method}
    client = Client(None, properties=properties, **arguments)
    client.sent()
    return client


def connected() -> Client:
    """A client that has authenticated itself."""
    return Client(connack(METHOD), properties={"authentication_method": "M"})


def reauthenticating() -> Client:
    client = connected()
    client.connection.reauthenticate(b"d")
    assert client.sent() == AGAIN
    return client


def check_fault(client: Client, *packets: str) -> None:
    """The last of these packets is a fault, of which nothing is received."""
    before = client.give(*packets[:-1])
    assert len(before) == len(packets) - 1
    client.sent()
    assert client.give(packets[-1]) == []
    assert client.failure().reason_code == 0x82
    assert client.sent() == "e0 01 82"


class TestConnecting:
    @conforms("5.0", "MQTT-4.12.0-3", "MQTT-4.12.0-5", "MQTT-3.1.2-30")
    def test_challenges_until_connack(self) -> None:
        client = connecting()
        for _ in range(3):
            (challenge,) = client.give("f0 0a 18 08", METHOD, DATA)
            assert challenge == Auth(
                0x18, {"authentication_method": "M", "authentication_data": b"d"}
            )
            assert client.sent() == ""  # before the owner knows the answer
            client.connection.authenticate(b"d")
            assert client.sent() == ANSWER
            assert client.connection.state is ConnectionState.CONNECTING
        (answer,) = client.give(connack(METHOD + DATA))
        assert answer.properties == {"authentication_method": "M", "authentication_data": b"d"}
        assert client.connection.state is ConnectionState.OPEN

    def test_success_without_a_challenge(self) -> None:
        client = connecting()
        assert len(client.give(connack(METHOD))) == 1
        assert client.connection.state is ConnectionState.OPEN

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (None, "f0 06 18 04 15 00 01 4d"),
            (b"", "f0 09 18 07 15 00 01 4d 16 00 00"),
            (b"\0\xff", "f0 0b 18 09 15 00 01 4d 16 00 02 00 ff"),
        ],
    )
    def test_data_of_the_answer(self, data: bytes | None, expected: str) -> None:
        client = connecting()
        client.give(CONTINUE)
        client.connection.authenticate(data)
        assert client.sent() == expected

    @conforms("5.0", "MQTT-4.12.0-2")
    @pytest.mark.parametrize(
        "packet", [SUCCESS, "f0 06 19 04 " + METHOD], ids=["success", "re-authenticate"]
    )
    def test_other_code_than_continue(self, packet: str) -> None:
        check_fault(connecting(), packet)
        client = connecting()
        client.give(CONTINUE)
        client.connection.authenticate(None)
        check_fault(client, packet)

    @conforms("5.0", "MQTT-4.12.0-5", "RULE-10")
    @pytest.mark.parametrize(
        "packet",
        ["f0 06 18 04 " + OTHER, "f0 02 18 00", "f0 06 18 04 " + DATA],
        ids=["other", "none", "data only"],
    )
    def test_other_method_than_that_of_connect(self, packet: str) -> None:
        client = connecting()
        client.give(packet)
        # An AUTH without a method is a fault of its own (section 3.15.2.2.2).
        assert client.failure().reason_code == 0x82
        assert client.sent() == "e0 01 82"

    def test_two_challenges_without_an_answer_between_them(self) -> None:
        check_fault(connecting(), CONTINUE, CONTINUE)

    @conforms("5.0", "MQTT-4.12.0-6", "RULE-10")
    @pytest.mark.parametrize("packet", [CONTINUE, SUCCESS, "f0 00"])
    def test_challenge_that_was_not_asked_for(self, packet: str) -> None:
        check_fault(connecting(None), packet)

    @conforms("5.0", "MQTT-4.12.0-6")
    def test_connack_with_a_method_that_was_not_asked_for(self) -> None:
        check_fault(connecting(None), connack(METHOD))

    @conforms("5.0", "MQTT-4.12.0-5")
    @pytest.mark.parametrize("properties", ["", OTHER], ids=["none", "other"])
    def test_connack_with_another_method(self, properties: str) -> None:
        check_fault(connecting(), connack(properties))
        client = connecting()
        client.give(CONTINUE)
        client.connection.authenticate(b"d")
        check_fault(client, connack(properties))

    @pytest.mark.parametrize("code", [0x87, 0x8C], ids=hex)
    def test_refusal_needs_no_method(self, code: int) -> None:
        client = connecting()
        client.give(CONTINUE)
        client.connection.authenticate(b"d")
        client.sent()
        client.give(f"20 03 00 {code:02x} 00")
        cause = client.connection.close_cause
        assert isinstance(cause, ConnectRefused)
        assert cause.reason_code == code
        assert client.sent() == ""

    @conforms("5.0", "MQTT-4.12.0-7")
    def test_client_without_a_method_cannot_authenticate(self) -> None:
        for client in (connecting(None), Client()):
            with pytest.raises(AssertionError):
                client.connection.authenticate(b"d")
            with pytest.raises(AssertionError):
                client.connection.reauthenticate(b"d")
            assert client.sent() == ""

    def test_nothing_is_said_after_the_end(self) -> None:
        # The owner's handler may still be at work then.
        client = connecting()
        client.give(CONTINUE)
        client.give("d0 00")
        assert client.sent() == "e0 01 82"
        client.connection.authenticate(b"d")
        assert client.sent() == ""


class TestReauthentication:
    @conforms("5.0", "MQTT-4.12.1-1")
    def test_flow(self) -> None:
        client = reauthenticating()
        (challenge,) = client.give("f0 0a 18 08", METHOD, DATA)
        assert challenge.reason_code == 0x18
        client.connection.authenticate(b"d")
        assert client.sent() == ANSWER
        (success,) = client.give(SUCCESS)
        assert success == Auth(0, {"authentication_method": "M"})
        assert client.connection.state is ConnectionState.OPEN
        # And once more.
        client.connection.reauthenticate(None)
        assert client.sent() == "f0 06 19 04 15 00 01 4d"
        assert len(client.give(SUCCESS)) == 1

    def test_other_packets_go_on(self) -> None:
        client = reauthenticating()
        assert client.message("30 05 00 01 74 00 78").payload == b"x"
        client.publish(qos=1)
        client.give(CONTINUE, "40 02 00 01")
        client.connection.authenticate(b"d")
        assert client.sent() == "32 06 00 01 74 00 01 00 " + ANSWER
        assert len(client.connection.completed) == 1

    @conforms("5.0", "MQTT-4.12.0-5")
    @pytest.mark.parametrize(
        "packet",
        [
            "f0 06 18 04 " + OTHER,
            "f0 06 00 04 " + OTHER,
            "f0 06 19 04 " + METHOD,  # only a client may say so
            connack(METHOD),
        ],
        ids=["continue, other method", "success, other method", "re-authenticate", "CONNACK"],
    )
    def test_wrong_answer(self, packet: str) -> None:
        check_fault(reauthenticating(), packet)

    @pytest.mark.parametrize("packet", [CONTINUE, SUCCESS])
    def test_server_that_does_not_wait_for_the_answer(self, packet: str) -> None:
        check_fault(reauthenticating(), CONTINUE, packet)

    @pytest.mark.parametrize("packet", [CONTINUE, SUCCESS, "f0 06 19 04 " + METHOD])
    def test_server_cannot_begin_it(self, packet: str) -> None:
        check_fault(connected(), packet)
        client = reauthenticating()
        client.give(SUCCESS)
        check_fault(client, packet)

    @conforms("5.0", "MQTT-4.12.0-6")
    @pytest.mark.parametrize("packet", [CONTINUE, SUCCESS, "f0 00"])
    def test_auth_in_a_connection_without_a_method(self, packet: str) -> None:
        check_fault(Client(), packet)

    def test_server_that_refuses(self) -> None:
        client = reauthenticating()
        client.give("e0 01 87")
        cause = client.connection.close_cause
        assert cause is not None
        assert cause.reason_code == 0x87
        assert cause.by is ClosedBy.SERVER


class TestPacket:
    @conforms("5.0", "MQTT-3.15.1-1")
    @pytest.mark.parametrize("flags", range(1, 16))
    def test_flags(self, flags: int) -> None:
        client = connecting()
        client.give(f"{0xF0 | flags:02x} 06 18 04 {METHOD}")
        assert client.failure().reason_code == 0x81
        assert client.sent() == "e0 01 81"

    @conforms("5.0", "MQTT-3.15.2-1")
    @pytest.mark.parametrize("code", [0x01, 0x17, 0x1A, 0x80, 0x87, 0x8C, 0xFF], ids=hex)
    def test_codes(self, code: int) -> None:
        for client in (connecting(), reauthenticating()):
            client.give(f"f0 06 {code:02x} 04 {METHOD}")
            reason_code = client.failure().reason_code
            assert reason_code in (0x81, 0x82)
            assert client.sent() == f"e0 01 {reason_code:02x}"

    @conforms("5.0", "MQTT-3.15.2-1")
    @pytest.mark.parametrize("code", [0x01, 0x1A, 0x87], ids=hex)
    def test_other_codes_are_not_sent(self, code: int) -> None:
        client = connected()
        with pytest.raises(UsageError):
            client.connection.send(Auth(code, {"authentication_method": "M"}))
        assert client.sent() == ""

    @conforms("5.0", "MQTT-3.15.2-2", "MQTT-3.15.2-3")
    def test_what_makes_it_too_large_is_left_out(self) -> None:
        # 24 bytes, of which method and data take 12.
        client = Client(
            connack(METHOD + "27 00 00 00 18"), properties={"authentication_method": "M"}
        )
        own: Any = {"authentication_method": "M", "authentication_data": b"d"}
        pair, reason = {"user_properties": [("a", "b")]}, {"reason_string": "r"}
        client.connection.send(Auth(0x18, own | pair))
        assert client.sent() == "f0 11 18 0f 15 00 01 4d 16 00 01 64 26 00 01 61 00 01 62"
        client.connection.send(Auth(0x18, own | reason))
        assert client.sent() == "f0 0e 18 0c 15 00 01 4d 16 00 01 64 1f 00 01 72"
        client.connection.send(Auth(0x18, own | {"reason_string": "long"} | pair))
        assert client.sent() == "f0 11 18 0f 15 00 01 4d 16 00 01 64 26 00 01 61 00 01 62"
        client.connection.send(Auth(0x18, own | {"user_properties": [("a", "b" * 9)]}))
        assert client.sent() == ANSWER

    def test_mqtt_3_has_none(self) -> None:
        client = Client(version=V311)
        client.give("f0 00")
        assert client.failure()
        assert client.sent() == ""


class Handler:
    """An auth handler that answers with the data it was given last."""

    method = "M"

    def start(self) -> bytes:
        return b"d"

    def respond(self, data: bytes, properties: Any) -> bytes:  # noqa: ARG002
        return b"d"

    def finish(self, data: bytes, properties: Any) -> None:
        """Trust everybody."""


def ask(program: Program, error: Exception | None = None) -> None:
    """Let the handler answer, or raise."""
    question = program.core.question
    assert question is not None
    answers = {} if error else {name: call() for name, call in question.functions.items()}
    program.core.answered(question, answers, error, program.now)


class TestWholeClient:
    @conforms("5.0", "MQTT-3.1.2-30")
    def test_only_auth_before_connack(self) -> None:
        program = Program(auth=Handler(), keep_alive=10)
        program.core.connect(program.now)
        ask(program)
        program.dial()
        assert program.said().startswith("10 ")
        for _ in range(2):
            for qos in (0, 1, 2):
                program.publish("t", b"", qos)
            program.subscribe("f")
            assert program.said() == ""
            program.give(CONTINUE)
            assert program.said() == ""
            ask(program)
            assert program.said() == ANSWER
        program.now += 9.5  # when a PINGREQ would be due
        program.core.handle_deadline(program.now)
        assert program.said() == ""
        program.give(connack(METHOD))
        ask(program)
        assert program.said() != ""

    @pytest.mark.parametrize("qos", [1, 2])
    def test_server_that_is_not_the_right_one_gets_no_message(self, qos: int) -> None:
        program = Program(auth=Handler())
        program.core.connect(program.now)
        ask(program)
        program.dial()
        program.said()
        program.publish("t", b"not for everybody", qos)
        program.give(connack(METHOD))
        assert program.said() == ""
        ask(program, AuthError("not the right server"))
        assert program.said() == "e0 01 80"

    @conforms("5.0", "MQTT-4.12.0-7")
    def test_no_auth_without_a_method(self) -> None:
        program = Program().open()
        with pytest.raises(UsageError, match="auth="):
            program.core.reauthenticate()
        assert program.said() == ""

    @conforms("5.0", "MQTT-4.12.1-2")
    def test_failed_reauthentication_ends_the_connection(self) -> None:
        program = Program(auth=Handler())
        program.core.connect(program.now)
        ask(program)
        program.dial()
        program.give(connack(METHOD))
        ask(program)
        program.said()
        operation = program.core.reauthenticate()
        ask(program)
        assert program.said() == AGAIN
        program.give(SUCCESS)
        ask(program, AuthError("not the right server"))
        assert program.said() == "e0 01 80"
        program.hang_up()
        assert operation.done
        assert isinstance(operation.error, AuthError)
        assert not program.core.is_connected
