"""Calls the handler of a subscription with its messages, one after the other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from mqttlite.client import SubscriptionState
from mqttlite.message import Message

if TYPE_CHECKING:
    from mqttlite.aio.client import AsyncClient

AsyncHandler = Callable[[Message], Awaitable[object] | object]
"""What handles messages: a plain function, or one that is awaited."""

MOST_IN_A_ROW: Final = 200
"""Messages after which others get their turn: acknowledgements, the keep alive, the program."""

_CANCEL_TIMEOUT: Final = 1.0
"""Seconds that a cancelled handler has to end."""

handled_by: ContextVar[Handling | None] = ContextVar("handled_by", default=None)
"""Who calls the handler that is running; also in the tasks that it has started."""

_log = logging.getLogger("mqttlite.aio")


class Handling:
    """Calls the handler of one subscription.

    A plain function is called as soon as its message has come, without a task, which would have
    to be woken for each message that comes alone. A result that is to be awaited gets one, which
    lives until there is nothing left to do. Either way it is in the context of ``subscribe()``.
    """

    def __init__(
        self, client: AsyncClient, state: SubscriptionState, handler: AsyncHandler
    ) -> None:
        self._client = client
        self._state = state
        self._handler = handler
        self._context = copy_context()
        self._context.run(handled_by.set, self)
        self._is_busy = False
        self._has_ended = False  # the handler is not to be called any more
        self._task: asyncio.Task[None] | None = None  # that awaits a result
        self._rested: asyncio.Future[None] | None = None  # done when it is not busy any more
        state.wanted = True

    def wake_now(self) -> None:
        """Messages have come: handle them. The driver calls this, and pumps afterwards."""
        if not self._is_busy:
            self._is_busy = True
            self._turn()

    def wake(self) -> None:
        """There are messages, or there will be none: see to them in the loop's next turn."""
        if not self._is_busy:
            self._is_busy = True
            self._turn_soon()

    def _turn_soon(self) -> None:
        driver = self._client.driver
        driver.handling_lasts(self)
        driver.loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Handle messages for a while, and see to it that the rest of them is handled, too."""
        state, driver = self._state, self._client.driver
        pending = self._context.run(self._work)
        if state.is_full and not driver.is_pump_scheduled:
            driver.pump_soon()  # reading may go on
        if pending is not None:
            self._start(*pending)
        elif state.buffer and not self._has_ended:
            self._turn_soon()
        else:
            self._rest()

    def _work(self) -> tuple[Message, Awaitable[object]] | None:
        """Handle messages up to one whose result is to be awaited: return it, and the result."""
        state, driver, handler = self._state, self._client.driver, self._handler
        buffer = state.buffer
        for _ in range(MOST_IN_A_ROW):
            if not buffer or self._has_ended:
                break
            message = buffer.popleft()
            if message.qos:
                state.hand_out(message)
            try:
                result: Any = handler(message)
                if result is not None and isawaitable(result):
                    return message, result
            except BaseException as error:
                if self._failed(message, error):
                    driver.loop.call_soon(_raise, error)
            else:
                taken = state.taken
                if taken is not None:
                    state.taken = None
                    taken.accept()
                    if not driver.is_pump_scheduled:
                        driver.pump_soon()
        return None

    def _start(self, message: Message, result: Awaitable[object]) -> None:
        """Let a task await a result, and go on with the messages behind it."""
        driver = self._client.driver
        loop = driver.loop
        driver.handling_lasts(self)
        going_on = self._go_on(message, result)
        if loop.get_task_factory() is None:
            task = loop.create_task(going_on, context=self._context)
        else:  # it need not know of contexts
            task = self._context.run(loop.create_task, going_on)
        if not task.done():  # as an eager one may be
            self._task = task
            task.add_done_callback(partial(self._ended, message, result))

    def _ended(self, message: Message, result: Awaitable[object], task: asyncio.Task[None]) -> None:
        """A task has ended; one that was cancelled before it began has not seen to anything."""
        if self._task is task:
            if isinstance(result, Coroutine):
                result.close()
            self._task = None
            self._has_ended = True
            self._state.reject(message)
            self._client.driver.pump_soon()
            self._rest()

    async def _go_on(self, message: Message, result: Any) -> None:
        """Await what the handler has returned for a message, and handle those behind it."""
        state, driver, handler = self._state, self._client.driver, self._handler
        buffer = state.buffer
        in_a_row = 0
        try:
            while True:
                try:
                    if result is None:  # not so for the first one
                        result = handler(message)
                    if result is not None and isawaitable(result):
                        await result
                except GeneratorExit:  # there is no loop any more
                    state.reject(message)
                    raise
                except BaseException as error:
                    if self._failed(message, error):
                        raise
                else:
                    # Here and below as finish_taken() and take() do it: calls would be felt.
                    taken = state.taken
                    if taken is not None:
                        state.taken = None
                        taken.accept()
                if (message.qos or state.is_full) and not driver.is_pump_scheduled:
                    driver.pump_soon()
                in_a_row += 1
                if in_a_row >= MOST_IN_A_ROW:
                    in_a_row = 0
                    await asyncio.sleep(0)
                if not buffer or self._has_ended:
                    break
                result = None
                message = buffer.popleft()
                if message.qos:
                    state.hand_out(message)
        except BaseException as error:
            self._has_ended = True
            if isinstance(error, GeneratorExit):  # and so nobody who waits
                self._rested = None
            raise
        finally:
            self._task = None
            self._rest()

    def _failed(self, message: Message, error: BaseException) -> bool:
        """The handler has raised; return whether it is not to be called again because of that."""
        # The message is not acknowledged: the server delivers it again in the next connection.
        self._state.reject(message)
        self._client.driver.pump_soon()  # it may have held back the acknowledgements of others
        if isinstance(error, (KeyboardInterrupt, SystemExit)):  # they end the event loop
            self._has_ended = True
            return True
        task = self._task
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            return True  # it is this task that is cancelled, not one that the handler awaited
        self._client.report_handler_error(error, message)
        return False

    def _rest(self) -> None:
        """There is nothing to do."""
        state = self._state
        state.wanted = True
        self._is_busy = False
        self._client.driver.handling_rests(self)
        if self._rested is not None:
            self._rested.set_result(None)
            self._rested = None
        if state.ended and not self._has_ended:
            self._has_ended = True
            if state.failure is not None:
                filters = ", ".join(state.topic_filters)
                _log.warning("the subscription to %s ended: %s", filters, state.failure)

    def begin_anew(self) -> None:
        """There is another loop: in the one before, nothing goes on."""
        self._rested = None
        if self._task is None:
            self._turn_soon()
        else:  # as if it had been cancelled
            self._task = None
            self._has_ended = True
            self._rest()

    async def stop(self, timeout: float) -> None:
        """Let the handler finish what it is at, for a while, then cancel it."""
        if not self._is_busy:
            return
        if self._rested is None:
            self._rested = self._client.driver.loop.create_future()
        rested = self._rested
        await asyncio.wait([rested], timeout=timeout)
        if not rested.done():
            self._has_ended = True
            if self._task is not None:
                self._task.cancel()
            await asyncio.wait([rested], timeout=_CANCEL_TIMEOUT)
        if not rested.done():
            _log.warning("the handler of %s does not end", ", ".join(self._state.topic_filters))


def _raise(error: BaseException) -> None:
    raise error
