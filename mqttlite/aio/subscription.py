"""A subscription of the asyncio client."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mqttlite.aio.driver import wake_waiters
from mqttlite.aio.handling import MOST_IN_A_ROW, AsyncHandler, Handling
from mqttlite.client import SubscriptionState, Unsubscribed
from mqttlite.client.base import SubscriptionBase
from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionClosed, UsageError
from mqttlite.message import Message

if TYPE_CHECKING:
    from mqttlite.aio.client import AsyncClient


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
        self._has_handler = handler is not None
        if handler is not None:
            state.owner = Handling(client, state, handler)

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
        if self._in_a_row >= MOST_IN_A_ROW or not state.buffer or self._has_handler:
            if self._has_handler:
                raise UsageError("the messages of this subscription go to its handler")
            return await self._take_next()
        # As _take_next() does it; a call more would be felt.
        self._in_a_row += 1
        taken = state.taken
        if taken is not None or state.is_full:
            if taken is not None:
                state.taken = None
                taken.accept()
            driver = self._client.driver
            if not driver.is_pump_scheduled:
                driver.pump_soon()
        message = state.buffer.popleft()
        if message.qos and state.ack == "auto":
            state.taken = message._receipt  # type: ignore[assignment]  # noqa: SLF001
        return message

    async def _take_next(self) -> Message:
        """Take the next message, for which something may have to be waited."""
        state = self._state
        if self._in_a_row >= MOST_IN_A_ROW:  # others want to run: acknowledgements, the keep alive
            await asyncio.sleep(0)
            self._in_a_row = 0
        while True:
            if state.taken is not None or state.is_full:
                self._accept_taken()
            if state.buffer:
                break
            if state.ended:
                raise state.failure or StopAsyncIteration
            state.wanted = True
            future: asyncio.Future[None] = self._client.driver.loop.create_future()
            self._waiters.append(future)
            try:
                await future
            finally:
                if future in self._waiters:
                    self._waiters.remove(future)
            self._in_a_row = 0
        self._in_a_row += 1
        message = state.buffer.popleft()
        if message.qos:
            state.hand_out(message)
        return message

    async def get(self, timeout: float | None = None) -> Message:
        """Take the next message. Raises TimeoutError, or ConnectionClosed when all is over."""
        try:
            if timeout is None:  # asyncio.timeout() costs as much as all the rest
                return await anext(self)
            async with asyncio.timeout(timeout):
                return await anext(self)
        except StopAsyncIteration:
            raise ConnectionClosed("the subscription has ended", by=ClosedBy.CLIENT) from None

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
        wake_waiters(waiters)

    wake_now = wake
