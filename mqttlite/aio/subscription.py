"""A subscription of the asyncio client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextvars import ContextVar
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mqttlite.client import SubscriptionState, Unsubscribed
from mqttlite.client.base import SubscriptionBase
from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionClosed, UsageError
from mqttlite.message import Message

if TYPE_CHECKING:
    from mqttlite.aio.client import AsyncClient

AsyncHandler = Callable[[Message], Awaitable[object] | object]
"""What handles messages: a plain function, or one that is awaited."""

_MOST_IN_A_ROW = 200

_CANCEL_TIMEOUT = 1.0
"""Seconds that a cancelled handler has to end."""

handled_by: ContextVar[AsyncSubscription | None] = ContextVar("handled_by", default=None)
"""The subscription whose handler is running; also in the tasks that it has started."""

_log = logging.getLogger("mqttlite.aio")


class AsyncSubscription(SubscriptionBase):
    """Messages of some topic filters; made by ``AsyncClient.subscribe()``.

    ``await`` it for the server's answer, or use it in an ``async with`` block, which
    unsubscribes at its end. Iterate over it with ``async for``, or call ``get()``: by one
    consumer at a time. Taking the next message acknowledges the one before, as does leaving the
    block; leaving it by an exception does not.
    """

    def __init__(
        self,
        client: AsyncClient,
        state: SubscriptionState,
        handler: AsyncHandler | None,
        timeout: float | None,
    ) -> None:
        super().__init__(state)
        self._client = client
        self._timeout = timeout
        self._waiters: list[asyncio.Future[None]] = []
        self._in_a_row = 0  # messages that were taken without giving others their turn
        self.task: asyncio.Task[None] | None = None
        """The task that calls the handler, if there is one."""
        self._handler = handler
        if handler is not None:
            self.task = client.driver.loop.create_task(self._handle_all(handler))

    def __await__(self) -> Generator[None, None, Self]:
        return self._subscribed().__await__()

    async def _subscribed(self) -> Self:
        client = self._client
        if client.is_idle:  # declared before connect()
            return self
        operation = self._state.subscribed
        try:
            await client.driver.wait(operation, self._timeout)
        except TimeoutError:
            client.end_subscription(self)
            raise TimeoutError("the server did not answer SUBSCRIBE in time") from None
        except BaseException:
            client.end_subscription(self)
            raise
        try:
            operation.result()
        except BaseException:
            client.end_subscription(self)  # nobody has it
            raise
        return self

    async def __aenter__(self) -> Self:
        try:
            return await self
        except BaseException:
            self._client.end_subscription(self)
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._state.finish_taken(processed=exc_type is None)
        await self.unsubscribe(processed=exc_type is None)

    async def unsubscribe(
        self,
        timeout: float | None = 10.0,
        *,
        processed: bool = True,
        user_properties: Sequence[tuple[str, str]] = (),
    ) -> Unsubscribed:
        """End the subscription, and wait for the server's answer for ``timeout`` seconds.

        Messages that were received and not taken are acknowledged, or left to be delivered
        again if they are not ``processed``. Returns what the server said. Raises
        UnsubscribeError if it refuses, and TimeoutError; ended it is in any case.
        """
        operation = self._client.end_subscription(
            self, processed=processed, user_properties=user_properties
        )
        await self._client.driver.wait(operation, timeout)
        return operation.result()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        state = self._state
        if self._in_a_row >= _MOST_IN_A_ROW or not state.buffer or self._handler is not None:
            if self._handler is not None:
                raise UsageError("the messages of this subscription go to its handler")
            return await self._take_next()
        # As _take() does it; a call more would be felt.
        self._in_a_row += 1
        if state.taken is not None or state.is_full:
            self._accept_taken()
        message = state.buffer.popleft()
        if message.qos and state.ack == "auto":
            state.taken = message._receipt  # type: ignore[assignment]  # noqa: SLF001
        return message

    async def _take_next(self) -> Message:
        """Take the next message, for which something may have to be waited."""
        if self._in_a_row >= _MOST_IN_A_ROW:  # others want to run: acknowledgements, the keep alive
            await asyncio.sleep(0)
            self._in_a_row = 0
        while True:
            message = self._take()
            if message is not None:
                return message
            if self._state.ended:
                raise self._failure or StopAsyncIteration
            self._state.wanted = True
            future: asyncio.Future[None] = self._client.driver.loop.create_future()
            self._waiters.append(future)
            try:
                await future
            finally:
                if future in self._waiters:
                    self._waiters.remove(future)
            self._in_a_row = 0

    async def get(self, timeout: float | None = None) -> Message:
        """Take the next message. Raises TimeoutError, or ConnectionClosed when all is over."""
        try:
            if timeout is None:  # asyncio.timeout() costs as much as all the rest
                return await anext(self)
            async with asyncio.timeout(timeout):
                return await anext(self)
        except StopAsyncIteration:
            raise ConnectionClosed("the subscription has ended", by=ClosedBy.CLIENT) from None

    def _take(self) -> Message | None:
        """Take the next message, if there is one."""
        self._in_a_row += 1
        state = self._state
        if state.taken is not None or state.is_full:
            self._accept_taken()
        if not state.buffer:
            return None
        message = state.buffer.popleft()
        if message.qos:
            state.hand_out(message)
        return message

    def _accept_taken(self) -> None:
        """The message before has been processed, and there may be room again."""
        taken = self._state.taken
        if taken is not None:
            self._state.taken = None
            taken.accept()
        driver = self._client.driver
        if not driver.is_pump_scheduled:
            driver.pump_soon()

    def wake(self) -> None:
        """There are messages, or there will be none: called by the driver."""
        waiters, self._waiters = self._waiters, []
        for future in waiters:
            if not future.done():
                future.set_result(None)

    async def _handle_all(self, handler: AsyncHandler) -> None:
        handled_by.set(self)
        while True:
            message = self._take() if self._in_a_row < _MOST_IN_A_ROW else None
            if message is None:
                try:
                    message = await self._take_next()
                except StopAsyncIteration:
                    return
                except Exception as error:
                    filters = ", ".join(self.topic_filters)
                    _log.warning("the subscription to %s ended: %s", filters, error)
                    return
            try:
                result = handler(message)
                if result is not None and isawaitable(result):
                    await result
            except BaseException as error:
                if self._failed(message, error):
                    raise
            else:
                if message.qos:
                    self._accept_taken()

    def _failed(self, message: Message, error: BaseException) -> bool:
        """A handler has raised; return whether its task is to end because of that."""
        # It is not acknowledged: the server delivers it again in the next connection.
        self._state.reject(message)
        if isinstance(error, GeneratorExit):  # there is no loop any more
            return True
        self._client.driver.pump_soon()  # it may have held back the acknowledgements of others
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            return True  # it is this task that is cancelled, not one that the handler awaited
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            return True  # they end the event loop
        self._client.report_handler_error(error, message)
        return False

    async def stop_handler(self, timeout: float) -> None:
        """Let the handler finish what it is at, for a while, then cancel it."""
        task = self.task
        if task is None:
            return
        _, pending = await asyncio.wait([task], timeout=timeout)
        if pending:
            task.cancel()
            _, pending = await asyncio.wait([task], timeout=_CANCEL_TIMEOUT)
        if pending:
            _log.warning("the handler of %s does not end", ", ".join(self.topic_filters))
