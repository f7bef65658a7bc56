"""Every rule of behaviour has a test that bears its number."""

import pytest

from tests.behaviour import IN_BOTH_CLIENTS, PAGE, RULES, marked_tests, page

SHOWN = marked_tests()


def test_the_rules_are_numbered() -> None:
    assert list(RULES) == list(range(1, 32))
    assert {shown.number for shown in SHOWN} <= set(RULES), "a rule that is not in the list"


@pytest.mark.parametrize("number", RULES)
def test_a_rule_has_a_test(number: int) -> None:
    assert any(shown.number == number for shown in SHOWN)


@pytest.mark.parametrize("number", sorted(IN_BOTH_CLIENTS))
def test_a_rule_of_the_shells_has_a_test_in_both_clients(number: int) -> None:
    assert any(shown.number == number and shown.in_both for shown in SHOWN)


def test_the_page_names_them_all() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tests.behaviour"
