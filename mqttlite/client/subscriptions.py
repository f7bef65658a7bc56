"""Subscriptions: what each has received, what the server was asked for, and who gets what."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from types import FunctionType
from typing import Any, Final, Literal

from mqttlite.client.operations import Operation
from mqttlite.client.options import check_user_properties
from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionClosed, UsageError
from mqttlite.message import Message, Properties, check_qos
from mqttlite.packets import SubscriptionOptions
from mqttlite.protocol import Receipt
from mqttlite.protocol.session import Answer, make_answer
from mqttlite.topics import TopicTree, encode_filter, is_shared

AckMode = Literal["auto", "manual"]
"""Who acknowledges messages: the subscription, or the program with ``message.ack()``."""

WhenBufferFull = Literal["drop_oldest", "drop_newest", "pause"]
"""Which QoS 0 message goes when a subscription's buffer stays full, or that reading stops."""

_ROUTES_CACHED: Final = 16_384
_LONGEST_CACHED: Final = 256  # characters of a topic
_MOST_IDENTIFIERS_CACHED: Final = 8
_MOST_IDENTIFIED: Final = 10_000

_CO_COROUTINE: Final = 0x80  # inspect.CO_COROUTINE


class SubscriptionState:
    """One subscription of the program: some filters, and a buffer of what they brought.

    Only messages of QoS 0 are dropped from a full buffer, ``dropped`` counts them: those of QoS
    1 and 2 are held back by the server, which waits for their acknowledgement. (Once the server
    has lost the session, it does so no longer for those that came before.)
    Lives as long as the program keeps it, over any number of connections.
    """

    def __init__(
        self,
        topic_filters: Sequence[str],
        options: SubscriptionOptions,
        *,
        ack: AckMode = "auto",
        buffer_size: int = 1000,
        when_full: WhenBufferFull = "drop_oldest",
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> None:
        self.topic_filters = tuple(topic_filters)
        self.options = options
        self.ack = ack
        self.buffer_size = buffer_size
        self.user_properties = tuple(user_properties)
        self.subscribed: Operation[dict[str, int]] = Operation()
        """Finished with ``granted`` when the server has answered for all filters."""
        self.granted: dict[str, int] = {}
        """The reason code of each filter that the server has answered for."""
        self.answer: Properties = {}
        """The properties of the server's last SUBACK."""
        self.ended = False
        self.error: Exception | None = None
        self.dropped = 0
        self.is_full = False
        """Whether a message came that was one too many, and reading stops because of it."""
        self.is_late = False
        """Whether the consumer was waited for in vain, and has not taken everything since."""
        self.buffer: deque[Message] = deque()
        self.wanted = False
        """Set by a consumer that found nothing and wants to be told of the next message."""
        self.owner: Any = None
        """The shell's object for this subscription."""
        self.pauses = when_full == "pause"
        self._when_full = when_full
        self.taken: Receipt | Share | None = None
        """Of the message that was taken last: it is acknowledged when the next one is taken."""

    def push(self, message: Message) -> None:
        """Add a message; one that is too many stops the reading, or makes one be dropped."""
        buffer = self.buffer
        if len(buffer) >= self.buffer_size:
            if self.pauses or not self.is_late:
                self.is_full = self.is_full or _is_expendable(message)
            elif self._drop(message):
                return
        buffer.append(message)

    def _drop(self, message: Message) -> bool:
        """Make room for a message, if some may be dropped; return whether it is this one."""
        buffer = self.buffer
        while len(buffer) >= self.buffer_size and _is_expendable(buffer[0]):
            if self._when_full == "drop_newest" and _is_expendable(message):
                break
            buffer.popleft()
            self.dropped += 1
        if len(buffer) >= self.buffer_size and _is_expendable(message):
            self.dropped += 1
            return True
        return False

    @property
    def has_room(self) -> bool:
        """Whether so much has been taken that reading can go on."""
        return len(self.buffer) <= self.buffer_size // 2

    def lose_patience(self) -> None:
        """The consumer takes nothing: drop what is too much, and do not wait for it again."""
        self.is_late = True
        excess = len(self.buffer) - self.buffer_size
        late = [self.buffer.pop() for _ in range(excess)]
        for message in reversed(late):
            self.push(message)

    def take(self) -> Message | None:
        """Take the next message, None if there is none; the one taken before is acknowledged."""
        taken = self.taken
        if taken is not None:
            self.taken = None
            taken.accept()
        if not self.buffer:
            return None
        message = self.buffer.popleft()
        if message.qos:
            self.hand_out(message)
        return message

    def hand_out(self, message: Message) -> None:
        """A message of QoS 1 or 2 goes to the program."""
        if self.ack == "auto":
            self.taken = message._receipt  # type: ignore[assignment]  # noqa: SLF001

    def reject(self, message: Message) -> None:
        """The program has failed at a message: it is to be delivered again, if not acknowledged."""
        self.taken = None
        _abandon(message)

    def finish_taken(self, *, processed: bool) -> None:
        """The program is done with the message that it took last, well or badly."""
        taken, self.taken = self.taken, None
        if taken is None:
            return
        if processed:
            taken.accept()
        else:
            taken.abandon()

    def end(self, error: Exception | None = None) -> None:
        """No more messages come. Those in the buffer can still be taken."""
        if not self.ended:
            self.ended = True
            self.error = error

    @property
    def failure(self) -> Exception | None:
        """Why no more messages come, unless the program wanted it so."""
        error = self.error
        if isinstance(error, ConnectionClosed) and error.by is ClosedBy.CLIENT:
            return None
        return error

    def discard(self, *, processed: bool) -> None:
        """Empty the buffer; what is in it counts as processed, or is to be delivered again."""
        while self.buffer:
            message = self.buffer.popleft()
            if processed:
                accept(message)
            else:
                _abandon(message)

    def discard_unacknowledged(self) -> None:
        """Drop what the server will deliver again, in the next connection of its session."""
        self.finish_taken(processed=False)
        for message in self.buffer:
            _abandon(message)
        self._keep([message for message in self.buffer if not message.qos])

    def forget_redelivered(self, connection: object) -> None:
        """Drop the QoS 1 messages of older connections: the server sends them again."""
        if any(_is_stale(message, connection) for message in self.buffer):
            self._keep([m for m in self.buffer if not _is_stale(m, connection)])

    def _keep(self, messages: list[Message]) -> None:
        self.buffer.clear()
        self.buffer.extend(messages)


def _receipt(message: Message) -> Receipt | Share | None:
    return message._receipt  # type: ignore[return-value]  # noqa: SLF001


def accept(message: Message) -> None:
    """A message has been processed: it may be acknowledged."""
    receipt = _receipt(message)
    if receipt is not None:
        receipt.accept()


def _abandon(message: Message) -> None:
    receipt = _receipt(message)
    if receipt is not None:
        receipt.abandon()


def _is_stale(message: Message, connection: object) -> bool:
    receipt = _receipt(message)
    return receipt is not None and receipt.qos == 1 and receipt.connection is not connection


def _is_expendable(message: Message) -> bool:
    """Whether nobody holds it back, and nobody would deliver it again."""
    receipt = _receipt(message)
    return receipt is None or not receipt.is_live


class Share:
    """One subscription's part in the receipt of a message that several subscriptions got."""

    __slots__ = ("_done", "_missing", "receipt")

    def __init__(self, receipt: Receipt, missing: list[int]) -> None:
        self.receipt = receipt
        self._missing = missing  # one list for all parts, with the number of those not done
        self._done = False

    @property
    def qos(self) -> int:
        """The QoS of the message."""
        return self.receipt.qos

    @property
    def connection(self) -> object:
        """The connection on which the message last came."""
        return self.receipt.connection

    @property
    def is_live(self) -> bool:
        """As for a receipt."""
        return self.receipt.is_live

    def acknowledge(self, reason_code: int = 0, properties: Properties | None = None) -> None:
        """What ``Message.ack()`` calls."""
        answer = make_answer(reason_code, properties)
        acknowledger = self.receipt.connection.acknowledger
        if acknowledger is None:
            self.accept(answer)
        else:
            acknowledger(self, answer)

    def accept(self, answer: Answer | None = None) -> None:
        """This subscription is done with the message; the last one's answer is sent."""
        if not self._done:
            self._done = True
            self._missing[0] -= 1
            if not self._missing[0]:
                self.receipt.accept(answer)

    def abandon(self) -> None:
        """This subscription will never be done: nobody acknowledges the message."""
        if not self._done:
            self._done = True
            self.receipt.abandon()


class FilterState:
    """One topic filter, as the server knows it, or is to know it.

    ``identifier`` is its Subscription Identifier (section 3.8.2.1.2), 0 where it has none.
    """

    __slots__ = (
        "asked",
        "granted",
        "identifier",
        "options",
        "subscriptions",
        "told",
        "topic_filter",
        "user_properties",
    )

    def __init__(self, topic_filter: str) -> None:
        self.topic_filter = topic_filter
        self.subscriptions: list[SubscriptionState] = []
        self.granted = False  # the server has said so, in the session that it has now
        self.asked = False  # the server may have it: SUBSCRIBE was sent, and not refused
        self.identifier = 0
        self.told = 0  # the identifier that the server has, in the session that it has now
        self.options = SubscriptionOptions()
        self.user_properties: tuple[tuple[str, str], ...] = ()


_NO_ROUTES: Final[dict[tuple[Any, ...], tuple[SubscriptionState, ...] | None]] = {}


class SubscriptionTable:
    """All subscriptions of a client, by their filters, and the way from a topic to them.

    A server may send a message once for each of several filters that match it. Where that can
    happen, every filter has an identifier, which comes with the message and tells for which of
    them it was sent: so each subscription gets each message once. ``first_identifier`` should be
    another one in every process: messages that the server has kept bear the old ones. 0: none.
    """

    def __init__(self, first_identifier: int = 1) -> None:
        self.subscriptions: dict[SubscriptionState, None] = {}  # a set, in order
        self.filters: dict[str, FilterState] = {}
        self.unmatched: SubscriptionState | None = None
        """Gets the messages that no subscription matches."""
        self.routes: dict[str, tuple[SubscriptionState, ...]] = {}
        """The subscriptions of the topics that were seen last; filled by ``route()``."""
        self.single: dict[str, SubscriptionState] = {}
        """Of those topics that go to one subscription, that one."""
        self.uses_identifiers = False
        self.unidentified: Sequence[FilterState] = ()
        """Those that the server may have without their identifier."""
        self._tree: TopicTree[FilterState] = TopicTree()
        self._routes_by_identifiers = _NO_ROUTES
        self._next_identifier = first_identifier

    def add(self, subscription: SubscriptionState) -> None:
        """From now on the subscription gets what its filters match."""
        self.subscriptions[subscription] = None
        for topic_filter in subscription.topic_filters:
            state = self.filters.get(topic_filter)
            if state is None:
                if (
                    self._next_identifier
                    and not self.uses_identifiers
                    and self._tree.may_overlap(topic_filter)
                ):
                    self._use_identifiers()
                state = self.filters[topic_filter] = FilterState(topic_filter)
                self._tree.add(topic_filter, state)
                if self.uses_identifiers:
                    self._identify(state)
            state.subscriptions.append(subscription)
            state.options = subscription.options
            state.user_properties = subscription.user_properties
        self.forget_routes()

    def _use_identifiers(self) -> None:
        self.uses_identifiers = True
        for state in self.filters.values():
            self._identify(state)
        self.unidentified = list(self.filters.values())

    def _identify(self, state: FilterState) -> None:
        # Each needs a SUBSCRIBE of its own, and so a packet identifier.
        if len(self.filters) <= _MOST_IDENTIFIED:
            state.identifier = self._next_identifier
            self._next_identifier += 1

    def forget_routes(self) -> None:
        """What was remembered is not so any more."""
        self.routes.clear()
        self.single.clear()
        self._routes_by_identifiers.clear()

    def everything(self) -> list[SubscriptionState]:
        """All subscriptions, with the one that takes what no other one matches."""
        return [*self.subscriptions, *([self.unmatched] if self.unmatched else [])]

    def remove(self, subscription: SubscriptionState) -> list[str]:
        """The subscription gets nothing more; return the filters to unsubscribe from."""
        if subscription is self.unmatched:
            self.unmatched = None
            self.forget_routes()
        if subscription not in self.subscriptions:
            return []
        del self.subscriptions[subscription]
        unused = []
        for topic_filter in subscription.topic_filters:
            state = self.filters[topic_filter]
            state.subscriptions.remove(subscription)
            if not state.subscriptions:
                self._tree.remove(topic_filter, state)
                del self.filters[topic_filter]
                if state.asked:
                    unused.append(topic_filter)
        self.forget_routes()
        return unused

    def route(self, topic: str) -> tuple[SubscriptionState, ...]:
        """Find the subscriptions that a topic goes to, each once; remembered in ``routes``."""
        states = self._tree.match(topic)
        found = dict.fromkeys(each for state in states for each in state.subscriptions)
        targets = tuple(found) or ((self.unmatched,) if self.unmatched else ())
        if len(topic) <= _LONGEST_CACHED:
            if len(self.routes) >= _ROUTES_CACHED:
                self.routes.clear()
                self.single.clear()
            self.routes[topic] = targets
            if len(targets) == 1:
                self.single[topic] = targets[0]
        return targets

    def route_by_identifiers(
        self, topic: str, identifiers: Sequence[int]
    ) -> tuple[SubscriptionState, ...] | None:
        """Find those for whose filters the server has sent this copy of a message.

        None: nobody, because they get another copy of it.
        """
        key = (topic, *identifiers)
        known = self._routes_by_identifiers
        if key in known:
            return known[key]
        targets = self._find_by_identifiers(topic, set(identifiers))
        if len(topic) <= _LONGEST_CACHED and len(identifiers) <= _MOST_IDENTIFIERS_CACHED:
            if known is _NO_ROUTES:
                known = self._routes_by_identifiers = {}
            if len(known) >= _ROUTES_CACHED:
                known.clear()
            known[key] = targets
        return targets

    def _find_by_identifiers(
        self, topic: str, identifiers: set[int]
    ) -> tuple[SubscriptionState, ...] | None:
        matching = list(self._tree.match(topic))
        known = {state.identifier for state in matching}
        # Not so if an earlier process has given them, or if not every filter has one.
        if not identifiers <= known or 0 in known:
            return self.route(topic)
        seen: set[SubscriptionState] = set()
        targets: dict[SubscriptionState, None] = {}
        for state in matching:
            # Of a subscription's own filters the first one counts: the server may send a copy
            # for the others, too. A shared one brings messages that are for nobody else.
            shared = is_shared(state.topic_filter)
            for subscription in state.subscriptions:
                if state.identifier in identifiers and (shared or subscription not in seen):
                    targets[subscription] = None
                if not shared:
                    seen.add(subscription)
        return tuple(targets) or None


def check_filters(topic_filters: str | Sequence[str]) -> list[str]:
    """Return one filter or several as a list. Raises UsageError or InvalidTopic."""
    if not isinstance(topic_filters, (str, Iterable)):
        kind = type(topic_filters).__name__
        raise UsageError(f"topic filters are given as a str, or several in a list, not {kind}")
    filters = [topic_filters] if isinstance(topic_filters, str) else list(topic_filters)
    if not filters:
        raise UsageError("give at least one topic filter")
    for topic_filter in filters:
        encode_filter(topic_filter)
    return filters


def check_handler(handler: object, *, may_wait: bool = True) -> None:
    """Raise UsageError if a handler cannot be called, or is a coroutine and may not be one."""
    if handler is not None and not callable(handler):
        raise UsageError(f"a handler is a function, not {type(handler).__name__}")
    if not may_wait and is_coroutine_function(handler):
        raise UsageError("coroutine functions are for AsyncClient: give a plain one as handler")


def is_coroutine_function(function: object) -> bool:
    """``inspect.iscoroutinefunction()``; for plain functions and methods without that module.

    It takes longer to import than half of this package.
    """
    if function is None:
        return False
    plain = getattr(function, "__func__", function)
    if type(plain) is FunctionType and not plain.__dict__:  # where inspect leaves its mark
        return bool(plain.__code__.co_flags & _CO_COROUTINE)
    from inspect import iscoroutinefunction  # noqa: PLC0415

    return iscoroutinefunction(function)


def make_subscription(
    topic_filters: str | Sequence[str],
    *,
    qos: int = 0,
    no_local: bool = False,
    retain_as_published: bool = False,
    retain_handling: int = 0,
    ack: AckMode = "auto",
    buffer_size: int = 1000,
    when_full: WhenBufferFull = "drop_oldest",
    user_properties: Sequence[tuple[str, str]] = (),
) -> SubscriptionState:
    """Check the arguments of ``subscribe()``. Raises UsageError or InvalidTopic."""
    filters = check_filters(topic_filters)
    for topic_filter in filters:
        if no_local and is_shared(topic_filter):  # [MQTT-3.8.3-4]
            raise UsageError(f"{topic_filter!r}: no_local is not allowed on a shared subscription")
    if len(set(filters)) < len(filters):
        raise UsageError("a topic filter is given twice")
    if retain_handling not in (0, 1, 2):
        raise UsageError(f"retain_handling must be 0, 1 or 2, not {retain_handling!r}")
    check_user_properties(user_properties)
    if ack not in ("auto", "manual"):
        raise UsageError(f'ack must be "auto" or "manual", not {ack!r}')
    if when_full not in ("drop_oldest", "drop_newest", "pause"):
        raise UsageError(
            f'when_full must be "drop_oldest", "drop_newest" or "pause", not {when_full!r}'
        )
    if isinstance(buffer_size, bool) or not isinstance(buffer_size, int) or buffer_size < 1:
        raise UsageError(f"buffer_size must be an int of at least 1, not {buffer_size!r}")
    options = SubscriptionOptions(
        check_qos(qos), bool(no_local), bool(retain_as_published), int(retain_handling)
    )
    return SubscriptionState(
        filters,
        options,
        ack=ack,
        buffer_size=buffer_size,
        when_full=when_full,
        user_properties=user_properties,
    )


def share_out(message: Message, count: int) -> list[Message]:
    """Make a message into several, of which each has to be acknowledged."""
    receipt = _receipt(message)
    if not isinstance(receipt, Receipt):
        return [message] * count
    missing = [count]
    copies = []
    for _ in range(count):
        copy = Message(
            message.topic,
            message.payload,
            message.qos,
            message.retain,
            message.dup,
            message.packet_id,
            message.properties,
        )
        copy._receipt = Share(receipt, missing)  # noqa: SLF001
        copies.append(copy)
    return copies
