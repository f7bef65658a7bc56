"""Strategies for every packet of every version, as they come out of a decoder.

A packet of MQTT 3.x has only what its version can say, so that it survives the round trip.
"""

from functools import cache
from typing import Final, cast

from hypothesis import strategies as st

from mqttlite.enums import ProtocolVersion
from mqttlite.message import Message, Properties, Will
from mqttlite.packets import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionOptions,
    Unsuback,
    Unsubscribe,
)

V31: Final = ProtocolVersion.MQTT_3_1
V5: Final = ProtocolVersion.MQTT_5_0

VERSIONS: Final = st.sampled_from(ProtocolVersion)

# Strings of MQTT: no surrogates and no U+0000; now and then one that is longer than 127 bytes.
_CHARACTERS: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
STRINGS: Final = st.text(_CHARACTERS, max_size=10) | st.builds(
    lambda text, count: text * count, st.text(_CHARACTERS, max_size=5), st.integers(0, 60)
)
BINARY: Final = st.binary(max_size=12) | st.integers(100, 300).map(bytes)
PAYLOADS: Final = st.binary(max_size=40) | st.sampled_from([100, 127, 16_400]).map(bytes)

TOPICS: Final = st.text(
    st.sampled_from("abc//$ ä\ufeff\U0001f600") | _CHARACTERS.filter(lambda c: c not in "+#"),
    min_size=1,
    max_size=12,
)
_LEVELS: Final = st.sampled_from(["", "a", "b", "$c", "+", "ä"])
_PLAIN_FILTERS: Final = (
    st.builds(
        lambda levels, end: "/".join([*levels, end]),
        st.lists(_LEVELS, max_size=4),
        st.sampled_from(["#", "+", "end", ""]),
    )
    .filter(bool)
    .filter(lambda text: not text.startswith("$share"))
)
FILTERS: Final = _PLAIN_FILTERS | _PLAIN_FILTERS.map("$share/group/{}".format)
PACKET_IDS: Final = st.integers(1, 65_535)

_BIT: Final = st.integers(0, 1)
_TWO: Final = st.integers(0, 65_535)
_TWO_NOT_0: Final = st.integers(1, 65_535)
_FOUR: Final = st.integers(0, 4_294_967_295)
_PAIRS: Final = st.lists(st.tuples(STRINGS, STRINGS), min_size=1, max_size=3)
_IDENTIFIERS: Final = st.sampled_from([1, 127, 128, 16_384, 2_097_152, 268_435_455]) | st.integers(
    1, 268_435_455
)

_PUBLICATION: Final[dict[str, st.SearchStrategy[object]]] = {
    "payload_format_indicator": _BIT,
    "message_expiry_interval": _FOUR,
    "content_type": STRINGS,
    "response_topic": TOPICS,
    "correlation_data": BINARY,
    "user_properties": _PAIRS,
}
_ACKNOWLEDGEMENT: Final[dict[str, st.SearchStrategy[object]]] = {
    "reason_string": STRINGS,
    "user_properties": _PAIRS,
}
_ACKNOWLEDGEMENT_TYPES: Final = (Puback, Pubrec, Pubrel, Pubcomp)
_METHOD: Final[dict[str, st.SearchStrategy[object]]] = {"authentication_method": STRINGS}
_DATA: Final[dict[str, st.SearchStrategy[object]]] = {"authentication_data": BINARY}


def _properties(
    optional: dict[str, st.SearchStrategy[object]],
    required: dict[str, st.SearchStrategy[object]] | None = None,
) -> st.SearchStrategy[Properties | None]:
    mappings = st.fixed_dictionaries(required or {}, optional=optional)
    return mappings.map(lambda found: cast("Properties | None", found or None))


def _with_method(
    optional: dict[str, st.SearchStrategy[object]],
) -> st.SearchStrategy[Properties | None]:
    """Authentication data come only with a method."""
    return _properties(optional | _METHOD) | _properties(optional, _METHOD | _DATA)


def _only_in_5(
    version: ProtocolVersion, properties: st.SearchStrategy[Properties | None]
) -> st.SearchStrategy[Properties | None]:
    return properties if version is V5 else st.none()


def _set_properties(will: Will, properties: Properties | None) -> Will:
    will.properties = properties or {}
    return will


