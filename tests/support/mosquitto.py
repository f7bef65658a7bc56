"""A real Mosquitto 2 broker that a test can start, stop, kill and restart."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Self

from tests.support.certificates import Certificates
from tests.support.ports import free_ports

_DEADLINE = 10.0
_POLL = 0.01


def _find(program: str) -> str | None:
    # Debian installs the broker where an ordinary user's PATH does not look.
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
    return shutil.which(program, path=path)


def find_mosquitto() -> str | None:
    """Return the path of the Mosquitto executable, or None where it is not installed."""
    return _find("mosquitto")


class Mosquitto:
    """A Mosquitto process with its configuration, log and database in a directory of its own.

    It listens on loopback at `port`, and if asked to at `tls_port` (TLS), `tls_client_port` (TLS
    with a client certificate required; both are 0 without `tls`), `websocket_port` and
    `unix_path`. A `password`,
    a pair of user name and password, is demanded at `port` alone; the other listeners let anybody
    in. Lines in `extra` are added to the configuration of the listener at `port`, but options
    that are global in Mosquitto can be given there as well.
    """

    def __init__(
        self,
        directory: Path,
        *,
        tls: Certificates | None = None,
        unix: bool = False,
        websocket: bool = False,
        persistence: bool = False,
        password: tuple[str, str] | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        """Prepare the broker; nothing is written or run before `start`."""
        self.directory = directory
        self.port = self.tls_port = self.tls_client_port = self.websocket_port = 0
        self.unix_path = directory / "mosquitto.sock"
        self._config_file = directory / "mosquitto.conf"
        self._log_file = directory / "mosquitto.log"
        self._password_file = directory / "passwords"
        self._database = directory / "mosquitto.db"
        self._tls = tls
        self._unix = unix
        self._websocket = websocket
        self._persistence = persistence
        self._password = password
        self._extra = tuple(extra)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the broker."""
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop the broker, unless it has been stopped already."""
        self.stop()

    @property
    def log(self) -> str:
        """Everything the broker has logged so far, over all its starts."""
        return self._log_since(0)

    def start(self) -> None:
        """Run the broker and return when all listeners accept connections.

        The ports are chosen at the first start and stay the same from then on.
        """
        if self._process is not None:
            raise RuntimeError("Mosquitto is running already")
        deadline = monotonic() + _DEADLINE
        if self.port:
            while not self._launch(deadline):
                pass
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._password is not None:
            self._write_passwords(*self._password)
        while True:
            ports = free_ports(4)
            self._config_file.write_text("\n".join(self._configuration(*ports)) + "\n")
            if self._launch(deadline):
                break
        self.port = ports[0]
        if self._tls is not None:
            self.tls_port, self.tls_client_port = ports[1:3]
        if self._websocket:
            self.websocket_port = ports[3]

    def stop(self) -> None:
        """End the broker in an orderly way, so that it saves its database."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the broker as a crash would: what it has not saved is lost."""
        self._end(signal.SIGKILL)

    def save(self) -> None:
        """Make the broker write its database now, and return when the file is in place.

        Everything the broker acknowledged before the call is then safe from a `kill`.
        """
        if self._process is None or not self._persistence:
            raise RuntimeError("Mosquitto has to be running, with persistence, to save")
        before = self._database_version()
        deadline = monotonic() + _DEADLINE
        self._process.send_signal(signal.SIGUSR1)
        while self._database_version() == before:
            if self._ended(self._process) or monotonic() > deadline:
                raise RuntimeError(f"Mosquitto did not save its database:\n{self.log}")

    def _configuration(
        self, port: int, tls_port: int, tls_client_port: int, websocket_port: int
    ) -> list[str]:
        lines = ["log_dest stderr", "log_type all"]
        if os.geteuid() == 0:
            # By default it would become a user that cannot write to the directory.
            lines += ["user root"]
        if self._persistence:
            lines += [
                "persistence true",
                f"persistence_location {self.directory}/",
                "autosave_interval 1",
                "autosave_on_changes true",
            ]
        if self._password is None:
            lines += ["allow_anonymous true", f"listener {port} 127.0.0.1"]
            anybody: list[str] = []
        else:
            lines += ["per_listener_settings true", f"listener {port} 127.0.0.1"]
            lines += ["allow_anonymous false", f"password_file {self._password_file}"]
            anybody = ["allow_anonymous true"]
        lines += self._extra
        if self._tls is not None:
            server = [
                f"certfile {self._tls.server_certificate}",
                f"keyfile {self._tls.server_key}",
            ]
            client = [f"cafile {self._tls.ca_file}", "require_certificate true"]
            lines += [f"listener {tls_port} 127.0.0.1", *server, *anybody]
            lines += [f"listener {tls_client_port} 127.0.0.1", *server, *client, *anybody]
        if self._websocket:
            lines += [f"listener {websocket_port} 127.0.0.1", "protocol websockets", *anybody]
        if self._unix:
            lines += [f"listener 0 {self.unix_path}", *anybody]
        return lines

    def _write_passwords(self, user: str, password: str) -> None:
        program = _find("mosquitto_passwd")
        if program is None:
            raise RuntimeError("mosquitto_passwd is not installed")
        command = [program, "-b", "-c", str(self._password_file), user, password]
        subprocess.run(command, check=True, capture_output=True, timeout=_DEADLINE)

    def _launch(self, deadline: float) -> bool:
        """Run the broker until it listens; False if somebody else has one of its ports."""
        program = find_mosquitto()
        if program is None:
            raise RuntimeError("Mosquitto is not installed")
        with self._log_file.open("ab") as log:
            log_start = log.tell()
            self._process = subprocess.Popen(
                [program, "-c", str(self._config_file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        # A connection would not show that it is this broker which accepts it; this line does,
        # being logged after all listeners have been opened.
        while " running\n" not in self._log_since(log_start):
            ended = self._ended(self._process)
            if not ended and monotonic() < deadline:
                continue
            self.kill()
            log_text = self._log_since(log_start)
            if "Address already in use" in log_text and monotonic() < deadline:
                return False
            raise RuntimeError(f"Mosquitto did not start:\n{log_text}")
        return True

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

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

    def _database_version(self) -> tuple[int, int] | None:
        # Mosquitto writes another file and renames it, but the inode alone may be used again.
        try:
            status = self._database.stat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_mtime_ns
