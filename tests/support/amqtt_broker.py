"""A real aMQTT broker, which has an environment of its own, that a test can start and stop."""

import json
import subprocess
from pathlib import Path

from tests.support.broker_process import BROKERS, BrokerProcess, is_installed

_BIN = BROKERS / "amqtt" / "bin"
_HASH = """
import sys
from pwdlib.hashers.argon2 import Argon2Hasher
print(Argon2Hasher().hash(sys.argv[1]))
"""


def find_amqtt() -> str | None:
    """Return the path of the broker's executable, or None where it is not installed."""
    return str(_BIN / "amqtt") if is_installed("amqtt") else None


class Amqtt(BrokerProcess):
    """An aMQTT broker process."""

    name = "amqtt"
    running = "Listener 'default' bind to "

    def _command(self, port: int) -> list[str]:
        program = find_amqtt()
        if program is None:
            raise RuntimeError("amqtt is not installed")
        plugins: dict[str, object] = {}
        if self.password is None:
            plugins["amqtt.plugins.authentication.AnonymousAuthPlugin"] = {}
        else:
            file = self._write_passwords(*self.password)
            plugins["amqtt.plugins.authentication.FileAuthPlugin"] = {"password_file": str(file)}
        listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
        configuration = self.directory / "amqtt.yaml"  # JSON is YAML, too
        text = json.dumps({"listeners": {"default": listener}, "plugins": plugins})
        configuration.write_text(text)
        return [program, "-c", str(configuration)]

    def _write_passwords(self, user: str, password: str) -> Path:
        file = self.directory / "passwords"
        if not file.exists():
            command = [str(_BIN / "python"), "-c", _HASH, password]
            made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
            file.write_text(f"{user}:{made.stdout.strip()}\n")
        return file
