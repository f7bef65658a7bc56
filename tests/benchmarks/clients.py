"""The clients that are compared: each module in adapters/ that says what to import is one.

Such a module may have LABEL, its name in the tables, PACKAGE, the pinned requirements separated by
spaces, and must have IMPORT, the module whose import time is measured.
"""

import ast
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".benchmarks"


@dataclass(frozen=True)
class Client:
    """A client, or one way to use it."""

    name: str  # of the adapter
    label: str
    package: str
    module: str  # to import

    @property
    def peer(self) -> str:
        """What it shares a virtual environment with."""
        return self.name.partition("_")[0]

    @property
    def is_floor(self) -> bool:
        """Whether it is no client, but what no client can be faster than."""
        return self.peer == "floor"


def find_clients() -> list[Client]:
    """Read all adapters, without importing them."""
    clients = []
    for path in sorted((HERE / "adapters").glob("*.py")):
        constants = {
            node.targets[0].id: node.value.value
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        if "IMPORT" in constants:
            package = str(constants.get("PACKAGE", ""))
            label = str(constants.get("LABEL", package.partition(" ")[0].replace("==", " ")))
            clients.append(Client(path.stem, label, package, str(constants["IMPORT"])))
    # The floors first, mqttlite next.
    return sorted(clients, key=lambda c: (not c.is_floor, c.peer != "mqttlite"))


class Environments:
    """The virtual environments, below .benchmarks/venvs; made once."""

    def __init__(self, python: str) -> None:
        self.python = python
        command = [python, "-c", "import platform; print(platform.python_version())"]
        self.version = subprocess.run(
            command, check=True, capture_output=True, text=True
        ).stdout.strip()
        self.directory = CACHE / "venvs" / self.version

    def interpreter(self, client: Client) -> Path:
        """Return the Python in which the client is installed."""
        venv = self.directory / client.peer
        python = venv / "bin" / "python"
        note = venv / "installed"
        if not note.exists() or note.read_text() != client.package:
            print(f"installing {client.package or 'nothing'} for {client.peer}", flush=True)
            subprocess.run([self.python, "-m", "venv", "--clear", venv], check=True)
            if client.package:
                pip = [str(python), "-m", "pip", "install", "--quiet", *client.package.split()]
                subprocess.run(pip, check=True, timeout=600)
            note.write_text(client.package)
        return python

    def installed(self, client: Client) -> dict[str, str]:
        """Return the versions of everything in the client's environment but pip."""
        pip = [str(self.interpreter(client)), "-m", "pip", "list", "--format=json"]
        output = subprocess.run(pip, check=True, capture_output=True, text=True).stdout
        return {p["name"]: p["version"] for p in json.loads(output) if p["name"] != "pip"}
