"""The table of conformance is complete, and true to the tests."""

import inspect
from pathlib import Path

import pytest

from tests.conformance import table
from tests.conformance.marks import ROOT, Mark, WrongMark, all_marks, marks_in_source
from tests.conformance.statements import SAME, STATEMENTS, VERSIONS

# The last number of each section; the numbers of a section begin at 1, with no gap but those below.
SECTIONS = {
    "3.1.1": (
        "1.5.3-3 2.2.2-2 2.3.1-7 3.1.0-2 3.1.2-24 3.1.3-11 3.1.4-5 3.2.0-1 3.2.2-6 3.3.1-12 "
        "3.3.2-3 3.3.4-1 3.3.5-2 3.6.1-1 3.8.1-1 3.8.3-3 3.8.4-6 3.9.3-2 3.10.1-1 3.10.3-2 "
        "3.10.4-6 3.12.4-1 3.14.1-1 3.14.4-3 4.1.0-2 4.3.1-1 4.3.2-2 4.3.3-2 4.4.0-1 4.5.0-2 "
        "4.6.0-6 4.7.1-3 4.7.2-1 4.7.3-4 4.8.0-2 6.0.0-4 7.0.0-2 7.1.1-1 7.1.2-1"
    ),
    "5.0": (
        "1.5.4-3 1.5.5-1 1.5.7-1 2.1.3-1 2.2.1-6 2.2.2-1 3.1.0-2 3.1.2-30 3.1.3-12 3.1.4-6 3.2.0-2 "
        "3.2.2-22 3.3.1-13 3.3.2-20 3.3.4-10 3.4.2-3 3.5.2-3 3.6.1-1 3.6.2-3 3.7.2-3 3.8.1-1 "
        "3.8.3-5 3.8.4-8 3.9.2-2 3.9.3-2 3.10.1-1 3.10.3-2 3.10.4-6 3.11.2-2 3.11.3-2 3.12.4-1 "
        "3.14.0-1 3.14.1-1 3.14.2-4 3.14.4-3 3.15.1-1 3.15.2-3 4.1.0-2 4.2-1 4.2.0-1 4.3.1-1 "
        "4.3.2-5 4.3.3-13 4.4.0-2 4.5.0-2 4.6.0-6 4.7.0-1 4.7.1-2 4.7.2-1 4.7.3-4 4.8.2-6 4.9.0-3 "
        "4.12.0-7 4.12.1-2 4.13.1-1 4.13.2-1 6.0.0-4"
    ),
}
MISPRINTED = {"3.1.1": {"MQTT-3-8.3-4"}, "5.0": set[str]()}
GAPS = {"3.1.1": set[str](), "5.0": {"MQTT-2.2.1-1"}}
COUNTS = {"3.1.1": 141, "5.0": 252}
BINDING = {"3.1.1": 90, "5.0": 168}
RULES = {f"RULE-{number}" for number in range(1, 15)}

KNOWN = {(each.version, each.identifier) for each in STATEMENTS}
MARKS = all_marks()


