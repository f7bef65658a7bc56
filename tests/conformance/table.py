"""Write docs/reference/conformance.md: python -m tests.conformance.table."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.conformance.marks import ROOT, Mark, all_marks
from tests.conformance.statements import SAME, STATEMENTS, VERSIONS, Statement

PAGE: Final = ROOT / "docs" / "reference" / "conformance.md"

NOT_TESTED: Final[dict[tuple[str, str], str]] = {}
"""Statements that bind a client and that no test shows: why not."""

SERVER_ONLY: Final = "server only"
TESTED: Final = "tested"
FAULT: Final = "**a test shows a fault**"

_HEAD: Final = """\
# Conformance

Every numbered statement of the specifications of MQTT 3.1.1 and MQTT 5.0, in our own words, with
the tests that show that the library obeys it; and the rules of MQTT 5.0 that have no number, as
RULE-1 to RULE-14. A statement that binds only a server has a test where the embedded broker, which
is for tests, is held to it.

Kinds: **S** binds what a client sends, **R** is to be enforced on what it receives, **T** is about
its state and behaviour.

This page is written by `python -m tests.conformance.table`, which reads the marks of the tests.

| version | statements | for clients | tested | faulty | not tested | for servers | tested |
| --- | --- | --- | --- | --- | --- | --- | --- |
"""

Found = Mapping[tuple[str, str], Sequence[Mark]]


def tests_by_statement(marks: Sequence[Mark]) -> dict[tuple[str, str], list[Mark]]:
    """Return the tests of each statement; a second identifier has those of the first."""
    found: dict[tuple[str, str], list[Mark]] = {}
    for mark in marks:
        found.setdefault((mark.version, mark.identifier), []).append(mark)
    for (version, second), first in SAME.items():
        if (version, first) in found:
            found[version, second] = found[version, first]
    return found


def status(statement: Statement, marks: Sequence[Mark]) -> str:
    """Say in a word how the library stands to a statement, or why no test shows it."""
    if any(mark.fails for mark in marks):
        return FAULT
    if not statement.binds_client:
        return SERVER_ONLY
    if marks:
        return TESTED
    key = (statement.version, statement.identifier)
    first = SAME.get(key, statement.identifier)
    return NOT_TESTED[statement.version, first]


def _link(mark: Mark) -> str:
    path = mark.test.partition("::")[0]
    return f"[{mark.test}](../../{path})"


def _count(version: str, statements: Sequence[Statement], found: Found) -> str:
    """Return a row of the table at the top."""
    own = [each for each in statements if each.version == version]
    kinds: Counter[str] = Counter()
    for each in own:
        marks = found.get((each.version, each.identifier), ())
        word = status(each, marks)
        kinds["client"] += each.binds_client
        kinds["tested"] += each.binds_client and word == TESTED
        kinds["fault"] += word == FAULT
        kinds["reason"] += each.binds_client and not marks
        kinds["server"] += not each.binds_client
        kinds["shown"] += not each.binds_client and bool(marks)
        kinds["rules"] += not each.is_numbered
    numbered = len(own) - kinds["rules"]
    rules = f" + {kinds['rules']} rules" if kinds["rules"] else ""
    return (
        f"| MQTT {version} | {numbered}{rules} | {kinds['client']} | {kinds['tested']} "
        f"| {kinds['fault']} | {kinds['reason']} | {kinds['server']} | {kinds['shown']} |"
    )


def _row(statement: Statement, marks: Sequence[Mark]) -> str:
    tests = "<br>".join(_link(mark) for mark in marks)
    kind = statement.kind if statement.binds_client else ""
    text = statement.text.replace("<", "&lt;")
    return f"| {statement.identifier} | {kind} | {text} | {tests} | {status(statement, marks)} |"


def page(marks: Sequence[Mark]) -> str:
    """Return the whole page."""
    found = tests_by_statement(marks)
    lines = [
        _HEAD.rstrip(),
        *(_count(version, STATEMENTS, found) for version in VERSIONS),
    ]
    for version in VERSIONS:
        lines += [
            f"\n## MQTT {version}\n",
            "| statement | kind | in our words | tests | status |",
            "| --- | --- | --- | --- | --- |",
        ]
        for each in STATEMENTS:
            if each.version == version:
                lines.append(_row(each, found.get((version, each.identifier), ())))
    return "\n".join(lines) + "\n"


def write(path: Path = PAGE) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(all_marks()), encoding="utf-8")


if __name__ == "__main__":
    write()
