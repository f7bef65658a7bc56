"""What a caller waits for: an operation that will be finished, well or badly.

The core finishes operations; how to wait for one is the shells' business. A shell that waits
puts something of its own into ``waiters``, and finds the operation in ``ClientCore.finished``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from mqttlite.enums import Fate, ReasonCode, describe_reason
from mqttlite.errors import MqttError, PublishError
from mqttlite.protocol import Outgoing
from mqttlite.records import field, record

if TYPE_CHECKING:
    from mqttlite.message import Properties

T = TypeVar("T")

# A member of an Enum costs more to look up than a global name: this stands in the hot path.
_PENDING: Final = Fate.PENDING


class Operation(Generic[T]):
    """Something that was asked for and is not done yet, or done with a value or an error."""

    __slots__ = ("done", "error", "value", "waiters")

    def __init__(self) -> None:
        self.done = False
        self.value: T | None = None
        self.error: Exception | None = None
        self.waiters: list[Any] | None = None

    def result(self) -> T:
        """The value; raises the error instead if there is one."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # T where it is done


@record(frozen=True)
class Unsubscribed:
    """What the server said to UNSUBSCRIBE (MQTT 5.0 section 3.11); MQTT 3.x says nothing."""

    reason_codes: dict[str, int]
    """A reason code for each filter: 0, or 0x11 if there was no such subscription."""
    reason_string: str | None = None
    user_properties: list[tuple[str, str]] = field(default_factory=list)


_FATES = {
    Fate.EXPIRED: "expired before it could be sent",
    Fate.DROPPED: "was dropped",
    Fate.LOST: "may be lost: the server lost the session before it had acknowledged the message",
    Fate.CLOSED: "was not acknowledged before the end",
}


class DeliveryState(Outgoing):
    """A message on its way to the server, and what became of it.

    ``done`` tells whether it is settled, ``fate`` how; ``reason_code``, ``reason_string`` and
    ``user_properties`` are what the server said when it acknowledged the message.
    """

    __slots__ = ("_driver", "error", "expires_at", "fate", "waiters")

    # This is in the hot path of publishing: so what Outgoing does is repeated here, and the
    # shells' deliveries have no constructor of their own.
    def __init__(
        self,
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,
        properties: Properties | None = None,
        driver: Any = None,
    ) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.retain = retain
        self.properties = properties
        self.packet_id = 0
        self.awaiting = None
        self.reason_code = 0
        self.response = None
        self.fate = _PENDING
        self.error: MqttError | None = None
        self.expires_at: float | None = None
        self.waiters: list[Any] | None = None
        self._driver = driver

    @property
    def done(self) -> bool:
        """Whether it is known what became of the message."""
        return self.fate is not _PENDING

    @property
    def reason_string(self) -> str | None:
        """The server's explanation of ``reason_code``, if it gave one."""
        return self.response.get("reason_string") if self.response else None

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        """The user properties of the acknowledgement."""
        return self.response.get("user_properties", []) if self.response else []

    def settle(
        self, fate: Fate, error: MqttError | None = None, cause: Exception | None = None
    ) -> None:
        """Say what became of it; without an ``error``, one is made for a fate that is a bad one."""
        self.fate = fate
        if error is None and fate not in (Fate.ACKNOWLEDGED, Fate.SENT):
            error = self._explain(cause)
            error.__cause__ = cause
        self.error = error

    def settle_acknowledged(self) -> None:
        """The last acknowledgement of its flow has come."""
        if self.reason_code < ReasonCode.UNSPECIFIED_ERROR:
            self.fate = Fate.ACKNOWLEDGED
        else:
            self.settle(Fate.REFUSED)

    def _explain(self, cause: Exception | None) -> PublishError:
        said = _FATES.get(self.fate)
        if said is not None and cause is not None:
            said += f": {cause}"
        if said is None:
            said = f"was refused by the server: {describe_reason(self.reason_code)}"
            if self.reason_string:
                said += f", {self.reason_string}"
        return PublishError(
            f"the message to {self.topic!r} {said}",
            fate=self.fate,
            reason_code=self.reason_code if self.fate is Fate.REFUSED else None,
            reason_string=self.reason_string,
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.topic!r}, {len(self.payload)} bytes, qos={self.qos}, "
            f"{self.fate.value})"
        )
