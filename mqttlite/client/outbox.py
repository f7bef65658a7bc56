"""The messages that wait to be sent: first come, first served, and not without bound."""

from __future__ import annotations

from collections import OrderedDict, deque
from heapq import heappop, heappush

from mqttlite.client.operations import DeliveryState
from mqttlite.enums import Fate
from mqttlite.errors import QueueFull
from mqttlite.options import WhenFull


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
        self._length = 0
        self._queue: deque[DeliveryState] = deque()  # expired ones stay in it until their turn
        self._parked: OrderedDict[int, DeliveryState] = OrderedDict()  # by id(), to be withdrawn
        self._expiring: list[tuple[float, int, DeliveryState]] = []
        self._serial = 0  # makes entries of _expiring comparable

    def __len__(self) -> int:
        return self._length

    def _has_room(self, delivery: DeliveryState) -> bool:
        # One message always fits, however large it is.
        return not self._length or (
            self._length < self.maximum_messages
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
                f"{self._length} messages of {self.size} bytes wait to be sent: wait for "
                f"deliveries, or allow more with outbox_messages and outbox_bytes"
            )
        else:
            self._parked[id(delivery)] = delivery
        if delivery.expires_at is not None:
            self._serial += 1
            heappush(self._expiring, (delivery.expires_at, self._serial, delivery))
        return dropped

    def _append(self, delivery: DeliveryState) -> None:
        self._queue.append(delivery)
        self._length += 1
        self.size += len(delivery.payload)

    def put_back(self, deliveries: list[DeliveryState]) -> None:
        """Put messages before all others, in their order, whatever the bounds say."""
        self._queue.extendleft(reversed(deliveries))
        self._length += len(deliveries)
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
        self._length -= 1
        self.size -= len(delivery.payload)
        while self._parked and self._has_room(next(iter(self._parked.values()))):
            self._append(self._parked.popitem(last=False)[1])

    def withdraw(self, delivery: DeliveryState) -> bool:
        """Forget a message whose caller does not wait any more, if it is only parked."""
        return self._parked.pop(id(delivery), None) is not None

    @property
    def next_expiry(self) -> float | None:
        """When the next of the messages expires."""
        return self._expiring[0][0] if self._expiring else None

    def take_expired(self, now: float) -> list[DeliveryState]:
        """Settle the messages whose time has run out before they were sent, and return them."""
        expired = []
        while self._expiring and self._expiring[0][0] <= now:
            delivery = heappop(self._expiring)[2]
            if delivery.done or delivery.awaiting is not None:  # [MQTT-4.3.3-7]
                continue
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
        self._expiring.clear()
        self._length = self.size = 0
        return everything
