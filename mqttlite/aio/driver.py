"""Drives a ClientCore with asyncio: the network connection, the timer, and who waits."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from inspect import isawaitable, iscoroutinefunction
from time import monotonic
from typing import Any, Final

from mqttlite.aio.asking import call_in_thread
from mqttlite.aio.dial import connect_socket
from mqttlite.aio.handling import Handling
from mqttlite.aio.link import Link
from mqttlite.client import (
    ClientCore,
    DeliveryState,
    Dial,
    HangUp,
    Operation,
    Question,
    Reporter,
)
from mqttlite.layers.stack import make_layer, needs_time
from mqttlite.protocol.session import Answer, Answerable

FLUSH_SIZE: Final = 64 * 1024
"""Bytes that are sent at once; less is gathered until the loop's next turn."""


_ASKING_TIMEOUT: Final = 1.0
"""Seconds that a coroutine has to end which nobody wants the answer of any more."""

_DROP_TIMEOUT: Final = 0.1
"""Seconds after which a connection that was given up while it was made counts as closed."""

_NONE: Final[dict[Handling, None]] = {}  # a set, which would be larger

_packets_log = logging.getLogger("mqttlite.packets")
_layers_log = logging.getLogger("mqttlite.layers")


class Driver:
    """All of the input and output of one AsyncClient.

    After every call into the core comes ``pump()`` (or ``pump_soon()``, which does it once for
    all that happens in one turn of the loop): it does what the core wants done.
    """

    def __init__(self, core: ClientCore, reporter: Reporter) -> None:
        self.core = core
        self._reporter = reporter
        self._question: Question | None = None
        self._asking: asyncio.Task[None] | None = None
        self._called: asyncio.Future[Any] | None = None  # in a thread, by the last question
        self._loop: asyncio.AbstractEventLoop | None = None
        self._time = monotonic  # that of the loop, once there is one
        self._link: Link | None = None
        self._dialing: asyncio.Task[None] | None = None
        self._hanging_up = False
        self._timer: asyncio.Handle | None = None  # that of uvloop does not tell its time
        self._timer_due = 0.0
        self.is_pump_scheduled = False
        self._has_written = False  # in this turn of the loop, as far as is known
        self.handling = _NONE
        """Those whose handlers are at work beyond a turn of the loop."""
        core.set_acknowledger(self._acknowledge)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the client belongs to: the first in which it was used."""
        if self._loop is None or self._loop.is_closed():
            was_used, loop = self._loop is not None, asyncio.get_running_loop()
            self._loop = loop
            # Asyncio's own loops call monotonic() in a method of theirs: a call less.
            is_plain = getattr(loop.time, "__func__", None) is asyncio.BaseEventLoop.time
            self._time = monotonic if is_plain else loop.time
            if was_used:
                self._begin_anew(loop)
        return self._loop

    def _begin_anew(self, loop: asyncio.AbstractEventLoop) -> None:
        """What was to happen in the loop before never will, for that was closed."""
        self._timer = self._asking = self._called = self._question = None
        self._hanging_up = False
        dialing, self._dialing = self._dialing, None
        link, self._link = self._link, None
        if link is not None:
            link.forsake()
        if link is not None or dialing is not None:
            error = ConnectionAbortedError("the event loop of the connection was closed")
            self.core.transport_closed(loop.time(), error)
        for handling in list(self.handling):
            handling.begin_anew()
        self.is_pump_scheduled = True
        loop.call_soon(self._pump_now)

    def now(self) -> float:
        """The loop's time."""
        return self.loop.time()

    async def wait(self, operation: Operation[Any] | DeliveryState, timeout: float | None) -> None:
        """Wait until an operation is done. Raises TimeoutError."""
        if operation.done:
            return
        future = self.add_waiter(operation)
        try:
            if timeout is None:  # asyncio.timeout() costs as much as all the rest
                await future
            else:
                async with asyncio.timeout(timeout):
                    await future
        finally:
            if not operation.done and operation.waiters is not None:
                operation.waiters.remove(future)

    def add_waiter(self, operation: Operation[Any] | DeliveryState) -> asyncio.Future[None]:
        """Return a future that is done when an operation is, which is not done yet."""
        loop = asyncio.get_running_loop()
        is_other = loop is not self._loop
        if is_other:
            loop = self.loop
        future: asyncio.Future[None] = loop.create_future()
        if is_other and operation.done:  # because the loop before was closed
            future.set_result(None)
            return future
        if operation.waiters is None:
            operation.waiters = [future]
        else:
            operation.waiters.append(future)
        return future

    async def wait_closed(self) -> None:
        """Wait until nothing of the connection is left."""
        if self._asking is not None and self._asking is not asyncio.current_task():
            await asyncio.wait([self._asking], timeout=_ASKING_TIMEOUT)
        if self._dialing is not None:
            await asyncio.wait([self._dialing])
        if self._link is not None:
            await asyncio.wait([self._link.closed])

    def cancel_connect(self) -> None:
        """Nobody waits for ``connect()`` any more."""
        self.core.cancel_connect(self.now())
        self.pump()

    def abort(self) -> None:
        """Drop the connection, without a goodbye and without waiting."""
        self.core.close(self.now(), 0, drain=False)
        self.pump()
        if self._link is not None:
            self._link.abort()

    # --- the pump

    def write_soon(self) -> None:
        """Write what was published: at once, or in the loop's next turn with all that follows.

        The first message of a turn goes out at once, for there may be no other.
        """
        link, loop = self._link, self._loop
        if (
            self._has_written
            or link is None
            or not link.is_writable
            or loop is None
            or loop.is_closed()
        ):
            self.pump_soon()
        else:
            self._has_written = True
            self._write(link)

    def pump_soon(self) -> None:
        """Pump in the loop's next turn, or now if much has gathered."""
        if not self.is_pump_scheduled:
            self.loop.call_soon(self._pump_now)
            self.is_pump_scheduled = True
        elif self.core.unsent_size >= FLUSH_SIZE:
            self.pump()

    def _pump_now(self) -> None:
        self.is_pump_scheduled = False
        self.pump()

    def pump(self) -> None:
        """Do what the core wants done."""
        core = self.core
        self._has_written = False
        if core.has_ready and not core.finished and not core.events:
            self._handle_messages()
        while True:
            while (action := core.take_action()) is not None:
                self._act(action)
            link = self._link
            if link is None or not link.is_writable or not self._write(link):
                break
        if core.finished:
            finished = core.finished.copy()
            core.finished.clear()
            for operation in finished:
                if operation.waiters is not None:
                    wake_waiters(operation.waiters)
        if core.events or core.notices or core.drops.new or core.question is not self._question:
            self._pass_on_news()
        if core.has_ready:
            for subscription in core.take_ready():
                subscription.owner.wake()
        if link is not None:
            link.read(wanted=core.wants_data(self._time()))
            if self._hanging_up and link.is_writable:
                link.finish()
        self._set_timer()

    def _handle_messages(self) -> None:
        """Let handlers have what has come before anything is written: their answers go along."""
        was_scheduled = self.is_pump_scheduled
        self.is_pump_scheduled = True  # the pump that is under way does what is to be done
        for subscription in self.core.take_ready():
            subscription.owner.wake_now()
        self.is_pump_scheduled = was_scheduled

    def handling_lasts(self, handling: Handling) -> None:
        """A handler is at work beyond this turn of the loop: ``close()`` waits for it."""
        if self.handling is _NONE:
            self.handling = {}
        self.handling[handling] = None

    def handling_rests(self, handling: Handling) -> None:
        """A handler has nothing to do any more."""
        self.handling.pop(handling, None)

    def _write(self, link: Link) -> bool:
        """Write what there is, as long as the link takes it; return whether there was any."""
        core = self.core
        data = core.data_to_send(self._time())
        if not data:
            return False
        link.write(data)
        while core.unsent_size and link.is_writable:
            link.write(core.data_to_send(self._time()))
        return True

    def _pass_on_news(self) -> None:
        """Tell the program of everything that is rarer than a message."""
        core = self.core
        events, core.events = core.events, []
        for event in events:
            self._reporter.report(event)
        notices = core.notices.copy()
        core.notices.clear()
        for logger, level, text in notices:
            logging.getLogger(logger).log(level, text)
        if core.drops.new:
            self._reporter.report_drops()
        if core.question is not self._question:
            self._ask(core.question)

    def _act(self, action: Dial | HangUp) -> None:
        if isinstance(action, Dial):
            self._dialing = self.loop.create_task(self._open(action))
            self._dialing.add_done_callback(self._dialed)
        elif self._link is not None:
            if action.graceful:
                self._hanging_up = True
            else:
                self._link.abort()
        elif self._dialing is not None:
            self._dialing.cancel()
        else:
            self.core.transport_closed(self.now())

    def _set_timer(self) -> None:
        # A timer that is too early costs one look; to move it with every packet would cost more.
        deadline = self.core.next_deadline()
        timer = self._timer
        if timer is not None:
            if deadline is not None and self._timer_due <= deadline:
                return
            timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer_due = deadline
            self._timer = self.loop.call_at(deadline, self._deadline)

    def _deadline(self) -> None:
        self._timer = None
        # A loop's clock may be a hair early.
        self.core.handle_deadline(max(self.now(), self._timer_due))
        self.pump()

    # --- the network connection

    def _dialed(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if task is not self._dialing:  # it was opened: what counts now is the link
            return
        self._dialing = None
        if error is None:
            self.core.transport_closed(self.now())
        else:
            failure = error if isinstance(error, Exception) else ConnectionAbortedError()
            self.core.dial_failed(failure, self.now())
        self.pump()

    def link_opened(self, link: Link) -> None:
        """The connection can be used: not a turn of the loop is lost before CONNECT is sent."""
        if self._dialing is None or self._dialing.cancelling():
            link.abort()  # nobody wants it any more, and who has made it is about to know
            return
        self._dialing = None
        self._link = link
        if _packets_log.isEnabledFor(logging.DEBUG) is not self.core.traces_packets:
            self.core.traces_packets = not self.core.traces_packets
        self.core.transport_opened(self.now())
        self.pump()

    async def _open(self, action: Dial) -> None:
        endpoint = action.endpoint
        if needs_time(action):
            layer = await asyncio.to_thread(make_layer, action)
        else:
            layer = make_layer(action)
        links: list[Link] = []

        def make_link() -> Link:
            links.append(Link(self, layer))
            return links[-1]

        connection = await connect_socket(endpoint)
        if endpoint.scheme == "unix":
            connecting = self.loop.create_unix_connection(make_link, sock=connection)
        else:
            connecting = self.loop.create_connection(make_link, sock=connection)
        try:
            transport, _ = await connecting
            if transport.is_closing():  # uvloop has closed it without the socket object
                links[-1].closed.add_done_callback(lambda _: connection.detach())
            await links[-1].opened()
        except BaseException:
            if links:
                await _drop(links[-1], connection)
            else:
                connection.close()
            raise
        _layers_log.debug("connected to %s%s", endpoint, links[-1].describe())

    def room(self) -> memoryview | None:
        """Where the link may put the next bytes itself."""
        return self.core.room()

    def link_filled(self, count: int) -> None:
        """So many bytes have been put into ``room()``."""
        self.core.filled(count, self._time())
        self.pump()

    def link_received(self, data: bytes | memoryview) -> None:
        """Bytes have come."""
        self.core.receive(data, self._time())
        self.pump()

    def link_writable(self) -> None:
        """The network takes bytes again."""
        self.pump()

    def link_lost(self, link: Link, error: Exception | None) -> None:
        """The connection is gone."""
        if link is not self._link:  # it was not wanted
            return
        self._link = None
        self._hanging_up = False
        self.core.transport_closed(self.now(), error)
        self.pump()

    def _acknowledge(self, receipt: Answerable, answer: Answer | None) -> None:
        """What ``Message.ack()`` calls: in any thread, or when the loop has ended."""
        loop = self._loop
        try:
            is_here = asyncio.get_running_loop() is loop
        except RuntimeError:
            is_here = False
        if is_here or loop is None or loop.is_closed():
            receipt.accept(answer)
            if is_here:
                self.pump_soon()
        else:
            loop.call_soon_threadsafe(self._acknowledge, receipt, answer)

    # --- questions to the program

    def _ask(self, question: Question | None) -> None:
        """Call functions of the program; nobody wants the answers of earlier ones any more."""
        self._question = question
        if self._asking is not None:
            self._asking.cancel()
        if question is not None:
            self._asking = self.loop.create_task(self._ask_program(question, self._asking))

    async def _ask_program(self, question: Question, before: asyncio.Task[None] | None) -> None:
        answers: dict[str, Any] = {}
        failure: Exception | None = None
        try:
            if before is not None:
                await asyncio.wait([before])
            for name, function in question.functions.items():
                if iscoroutinefunction(function):
                    answer = await function()
                else:
                    answer = await self._call_in_thread(function)
                answers[name] = await answer if isawaitable(answer) else answer
        except Exception as error:
            failure = error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            failure = RuntimeError("it was cancelled")  # something that the function awaited
            failure.__cause__ = error
        finally:
            if self._asking is asyncio.current_task():
                self._asking = None
        if question is self._question:
            self._question = None
        self.core.answered(question, answers, failure, self.now())
        self.pump()

    async def _call_in_thread(self, function: Callable[[], Any]) -> Any:
        """Call a function when the one before has ended, if nobody wants that any more."""
        if self._called is not None:
            await asyncio.wait([self._called])
        self._called = call_in_thread(function)
        return await asyncio.shield(self._called)


def wake_waiters(futures: Iterable[asyncio.Future[None]]) -> None:
    """Let those go on who wait for something that has come."""
    for future in futures:
        if not future.done():
            try:
                future.set_result(None)
            except RuntimeError:  # its loop was closed, with who waits in it
                continue


async def _drop(link: Link, connection: socket.socket) -> None:
    """Close a connection that is not wanted any more, and wait until it is closed."""
    link.abort()
    # Uvloop does not tell of the end of a connection that create_connection() has closed, and
    # closes the descriptor without the socket object.
    await asyncio.wait([link.closed], timeout=_DROP_TIMEOUT)
    connection.detach()
