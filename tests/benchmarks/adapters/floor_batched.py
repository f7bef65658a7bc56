"""The floor of a blocking socket with a system call for each window or chunk of messages."""

from tests.benchmarks.adapters import floor
from tests.benchmarks.adapters.run import Run

LABEL = "raw socket, batched"
IMPORT = "socket"
CANNOT = "the same as without batches"


def publish(run: Run) -> None:
    """Publish."""
    with floor.dial(run) as sock:
        run.start()
        floor.drive(sock, floor.publishing(run, batched=True))
        run.wait_delivered()
        run.stop()


def receive(run: Run) -> None:
    """Receive."""
    with floor.dial(run) as sock:
        floor.drive(sock, floor.subscribing(run))
        run.start()
        floor.drive(sock, floor.receiving(run, batched=True))
        run.wait_delivered()
        run.stop()
