"""Mistakes in arguments: a typed error that says what is wrong, before anything is sent."""

import ssl
from typing import Any

import pytest

from mqttlite.errors import (
    ConnectionClosed,
    InvalidTopic,
    NotSupported,
    PacketTooLarge,
    UsageError,
)
from mqttlite.message import Will
from mqttlite.options import TLS, Reconnect
from tests.behaviour import rule
from tests.conformance.conforms import conforms
from tests.shells.lab import Lab
from tests.shells.peer import ACCEPTED, Peer, answers

only_5 = pytest.mark.parametrize("version", ["5.0"])

BAD_CLIENTS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"url": None}, UsageError, "URL"),
    ({"url": ""}, UsageError, "scheme"),
    ({"url": []}, UsageError, "at least one"),
    ({"url": "localhost"}, UsageError, "scheme"),
    ({"url": "http://localhost"}, UsageError, "http"),
    ({"url": "quic://localhost"}, NotSupported, "quic"),
    ({"url": "mqtt://"}, UsageError, "host"),
    ({"url": "mqtt://:1883"}, UsageError, "host"),
    ({"url": "mqtt://localhost:0"}, UsageError, "port"),
    ({"url": "mqtt://localhost:65536"}, UsageError, "port"),
    ({"url": "mqtt://localhost:abc"}, UsageError, "port"),
    ({"url": "mqtt://[::1"}, UsageError, "host"),
    ({"url": "mqtt://localhost/path"}, UsageError, "path"),
    ({"url": "mqtt://localhost?x=1"}, UsageError, "query"),
    ({"url": "unix://host/path"}, UsageError, "unix:///"),
    ({"url": "unix://"}, UsageError, "unix:///"),
    ({"url": 5}, UsageError, "URL"),
    ({"url": b"mqtt://localhost"}, UsageError, "str"),
    ({"host": "other"}, UsageError, "not both"),
    ({"url": None, "host": ""}, UsageError, "host"),
    ({"url": None, "host": "mqtt://localhost"}, UsageError, "host"),
    ({"url": None, "host": "localhost", "port": 0}, UsageError, "port"),
    ({"url": None, "host": "localhost", "port": "1883"}, UsageError, "port"),
    ({"port": 1883}, UsageError, "port"),
    ({"url": "mqtt://a:b@localhost", "username": "c"}, UsageError, "username"),
    ({"url": "mqtt://a:b@localhost", "password": "c"}, UsageError, "password"),
    ({"url": ["mqtt://localhost", "mqtt://a@localhost"], "username": "c"}, UsageError, "username"),
    ({"username": "nul\0"}, UsageError, "username"),
    ({"username": 5}, UsageError, "user"),
    ({"username": "x" * 65_536}, UsageError, "65535"),
    ({"username": "a", "password": "x" * 65_536}, UsageError, "65535"),
    ({"username": "a", "password": 5}, UsageError, "password"),
    ({"version": "4"}, UsageError, "version"),
    ({"version": 5}, UsageError, "version"),
    ({"client_id": "nul\0"}, UsageError, "client"),
    ({"client_id": "\ud800"}, UsageError, "client"),
    ({"client_id": "x" * 65_536}, UsageError, "65535"),
    ({"client_id": b"x"}, UsageError, "client_id"),
    ({"client_id": "x" * 24, "version": "3.1"}, UsageError, "23"),
    ({"client_id": "", "version": "3.1"}, UsageError, "client_id"),
    ({"clean_start": False, "version": "3.1.1"}, UsageError, "client_id"),
    ({"password": "p", "version": "3.1.1"}, UsageError, "user"),
    ({"keep_alive": -1}, UsageError, "keep_alive"),
    ({"keep_alive": 65_536}, UsageError, "keep_alive"),
    ({"keep_alive": 1.5}, UsageError, "keep_alive"),
    ({"keep_alive": "60"}, UsageError, "keep_alive"),
    ({"keep_alive": None}, UsageError, "keep_alive"),
    ({"connect_timeout": 0}, UsageError, "connect_timeout"),
    ({"connect_timeout": -1}, UsageError, "connect_timeout"),
    ({"connect_timeout": float("nan")}, UsageError, "connect_timeout"),
    ({"connect_timeout": "5"}, UsageError, "connect_timeout"),
    ({"connect_timeout": None}, UsageError, "connect_timeout"),
    ({"session_expiry_interval": -1}, UsageError, "session_expiry_interval"),
    ({"session_expiry_interval": 2**32}, UsageError, "session_expiry_interval"),
    ({"receive_maximum": 0}, UsageError, "receive_maximum"),
    ({"receive_maximum": 65_536}, UsageError, "receive_maximum"),
    ({"maximum_packet_size": 0}, UsageError, "maximum_packet_size"),
    ({"topic_alias_maximum": -1}, UsageError, "topic_alias_maximum"),
    ({"outbox_messages": 0}, UsageError, "outbox_messages"),
    ({"outbox_bytes": -5}, UsageError, "outbox_bytes"),
    ({"when_full": "explode"}, UsageError, "when_full"),
    ({"will": "gone"}, UsageError, "Will"),
    ({"user_properties": [("a", "nul\0")]}, UsageError, "user"),
    ({"user_properties": [("a",)]}, UsageError, "user"),
    ({"user_properties": [("a", 5)]}, UsageError, "user"),
    ({"user_properties": {"a": "b"}}, UsageError, "user"),
    ({"reconnect": 5}, UsageError, "reconnect"),
    ({"tls": True}, UsageError, "mqtts"),
    ({"url": "mqtts://localhost", "tls": "yes"}, UsageError, "tls"),
    ({"on_connect": "f"}, UsageError, "on_connect"),
]


