"""The checked arguments of a client, and the CONNECT that they make."""

from __future__ import annotations

from typing import Any

import pytest

from mqttlite.client import ClientOptions
from mqttlite.client.options import Given, as_tls
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ProtocolVersion
from mqttlite.errors import UsageError
from mqttlite.limits import MAXIMUM_PACKET_SIZE
from mqttlite.message import Properties, Will
from mqttlite.options import TLS
from mqttlite.packets import Connect
from tests.behaviour import rule
from tests.unit.client.hand import ENDPOINT

V31 = ProtocolVersion.MQTT_3_1
V311 = ProtocolVersion.MQTT_3_1_1
V5 = ProtocolVersion.MQTT_5_0


def make(**arguments: Any) -> ClientOptions:
    arguments.setdefault("endpoints", (ENDPOINT,))
    return ClientOptions(**arguments)


class Method:
    """An auth handler of which only the name of its method counts."""

    def __init__(self, method: str) -> None:
        self.method = method

    def start(self) -> None: ...

    def respond(self, data: bytes, properties: Properties) -> None: ...

    def finish(self, data: bytes, properties: Properties) -> None: ...


def connect(
    version: ProtocolVersion = V5, *, first: bool = True, assigned_id: str = "", **arguments: Any
) -> Connect:
    options = make(**arguments)
    return options.connect_packet(options.endpoints[0], version, assigned_id, first=first)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"endpoints": ()}, "at least one URL"),
        ({"version": "4"}, "version must be"),
        ({"version": 5}, "version must be"),
        ({"keep_alive": -1}, "keep_alive must be from 0 to 65535, not -1"),
        ({"keep_alive": 65_536}, "keep_alive"),
        ({"keep_alive": 1.5}, "keep_alive must be an int, not float"),
        ({"keep_alive": True}, "keep_alive must be an int, not bool"),
        ({"receive_maximum": 0}, "receive_maximum must be from 1 to 65535"),
        ({"receive_maximum": 65_536}, "receive_maximum"),
        ({"topic_alias_maximum": -1}, "topic_alias_maximum"),
        ({"topic_alias_maximum": 65_536}, "topic_alias_maximum"),
        ({"maximum_in_flight": 0}, "maximum_in_flight"),
        ({"maximum_in_flight": 65_536}, "maximum_in_flight"),
        ({"maximum_packet_size": 15}, "maximum_packet_size must be from 16"),
        ({"maximum_packet_size": 1 << 32}, "maximum_packet_size"),
        ({"session_expiry_interval": -1}, "session_expiry_interval"),
        ({"session_expiry_interval": 1 << 32}, "session_expiry_interval"),
        ({"outbox_messages": 0}, "outbox_messages must be at least 1, not 0"),
        ({"outbox_bytes": 0}, "outbox_bytes must be at least 1"),
        ({"outbox_bytes": "1"}, "outbox_bytes must be an int, not str"),
        ({"connect_timeout": 0}, "connect_timeout must be positive"),
        ({"connect_timeout": -1.0}, "connect_timeout"),
        ({"connect_timeout": float("nan")}, "connect_timeout"),
        ({"connect_timeout": "5"}, "connect_timeout"),
        ({"reconnect": 5}, "reconnect must be"),
        ({"when_full": "block"}, "when_full must be"),
        ({"client_id": b"c"}, "client_id must be a str, not bytes"),
        ({"client_id": "a\0"}, "U\\+0000"),
        ({"client_id": "x" * 65_536}, "65535"),
        ({"username": "u" * 65_536}, "65535"),
        ({"username": "\ud800"}, "surrogate"),
        ({"password": b"p" * 65_536}, "65535"),
        ({"user_properties": [("a", 5)]}, "str"),
        ({"user_properties": [("a\0", "b")]}, "U\\+0000"),
        ({"version": "3.1"}, "1 to 23 characters"),
        ({"version": "3.1", "client_id": "x" * 24}, "1 to 23 characters"),
        ({"version": "3.1.1", "clean_start": False}, "needs a client_id"),
        ({"version": "3.1.1", "session_expiry_interval": 5}, "needs a client_id"),
        ({"version": "3.1.1", "password": b"p"}, "username"),
        ({"server_order": "random"}, 'server_order must be "in_order" or "shuffled"'),
        ({"when_session_lost": "ignore"}, 'when_session_lost must be "republish" or "report"'),
        ({"maximum_redirects": -1}, "maximum_redirects must be at least 0, not -1"),
        ({"maximum_redirects": 1.5}, "maximum_redirects must be an int"),
        ({"auth": Method("m"), "version": "3.1.1"}, r"auth needs MQTT 5\.0"),
        ({"auth": Method("m"), "version": "3.1"}, r"auth needs MQTT 5\.0"),
        ({"auth": Method("a\0")}, "authentication method"),
    ],
)
def test_bad_argument(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"keep_alive": 0},
        {"keep_alive": 65_535},
        {"receive_maximum": 1},
        {"receive_maximum": 65_535},
        {"topic_alias_maximum": 65_535},
        {"maximum_in_flight": 1},
        {"maximum_in_flight": 65_535},
        {"maximum_packet_size": 16},
        {"maximum_packet_size": (1 << 32) - 1},
        {"session_expiry_interval": 0},
        {"session_expiry_interval": (1 << 32) - 1},
        {"outbox_messages": 1, "outbox_bytes": 1},
        {"connect_timeout": 1},
        {"reconnect": None},
        {"version": "3.1", "client_id": "x"},
        {"version": "3.1", "client_id": "x" * 23, "clean_start": False},
        {"version": "3.1.1"},
        {"version": "3.1.1", "client_id": "x" * 100, "clean_start": False},
        {"version": "3.1.1", "clean_start": False, "session_expiry_interval": 0},
        {"version": "5.0", "clean_start": False},
        {"clean_start": False},
        {"maximum_redirects": 0},
        {"server_order": "in_order", "when_session_lost": "republish"},
        {"server_order": "shuffled", "when_session_lost": "report"},
        {"endpoints": (), "asked": {"url": print}},
        {"asked": {"password": print}, "version": "3.1.1"},
    ],
)
def test_argument_at_its_limit(arguments: dict[str, Any]) -> None:
    options = make(**arguments)
    for name, value in arguments.items():
        assert getattr(options, name) == value


