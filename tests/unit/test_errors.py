"""The hierarchy of the errors, and what they say."""

import pickle

import pytest

from mqttlite import errors
from mqttlite.enums import ClosedBy, Fate, ReasonCode
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


def test_the_hierarchy() -> None:
    tree: dict[type[Exception], list[type[Exception]]] = {
        Exception: [MqttError],
        MqttError: [UsageError, ConnectionClosed, OperationError],
        ValueError: [UsageError],
        UsageError: [InvalidTopic, QueueFull, PacketTooLarge, NotSupported],
        ConnectionClosed: [
            ConnectFailed,
            ConnectRefused,
            ProtocolError,
            KeepAliveTimeout,
            ConnectionLost,
        ],
        ConnectFailed: [WebSocketRefused],
        ProtocolError: [MalformedPacket],
        OperationError: [PublishError, SubscribeError, UnsubscribeError, AuthError],
    }
    for base, children in tree.items():
        for child in children:
            assert issubclass(child, base)
    named = {child for children in tree.values() for child in children}
    public = {
        value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException) and name[0] != "_"
    }
    assert public == named


def test_connection_closed() -> None:
    error = ConnectionClosed("gone")
    assert str(error) == "gone"
    assert error.reason_code is None
    assert error.reason_string is None
    assert error.by is ClosedBy.NETWORK
    assert error.server_reference is None
    error = ConnectRefused(
        "no", reason_code=0x9C, reason_string="full", by=ClosedBy.SERVER, server_reference="other"
    )
    assert error.reason_code is ReasonCode.USE_ANOTHER_SERVER
    assert (error.reason_string, error.by, error.server_reference) == (
        "full",
        ClosedBy.SERVER,
        "other",
    )
    assert ConnectionClosed("x", reason_code=0).reason_code is ReasonCode.SUCCESS


def test_user_properties_of_a_connection_that_is_closed() -> None:
    assert ConnectionClosed("gone").user_properties == []
    given = (("a", "1"), ("a", "2"))
    error = ConnectRefused("no", user_properties=given)
    assert error.user_properties == [("a", "1"), ("a", "2")]
    # Each error has a list of its own.
    ConnectionClosed("gone").user_properties.append(("b", "3"))
    assert ConnectionClosed("gone").user_properties == []
    pairs = [("a", "1")]
    error = ConnectRefused("no", user_properties=pairs)
    pairs.clear()
    assert error.user_properties == [("a", "1")]
    assert pickle.loads(pickle.dumps(error)).user_properties == [("a", "1")]


def test_a_reason_code_without_a_name_stays_a_number() -> None:
    error = ConnectionLost("x", reason_code=0xFF)
    assert error.reason_code == 0xFF
    assert type(error.reason_code) is int


def test_protocol_errors() -> None:
    error = ProtocolError("wrong")
    assert error.reason_code is ReasonCode.PROTOCOL_ERROR
    assert error.by is ClosedBy.CLIENT
    assert ProtocolError("w", ReasonCode.PACKET_TOO_LARGE).reason_code == 0x95
    malformed = MalformedPacket("wrong")
    assert malformed.reason_code is ReasonCode.MALFORMED_PACKET
    assert str(malformed) == "wrong"


def test_publish_error() -> None:
    error = PublishError("late", fate=Fate.EXPIRED)
    assert (str(error), error.fate, error.reason_code) == ("late", Fate.EXPIRED, None)
    assert error.reason_string is None
    error = PublishError("no", fate=Fate.REFUSED, reason_code=0x97, reason_string="quota")
    assert error.reason_code is ReasonCode.QUOTA_EXCEEDED
    assert error.reason_string == "quota"


def test_subscribe_error_names_the_refused_filters_only() -> None:
    error = SubscribeError({"a/#": 0x87, "b": 1, "c": 0x80, "d": 0xFE})
    assert str(error) == (
        "the server refused to subscribe to 'a/#': not authorized (0x87), "
        "'c': unspecified error (0x80), 'd': unknown reason (0xFE)"
    )
    assert error.reason_codes == {"a/#": 0x87, "b": 1, "c": 0x80, "d": 0xFE}
    assert error.reason_codes["a/#"] is ReasonCode.NOT_AUTHORIZED
    assert error.reason_string is None


def test_unsubscribe_error() -> None:
    error = UnsubscribeError({"a": 0x83}, "not now")
    assert str(error) == (
        "the server refused to unsubscribe from 'a': implementation specific error (0x83) (not now)"
    )
    assert error.reason_string == "not now"


def test_a_usage_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="wrong"):
        raise InvalidTopic("wrong")


def test_simple_errors_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(ProtocolError("wrong", ReasonCode.PACKET_TOO_LARGE)))
    assert type(error) is ProtocolError
    assert str(error) == "wrong"
    assert error.reason_code == 0x95
