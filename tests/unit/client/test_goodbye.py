"""What the last packet says, and what UNSUBSCRIBE says and is answered."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientState, HangUp, Unsubscribed
from mqttlite.errors import NotSupported, PacketTooLarge, UnsubscribeError, UsageError
from mqttlite.packets import Disconnect, Puback, Unsuback
from tests.unit.client.hand import Hand


def connected(**options: Any) -> Hand:
    hand = Hand(**options).connect()
    hand.sent()
    return hand


class TestWhatItSays:
    @pytest.mark.parametrize(
        ("options", "goodbye", "sent"),
        [
            ({}, None, b"\xe0\7\0\5\x11\0\0\0\0"),
            ({"clean_start": False}, None, b"\xe0\0"),
            ({}, Disconnect(4), b"\xe0\7\4\5\x11\0\0\0\0"),
            ({"clean_start": False}, Disconnect(4), b"\xe0\1\4"),
            (
                {"clean_start": False},
                Disconnect(0x80, {"reason_string": "bye", "user_properties": [("a", "b")]}),
                b"\xe0\x0f\x80\x0d\x1f\0\3bye\x26\0\1a\0\1b",
            ),
            (
                {},
                Disconnect(0, {"session_expiry_interval": 0x0102}),
                b"\xe0\7\0\5\x11\0\0\1\2",
            ),
            (
                {"clean_start": False},
                Disconnect(0, {"session_expiry_interval": 0}),
                b"\xe0\7\0\5\x11\0\0\0\0",
            ),
        ],
    )
    def test_disconnect(
        self, options: dict[str, Any], goodbye: Disconnect | None, sent: bytes
    ) -> None:
        hand = connected(**options)
        closing = hand.core.close(hand.now, 5.0, goodbye=goodbye)
        assert hand.sent() == sent
        assert hand.hang_up() == HangUp(graceful=True)
        assert closing.done

    def test_only_behind_what_is_drained(self) -> None:
        hand = connected(clean_start=False)
        hand.publish("t")
        hand.sent()
        hand.core.close(hand.now, 5.0, goodbye=Disconnect(4))
        assert hand.sent() == b""
        hand.receive(Puback(1))
        assert hand.sent() == b"\xe0\1\4"

    def test_before_connack(self) -> None:
        hand = Hand(clean_start=False)
        hand.dial()
        hand.sent()
        hand.core.close(hand.now, 5.0, goodbye=Disconnect(4))
        assert hand.sent() == b"\xe0\1\4"

    def test_what_is_said_last_counts(self) -> None:
        hand = connected(clean_start=False)
        hand.publish("t")
        hand.sent()
        closing = hand.core.close(hand.now, 5.0, goodbye=Disconnect(4))
        assert hand.core.close(hand.now, 5.0, goodbye=Disconnect(0x80), drain=False) is closing
        hand.pass_deadline()
        assert hand.sent() == b"\xe0\1\x80"

    def test_it_is_said_once(self) -> None:
        hand = connected(clean_start=False)
        hand.core.close(hand.now, 5.0, goodbye=Disconnect(4))
        assert hand.sent() == b"\xe0\1\4"
        hand.hang_up()
        hand.connect()
        hand.sent()
        hand.core.close(hand.now, 5.0)
        assert hand.sent() == b"\xe0\0"

    def test_one_that_could_not_be_said_is_forgotten(self) -> None:
        hand = Hand(clean_start=False)
        hand.core.connect(hand.now)
        hand.core.close(hand.now, 5.0, goodbye=Disconnect(4))
        hand.hang_up()
        hand.connect()
        hand.sent()
        hand.core.close(hand.now, 5.0)
        assert hand.sent() == b"\xe0\0"

    @pytest.mark.parametrize("how", ["idle", "given up"])
    @pytest.mark.xfail(
        strict=True,
        raises=AssertionError,
        reason="BUG: a goodbye that nobody was told stays for the next connection",
    )
    def test_one_that_nobody_was_there_for_is_forgotten(self, how: str) -> None:
        hand = Hand(clean_start=False)
        if how == "given up":
            hand.connect()
            hand.publish("t")
            hand.sent()
        hand.core.close(hand.now, 5.0, goodbye=Disconnect(4))
        if how == "given up":
            hand.core.give_up(OSError("no more threads"))
        hand.connect()
        hand.sent()
        hand.core.close(hand.now, 5.0, drain=False)
        assert hand.sent() == b"\xe0\0"

    def test_cancelling_connect_says_the_usual(self) -> None:
        hand = connected(clean_start=False)
        hand.core.cancel_connect(hand.now)
        assert hand.sent() == b"\xe0\0"


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "goodbye", "error", "message"),
        [
            ({"version": "3.1.1"}, Disconnect(4), NotSupported, r"needs MQTT 5\.0"),
            ({}, Disconnect(0x8B), UsageError, "0x8B is not a reason code with which a client"),
            ({}, Disconnect(0x01), UsageError, "0x01"),
            ({}, Disconnect(0, {"reason_string": "a\0"}), UsageError, r"U\+0000"),
            ({}, Disconnect(0, {"session_expiry_interval": 1 << 32}), UsageError, "session_exp"),
            ({}, Disconnect(0, {"topic_alias": 1}), UsageError, "topic_alias"),
            (
                {"session_expiry_interval": 0},
                Disconnect(0, {"session_expiry_interval": 1}),
                UsageError,
                "cannot be prolonged",
            ),
        ],
    )
    def test_before_anything_has_changed(
        self,
        options: dict[str, Any],
        goodbye: Disconnect,
        error: type[UsageError],
        message: str,
    ) -> None:
        hand = connected(**options)
        with pytest.raises(error, match=message):
            hand.core.close(hand.now, 5.0, goodbye=goodbye)
        assert hand.core.is_connected
        assert hand.sent() == b""
        hand.publish("t", qos=0)
        hand.sent()
        hand.core.close(hand.now, 5.0)
        assert hand.sent()[:2] in (b"\xe0\0", b"\xe0\7")

    def test_a_session_that_ends_may_end(self) -> None:
        hand = connected(session_expiry_interval=0)
        hand.core.close(hand.now, 5.0, goodbye=Disconnect(0, {"session_expiry_interval": 0}))
        assert hand.sent() == b"\xe0\7\0\5\x11\0\0\0\0"


class TestSession:
    """Whether the packet identifiers in use are kept for the next connection."""

    @pytest.mark.parametrize(
        ("options", "interval", "kept"),
        [
            ({}, None, False),
            ({}, 100, True),
            ({}, 0, False),
            ({"clean_start": False}, None, True),
            ({"clean_start": False}, 0, False),
            ({"session_expiry_interval": 5}, None, True),
        ],
    )
    def test_kept_or_cleared(
        self, options: dict[str, Any], interval: int | None, kept: bool
    ) -> None:
        hand = connected(**options)
        hand.publish("t")
        hand.sent()
        goodbye = None
        if interval is not None:
            goodbye = Disconnect(0, {"session_expiry_interval": interval})
        hand.core.close(hand.now, 5.0, drain=False, goodbye=goodbye)
        hand.hang_up()
        assert list(hand.core.session.outgoing) == ([1] if kept else [])


class TestUnsubscribing:
    def test_user_properties_go_along(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t")
        hand.core.end_subscription(subscription, processed=True, user_properties=[("a", "b")])
        assert hand.sent() == b"\xa2\x0d\0\2\7\x26\0\1a\0\1b\0\1t"

    def test_of_filters(self) -> None:
        hand = connected()
        hand.core.unsubscribe_filters(["t", "u"], [("a", "b")])
        assert hand.sent() == b"\xa2\x10\0\1\7\x26\0\1a\0\1b\0\1t\0\1u"

    def test_the_answer(self) -> None:
        hand = connected()
        operation = hand.core.unsubscribe_filters(["t", "u"])
        hand.core.receive(b"\xb0\x10\0\1\x0b\x1f\0\1s\x26\0\1a\0\1b\x00\x11", hand.now)
        assert operation.result() == Unsubscribed({"t": 0, "u": 0x11}, "s", [("a", "b")])

    def test_an_answer_without_words(self) -> None:
        hand = connected()
        operation = hand.core.unsubscribe_filters("t")
        hand.receive(Unsuback(1, [0]))
        assert operation.result() == Unsubscribed({"t": 0}, None, [])

    def test_an_answer_of_mqtt_3(self) -> None:
        hand = connected(version="3.1.1")
        operation = hand.core.unsubscribe_filters("t")
        hand.core.receive(b"\xb0\2\0\1", hand.now)
        assert operation.result() == Unsubscribed({"t": 0})

    def test_refused(self) -> None:
        hand = connected()
        operation = hand.core.unsubscribe_filters(["t", "u"])
        hand.receive(Unsuback(1, [0, 0x87], {"reason_string": "no"}))
        assert isinstance(operation.error, UnsubscribeError)
        assert operation.error.reason_codes == {"t": 0, "u": 0x87}
        assert operation.error.reason_string == "no"

    def test_nothing_to_ask_for(self) -> None:
        hand = connected()
        subscription = hand.subscribed("t")
        hand.lose()
        operation = hand.core.end_subscription(subscription, processed=True)
        assert operation.result() == Unsubscribed({})

    @pytest.mark.parametrize(
        ("options", "user_properties", "error"),
        [
            ({}, 5, UsageError),
            ({}, [("a", 5)], UsageError),
            ({}, [("a\0", "b")], UsageError),
            ({"version": "3.1.1"}, [("a", "b")], NotSupported),
        ],
    )
    def test_what_cannot_be_said(
        self, options: dict[str, Any], user_properties: Any, error: type[UsageError]
    ) -> None:
        hand = connected(**options)
        subscription = hand.subscribed("t")
        with pytest.raises(error, match=r"user_properties|str|U\+0000"):
            hand.core.end_subscription(
                subscription, processed=True, user_properties=user_properties
            )
        with pytest.raises(error, match=r"user_properties|str|U\+0000"):
            hand.core.unsubscribe_filters("t", user_properties)
        assert hand.sent() == b""
        assert not subscription.ended
        assert hand.core.state is ClientState.CONNECTED

    @pytest.mark.xfail(
        strict=True, reason="BUG: an UNSUBSCRIBE that is too large for the server is never sent"
    )
    def test_more_than_the_server_takes(self) -> None:
        # Rule 24: a clear error, and not a success that is none.
        hand = Hand().connect(maximum_packet_size=30)
        subscription = hand.subscribed("t")
        with pytest.raises(PacketTooLarge):
            hand.core.end_subscription(
                subscription, processed=True, user_properties=[("a", "b" * 30)]
            )
