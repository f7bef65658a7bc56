"""What the caller must not write is refused with a message that names the field."""

import sys
from typing import Any, Final, cast

import pytest

from mqttlite.enums import ProtocolVersion
from mqttlite.errors import InvalidTopic, PacketTooLarge, UsageError
from mqttlite.message import Message, Properties, Will
from mqttlite.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionOptions,
    Unsuback,
    Unsubscribe,
    encode,
)
from mqttlite.packets.encode import encode_publish_header
from tests.unit.packets.test_golden import ALL, PROPERTY_TABLE, V3, V5, V31, V311

LONG: Final = "x" * 65_536


def _will(**changes: object) -> Will:
    """A will that was changed after it was checked."""
    will = Will("w", b"m")
    for name, value in changes.items():
        setattr(will, name, value)
    return will


def _message(**properties: object) -> Message:
    return Message("t", b"", properties=cast("Properties", properties))


def _subscribe(topic_filter: str, options: SubscriptionOptions) -> Subscribe:
    return Subscribe(1, [(topic_filter, options)])


def _anything(value: object) -> Any:
    """A value of a type that the type checkers would not let pass."""
    return value


REFUSED: Final[list[tuple[str, tuple[ProtocolVersion, ...], Packet, str]]] = [
    # CONNECT
    ("keep-alive-low", (V5,), Connect(keep_alive=-1), "keep_alive is from 0 to 65535 .* not -1"),
    ("keep-alive-high", (V5,), Connect(keep_alive=65_536), "keep_alive .* not 65536"),
    ("client-id-type", (V5,), Connect(_anything(b"c")), "client_id must be a str, not bytes"),
    ("client-id-null", (V5,), Connect("a\0"), r"client_id contains U\+0000"),
    ("client-id-surrogate", (V5,), Connect("ab\ud800"), "client_id cannot .* at position 2"),
    ("client-id-long", (V5,), Connect(LONG), "client_id is 65536 bytes long, the limit is 65535"),
    ("client-id-long-utf-8", (V5,), Connect("ä" * 32_768), "client_id is 65536 bytes long"),
    ("username-type", (V5,), Connect(username=_anything(1)), "username must be a str, not int"),
    ("username-null", (V5,), Connect(username="\0"), r"username contains U\+0000"),
    ("username-surrogate", (V5,), Connect(username="\udfff"), "username cannot be written as UTF"),
    ("username-long", (V5,), Connect(username=LONG), "username is 65536 bytes long"),
    ("password-type", (V5,), Connect(password=_anything("p")), "password must be bytes, not str"),
    ("password-long", (V5,), Connect(password=bytes(65_536)), "password is 65536 bytes long"),
    # 3.1.1 [MQTT-3.1.2-22]
    (
        "password-3.1",
        (V31,),
        Connect("c", password=b"", version=V31),
        "password without a username",
    ),
    (
        "password-3.1.1",
        (V311,),
        Connect(password=b"p", version=V311),
        "password without a username",
    ),
    # [MQTT-3.1.2-12] [MQTT-3.1.2-14]
    ("will-qos", (V5,), Connect(will=_will(qos=3)), "qos must be 0, 1 or 2, not 3"),
    ("will-topic", (V5,), Connect(will=_will(topic="a/+")), r"topic 'a/\+' contains a wildcard"),
    ("will-topic-empty", (V5,), Connect(will=_will(topic="")), "topic must have at least one char"),
    (
        "will-payload",
        (V5,),
        Connect(will=_will(payload=bytes(65_536))),
        "the will's payload is 655",
    ),
    (
        "will-payload-type",
        (V5,),
        Connect(will=_will(payload="m")),
        "the will's payload must be byt",
    ),
    (
        "will-property",
        (V5,),
        Connect(will=_will(properties={"session_expiry_interval": 1})),
        "session_expiry_interval is not a property of a will",
    ),
    (
        "connect-property",
        (V5,),
        Connect(properties={"will_delay_interval": 1}),
        "will_delay_interval is not a property of CONNECT",
    ),
    # CONNACK
    ("connack-reason", (V5,), Connack(False, 0x8E), "0x8E is not a reason code of CONNACK"),
    ("connack-reason-3", V3, Connack(False, 0x8A), "MQTT 3.x has no return code for 0x8A"),
    ("connack-reason-3-raw", V3, Connack(False, 1), "MQTT 3.x has no return code for 0x01"),
    # PUBLISH
    ("topic-empty", ALL, Message("", b""), "a topic must have at least one character"),
    (
        "topic-empty-properties",
        (V5,),
        Message("", b"", properties={}),
        "a topic must have at least",
    ),
    ("topic-plus", ALL, Message("+", b""), r"topic '\+' contains a wildcard"),
    ("topic-hash", ALL, Message("a/#", b""), "topic 'a/#' contains a wildcard"),
    ("topic-null", ALL, Message("a\0", b""), r"topic 'a\\x00' contains U\+0000"),
    ("topic-type", ALL, Message(_anything(b"t"), b""), "a topic must be a str, not bytes"),
    ("topic-long", ALL, Message(LONG, b""), "is 65536 bytes long, the limit is 65535"),
    (
        "topic-plus-alias",
        (V5,),
        Message("+", b"", properties={"topic_alias": 1}),
        r"topic '\+' contains a wildcard",
    ),
    # [MQTT-3.3.1-4]
    ("qos-3", ALL, Message("t", b"", 3, packet_id=1), "qos must be 0, 1 or 2, not 3"),
    ("qos-negative", ALL, Message("t", b"", -1, packet_id=1), "qos must be 0, 1 or 2, not -1"),
    ("qos-str", ALL, Message("t", b"", _anything("1"), packet_id=1), "qos must .*, not '1'"),
    # [MQTT-3.3.1-2]
    ("dup", ALL, Message("t", b"", dup=True), "dup cannot be set with qos 0"),
    # [MQTT-2.2.1-3]
    ("publish-id-0", ALL, Message("t", b"", 1), "a packet identifier is from 1 to 65535, not 0"),
    ("publish-id-high", ALL, Message("t", b"", 2, packet_id=65_536), "packet identifier .* 65536"),
    (
        "publish-property",
        (V5,),
        _message(reason_string="r"),
        "reason_string is not a property of PU",
    ),
    ("unknown-property", (V5,), _message(colour="red"), "colour is not a property of PUBLISH"),
    # acknowledgements
    ("puback-id", ALL, Puback(0), "a packet identifier is from 1 to 65535, not 0"),
    ("pubrec-id", ALL, Pubrec(65_536), "a packet identifier is from 1 to 65535, not 65536"),
    ("pubrel-id", ALL, Pubrel(-1), "a packet identifier is from 1 to 65535, not -1"),
    ("pubcomp-id", ALL, Pubcomp(0), "a packet identifier is from 1 to 65535, not 0"),
    ("puback-reason", (V5,), Puback(1, 0x92), "0x92 is not a reason code of PUBACK"),
    ("pubrel-reason", (V5,), Pubrel(1, 0x80), "0x80 is not a reason code of PUBREL"),
    (
        "puback-reason-properties",
        (V5,),
        Puback(1, 0x01, {"reason_string": "r"}),
        "0x01 is not a reason code of PUBACK",
    ),
    (
        "pubcomp-property",
        (V5,),
        Pubcomp(1, 0, {"content_type": "c"}),
        "content_type is not a property of PUBCOMP",
    ),
    # SUBSCRIBE, [MQTT-3.8.3-2] [MQTT-3.8.3-4] [MQTT-3.8.3-5]
    ("subscribe-nothing", ALL, Subscribe(1, []), "SUBSCRIBE needs at least one topic filter"),
    (
        "subscribe-id",
        ALL,
        Subscribe(0, [("a", SubscriptionOptions())]),
        "packet identifier is from",
    ),
    ("filter-empty", ALL, _subscribe("", SubscriptionOptions()), "topic filter must have at least"),
    ("filter-hash", ALL, _subscribe("#/a", SubscriptionOptions()), "# must be the last level"),
    ("filter-plus", ALL, _subscribe("a+", SubscriptionOptions()), "must be a whole level"),
    ("options-qos", ALL, _subscribe("a", SubscriptionOptions(3)), "qos must be 0, 1 or 2, not 3"),
    (
        "retain-handling",
        (V5,),
        _subscribe("a", SubscriptionOptions(retain_handling=3)),
        "retain_handling must be 0, 1 or 2, not 3",
    ),
    (
        "no-local",
        (V5,),
        _subscribe("$share/g/a", SubscriptionOptions(no_local=True)),
        r"'\$share/g/a': no_local is not allowed on a shared subscription",
    ),
    (
        "identifiers",
        ALL,
        Subscribe(1, [("a", SubscriptionOptions())], {"subscription_identifiers": [1, 2]}),
        "SUBSCRIBE has at most one subscription identifier",
    ),
    (
        "subscribe-property",
        (V5,),
        Subscribe(1, [("a", SubscriptionOptions())], {"reason_string": "r"}),
        "reason_string is not a property of SUBSCRIBE",
    ),
    ("suback-id", ALL, Suback(0, [0]), "a packet identifier is from 1 to 65535, not 0"),
    ("suback-reason", ALL, Suback(1, [0, 3]), "0x03 is not a reason code of SUBACK"),
    ("unsubscribe-nothing", ALL, Unsubscribe(1, []), "UNSUBSCRIBE needs at least one topic filter"),
    ("unsubscribe-id", ALL, Unsubscribe(0, ["a"]), "a packet identifier is from 1 to 65535, not 0"),
    ("unsubscribe-filter", ALL, Unsubscribe(1, ["a", "#a"]), "a wildcard must be a whole level"),
    ("unsuback-id", ALL, Unsuback(0, [0]), "a packet identifier is from 1 to 65535, not 0"),
    ("unsuback-reason", (V5,), Unsuback(1, [0x97]), "0x97 is not a reason code of UNSUBACK"),
    # DISCONNECT, AUTH
    ("disconnect-reason", (V5,), Disconnect(0x85), "0x85 is not a reason code of DISCONNECT"),
    (
        "disconnect-property",
        (V5,),
        Disconnect(0, {"receive_maximum": 1}),
        "receive_maximum is not a property of DISCONNECT",
    ),
    ("auth-3", V3, Auth(0x18, {"authentication_method": "m"}), r"AUTH needs MQTT 5\.0"),
    ("auth-reason", (V5,), Auth(0x80, {"authentication_method": "m"}), "0x80 is not a reason code"),
]


