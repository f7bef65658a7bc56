"""mqttlite: MQTT for Python, with threads (``Client``) and with asyncio (``AsyncClient``).

The names of this module are loaded when they are first used: a program with threads never
imports asyncio.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mqttlite.aio import AsyncClient, AsyncDelivery, AsyncSubscription
    from mqttlite.auth import AuthHandler, ScramAuth
    from mqttlite.client import (
        ClientCore,
        Connected,
        Counters,
        Disconnected,
        Dropped,
        DropReason,
        Reconnecting,
        Unsubscribed,
    )
    from mqttlite.enums import ClosedBy, Fate, ProtocolVersion, ReasonCode, RetainHandling
    from mqttlite.errors import (
        AuthError,
        ConnectFailed,
        ConnectionClosed,
        ConnectionLost,
        ConnectRefused,
        InvalidTopic,
        KeepAliveTimeout,
        MalformedPacket,
        MqttError,
        NotSupported,
        OperationError,
        PacketTooLarge,
        ProtocolError,
        PublishError,
        QueueFull,
        SubscribeError,
        UnsubscribeError,
        UsageError,
        WebSocketRefused,
    )
    from mqttlite.message import Message, Will
    from mqttlite.options import TLS, Reconnect
    from mqttlite.sync import Client, Delivery, Subscription

__all__ = [
    "TLS",
    "AsyncClient",
    "AsyncDelivery",
    "AsyncSubscription",
    "AuthError",
    "AuthHandler",
    "Client",
    "ClientCore",
    "ClosedBy",
    "ConnectFailed",
    "ConnectRefused",
    "Connected",
    "ConnectionClosed",
    "ConnectionLost",
    "Counters",
    "Delivery",
    "Disconnected",
    "DropReason",
    "Dropped",
    "Fate",
    "InvalidTopic",
    "KeepAliveTimeout",
    "MalformedPacket",
    "Message",
    "MqttError",
    "NotSupported",
    "OperationError",
    "PacketTooLarge",
    "ProtocolError",
    "ProtocolVersion",
    "PublishError",
    "QueueFull",
    "ReasonCode",
    "Reconnect",
    "Reconnecting",
    "RetainHandling",
    "ScramAuth",
    "SubscribeError",
    "Subscription",
    "UnsubscribeError",
    "Unsubscribed",
    "UsageError",
    "WebSocketRefused",
    "Will",
    "__version__",
]

# Where each of them is defined.
_EXPORTS = {
    "mqttlite.aio": ("AsyncClient", "AsyncDelivery", "AsyncSubscription"),
    "mqttlite.auth": ("AuthHandler", "ScramAuth"),
    "mqttlite.client": (
        "ClientCore",
        "Connected",
        "Counters",
        "Disconnected",
        "DropReason",
        "Dropped",
        "Reconnecting",
        "Unsubscribed",
    ),
    "mqttlite.enums": ("ClosedBy", "Fate", "ProtocolVersion", "ReasonCode", "RetainHandling"),
    "mqttlite.errors": (
        "AuthError",
        "ConnectFailed",
        "ConnectRefused",
        "ConnectionClosed",
        "ConnectionLost",
        "InvalidTopic",
        "KeepAliveTimeout",
        "MalformedPacket",
        "MqttError",
        "NotSupported",
        "OperationError",
        "PacketTooLarge",
        "ProtocolError",
        "PublishError",
        "QueueFull",
        "SubscribeError",
        "UnsubscribeError",
        "UsageError",
        "WebSocketRefused",
    ),
    "mqttlite.message": ("Message", "Will"),
    "mqttlite.options": ("TLS", "Reconnect"),
    "mqttlite.sync": ("Client", "Delivery", "Subscription"),
}
_HOMES = {name: module for module, names in _EXPORTS.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a name when it is first used (PEP 562)."""
    module = _HOMES.get(name)
    if module is None:
        raise AttributeError(f"module 'mqttlite' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
