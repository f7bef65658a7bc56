"""Drives a ClientCore with threads: one for the network, and the callers who lend a hand.

One lock guards the core. Whoever holds it may write to the socket; only the I/O thread reads
from it, and opens and closes it. Nobody is woken and no user's function is called under the lock.
"""

from __future__ import annotations

import atexit
import logging
import os
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, ParamSpec, TypeVar, cast
from weakref import WeakSet

from mqttlite.client import (
    ClientCore,
    DeliveryState,
    Dial,
    Disconnected,
    HangUp,
    Operation,
    Question,
    Reporter,
    SubscriptionState,
)
from mqttlite.errors import UsageError
from mqttlite.layers.stack import Layer
from mqttlite.packets import Connack
from mqttlite.protocol.session import Answer, Answerable
from mqttlite.sync.asking import Asker
from mqttlite.sync.dial import DialCancelled, dial, dial_at_once

FLUSH_SIZE: Final = 64 * 1024
"""Bytes that a caller who publishes writes himself, before they become too many."""

_FIRST_READ_SIZE: Final = 4 * 1024
"""Bytes of the read buffer until it is filled for the first time, as those of few clients are."""

_READ_SIZE: Final = 64 * 1024
_READS_AT_ONCE: Final = 8
"""Buffers that are read before the core gets them all to see, and callers their turn."""

_MOST_INTO_ROOM: Final = 4 * 1024 * 1024
"""Bytes of a large payload that are read before the core hears of it."""

_QUICK_SUCCESSION: Final = 0.0001
"""Seconds: who publishes more often than this, with nothing coming in between, is not after
latency, and leaves the writing to the I/O thread, which sends all that has gathered at once."""

_LINGER: Final = 0.0005
"""Seconds that the I/O thread then gives the others to publish more: two threads that take turns
message by message spend more time on that than on the messages. Who waits for anything writes
before, and so does not wait for this."""

_DIAL_JOIN_TIMEOUT: Final = 0.5
"""Seconds to wait for an attempt that was given up; a name lookup may take longer."""

_EXIT_TIMEOUT: Final = 5.0
"""Seconds that a client which nobody has closed may hold up the end of the interpreter."""

P = ParamSpec("P")
T = TypeVar("T")

_LONGEST_SLEEP: Final = 86_400.0

_EOF: Final = EOFError()

_log = logging.getLogger("mqttlite.sync")
_layers_log = logging.getLogger("mqttlite.layers")
_packets_log = logging.getLogger("mqttlite.packets")
_running: WeakSet[Driver] = WeakSet()


_Read = tuple[list[bytes | memoryview | int], Exception | None]
"""What was read, and why nothing more will come; a number of bytes are in the core's room."""

_Notes = tuple[
    list[Operation[Any] | DeliveryState], list[SubscriptionState], list[tuple[str, int, str]]
]
"""Operations that are finished, subscriptions that have something, and what is to be logged."""


