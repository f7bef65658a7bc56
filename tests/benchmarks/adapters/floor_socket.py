"""The floor of a blocking socket with a system call for each message."""

from tests.benchmarks.adapters import floor
from tests.benchmarks.adapters.run import Run

LABEL = "raw socket, a write per message"
IMPORT = "socket"
CANNOT = {"dispatch": "there is nothing to dispatch to", "drain": "there is no queue"}
BATCHED = False


def publish(run: Run) -> None:
    """Publish."""
    with floor.dial(run) as sock:
        run.start()
        floor.drive(sock, floor.publishing(run, batched=BATCHED))
        run.wait_delivered()
        run.stop()


def receive(run: Run) -> None:
    """Receive."""
    with floor.dial(run) as sock:
        floor.drive(sock, floor.subscribing(run))
        run.start()
        floor.drive(sock, floor.receiving(run, batched=BATCHED))
        run.wait_delivered()
        run.stop()


def round_trips(run: Run) -> None:
    """One message at a time."""
    floor.measure_trips(run, 1)


def bursts(run: Run) -> None:
    """Many at a time."""
    floor.measure_trips(run, run.burst)


def connects(run: Run) -> None:
    """Connect and disconnect."""
    run.start()
    for _ in range(run.count):
        with floor.dial(run) as sock:
            sock.sendall(floor.DISCONNECT)
    run.stop()


def idle(run: Run) -> None:
    """Connections alone."""
    run.start()
    socks = [floor.dial(run) for _ in range(run.count)]
    run.stop()
    for sock in socks:
        sock.close()


def echo(run: Run) -> None:
    """To oneself."""
    with floor.dial(run) as sock:
        floor.drive(sock, floor.subscribing(run))
        run.start()
        floor.drive(sock, floor.echoing(run))
        run.stop()
