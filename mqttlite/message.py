"""What is published and received: Message, Will, and the properties that a PUBLISH may have."""

from collections.abc import Sequence
from math import ceil
from typing import Protocol, TypedDict, Unpack, cast

from mqttlite.enums import ReasonCode
from mqttlite.errors import UsageError
from mqttlite.topics import encode_topic

Payload = str | bytes | bytearray | memoryview
"""What may be given as a payload; a ``str`` is sent as UTF-8."""


class PublishProperties(TypedDict, total=False):
    """The MQTT 5 properties of a PUBLISH that a publisher chooses (section 3.3.2.3)."""

    payload_format_indicator: int
    """1: the payload is UTF-8 text; 0: it is just bytes (the default)."""
    message_expiry_interval: int
    """Seconds after which the message is worth nothing any more."""
    response_topic: str
    """Where the answer to a request is to be published."""
    correlation_data: bytes
    """Tells the requester which request an answer belongs to."""
    user_properties: list[tuple[str, str]]
    """Name and value pairs, in order; a name may occur several times."""
    content_type: str
    """What the payload is, for example a MIME type."""


class WillProperties(PublishProperties, total=False):
    """The MQTT 5 properties of a will (section 3.1.3.2)."""

    will_delay_interval: int
    """Seconds between the loss of the connection and the publication of the will."""


class Properties(WillProperties, total=False):
    """Every property that MQTT 5 knows (section 2.2.2.2), by its name in the specification.

    Those that may be repeated are lists. Which packet may bear which is checked when the
    packet is encoded or decoded.
    """

    subscription_identifiers: list[int]
    session_expiry_interval: int
    assigned_client_identifier: str
    server_keep_alive: int
    authentication_method: str
    authentication_data: bytes
    request_problem_information: int
    request_response_information: int
    response_information: str
    server_reference: str
    reason_string: str
    receive_maximum: int
    topic_alias_maximum: int
    topic_alias: int
    maximum_qos: int
    retain_available: int
    maximum_packet_size: int
    wildcard_subscription_available: int
    subscription_identifier_available: int
    shared_subscription_available: int


class Acknowledgeable(Protocol):
    """What a received message keeps in order to be acknowledged."""

    def acknowledge(self, reason_code: int = 0, properties: "Properties | None" = None) -> None:
        """Tell the sender that the message has been processed, or why it has not."""


