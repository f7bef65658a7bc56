"""The floor of a blocking socket from which another thread reads: it has to wake the caller."""

from collections.abc import Generator

from tests.benchmarks.adapters import floor
from tests.benchmarks.adapters.run import Run

LABEL = "raw socket, another thread reads"
IMPORT = "threading"
CANNOT = "the same as without the other thread"


def round_trips(run: Run) -> None:
    """One message at a time."""
    _trips(run, 1)


def bursts(run: Run) -> None:
    """Many at a time."""
    _trips(run, run.burst)


def _trips(run: Run, burst: int) -> None:
    with floor.dial(run) as sock:
        floor.drive(sock, floor.subscribing(run))
        run.start()
        floor.drive_beside(sock, floor.trips(run, burst))
        run.stop()


def connects(run: Run) -> None:
    """Connect and disconnect, with a thread that begins and ends."""

    def disconnecting() -> Generator[bytes | None, bytes]:
        yield floor.DISCONNECT

    run.start()
    for _ in range(run.count):
        with floor.dial(run) as sock:
            floor.drive_beside(sock, disconnecting())
    run.stop()
