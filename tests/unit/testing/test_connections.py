"""The embedded broker: who is let in, and how connections end."""

from typing import Any, cast

import pytest

from mqttlite.enums import ProtocolVersion, ReasonCode
from mqttlite.errors import UsageError
from mqttlite.message import Will
from mqttlite.options import Version
from mqttlite.packets import (
    Auth,
    Connack,
    Connect,
    Message,
    Pingreq,
    Pingresp,
    Pubrec,
    Suback,
    Subscribe,
    SubscriptionOptions,
    encode,
)
from mqttlite.protocol import ConnectionState
from mqttlite.testing import BrokerCore
from mqttlite.testing.options import BrokerKeywords, BrokerOptions
from tests.conformance.conforms import conforms
from tests.unit.testing.client import V5, V31, V311, HandClient, connected

R = ReasonCode


class TestLettingIn:
    @conforms("3.1.1", "MQTT-3.1.3-6")
    @conforms("5.0", "MQTT-3.1.3-6", "MQTT-3.1.3-7")
    def test_a_client_without_an_identifier_gets_one(self) -> None:
        core = BrokerCore()
        connected(core, "client-2")
        connack = HandClient(core).connect()
        assert connack == Connack(False, 0, {"assigned_client_identifier": "client-3"})
        connected(core, "client-4")
        HandClient(core, version=V311).connect()
        assert set(core.sessions) == {"client-2", "client-3", "client-4", "client-5"}

    def test_an_identifier_that_is_taken_is_not_assigned(self) -> None:
        core = BrokerCore()
        connected(core, "client-2")
        connected(core, "client-3").disconnect()
        connected(core, "client-4")
        connack = HandClient(core).connect()
        assert connack.properties == {"assigned_client_identifier": "client-5"}

    @conforms("3.1.1", "MQTT-3.1.3-8")
    @pytest.mark.parametrize(
        ("version", "client_id", "clean"),
        [(V311, "", False), (V31, "", True), (V31, "x" * 24, True)],
    )
    def test_identifiers_that_mqtt_3_does_not_allow(
        self, version: ProtocolVersion, client_id: str, clean: bool
    ) -> None:
        client = HandClient(BrokerCore(), version=version)
        connack = client.connect(client_id, clean_start=clean)
        assert connack.reason_code == R.CLIENT_IDENTIFIER_NOT_VALID
        assert client.farewell() is None

    @conforms("5.0", "MQTT-3.2.2-9")
    def test_limits_are_advertised(self) -> None:
        limits: dict[str, Any] = {
            "receive_maximum": 3,
            "maximum_packet_size": 100,
            "topic_alias_maximum": 4,
            "maximum_qos": 1,
            "server_keep_alive": 7,
            "retain_available": 0,
            "wildcard_subscription_available": 0,
            "subscription_identifier_available": 0,
            "shared_subscription_available": 0,
        }
        core = BrokerCore(**limits, maximum_session_expiry_interval=60)
        wanted = {"session_expiry_interval": 100}
        connack = HandClient(core).connect("a", properties=wanted)
        assert connack.properties == limits | {"session_expiry_interval": 60}
        assert HandClient(core, version=V311).connect("b").properties is None

    def test_options_that_cannot_be(self) -> None:
        for options in (
            {"maximum_qos": 3},
            {"refuse": 4},
            {"refuse": 0xFF},
            {"receive_maximum": 0},
        ):
            with pytest.raises(UsageError):
                BrokerCore(**options)  # type: ignore[arg-type]

    def test_the_keywords_are_the_fields(self) -> None:
        assert list(BrokerKeywords.__annotations__) == list(BrokerOptions.__annotations__)

    @conforms("3.1.1", "MQTT-3.1.4-5")
    @conforms("5.0", "MQTT-3.1.4-6")
    @pytest.mark.parametrize(
        ("version", "code", "seen"),
        [
            (V5, R.SERVER_BUSY, R.SERVER_BUSY),
            (V311, R.SERVER_BUSY, R.SERVER_UNAVAILABLE),
            (V311, R.NOT_AUTHORIZED, R.NOT_AUTHORIZED),
        ],
    )
    def test_refuse(self, version: ProtocolVersion, code: int, seen: int) -> None:
        core = BrokerCore(refuse=code)
        client = HandClient(core, version=version)
        # [MQTT-3.1.4-6] What comes behind it is not looked at.
        client.write(Connect("c", version=version), Message("a", b"x", retain=True), Pingreq())
        assert client.read() == [Connack(False, seen)]
        assert client.farewell() is None
        assert core.router.retained == {}
        assert core.counters.refused == 1
        core.options.refuse = None
        assert HandClient(core, version=version).connect("c").reason_code == 0

    @conforms("3.1.1", "MQTT-3.1.2-2")
    @pytest.mark.parametrize("versions", [["3.1.1"], ["3.1", "3.1.1"]])
    def test_versions(self, versions: list[Version]) -> None:
        core = BrokerCore(versions=versions)
        new, old = HandClient(core), HandClient(core, version=V311)
        new.write(Connect("n"))
        assert bytes(core.data_to_send(new.connection, 0)) == b"\x20\x02\x00\x01"
        assert new.farewell() is None
        assert old.connect("o").reason_code == 0

    @conforms("5.0", "MQTT-3.1.4-2")
    @pytest.mark.parametrize("password", ["secret", b"secret"])
    def test_users(self, password: str | bytes) -> None:
        core = BrokerCore(users={"u": password})

        def code(username: str | None, given: bytes | None) -> int:
            client = HandClient(core)
            return client.connect("c", username=username, password=given).reason_code

        assert code("u", b"secret") == 0
        for username, given in (("u", b"x"), ("u", None), ("v", b"secret"), (None, None)):
            assert code(username, given) == R.BAD_USER_NAME_OR_PASSWORD
        assert (core.counters.connections, core.counters.refused) == (1, 4)

    def test_authenticate(self) -> None:
        def authenticate(connect: Connect) -> int:
            return 0 if connect.client_id == "good" else R.BANNED

        core = BrokerCore(authenticate=authenticate)
        assert HandClient(core).connect("good").reason_code == 0
        assert HandClient(core).connect("bad").reason_code == R.BANNED
        assert HandClient(core, version=V311).connect("bad").reason_code == R.SERVER_UNAVAILABLE

    def test_enhanced_authentication_is_not_known(self) -> None:
        properties = {"authentication_method": "SCRAM"}
        connack = HandClient(BrokerCore()).connect("c", properties=properties)
        assert connack.reason_code == R.BAD_AUTHENTICATION_METHOD

    @conforms("5.0", "MQTT-3.2.2-12", "MQTT-3.2.2-13")
    def test_a_will_that_cannot_be_published(self) -> None:
        core = BrokerCore(maximum_qos=1, retain_available=False)
        assert HandClient(core).connect(will=Will("a", qos=2)).reason_code == R.QOS_NOT_SUPPORTED
        connack = HandClient(core).connect(will=Will("a", retain=True))
        assert connack.reason_code == R.RETAIN_NOT_SUPPORTED
        assert HandClient(core).connect(will=Will("a", qos=1)).reason_code == 0

    def test_a_client_that_does_not_wait_for_connack(self) -> None:
        core = BrokerCore()
        client = HandClient(core)
        client.write(Connect("c"), Subscribe(1, [("a", SubscriptionOptions())]), Message("a", b"x"))
        assert [type(packet) for packet in client.read()] == [Connack, Suback, Message]

    def test_what_is_wrong_behind_connect_ends_it(self) -> None:
        core = BrokerCore()
        client = HandClient(core)
        client.feed(encode(Connect("c"), V5) + b"\xff\xff\xff\xff\xff")
        assert client.farewell() is None
        assert core.sessions == {}

    @pytest.mark.parametrize("size", [3, 12])
    def test_a_client_that_cannot_even_take_connack(self, size: int) -> None:
        core = BrokerCore()
        client = HandClient(core)
        client.write(Connect("", properties={"maximum_packet_size": size}))
        assert client.farewell() is None
        assert core.sessions == {}

    def test_bytes_that_are_no_mqtt(self) -> None:
        client = HandClient(BrokerCore())
        client.feed(b"GET / HTTP/1.1\r\n\r\n")
        assert client.farewell() is None

    def test_an_unknown_version(self) -> None:
        client = HandClient(BrokerCore())
        client.feed(b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x00")
        assert bytes(client.core.data_to_send(client.connection, 0)) == b"\x20\x02\x00\x01"


class TestSubscribing:
    @conforms("5.0", "MQTT-3.2.2-10", "MQTT-3.8.4-1", "MQTT-3.8.4-5", "MQTT-3.8.4-7")
    def test_the_qos_is_limited(self) -> None:
        core = BrokerCore(maximum_qos=1)
        client = connected(core)
        filters = [(str(qos), SubscriptionOptions(qos)) for qos in range(3)]
        assert client.ask(Subscribe(9, filters)) == [Suback(9, [0, 1, 1])]

    @conforms("3.1.1", "MQTT-3.8.4-1", "MQTT-3.8.4-4")
    @conforms("5.0", "MQTT-3.8.4-7")
    @pytest.mark.parametrize(("version", "code"), [(V5, R.NOT_AUTHORIZED), (V311, 0x80)])
    def test_authorize_subscribe(self, version: ProtocolVersion, code: int) -> None:
        def authorize(client_id: str, topic_filter: str, options: SubscriptionOptions) -> int:
            assert (client_id, options.qos) == ("c", 1)
            return 0 if topic_filter == "yes" else R.NOT_AUTHORIZED

        core = BrokerCore(authorize_subscribe=authorize)
        core.publish("no", b"x", 0, retain=True)
        client = connected(core, "c", version=version)
        options = SubscriptionOptions(1)
        assert client.ask(Subscribe(9, [("yes", options), ("no", options)])) == [
            Suback(9, [1, code])
        ]
        assert list(core.sessions["c"].subscriptions) == ["yes"]

    @pytest.mark.parametrize(
        ("option", "topic_filter", "identifier", "code"),
        [
            ("wildcard_subscription_available", "a/#", 0, R.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED),
            (
                "shared_subscription_available",
                "$share/g/a",
                0,
                R.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
            ),
            (
                "subscription_identifier_available",
                "a",
                1,
                R.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
            ),
        ],
    )
    def test_what_was_not_offered(
        self, option: str, topic_filter: str, identifier: int, code: int
    ) -> None:
        client = connected(BrokerCore(**cast("BrokerKeywords", {option: False})))
        client.subscribe("plain")
        properties: Any = {"subscription_identifiers": [identifier]} if identifier else None
        client.write(Subscribe(1, [(topic_filter, SubscriptionOptions())], properties))
        assert client.farewell() == code


class TestFaults:
    @conforms("5.0", "MQTT-4.13.1-1")
    @pytest.mark.parametrize(
        ("message", "code"),
        [
            (Message("a", b"", 2, packet_id=1), R.QOS_NOT_SUPPORTED),
            (Message("a", b"", retain=True), R.RETAIN_NOT_SUPPORTED),
            (Message("a", properties={"subscription_identifiers": [1]}, payload=b""), 0x82),
            (Message("a", b"", properties={"topic_alias": 1}), R.TOPIC_ALIAS_INVALID),
            (Message("a", bytes(100)), R.PACKET_TOO_LARGE),
            (Auth(), R.PROTOCOL_ERROR),
            (Connect("again"), R.PROTOCOL_ERROR),
            (Pingresp(), R.PROTOCOL_ERROR),
        ],
    )
    def test_what_a_client_must_not_send(self, message: Any, code: int) -> None:
        core = BrokerCore(maximum_qos=1, retain_available=False, maximum_packet_size=100)
        client = connected(core, "c")
        client.write(message)
        assert client.farewell() == code
        assert core.sessions == {}

    def test_more_than_the_receive_maximum(self) -> None:
        client = connected(BrokerCore(receive_maximum=2))
        messages = [Message("a", b"", 2, packet_id=number) for number in (1, 2, 3)]
        client.write(*messages[:2])
        assert [type(packet) for packet in client.read()] == [Pubrec, Pubrec]
        client.write(messages[2])
        assert client.farewell() == R.RECEIVE_MAXIMUM_EXCEEDED

    def test_mqtt_3_knows_no_receive_maximum(self) -> None:
        client = connected(BrokerCore(receive_maximum=1), "c", version=V311)
        client.write(*(Message("a", b"", 2, packet_id=number) for number in (1, 2, 3)))
        assert len(client.read()) == 3

    def test_mqtt_3_is_not_told(self) -> None:
        client = connected(BrokerCore(maximum_qos=0), "c", version=V311)
        client.write(Message("a", b"", 1, packet_id=1))
        assert client.farewell() is None
        assert client.connection.close_cause is not None
        assert client.connection.close_cause.reason_code == R.QOS_NOT_SUPPORTED

    def test_nothing_behind_a_fault_counts(self) -> None:
        core = BrokerCore(maximum_qos=1)
        client = connected(core)
        client.write(
            Message("before", b"x", retain=True),
            Message("a", b"", 2, packet_id=1),
            Message("behind", b"x", retain=True),
            Subscribe(1, [("a", SubscriptionOptions())]),
        )
        assert client.farewell() == R.QOS_NOT_SUPPORTED
        assert list(core.router.retained) == ["before"]

    def test_a_message_that_was_not_taken_over_may_come_again(self) -> None:
        core = BrokerCore(maximum_qos=1)
        keep: Any = {"properties": {"session_expiry_interval": 9}, "clean_start": False}
        client = connected(core, "c", **keep)
        client.write(Message("a", b"x", 2, packet_id=1))
        client.lose()
        core.options.maximum_qos = 2
        client = connected(core, "c", **keep)
        client.subscribe("a", 0)
        answer = client.ask(Message("a", b"x", 2, dup=True, packet_id=1))
        assert answer == [Message("a", b"x"), Pubrec(1)]

    def test_an_answer_that_the_client_cannot_take(self) -> None:
        core = BrokerCore()
        client = connected(core, "c", properties={"maximum_packet_size": 20})
        client.write(Subscribe(1, [(str(n), SubscriptionOptions()) for n in range(30)]))
        assert client.farewell() == R.PACKET_TOO_LARGE
        assert core.sessions == {}


class TestTime:
    def test_connect_has_to_come_in_time(self) -> None:
        core = BrokerCore()
        client = HandClient(core, now=5.0)
        assert core.next_deadline() == 15.0
        core.handle_deadline(14.9)
        assert client.connection.state is ConnectionState.CONNECTING
        core.handle_deadline(15.0)
        assert client.farewell() is None

    @conforms("3.1.1", "MQTT-3.1.2-24")
    @conforms("5.0", "MQTT-3.1.2-22", "MQTT-3.2.2-22")
    @pytest.mark.parametrize(("version", "code"), [(V5, R.KEEP_ALIVE_TIMEOUT), (V311, None)])
    def test_keep_alive(self, version: ProtocolVersion, code: int | None) -> None:
        core = BrokerCore()
        client = connected(core, "c", version=version, keep_alive=10)
        watcher = connected(core, "w")
        watcher.subscribe("will")
        assert core.next_deadline() == 15.0
        assert client.ask(Pingreq(), now=10.0) == [Pingresp()]
        core.handle_deadline(15.0)
        assert core.next_deadline() == 25.0
        core.handle_deadline(25.0)
        assert client.farewell() == code
        assert client.connection in core.take_changed()
        assert "c" not in core.sessions
        client.lose(26.0)
        assert core.next_deadline() is None

    def test_the_servers_keep_alive_counts(self) -> None:
        core = BrokerCore(server_keep_alive=2)
        connected(core, keep_alive=100)
        assert core.next_deadline() == 3.0
        connected(core, "old", 10.0, version=V311, keep_alive=100)
        core.handle_deadline(10.0)
        assert core.next_deadline() == 160.0


class TestEnding:
    def test_disconnect_all(self) -> None:
        core = BrokerCore()
        waiting, client = HandClient(core), connected(core, "c")
        old = connected(core, "old", version=V311)
        core.take_changed()
        core.disconnect_all(0, R.SERVER_MOVED)
        assert set(core.take_changed()) == set(core.connections)
        assert client.farewell() == R.SERVER_MOVED
        assert waiting.farewell() is old.farewell() is None
        core.disconnect_all(0, R.SERVER_BUSY)  # they are ending already
        assert client.connection.close_cause is not None
        assert client.connection.close_cause.reason_code == R.SERVER_MOVED
        for each in (waiting, client, old):
            each.lose()
        assert core.connections == {}
        assert core.take_changed() == []

    def test_dropping_all_takes_back_a_goodbye(self) -> None:
        core = BrokerCore()
        client = connected(core)
        core.disconnect_all(0, R.SERVER_BUSY)
        core.disconnect_all(0)
        assert client.farewell() is None
        assert client.connection.is_closed

    def test_what_mqtt_3_is_owed_is_still_sent(self) -> None:
        core = BrokerCore()
        client = connected(core, "c", version=V311)
        client.write(Pingreq())
        core.disconnect_all(0, R.SERVER_SHUTTING_DOWN)
        assert client.read() == [Pingresp()]

    def test_forget(self) -> None:
        core = BrokerCore()
        client = connected(core, "c", will=Will("w", retain=True, payload=b"x"))
        client.subscribe("a")
        core.publish("a", b"x", 0, retain=True)
        client.read()
        core.forget()
        assert not core.sessions
        assert not core.router.retained
        assert core.publish("a", b"", 0) == 0
        assert client.ask(Message("a", b"x", retain=True)) == []
        client.lose()
        assert core.router.retained == {}

    def test_bytes_after_the_end(self) -> None:
        core = BrokerCore()
        client = connected(core)
        core.disconnect_all(0, R.SERVER_BUSY)
        client.write(Pingreq())
        assert client.farewell() == R.SERVER_BUSY
