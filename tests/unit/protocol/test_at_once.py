"""publish_at_once() is publish(), where it does anything: on the wire and in what is remembered."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.enums import PacketType
from mqttlite.errors import UsageError
from mqttlite.packets import Packet, SubscriptionOptions
from mqttlite.protocol import ConnectionState, Outgoing, Session
from mqttlite.topics import encode_topic
from tests.unit.protocol.sides import ALL, V5, V31, V311, Client, connack


def known(topic: str = "t") -> str:
    """A topic that was published to before."""
    encode_topic(topic)
    return topic


def at_once(client: Client, payload: bytes = b"", qos: int = 0, **arguments: Any) -> int:
    outgoing = Outgoing(known(arguments.pop("topic", "t")), payload, qos, **arguments)
    return client.connection.publish_at_once(outgoing)


class TestBytes:
    @pytest.mark.parametrize(
        ("qos", "retain", "expected"),
        [
            (0, False, "30 05 00 01 74 00 78"),
            (0, True, "31 05 00 01 74 00 78"),
            (1, False, "32 07 00 01 74 00 01 00 78"),
            (1, True, "33 07 00 01 74 00 01 00 78"),
            (2, False, "34 07 00 01 74 00 01 00 78"),
            (2, True, "35 07 00 01 74 00 01 00 78"),
        ],
    )
    def test_mqtt_5(self, qos: int, retain: bool, expected: str) -> None:
        client = Client()
        assert at_once(client, b"x", qos, retain=retain) == len(bytes.fromhex(expected))
        assert client.connection.unsent_size == len(bytes.fromhex(expected))
        assert client.sent() == expected

    @pytest.mark.parametrize("version", [V31, V311])
    def test_mqtt_3(self, version: Any) -> None:
        client = Client(version=version)
        assert at_once(client, b"x", 0) == 6
        assert at_once(client, b"", 2, retain=True) == 13
        assert client.sent() == "30 04 00 01 74 78 35 05 00 01 74 00 01"

    @pytest.mark.parametrize(
        ("size", "head"),
        [
            (121, "32 7f"),  # 127 bytes, with the topic, the identifier and no properties
            (122, "32 80 01"),
            (8_186, "32 80 40"),
        ],
    )
    def test_lengths(self, size: int, head: str) -> None:
        client = Client()
        assert at_once(client, b"x" * size, 1) > 0
        assert client.sent() == f"{head} 00 01 74 00 01 00" + " 78" * size

    def test_one_after_the_other(self) -> None:
        client = Client()
        assert at_once(client, b"a") == 7
        assert at_once(client, b"b", 1) == 16
        client.publish("t", b"c", 1)
        assert at_once(client, b"d", 1) == 34
        assert client.sent() == (
            "30 05 00 01 74 00 61 32 07 00 01 74 00 01 00 62 "
            "32 07 00 01 74 00 02 00 63 32 07 00 01 74 00 03 00 64"
        )
        assert at_once(client, b"e") == 7  # nothing else is unsent


@pytest.mark.parametrize(
    ("qos", "awaited"), [(0, None), (1, PacketType.PUBACK), (2, PacketType.PUBREC)]
)
def test_what_is_remembered(qos: int, awaited: PacketType | None) -> None:
    client = Client(connack("21 00 05"))  # a Receive Maximum of 5
    outgoing = Outgoing(known(), b"x", qos)
    assert client.connection.publish_at_once(outgoing)
    assert outgoing.awaiting is awaited
    assert outgoing.packet_id == (1 if qos else 0)
    assert client.session.outgoing == ({1: outgoing} if qos else {})
    assert client.connection.send_quota == (4 if qos else 5)


def test_flows_end_as_others_do() -> None:
    client = Client()
    first, second = Outgoing(known(), b"", 1), Outgoing(known(), b"", 2)
    assert client.connection.publish_at_once(first)
    assert client.connection.publish_at_once(second)
    client.sent()
    client.give("40 02 00 01 50 02 00 02")
    assert client.sent() == "62 02 00 02"
    client.give("70 02 00 02")
    assert client.connection.completed == [first, second]
    assert not client.session.outgoing


def test_it_is_sent_again_as_others_are() -> None:
    client = Client()
    at_once(client, b"x", 1, retain=True)
    client.connection.receive_eof()
    again = Client(connack(session_present=True), session=client.session, clean_start=False)
    again.connection.resume()
    assert again.sent() == "3b 07 00 01 74 00 01 00 78"


class TestNotAtOnce:
    """What is out of the ordinary is left to publish(), and nothing has been done."""

    def check(self, client: Client, outgoing: Outgoing | None = None, *, qos: int = 1) -> None:
        outgoing = outgoing or Outgoing(known(), b"x", qos)
        session = client.session
        before = (client.connection.unsent_size, dict(session.outgoing), session.last_packet_id)
        assert client.connection.publish_at_once(outgoing) == 0
        after = (client.connection.unsent_size, dict(session.outgoing), session.last_packet_id)
        assert after == before
        assert outgoing.awaiting is None
        assert outgoing.packet_id == 0

    def test_topic_that_was_never_seen(self) -> None:
        client = Client()
        self.check(client, Outgoing("a/topic/that/no/other/test/has", b""))

    def test_topic_that_is_too_long_to_be_remembered(self) -> None:
        client = Client()
        self.check(client, Outgoing(known("x" * 257), b""))
        assert client.connection.publish_at_once(Outgoing(known("x" * 256), b""))

    @pytest.mark.parametrize("qos", [0, 1])
    def test_properties(self, qos: int) -> None:
        client = Client()
        self.check(client, Outgoing(known(), b"", qos, False, {"content_type": "c"}))
        self.check(client, Outgoing(known(), b"", qos, False, {}))

    @pytest.mark.parametrize("qos", [0, 1])
    def test_connection_that_is_not_open(self, qos: int) -> None:
        self.check(Client(None), qos=qos)
        waiting = Client(None, waits=True)
        waiting.give(connack())
        assert waiting.connection.state is ConnectionState.CONNECTING
        self.check(waiting, qos=qos)
        closing = Client()
        closing.connection.disconnect()
        self.check(closing, qos=qos)
        assert closing.sent() == "e0 00"
        lost = Client()
        lost.connection.receive_eof()
        self.check(lost, qos=qos)

    @pytest.mark.parametrize("qos", [0, 1])
    def test_much_waits_for_the_network(self, qos: int) -> None:
        client = Client()
        client.publish("t", bytes(1_048_576 - 9))  # one byte is left
        assert client.connection.unsent_size == 1_048_575
        assert at_once(client, b"x", qos) > 1_048_576
        self.check(client, qos=qos)
        client.connection.data_to_send(0.0)
        assert at_once(client, b"x", qos)

    @pytest.mark.parametrize("version", ALL)
    def test_large_payload(self, version: Any) -> None:
        client = Client(version=version)
        self.check(client, Outgoing(known(), b"x" * 1_048_576, 1))
        most = 1_048_576 - 3 - (version == V5)
        self.check(client, Outgoing(known(), b"x" * (most + 1), 1))
        assert at_once(client, b"x" * most, 1)

    def test_retain(self) -> None:
        client = Client(connack("25 00"))
        self.check(client, Outgoing(known(), b"", 0, True))
        self.check(client, Outgoing(known(), b"", 1, True))
        assert at_once(client, b"", 1)

    @pytest.mark.parametrize("maximum", [0, 1])
    def test_maximum_qos(self, maximum: int) -> None:
        client = Client(connack(f"24 {maximum:02x}"))
        for qos in range(3):
            if qos <= maximum:
                assert at_once(client, b"", qos)
            else:
                self.check(client, qos=qos)

    def test_qos_that_is_none(self) -> None:
        self.check(Client(), qos=3)

    @pytest.mark.parametrize("qos", [0, 1])
    def test_maximum_packet_size(self, qos: int) -> None:
        client = Client(connack("27 00 00 00 14"))  # 20 bytes
        for size in range(30):
            total = 6 + 2 * qos + size
            unsent = client.connection.unsent_size
            outgoing = Outgoing(known(), b"x" * size, qos)
            if client.connection.publish_at_once(outgoing):
                assert total <= 20
                assert client.connection.unsent_size == unsent + total
            elif total <= 20:
                client.connection.publish(outgoing)
            else:
                with pytest.raises(UsageError, match=f"a packet of {total} bytes"):
                    client.connection.publish(outgoing)

    def test_receive_maximum(self) -> None:
        client = Client(connack("21 00 02"))
        assert at_once(client, b"", 1)
        assert at_once(client, b"", 2)
        self.check(client, qos=1)
        self.check(client, qos=2)
        assert at_once(client, b"", 0)
        client.give("40 02 00 01")
        assert at_once(client, b"", 1)
        client.give("50 02 00 02")  # holds its place until PUBCOMP
        self.check(client, qos=1)

    def test_some_identifiers_are_left_for_requests(self) -> None:
        client = Client()
        for _ in range(65_519):
            assert at_once(client, b"", 1)
        assert client.connection.send_quota == 0
        self.check(client, qos=1)
        client.give("40 02 00 05")
        assert client.connection.send_quota == 1
        assert at_once(client, b"", 1)
        self.check(client, qos=1)

    def test_identifier_that_is_in_use(self) -> None:
        client = Client()
        at_once(client, b"", 1)
        client.session.last_packet_id = 65_535
        self.check(client, qos=1)
        assert at_once(client, b"", 0)
        client.publish("t", b"", 1)
        assert list(client.session.outgoing) == [1, 2]

    def test_identifiers_go_round(self) -> None:
        client = Client()
        client.session.last_packet_id = 65_534
        assert at_once(client, b"", 1)
        assert at_once(client, b"", 1)
        assert list(client.session.outgoing) == [65_535, 1]

    def test_request_that_is_not_answered(self) -> None:
        client = Client()
        client.connection.subscribe([("f", SubscriptionOptions())])
        self.check(client, qos=1)
        assert at_once(client, b"", 0)
        client.give("90 04 00 01 00 00")
        assert at_once(client, b"", 1)

    def test_messages_that_are_to_be_sent_again(self) -> None:
        session = Session()
        first = Client(session=session)
        for _ in range(3):
            at_once(first, b"", 1)
        client = Client(
            connack("21 00 02", session_present=True), session=session, clean_start=False
        )
        client.connection.resume()
        client.give("40 02 00 01")
        assert not client.connection.send_quota
        self.check(client, qos=1)
        client.give("40 02 00 02")
        assert at_once(client, b"", 1)
        assert list(session.outgoing) == [3, 4]

    def test_quota_that_others_take_though_they_do_not_wait(self) -> None:
        session = Session()
        first = Client(session=session)
        for _ in range(2):
            at_once(first, b"", 2)
        first.give("50 02 00 01 50 02 00 02")
        client = Client(
            connack("21 00 01", session_present=True), session=session, clean_start=False
        )
        client.connection.resume()
        assert client.connection.send_quota == -1
        self.check(client, qos=1)
        client.give("70 02 00 01")
        self.check(client, qos=1)
        client.give("70 02 00 02")
        assert at_once(client, b"", 1)

    @pytest.mark.parametrize("qos", [0, 1])
    def test_tracer(self, qos: int) -> None:
        seen: list[tuple[str, Packet]] = []
        client = Client(tracer=lambda *each: seen.append(each))
        seen.clear()
        self.check(client, qos=qos)
        assert not seen

    @pytest.mark.parametrize("qos", [0, 1])
    def test_topic_aliases(self, qos: int) -> None:
        client = Client(connack("22 00 05"), maximum_own_aliases=5)
        self.check(client, qos=qos)
        without = Client(connack("22 00 05"))
        assert at_once(without, b"", qos)


# --- the same as publish() ---

_TOPICS = st.sampled_from(
    ["t", "a/b/c", "ä/ö", "x" * 130, "x" * 300, "a/#", "+", "", "a\0", "\ud800"]
)


@st.composite
def _answers(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """What the server allows, in CONNACK, and what the owner of the connection wants."""
    properties = ""
    if draw(st.booleans()):
        properties += f"21 {draw(st.integers(1, 4)):04x}"
    if draw(st.booleans()):
        properties += f"27 {draw(st.sampled_from([9, 12, 20, 131, 140, 9000])):08x}"
    if draw(st.booleans()):
        properties += f"24 {draw(st.integers(0, 1)):02x}"
    if draw(st.booleans()):
        properties += f"25 {draw(st.integers(0, 1)):02x}"
    arguments: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        properties += "22 0002"
        arguments["maximum_own_aliases"] = 2
    if draw(st.integers(0, 3)) == 0:
        arguments["tracer"] = lambda *_: None
    if draw(st.integers(0, 3)) == 0:
        arguments["maximum_in_flight"] = draw(st.integers(1, 3))
    return properties, arguments


_MESSAGES = st.builds(
    Outgoing,
    _TOPICS,
    st.sampled_from([0, 1, 5, 120, 126, 127, 128, 8100, 8192, 20_000]).map(bytes),
    st.integers(0, 2),
    st.booleans(),
    st.sampled_from([None, None, None, {}, {"content_type": "c"}]),
)
_OPERATIONS = st.lists(
    _MESSAGES
    | st.tuples(st.sampled_from(["40", "50", "70"]), st.integers(1, 6))
    | st.sampled_from(["send", "subscribe", "disconnect", "resume"]),
    max_size=30,
)


class _Either:
    """One of two connections that are to be the same."""

    def __init__(
        self, version: Any, properties: str, arguments: dict[str, Any], *, tries: bool
    ) -> None:
        self.tries = tries
        self.version = version
        self.properties = properties
        self.arguments = arguments
        self.client = self.connect(Session(), is_present=False)

    def connect(self, session: Session, *, is_present: bool) -> Client:
        answer = f"20 02 0{int(is_present)} 00"
        if self.version == V5:
            answer = connack(self.properties, session_present=is_present)
        client = Client(
            answer, version=self.version, session=session, clean_start=False, **self.arguments
        )
        if is_present:
            client.connection.resume()
        return client

    def publish(self, message: Outgoing) -> str:
        connection = self.client.connection
        mine = Outgoing(
            message.topic, message.payload, message.qos, message.retain, message.properties
        )
        if self.tries:
            unsent = connection.publish_at_once(mine)
            if unsent:
                assert unsent == connection.unsent_size
                return ""
        try:
            connection.check_publish(mine)
        except UsageError as error:
            return f"{type(error).__name__}: {error}"
        if connection.state is not ConnectionState.OPEN:
            return "not open"
        if mine.qos and connection.send_quota <= 0:
            return "no quota"
        connection.publish(mine)
        return ""

    def do(self, operation: Any) -> str:
        client = self.client
        if isinstance(operation, Outgoing):
            return self.publish(operation)
        if isinstance(operation, tuple):
            first, packet_id = operation
            client.give(f"{first} 02 {packet_id:04x}")
            return ""
        if operation == "send":
            return client.sent()
        if operation == "subscribe" and not client.connection.is_ending:
            try:
                client.connection.subscribe([("f", SubscriptionOptions())])
            except UsageError as error:
                return str(error)
        if operation == "disconnect":
            client.connection.disconnect()
        if operation == "resume":
            client.connection.receive_eof()
            self.client = self.connect(client.session, is_present=True)
        return ""

    def state(self) -> Any:
        connection, session = self.client.connection, self.client.session
        return (
            connection.state,
            connection.unsent_size,
            connection.send_quota,
            [each.packet_id for each in connection.completed],
            session.last_packet_id,
            [
                (packet_id, each.packet_id, each.awaiting, each.topic, each.payload)
                for packet_id, each in session.outgoing.items()
            ],
        )


@settings(deadline=None, max_examples=400, database=None)
@given(st.sampled_from(ALL), _answers(), _OPERATIONS)
def test_it_is_the_same_as_publish(
    version: Any, answer: tuple[str, dict[str, Any]], operations: list[Any]
) -> None:
    one = _Either(version, *answer, tries=True)
    other = _Either(version, *answer, tries=False)
    for operation in operations:
        assert one.do(operation) == other.do(operation)
        assert one.state() == other.state()
    assert one.do("send") == other.do("send")
