"""The rules of how the clients behave, and the tests that show them.

A test says with `@rule(13)` that it would fail without what rule 13 asks for. Run as a program
this module writes docs/reference/behaviour.md; tests/test_behaviour_rules.py holds it up to date.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "behaviour.md"


def rule(*numbers: int) -> pytest.MarkDecorator:
    """Mark a test, or all of a class, as one that shows these rules."""
    return pytest.mark.rule(*numbers)


RULES = {
    1: "`connect()` returns once the server has accepted, and otherwise raises what went wrong, "
    "within one time for name lookup, network, TLS and the server's answer together. "
    "Every address of a name is tried.",
    2: "`close()` ends within its time wherever it is called from, a second time too. What was "
    "accepted is sent first, then DISCONNECT, and no thread or socket is left.",
    3: "Every wait can be cancelled and has a time-out, and neither loses a message nor keeps an "
    "identifier or a place. A client that failed to connect can be used again.",
    4: "Handlers and callbacks may call the client and wait for it: no lock is held meanwhile, "
    "and receiving goes on. A wait that nothing can end raises at once.",
    5: "What a handler raises is logged and given to `on_error`; the next message is handled all "
    "the same.",
    6: "TLS verifies the server by default. The name that is asked for, certificates, ALPN and "
    "the whole context can be chosen, and files are not read in the event loop.",
    7: "Credentials and addresses can be functions, which are asked before every attempt.",
    8: "Passwords and payloads stand in no log, `repr()` or exception.",
    9: "A lost connection is restored, whatever made an attempt fail. If the client gives up, "
    "everything that waits is told why.",
    10: "The time between attempts grows at random, and shrinks only after a connection that has "
    "lasted. A table, which can be replaced, tells the reasons that are final.",
    11: "Several servers are tried one after the other, and a server that names another one is "
    "followed, not for ever.",
    12: "A clean start is asked for once; reconnections go on with the session.",
    13: "In a session that goes on, what was not acknowledged is sent again first, in order. In a "
    "new one everything is subscribed to and published anew, but for what may have been delivered "
    "with QoS 2 already. On a connection that lasts nothing is repeated.",
    14: "Subscriptions that were made before connecting get the first message that comes. What "
    "matches none is counted, or goes to whoever takes such messages.",
    15: "A message of QoS 2 is received once, over reconnections too. A server may ask for what "
    "is long done and gets its answer; a refusal ends the exchange and frees its place.",
    16: "Neither side has more messages under way than the other one allows, and those that "
    "wait keep their order.",
    17: "A message is acknowledged when the program is done with it, so that the server holds the "
    "rest back. What need not be acknowledged is dropped when there is too much: it is counted, "
    "and a warning says so once.",
    18: "A program that is slow holds up neither the answers to pings nor acknowledgements.",
    19: "Acknowledgements leave in the order in which the messages came.",
    20: "What waits to be sent is bounded in number and size; when it is full the chosen policy "
    "decides. Messages expire while they wait, and QoS 0 waits only if that is wanted.",
    21: "Every message that was accepted for publishing has a known end, with its reason.",
    22: "Topic aliases end with their connection; those of a server are checked.",
    23: "The keep alive is on by default, and looks at both directions. A ping has to be answered "
    "soon, unless a long transfer goes on; the server's own keep alive counts.",
    24: "What the server has said that it does not take is refused before it is sent. An answer "
    "that is too large for it goes without its explanation.",
    25: "Packets that are too large or no MQTT end the connection with the right reason, however "
    "they are cut into pieces. Nothing that comes takes memory without a bound, raises a foreign "
    "exception, or ends reconnecting.",
    26: "Topics and filters are checked before they are sent, with a message that names the fault.",
    27: "A `$` is special at the beginning of a topic only, where wildcards do not match it; the "
    "prefix of a shared subscription is no part of what it matches.",
    28: "Any number of open files will do, small packets leave at once, and TLS hides no bytes.",
    29: "WebSocket frames and MQTT packets have nothing to do with each other, and what goes wrong "
    "in the handshake has a name.",
    30: "The clients use what every event loop and every Python has, and close what they open.",
    31: "In MQTT 3.x a refused subscription is an error; a client without a name can keep no "
    "session; 3.1 has its own protocol name and short identifiers.",
}
"""Each rule in a sentence or two."""

IN_BOTH_CLIENTS = frozenset(RULES) - {10, 20, 22, 27, 30}
"""Rules that a shell could break: at least one of their tests has to run with both clients."""

_BOTH = {"bench", "lab", "kind"}
"""The fixtures that make a test run with both clients."""


class Shown(NamedTuple):
    """A test that is marked with a rule."""

    number: int
    path: Path
    name: str
    in_both: bool


def _numbers(node: ast.expr) -> list[int]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "rule":
        return [ast.literal_eval(argument) for argument in node.args]
    return []


def _of_module(path: Path) -> Iterator[Shown]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _of_function(path, node, [], "")
        elif isinstance(node, ast.ClassDef):
            outer = [number for each in node.decorator_list for number in _numbers(each)]
            for inner in node.body:
                if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield from _of_function(path, inner, outer, f"{node.name}.")


def _of_function(
    path: Path, node: ast.FunctionDef | ast.AsyncFunctionDef, outer: list[int], prefix: str
) -> Iterator[Shown]:
    if not node.name.startswith("test_"):
        return
    arguments = {argument.arg for argument in node.args.args}
    own = [number for each in node.decorator_list for number in _numbers(each)]
    for number in dict.fromkeys(outer + own):
        yield Shown(number, path, prefix + node.name, bool(arguments & _BOTH))


def marked_tests() -> list[Shown]:
    """Find all tests that are marked with a rule."""
    return [
        shown for path in sorted((ROOT / "tests").rglob("test_*.py")) for shown in _of_module(path)
    ]


def page() -> str:
    """Return docs/reference/behaviour.md as it should be."""
    lines = [
        "# How the clients behave",
        "",
        "Rules that both clients keep, each with the tests that would fail if they did not. The",
        "tests bear the number of the rule: `@rule(13)`. This page is written by",
        "`python -m tests.behaviour`.",
        "",
        "| | rule | tests |",
        "| --- | --- | --- |",
    ]
    shown = marked_tests()
    for number, text in RULES.items():
        files: dict[Path, list[str]] = {}
        for each in shown:
            if each.number == number:
                files.setdefault(each.path, []).append(f"`{each.name}`")
        tests = "; ".join(
            f"[{path.relative_to(ROOT / 'tests').as_posix()}]"
            f"(../../{path.relative_to(ROOT).as_posix()}): {', '.join(names)}"
            for path, names in files.items()
        )
        lines.append(f"| {number} | {text} | {tests} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