@only_5
@pytest.mark.parametrize(("options", "kind_of_error", "words"), BAD_CLIENTS)
async def test_a_client(
    bench: Lab, options: dict[str, Any], kind_of_error: type[Exception], words: str
) -> None:
    arguments = {"url": "mqtt://localhost", "version": None, **options}
    with pytest.raises(kind_of_error, match=words) as caught:
        bench.kind.client(**arguments)
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize(
    ("make", "kind_of_error"),
    [
        (lambda: Will("nul\0"), InvalidTopic),
        (lambda: Will("a/+"), InvalidTopic),
        (lambda: Will("a/#"), InvalidTopic),
        (lambda: Will(""), InvalidTopic),
        (lambda: Will("\ud800"), InvalidTopic),
        (lambda: Will("x" * 65_536), InvalidTopic),
        (lambda: Will("a", b"x" * 65_536), UsageError),
        (lambda: Will("a", qos=3), UsageError),
        (lambda: Will("a", 5), UsageError),  # type: ignore[arg-type]
        (lambda: Will("a", "\ud800"), UsageError),
        (lambda: TLS(private_key="key.pem"), UsageError),
        (lambda: TLS(alpn="mqtt"), UsageError),
        (lambda: TLS(verify=False, ca_file="ca.pem"), UsageError),
        (lambda: TLS(context=ssl.create_default_context(), alpn=["mqtt"]), UsageError),
        (lambda: TLS(context=ssl.create_default_context(), private_key="key.pem"), UsageError),
        (lambda: TLS(context="no"), UsageError),  # type: ignore[arg-type]
        (lambda: Reconnect(first_delay=-1), UsageError),
        (lambda: Reconnect(first_delay=5, maximum_delay=1), UsageError),
        (lambda: Reconnect(stable_after=-1), UsageError),
        (lambda: Reconnect(maximum_attempts=-1), UsageError),
    ],
)
def test_a_value(make: Any, kind_of_error: type[Exception]) -> None:
    with pytest.raises(kind_of_error):
        make()


@only_5
@pytest.mark.parametrize(
    "properties",
    [
        {"will_delay_interval": -1},
        {"will_delay_interval": 2**32},
        {"payload_format_indicator": 2},
        {"content_type": "nul\0"},
        {"response_topic": "a/+"},
        {"topic_alias": 5},
        {"unheard_of": 5},
    ],
)
async def test_a_will_property(bench: Lab, properties: dict[str, Any]) -> None:
    """At the latest when the client is made."""
    with pytest.raises(UsageError):
        bench.client("mqtt://localhost", will=Will("a", **properties))


