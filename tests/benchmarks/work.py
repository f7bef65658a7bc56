"""What does a message cost, in counted work?

    python -m tests.benchmarks.work            compare with the committed figures
    python -m tests.benchmarks.work --write    commit to the figures of now
    python -m tests.benchmarks.counted "aio 5.0 publish QoS 1 by 100 tasks"     by function

Counts bytecode instructions, calls of C functions, system calls, and pieces of memory that stay:
for both clients with asyncio's own transports and their own threads, upon a network in memory
(``tests/benchmarks/counted``). The figures are the same every time, whatever else the machine
does. They depend on the compiler and the standard library, and so on the version of Python.
"""

import json
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_suffix(".json")
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

MARGIN = 0.10
PATIENCE = 300.0

SLACK = {
    "allocations": 0.1,
    "C calls": 0.1,
    "sends per 1,000": 5.0,
    "receives per 1,000": 5.0,
    "selects per 1,000": 5.0,
    "objects in cycles per 1,000": 5.0,
}
"""What a figure may change by in any case: one more select for 500 messages is no regression."""

Figures = Mapping[str, Mapping[str, float]]
"""What was counted, by the name of a scenario and the kind of work."""


class Change(NamedTuple):
    """A figure that is not what it was."""

    scenario: str
    kind: str
    committed: float | None
    measured: float | None

    @property
    def is_better(self) -> bool:
        """Whether it is there, and has become smaller."""
        return (
            self.committed is not None
            and self.measured is not None
            and self.measured < self.committed
        )

    def __str__(self) -> str:
        return f"{self.scenario}: {self.kind}: {self.committed} committed, {self.measured} now"


def unsupported() -> str | None:
    """Why nothing can be counted with this interpreter, if that is so."""
    if sys.implementation.name != "cpython":
        return "other interpreters do not tell of every instruction"
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        return "without a GIL threads do not take turns"
    return None


def measure() -> Figures:
    """Count everything, in a process that nothing disturbs: no debugger, no coverage."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "COVERAGE"))
    }
    environment["PYTHONHASHSEED"] = "0"
    result = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.counted"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    if result.returncode:
        raise RuntimeError(result.stderr)
    figures: Figures = json.loads(result.stdout)
    return figures


def committed() -> Figures | None:
    """Return the committed figures for this version of Python, if there are any."""
    found: Figures | None = _read().get(VERSION, {}).get("figures")
    return found


def compare(before: Figures, now: Figures) -> list[Change]:
    """Return what has changed by more than the margin, and what has come or gone."""
    changes = []
    for scenario in {**before, **now}:
        old, new = before.get(scenario, {}), now.get(scenario, {})
        for kind in {**old, **new}:
            change = Change(scenario, kind, old.get(kind), new.get(kind))
            if _is_notable(change):
                changes.append(change)
    return changes


def _is_notable(change: Change) -> bool:
    if change.committed is None or change.measured is None:
        return True
    allowed = max(change.committed * MARGIN, SLACK.get(change.kind, 0.0))
    return abs(change.measured - change.committed) > allowed


def _read() -> dict[str, Any]:
    if not FILE.exists():
        return {}
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def write(figures: Figures) -> None:
    """Commit to figures, for this version of Python."""
    everything = _read()
    version = ".".join(map(str, sys.version_info[:3]))
    everything[VERSION] = {"python": version, "figures": figures}
    # One line for a scenario, so that a difference can be read.
    blocks = []
    for key in sorted(everything, key=lambda key: [int(part) for part in key.split(".")]):
        lines = [
            f"      {json.dumps(scenario)}: {json.dumps(kinds)}"
            for scenario, kinds in everything[key]["figures"].items()
        ]
        blocks.append(
            f'  "{key}": {{\n    "python": "{everything[key]["python"]}",\n    "figures": {{\n'
            + ",\n".join(lines)
            + "\n    }\n  }"
        )
    FILE.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")


def show(before: Figures, now: Figures) -> None:
    """Print all figures beside the committed ones."""
    notable = set(compare(before, now))
    for scenario, kinds in now.items():
        print(f"\n{scenario}")
        for kind, value in kinds.items():
            old = before.get(scenario, {}).get(kind)
            mark = ""
            if old is not None and old != value:
                mark = f"  {(value - old) / old:+.1%}" if old else "  from nothing"
            if Change(scenario, kind, old, value) in notable:
                mark += "  <<<"
            text = "-" if old is None else f"{old:,}"
            print(f"  {kind:<28}{value:>12,}{text:>12}{mark}")


def main() -> int:
    """Count, and show or write the figures."""
    parser = ArgumentParser(description="Counts what a message costs.")
    parser.add_argument("--write", action="store_true", help="commit to the figures of now")
    arguments = parser.parse_args()
    reason = unsupported()
    if reason is not None:
        print(reason)
        return 2
    now = measure()
    before = committed() or {}
    show(before, now)
    if arguments.write:
        write(now)
        return 0
    changes = compare(before, now)
    print(f"\nPython {VERSION}: {len(changes)} figures differ notably from the committed ones.")
    return 1 if changes else 0


if __name__ == "__main__":
    sys.exit(main())
