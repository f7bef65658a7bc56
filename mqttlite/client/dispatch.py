"""Hands messages to the subscriptions whose filters they match."""

from __future__ import annotations

from collections.abc import Iterator
from logging import WARNING
from typing import Final

from mqttlite.client.drops import Drops
from mqttlite.client.events import DropReason
from mqttlite.client.subscriptions import SubscriptionState, SubscriptionTable, accept, share_out
from mqttlite.message import Message
from mqttlite.packets import Packet

Notice = tuple[str, int, str]
"""What is to be logged: by which logger, at which level, and the text."""

_NONE: Final[dict[SubscriptionState, int]] = {}


class Dispatch:
    """What stands between the connection and the buffers of the subscriptions."""

    def __init__(self, table: SubscriptionTable, drops: Drops, notices: list[Notice]) -> None:
        self.ready: list[SubscriptionState] = []
        """The subscriptions whose consumer wants to know that something has come."""
        self.received_messages = 0
        self._table = table
        self._drops = drops
        self._notices = notices
        # Those that stop the reading, and how many messages they had when they were last looked at.
        self._full = _NONE

    def take_ready(self) -> list[SubscriptionState]:
        """Hand over the subscriptions that have become ready since the last call."""
        ready = self.ready
        if ready:
            self.ready = []
        return ready

    def wake(self, subscription: SubscriptionState) -> None:
        """Something has happened to a subscription."""
        if subscription.owner is not None:  # the inbox of replies has none
            self.ready.append(subscription)

    def dispatch(self, packets: Iterator[Packet]) -> Packet | None:
        """Hand on messages up to the first packet that is none, and return that packet.

        None: there was no other. This is the hot path of receiving.
        """
        single = self._table.single
        count = 0
        for packet in packets:
            if type(packet) is not Message:
                self.received_messages += count
                return packet
            count += 1
            if packet.properties is None:
                target = single.get(packet.topic)
                if target is not None:
                    buffer = target.buffer
                    if len(buffer) < target.buffer_size:
                        buffer.append(packet)
                    else:
                        self._push_beyond(target, packet)
                    if target.wanted:
                        target.wanted = target.is_late = False
                        self.ready.append(target)
                    continue
            self._dispatch_one(packet)
        self.received_messages += count
        return None

    def _dispatch_one(self, message: Message) -> None:
        """Hand on a message to any number of subscriptions."""
        properties = message.properties
        targets: tuple[SubscriptionState, ...] | None
        if properties is None or "subscription_identifiers" not in properties:
            targets = self._table.routes.get(message.topic)
            if targets is None:
                targets = self._table.route(message.topic)
        else:
            targets = self._table.route_by_identifiers(
                message.topic, properties["subscription_identifiers"]
            )
        if targets is None:  # for those that get another copy of it
            accept(message)
            return
        if not targets:
            self._drop_unmatched(message)
            return
        parts = [message] if len(targets) == 1 else share_out(message, len(targets))
        for target, part in zip(targets, parts, strict=True):
            self._push_beyond(target, part)
            if target.wanted:
                target.wanted = target.is_late = False
                self.ready.append(target)

    def _push_beyond(self, target: SubscriptionState, message: Message) -> None:
        """Give a message to a subscription whose buffer may be full."""
        before = target.dropped
        target.push(message)
        if target.dropped > before:
            self._report_dropped(target, before)
        elif target.is_full:
            if self._full is _NONE:
                self._full = {}
            self._full[target] = len(target.buffer)

    def _report_dropped(self, target: SubscriptionState, before: int) -> None:
        filters = target.topic_filters
        self._drops.count(DropReason.BUFFER_FULL, target.dropped - before, filters)
        if not before:
            self._warn(
                f"the buffer of the subscription to {', '.join(filters)} is full: messages "
                f"are dropped"
            )

    def _warn(self, text: str) -> None:
        self._notices.append(("mqttlite.client", WARNING, text))

    def _drop_unmatched(self, message: Message) -> None:
        """Acknowledge a message that nobody wants [MQTT-4.5.0-2]."""
        if not self._drops.totals[DropReason.UNMATCHED]:
            self._warn(
                f"a message to {message.topic!r} matches no subscription: such messages are "
                f"counted and dropped, unless unmatched() takes them"
            )
        self._drops.count(DropReason.UNMATCHED)
        accept(message)

    @property
    def is_full(self) -> bool:
        """Whether a subscription that stops the reading still has more than half to do."""
        if not self._full:
            return False
        for subscription in list(self._full):
            if subscription.ended or subscription.has_room:
                subscription.is_full = False
                del self._full[subscription]
        return bool(self._full)

    @property
    def has_patience(self) -> bool:
        """Whether one of those that stop the reading does so for a while only."""
        return not all(subscription.pauses for subscription in self._full)

    def lose_patience(self) -> None:
        """Do not wait any longer for those that have a policy of what to drop.

        But for one that has taken half a buffer since it was last looked at: it will soon be done.
        """
        for subscription, before in list(self._full.items()):
            left = self._full[subscription] = len(subscription.buffer)
            if subscription.pauses or before - left > subscription.buffer_size // 2:
                continue
            dropped = subscription.dropped
            subscription.lose_patience()
            subscription.is_full = False
            del self._full[subscription]
            if subscription.dropped > dropped:
                self._report_dropped(subscription, dropped)
