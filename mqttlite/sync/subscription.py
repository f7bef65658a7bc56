"""A subscription of the threaded client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from mqttlite.client import Operation, SubscriptionState, Unsubscribed
from mqttlite.client.base import SubscriptionBase
from mqttlite.enums import ClosedBy
from mqttlite.errors import ConnectionClosed, UsageError
from mqttlite.message import Message

if TYPE_CHECKING:
    from mqttlite.sync.client import Client
    from mqttlite.sync.driver import Driver

Handler = Callable[[Message], object]
"""What handles messages."""

_AT_ONCE = 100
"""Messages that a handler gets before those of other subscriptions have their turn."""


class Subscription(SubscriptionBase):
    """Messages of some topic filters; made by ``Client.subscribe()``.

    Use it in a ``with`` block, which unsubscribes at its end. Iterate over it, or call
    ``get()``: by one consumer at a time. Taking the next message acknowledges the one before,
    as does leaving the block; leaving it by an exception does not.
    """

    def __init__(
        self,
        client: Client,
        state: SubscriptionState,
        handler: Handler | None,
        timeout: float | None,
    ) -> None:
        super().__init__(state)
        self._client = client
        self._timeout = timeout
        self._waiters: list[threading.Lock] = []
        self._handler = handler
        state.wanted = handler is not None

    def wait_subscribed(self, operation: Operation[dict[str, int]]) -> None:
        """Wait for the server's answer: called by ``Client.subscribe()``."""
        client = self._client
        try:
            try:
                client.driver.wait(operation, self._timeout)
            except TimeoutError:
                raise TimeoutError("the server did not answer SUBSCRIBE in time") from None
            operation.result()
        except BaseException:
            client.end_subscription(self)  # nobody has it
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.driver.call(self._state.finish_taken, processed=exc_type is None)
        self.unsubscribe(processed=exc_type is None)

    def unsubscribe(
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
        self._client.driver.wait(operation, timeout)
        return operation.result()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = self._next(None)
        if message is None:
            raise StopIteration
        return message

    def get(self, timeout: float | None = None) -> Message:
        """Take the next message. Raises TimeoutError, or ConnectionClosed when all is over."""
        message = self._next(timeout)
        if message is None:
            raise ConnectionClosed("the subscription has ended", by=ClosedBy.CLIENT)
        return message

    def _next(self, timeout: float | None) -> Message | None:
        if self._handler is not None:
            raise UsageError("the messages of this subscription go to its handler")
        message = self._take()
        if message is None:
            message = self._wait_for_message(timeout)
        return message

    def _take(self) -> Message | None:
        """Take the next message, if there is one. This is the hot path of taking them."""
        driver, state = self._client.driver, self._state
        with driver.lock:
            taken = state.taken
            if taken is not None:
                state.taken = None
                taken.accept()
            if state.buffer:
                message = state.buffer.popleft()
                if message.qos:
                    state.hand_out(message)
            else:
                message = None
            if taken is not None or state.is_full:
                self._pass_on(driver)
        return message

    def _pass_on(self, driver: Driver) -> None:
        """The message before may have been acknowledged, or there may be room again."""
        driver.flush_answers()
        if self._state.is_full and self._state.has_room:
            driver.wake()

    def _wait_for_message(self, timeout: float | None) -> Message | None:
        driver, state = self._client.driver, self._state
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            with driver.lock:
                message = state.take()
                if message is not None:
                    return message
                if state.ended:
                    if self._state.failure is not None:
                        raise self._state.failure
                    return None
                state.wanted = True
                driver.write_pending()
                waiter = threading.Lock()
                waiter.acquire()
                self._waiters.append(waiter)
            left = -1.0 if deadline is None else max(0.0, deadline - monotonic())
            in_time = False
            try:
                in_time = waiter.acquire(timeout=left)
            finally:
                if not in_time:  # or it was a KeyboardInterrupt
                    with driver.lock:
                        if waiter in self._waiters:
                            self._waiters.remove(waiter)
            if not in_time:
                raise TimeoutError(f"no message within {timeout:g} seconds")

    def wake(self) -> None:
        """There are messages, or there will be none: called by the driver, without its lock."""
        if self._handler is not None:
            self._client.dispatcher.put(self._handle_some)
            return
        with self._client.driver.lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()

    def _handle_some(self) -> None:
        """Hand messages to the handler: called in the dispatcher's thread."""
        handler = self._handler
        assert handler is not None
        driver, state = self._client.driver, self._state
        for _ in range(_AT_ONCE):
            message = self._take()  # and acknowledge the one that was handled before
            if message is None:
                with driver.lock:
                    if not state.buffer:
                        state.wanted = True
                        driver.write_pending()
                        return
                continue
            try:
                handler(message)
            except BaseException as error:  # sys.exit() does not end another's thread
                # It is not acknowledged: the server delivers it again in the next connection.
                driver.call(state.reject, message)
                self._client.report_handler_error(error, message)
        with driver.lock:
            state.finish_taken(processed=True)
            self._pass_on(driver)
        self._client.dispatcher.put(self._handle_some)
