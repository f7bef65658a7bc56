"""The architecture: which part of the package may import which."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "mqttlite"

FLOORS = [
    {"enums", "errors", "limits", "records", "topics"},  # words
    {"auth", "message", "endpoint", "options"},  # values
    {"packets"},
    {"protocol"},
    {"client"},
    {"layers"},
    {"sockets"},  # what the shells have in common of input and output
    {"aio", "sync"},  # shells
    {"testing"},  # edge
]
"""From the ground up: a part imports from its own floor and from those below."""

BELOW_SHELLS = set().union(*FLOORS[:6])

INPUT_AND_OUTPUT = {"asyncio", "threading", "socket", "select", "selectors", "time", "random"}


def _floor(part: str) -> int:
    return next(number for number, floor in enumerate(FLOORS) if part in floor)


def _modules() -> Iterator[tuple[str, str, ast.Module]]:
    """Each module's path, the part that it belongs to, and its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        if name.as_posix() != "__init__.py":
            part = name.parts[0].removesuffix(".py")
            yield name.as_posix(), part, ast.parse(path.read_text(encoding="utf-8"))


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            assert node.module is not None
            yield node.module
            if node.module == "mqttlite":
                yield from (f"mqttlite.{alias.name}" for alias in node.names)


MODULES = list(_modules())


def test_every_part_has_a_floor() -> None:
    assert {part for _, part, _ in MODULES} == set().union(*FLOORS)


@pytest.mark.parametrize(("name", "part", "tree"), MODULES, ids=[name for name, _, _ in MODULES])
def test_imports_run_downwards(name: str, part: str, tree: ast.Module) -> None:
    for imported in _imports(tree):
        if imported.startswith("mqttlite."):
            target = imported.split(".")[1]
            assert _floor(target) <= _floor(part), f"{name} imports {imported}, which is above it"
            beside = _floor(target) == _floor(part) and target != part
            assert not beside or part not in {"aio", "sync"}, f"{name} imports {imported}"


@pytest.mark.parametrize(("name", "part", "tree"), MODULES, ids=[name for name, _, _ in MODULES])
def test_no_input_or_output_below_the_shells(name: str, part: str, tree: ast.Module) -> None:
    if part in BELOW_SHELLS:
        for imported in _imports(tree):
            top = imported.split(".")[0]
            assert top not in INPUT_AND_OUTPUT, f"{name}: {imported}"