def connects(version: ProtocolVersion) -> st.SearchStrategy[Connect]:
    wills = st.builds(
        _set_properties,
        st.builds(Will, TOPICS, BINARY, qos=st.integers(0, 2), retain=st.booleans()),
        _only_in_5(version, _properties(_PUBLICATION | {"will_delay_interval": _FOUR})),
    )
    credentials = st.tuples(STRINGS, st.none() | BINARY) | st.just((None, None))
    if version is V5:
        credentials |= st.tuples(st.none(), BINARY)
    properties = _with_method(
        {
            "session_expiry_interval": _FOUR,
            "request_problem_information": _BIT,
            "request_response_information": _BIT,
            "receive_maximum": _TWO_NOT_0,
            "topic_alias_maximum": _TWO,
            "user_properties": _PAIRS,
            "maximum_packet_size": st.integers(1, 4_294_967_295),
        }
    )

    # In MQTT 3.1 it has 1 to 23 characters, in 3.1.1 an empty one wants a clean session
    # [MQTT-3.1.3-7].
    client_ids = {
        ProtocolVersion.MQTT_3_1: st.text(_CHARACTERS, min_size=1, max_size=23),
        ProtocolVersion.MQTT_3_1_1: STRINGS.filter(bool),
        V5: STRINGS,
    }
    starts = st.tuples(client_ids[version], st.booleans())
    if version is ProtocolVersion.MQTT_3_1_1:
        starts |= st.just(("", True))

    @st.composite
    def build(draw: st.DrawFn) -> Connect:
        client_id, clean_start = draw(starts)
        username, password = draw(credentials)
        return Connect(
            client_id,
            clean_start,
            draw(_TWO),
            username,
            password,
            draw(st.none() | wills),
            draw(_only_in_5(version, properties)),
            version,
        )

    return build()


def connacks(version: ProtocolVersion) -> st.SearchStrategy[Connack]:
    if version is not V5:
        refusals = st.builds(
            Connack, st.just(False), st.sampled_from([0x84, 0x85, 0x88, 0x86, 0x87])
        )
        return st.builds(Connack, st.just(False) if version is V31 else st.booleans()) | refusals
    properties = _with_method(
        {
            "session_expiry_interval": _FOUR,
            "assigned_client_identifier": STRINGS,
            "server_keep_alive": _TWO,
            "response_information": STRINGS,
            "server_reference": STRINGS,
            "receive_maximum": _TWO_NOT_0,
            "topic_alias_maximum": _TWO,
            "maximum_qos": _BIT,
            "retain_available": _BIT,
            "maximum_packet_size": st.integers(1, 4_294_967_295),
            "wildcard_subscription_available": _BIT,
            "subscription_identifier_available": _BIT,
            "shared_subscription_available": _BIT,
            **_ACKNOWLEDGEMENT,
        }
    )
    codes = st.sampled_from(
        bytes.fromhex("80 81 82 83 84 85 86 87 88 89 8A 8C 90 95 97 99 9A 9B 9C 9D 9F")
    )
    return st.builds(Connack, st.booleans(), st.just(0), properties) | st.builds(
        Connack, st.just(False), codes, properties
    )


@st.composite
def publishes(draw: st.DrawFn, version: ProtocolVersion) -> Message:
    qos = draw(st.integers(0, 2))
    properties = draw(
        _only_in_5(
            version,
            _properties(
                _PUBLICATION
                | {
                    "subscription_identifiers": st.lists(_IDENTIFIERS, min_size=1, max_size=3),
                    "topic_alias": _TWO_NOT_0,
                }
            ),
        )
    )
    alias = properties is not None and "topic_alias" in properties
    return Message(
        draw(TOPICS | st.just("")) if alias else draw(TOPICS),
        draw(PAYLOADS),
        qos,
        draw(st.booleans()),
        draw(st.booleans()) if qos else False,
        draw(PACKET_IDS) if qos else 0,
        properties,
    )


