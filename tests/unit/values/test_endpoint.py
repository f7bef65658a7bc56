"""URLs, taken apart and checked."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.endpoint import Endpoint
from mqttlite.errors import NotSupported, UsageError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://h", Endpoint("mqtt", "h", 1883)),
        ("mqtts://h", Endpoint("mqtts", "h", 8883)),
        ("mqtt://h/", Endpoint("mqtt", "h", 1883)),
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
