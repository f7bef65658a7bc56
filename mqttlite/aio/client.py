"""The client for asyncio."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from os import urandom
from types import TracebackType
from typing import Any, Final, Self, Unpack, cast

from mqttlite.aio.delivery import AsyncDelivery
from mqttlite.aio.driver import FLUSH_SIZE, Driver
from mqttlite.aio.handling import AsyncHandler, Handling, handled_by
from mqttlite.aio.subscription import AsyncSubscription
from mqttlite.client import (
    ClientCore,
    Event,
    Operation,
    SubscriptionState,
    Unsubscribed,
    make_subscription,
)
from mqttlite.client.base import ClientBase, make_goodbye, random_fraction
from mqttlite.client.options import ClientOptions
from mqttlite.client.subscriptions import AckMode, WhenBufferFull, check_handler
from mqttlite.enums import Fate, ReasonCode
from mqttlite.errors import OperationError
from mqttlite.message import (
    Message,
    Payload,
    Properties,
    PublishProperties,
    as_bytes,
    check_qos,
)
from mqttlite.packets import Connack, SubscriptionOptions

_PENDING: Final = Fate.PENDING

_NOBODY: Final[dict[Handling, None]] = {}  # a set, which would be larger

_log = logging.getLogger("mqttlite.aio")


class AsyncClient(ClientBase):
    """An MQTT client for asyncio; ``Client`` is the same for threads.

    Use it in an ``async with`` block, which connects and closes, or call ``connect()`` and
    ``close()``. It belongs to the event loop in which it is used, and to one thread; if that
    loop is closed under a connection, this is lost, and the client goes on in the next loop.
    The arguments are those of ``ClientBase``.
    """

    def _set_up(self, options: ClientOptions) -> ClientCore:
        core = ClientCore(options, random_fraction)
        self.driver = Driver(core, self)
        self._reporting: asyncio.AbstractEventLoop | None = None  # which will report drops
        self._closers = _NOBODY  # whose handlers are in close()
        return core

    # --- connecting and closing

    async def connect(self) -> Connack:
        """Connect, and return what the server said (MQTT 5.0 section 3.2).

        Raises ConnectRefused, ConnectFailed (name lookup, TCP, TLS), ProtocolError, or
        TimeoutError after ``connect_timeout`` seconds; UsageError if it is connected already.
        A failed or cancelled connect leaves nothing behind, and may be repeated.
        """
        driver = self.driver
        operation = self._core.connect(driver.now())
        driver.pump()
        try:
            await driver.wait(operation, None)
        except GeneratorExit:  # its loop was closed, and there may be another one
            raise
        except BaseException:
            driver.cancel_connect()
            await driver.wait_closed()
            raise
        if self.is_idle:
            await driver.wait_closed()
        return operation.result()

    async def close(
        self,
        timeout: float = 5.0,
        *,
        drain: bool = True,
        reason_code: int = ReasonCode.NORMAL_DISCONNECTION,
        reason_string: str | None = None,
        user_properties: Sequence[tuple[str, str]] = (),
        session_expiry_interval: int | None = None,
    ) -> None:
        """Close the connection, and end all subscriptions; ends within ``timeout`` seconds.

        First waits until everything that was accepted for publishing is acknowledged, unless
        ``drain`` is False; what is not then fails with PublishError. May be called twice, and
        from a handler. A closed client can connect again.

        The rest is what DISCONNECT says (MQTT 5.0 section 3.14): the ``reason_code``, 0x04 for
        example to have the will published, and ``session_expiry_interval``, the seconds for
        which the session is to be kept after all, or no longer. Raises UsageError for what
        cannot be sent, NotSupported in MQTT 3.x.
        """
        goodbye = make_goodbye(reason_code, reason_string, user_properties, session_expiry_interval)
        driver = self.driver
        started = driver.now()
        operation = self._core.close(started, timeout, drain=drain, goodbye=goodbye)
        driver.pump()
        try:
            await driver.wait(operation, timeout + 1.0)
        except GeneratorExit:  # as in connect()
            raise
        except BaseException:
            driver.abort()
            await driver.wait_closed()
            raise
        await driver.wait_closed()
        closer = handled_by.get()
        if closer is not None:
            if self._closers is _NOBODY:
                self._closers = {}
            self._closers[closer] = None
        try:
            for handling in list(driver.handling):
                # A handler does not wait for those that wait for the end as well.
                if closer is None or handling not in self._closers:
                    left = timeout - (driver.now() - started)
                    await handling.stop(max(left, 0.0))
        finally:
            if closer is not None:
                self._closers.pop(closer, None)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close(drain=exc_type is None)

    # --- publishing

    async def publish(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        timeout: float | None = None,
        **properties: Unpack[PublishProperties],
    ) -> AsyncDelivery:
        """Publish a message and wait for its outcome (MQTT 5.0 section 3.3).

        With QoS 0 that is to hand it to the network, with QoS 1 and 2 the acknowledgement, for
        which a lost connection is restored. Cancelling, or ``timeout`` (seconds), ends the wait
        and does not take back a message that was accepted.

        Raises UsageError for what MQTT or the server does not allow, before anything is sent;
        QueueFull; PublishError if the message was refused or lost; ConnectionClosed; TimeoutError.
        """
        delivery = self._start(topic, payload, qos, retain, properties, True)
        if delivery.fate is _PENDING:
            try:
                if timeout is None:  # a coroutine less
                    await self.driver.add_waiter(delivery)
                else:
                    await self.driver.wait(delivery, timeout)
            except BaseException:
                self._core.withdraw(delivery)
                raise
        if delivery.error is not None:
            raise delivery.error
        return delivery

    def publish_nowait(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        **properties: Unpack[PublishProperties],
    ) -> AsyncDelivery:
        """Publish a message without waiting; the Delivery tells, now or later, what became of it.

        Raises as ``publish()`` for what cannot be accepted; QueueFull if the outbox is full.
        """
        return self._start(topic, payload, qos, retain, properties, False)

    def _start(
        self,
        topic: str,
        payload: Payload,
        qos: int,
        retain: bool,
        properties: PublishProperties,
        can_wait: bool,
    ) -> AsyncDelivery:
        """Check and send a message, or queue it. This is the hot path of publishing."""
        driver = self.driver
        delivery = AsyncDelivery(
            topic,
            payload if type(payload) is bytes else as_bytes(payload),
            0 if qos == 0 else 1 if qos == 1 else check_qos(qos),
            bool(retain) if retain else False,
            cast("Properties", properties) if properties else None,
            driver,
        )
        unsent = self._core.publisher.send_at_once(delivery)
        if not unsent:
            self._core.publish(delivery, driver.now(), can_wait=can_wait)
            driver.pump_soon()
        elif unsent >= FLUSH_SIZE or not driver.is_pump_scheduled:
            driver.write_soon()
        return delivery

    # --- subscribing

    def subscribe(
        self,
        topic_filters: str | Sequence[str],
        *,
        qos: int = 0,
        handler: AsyncHandler | None = None,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
        user_properties: Sequence[tuple[str, str]] = (),
        ack: AckMode = "auto",
        buffer_size: int = 1000,
        when_full: WhenBufferFull = "drop_oldest",
        timeout: float | None = None,
    ) -> AsyncSubscription:
        """Subscribe to topic filters (MQTT 5.0 section 3.8); ``await`` it, or ``async with`` it.

        The subscription survives reconnections. It may be declared before ``connect()``, so
        that nothing is missed which the server has kept for this client.

        Args:
            topic_filters: One filter, or several that share the options.
            qos: The highest QoS at which to receive.
            handler: Called with every message, one after the other; a coroutine is awaited. A
                plain function should return soon: it is called where the network is read.
                Without it, iterate over the subscription.
            no_local: Do not receive what this client itself publishes.
            retain_as_published: Keep the RETAIN flag as the publisher set it.
            retain_handling: When to get retained messages: see ``RetainHandling``.
            user_properties: Name and value pairs for SUBSCRIBE.
            ack: ``"auto"``: a message is acknowledged when the next one is taken or the handler
                returns; ``"manual"``: by ``message.ack()``.
            buffer_size: How many messages wait here for the program. When there are more,
                nothing is read until half of them are taken, so that a program that keeps up
                loses nothing; but not for longer than 0.25 seconds in which it takes less.
            when_full: Which QoS 0 message is dropped then; or ``"pause"``: nothing is read from
                the server any more, acknowledgements neither, until half of them are taken. So
                do not wait for the server where they are taken.
            timeout: Seconds for the server's answer; None: no limit.

        Raises UsageError for arguments that cannot work, NotSupported for what the server or
        its protocol version cannot do; awaiting raises SubscribeError if it refuses a filter.
        """
        check_handler(handler)
        _ = self.driver.loop  # without a running loop: a RuntimeError, before anything is done
        state = make_subscription(
            topic_filters,
            qos=qos,
            no_local=no_local,
            retain_as_published=retain_as_published,
            retain_handling=retain_handling,
            ack=ack,
            buffer_size=buffer_size,
            when_full=when_full,
            user_properties=user_properties,
        )
        self._core.subscribe(state)
        self.driver.pump_soon()
        return AsyncSubscription(self, state, handler, timeout)

    def unmatched(
        self,
        *,
        handler: AsyncHandler | None = None,
        ack: AckMode = "auto",
        buffer_size: int = 1000,
        when_full: WhenBufferFull = "drop_oldest",
    ) -> AsyncSubscription:
        """Receive the messages that no subscription matches, as of a session's earlier life.

        Without it they are acknowledged, counted in ``unmatched_messages``, and dropped.
        """
        check_handler(handler)
        state = SubscriptionState(
            (),
            SubscriptionOptions(qos=2),
            ack=ack,
            buffer_size=buffer_size,
            when_full=when_full,
        )
        self._core.subscribe_unmatched(state)
        return AsyncSubscription(self, state, handler, None)

    async def unsubscribe(
        self,
        topic_filters: str | Sequence[str],
        *,
        user_properties: Sequence[tuple[str, str]] = (),
        timeout: float | None = None,
    ) -> Unsubscribed:
        """Unsubscribe from filters, those of a resumed session too (MQTT 5.0 section 3.10).

        Subscriptions that have one of these filters end. Returns what the server said. Raises
        InvalidTopic, UnsubscribeError, ConnectionClosed if not connected, TimeoutError.
        """
        operation = self._core.unsubscribe_filters(topic_filters, user_properties)
        self.driver.pump_soon()
        await self.driver.wait(operation, timeout)
        return operation.result()

    # --- authentication

    async def reauthenticate(self, timeout: float | None = None) -> None:
        """Authenticate anew on the same connection (MQTT 5.0 section 4.12.1).

        Raises UsageError without ``auth``, ConnectionClosed if there is no connection or the
        server ends it, AuthError if the handler fails, TimeoutError after ``timeout`` seconds.
        """
        operation = self._core.reauthenticate()
        self.driver.pump()
        await self.driver.wait(operation, timeout)
        operation.result()

    # --- requests

    async def request(
        self,
        topic: str,
        payload: Payload = b"",
        *,
        qos: int = 1,
        timeout: float = 10.0,
        **properties: Unpack[PublishProperties],
    ) -> Message:
        """Publish a request and return the answer to it (MQTT 5.0 section 4.10).

        The response topic and correlation data are seen to. Raises NotSupported in MQTT 3.x,
        OperationError if nobody subscribes to the topic, TimeoutError after ``timeout``
        seconds, and what ``publish()`` raises.
        """
        core = self._core
        async with asyncio.timeout(timeout):
            opened = core.open_replies(urandom(8).hex())
            self.driver.pump_soon()
            await self.driver.wait(opened, None)
            opened.result()
            response_topic, correlation_data, answer = core.expect_reply()
            try:
                properties["response_topic"] = response_topic
                properties["correlation_data"] = correlation_data
                delivery = await self.publish(topic, payload, qos=qos, **properties)
                if delivery.reason_code == ReasonCode.NO_MATCHING_SUBSCRIBERS:
                    raise OperationError(f"nobody answers requests to {topic!r}")
                await self.driver.wait(answer, None)
            finally:
                core.forget_reply(correlation_data)
        return answer.result()

    # --- for the parts of this package

    def end_subscription(
        self,
        subscription: AsyncSubscription,
        *,
        processed: bool = True,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> Operation[Unsubscribed]:
        """End a subscription."""
        state = subscription._state  # noqa: SLF001 - a part of this package
        operation = self._core.end_subscription(
            state, processed=processed, user_properties=user_properties
        )
        self.driver.pump_soon()
        return operation

    def report_handler_error(self, error: BaseException, message: Message) -> None:
        """A handler has raised."""
        _log.error("the handler for %r raised", message.topic, exc_info=error)
        if self._on_error is not None:
            self.driver.loop.call_soon(self._call, self._on_error, error, message)

    def report(self, event: Event) -> None:
        """Something has happened to the connection."""
        callback = self._callbacks.get(type(event))
        if callback is not None:
            self.driver.loop.call_soon(self._call, callback, event)

    def report_drops(self) -> None:
        """Messages were dropped."""
        loop = self.driver.loop
        if self._reporting is not loop:
            self._reporting = loop
            loop.call_soon(self._call_on_dropped)

    def _call_on_dropped(self) -> None:
        self._reporting = None
        for dropped in self._core.drops.take_new():
            self._call(self._on_dropped, dropped)

    def _call(self, callback: Any, *args: Any) -> None:
        handled_by.set(None)  # the connection may have been read from in a handler's context
        try:
            callback(*args)
        except Exception:
            _log.exception("a callback raised")
