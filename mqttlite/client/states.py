"""How far a client is, and what it wants done with its network connection."""

from __future__ import annotations

from enum import Enum

from mqttlite.endpoint import Endpoint
from mqttlite.enums import ProtocolVersion
from mqttlite.limits import MAXIMUM_PACKET_SIZE
from mqttlite.options import TLS
from mqttlite.records import field, record


class ClientState(Enum):
    """How far the client is with its network connection."""

    IDLE = "idle"
    DIALING = "dialing"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    HANGING_UP = "hanging up"
    WAITING = "waiting"


@record(frozen=True)
class Dial:
    """Open a network connection; then call ``transport_opened`` or ``dial_failed``."""

    endpoint: Endpoint
    tls: TLS = field(default_factory=TLS)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """For the handshake of a WebSocket."""
    version: ProtocolVersion = ProtocolVersion.MQTT_5_0
    maximum_packet_size: int = MAXIMUM_PACKET_SIZE


@record(frozen=True)
class HangUp:
    """Close the network connection, or stop opening one; then call ``transport_closed``.

    Gracefully: write what there is, close that direction, and read until the server closes.
    """

    graceful: bool
