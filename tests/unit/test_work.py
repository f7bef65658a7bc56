"""It stays fast: what a message costs is counted, and compared with what is committed."""

import pytest

from tests.benchmarks.work import (
    VERSION,
    Change,
    committed,
    compare,
    measure,
    unsupported,
)

WRITE = "if it is meant to be: python -m tests.benchmarks.work --write, and commit the file"

BEFORE = {"publish": {"instructions": 100.0, "sends per 1,000": 2.0}}


def test_the_work_is_what_is_committed() -> None:
    reason = unsupported()
    if reason is not None:
        pytest.skip(reason)
    before = committed()
    if before is None:
        pytest.skip(f"no figures are committed for Python {VERSION}")
    changes = compare(before, measure())
    worse = [str(change) for change in changes if not change.is_better]
    assert not worse, "\n".join(["more work than is committed;", WRITE, *worse])
    # Otherwise the next ones could lose again what was gained here.
    better = [str(change) for change in changes]
    assert not better, "\n".join(["less work than is committed: commit to it;", WRITE, *better])


@pytest.mark.parametrize("instructions", [90.0, 100.0, 110.0])
def test_ten_percent_are_let_pass(instructions: float) -> None:
    assert compare(BEFORE, {"publish": {**BEFORE["publish"], "instructions": instructions}}) == []


@pytest.mark.parametrize(("instructions", "is_better"), [(89.0, True), (111.0, False)])
def test_more_than_ten_percent_are_told(instructions: float, *, is_better: bool) -> None:
    (change,) = compare(BEFORE, {"publish": {**BEFORE["publish"], "instructions": instructions}})
    assert change == Change("publish", "instructions", 100.0, instructions)
    assert change.is_better == is_better


def test_one_more_system_call_is_no_regression() -> None:
    assert compare(BEFORE, {"publish": {**BEFORE["publish"], "sends per 1,000": 4.0}}) == []
    (change,) = compare(BEFORE, {"publish": {**BEFORE["publish"], "sends per 1,000": 8.0}})
    assert not change.is_better


def test_a_scenario_that_has_come_or_gone_is_told() -> None:
    changes = compare(BEFORE, {"receive": {"instructions": 1.0}})
    assert [change.scenario for change in changes] == ["publish", "publish", "receive"]
    assert not any(change.is_better for change in changes)
