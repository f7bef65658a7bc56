"""The MQTT protocol without input or output: one connection, and the session that outlives it."""

from mqttlite.protocol.client_side import ClientConnection
from mqttlite.protocol.connection import Connection
from mqttlite.protocol.sending import ConnectionState
from mqttlite.protocol.server_side import ServerConnection
from mqttlite.protocol.session import Outgoing, Receipt, ReceiptState, Session

__all__ = [
    "ClientConnection",
    "Connection",
    "ConnectionState",
    "Outgoing",
    "Receipt",
    "ReceiptState",
    "ServerConnection",
    "Session",
]
