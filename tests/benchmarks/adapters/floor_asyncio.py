"""The floor of a Protocol of asyncio with a write for each window or chunk of messages."""

from tests.benchmarks.adapters import floor
from tests.benchmarks.adapters.run import Run

LABEL = "raw asyncio, batched"
IMPORT = "asyncio"
CANNOT = {"dispatch": "there is nothing to dispatch to", "drain": "there is no queue"}


async def publish(run: Run) -> None:
    """Publish."""
    driven = await floor.open_driven(run)
    run.start()
    await driven.run(floor.publishing(run, batched=True))
    await run.delivered()
    run.stop()
    driven.transport.close()


async def receive(run: Run) -> None:
    """Receive."""
    driven = await floor.open_driven(run)
    await driven.run(floor.subscribing(run))
    run.start()
    await driven.run(floor.receiving(run, batched=True))
    await run.delivered()
    run.stop()
    driven.transport.close()


async def round_trips(run: Run) -> None:
    """One message at a time."""
    await _trips(run, 1)


async def bursts(run: Run) -> None:
    """Many at a time."""
    await _trips(run, run.burst)


async def _trips(run: Run, burst: int) -> None:
    driven = await floor.open_driven(run)
    await driven.run(floor.subscribing(run))
    run.start()
    await driven.run(floor.trips(run, burst))
    run.stop()
    driven.transport.close()


async def connects(run: Run) -> None:
    """Connect and disconnect."""
    run.start()
    for _ in range(run.count):
        driven = await floor.open_driven(run)
        driven.transport.write(floor.DISCONNECT)
        driven.transport.close()
    run.stop()


async def idle(run: Run) -> None:
    """Connections alone."""
    run.start()
    connections = [await floor.open_driven(run) for _ in range(run.count)]
    run.stop()
    for driven in connections:
        driven.transport.close()


async def echo(run: Run) -> None:
    """To oneself."""
    driven = await floor.open_driven(run)
    await driven.run(floor.subscribing(run))
    run.start()
    await driven.run(floor.echoing(run))
    run.stop()
    driven.transport.close()
