"""Which test shows which statements: read from the source of the tests.

The source is the same everywhere, whereas what pytest collects depends on what is installed. So
``conforms`` has to be called with strings as they stand, in a decorator of the test or in a list
of the module that such a decorator names.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"

_Function = ast.FunctionDef | ast.AsyncFunctionDef


class WrongMark(Exception):
    """A mark that cannot be read."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One test and one statement that it shows; or would show, but for a fault of the library."""

    version: str
    identifier: str
    test: str
    fails: bool


class _Module:
    """The marks of one module."""

    def __init__(self, name: str, source: str) -> None:
        self._name = name
        self._tree = ast.parse(source)
        self._lists = {
            target.id: node.value
            for node in self._tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        self._lists |= {
            node.target.id: node.value
            for node in self._tree.body
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
        }
        self._seen: set[ast.Call] = set()

    def marks(self) -> Iterator[Mark]:
        """Return all of them; raise if there is a call of conforms() that belongs to no test."""
        yield from self._marks_in(self._tree.body, self._name)
        for call in self._calls(self._tree, "conforms"):
            if call not in self._seen:
                raise WrongMark(f"{self._name}:{call.lineno}: this mark belongs to no test")

    def _marks_in(self, body: Iterable[ast.stmt], name: str) -> Iterator[Mark]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from self._marks_in(node.body, f"{name}::{node.name}")
            elif isinstance(node, _Function) and node.name.startswith("test"):
                yield from self._marks_of(node, f"{name}::{node.name}")

    def _marks_of(self, function: _Function, test: str) -> Iterator[Mark]:
        for decorator in function.decorator_list:
            for part in (decorator, *self._named_by(decorator)):
                for call in self._calls(part, "conforms"):
                    self._seen.add(call)
                    fails = any("xfail" in ast.unparse(each) for each in function.decorator_list)
                    version, *identifiers = self._strings(call)
                    for identifier in identifiers:
                        yield Mark(version, identifier, test, fails)

    def _named_by(self, node: ast.AST) -> list[ast.expr]:
        """Return the values of the module's lists that an expression uses."""
        names = dict.fromkeys(each.id for each in ast.walk(node) if isinstance(each, ast.Name))
        return [self._lists[name] for name in names if name in self._lists]

    @staticmethod
    def _calls(node: ast.AST, name: str) -> Iterator[ast.Call]:
        for each in ast.walk(node):
            if not isinstance(each, ast.Call) or not isinstance(each.func, ast.Name):
                continue
            if each.func.id == name:
                yield each

    def _strings(self, call: ast.Call) -> list[str]:
        values = [each.value for each in call.args if isinstance(each, ast.Constant)]
        strings = [each for each in values if isinstance(each, str)]
        if len(strings) != len(call.args) or len(strings) < 2 or call.keywords:
            raise WrongMark(
                f"{self._name}:{call.lineno}: give conforms() a version and identifiers, as strings"
            )
        return strings


def marks_in_source(name: str, source: str) -> list[Mark]:
    """Return the marks of one module; ``name`` is its path."""
    return list(_Module(name, source).marks())


def all_marks() -> list[Mark]:
    """Return the marks of all tests, each once, in the order of the tests' names."""
    found: dict[Mark, None] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(ROOT).as_posix()
        found |= dict.fromkeys(marks_in_source(name, path.read_text(encoding="utf-8")))
    return list(found)