@pytest.mark.parametrize("name", ["username", "password"])
def test_credentials_in_the_url_and_besides(name: str) -> None:
    endpoint = Endpoint("mqtt", "h", 1883, username="u", password="p")
    value = "x" if name == "username" else b"x"
    with pytest.raises(UsageError, match=f"the {name} is given twice"):
        make(endpoints=(endpoint,), **{name: value})


@rule(8)
def test_secrets_are_not_shown() -> None:
    options = make(username="somebody", password=b"secret")
    assert "secret" not in repr(options)
    assert "somebody" not in repr(options)


class TestGiven:
    """What is put together for an attempt, of arguments and answers."""

    def test_arguments(self) -> None:
        tls = TLS(server_hostname="x")
        given = make(username="u", password=b"p", tls=tls).given({})
        assert given == Given(username="u", password=b"p", tls=tls)

    def test_answers_take_their_places(self) -> None:
        tls = TLS(server_hostname="x")
        answers = {"username": "v", "password": "ü", "tls": tls, "auth": b"s"}
        given = make(username="u").given(answers)
        assert given == Given(
            username="v", password="ü".encode(), tls=tls, authentication_data=b"s"
        )

    def test_no_user_name_in_place_of_one(self) -> None:
        assert make(username="u").given({"username": None}).username is None

    def test_secrets_are_not_shown(self) -> None:
        given = Given(username="somebody", password=b"secret", authentication_data=b"secret")
        assert "secret" not in repr(given)
        assert "somebody" not in repr(given)

    @pytest.mark.parametrize(
        ("tls", "expected"), [(None, TLS()), (True, TLS()), (False, TLS()), (TLS(), TLS())]
    )
    def test_tls(self, tls: Any, expected: TLS) -> None:
        assert as_tls(tls) == expected


class TestFallingBack:
    """Whether MQTT 3.1.1 could say it too."""

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ({}, True),
            ({"version": "5.0"}, False),
            ({"version": "3.1.1"}, False),
            ({"auth": Method("m")}, False),
            ({"clean_start": False}, False),
            ({"clean_start": False, "client_id": "me"}, True),
            ({"session_expiry_interval": 5}, False),
            ({"password": b"p"}, False),
            ({"username": "u", "password": b"p"}, True),
            ({"username": "u"}, True),
        ],
    )
    def test_of_arguments(self, arguments: dict[str, Any], expected: bool) -> None:
        options = make(**arguments)
        assert options.may_fall_back(ENDPOINT, options.given({})) is expected

    @pytest.mark.parametrize(
        ("username", "password", "given", "expected"),
        [
            ("u", "p", Given(), True),
            (None, "p", Given(), False),
            (None, "p", Given(username="u"), True),
            (None, None, Given(password=b"p"), False),
            ("u", None, Given(password=b"p"), True),
            (None, None, Given(username="u", password=b"p"), True),
        ],
    )
    def test_of_the_url_and_of_answers(
        self, username: str | None, password: str | None, given: Given, expected: bool
    ) -> None:
        endpoint = Endpoint("mqtt", "h", 1883, username=username, password=password)
        assert make().may_fall_back(endpoint, given) is expected


