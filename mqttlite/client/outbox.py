"""The messages that wait to be sent: first come, first served, and not without bound."""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heapify, heappop, heappush
from typing import Final

from mqttlite.client.operations import DeliveryState
from mqttlite.enums import Fate
from mqttlite.errors import QueueFull
from mqttlite.options import WhenFull

_SLACK: Final = 64
"""Entries that have become useless and may stay, before it is worth to look for them all."""

# What stands for these until there is something to queue: a deque takes 760 bytes.
_NONE: Final[deque[DeliveryState]] = deque(maxlen=0)
_NOBODY: Final[OrderedDict[int, DeliveryState]] = OrderedDict()
_NO_EXPIRIES: Final[list[tuple[float, int, DeliveryState]]] = []
_NONE_EXPIRING: Final[dict[int, int]] = {}


class Outbox:
    """A queue of deliveries, bounded in messages and in bytes of payload.

    What does not fit is dealt with as ``when_full`` says. With "wait" a caller that can wait is
    *parked*: its message stands in a second queue, in the order in which the callers came, and
    moves up as soon as there is room.
    """

    def __init__(self, maximum_messages: int, maximum_bytes: int, when_full: WhenFull) -> None:
        self.maximum_messages = maximum_messages
        self.maximum_bytes = maximum_bytes
        self.when_full = when_full
        self.size = 0
        """Bytes of payload in the queue."""
        self.length = 0
        """Messages in the queue."""
        self._queue: deque[DeliveryState] = _NONE  # those that are done are passed over
        self._parked: OrderedDict[int, DeliveryState] = _NOBODY  # by id(), to be withdrawn
        # When to look for expired messages. An entry counts only if _expiring has its number:
        # messages leave the outbox without a search for their entry.
        self._expiries = _NO_EXPIRIES
        self._expiring = _NONE_EXPIRING  # by id()
        self._serial = 0

    def __len__(self) -> int:
        return self.length

    def _has_room(self, delivery: DeliveryState) -> bool:
        # One message always fits, however large it is.
        return not self.length or (
            self.length < self.maximum_messages
            and self.size + len(delivery.payload) <= self.maximum_bytes
        )

    def add(self, delivery: DeliveryState, *, can_wait: bool) -> list[DeliveryState]:
        """Queue a message; return those that were dropped for it, which may be itself.

        Raises QueueFull if there is no room, and the policy does not say what else to do.
        """
        dropped: list[DeliveryState] = []
        if not self._parked and self._has_room(delivery):
            self._append(delivery)
        elif self.when_full == "drop_newest":
            return [delivery]
        elif self.when_full == "drop_oldest":
            while not self._has_room(delivery):
                dropped.append(self.pop())
            self._append(delivery)
        elif self.when_full == "raise" or not can_wait:
            raise QueueFull(
                f"{self.length} messages of {self.size} bytes wait to be sent: wait for "
                f"deliveries, or allow more with outbox_messages and outbox_bytes"
            )
        else:
            if self._parked is _NOBODY:
                self._parked = OrderedDict()
            self._parked[id(delivery)] = delivery
        self._track(delivery)
        return dropped

    def _track(self, delivery: DeliveryState) -> None:
        if delivery.expires_at is not None:
            if self._expiring is _NONE_EXPIRING:
                self._expiries, self._expiring = [], {}
            self._serial += 1
            self._expiring[id(delivery)] = self._serial
            heappush(self._expiries, (delivery.expires_at, self._serial, delivery))

    def _untrack(self, delivery: DeliveryState) -> None:
        if self._expiring.pop(id(delivery), None) is None:
            return
        if len(self._expiries) > 2 * len(self._expiring) + _SLACK:
            self._expiries = [e for e in self._expiries if self._expiring.get(id(e[2])) == e[1]]
            heapify(self._expiries)

    def _append(self, delivery: DeliveryState) -> None:
        if self._queue is _NONE:
            self._queue = deque()
        self._queue.append(delivery)
        self.length += 1
        self.size += len(delivery.payload)

    def put_back(self, deliveries: list[DeliveryState]) -> None:
        """Put messages before all others, in their order, whatever the bounds say."""
        if not deliveries:
            return
        if self._queue is _NONE:
            self._queue = deque()
        self._queue.extendleft(reversed(deliveries))
        for delivery in deliveries:
            self._track(delivery)
        self.length += len(deliveries)
        self.size += sum(len(delivery.payload) for delivery in deliveries)

    def peek(self) -> DeliveryState:
        """The message whose turn it is; there has to be one."""
        queue = self._queue
        while queue[0].done:
            queue.popleft()
        return queue[0]

    def pop(self) -> DeliveryState:
        """Take the message whose turn it is; parked ones move up."""
        delivery = self.peek()
        self._queue.popleft()
        self._remove(delivery)
        return delivery

    def _remove(self, delivery: DeliveryState) -> None:
        """Account for a message that is not in the queue any more, or done and passed over."""
        self._untrack(delivery)
        self.length -= 1
        self.size -= len(delivery.payload)
        if len(self._queue) > 2 * self.length + _SLACK:
            self._queue = deque(d for d in self._queue if not d.done)
        while self._parked and self._has_room(next(iter(self._parked.values()))):
            self._append(self._parked.popitem(last=False)[1])

    def withdraw(self, delivery: DeliveryState) -> bool:
        """Forget a message whose caller does not wait any more, if it is only parked."""
        if self._parked.pop(id(delivery), None) is None:
            return False
        self._untrack(delivery)
        return True

    @property
    def next_expiry(self) -> float | None:
        """When one of the messages may expire; never too late."""
        return self._expiries[0][0] if self._expiries else None

    def take_expired(self, now: float) -> list[DeliveryState]:
        """Settle the messages whose time has run out before they were sent, and return them."""
        expired = []
        while self._expiries and self._expiries[0][0] <= now:
            _, serial, delivery = heappop(self._expiries)
            if self._expiring.get(id(delivery)) == serial:
                delivery.settle(Fate.EXPIRED)
                expired.append(delivery)
                if not self.withdraw(delivery):
                    self._remove(delivery)
        return expired

    def drop_qos_0(self) -> list[DeliveryState]:
        """Settle the messages of QoS 0 as dropped, and return them."""
        dropped = [d for d in [*self._queue, *self._parked.values()] if not (d.qos or d.done)]
        for delivery in dropped:
            delivery.settle(Fate.DROPPED)
            if not self.withdraw(delivery):
                self._remove(delivery)
        return dropped

    def take_all(self) -> list[DeliveryState]:
        """Empty it."""
        everything = [delivery for delivery in self._queue if not delivery.done]
        everything += self._parked.values()
        self._queue.clear()
        self._parked.clear()
        self._expiries.clear()
        self._expiring.clear()
        self.length = self.size = 0
        return everything
