"""What adapters of clients with asyncio have in common: what is around the work of the client.

The loops that publish and receive are the adapters' own, or call the client's methods directly: a
message costs nothing more for being sent from here.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from operator import length_hint
from time import perf_counter_ns
from typing import Any

from tests.benchmarks.adapters.run import PATIENCE, Run


async def finish(work: Awaitable[object], progress: Callable[[], int]) -> None:
    """Wait for the work as long as there is progress: what was lost would be waited for forever."""
    task = asyncio.ensure_future(work)
    before = progress()
    while not (await asyncio.wait({task}, timeout=PATIENCE))[0]:
        if progress() == before:
            task.cancel()
            raise TimeoutError(f"no progress for {PATIENCE} s")
        before = progress()
    task.result()


async def publish(
    run: Run, work: Callable[[Iterator[int]], Coroutine[Any, Any, None]], tasks: int
) -> None:
    """Measure so many tasks; all take from one iterator, which has an item for each message."""
    remaining = iter(range(run.count))
    run.start()
    together = asyncio.gather(*(work(remaining) for _ in range(tasks)))
    await finish(together, lambda: length_hint(remaining))
    await run.delivered()
    run.stop()


async def receive(run: Run, work: Awaitable[object]) -> None:
    """Measure until the work is done, which counts the messages."""
    run.start()
    run.go()
    await finish(work, lambda: run.received)
    await run.delivered()
    run.stop()


async def trips(run: Run, work: Awaitable[object]) -> None:
    """Measure until the work is done, which notes the latencies."""
    run.start()
    await finish(work, lambda: len(run.latencies))
    run.stop()


async def bursts(
    run: Run,
    send: Callable[[], Iterable[Awaitable[object]]],
    next_message: Callable[[], Awaitable[object]],
) -> None:
    """Measure bursts: a task for each message that ``send`` publishes, and one that receives."""

    async def collect(started: int) -> None:
        for _ in range(run.burst):
            await next_message()
            run.latencies.append(perf_counter_ns() - started)

    async def work() -> None:
        for _ in range(run.count):
            await asyncio.gather(collect(perf_counter_ns()), *send())

    await trips(run, work())


async def connects(
    run: Run, make_client: Callable[[Run], AbstractAsyncContextManager[object]]
) -> None:
    """Measure a new client each time."""
    run.start()
    for _ in range(run.count):
        async with make_client(run):
            pass
    run.stop()


async def idle(run: Run, make_client: Callable[[Run], AbstractAsyncContextManager[object]]) -> None:
    """Measure with all clients connected."""
    run.start()
    async with AsyncExitStack() as stack:
        for _ in range(run.count):
            await stack.enter_async_context(make_client(run))
        run.stop()


async def echo(
    run: Run,
    work: Callable[[Iterator[int]], Coroutine[Any, Any, None]],
    collect: Callable[[], Coroutine[Any, Any, object]],
    tasks: int,
) -> None:
    """Measure as ``publish``, and with one more task, which counts the messages."""
    remaining = iter(range(run.count))
    run.start()
    together = asyncio.gather(collect(), *(work(remaining) for _ in range(tasks)))
    await finish(together, lambda: run.received)
    await run.delivered()
    run.stop()
