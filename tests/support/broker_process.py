"""What the brokers have in common that tests run as processes, beside Mosquitto."""

import subprocess
from pathlib import Path
from time import monotonic
from typing import Self

from tests.support.ports import free_ports

BROKERS = Path(__file__).resolve().parent.parent.parent / ".brokers"
"""Where `tests/run.py` installs them, each in a directory of its own."""

_DEADLINE = 30.0
_POLL = 0.01


def is_installed(name: str) -> bool:
    """Tell whether `tests/run.py` has installed this broker, and to the end."""
    return (BROKERS / name / "installed.txt").exists()


class BrokerProcess:
    """A broker process that keeps its files in a directory of its own and listens on loopback.

    With a `password`, a pair of user name and password, it lets nobody else in. It keeps nothing
    on disk: what it knows is lost when it stops.
    """

    name = ""
    running = ""
    """What it logs when it listens. A connection would not show that it is this broker's."""

    def __init__(self, directory: Path, *, password: tuple[str, str] | None = None) -> None:
        """Prepare the broker; nothing is written or run before `start`."""
        self.directory = directory
        self.port = 0
        self.password = password
        self._log_file = directory / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the broker."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the broker, unless it has been stopped already."""
        self.stop()

    @property
    def url(self) -> str:
        """Where the broker is, without user name and password."""
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything the broker has logged so far, over all its starts."""
        return self._log_since(0)

    def start(self) -> None:
        """Run the broker and return when it accepts connections.

        The port is chosen at the first start and stays the same from then on.
        """
        if self._process is not None:
            raise RuntimeError(f"{self.name} is running already")
        self.directory.mkdir(parents=True, exist_ok=True)
        deadline = monotonic() + _DEADLINE
        port = self.port
        while not self._launch(port or free_ports(1)[0], deadline):
            pass

    def stop(self) -> None:
        """End the broker."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def _command(self, port: int) -> list[str]:
        """Write the configuration for this port, and return how the broker is run with it."""
        raise NotImplementedError

    def _launch(self, port: int, deadline: float) -> bool:
        """Run the broker until it listens; False if somebody else has the port."""
        command = self._command(port)
        with self._log_file.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while self.running not in (text := self._log_since(log_start)):
            taken = "address already in use" in text.lower()
            if not taken and not self._ended(self._process) and monotonic() < deadline:
                continue
            self.stop()
            if taken and monotonic() < deadline:
                return False
            raise RuntimeError(f"{self.name} did not start:\n{self._log_since(log_start)}")
        self.port = port
        return True

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait a moment, less if the process ends meanwhile; tell whether it has."""
        try:
            process.wait(_POLL)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _log_since(self, offset: int) -> str:
        if not self._log_file.exists():
            return ""
        return self._log_file.read_bytes()[offset:].decode(errors="replace")
