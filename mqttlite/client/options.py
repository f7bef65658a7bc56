"""Everything that can be set when a client is made, checked before anything happens."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mqttlite.endpoint import Endpoint
from mqttlite.enums import ProtocolVersion
from mqttlite.errors import UsageError
from mqttlite.limits import (
    MAXIMUM_3_1_CLIENT_ID_LENGTH,
    MAXIMUM_FOUR_BYTE_INTEGER,
    MAXIMUM_PACKET_SIZE,
    MAXIMUM_TWO_BYTE_INTEGER,
    NEVER_EXPIRES,
)
from mqttlite.message import Will
from mqttlite.options import TLS, Reconnect, Version, WhenFull
from mqttlite.packets import Connect, encode

VERSIONS: dict[str, ProtocolVersion] = {
    "5.0": ProtocolVersion.MQTT_5_0,
    "3.1.1": ProtocolVersion.MQTT_3_1_1,
    "3.1": ProtocolVersion.MQTT_3_1,
}

_IN_FLIGHT_3 = 20
"""Messages in flight to a server of MQTT 3.x, which cannot say how many it takes: Mosquitto 2.0
acknowledges QoS 2 messages beyond its limit, 20 by default, and loses them."""

SESSION_GRACE = 300
"""Seconds for which the server is asked to keep the session of a client that asked for nothing,
so that a reconnection finds it; such a session is ended by ``close()``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The checked arguments of a client; ``mqttlite.Client`` says what each of them means."""

    endpoints: tuple[Endpoint, ...]
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
    receive_maximum: int = 1000
    maximum_in_flight: int | None = None
    maximum_packet_size: int | None = None
    topic_alias_maximum: int = 0
    user_properties: Sequence[tuple[str, str]] = ()
    reconnect: Reconnect | None = field(default_factory=Reconnect)
    outbox_messages: int = 100_000
    outbox_bytes: int = 256 * 1024 * 1024
    when_full: WhenFull = "wait"
    queue_qos_0: bool = False

    def __post_init__(self) -> None:
        if not self.endpoints:
            raise UsageError("give at least one URL")
        for endpoint in self.endpoints:
            _check_conflict("username", endpoint.username, self.username)
            _check_conflict("password", endpoint.password, self.password)
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
        if not isinstance(self.user_properties, (list, tuple)):
            raise UsageError("user_properties must be a list of pairs of a name and a value")
        self._check_version_rules()
        # Whatever else cannot be written is found here, before a server is asked.
        for endpoint in self.endpoints:
            for version in (self.version,) if self.version else ("5.0", "3.1.1"):
                encode(
                    self.connect_packet(endpoint, VERSIONS[version], "", first=True),
                    VERSIONS[version],
                )

    def _check_version_rules(self) -> None:
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
        self, endpoint: Endpoint, version: ProtocolVersion, assigned_id: str, *, first: bool
    ) -> Connect:
        """Build the CONNECT for an attempt; ``assigned_id`` is used if there is no client_id.

        A clean start is asked for at the first attempt only; MQTT 3.x cannot say so, and a
        session that nobody wants to keep is clean every time there.
        """
        password = self.password
        if password is None and endpoint.password is not None:
            password = encode_password(endpoint.password)
        packet = Connect(
            client_id=self.client_id or assigned_id,
            clean_start=self.clean_start and first,
            keep_alive=self.keep_alive,
            username=endpoint.username if self.username is None else self.username,
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
        if self.user_properties:
            packet.properties["user_properties"] = list(self.user_properties)
        return packet

    def in_flight_limit(self, version: ProtocolVersion) -> int:
        """How many messages of QoS 1 and 2 may be unacknowledged, whatever the server says."""
        if self.maximum_in_flight is not None:
            return self.maximum_in_flight
        return MAXIMUM_TWO_BYTE_INTEGER if version == ProtocolVersion.MQTT_5_0 else _IN_FLIGHT_3

    @property
    def packet_size_limit(self) -> int:
        """Bytes of the largest packet that is accepted from the server, in any version."""
        return self.maximum_packet_size or MAXIMUM_PACKET_SIZE


def encode_password(password: str | bytes | None) -> bytes | None:
    """A password as it goes on the wire. Raises UsageError, without showing it."""
    if not isinstance(password, str):
        return password
    try:
        return password.encode()
    except UnicodeEncodeError:
        raise UsageError("the password cannot be written as UTF-8: a lone surrogate") from None


def _check_conflict(name: str, in_url: object, argument: object) -> None:
    if in_url is not None and argument is not None:
        raise UsageError(f"the {name} is given twice, in the URL and as an argument: drop one")


def _check_integer(name: str, value: int, minimum: int, maximum: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} must be an int, not {type(value).__name__}")
    if value < minimum or (maximum is not None and value > maximum):
        limit = f"from {minimum} to {maximum}" if maximum is not None else f"at least {minimum}"
        raise UsageError(f"{name} must be {limit}, not {value}")
