"""What both clients share: their arguments, and what can be asked of them."""

from __future__ import annotations

import inspect
import ssl
from typing import Any

import pytest

from mqttlite.client import (
    ClientCore,
    ClientOptions,
    ClientState,
    SubscriptionState,
    make_subscription,
)
from mqttlite.client.base import ClientBase, SubscriptionBase, make_goodbye
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionClosed, NotSupported, SubscribeError, UsageError
from mqttlite.message import Message, Will
from mqttlite.options import TLS, Reconnect
from mqttlite.packets import Connack, Disconnect, encode


class Bare(ClientBase):
    """A client that nobody drives."""

    def _set_up(self, options: ClientOptions) -> ClientCore:
        return ClientCore(options, lambda: 1.0)

    @property
    def core(self) -> ClientCore:
        return self._core

    @property
    def options(self) -> ClientOptions:
        return self._core.options


def test_defaults_are_those_of_the_options() -> None:
    assert Bare("mqtt://h").options == ClientOptions(endpoints=(Endpoint("mqtt", "h", 1883),))


def test_defaults_of_the_signature_are_those_of_the_options() -> None:
    signature = inspect.signature(ClientBase.__init__).parameters
    options = ClientOptions(endpoints=(Endpoint("mqtt", "h", 1883),))
    elsewhere = {"self", "url", "host", "port", "tls", "reconnect"}
    elsewhere |= {"on_connect", "on_disconnect", "on_reconnecting", "on_dropped", "on_error"}
    names = set(signature) - elsewhere
    assert names == set(ClientOptions.__dataclass_fields__) - {
        "endpoints",
        "asked",
        "tls",
        "reconnect",
    }
    for name in names:
        assert signature[name].default == getattr(options, name), name


def test_every_argument_is_described() -> None:
    text = inspect.getdoc(ClientBase) or ""
    for name in inspect.signature(ClientBase.__init__).parameters:
        assert name == "self" or f"{name}: " in text


def test_every_argument_is_passed_on() -> None:
    will = Will("gone")
    arguments: dict[str, Any] = {
        "client_id": "me",
        "username": "u",
        "version": "3.1.1",
        "clean_start": False,
        "session_expiry_interval": 7,
        "keep_alive": 8,
        "connect_timeout": 9.0,
        "will": will,
        "receive_maximum": 10,
        "maximum_in_flight": 11,
        "maximum_packet_size": 120,
        "topic_alias_maximum": 13,
        "user_properties": [("a", "b")],
        "outbox_messages": 14,
        "outbox_bytes": 15,
        "when_full": "raise",
        "queue_qos_0": True,
        "server_order": "shuffled",
        "maximum_redirects": 16,
        "use_topic_aliases": True,
        "request_problem_information": False,
        "request_response_information": True,
        "check_payload_format": True,
        "when_session_lost": "report",
    }
    options = Bare("mqtt://h", password="ü", **arguments).options
    assert options.password == "ü".encode()
    for name, value in arguments.items():
        assert getattr(options, name) == value


def test_password_may_be_bytes() -> None:
    assert Bare("mqtt://h", username="u", password=b"\xff").options.password == b"\xff"


def test_truth_values_become_bool() -> None:
    options = Bare("mqtt://h", clean_start=0, queue_qos_0=1).options  # type: ignore[arg-type]
    assert options.clean_start is False
    assert options.queue_qos_0 is True


def test_reconnect() -> None:
    policy = Reconnect(first_delay=2.0)
    assert Bare("mqtt://h").options.reconnect == Reconnect()
    assert Bare("mqtt://h", reconnect=False).options.reconnect is None
    assert Bare("mqtt://h", reconnect=policy).options.reconnect is policy