class Driver:
    """All of the input and output of one Client.

    A call into the core goes through ``call()``, which takes the lock and afterwards does what
    the core wants done, or, in hot paths, stands in a ``with driver.lock:`` block.
    """

    def __init__(self, core: ClientCore, reporter: Reporter, name: str) -> None:
        self.core = core
        self._lock = threading.RLock()
        self._reporter = reporter
        self._asker = Asker(self._answered, f"{name} asking")
        self._question: Question | None = None
        self._watched = 0  # the events of the socket that the selector waits for
        self.name = name
        self._thread: threading.Thread | None = None
        self._is_running = False
        self.is_forked = False
        self.is_asleep = False
        self._buffer = memoryview(bytearray(_FIRST_READ_SIZE))
        self._reads_at_once = _READS_AT_ONCE
        self._lingers = False
        self._room: memoryview | None = None  # where the core wants to have the next bytes
        self._deadline: float | None = None  # when the core wants to have its turn
        self._socket: socket.socket | None = None
        self._layer: Layer | None = None
        self._unsent: bytes | memoryview = b""
        self._write_error: OSError | None = None
        self._last_write = self._last_publish = 0.0
        self._hanging_up = False
        self._dialing: _Dialing | None = None
        self._abandoned: list[_Dialing] = []
        core.set_acknowledger(self._acknowledge)

    # --- for callers

    @property
    def lock(self) -> threading.RLock:
        """The lock around the core, for a ``with`` block.

        A signal handler runs in the middle of whatever the main thread does. Where that holds
        the lock, to wait would be for ever, and to go on would find a core that is half changed:
        so it gets a UsageError. (What takes and releases the lock is a function of C, which a
        KeyboardInterrupt cannot stop half-way.)
        """
        if self._lock._is_owned():  # type: ignore[attr-defined]  # noqa: SLF001 - as a Condition
            raise UsageError(
                "the client was called from a signal handler that has interrupted it: let the "
                "handler set a flag, or start a thread, instead"
            )
        return self._lock

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function of the core under the lock, and do what the core wants done."""
        notes: _Notes | None = None
        try:
            with self.lock:
                try:
                    return function(*args, **kwargs)
                finally:
                    self._write()
                    notes = self._take_notes()
                    self.wake()
        finally:
            if notes is not None:
                self._notify(notes)

    def connect(self) -> Operation[Connack]:
        """Begin to connect; under the lock."""
        self._start()
        return self.core.connect(monotonic())

    def _start(self) -> None:
        """See that the I/O thread runs."""
        if self._is_running:
            return
        self._waker, self._wakened = socket.socketpair()
        self._waker.setblocking(False)
        self._wakened.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wakened, selectors.EVENT_READ)
        # The thread gets what it has to close: a thread that follows it makes its own.
        self._thread = threading.Thread(
            target=self._run,
            args=(self._selector, self._waker, self._wakened),
            name=self.name,
            daemon=True,
        )
        self._thread.start()
        self._is_running = True
        _running.add(self)

    def join(self, timeout: float) -> None:
        """Wait for the end of the I/O thread, which comes when the client is idle."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def wake(self) -> None:
        """See that the I/O thread has a look; under the lock."""
        if self.is_asleep:
            self.is_asleep = False
            self._send_wake()

    def _send_wake(self) -> None:
        with suppress(OSError):  # full: it is being woken
            self._waker.send(b"\0")

    def flush(self, *, urgent: bool) -> None:
        """Write what was queued, or leave it to the I/O thread; under the lock.

        ``urgent``: the caller is going to wait for an answer.
        """
        if self.core.finished or self.core.drops.new:
            self.wake()  # others have to be told
        is_much = self.core.unsent_size >= FLUSH_SIZE
        if not self.is_asleep and not urgent and not is_much:
            return  # the I/O thread is about, or has been woken
        if self.core.next_expiry is not None:
            self.wake()  # it may have to get up earlier
        now = monotonic()
        if urgent or is_much or now - self._last_publish > _QUICK_SUCCESSION:
            self._last_publish = now
            self.write_pending()
        else:
            self._lingers = True
            self.wake()

    def flush_answers(self) -> None:
        """Write the acknowledgements that are due, or leave it to the I/O thread; under the lock.

        While that lingers it still counts as asleep: who publishes takes them along.
        """
        if not self.is_asleep or self._lingers:
            return
        if monotonic() - self._last_write > _QUICK_SUCCESSION:
            self.write_pending()
        else:
            self._lingers = True
            self._send_wake()

    def write_pending(self) -> None:
        """Write what is there, for the caller is going to wait; under the lock."""
        self._write()
        if self._unsent:
            self.wake()

    def wait(self, operation: Operation[Any] | DeliveryState, timeout: float | None) -> None:
        """Wait until an operation is done. Raises TimeoutError."""
        if operation.done:
            return
        with self.lock:
            if operation.done:
                return
            self.write_pending()
            if operation.done:  # that was it
                return
            # A lock of one's own that another thread releases: what a Condition is made of,
            # without waking everybody who waits for something else.
            waiter = threading.Lock()
            waiter.acquire()
            if operation.waiters is None:
                operation.waiters = []
            operation.waiters.append(waiter)
        try:
            in_time = waiter.acquire(timeout=-1 if timeout is None else max(timeout, 0.0))
        except BaseException:  # a KeyboardInterrupt
            with self.lock:
                if waiter in operation.waiters:
                    operation.waiters.remove(waiter)
            raise
        if not in_time:
            with self.lock:
                if not operation.done:
                    operation.waiters.remove(waiter)
                    raise TimeoutError(f"not done within {timeout:g} seconds")

    def _acknowledge(self, receipt: Answerable, answer: Answer | None) -> None:
        with self.lock:
            receipt.accept(answer)
            self.flush_answers()

    # --- under the lock

    def _write(self) -> None:
        """Write what there is, as far as the socket takes it."""
        connection = self._socket
        if connection is None or self._write_error is not None:
            return
        core = self.core
        while True:
            data = self._unsent
            if not data:
                now = monotonic()
                data = core.data_to_send(now)
                if self._layer is not None:
                    if data:
                        self._layer.send(data)
                    data = self._layer.data_to_send()
                if not data:
                    break
                self._last_write = now
            try:
                sent = connection.send(data)
            except (BlockingIOError, InterruptedError):
                self._unsent = data
                return
            except OSError as error:
                self._write_error = error
                self.wake()
                return
            self._unsent = memoryview(data)[sent:] if sent < len(data) else b""
        if self._hanging_up:
            self._finish_writing(connection)

    def _finish_writing(self, connection: socket.socket) -> None:
        """All is written: close our direction; the server is to close the other one.

        To close both at once would make the system answer what still comes with a reset, and
        that can take the last packets away from the server.
        """
        self._hanging_up = False
        if self._layer is not None:
            self._layer.close()
            self._unsent = b""
            with suppress(OSError):
                connection.send(self._layer.data_to_send())
        with suppress(OSError):
            connection.shutdown(socket.SHUT_WR)

    def _take_notes(self) -> _Notes:
        """Take what others are to be told when the lock is released.

        Events are queued at once, so that they stay in order.
        """
        core = self.core
        finished = core.finished.copy()
        core.finished.clear()
        ready = core.take_ready()
        notices = core.notices.copy()
        core.notices.clear()
        events, core.events = core.events, []
        for event in events:
            self._reporter.report(event)
        if core.drops.new:
            self._reporter.report_drops()
        return finished, ready, notices

    # --- without the lock

    def _notify(self, notes: _Notes) -> None:
        finished, ready, notices = notes
        for logger, level, text in notices:
            logging.getLogger(logger).log(level, text)
        for operation in finished:
            for waiter in operation.waiters or ():
                waiter.release()
        for subscription in ready:
            subscription.owner.wake()

    # --- the I/O thread

    def _run(
        self,
        selector: selectors.BaseSelector,
        waker: socket.socket,
        wakened: socket.socket,
    ) -> None:
        try:
            events: list[tuple[selectors.SelectorKey, int]] = []
            while True:
                chunks, closed = self._read(events, wakened)
                if self._lingers:
                    if not chunks and closed is None:
                        chunks, closed = self._read(selector.select(_LINGER), wakened)
                    self._lingers = False
                    self._last_publish = monotonic()
                with self.lock:
                    timeout = self._turn(chunks, closed)
                    notes = self._take_notes()
                    if notes[1]:  # what is published next may be an answer to what has come
                        self._last_publish = 0.0
                self._notify(notes)
                if timeout is not None and timeout < 0:
                    break
                events = selector.select(timeout)
        except Exception as error:
            _log.exception("the I/O thread has failed")
            with self.lock:
                self._is_running = False
                _running.discard(self)
                if self._dialing is not None:
                    self._abandon_dialing(self._dialing)
                self._close_socket()
                self.core.events.append(Disconnected(error, None))
                self.core.give_up(error)
                notes = self._take_notes()
            self._notify(notes)
        finally:
            selector.close()
            waker.close()
            wakened.close()
            with self.lock:
                abandoned, self._abandoned = self._abandoned, []
            for dialing in abandoned:
                dialing.join(_DIAL_JOIN_TIMEOUT)

    def _read(
        self, events: list[tuple[selectors.SelectorKey, int]], wakened: socket.socket
    ) -> _Read:
        """Read what has come; and why nothing more will come, if that is so."""
        for key, mask in events:
            if key.fileobj is wakened:
                with suppress(BlockingIOError):
                    wakened.recv(4096)
            elif mask & selectors.EVENT_READ:
                connection = cast("socket.socket", key.fileobj)
                if self._room is not None:
                    self._reads_at_once = 1
                    return self._read_into_room(connection, self._room)
                return self._read_chunks(connection)
        return [], None

    def _read_chunks(self, connection: socket.socket) -> _Read:
        chunks: list[bytes | memoryview | int] = []
        buffer = self._buffer
        # Behind a large payload may come another one, which is better read into its room.
        most, self._reads_at_once = self._reads_at_once, _READS_AT_ONCE
        try:
            while len(chunks) < most:
                count = connection.recv_into(buffer)
                if not count:
                    return chunks, _EOF
                if count < len(buffer):  # it is the last one: the buffer is not needed before
                    chunks.append(buffer[:count])
                    break
                chunks.append(bytes(buffer))
                if len(buffer) < _READ_SIZE:
                    self._buffer = buffer = memoryview(bytearray(_READ_SIZE))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            return chunks, error
        return chunks, None

    def _read_into_room(self, connection: socket.socket, room: memoryview) -> _Read:
        filled = 0
        failure: Exception | None = None
        try:
            while filled < len(room) and filled < _MOST_INTO_ROOM:
                count = connection.recv_into(room[filled:])
                if not count:
                    failure = _EOF
                    break
                filled += count
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            failure = error.with_traceback(None)  # which would keep the room
        return [filled] if filled else [], failure

    def _turn(
        self, chunks: list[bytes | memoryview | int], closed: Exception | None
    ) -> float | None:
        """Tell the core what has happened, and do what it wants done; under the lock.

        Return how long to sleep (None: until something happens), below 0 when all is over.
        """
        self.is_asleep = False
        core = self.core
        now = monotonic()
        for chunk in chunks:
            if isinstance(chunk, int):
                core.filled(chunk, now)
                continue
            data = chunk if self._layer is None else self._layer.receive(bytes(chunk))
            if data:
                core.receive(data, now)
        if self._layer is not None and (self._layer.error is not None or self._layer.has_ended):
            self._write()  # what tells the server why
            closed = self._layer.error or _EOF
        closed = closed or self._write_error
        if closed is not None and self._socket is not None:
            self._close_socket()
            core.transport_closed(now, None if closed is _EOF else closed)
        if self._dialing is not None and self._dialing.done:
            self._take_dialed(self._dialing, now)
        if self._deadline is not None and now >= self._deadline:
            core.handle_deadline(now)
        self._write()
        while (action := core.take_action()) is not None:
            self._act(action, now)
            self._write()
        if core.question is not self._question:
            self._question = core.question
            self._asker.ask(core.question)
        if core.is_idle and self._socket is None and self._dialing is None:
            self._is_running = False
            _running.discard(self)
            return -1.0
        self._watch(now)
        self._room = core.room() if self._layer is None else None
        self.is_asleep = True
        deadline = self._deadline = core.next_deadline()
        # The system knows no endless times.
        return None if deadline is None else min(max(0.0, deadline - monotonic()), _LONGEST_SLEEP)

    def _watch(self, now: float) -> None:
        """Wait for the socket to become readable and writable only as far as that is wanted."""
        if self._socket is None:
            return
        events = selectors.EVENT_READ if self.core.wants_data(now) else 0
        if self._unsent or self.core.unsent_size:
            events |= selectors.EVENT_WRITE
        if events == self._watched:
            return
        if self._watched:
            self._selector.unregister(self._socket)
        if events:
            self._selector.register(self._socket, events)
        self._watched = events

    def _answered(
        self, question: Question, answers: dict[str, Any], error: Exception | None
    ) -> None:
        self.call(self.core.answered, question, answers, error, monotonic())

    def _act(self, action: Dial | HangUp, now: float) -> None:
        if isinstance(action, Dial):
            try:
                connection = dial_at_once(action)
                if connection is not None:
                    self._opened(action, connection, None, now)
                    return
                dialing = _Dialing(self, action)
                dialing.start()
            except (OSError, RuntimeError) as error:  # no descriptor, or no thread, to be had
                self.core.dial_failed(error, now)
            else:
                self._dialing = dialing
        elif self._socket is not None and action.graceful:
            self._hanging_up = True
        else:
            if self._dialing is not None:
                self._abandon_dialing(self._dialing)
            self._close_socket()
            self.core.transport_closed(now)

    def _abandon_dialing(self, dialing: _Dialing) -> None:
        dialing.cancel()
        self._dialing = None
        self._abandoned = [each for each in self._abandoned if each.is_alive()]
        self._abandoned.append(dialing)

    def _take_dialed(self, dialing: _Dialing, now: float) -> None:
        self._dialing = None
        if dialing.connection is not None:
            self._opened(dialing.action, dialing.connection, dialing.layer, now)
        elif dialing.error is not None:
            self.core.dial_failed(dialing.error, now)

    def _opened(
        self, action: Dial, connection: socket.socket, layer: Layer | None, now: float
    ) -> None:
        self._socket = connection
        self._layer = layer
        if _layers_log.isEnabledFor(logging.DEBUG):  # the lock is held: to be logged later
            layers = "" if layer is None else f", {layer.describe()}"
            text = f"connected to {action.endpoint}{layers}"
            self.core.notices.append((_layers_log.name, logging.DEBUG, text))
        if _packets_log.isEnabledFor(logging.DEBUG) is not self.core.traces_packets:
            self.core.traces_packets = not self.core.traces_packets
        self.core.transport_opened(now)

    def _close_socket(self) -> None:
        connection, self._socket = self._socket, None
        self._layer = None
        self._unsent = b""
        self._room = None
        self._write_error = None
        self._hanging_up = False
        if connection is not None:
            if self._watched:
                self._selector.unregister(connection)
            self._watched = 0
            connection.close()

    # --- the end of the process, and a second one

    def after_fork(self) -> None:
        """In the child of a fork: the I/O thread is not there, and the connection is not ours."""
        self._lock = threading.RLock()
        self.is_forked = True
        self._is_running = False
        self._thread = None
        self.is_asleep = False
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.core.give_up(forked())