@pytest.mark.parametrize(
    ("version", "packet", "message"),
    [
        pytest.param(version, packet, message, id=f"{name}@{version.name[5:]}")
        for name, versions, packet, message in REFUSED
        for version in versions
    ],
)
def test_refused(version: ProtocolVersion, packet: Packet, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        encode(packet, version)


# Cases that the specification forbids to the sender and that are easy to miss.
@pytest.mark.parametrize(
    ("version", "packet", "message"),
    [
        # Section 3.15.2.2.2: the method may be left out only with the whole of the rest.
        pytest.param(V5, Auth(0x18), "authentication_method", id="auth-without-method"),
        pytest.param(
            V5,
            Auth(0x19, {"authentication_data": b"d"}),
            "authentication_method",
            id="auth-data-without-method",
        ),
        # Section 3.1.2.11.10
        pytest.param(
            V5,
            Connect("c", properties={"authentication_data": b"d"}),
            "authentication_method",
            id="connect-data-without-method",
        ),
        # [MQTT-4.7.3-1]: the alias that would stand for the topic cannot be written in 3.x.
        pytest.param(
            V311,
            Message("", b"", properties={"topic_alias": 1}),
            "topic",
            id="alias-3.1.1",
        ),
        # [MQTT-3.9.3-2], [MQTT-3.11.3-2]: a code for each filter, and there is at least one.
        pytest.param(V5, Suback(1, []), "reason code", id="suback-without-code"),
        pytest.param(V5, Unsuback(1, []), "reason code", id="unsuback-without-code"),
        # [MQTT-3.2.2-6]
        pytest.param(V5, Connack(True, 0x87), "session", id="refusal-with-session"),
    ],
)
def test_refused_by_a_rule_of_the_packet(
    version: ProtocolVersion, packet: Packet, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        encode(packet, version)


def test_topics_raise_their_own_error() -> None:
    with pytest.raises(InvalidTopic):
        encode(Message("#", b""), V5)
    with pytest.raises(InvalidTopic):
        encode(Unsubscribe(1, [""]), V311)
    with pytest.raises(InvalidTopic, match="topic 'a/#' contains a wildcard"):  # [MQTT-3.3.2-14]
        encode(_message(response_topic="a/#"), V5)


# By the type in the table of section 2.2.2.2: values that cannot be written.
_STRINGS: Final[list[object]] = [b"x", None, 1, "a\0", "\ud800", LONG]
_BINARY: Final[list[object]] = ["x", None, 1, bytes(65_536)]
_WRONG: Final[dict[str, list[object]]] = {
    "payload_format_indicator": [-1, 2, "1", None, 1.0],
    "message_expiry_interval": [-1, 4_294_967_296, "1", 1.5],
    "content_type": _STRINGS,
    "correlation_data": _BINARY,
    "subscription_identifiers": [[0], [268_435_456], [-1], [1, "2"]],
    "session_expiry_interval": [-1, 4_294_967_296, b"1"],
    "assigned_client_identifier": _STRINGS,
    "server_keep_alive": [-1, 65_536, None],
    "authentication_method": _STRINGS,
    "authentication_data": _BINARY,
    "request_problem_information": [-1, 2],
    "will_delay_interval": [-1, 4_294_967_296],
    "request_response_information": [-1, 2],
    "response_information": _STRINGS,
    "server_reference": _STRINGS,
    "reason_string": _STRINGS,
    "receive_maximum": [0, 65_536],
    "topic_alias_maximum": [-1, 65_536],
    "topic_alias": [0, 65_536],
    "maximum_qos": [-1, 2],
    "retain_available": [-1, 2],
    "user_properties": [
        [("a",)],
        [("a", "b", "c")],
        ["ab"],
        [("a", 1)],
        [(b"a", "b")],
        [("a\0", "b")],
        [("a", LONG)],
    ],
    "maximum_packet_size": [0, 4_294_967_296],
    "wildcard_subscription_available": [-1, 2],
    "subscription_identifier_available": [-1, 2],
    "shared_subscription_available": [-1, 2],
}
# "a topic" and not the name of the property: it is checked as any other topic.
_WRONG_TOPICS: Final[list[object]] = [b"x", None, "", "+", "a/#", "\0", LONG]


def _carrier(name: str, value: object) -> Packet:
    """A packet that may bear the property."""
    properties = cast("Properties", {name: value})
    packets = next(row[4] for row in PROPERTY_TABLE if row[1] == name).split()
    if "PUBLISH" in packets:
        return Message("t", b"", properties=properties)
    if "CONNECT" in packets:
        return Connect(properties=properties)
    if "WILL" in packets:
        return Connect(will=_will(properties=properties))
    return Connack(properties=properties)


def test_every_property_has_wrong_values() -> None:
    assert {row[1] for row in PROPERTY_TABLE} == set(_WRONG) | {"response_topic"}


@pytest.mark.parametrize("name", _WRONG)
def test_a_property_with_a_wrong_value(name: str) -> None:
    for value in _WRONG[name]:
        with pytest.raises(UsageError, match=rf"^{name} "):
            encode(_carrier(name, value), V5)


def test_a_response_topic_with_a_wrong_value() -> None:
    for value in _WRONG_TOPICS:
        with pytest.raises(InvalidTopic, match="topic"):
            encode(_carrier("response_topic", value), V5)


def test_what_may_be_repeated_is_a_list() -> None:
    with pytest.raises(UsageError, match="subscription_identifiers must be a list, not int"):
        encode(_message(subscription_identifiers=1), V5)
    with pytest.raises(UsageError, match="user_properties must be a list, not dict"):
        encode(_message(user_properties={"a": "b"}), V5)
    with pytest.raises(UsageError, match="user_properties must be pairs of a name and a value"):
        encode(_message(user_properties=[1]), V5)


def test_a_tuple_is_as_good_as_a_list() -> None:
    data = encode(_message(user_properties=(["a", "b"],), subscription_identifiers=(1,)), V5)
    assert data == bytes.fromhex("300D 0001 74 09 26 0001 61 0001 62 0B 01")


@pytest.mark.parametrize("packet_type", ["subscribe", "publish"])
def test_a_packet_larger_than_mqtt_allows(
    monkeypatch: pytest.MonkeyPatch, packet_type: str
) -> None:
    # The true limit is met below, without making a packet of 256 MiB.
    # The function encode hides its module in the package.
    module = sys.modules["mqttlite.packets.encode"]
    monkeypatch.setattr(module, "MAXIMUM_VARIABLE_BYTE_INTEGER", 200)
    make: dict[str, Packet] = {
        "subscribe": Subscribe(1, [("f" * 195, SubscriptionOptions())]),
        "publish": Message("t", bytes(197)),
    }
    packet = make[packet_type]
    assert len(encode(packet, V311)) == 203
    with pytest.raises(PacketTooLarge, match=r"has at most 200 bytes .* this one would have 20"):
        encode(packet, V5)  # one byte more


def test_the_largest_publish() -> None:
    topic = b"\0\1t"
    header = encode_publish_header(topic, 268_435_452, 0, False, False, 0, b"")
    assert header == bytes.fromhex("30 FF FF FF 7F 0001 74")
    with pytest.raises(PacketTooLarge, match="this one would have 268435456"):
        encode_publish_header(topic, 268_435_453, 0, False, False, 0, b"")
    with pytest.raises(PacketTooLarge, match="this one would have 268435456"):
        encode_publish_header(topic, 268_435_450, 1, False, False, 1, b"\0")


def test_secrets_do_not_appear_in_messages() -> None:
    for packet in (
        Connect(username="s3cret\0"),
        Connect(username="s3cret\ud800"),
        Connect(password=_anything("s3cret")),
        Connect(password=b"s3cret", username="u", will=_will(qos=3)),
        Connect(
            properties={"authentication_method": "m", "authentication_data": _anything("s3cret")}
        ),
        _message(correlation_data="s3cret"),
    ):
        with pytest.raises(UsageError) as raised:
            encode(packet, V5)
        assert "s3cret" not in str(raised.value)
        assert raised.value.__cause__ is None