def test_callbacks() -> None:
    def callback(*_: object) -> None: ...

    def dropped(_: object) -> None: ...

    client = Bare(
        "mqtt://h",
        on_connect=callback,
        on_disconnect=callback,
        on_reconnecting=callback,
        on_dropped=dropped,
        on_error=callback,
    )
    assert list(client._callbacks.values()) == [callback] * 3
    assert client._on_dropped is dropped
    assert client._on_error is callback
    assert client.core.drops.is_watched
    client = Bare("mqtt://h")
    assert not client._callbacks
    assert client._on_dropped is None
    assert client._on_error is None
    assert not client.core.drops.is_watched


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"url": "mqtt://h"}, [Endpoint("mqtt", "h", 1883)]),
        (
            {"url": ["mqtt://a", "mqtts://b"]},
            [Endpoint("mqtt", "a", 1883), Endpoint("mqtts", "b", 8883)],
        ),
        ({"url": ("mqtt://a",)}, [Endpoint("mqtt", "a", 1883)]),
        ({"host": "h"}, [Endpoint("mqtt", "h", 1883)]),
        ({"host": "h", "port": 5}, [Endpoint("mqtt", "h", 5)]),
        ({"host": "::1"}, [Endpoint("mqtt", "::1", 1883)]),
        ({"host": "h", "tls": True}, [Endpoint("mqtts", "h", 8883)]),
        ({"host": "h", "tls": TLS(), "port": 1}, [Endpoint("mqtts", "h", 1)]),
        ({"host": "h", "tls": False}, [Endpoint("mqtt", "h", 1883)]),
    ],
)
def test_servers(arguments: dict[str, Any], expected: list[Endpoint]) -> None:
    assert list(Bare(**arguments).options.endpoints) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give a URL"),
        ({"url": "mqtt://h", "host": "h"}, "not both"),
        ({"url": "mqtt://h", "port": 5}, "port goes with host"),
        ({"port": 5}, "port goes with host"),
        ({"url": 5}, "a URL must be a str, or several in a list, not int"),
        ({"url": []}, "at least one URL"),
        ({"url": [5]}, "a URL must be a str, not int"),
        ({"url": b"mqtt://h"}, "a URL must be a str"),
        ({"url": "h"}, "no scheme"),
        ({"host": ""}, "host must be"),
        ({"host": "mqtt://h"}, "host must be"),
        ({"host": 5}, "host must be"),
        ({"host": "h", "port": 0}, "port must be from 1 to 65535, not 0"),
        ({"host": "h", "port": 65_536}, "port must be"),
        ({"host": "h", "port": "1883"}, "port must be from 1 to 65535, not '1883'"),
        ({"url": "mqtt://h", "tls": True}, "no URL uses it"),
        ({"url": "mqtts://h", "tls": "yes"}, "tls must be True, a TLS or an ssl.SSLContext"),
        ({"url": "mqtt://h", "will": "gone"}, "will must be a Will, not str"),
        ({"url": "mqtt://h", "on_connect": 5}, "are functions, not 5"),
        ({"url": "mqtt://h", "on_disconnect": 5}, "are functions"),
        ({"url": "mqtt://h", "on_error": 5}, "are functions"),
        ({"url": "mqtt://h", "reconnect": "yes"}, "reconnect must be"),
        ({"url": "mqtt://h", "keep_alive": -1}, "keep_alive"),
        ({"url": "mqtt://h", "password": 5}, "password|bytes"),
        ({"url": "mqtt://h", "username": 5}, "str"),
        ({"url": "mqtt://h", "username": "u", "password": "\ud800"}, "surrogate"),
        ({"url": "mqtt://h", "user_properties": 5}, "user_properties"),
        ({"url": "mqtt://h", "on_reconnecting": 5}, "are functions"),
        ({"url": "mqtt://h", "on_dropped": 5}, "are functions"),
        ({"url": print, "host": "h"}, "not both"),
        ({"url": print, "port": 5}, "not both"),
        ({"url": "mqtt://u@h", "username": print}, "the username is given twice"),
        ({"url": "mqtt://u:p@h", "password": print}, "the password is given twice"),
        ({"url": "mqtt://h", "tls": print}, "no URL uses it"),
    ],
)
def test_bad_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Bare(**arguments)


def test_transports_that_are_not_there_yet() -> None:
    with pytest.raises(NotSupported):
        Bare("quic://h")


def test_tls() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls = TLS(server_hostname="x")
    assert Bare("mqtts://h").options.tls == TLS()
    assert Bare("mqtts://h", tls=True).options.tls == TLS()
    assert Bare("mqtts://h", tls=tls).options.tls is tls
    assert Bare("mqtts://h", tls=context).options.tls.context is context
    assert Bare(["mqtt://a", "mqtts://h"], tls=tls).options.tls is tls


def test_functions_in_place_of_values() -> None:
    def url() -> str:
        return "mqtt://h"

    def other() -> str:
        return "x"

    options = Bare(url, username=other, password=other, tls=lambda: True).options  # type: ignore[arg-type, return-value]
    assert list(options.asked) == ["url", "username", "password", "tls"]
    assert options.asked["url"] is url
    assert options.asked["username"] is options.asked["password"] is other
    assert options.endpoints == ()
    assert options.username is None
    assert options.password is None
    assert options.tls == TLS()
    assert Bare("mqtt://h", username="u").options.asked == {}


