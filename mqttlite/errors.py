"""Every exception that mqttlite raises, but for the builtin ``TimeoutError``.

MqttError
  UsageError          the caller's mistake; raised before anything was changed or sent
    InvalidTopic, QueueFull, PacketTooLarge, NotSupported
  ConnectionClosed    there is no connection: who ended it and why
    ConnectFailed (WebSocketRefused), ConnectRefused, ProtocolError, KeepAliveTimeout,
    ConnectionLost
  OperationError      the server refused one operation; the connection goes on
    PublishError, SubscribeError, UnsubscribeError, AuthError
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mqttlite.enums import ClosedBy, Fate, ReasonCode, describe_reason


class MqttError(Exception):
    """The base of all errors of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Made again from its attributes: the arguments of its constructor are not kept.
        return _restore, (type(self), self.args, self.__dict__)


def _restore(kind: type[MqttError], args: tuple[Any, ...], state: dict[str, Any]) -> MqttError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(MqttError, ValueError):
    """An argument or a call that cannot work; the message says what to do instead."""


class InvalidTopic(UsageError):
    """A topic name or topic filter that MQTT does not allow (MQTT 5.0 section 4.7)."""


class QueueFull(UsageError):
    """The outbox holds as many messages or bytes as it may, and its policy is to raise."""


class PacketTooLarge(UsageError):
    """The packet is larger than MQTT, or than the server's Maximum Packet Size, allows."""


class NotSupported(UsageError):
    """The server, or the protocol version of the connection, cannot do this."""


class ConnectionClosed(MqttError):
    """The connection is closed.

    ``reason_code`` is the one that was sent or received, ``None`` if none was;
    ``reason_string`` and ``user_properties`` are the server's own explanation, and
    ``server_reference`` the server that it names instead; ``by`` says who ended the connection.
    """

    def __init__(
        self,
        message: str,
        *,
        reason_code: int | None = None,
        reason_string: str | None = None,
        by: ClosedBy = ClosedBy.NETWORK,
        server_reference: str | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(message)
        self.reason_code = None if reason_code is None else _as_reason_code(reason_code)
        self.reason_string = reason_string
        self.by = by
        self.server_reference = server_reference
        self.user_properties = list(user_properties)


class ConnectFailed(ConnectionClosed):
    """No server could be reached: name lookup, TCP, TLS, or an end before CONNACK."""


class WebSocketRefused(ConnectFailed):
    """The server answered the WebSocket handshake with an HTTP ``status`` other than 101."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message, by=ClosedBy.SERVER)
        self.status = status


class ConnectRefused(ConnectionClosed):
    """The server answered CONNECT with a reason code other than success."""


class ProtocolError(ConnectionClosed):
    """The peer broke the protocol; ``reason_code`` is what it was told in DISCONNECT."""

    def __init__(self, message: str, reason_code: ReasonCode = ReasonCode.PROTOCOL_ERROR) -> None:
        super().__init__(message, reason_code=reason_code, by=ClosedBy.CLIENT)


class MalformedPacket(ProtocolError):
    """Bytes that are no MQTT packet (MQTT 5.0 section 1.2)."""

    def __init__(self, message: str) -> None:
        super().__init__(message, ReasonCode.MALFORMED_PACKET)


class KeepAliveTimeout(ConnectionClosed):
    """The peer was silent for longer than the keep alive allows (MQTT 5.0 section 3.1.2.10)."""


class ConnectionLost(ConnectionClosed):
    """The network connection ended without a DISCONNECT."""


class OperationError(MqttError):
    """The server refused an operation, or it came to nothing for another reason."""


class PublishError(OperationError):
    """A message that was accepted for publishing was not delivered; ``fate`` says why not."""

    def __init__(
        self,
        message: str,
        *,
        fate: Fate,
        reason_code: int | None = None,
        reason_string: str | None = None,
    ) -> None:
        super().__init__(message)
        self.fate = fate
        self.reason_code = None if reason_code is None else _as_reason_code(reason_code)
        self.reason_string = reason_string


class _FiltersRefused(OperationError):
    """The common part of SubscribeError and UnsubscribeError: one reason code a filter."""

    _verb: str

    def __init__(self, reason_codes: Mapping[str, int], reason_string: str | None = None) -> None:
        refused = ", ".join(
            f"{topic_filter!r}: {describe_reason(code)}"
            for topic_filter, code in reason_codes.items()
            if code >= ReasonCode.UNSPECIFIED_ERROR
        )
        said = f" ({reason_string})" if reason_string else ""
        super().__init__(f"the server refused to {self._verb} {refused}{said}")
        self.reason_codes = {
            topic_filter: _as_reason_code(code) for topic_filter, code in reason_codes.items()
        }
        self.reason_string = reason_string


class SubscribeError(_FiltersRefused):
    """The server refused a filter; ``reason_codes`` maps every filter asked to its code."""

    _verb = "subscribe to"


class UnsubscribeError(_FiltersRefused):
    """The server refused to unsubscribe; ``reason_codes`` maps every filter to its code."""

    _verb = "unsubscribe from"


class AuthError(OperationError):
    """Enhanced authentication failed (MQTT 5.0 section 4.12)."""


def _as_reason_code(code: int) -> int:
    """The enum member where there is one, so that it prints in words; else the number."""
    try:
        return ReasonCode(code)
    except ValueError:
        return code
