"""Keeps the server's subscriptions as the program wants them, over all connections."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any, Final

from mqttlite.client.operations import Operation
from mqttlite.client.subscriptions import FilterState, SubscriptionState, SubscriptionTable
from mqttlite.enums import ReasonCode
from mqttlite.errors import NotSupported, SubscribeError, UnsubscribeError, UsageError
from mqttlite.packets import Suback, Unsuback
from mqttlite.protocol import ClientConnection

_BATCH: Final = 100
"""Filters in one SUBSCRIBE or UNSUBSCRIBE when many are sent at once."""

Finish = Callable[[Operation[Any], Any, Exception | None], None]
"""Finishes an operation with a value or an error."""


class Unsubscribing(Operation[dict[str, int]]):
    """An UNSUBSCRIBE that waits for its answer; sent again if the connection is lost first."""

    __slots__ = ("topic_filters",)

    def __init__(self, topic_filters: list[str]) -> None:
        super().__init__()
        self.topic_filters = topic_filters


class Subscriber:
    """Sends SUBSCRIBE and UNSUBSCRIBE, and matches the answers to who asked.

    A filter is asked for when a subscription needs it, and again on a connection whose session
    does not have it; it is given back when no subscription needs it any more.
    """

    def __init__(self, finish: Finish) -> None:
        self.table = SubscriptionTable()
        self._finish = finish
        self._connection: ClientConnection | None = None
        # What was asked on this connection and not answered yet, by packet identifier.
        self._asked: dict[int, list[FilterState]] = {}
        self._unsubscribing: dict[int, Unsubscribing] = {}
        self._not_unsubscribed: list[Unsubscribing] = []

    # --- what the program wants

    def subscribe(self, subscription: SubscriptionState) -> None:
        """Add a subscription; its operation ``subscribed`` is finished by the server's answer.

        Raises NotSupported or PacketTooLarge if the server cannot do it.
        """
        self.table.add(subscription)
        filters = [self.table.filters[f] for f in subscription.topic_filters]
        for state in filters:
            state.granted = False
        errors = self._ask(filters)
        if errors:
            self.unsubscribe(subscription)
            raise next(iter(errors.values()))

    def unsubscribe(self, subscription: SubscriptionState) -> Operation[dict[str, int]]:
        """End a subscription; the operation is finished when the server has given it up."""
        subscription.end()
        return self.unsubscribe_filters(self.table.remove(subscription))

    def unsubscribe_filters(self, topic_filters: list[str]) -> Operation[dict[str, int]]:
        """Send UNSUBSCRIBE for these filters, whatever the program has of them."""
        operation = Unsubscribing(topic_filters)
        if topic_filters and self._connection is not None:
            self._unsubscribing[self._connection.unsubscribe(topic_filters)] = operation
        else:
            # Without a connection it is enough to ask for them no more: a session that still
            # has them is told when it comes back.
            if topic_filters:
                self._not_unsubscribed.append(Unsubscribing(topic_filters))
            self._finish(operation, {}, None)
        return operation

    # --- connections come and go

    def connected(
        self, connection: ClientConnection, *, session_present: bool
    ) -> list[SubscriptionState]:
        """Bring the server's subscriptions up to date [MQTT-3.1.2-4].

        Return the subscriptions that have to end because this server cannot do them.
        """
        self._connection = connection
        pending, self._not_unsubscribed = self._not_unsubscribed, []
        for operation in pending:
            wanted = [f for f in operation.topic_filters if f not in self.table.filters]
            if not session_present or not wanted:
                self._finish(operation, {}, None)
                continue
            try:
                self._unsubscribing[connection.unsubscribe(wanted)] = operation
            except UsageError as error:
                self._finish(operation, None, error)
        filters = list(self.table.filters.values())
        if not session_present:
            for state in filters:
                state.granted = False
        ending: dict[SubscriptionState, None] = {}
        for state, error in self._ask(s for s in filters if not s.granted).items():
            for subscription in state.subscriptions:
                ending[subscription] = None
                subscription.end(error)
                self._finish(subscription.subscribed, None, error)
        return list(ending)

    def disconnected(self) -> None:
        """The connection is gone, and with it the answers that were awaited."""
        self._connection = None
        self._asked.clear()
        self._not_unsubscribed += self._unsubscribing.values()
        self._unsubscribing.clear()

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
                connection.check_filter(state.topic_filter)
            except NotSupported as error:
                errors[state] = error
            else:
                possible.append(state)
        for _, group in groupby(possible, lambda state: state.user_properties):
            states = list(group)
            batches = [states[i : i + _BATCH] for i in range(0, len(states), _BATCH)]
            while batches:
                batch = batches.pop(0)
                try:
                    self._asked[_subscribe(connection, batch)] = batch
                except UsageError as error:
                    if len(batch) == 1:
                        errors[batch[0]] = error
                    else:  # too large for this server
                        half = len(batch) // 2
                        batches[:0] = [batch[:half], batch[half:]]
        return errors

    # --- what the server answers

    def receive_suback(self, packet: Suback) -> list[SubscriptionState]:
        """Tell the subscriptions of their filters' fate; return those that have to end."""
        refused: dict[SubscriptionState, None] = {}
        said = (packet.properties or {}).get("reason_string")
        for state, code in zip(self._asked.pop(packet.packet_id), packet.reason_codes, strict=True):
            failed = code >= ReasonCode.UNSPECIFIED_ERROR
            state.granted = not failed
            for subscription in state.subscriptions:
                codes = subscription.granted
                codes[state.topic_filter] = code
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
        """Finish the operation that waits for it."""
        operation = self._unsubscribing.pop(packet.packet_id)
        # MQTT 3.x gives no reason codes.
        codes = packet.reason_codes or [0] * len(operation.topic_filters)
        by_filter = dict(zip(operation.topic_filters, codes, strict=False))
        error = None
        if any(code >= ReasonCode.UNSPECIFIED_ERROR for code in codes):
            said = (packet.properties or {}).get("reason_string")
            error = UnsubscribeError(by_filter, said)
        self._finish(operation, by_filter, error)

    def fail(self, error: Exception) -> list[SubscriptionState]:
        """Nothing will be answered any more: end everything; return all subscriptions."""
        self._not_unsubscribed += self._unsubscribing.values()
        for operation in self._not_unsubscribed:
            self._finish(operation, {}, None)
        self._not_unsubscribed.clear()
        self._unsubscribing.clear()
        self._asked.clear()
        table = self.table
        everything = [*table.subscriptions, *([table.unmatched] if table.unmatched else [])]
        for subscription in everything:
            table.remove(subscription)
            subscription.end(error)
            self._finish(subscription.subscribed, None, error)
        return everything


def _subscribe(connection: ClientConnection, batch: list[FilterState]) -> int:
    user_properties = list(batch[0].user_properties)
    return connection.subscribe(
        [(state.topic_filter, state.options) for state in batch],
        {"user_properties": user_properties} if user_properties else None,
    )