BAD_TOPICS: list[Any] = [
    "",
    "nul\0",
    "a/+",
    "#",
    "a/#/b",
    "\ud800",
    "x" * 65_536,
    b"bytes",
    None,
    5,
]

BAD_MESSAGES: list[tuple[dict[str, Any], type[Exception]]] = [
    *(({"topic": topic}, InvalidTopic) for topic in BAD_TOPICS),
    ({"topic": "a", "qos": 3}, UsageError),
    ({"topic": "a", "qos": -1}, UsageError),
    ({"topic": "a", "qos": "1"}, UsageError),
    ({"topic": "a", "qos": None}, UsageError),
    ({"topic": "a", "payload": 5}, UsageError),
    ({"topic": "a", "payload": None}, UsageError),
    ({"topic": "a", "payload": {"a": 1}}, UsageError),
    ({"topic": "a", "payload": "\ud800"}, UsageError),
    ({"topic": "a", "payload_format_indicator": 2}, UsageError),
    ({"topic": "a", "payload_format_indicator": "1"}, UsageError),
    ({"topic": "a", "message_expiry_interval": -1}, UsageError),
    ({"topic": "a", "message_expiry_interval": 2**32}, UsageError),
    ({"topic": "a", "response_topic": "a/+"}, UsageError),
    ({"topic": "a", "response_topic": "nul\0"}, UsageError),
    ({"topic": "a", "correlation_data": "text"}, UsageError),
    ({"topic": "a", "correlation_data": bytes(65_536)}, UsageError),
    ({"topic": "a", "content_type": 5}, UsageError),
    ({"topic": "a", "user_properties": [("a", 5)]}, UsageError),
    ({"topic": "a", "user_properties": [("a", "b", "c")]}, UsageError),
    ({"topic": "a", "user_properties": 5}, UsageError),
    ({"topic": "a", "topic_alias": 1}, UsageError),
    ({"topic": "a", "subscription_identifiers": [1]}, UsageError),
    ({"topic": "a", "will_delay_interval": 1}, UsageError),
    ({"topic": "a", "unheard_of": 1}, UsageError),
]


@conforms("5.0", "MQTT-3.3.1-4", "MQTT-3.3.2-2", "MQTT-3.3.2-14", "MQTT-3.3.4-6")
@rule(26)
@only_5
@pytest.mark.parametrize("qos", [0, 1])
async def test_a_message(bench: Lab, qos: Any) -> None:
    """One connection for all of them: nothing is sent, and no mistake harms it."""
    with Peer(answers(ACCEPTED["5.0"], b"\xd0\x00")) as peer:
        async with bench.client(peer.url) as client:
            for arguments, error in BAD_MESSAGES:
                with pytest.raises(error):
                    await client.publish(**{"qos": qos, **arguments}, timeout=1.0)
                with pytest.raises(error):
                    client.publish_nowait(**{"qos": qos, **arguments})
            assert client.is_connected
        received = peer.calls[0].received
        assert received.endswith(b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00"), received
        assert len(received) == 2 + received[1] + 9


@only_5
async def test_a_message_before_it_is_sent(bench: Lab) -> None:
    """While there is no connection mistakes are found, too."""
    gone = bench.queue()
    at_qos_1: dict[str, Any] = {"qos": 1}

    def once(call: Any) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])

    with Peer(once) as peer:
        client = bench.client(peer.url, on_disconnect=gone.put, queue_qos_0=True)
        await client.connect()
        await gone.get()
        for arguments, error in BAD_MESSAGES:
            with pytest.raises(error):
                client.publish_nowait(**{**at_qos_1, **arguments})
        await client.close(0.1)


@pytest.mark.parametrize("version", ["3.1.1"])
@pytest.mark.parametrize(
    "properties", [{"content_type": "a"}, {"user_properties": [("a", "b")]}], ids=str
)
async def test_properties_need_mqtt_5(bench: Lab, properties: dict[str, Any]) -> None:
    """Either refused or left out by rule; what they must not do is to break the packet."""
    with Peer(answers(ACCEPTED["3.1.1"])) as peer:
        async with bench.client(peer.url) as client:
            with pytest.raises(NotSupported):
                await client.publish("a", b"x", **properties)