def test_a_function_says_that_there_is_tls() -> None:
    client = Bare(host="h", tls=TLS)
    assert client.options.endpoints == (Endpoint("mqtts", "h", 8883),)
    assert client.options.asked == {"tls": TLS}


class TestGoodbye:
    def test_the_usual_one(self) -> None:
        assert make_goodbye(0, None, (), None) is None

    def test_a_reason_code_alone(self) -> None:
        assert make_goodbye(4, None, (), None) == Disconnect(4, None)

    @pytest.mark.parametrize(
        ("arguments", "properties"),
        [
            (("", (), None), {"reason_string": ""}),
            ((None, [("a", "b")], None), {"user_properties": [("a", "b")]}),
            ((None, (), 0), {"session_expiry_interval": 0}),
            (
                ("why", (("a", "b"),), 5),
                {
                    "reason_string": "why",
                    "user_properties": [("a", "b")],
                    "session_expiry_interval": 5,
                },
            ),
        ],
    )
    def test_properties(self, arguments: Any, properties: Any) -> None:
        assert make_goodbye(0, *arguments) == Disconnect(0, properties)

    def test_user_properties_are_checked(self) -> None:
        with pytest.raises(UsageError, match="user_properties must be a list"):
            make_goodbye(0, None, 5, None)  # type: ignore[arg-type]


class TestSubscription:
    def subscription(self) -> tuple[SubscriptionBase, SubscriptionState]:
        state = make_subscription(["a", "b"])
        return SubscriptionBase(state), state

    def test_at_first(self) -> None:
        subscription, state = self.subscription()
        assert state.owner is subscription
        assert subscription.topic_filters == ("a", "b")
        assert subscription.granted == {}
        assert subscription.reason_string is None
        assert subscription.user_properties == []
        assert subscription.dropped == 0
        assert subscription.buffered == 0

    def test_what_the_server_said(self) -> None:
        subscription, state = self.subscription()
        state.granted = {"a": 1, "b": 0}
        state.answer = {"reason_string": "why", "user_properties": [("a", "b")]}
        assert subscription.granted == {"a": 1, "b": 0}
        assert subscription.granted is not state.granted
        assert subscription.reason_string == "why"
        assert subscription.user_properties == [("a", "b")]

    def test_messages(self) -> None:
        subscription, state = self.subscription()
        state.push(Message("a", b"x"))
        state.dropped = 7
        assert subscription.buffered == 1
        assert subscription.dropped == 7

    @pytest.mark.parametrize(
        ("error", "is_failure"),
        [
            (None, False),
            (ConnectionClosed("close()", by=ClosedBy.CLIENT), False),
            (ConnectionClosed("shut down", by=ClosedBy.SERVER), True),
            (SubscribeError({"a": 0x87}), True),
        ],
    )
    def test_why_it_ended(self, error: Exception | None, is_failure: bool) -> None:
        _, state = self.subscription()
        state.end(error)
        assert state.failure is (error if is_failure else None)


def test_what_can_be_asked() -> None:
    client = Bare("mqtt://user:secret@h")
    assert client.is_idle
    assert not client.is_connected
    assert client.client_id == ""
    assert client.version == "5.0"
    assert client.connack is None
    assert client.unmatched_messages == 0
    assert repr(client) == "<Bare mqtt://h:1883, idle>"
    core = client.core
    core.connect(0.0)
    assert not client.is_idle
    core.take_action()
    core.transport_opened(0.0)
    connack = Connack(properties={"assigned_client_identifier": "it"})
    core.receive(encode(connack, core.version), 0.0)
    assert client.is_connected
    assert client.client_id == "it"
    assert client.connack is not None
    assert client.connack.properties == {"assigned_client_identifier": "it"}
    assert repr(client) == "<Bare mqtt://h:1883, connected>"
    core.receive(b"\x30\x04\0\1t\0", 0.0)
    assert client.unmatched_messages == 1
    assert client.counters.received_messages == 1
    assert core.state is ClientState.CONNECTED


@pytest.mark.parametrize("version", ["5.0", "3.1.1", "3.1"])
def test_version(version: Any) -> None:
    assert Bare("mqtt://h", client_id="me", version=version).version == version


def test_repr_of_several_servers() -> None:
    assert repr(Bare(["mqtt://a", "unix:///s"])) == "<Bare mqtt://a:1883, unix:///s, idle>"


def test_the_base_alone_is_no_client() -> None:
    with pytest.raises(NotImplementedError):
        ClientBase("mqtt://h")
