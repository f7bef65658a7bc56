"""Keeps the server's subscriptions as the program wants them, over all connections."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import groupby
from typing import Any, Final, TypeVar

from mqttlite.client.operations import Operation, Unsubscribed
from mqttlite.client.subscriptions import FilterState, SubscriptionState, SubscriptionTable
from mqttlite.enums import ReasonCode
from mqttlite.errors import NotSupported, SubscribeError, UnsubscribeError, UsageError
from mqttlite.message import Properties
from mqttlite.packets import Suback, Unsuback
from mqttlite.protocol import ClientConnection
from mqttlite.records import replace

T = TypeVar("T", bound=Hashable)

_BATCH: Final = 100
"""Filters in one SUBSCRIBE or UNSUBSCRIBE when many are sent at once."""

Finish = Callable[[Operation[Any], Any, Exception | None], None]
"""Finishes an operation with a value or an error."""


class Unsubscribing(Operation[Unsubscribed]):
    """Filters that are being unsubscribed from, by one UNSUBSCRIBE or by several."""

    __slots__ = ("answer", "codes", "missing", "properties")

    def __init__(self, user_properties: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__()
        self.properties: Properties | None = None
        if user_properties:
            self.properties = {"user_properties": list(user_properties)}
        self.codes: dict[str, int] = {}
        self.missing = 0  # answers that are still to come
        self.answer: Properties = {}


# What was asked on this connection and not answered yet, by packet identifier; with the
# subscription identifiers. Most clients have nothing of all this for most of their life.
_NOTHING_ASKED: Final[dict[int, list[tuple[FilterState, int]]]] = {}
_NO_UNSUBSCRIBING: Final[dict[int, tuple[list[str], Unsubscribing]]] = {}
_NOTHING_LEFT: Final[dict[str, None]] = {}


class Subscriber:
    """Sends SUBSCRIBE and UNSUBSCRIBE, and matches the answers to who asked.

    A filter is asked for when a subscription needs it, and again on a connection whose session
    does not have it; it is given back when no subscription needs it any more.
    """

    def __init__(self, finish: Finish, first_identifier: int = 1) -> None:
        self.table = SubscriptionTable(first_identifier)
        self._finish = finish
        self._connection: ClientConnection | None = None
        self._asked = _NOTHING_ASKED
        self._unsubscribing = _NO_UNSUBSCRIBING
        # What a session still has, though nobody wants it: given back when it is resumed.
        self._left_behind = _NOTHING_LEFT

    # --- what the program wants

    def subscribe(self, subscription: SubscriptionState) -> None:
        """Add a subscription; its operation ``subscribed`` is finished by the server's answer.

        Raises NotSupported or PacketTooLarge if the server cannot do it.
        """
        self.table.add(subscription)
        filters = [self.table.filters[f] for f in subscription.topic_filters]
        for state in filters:
            state.granted = False
        if self.table.uses_identifiers:
            self._identify()
        errors = self._ask(filters)
        if errors:
            self.unsubscribe(subscription)
            raise next(iter(errors.values()))

    def _identify(self) -> None:
        """Tell the server the identifiers of filters that it has without; no retained messages."""
        connection = self._connection
        unidentified, self.table.unidentified = self.table.unidentified, ()
        if connection is None or not connection.has_subscription_identifiers:
            return
        for state in unidentified:
            if state.asked and state.told != state.identifier:
                try:
                    packet_id = _subscribe(connection, [state], retain_handling=2)
                except UsageError:
                    state.identifier = 0
                else:
                    self._note_asked(packet_id, [state])

    def unsubscribe(
        self, subscription: SubscriptionState, user_properties: Sequence[tuple[str, str]] = ()
    ) -> Operation[Unsubscribed]:
        """End a subscription; the operation is finished when the server has given it up."""
        subscription.end()
        return self.unsubscribe_filters(self.table.remove(subscription), user_properties)

    def unsubscribe_filters(
        self, topic_filters: list[str], user_properties: Sequence[tuple[str, str]] = ()
    ) -> Operation[Unsubscribed]:
        """Send UNSUBSCRIBE for these filters, whatever the program has of them."""
        operation = Unsubscribing(user_properties)
        connection = self._connection
        if connection is None:
            self._leave_behind(topic_filters)
        else:
            self._unsubscribe(connection, topic_filters, operation)
        if not operation.missing:
            self._finish(operation, Unsubscribed({}), None)
        return operation

    def _unsubscribe(
        self, connection: ClientConnection, topic_filters: list[str], operation: Unsubscribing
    ) -> None:
        def send(batch: list[str]) -> None:
            packet_id = connection.unsubscribe(batch, operation.properties)
            if self._unsubscribing is _NO_UNSUBSCRIBING:
                self._unsubscribing = {}
            self._unsubscribing[packet_id] = (batch, operation)
            operation.missing += 1

        # A filter that is too large for this server cannot be there.
        _send_in_batches(send, topic_filters)

    # --- connections come and go

    def connected(
        self, connection: ClientConnection, *, has_filters: bool, may_have_filters: bool
    ) -> list[SubscriptionState]:
        """Bring the server's subscriptions up to date [MQTT-3.1.2-4].

        Return the subscriptions that have to end because this server cannot do them.
        """
        self._connection = connection
        unwanted = [f for f in self._left_behind if f not in self.table.filters]
        self._left_behind = _NOTHING_LEFT
        if may_have_filters:
            self._unsubscribe(connection, unwanted, Unsubscribing())
        filters = list(self.table.filters.values())
        if not has_filters:
            for state in filters:
                state.granted = False
                state.told = 0
                state.asked = may_have_filters and state.asked
        self.table.unidentified = [s for s in filters if s.granted and s.told != s.identifier]
        self._identify()
        ending: dict[SubscriptionState, None] = {}
        for state, reason in self._ask(s for s in filters if not s.granted).items():
            for subscription in state.subscriptions:
                ending[subscription] = None
                subscription.end(reason)
                self._finish(subscription.subscribed, None, reason)
        return list(ending)

    def disconnected(self) -> None:
        """The connection is gone, and with it the answers that were awaited.

        Nobody has to wait for an UNSUBACK any more: a session that is resumed is told again.
        """
        self._connection = None
        self._asked = _NOTHING_ASKED
        unanswered, self._unsubscribing = self._unsubscribing, _NO_UNSUBSCRIBING
        for topic_filters, operation in unanswered.values():
            self._leave_behind(topic_filters)
            self._finish(operation, Unsubscribed({}), None)

    def _leave_behind(self, topic_filters: list[str]) -> None:
        if self._left_behind is _NOTHING_LEFT:
            self._left_behind = {}
        self._left_behind.update(dict.fromkeys(topic_filters))

    def _note_asked(self, packet_id: int, states: list[FilterState]) -> None:
        if self._asked is _NOTHING_ASKED:
            self._asked = {}
        self._asked[packet_id] = [(state, state.identifier) for state in states]

    def _ask(self, filters: Iterable[FilterState]) -> dict[FilterState, UsageError]:
        """Send SUBSCRIBE for filters, in batches of those that share their properties.

        Return those that cannot be asked for, and why.
        """
        connection = self._connection
        errors: dict[FilterState, UsageError] = {}
        if connection is None:
            return errors
        possible = []
        for state in filters:
            try:
                connection.check_subscription(
                    state.topic_filter, state.options, state.user_properties
                )
            except NotSupported as error:
                errors[state] = error
            else:
                possible.append(state)
        identified = connection.has_subscription_identifiers
        for _, group in groupby(
            possible, lambda state: (state.user_properties, identified and state.identifier)
        ):

            def ask(batch: list[FilterState]) -> None:
                packet_id = _subscribe(connection, batch)
                self._note_asked(packet_id, batch)
                for state in batch:
                    state.asked = True

            errors.update(_send_in_batches(ask, list(group)))
        return errors

    # --- what the server answers

    def receive_suback(self, packet: Suback) -> list[SubscriptionState]:
        """Tell the subscriptions of their filters' fate; return those that have to end."""
        refused: dict[SubscriptionState, None] = {}
        answer = packet.properties or {}
        said = answer.get("reason_string")
        asked = self._asked.pop(packet.packet_id)
        for (state, identifier), code in zip(asked, packet.reason_codes, strict=True):
            failed = code >= ReasonCode.UNSPECIFIED_ERROR
            state.granted = state.asked = not failed
            state.told = identifier
            for subscription in state.subscriptions:
                codes = subscription.granted
                codes[state.topic_filter] = code
                subscription.answer = answer
                if failed:
                    refused[subscription] = None
                if len(codes) == len(subscription.topic_filters) and subscription not in refused:
                    self._finish(subscription.subscribed, dict(codes), None)
        for subscription in refused:
            error = SubscribeError(subscription.granted, said)
            self._finish(subscription.subscribed, None, error)
            subscription.end(error)
        return list(refused)

    def receive_unsuback(self, packet: Unsuback) -> None:
        """Finish the operation that waits for it, if it was the last answer."""
        topic_filters, operation = self._unsubscribing.pop(packet.packet_id)
        # MQTT 3.x gives no reason codes.
        codes = packet.reason_codes or [0] * len(topic_filters)
        operation.codes.update(zip(topic_filters, codes, strict=True))
        operation.answer = packet.properties or {}
        operation.missing -= 1
        if operation.missing:
            return
        answer = operation.answer
        said = answer.get("reason_string")
        error = None
        if any(code >= ReasonCode.UNSPECIFIED_ERROR for code in operation.codes.values()):
            error = UnsubscribeError(operation.codes, said)
        result = Unsubscribed(operation.codes, said, answer.get("user_properties", []))
        self._finish(operation, result, error)

    def forget_redelivered(self, connection: ClientConnection) -> None:
        """The session goes on: drop what the server sends again."""
        for subscription in self.table.everything():
            subscription.forget_redelivered(connection)

    def end(self, error: Exception) -> list[SubscriptionState]:
        """Nothing will come any more: end everything; return all subscriptions."""
        self.disconnected()
        everything = self.table.everything()
        for subscription in everything:
            subscription.discard_unacknowledged()
            self.table.remove(subscription)
            subscription.end(error)
            self._finish(subscription.subscribed, None, error)
        return everything


