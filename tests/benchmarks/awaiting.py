"""What asyncio takes for a task to wait: ``python -m tests.benchmarks.awaiting``.

A hundred tasks wait, each for a future of its own, all of which are set in one turn of the loop:
as tasks do that publish at QoS 1 and wait for the outcome. Nothing else is done, so no client in
which publishing can be awaited needs less CPU time for a message.
"""

import asyncio
from statistics import median
from time import process_time_ns

TASKS = 100
WAITS = 200_000
ROUNDS = 5


async def measure() -> float:
    """Return the CPU time of one wait, in µs."""
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[None]] = []
    remaining = iter(range(WAITS))

    async def publish() -> None:
        future: asyncio.Future[None] = loop.create_future()
        waiting.append(future)
        await future

    async def work() -> None:
        for _ in remaining:
            await publish()

    started = process_time_ns()
    tasks = [asyncio.create_task(work()) for _ in range(TASKS)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        acknowledged = waiting.copy()
        waiting.clear()
        for future in acknowledged:
            future.set_result(None)
    return (process_time_ns() - started) / WAITS / 1000


if __name__ == "__main__":
    times = [asyncio.run(measure()) for _ in range(ROUNDS)]
    print(f"{median(times):.2f} µs for each wait")