BAD_SUBSCRIPTIONS: list[tuple[Any, dict[str, Any], type[Exception]]] = [
    *(
        (topic_filter, {}, InvalidTopic)
        for topic_filter in (
            "", "nul\0", "a/#/b", "a#", "a/b+", "+a", "\ud800", "x" * 65_536, ["a", ""], [5],
            "$share/a", "$share//a", "$share/+/a", "$share/a/",
        )
    ),
    ([], {}, UsageError),
    (["a", "a"], {}, UsageError),
    (5, {}, UsageError),
    (None, {}, UsageError),
    (b"a", {}, UsageError),
    ("a", {"qos": 3}, UsageError),
    ("a", {"qos": "1"}, UsageError),
    ("a", {"retain_handling": 3}, UsageError),
    ("a", {"ack": "never"}, UsageError),
    ("a", {"buffer_size": 0}, UsageError),
    ("a", {"buffer_size": 1.5}, UsageError),
    ("a", {"when_full": "wait"}, UsageError),
    ("a", {"handler": 5}, UsageError),
    ("a", {"user_properties": [("a", 5)]}, UsageError),
    ("$share/a/b", {"no_local": True}, UsageError),
]  # fmt: skip


@rule(26)
@only_5
async def test_a_subscription(bench: Lab) -> None:
    with Peer(answers(ACCEPTED["5.0"])) as peer:
        async with bench.client(peer.url) as client:
            for filters, options, error in BAD_SUBSCRIPTIONS:
                with pytest.raises(error):
                    await client.subscribe(filters, timeout=1.0, **options)
            for filters, _, error in BAD_SUBSCRIPTIONS[:19]:
                if filters == ["a", "a"]:
                    continue
                with pytest.raises(error):
                    await client.unsubscribe(filters, timeout=1.0)
            assert client.is_connected
        received = peer.calls[0].received
        assert len(received) == 2 + received[1] + 9, received


@rule(24)
@only_5
async def test_what_the_server_cannot_do(bench: Lab) -> None:
    """Maximum QoS 0, no retain, 100 bytes, no wildcards, no shared subscriptions."""
    limits = b"\x24\x00\x25\x00\x27\x00\x00\x00\x64\x28\x00\x2a\x00"
    connack = bytes([0x20, 3 + len(limits), 0, 0, len(limits)]) + limits
    with Peer(answers(connack)) as peer:
        async with bench.client(peer.url) as client:
            for qos in (1, 2):
                with pytest.raises(NotSupported, match="QoS"):
                    await client.publish("a", qos=qos)
            with pytest.raises(NotSupported, match="retain"):
                await client.publish("a", retain=True)
            with pytest.raises(PacketTooLarge, match="100"):
                await client.publish("a", bytes(100))
            with pytest.raises(NotSupported, match="wildcard"):
                await client.subscribe("a/#", timeout=1.0)
            with pytest.raises(NotSupported, match="shared"):
                await client.subscribe("$share/g/a", timeout=1.0)
            with pytest.raises(PacketTooLarge):
                await client.subscribe("a" * 200, timeout=1.0)
        received = peer.calls[0].received
        assert len(received) == 2 + received[1] + 9, received


@rule(4)
@only_5
async def test_calls_without_a_connection(bench: Lab) -> None:
    client = bench.client("mqtt://localhost")
    with pytest.raises(ConnectionClosed, match=r"connect\(\)"):
        await client.publish("a", timeout=1.0)
    with pytest.raises(ConnectionClosed, match=r"connect\(\)"):
        client.publish_nowait("a")
    with pytest.raises(ConnectionClosed, match=r"connect\(\)"):
        await client.unsubscribe("a", timeout=1.0)
    with pytest.raises(ConnectionClosed, match=r"connect\(\)"):
        await client.request("a", timeout=1.0)
