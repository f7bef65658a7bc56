"""Every normative statement of MQTT 3.1.1 and 5.0, in our own words.

They are in text files beside this one, a line for each: identifier, whom it binds, what it asks.

    S       a client, in what it sends
    R       a client, in what it has to enforce or may rely on in what it receives
    T       a client, in its state and behaviour
    server  a server only, or nobody: it informs
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VERSIONS: Final = ("3.1.1", "5.0")

SAME: Final = {("5.0", "MQTT-4.2.0-1"): "MQTT-4.2-1"}
"""Statements that the specification lists under a second identifier."""

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Statement:
    """What one version asks for, and of whom."""

    version: str
    identifier: str
    kind: str
    text: str

    @property
    def binds_client(self) -> bool:
        """Whether a client has to obey it, or to see that a server does."""
        return self.kind != "server"

    @property
    def is_numbered(self) -> bool:
        """Whether the specification gives it an identifier; if not, it has one of ours."""
        return self.identifier.startswith("MQTT-")


def _read(version: str) -> Iterator[Statement]:
    path = _HERE / f"mqtt_{version.replace('.', '_')}.txt"
    for line in path.read_text(encoding="utf-8").splitlines():
        identifier, kind, text = line.split(" | ")
        yield Statement(version, identifier, kind, text)


STATEMENTS: Final = tuple(statement for version in VERSIONS for statement in _read(version))