def forked() -> UsageError:
    """What to say in a child process that got the client from its parent."""
    return UsageError("this client was connected before fork(): make one in each process")


class _Dialing:
    """Opens a connection in a thread of its own, because that can take any time."""

    def __init__(self, driver: Driver, action: Dial) -> None:
        self.done = False
        self.connection: socket.socket | None = None
        self.layer: Layer | None = None
        self.error: Exception | None = None
        self._driver = driver
        self.action = action
        self._cancelled = False
        self._cancel, self._cancel_seen = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, name=f"{driver.name} dialing", daemon=True
        )

    def start(self) -> None:
        """Begin."""
        try:
            self._thread.start()
        except RuntimeError:
            self._cancel.close()
            self._cancel_seen.close()
            raise

    def cancel(self) -> None:
        """The connection is not wanted any more; under the driver's lock."""
        self._cancelled = True
        with suppress(OSError):
            self._cancel.send(b"\0")

    def is_alive(self) -> bool:
        """Whether it goes on."""
        return self._thread.is_alive()

    def join(self, timeout: float) -> None:
        """Wait for the end."""
        self._thread.join(timeout)

    def _run(self) -> None:
        connection = layer = error = None
        try:
            connection, layer = dial(self.action, self._cancel_seen)
        except DialCancelled:
            pass
        except Exception as failure:
            error = failure
        with self._driver.lock:
            self._cancel.close()
            self._cancel_seen.close()
            if self._cancelled:
                if connection is not None:
                    connection.close()
                return
            self.connection, self.layer, self.error = connection, layer, error
            self.done = True
            self._driver.wake()


def _close_running() -> None:
    """Let nothing be lost that was accepted before the interpreter ended."""
    deadline = monotonic() + _EXIT_TIMEOUT
    closing = []
    for driver in list(_running):
        with suppress(Exception):
            operation = driver.call(driver.core.close, monotonic(), _EXIT_TIMEOUT)
            closing.append((driver, operation))
    for driver, operation in closing:
        with suppress(Exception):
            driver.wait(operation, max(0.0, deadline - monotonic()))


def _after_fork_in_child() -> None:
    for driver in list(_running):
        driver.after_fork()
    _running.clear()


atexit.register(_close_running)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
