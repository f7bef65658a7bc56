"""Several things at once, and servers and programs that do what nobody expects."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientState, HangUp, SubscriptionState
from mqttlite.client.events import Disconnected
from mqttlite.client.subscriptions import check_handler
from mqttlite.endpoint import Endpoint
from mqttlite.enums import Fate, ProtocolVersion
from mqttlite.errors import AuthError, ProtocolError, PublishError, UsageError
from mqttlite.message import Message, Properties
from mqttlite.options import Reconnect
from mqttlite.packets import Connack, Disconnect, Pubcomp, Pubrec
from tests.unit.client.hand import ENDPOINT, Hand
from tests.unit.client.test_base import Bare

OTHER = Endpoint("mqtt", "other.example", 1883)
USE_ANOTHER = 0x9C


class Handler:
    """An auth handler that agrees to everything."""

    method = "m"

    def start(self) -> bytes:
        return b"start"

    def respond(self, data: bytes, properties: Properties) -> bytes:  # noqa: ARG002
        return b"respond"

    def finish(self, data: bytes, properties: Properties) -> None:
        """Agree."""


def unapproved() -> Hand:
    """The server has accepted, and the handler has not said yet what it thinks of it."""
    hand = Hand(auth=Handler())
    hand.core.connect(hand.now)
    hand.answer()
    hand.take_dial()
    hand.core.transport_opened(hand.now)
    hand.sent()
    hand.receive(Connack(False, 0, {"authentication_method": "m"}))
    assert hand.core.question is not None
    return hand


class TestBeforeTheServerIsApproved:
    @pytest.mark.parametrize(
        "packet", [Disconnect(0x04), Disconnect(0x8B, {"session_expiry_interval": 3})]
    )
    def test_a_disconnect_that_is_wrong(self, packet: Disconnect) -> None:
        hand = unapproved()
        hand.receive(packet)
        assert hand.sent() == b"\xe0\x01\x82"
        hand.hang_up()
        assert hand.core.state is ClientState.IDLE

    def test_nothing_is_read(self) -> None:
        hand = unapproved()
        assert not hand.core.wants_data(hand.now)
        hand.answer()
        assert hand.core.wants_data(hand.now)

    def test_the_reason_is_not_replaced_by_a_time_out(self) -> None:
        hand = Hand(auth=Handler(), connect_timeout=1.0)
        operation = hand.core.connect(hand.now)
        hand.answer()
        hand.take_dial()
        hand.core.transport_opened(hand.now)
        hand.receive(Connack(False, 0, {"authentication_method": "m"}))
        question = hand.core.question
        assert question is not None
        hand.core.answered(question, {}, AuthError("not this one"), hand.now)
        while hand.core.state is ClientState.HANGING_UP and hand.core.next_deadline() is not None:
            hand.pass_deadline()
        hand.hang_up()
        with pytest.raises(AuthError, match="not this one"):
            operation.result()


def failed_over(**options: Any) -> Hand:
    """Connected to the second server, with a session there, while the first keeps an old one."""
    policy = Reconnect(first_delay=0.0, first_server="preferred")
    hand = Hand(endpoints=(ENDPOINT, OTHER), reconnect=policy, **options).connect()
    hand.sent()
    hand.lose()
    hand.pass_deadline()
    assert hand.take_dial() == ENDPOINT
    hand.core.dial_failed(OSError(), hand.now)
    assert hand.take_dial() == OTHER
    hand.core.transport_opened(hand.now)
    hand.receive(Connack())
    hand.sent()
    return hand


def go_back(hand: Hand, *, session_present: bool = True) -> None:
    hand.lose()
    hand.pass_deadline()
    assert hand.take_dial() == ENDPOINT
    hand.core.transport_opened(hand.now)
    hand.sent()
    hand.receive(Connack(session_present))


class TestTheSessionOfAnotherServer:
    def test_it_is_subscribed_again(self) -> None:
        hand = failed_over()
        hand.subscribed("news/#")
        go_back(hand)
        assert b"\0\x06news/#" in hand.sent()

    def test_messages_of_the_other_server_stay(self) -> None:
        hand = failed_over()
        subscription = hand.subscribed("t")
        hand.receive(Message("t", b"x", 1, packet_id=7))
        go_back(hand)
        assert [message.payload for message in subscription.buffer] == [b"x"]

    def test_a_new_message_with_an_identifier_of_the_other_server(self) -> None:
        hand = failed_over()
        subscription = hand.subscribed("t", 2)
        hand.receive(Message("t", b"old", 2, packet_id=7))
        assert subscription.take() is not None
        subscription.finish_taken(processed=True)
        go_back(hand)
        hand.receive(Message("t", b"new", 2, packet_id=7))
        message = subscription.take()
        assert message is not None
        assert message.payload == b"new"

    @pytest.mark.parametrize(("code", "fate"), [(0x92, Fate.LOST), (0, Fate.ACKNOWLEDGED)])
    def test_a_message_that_the_other_server_had_received(self, code: int, fate: Fate) -> None:
        # It may know the message if the two belong together.
        hand = failed_over()
        delivery = hand.publish("t", b"x", 2)
        hand.sent()
        hand.receive(Pubrec(delivery.packet_id))
        go_back(hand)
        assert b"\x62\x02" in hand.sent()
        hand.receive(Pubcomp(delivery.packet_id, code))
        assert delivery.fate is fate
        assert isinstance(delivery.error, PublishError) == (fate is Fate.LOST)

    def test_the_same_server_again_knows_it(self) -> None:
        hand = Hand().connect()
        delivery = hand.publish("t", b"x", 2)
        hand.sent()
        hand.receive(Pubrec(delivery.packet_id))
        hand.lose()
        hand.pass_deadline()
        hand.connect_now(session_present=True)
        hand.receive(Pubcomp(delivery.packet_id, 0x92))
        assert delivery.fate is Fate.ACKNOWLEDGED


class TestClosing:
    def test_what_is_being_written_is_not_cut_off(self) -> None:
        hand = Hand().connect()
        hand.sent()
        hand.publish("t", bytes(1_000_000), 0)
        hand.core.close(hand.now, 60.0)
        assert hand.core.take_action() == HangUp(graceful=True)
        end = hand.now + 60.0
        while hand.core.unsent_size:
            assert hand.core.data_to_send(hand.now)  # slowly
            hand.pass_deadline()
            assert hand.core.take_action() is None
        written = hand.now
        while hand.core.take_action() is None:
            hand.pass_deadline()
        assert written + 2.0 <= hand.now < end  # the last piece has its time, too

    def test_not_for_longer_than_it_may_take(self) -> None:
        hand = Hand().connect()
        hand.sent()
        hand.publish("t", bytes(1_000_000), 0)
        hand.core.close(hand.now, 10.0)
        hand.core.take_action()
        start = hand.now
        while hand.core.take_action() is None:
            hand.pass_deadline()
        assert hand.now == start + 10.0

    def test_while_the_connection_is_at_its_end_already(self) -> None:
        hand = Hand().connect()
        hand.sent()
        hand.core.receive(b"\xf0\x00", hand.now)
        assert hand.core.state is ClientState.HANGING_UP
        operation = hand.core.close(hand.now, 0.25)
        assert hand.core.next_deadline() == hand.now + 0.25
        hand.pass_deadline()
        hand.hang_up()
        assert operation.done

    @pytest.mark.parametrize("drain", [True, False])
    def test_once_more_and_faster(self, drain: bool) -> None:
        hand = Hand().connect()
        hand.publish("t")
        hand.sent()
        first = hand.core.close(hand.now, 60.0)
        assert hand.core.close(hand.now, 0.5, drain=drain) is first
        deadline = hand.core.next_deadline()
        assert deadline is not None
        assert deadline <= hand.now + 0.5

    def test_once_more_and_slower(self) -> None:
        hand = Hand().connect()
        hand.publish("t")
        hand.sent()
        hand.core.close(hand.now, 1.0)
        before = hand.core.next_deadline()
        hand.core.close(hand.now, 60.0)
        assert hand.core.next_deadline() == before

    def test_the_way_back_waits_for_what_is_unsent(self) -> None:
        policy = Reconnect(first_delay=0.0, return_after=10.0)
        hand = Hand(endpoints=(ENDPOINT, OTHER), reconnect=policy, keep_alive=0)
        hand.core.connect(hand.now)
        hand.take_dial()
        hand.core.dial_failed(OSError(), hand.now)
        hand.connect_now()
        hand.sent()
        hand.publish("t", bytes(100_000), 0)
        hand.pass_deadline()
        assert hand.core.is_connected
        hand.sent()
        hand.pass_deadline()
        assert not hand.core.is_connected


class TestServersThatAreNamed:
    def test_no_more_than_a_few(self) -> None:
        hand = Hand()
        hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(USE_ANOTHER, server_reference=" ".join(f"h{i}" for i in range(9000)))
        dialed = 0
        while hand.core.state is ClientState.DIALING:
            hand.take_dial()
            dialed += 1
            hand.core.dial_failed(OSError(), hand.now)
        assert dialed == 16

    def test_the_list_does_not_grow_for_ever(self) -> None:
        policy = Reconnect(retry_first=True, first_delay=0.0)
        hand = Hand(reconnect=policy, maximum_redirects=1000)
        hand.core.connect(hand.now)
        for number in range(50):
            hand.take_dial()
            names = " ".join(f"h{number}-{i}" for i in range(20))
            hand.refuse(0x9D, server_reference=names)
        assert len(hand.core._servers.all) <= 100

    def test_credentials_in_a_reference_are_not_shown(self) -> None:
        hand = Hand(maximum_redirects=0)
        operation = hand.core.connect(hand.now)
        hand.take_dial()
        hand.refuse(USE_ANOTHER, server_reference="mqtt://u:s3cret@h other")
        assert "use h other" in str(operation.error)
        assert "s3cret" not in str(operation.error)


def test_a_question_that_is_not_answered_ends_the_attempt() -> None:
    hand = Hand(
        endpoints=(ENDPOINT, OTHER),
        asked={"password": lambda: "token"},
        username="u",
        connect_timeout=10.0,
        reconnect=Reconnect(first_delay=0.0),
    )
    hand.core.connect(hand.now)
    hand.answer()
    hand.connect_now()
    hand.lose()
    hand.pass_deadline()
    assert hand.core.question is not None
    hand.pass_deadline()
    assert hand.core.take_action() == HangUp(graceful=False)
    hand.core.transport_closed(hand.now)
    assert hand.core.state is ClientState.WAITING  # no server is dialed with the old token
    event = hand.core.events[-1]
    assert isinstance(event, Disconnected)
    assert isinstance(event.error, TimeoutError)


def test_a_fall_back_that_fails_is_for_that_server_only() -> None:
    hand = Hand(endpoints=(ENDPOINT, OTHER))
    hand.core.connect(hand.now)
    hand.take_dial()
    hand.refuse(0x84)
    assert hand.core.version == ProtocolVersion.MQTT_3_1_1
    hand.take_dial()
    hand.core.transport_opened(hand.now)
    hand.core.receive(b"\x20\x02\x00\x01", hand.now)
    hand.hang_up()
    assert hand.take_dial() == OTHER
    assert hand.core.version.name == "MQTT_5_0"


def test_the_last_server_is_known_whatever_its_credentials() -> None:
    numbers = iter(range(100))
    hand = Hand(
        endpoints=(),
        asked={"url": lambda: [f"mqtt://u:{next(numbers)}@{host}" for host in "ab"]},
        reconnect=Reconnect(first_delay=0.0),
    )
    hand.core.connect(hand.now)
    hand.answer()
    hand.take_dial()
    hand.core.dial_failed(OSError(), hand.now)
    hand.connect_now()
    hand.lose()
    hand.pass_deadline()
    hand.answer()
    assert hand.take_dial().host == "b"


def test_a_cancelled_connect_tells_of_the_end_of_a_connection() -> None:
    hand = Hand().connect()
    hand.core.events.clear()
    hand.core.cancel_connect(hand.now)
    hand.hang_up()
    assert [type(event) for event in hand.core.events] == [Disconnected]


def test_without_subscription_identifiers() -> None:
    hand = Hand(use_subscription_identifiers=False).connect()
    hand.sent()
    first, second = hand.subscribe("a/#"), hand.subscribe("a/b")
    assert b"\x0b" not in hand.sent()
    hand.receive(Message("a/b", b"x"))
    assert (len(first.buffer), len(second.buffer)) == (1, 1)


async def coroutine(*_: object) -> None: ...


@pytest.mark.parametrize(
    "arguments",
    [
        *({name: coroutine} for name in ("on_connect", "on_disconnect", "on_error")),
        {"on_dropped": coroutine},
        {"on_reconnecting": coroutine},
        {"auth": "x"},
        {"auth": object()},
    ],
)
def test_arguments_that_would_never_be_called(arguments: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"coroutine|AuthHandler"):
        Bare("mqtt://h", **arguments)


def test_no_query_is_shown() -> None:
    endpoint = Endpoint.parse("wss://h/mqtt?token=s3cret")
    assert "s3cret" not in repr(endpoint) + str(endpoint)


def test_a_server_has_no_will() -> None:
    hand = Hand().connect()
    hand.sent()
    hand.receive(Disconnect(0x04))
    assert hand.sent() == b"\xe0\x01\x82"
    hand.hang_up()
    event = hand.core.events[-1]
    assert isinstance(event, Disconnected)
    assert isinstance(event.error, ProtocolError)


class TestBehindConnack:
    """What a server sends in the same piece of bytes as CONNACK."""

    CONNACK = b"\x20\x03\0\0\0"
    MESSAGE = b"\x30\x05\0\x01t\0x"

    def together(self, *packets: bytes) -> tuple[Hand, SubscriptionState]:
        hand = Hand()
        subscription = hand.subscribe("t")
        hand.dial()
        hand.sent()
        hand.core.receive(b"".join((self.CONNACK, *packets)), hand.now)
        return hand, subscription

    def test_a_fault_after_a_message(self) -> None:
        hand, subscription = self.together(self.MESSAGE, b"\x36\x00")
        assert len(subscription.buffer) == 1
        assert hand.sent()[-3:] == b"\xe0\x01\x81"

    def test_an_end_between_messages(self) -> None:
        hand, subscription = self.together(self.MESSAGE, b"\xe0\x01\x8b", self.MESSAGE)
        assert len(subscription.buffer) == 1
        assert hand.core.state is ClientState.HANGING_UP


def test_another_protocol_that_looks_like_the_beginning_of_a_packet() -> None:
    hand = Hand()
    operation = hand.core.connect(hand.now)
    hand.take_dial()
    hand.core.transport_opened(hand.now)
    hand.core.receive(b"220 mail.example", hand.now)  # 0x32 is PUBLISH, 0x32 its length
    hand.hang_up()
    with pytest.raises(ProtocolError, match="before CONNACK"):
        operation.result()


class TestMosquitto:
    """Mosquitto 2.0 begins to count anew with each acknowledgement."""

    def message(self, number: int, *, dup: bool = False) -> Message:
        return Message("t", b"x" * 100, 1, dup=dup, packet_id=number)

    def test_it_is_borne_and_told_once(self) -> None:
        hand = Hand(receive_maximum=3).connect()
        subscription = hand.subscribed("t", ack="manual")
        hand.sent()
        hand.receive(*(self.message(number) for number in (1, 2, 3)))
        first = subscription.take()
        assert first is not None
        first.ack()
        assert hand.sent() == b"\x40\x02\0\x01"
        hand.receive(*(self.message(number) for number in (4, 5, 6)))
        assert hand.sent() == b""
        warnings = [text for logger, _, text in hand.core.notices if logger == "mqttlite.protocol"]
        assert len(warnings) == 1
        assert "Receive Maximum" in warnings[0]
        hand.receive(self.message(7))  # but that is more than three for each
        assert hand.sent() == b"\xe0\x01\x93"

    def test_it_is_within_again(self) -> None:
        hand = Hand(receive_maximum=3).connect()
        subscription = hand.subscribed("t", ack="manual")
        hand.receive(*(self.message(number) for number in (1, 2, 3)))
        taken = [subscription.take() for _ in range(3)]
        assert taken[0] is not None
        taken[0].ack()
        hand.receive(*(self.message(number) for number in (4, 5)))
        connection = hand.core._connection
        assert connection is not None
        assert connection._excess_size == 100
        for message in taken[1:]:
            assert message is not None
            message.ack()
        hand.receive(self.message(6))
        assert connection._excess_size == 0

    def test_it_is_within_again_while_a_large_message_comes(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mqttlite.protocol.client_side._MOST_EXCESS", 150_000)
        hand = Hand(receive_maximum=2).connect()
        subscription = hand.subscribed("t", ack="manual")
        hand.receive(self.message(1))
        first = subscription.take()
        assert first is not None
        first.ack()
        hand.sent()
        hand.receive(*(self.message(number) for number in (2, 3)))
        second = subscription.take()
        assert second is not None
        for number in (4, 5):  # each is one too many, and both are more than may be
            # PUBLISH of QoS 1 to "t" with a payload of 100,000 bytes
            hand.core.receive(bytes.fromhex(f"32 a6 8d 06 00 01 74 00 {number:02x} 00"), hand.now)
            if number == 5:
                second.ack()
            room = hand.core.room()
            assert room is not None
            room[:100_000] = bytes(100_000)
            hand.core.filled(100_000, hand.now)
        assert hand.core.is_connected

    def test_all_that_is_sent_again_at_once(self) -> None:
        hand = Hand(receive_maximum=2).connect()
        hand.subscribed("t", ack="manual")
        hand.receive(*(self.message(number, dup=True) for number in range(1, 9)))
        assert hand.core.is_connected


def test_headers_need_a_websocket() -> None:
    with pytest.raises(UsageError, match="ws://"):
        Bare("mqtt://h", headers={"a": "b"})


@pytest.mark.parametrize("headers", ["a: b", 5, [("a", 1)], ["ab"], [("a b", "c")], {"a": "\n"}])
def test_headers_that_cannot_be_sent(headers: Any) -> None:
    with pytest.raises(UsageError, match="header"):
        Bare("ws://h", headers=headers)


def test_handlers() -> None:
    check_handler(coroutine)
    check_handler(None, may_wait=False)
    with pytest.raises(UsageError, match="AsyncClient"):
        check_handler(coroutine, may_wait=False)
