"""Everything that can be set when a client is made, checked before anything happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mqttlite.endpoint import Endpoint
from mqttlite.enums import PacketType, ProtocolVersion
from mqttlite.errors import NotSupported, UsageError
from mqttlite.limits import (
    MAXIMUM_3_1_CLIENT_ID_LENGTH,
    MAXIMUM_FOUR_BYTE_INTEGER,
    MAXIMUM_PACKET_SIZE,
    MAXIMUM_TWO_BYTE_INTEGER,
    NEVER_EXPIRES,
)
from mqttlite.message import Will
from mqttlite.options import (
    TLS,
    Reconnect,
    ServerOrder,
    Version,
    WhenFull,
    WhenSessionLost,
    check_headers,
)
from mqttlite.packets import Connect, Disconnect, encode
from mqttlite.packets.properties import encode_properties
from mqttlite.packets.reasons import CLIENT_DISCONNECT_CODES
from mqttlite.packets.wire import encode_string
from mqttlite.records import field, record

if TYPE_CHECKING:  # it is slow to import, and few programs need it
    from mqttlite.auth import AuthHandler

VERSIONS: dict[str, ProtocolVersion] = {
    "5.0": ProtocolVersion.MQTT_5_0,
    "3.1.1": ProtocolVersion.MQTT_3_1_1,
    "3.1": ProtocolVersion.MQTT_3_1,
}

_DEFAULT_TLS = TLS()

_IN_FLIGHT_3 = 20
"""Messages in flight to a server of MQTT 3.x, which cannot say how many it takes: Mosquitto 2.0
acknowledges QoS 2 messages beyond its limit, 20 by default, and loses them."""

SESSION_GRACE = 300
"""Seconds for which the server is asked to keep the session of a client that asked for nothing,
so that a reconnection finds it; such a session is ended by ``close()``."""


@record(frozen=True, kw_only=True)
class Given:
    """What an attempt to connect needs that may be asked for anew each time."""

    username: str | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)
    tls: TLS = field(default_factory=TLS)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    authentication_data: bytes | None = field(default=None, repr=False)


_NOTHING_GIVEN = Given(tls=_DEFAULT_TLS)


@record(frozen=True, kw_only=True)
class ClientOptions:
    """The checked arguments of a client; ``mqttlite.Client`` says what each of them means.

    ``asked`` has the functions that are called for each attempt, by the name of the argument
    that they stand for: ``url``, ``username``, ``password``, ``tls``, ``headers``.
    """

    endpoints: tuple[Endpoint, ...] = ()
    asked: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    server_order: ServerOrder = "in_order"
    maximum_redirects: int = 5
    client_id: str = ""
    username: str | None = field(default=None, repr=False)
    password: bytes | None = field(default=None, repr=False)
    version: Version | None = None
    clean_start: bool = True
    session_expiry_interval: int | None = None
    keep_alive: int = 60
    connect_timeout: float = 30.0
    will: Will | None = None
    tls: TLS = field(default_factory=TLS)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    auth: AuthHandler | None = None
    receive_maximum: int = 1000
    maximum_in_flight: int | None = None
    maximum_packet_size: int | None = None
    topic_alias_maximum: int = 0
    use_topic_aliases: bool = False
    use_subscription_identifiers: bool = True
    request_problem_information: bool = True
    request_response_information: bool = False
    check_payload_format: bool = False
    user_properties: Sequence[tuple[str, str]] = ()
    reconnect: Reconnect | None = field(default_factory=Reconnect)
    outbox_messages: int = 100_000
    outbox_bytes: int = 256 * 1024 * 1024
    when_full: WhenFull = "wait"
    queue_qos_0: bool = False
    when_session_lost: WhenSessionLost = "republish"

    def __post_init__(self) -> None:
        if not self.endpoints and "url" not in self.asked:
            raise UsageError("give at least one URL")
        if self.server_order not in ("in_order", "shuffled"):
            raise UsageError(
                f'server_order must be "in_order" or "shuffled", not {self.server_order!r}'
            )
        if self.when_session_lost not in ("republish", "report"):
            raise UsageError(
                f'when_session_lost must be "republish" or "report", not {self.when_session_lost!r}'
            )
        _check_integer("maximum_redirects", self.maximum_redirects, 0, None)
        for endpoint in self.endpoints:
            for name in ("username", "password"):
                argument = self.asked.get(name, getattr(self, name))
                _check_conflict(name, getattr(endpoint, name), argument)
        if self.version is not None and self.version not in tuple(VERSIONS):
            raise UsageError(f'version must be "5.0", "3.1.1" or "3.1", not {self.version!r}')
        _check_integer("keep_alive", self.keep_alive, 0, MAXIMUM_TWO_BYTE_INTEGER)
        _check_integer("receive_maximum", self.receive_maximum, 1, MAXIMUM_TWO_BYTE_INTEGER)
        _check_integer("topic_alias_maximum", self.topic_alias_maximum, 0, MAXIMUM_TWO_BYTE_INTEGER)
        if self.maximum_in_flight is not None:
            _check_integer("maximum_in_flight", self.maximum_in_flight, 1, MAXIMUM_TWO_BYTE_INTEGER)
        if self.maximum_packet_size is not None:
            _check_integer(
                "maximum_packet_size", self.maximum_packet_size, 16, MAXIMUM_FOUR_BYTE_INTEGER
            )
        if self.session_expiry_interval is not None:
            _check_integer(
                "session_expiry_interval",
                self.session_expiry_interval,
                0,
                MAXIMUM_FOUR_BYTE_INTEGER,
            )
        _check_integer("outbox_messages", self.outbox_messages, 1, None)
        _check_integer("outbox_bytes", self.outbox_bytes, 1, None)
        if not isinstance(self.connect_timeout, (int, float)) or not self.connect_timeout > 0:
            raise UsageError(f"connect_timeout must be positive, not {self.connect_timeout!r}")
        if self.reconnect is not None and not isinstance(self.reconnect, Reconnect):
            raise UsageError(f"reconnect must be a bool or a Reconnect, not {self.reconnect!r}")
        if self.when_full not in ("wait", "raise", "drop_oldest", "drop_newest"):
            raise UsageError(
                f'when_full must be "wait", "raise", "drop_oldest" or "drop_newest", '
                f"not {self.when_full!r}"
            )
        if not isinstance(self.client_id, str):
            raise UsageError(f"client_id must be a str, not {type(self.client_id).__name__}")
        check_user_properties(self.user_properties)
        self._check_version_rules()
        if "username" not in self.asked and "password" not in self.asked:
            self.check_connect(self.endpoints or (Endpoint("mqtt"),), self.given({}))

    def check_connect(self, endpoints: Sequence[Endpoint], given: Given) -> None:
        """Raise UsageError for whatever cannot be written, before a server is asked.

        What MQTT 5.0 can say, 3.1.1 can, too, if ``may_fall_back()``.
        """
        version = VERSIONS[self.version or "5.0"]
        for endpoint in endpoints:
            encode(self.connect_packet(endpoint, version, "", first=True, given=given), version)

    def may_fall_back(self, endpoint: Endpoint, given: Given) -> bool:
        """Whether MQTT 3.1.1 can say what this client has to say."""
        if self.version is not None or self.auth is not None:
            return False
        # It needs a name for a session that is to be kept, and a user name beside a password.
        if not self.client_id and self.keeps_session:
            return False
        password = endpoint.password if given.password is None else given.password
        username = endpoint.username if given.username is None else given.username
        return password is None or username is not None

    def given(self, answers: Mapping[str, Any]) -> Given:
        """Put together the arguments and the answers of the functions that stand for some.

        Raises UsageError, which does not show them.
        """
        if not answers and self._gives_nothing:
            return _NOTHING_GIVEN
        username = answers.get("username", self.username)
        if username is not None and not isinstance(username, str):
            raise UsageError(f"username must be a str, not {type(username).__name__}")
        return Given(
            username=username,
            password=encode_password(answers.get("password", self.password)),
            tls=as_tls(answers["tls"]) if "tls" in answers else self.tls,
            headers=check_headers(answers["headers"]) if "headers" in answers else self.headers,
            authentication_data=answers.get("auth"),
        )

    @property
    def _gives_nothing(self) -> bool:
        return (
            self.username is None
            and self.password is None
            and self.tls is _DEFAULT_TLS
            and not self.headers
        )

    def _check_version_rules(self) -> None:
        if self.auth is not None:
            if self.version not in (None, "5.0"):
                raise UsageError("auth needs MQTT 5.0: leave out version")
            encode_string(self.auth.method, "the authentication method")
        if self.version == "3.1":
            if not 1 <= len(self.client_id) <= MAXIMUM_3_1_CLIENT_ID_LENGTH:
                raise UsageError("MQTT 3.1 needs a client_id of 1 to 23 characters")
        elif self.version != "3.1.1":
            return
        if not self.client_id and self.keeps_session:  # 3.1.1 [MQTT-3.1.3-7]
            raise UsageError("MQTT 3.x needs a client_id for a session that is to be kept")

    @property
    def keeps_session(self) -> bool:
        """Whether the session is to be kept at the server after ``close()``."""
        if self.session_expiry_interval is not None:
            return self.session_expiry_interval > 0
        return not self.clean_start

    def connect_packet(
        self,
        endpoint: Endpoint,
        version: ProtocolVersion,
        assigned_id: str,
        *,
        first: bool,
        given: Given | None = None,
    ) -> Connect:
        """Build the CONNECT for an attempt; ``assigned_id`` is used if there is no client_id.

        A clean start is asked for at the first attempt only; MQTT 3.x cannot say so, and a
        session that nobody wants to keep is clean every time there.
        """
        if given is None:
            given = self.given({})
        password = given.password
        if password is None and endpoint.password is not None:
            password = encode_password(endpoint.password)
        packet = Connect(
            client_id=self.client_id or assigned_id,
            clean_start=self.clean_start and first,
            keep_alive=self.keep_alive,
            username=endpoint.username if given.username is None else given.username,
            password=password,
            will=self.will,
            version=version,
        )
        if version != ProtocolVersion.MQTT_5_0:
            packet.clean_start |= not self.keeps_session
            return packet
        interval = self.session_expiry_interval
        if interval is None:
            interval = SESSION_GRACE if self.clean_start else NEVER_EXPIRES
        packet.properties = {"session_expiry_interval": interval}
        if self.receive_maximum < MAXIMUM_TWO_BYTE_INTEGER:
            packet.properties["receive_maximum"] = self.receive_maximum
        if self.maximum_packet_size is not None:
            packet.properties["maximum_packet_size"] = self.maximum_packet_size
        if self.topic_alias_maximum:
            packet.properties["topic_alias_maximum"] = self.topic_alias_maximum
        if not self.request_problem_information:
            packet.properties["request_problem_information"] = 0
        if self.request_response_information:
            packet.properties["request_response_information"] = 1
        if self.user_properties:
            packet.properties["user_properties"] = list(self.user_properties)
        if self.auth is not None:
            packet.properties["authentication_method"] = self.auth.method
            if given.authentication_data is not None:
                packet.properties["authentication_data"] = given.authentication_data
        return packet

    def check_goodbye(self, goodbye: Disconnect, version: ProtocolVersion) -> None:
        """Raise UsageError if a client like this cannot send such a DISCONNECT."""
        if version != ProtocolVersion.MQTT_5_0:
            raise NotSupported("what DISCONNECT says needs MQTT 5.0; this connection is 3.x")
        if goodbye.reason_code not in CLIENT_DISCONNECT_CODES:
            code = f"0x{goodbye.reason_code:02X}"
            raise UsageError(f"{code} is not a reason code with which a client disconnects")
        encode(goodbye, version)
        interval = (goodbye.properties or {}).get("session_expiry_interval")
        if interval and self.session_expiry_interval == 0:  # section 3.14.2.2.2
            raise UsageError("a session that was to end at once cannot be prolonged")

    def in_flight_limit(self, version: ProtocolVersion) -> int:
        """How many messages of QoS 1 and 2 may be unacknowledged, whatever the server says."""
        if self.maximum_in_flight is not None:
            return self.maximum_in_flight
        return MAXIMUM_TWO_BYTE_INTEGER if version == ProtocolVersion.MQTT_5_0 else _IN_FLIGHT_3

    @property
    def packet_size_limit(self) -> int:
        """Bytes of the largest packet that is accepted from the server, in any version."""
        return self.maximum_packet_size or MAXIMUM_PACKET_SIZE


def as_tls(tls: Any) -> TLS:
    """What was given as ``tls`` as a TLS. Raises UsageError."""
    if isinstance(tls, TLS):
        return tls
    if tls is None or isinstance(tls, bool):
        return _DEFAULT_TLS
    return TLS(context=tls)


def as_endpoints(url: Any) -> tuple[Endpoint, ...]:
    """One URL or several as endpoints. Raises UsageError, without showing them."""
    if not isinstance(url, (str, Sequence)):
        raise UsageError(f"a URL must be a str, or several in a list, not {type(url).__name__}")
    urls = [url] if isinstance(url, str) else list(url)
    if not urls:
        raise UsageError("give at least one URL")
    return tuple(Endpoint.parse(each) for each in urls)


def encode_password(password: str | bytes | None) -> bytes | None:
    """A password as it goes on the wire. Raises UsageError, without showing it."""
    if not isinstance(password, (str, bytes, bytearray, type(None))):
        raise UsageError(f"password must be str or bytes, not {type(password).__name__}")
    if not isinstance(password, str):
        return None if password is None else bytes(password)
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise UsageError("the password cannot be written as UTF-8: a lone surrogate") from None


def check_user_properties(user_properties: Sequence[tuple[str, str]]) -> None:
    """Raise UsageError for what cannot be sent as user properties (section 1.5.7)."""
    if not isinstance(user_properties, (list, tuple)):
        raise UsageError("user_properties must be a list of pairs of a name and a value")
    encode_properties({"user_properties": list(user_properties)}, PacketType.CONNECT)


def _check_conflict(name: str, in_url: object, argument: object) -> None:
    if in_url is not None and argument is not None:
        raise UsageError(f"the {name} is given twice, in the URL and as an argument: drop one")


def _check_integer(name: str, value: int, minimum: int, maximum: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} must be an int, not {type(value).__name__}")
    if value < minimum or (maximum is not None and value > maximum):
        limit = f"from {minimum} to {maximum}" if maximum is not None else f"at least {minimum}"
        raise UsageError(f"{name} must be {limit}, not {value}")
