"""URLs, taken apart and checked."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.endpoint import Endpoint, parse_server_reference
from mqttlite.errors import NotSupported, UsageError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://h", Endpoint("mqtt", "h", 1883)),
        ("mqtts://h", Endpoint("mqtts", "h", 8883)),
        ("mqtt://h/", Endpoint("mqtt", "h", 1883)),
        ("mqtt://h:", Endpoint("mqtt", "h", 1883)),
        ("mqtt://my-h_1.example:65535", Endpoint("mqtt", "my-h_1.example", 65_535)),
        ("mqtt://h:00099", Endpoint("mqtt", "h", 99)),
        ("mqtt://h:0000099", Endpoint("mqtt", "h", 99)),
        ("ws://h", Endpoint("ws", "h", 80, "/mqtt")),
        ("MQTT://Broker.Example:99", Endpoint("mqtt", "broker.example", 99)),
        ("mqtt://1.2.3.4:1", Endpoint("mqtt", "1.2.3.4", 1)),
        ("mqtt://[::1]:65535", Endpoint("mqtt", "::1", 65_535)),
        ("mqtts://[fe80::1]", Endpoint("mqtts", "fe80::1", 8883)),
        ("mqtt://u@h", Endpoint("mqtt", "h", 1883, username="u")),
        ("mqtt://u:p@h:5", Endpoint("mqtt", "h", 5, username="u", password="p")),
        ("mqtt://u:@h", Endpoint("mqtt", "h", 1883, username="u", password="")),
        (
            "mqtt://a%40b:p%3A%2F%C3%A9@h",
            Endpoint("mqtt", "h", 1883, username="a@b", password="p:/é"),
        ),
        ("unix:///run/mqtt.sock", Endpoint("unix", path="/run/mqtt.sock")),
        ("unix:///a%20b", Endpoint("unix", path="/a b")),
        ("unix://u:p@/s", Endpoint("unix", path="/s", username="u", password="p")),
    ],
)
def test_url(url: str, expected: Endpoint) -> None:
    assert Endpoint.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (5, "a URL must be a str, not int"),
        (b"mqtt://h", "a URL must be a str, not bytes"),
        ("", "no scheme"),
        ("localhost", "no scheme"),
        ("localhost:1883", "no scheme"),
        ("http://h", "unknown URL scheme 'http'"),
        ("tcp://h", "unknown URL scheme 'tcp'"),
        ("://h", "unknown URL scheme ''"),
        ("mqtt://", "names no host: write mqtt://HOST"),
        ("mqtts://:1883", "names no host: write mqtts://HOST"),
        ("mqtt://u:secret@", "names no host"),
        ("mqtt://h:99999", "host or port is not valid"),
        ("mqtt://h:secret", "host or port is not valid"),
        ("mqtt://[::1", "host or port is not valid"),
        ("mqtt://h:0", "port 0"),
        ("mqtt://h/path", "has no path"),
        ("mqtt://h?a=secret", "no query or fragment"),
        ("mqtt://h#secret", "no query or fragment"),
        ("mqtt://u:a#secret@h", "port is not valid|no query or fragment"),
        ("unix://", "unix:///path/to/socket"),
        ("unix://relative/path", "unix:///path/to/socket"),
        ("unix:///s?secret", "no query or fragment"),
    ],
)
def test_bad_url(url: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        Endpoint.parse(url)
    assert "secret" not in str(raised.value)  # rule 8
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("url", ["quic://h", "QUIC://h"])
def test_transports_that_are_not_there_yet(url: str) -> None:
    with pytest.raises(NotSupported, match=r"not supported yet: use mqtt://"):
        Endpoint.parse(url)


@pytest.mark.parametrize(
    ("url", "text", "tls"),
    [
        ("mqtt://u:secret@h", "mqtt://h:1883", False),
        ("mqtts://u:secret@[::1]:1", "mqtts://[::1]:1", True),
        ("unix://u:secret@/s", "unix:///s", False),
    ],
)
def test_what_is_shown(url: str, text: str, tls: bool) -> None:
    endpoint = Endpoint.parse(url)
    assert str(endpoint) == text
    assert endpoint.tls is tls
    assert "secret" not in repr(endpoint)
    assert "'u'" not in repr(endpoint)


@pytest.mark.parametrize("url", ["unix:///%ff", "mqtt://u:%ff@h", "mqtt://%ff@h"])
def test_percent_encoded_bytes_are_utf_8(url: str) -> None:
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        Endpoint.parse(url)
    assert "ff" not in str(caught.value).lower().replace("utf-8", "")


# --- what a server names instead of itself

BASE = Endpoint("mqtt", "base.example", 1885, username="u", password="p")
TLS_BASE = Endpoint("mqtts", "base.example", 8885, username="u", password="p")
UNIX_BASE = Endpoint("unix", path="/s", username="u", password="p")


def named(scheme: str, host: str, port: int) -> Endpoint:
    """A server that is given the credentials of the one before."""
    return Endpoint(scheme, host, port, username="u", password="p")


@pytest.mark.parametrize(
    ("reference", "host", "port"),
    [
        ("other", "other", None),
        ("other.example:99", "other.example", 99),
        ("10.0.0.1", "10.0.0.1", None),
        ("10.0.0.1:99", "10.0.0.1", 99),
        ("[fe80::9610]", "fe80::9610", None),
        ("[fe80::9610]:99", "fe80::9610", 99),
        ("fe80::9610:3eff:fe1c", "fe80::9610:3eff:fe1c", None),
        ("::1", "::1", None),
        (" other \n", "other", None),
    ],
)
def test_server_reference(reference: str, host: str, port: int | None) -> None:
    # The port of the server that refers to it says nothing of the other's.
    assert parse_server_reference(reference, BASE) == [named("mqtt", host, port or 1883)]
    assert parse_server_reference(reference, TLS_BASE) == [named("mqtts", host, port or 8883)]
    assert parse_server_reference(reference, UNIX_BASE) == [named("mqtt", host, port or 1883)]


def test_several_servers_in_the_order_of_the_reference() -> None:
    # Section 4.11 has this example, but for the name that is not allowed in a URL.
    reference = "myserver.xyz.org:8883 10.10.151.22:8883  [fe80::9610:3eff:fe1c]:1883"
    assert parse_server_reference(reference, BASE) == [
        named("mqtt", "myserver.xyz.org", 8883),
        named("mqtt", "10.10.151.22", 8883),
        named("mqtt", "fe80::9610:3eff:fe1c", 1883),
    ]


def test_server_reference_with_urls() -> None:
    reference = "mqtt://a mqtts://b:99 mqtts://other:secret@c mqtt://other@d mqtt://:secret@e"
    assert parse_server_reference(reference, BASE) == [
        named("mqtt", "a", 1883),
        named("mqtts", "b", 99),
        Endpoint("mqtts", "c", 8883, username="other", password="secret"),
        Endpoint("mqtt", "d", 1883, username="other"),
        # One of the two is enough: what goes with it is not guessed.
        Endpoint("mqtt", "e", 1883, username="", password="secret"),
    ]
    assert parse_server_reference("mqtts://a b", TLS_BASE) == [
        named("mqtts", "a", 8883),
        named("mqtts", "b", 8883),
    ]


def test_server_reference_without_credentials() -> None:
    assert parse_server_reference("a", Endpoint("mqtt", "h", 1883)) == [Endpoint("mqtt", "a", 1883)]
    only_name = Endpoint("mqtt", "h", 1883, username="u")
    assert parse_server_reference("a", only_name) == [Endpoint("mqtt", "a", 1883, username="u")]


@pytest.mark.parametrize(
    "reference", ["mqtt://a", "b mqtt://u:s3cret@a", "unix:///run/s", "MQTT://a"]
)
def test_the_encryption_is_not_given_up(reference: str) -> None:
    with pytest.raises(UsageError, match="which is not encrypted") as raised:
        parse_server_reference(reference, TLS_BASE)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "  ",
        "a:b",
        "a:99999",
        "a:0",
        ":99",
        "a/path",
        "a?query",
        "http://a",
        "://",
        "[::1",
        "a good:one b:ad",
        "s3cret:s3cret",
    ],
)
@pytest.mark.parametrize("base", [BASE, TLS_BASE, UNIX_BASE], ids=["mqtt", "mqtts", "unix"])
def test_server_reference_that_cannot_be_read(reference: str, base: Endpoint) -> None:
    with pytest.raises(UsageError) as raised:
        parse_server_reference(reference, base)
    assert "s3cret" not in str(raised.value)


def test_a_server_cannot_refer_to_a_socket_of_this_machine() -> None:
    with pytest.raises(UsageError, match="socket of this machine"):
        parse_server_reference("unix:///run/secret.sock", BASE)
