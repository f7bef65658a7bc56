"""What adapters of clients with threads have in common: what is around the work of the client.

Callbacks that publish directly are the adapters' own: shared, they would cost one more call for
each message.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from threading import Event
from time import perf_counter_ns

from tests.benchmarks.adapters.run import PATIENCE, Run

Callback = Callable[..., None]


def finish(done: Event, progress: Callable[[], int]) -> None:
    """Wait as long as there is progress: what was lost would be waited for forever."""
    before = progress()
    while not done.wait(PATIENCE):
        if progress() == before:
            raise TimeoutError(f"no progress for {PATIENCE} s")
        before = progress()


def count(run: Run) -> tuple[Callback, Event]:
    """A callback that counts, and the event that all messages have come."""
    done = Event()

    def on_message(*_: object) -> None:
        run.received += 1
        if run.received == run.count:
            done.set()

    return on_message, done


def receive(run: Run, done: Event) -> None:
    """Measure until all messages have come."""
    run.start()
    run.go()
    finish(done, lambda: run.received)
    run.wait_delivered()
    run.stop()


def round_trips(run: Run, send: Callable[[], None]) -> tuple[Callback, Callable[[], None]]:
    """A callback that sends the next message, and what sends the first one and measures."""
    done = Event()
    started = 0

    # If it is called with one argument, that costs no tuple.
    def on_message(_first: object, *_: object) -> None:
        nonlocal started
        run.latencies.append(perf_counter_ns() - started)
        if len(run.latencies) < run.count:
            started = perf_counter_ns()
            send()
        else:
            done.set()

    def measure() -> None:
        nonlocal started
        run.start()
        started = perf_counter_ns()
        send()
        finish(done, lambda: len(run.latencies))
        run.stop()

    return on_message, measure


def bursts(run: Run, send: Callable[[], None]) -> tuple[Callback, Callable[[], None]]:
    """A callback, and what sends a burst, waits until it is back, and so on, and measures."""
    done = Event()
    started = 0

    def on_message(_first: object, *_: object) -> None:
        run.latencies.append(perf_counter_ns() - started)
        if len(run.latencies) % run.burst == 0:
            done.set()

    def measure() -> None:
        nonlocal started
        run.start()
        for _ in range(run.count):
            done.clear()
            started = perf_counter_ns()
            send()
            finish(done, lambda: len(run.latencies))
        run.stop()

    return on_message, measure


def connects(run: Run, make_client: Callable[[Run], AbstractContextManager[object]]) -> None:
    """Measure a new client each time."""
    run.start()
    for _ in range(run.count):
        with make_client(run):
            pass
    run.stop()


def idle(run: Run, make_client: Callable[[Run], AbstractContextManager[object]]) -> None:
    """Measure with all clients connected."""
    run.start()
    with ExitStack() as stack:
        for _ in range(run.count):
            stack.enter_context(make_client(run))
        run.stop()