class TestConnect:
    def test_of_the_defaults(self) -> None:
        assert connect() == Connect(
            "",
            clean_start=True,
            keep_alive=60,
            properties={"session_expiry_interval": 300, "receive_maximum": 1000},
            version=V5,
        )

    def test_of_all_arguments(self) -> None:
        will = Will("gone", b"x")
        packet = connect(
            client_id="me",
            username="u",
            password=b"p",
            clean_start=False,
            session_expiry_interval=5,
            keep_alive=9,
            will=will,
            receive_maximum=7,
            maximum_packet_size=100,
            topic_alias_maximum=3,
            user_properties=(("a", "b"), ("a", "c")),
        )
        assert packet == Connect(
            "me",
            clean_start=False,
            keep_alive=9,
            username="u",
            password=b"p",
            will=will,
            properties={
                "session_expiry_interval": 5,
                "receive_maximum": 7,
                "maximum_packet_size": 100,
                "topic_alias_maximum": 3,
                "user_properties": [("a", "b"), ("a", "c")],
            },
            version=V5,
        )

    def test_credentials_of_the_url(self) -> None:
        endpoint = Endpoint("mqtt", "h", 1883, username="é", password="ü")
        packet = connect(endpoints=(endpoint,))
        assert packet.username == "é"
        assert packet.password == "ü".encode()

    def test_largest_receive_maximum_is_not_said(self) -> None:
        properties = connect(receive_maximum=65_535).properties
        assert properties == {"session_expiry_interval": 300}

    @pytest.mark.parametrize(
        ("clean_start", "interval", "expected"),
        [
            (True, None, 300),
            (True, 0, 0),
            (True, 7, 7),
            (False, None, 0xFFFF_FFFF),
            (False, 0, 0),
            (False, 7, 7),
        ],
    )
    def test_session_expiry(self, clean_start: bool, interval: int | None, expected: int) -> None:
        packet = connect(clean_start=clean_start, session_expiry_interval=interval)
        assert packet.properties is not None
        assert packet.properties.get("session_expiry_interval") == expected
        options = make(clean_start=clean_start, session_expiry_interval=interval)
        assert options.keeps_session is (expected > 0 and (clean_start, interval) != (True, None))

    def test_clean_start_is_for_the_first_attempt(self) -> None:
        # Rule 12.
        assert connect(first=True).clean_start
        assert not connect(first=False).clean_start
        assert not connect(first=True, clean_start=False).clean_start

    @pytest.mark.parametrize("version", [V31, V311])
    @pytest.mark.parametrize("first", [True, False])
    @pytest.mark.parametrize(
        ("arguments", "clean"),
        [
            ({}, (True, True)),
            ({"clean_start": False}, (False, False)),
            ({"session_expiry_interval": 5}, (True, False)),
            ({"clean_start": False, "session_expiry_interval": 0}, (True, True)),
        ],
    )
    def test_clean_session_of_mqtt_3(
        self, version: ProtocolVersion, first: bool, arguments: Any, clean: tuple[bool, bool]
    ) -> None:
        packet = connect(version, first=first, client_id="me", **arguments)
        assert packet.properties is None
        assert packet.clean_start is clean[0 if first else 1]
        assert packet.version == version

    def test_assigned_identifier(self) -> None:
        assert connect(assigned_id="it").client_id == "it"
        assert connect(assigned_id="it", client_id="me").client_id == "me"


@pytest.mark.parametrize(
    ("arguments", "name", "value"),
    [
        ({"request_problem_information": False}, "request_problem_information", 0),
        ({"request_problem_information": True}, "request_problem_information", None),
        ({"request_response_information": True}, "request_response_information", 1),
        ({"request_response_information": False}, "request_response_information", None),
        ({"auth": Method("m")}, "authentication_method", "m"),
        ({"auth": Method("m")}, "authentication_data", None),
        ({}, "authentication_method", None),
    ],
)
def test_property_of_connect(arguments: dict[str, Any], name: str, value: Any) -> None:
    packet = connect(**arguments)
    assert packet.properties is not None
    assert packet.properties.get(name) == value


def test_authentication_data_of_connect() -> None:
    options = make(auth=Method("m"))
    for data in (b"", b"data"):
        given = Given(authentication_data=data)
        packet = options.connect_packet(ENDPOINT, V5, "", first=True, given=given)
        assert packet.properties is not None
        assert packet.properties.get("authentication_data") == data


def test_packet_size_limit() -> None:
    assert make().packet_size_limit == MAXIMUM_PACKET_SIZE
    assert make(maximum_packet_size=99).packet_size_limit == 99


def test_in_flight_limit() -> None:
    assert make().in_flight_limit(V5) == 65_535
    assert make().in_flight_limit(V311) == make().in_flight_limit(V31) == 20
    assert make(maximum_in_flight=5).in_flight_limit(V5) == 5
    assert make(maximum_in_flight=500).in_flight_limit(V311) == 500