def numbered(version: str) -> list[str]:
    return [each.identifier for each in STATEMENTS if each.version == version and each.is_numbered]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_identifier_of_the_specification_is_there_once(version: str) -> None:
    expected = set(MISPRINTED[version])
    for last in SECTIONS[version].split():
        section, _, number = last.partition("-")
        expected |= {f"MQTT-{section}-{each}" for each in range(1, int(number) + 1)}
    expected -= GAPS[version]
    assert set(numbered(version)) == expected
    assert len(numbered(version)) == COUNTS[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_as_many_statements_bind_a_client_as_were_counted(version: str) -> None:
    # The second identifier of a statement is not counted again.
    binding = [
        each
        for each in STATEMENTS
        if each.version == version and each.is_numbered and each.binds_client
        if (version, each.identifier) not in SAME
    ]
    assert len(binding) == BINDING[version]


def test_the_rules_without_a_number_have_one_of_ours() -> None:
    assert {each.identifier for each in STATEMENTS if not each.is_numbered} == RULES
    assert len(KNOWN) == len(STATEMENTS)


def test_kinds_are_known_and_every_statement_says_something() -> None:
    for each in STATEMENTS:
        assert each.kind == "server" or set(each.kind.split()) <= set("SRT"), each
        assert each.text.endswith((".", ")", "?")), each


def test_every_statement_that_binds_a_client_has_a_test_or_a_reason() -> None:
    shown = table.tests_by_statement(MARKS)
    missing = [
        each
        for each in STATEMENTS
        if each.binds_client
        if (each.version, each.identifier) not in shown
        if (each.version, SAME.get((each.version, each.identifier), each.identifier))
        not in table.NOT_TESTED
    ]
    assert missing == []


def test_every_mark_names_a_statement() -> None:
    assert [mark for mark in MARKS if (mark.version, mark.identifier) not in KNOWN] == []


def test_no_reason_is_given_for_what_is_tested_or_unknown_or_binds_no_client() -> None:
    shown = table.tests_by_statement(MARKS)
    binding = {(each.version, each.identifier) for each in STATEMENTS if each.binds_client}
    assert [key for key in table.NOT_TESTED if key in shown or key not in binding] == []
    assert all(table.NOT_TESTED.values())


def test_the_page_is_what_the_generator_writes() -> None:
    written = table.PAGE.read_text(encoding="utf-8")
    assert written == table.page(MARKS), "run: python -m tests.conformance.table"


def test_every_statement_has_a_row_of_its_own() -> None:
    lines = table.page(MARKS).splitlines()
    for each in STATEMENTS:
        assert sum(line.startswith(f"| {each.identifier} |") for line in lines) in (1, 2), each
    rows = [line for line in lines if line.startswith(("| MQTT-", "| RULE-"))]
    assert len(rows) == len(STATEMENTS)


def test_a_mark_is_found_on_a_test_in_a_class_and_in_a_list_of_cases() -> None:
    source = """
CASES = [pytest.param(1, marks=conforms("5.0", "C")), 2]

@conforms("3.1.1", "A", "B")
@conforms("5.0", "B")
def test_one(): ...

class TestMore:
    @pytest.mark.parametrize("case", CASES)
    async def test_two(self): ...

@pytest.mark.xfail(reason="a fault")
@conforms("5.0", "D")
def test_three(): ...
"""
    assert marks_in_source("x.py", source) == [
        Mark("3.1.1", "A", "x.py::test_one", False),
        Mark("3.1.1", "B", "x.py::test_one", False),
        Mark("5.0", "B", "x.py::test_one", False),
        Mark("5.0", "C", "x.py::TestMore::test_two", False),
        Mark("5.0", "D", "x.py::test_three", True),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "@conforms('5.0', NAME)\ndef test_one(): ...",
        "@conforms('5.0')\ndef test_one(): ...",
        "@conforms('5.0', *NAMES)\ndef test_one(): ...",
        "@conforms('5.0', identifier='A')\ndef test_one(): ...",
        "@conforms('5.0', 'A')\ndef helper(): ...",
        "pytestmark = conforms('5.0', 'A')",
    ],
)
def test_a_mark_that_would_be_overlooked_is_an_error(source: str) -> None:
    with pytest.raises(WrongMark, match=r"x\.py:1: "):
        marks_in_source("x.py", source)


def test_what_pytest_collects_is_what_was_read(request: pytest.FixtureRequest) -> None:
    read = {(mark.test, mark.version, mark.identifier) for mark in MARKS}
    for item in request.session.items:
        path = item.path.relative_to(ROOT).as_posix()
        module = inspect.getsourcefile(getattr(item, "function", None) or type(item))
        if module is not None and Path(module) != item.path:
            continue  # it stands in another module, too, where it was read
        name = item.nodeid.partition("::")[2].partition("[")[0]
        for mark in item.iter_markers("conforms"):
            version, *identifiers = mark.args
            for identifier in identifiers:
                assert (f"{path}::{name}", version, identifier) in read


def test_a_statement_whose_test_is_expected_to_fail_is_not_called_tested() -> None:
    statement = next(each for each in STATEMENTS if each.binds_client)
    good = Mark(statement.version, statement.identifier, "x.py::test_one", False)
    bad = Mark(statement.version, statement.identifier, "x.py::test_two", True)
    assert table.status(statement, [good]) == table.TESTED
    assert table.status(statement, [good, bad]) == table.FAULT