def _send_in_batches(send: Callable[[list[T]], None], items: list[T]) -> dict[T, UsageError]:
    """Send items, so many at once as the server takes; return those that it cannot take."""
    errors: dict[T, UsageError] = {}
    batches = deque(items[i : i + _BATCH] for i in range(0, len(items), _BATCH))
    while batches:
        batch = batches.popleft()
        try:
            send(batch)
        except UsageError as error:
            if len(batch) == 1:
                errors[batch[0]] = error
            else:  # together they are too large
                half = len(batch) // 2
                batches.extendleft((batch[half:], batch[:half]))
    return errors


def _subscribe(
    connection: ClientConnection, batch: list[FilterState], retain_handling: int | None = None
) -> int:
    """Send a SUBSCRIBE for filters that have the same properties."""
    properties: Properties = {}
    if batch[0].user_properties:
        properties["user_properties"] = list(batch[0].user_properties)
    if batch[0].identifier and connection.has_subscription_identifiers:
        properties["subscription_identifiers"] = [batch[0].identifier]
    subscriptions = []
    for state in batch:
        options = state.options
        if retain_handling is not None:
            options = replace(options, retain_handling=retain_handling)
        subscriptions.append((state.topic_filter, options))
    return connection.subscribe(subscriptions, properties or None)
