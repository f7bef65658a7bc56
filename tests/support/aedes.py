"""A real aedes broker, which runs in Node.js, that a test can start, stop and restart."""

import shutil
from pathlib import Path

from tests.support.broker_process import BROKERS, BrokerProcess, is_installed

_SCRIPT = Path(__file__).with_name("aedes.mjs")
_MODULE = BROKERS / "aedes" / "node_modules" / "aedes" / "aedes.js"


def find_aedes() -> str | None:
    """Return the path of Node.js, or None where it or aedes is not installed."""
    return shutil.which("node") if is_installed("aedes") else None


class Aedes(BrokerProcess):
    """An aedes process."""

    name = "aedes"
    running = "aedes is running\n"

    def _command(self, port: int) -> list[str]:
        node = find_aedes()
        if node is None:
            raise RuntimeError("aedes is not installed")
        return [node, str(_SCRIPT), str(_MODULE), str(port), *(self.password or ())]
