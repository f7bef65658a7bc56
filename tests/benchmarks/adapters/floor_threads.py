"""The floor of a blocking socket from which another thread reads: it has to wake the caller."""

from tests.benchmarks.adapters import floor
from tests.benchmarks.adapters.run import Run

LABEL = "raw socket, another thread reads"
IMPORT = "threading"
CANNOT = "the same as without the other thread"


def round_trips(run: Run) -> None:
    """One message at a time."""
    floor.measure_trips(run, 1, floor.drive_beside)


def bursts(run: Run) -> None:
    """Many at a time."""
    floor.measure_trips(run, run.burst, floor.drive_beside)


def connects(run: Run) -> None:
    """Connect and disconnect, with a thread that begins and ends."""

    def disconnecting() -> floor.Script:
        yield floor.DISCONNECT

    run.start()
    for _ in range(run.count):
        with floor.dial(run) as sock:
            floor.drive_beside(sock, disconnecting())
    run.stop()