class Message:
    """An application message, as it was received; on the wire it is a PUBLISH packet.

    ``payload`` is ``bytes``; ``qos`` is the one the server delivered it with; ``retain`` says
    that it was a retained message; ``dup`` that it may have been delivered before.
    The MQTT 5 properties are attributes that are ``None`` (or an empty list) where the sender
    gave none.
    """

    __slots__ = ("_receipt", "dup", "packet_id", "payload", "properties", "qos", "retain", "topic")

    # Built once for every message received: positional, and without a check.
    def __init__(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        dup: bool = False,
        packet_id: int = 0,
        properties: Properties | None = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.dup = dup
        self.packet_id = packet_id
        self.properties = properties
        self._receipt: Acknowledgeable | None = None

    def ack(
        self,
        reason_code: int = ReasonCode.SUCCESS,
        *,
        reason_string: str | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Acknowledge the message; needed only in a subscription with ``ack="manual"``.

        May be called in any order, from any thread, and twice: the acknowledgements go out in
        the order in which the messages came [MQTT-4.6.0-2]. Does nothing for QoS 0.

        A ``reason_code`` of 0x80 or above refuses the message (MQTT 5.0 sections 3.4.2.1 and
        3.5.2.1): the server does not deliver it again. ``reason_string`` and
        ``user_properties`` are for people and programs that look for the reason. MQTT 3.x has
        no way to say any of it: there the message is just acknowledged. Raises UsageError for a
        reason code that is none of PUBACK.
        """
        if self._receipt is None:
            return
        properties: Properties = {}
        if reason_string is not None:
            properties["reason_string"] = reason_string
        if user_properties:
            properties["user_properties"] = list(user_properties)
        self._receipt.acknowledge(reason_code, properties or None)

    @property
    def payload_format_indicator(self) -> int | None:
        """1: the payload is UTF-8 text; 0: it is just bytes."""
        return self.properties.get("payload_format_indicator") if self.properties else None

    @property
    def message_expiry_interval(self) -> int | None:
        """Seconds of life that the message had left when the server sent it."""
        return self.properties.get("message_expiry_interval") if self.properties else None

    @property
    def response_topic(self) -> str | None:
        """Where an answer to this message is expected."""
        return self.properties.get("response_topic") if self.properties else None

    @property
    def correlation_data(self) -> bytes | None:
        """What the requester wants to find in the answer."""
        return self.properties.get("correlation_data") if self.properties else None

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        """The name and value pairs of the sender, in order."""
        return self.properties.get("user_properties", []) if self.properties else []

    @property
    def subscription_identifiers(self) -> list[int]:
        """The identifiers of the subscriptions that the server found to match."""
        return self.properties.get("subscription_identifiers", []) if self.properties else []

    @property
    def content_type(self) -> str | None:
        """What the payload is, for example a MIME type."""
        return self.properties.get("content_type") if self.properties else None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return all(
            getattr(self, name) == getattr(other, name)
            for name in self.__slots__
            if name != "_receipt"
        )

    __hash__ = None  # type: ignore[assignment]  # it is mutable, as a dataclass would be

    def __repr__(self) -> str:
        # The payload may be a secret: only its length is shown.
        flags = "".join(
            f", {name}=True"
            for name, value in (("retain", self.retain), ("dup", self.dup))
            if value
        )
        return f"Message({self.topic!r}, {len(self.payload)} bytes, qos={self.qos}{flags})"


class Will:
    """The message that the server publishes when this client goes without saying goodbye.

    ``topic`` and ``payload`` as in publish; ``qos`` 0, 1 or 2; MQTT 5 properties as keyword
    arguments, among them ``will_delay_interval`` in seconds. Raises UsageError for what MQTT
    does not allow (MQTT 5.0 sections 3.1.2.5 to 3.1.2.7 and 3.1.3.2).
    """

    __slots__ = ("payload", "properties", "qos", "retain", "topic")

    def __init__(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[WillProperties],
    ) -> None:
        encode_topic(topic)
        self.topic = topic
        self.payload = as_bytes(payload)
        if len(self.payload) > 65_535:  # binary data, section 3.1.3.4
            raise UsageError(
                f"the payload of a will is at most 65535 bytes, this one has {len(self.payload)}"
            )
        self.qos = check_qos(qos)  # [MQTT-3.1.2-12]
        self.retain = bool(retain)
        self.properties = cast("Properties", properties)
        if properties.get("payload_format_indicator"):
            check_text(self.payload)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Will):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # it is mutable, as a dataclass would be

    def __repr__(self) -> str:
        return f"Will({self.topic!r}, {len(self.payload)} bytes, qos={self.qos})"


def as_bytes(payload: Payload) -> bytes:
    """A payload as ``bytes``: a ``str`` is encoded as UTF-8, a buffer is copied."""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        try:
            return payload.encode()
        except UnicodeEncodeError as error:
            raise UsageError(
                f"the payload cannot be written as UTF-8: it has a lone surrogate at position "
                f"{error.start}"
            ) from None
    if isinstance(payload, (bytearray, memoryview)):
        return bytes(payload)
    raise UsageError(
        f"a payload must be str or bytes, not {type(payload).__name__}: encode it first, "
        f"for example with json.dumps() or str()"
    )


def check_text(payload: bytes) -> None:
    """Raise UsageError if a payload is not UTF-8 that is said to be (section 3.3.2.3.2)."""
    try:
        payload.decode()
    except UnicodeDecodeError as error:
        raise UsageError(
            f"payload_format_indicator says that the payload is UTF-8, which it is not at byte "
            f"{error.start}"
        ) from None


def remaining_seconds(expires_at: float, now: float) -> int:
    """What is left of a Message Expiry Interval, in whole seconds, rounded up.

    The difference of two times may be off by a hair, which does not make a second.
    """
    return max(0, ceil(expires_at - now - 0.001))


def check_qos(qos: int) -> int:
    """Return qos if it is 0, 1 or 2, else raise UsageError [MQTT-3.3.1-4]."""
    if qos not in (0, 1, 2):
        raise UsageError(f"qos must be 0, 1 or 2, not {qos!r}")
    return int(qos)