def acknowledgements(version: ProtocolVersion) -> st.SearchStrategy[Packet]:
    if version is not V5:
        return st.one_of(*(st.builds(kind, PACKET_IDS) for kind in _ACKNOWLEDGEMENT_TYPES))
    properties = _properties(_ACKNOWLEDGEMENT)
    received = st.sampled_from(bytes.fromhex("00 10 80 83 87 90 91 97 99"))
    released = st.sampled_from(bytes.fromhex("0092"))
    return st.one_of(
        *(st.builds(kind, PACKET_IDS, received, properties) for kind in (Puback, Pubrec)),
        *(st.builds(kind, PACKET_IDS, released, properties) for kind in (Pubrel, Pubcomp)),
    )


def _subscriptions(
    version: ProtocolVersion,
) -> st.SearchStrategy[tuple[str, SubscriptionOptions]]:
    qos = st.integers(0, 2)
    if version is not V5:
        return st.tuples(FILTERS, st.builds(SubscriptionOptions, qos))
    handling = st.integers(0, 2)
    plain = st.builds(SubscriptionOptions, qos, st.booleans(), st.booleans(), handling)
    shared = st.builds(SubscriptionOptions, qos, st.just(False), st.booleans(), handling)
    return st.tuples(_PLAIN_FILTERS, plain) | st.tuples(FILTERS, shared)


def subscriptions(version: ProtocolVersion) -> st.SearchStrategy[Packet]:
    """SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK."""
    identifier = st.lists(_IDENTIFIERS, min_size=1, max_size=1)
    acknowledged = _only_in_5(version, _properties(_ACKNOWLEDGEMENT))
    granted = bytes.fromhex("00 01 02 80 83 87 8F 91 97 9E A1 A2" if version is V5 else "00010280")
    done = bytes.fromhex("00 11 80 83 87 8F 91")
    unsubacks = (
        st.builds(
            Unsuback,
            PACKET_IDS,
            st.lists(st.sampled_from(done), min_size=1, max_size=4),
            acknowledged,
        )
        if version is V5
        else st.builds(Unsuback, PACKET_IDS)
    )
    return st.one_of(
        st.builds(
            Subscribe,
            PACKET_IDS,
            st.lists(_subscriptions(version), min_size=1, max_size=4),
            _only_in_5(
                version,
                _properties({"subscription_identifiers": identifier, "user_properties": _PAIRS}),
            ),
        ),
        st.builds(
            Suback,
            PACKET_IDS,
            st.lists(st.sampled_from(granted), min_size=1, max_size=4),
            acknowledged,
        ),
        st.builds(
            Unsubscribe,
            PACKET_IDS,
            st.lists(FILTERS, min_size=1, max_size=4),
            _only_in_5(version, _properties({"user_properties": _PAIRS})),
        ),
        unsubacks,
    )


def _disconnects(version: ProtocolVersion) -> st.SearchStrategy[Disconnect]:
    if version is not V5:
        return st.builds(Disconnect)
    codes = bytes.fromhex(
        "00 04 80 81 82 83 87 89 8B 8D 8E 8F 90 93 94 95 96 97 98 99 9A 9B 9C 9D 9E 9F A0 A1 A2"
    )
    optional = {"session_expiry_interval": _FOUR, "server_reference": STRINGS}
    return st.builds(Disconnect, st.sampled_from(codes), _properties(optional | _ACKNOWLEDGEMENT))


def _auths() -> st.SearchStrategy[Auth]:
    properties = _properties(_DATA | _ACKNOWLEDGEMENT, _METHOD)
    return st.builds(Auth) | st.builds(Auth, st.sampled_from([0x00, 0x18, 0x19]), properties)


@cache
def packets(version: ProtocolVersion) -> st.SearchStrategy[Packet]:
    """Any packet of a version."""
    others: list[st.SearchStrategy[Packet]] = [
        st.builds(Pingreq),
        st.builds(Pingresp),
        _disconnects(version),
    ]
    if version is V5:
        others.append(_auths())
    return st.one_of(
        connects(version),
        connacks(version),
        publishes(version),
        acknowledgements(version),
        subscriptions(version),
        *others,
    )


def streams() -> st.SearchStrategy[tuple[ProtocolVersion, list[Packet]]]:
    """A version and some packets of it."""
    return VERSIONS.flatmap(
        lambda version: st.tuples(st.just(version), st.lists(packets(version), max_size=6))
    )


@st.composite
def chunked(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut data into pieces; empty ones are among them."""
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
