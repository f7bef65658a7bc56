"""Every test here has a deadline, and leaves nothing behind."""

import pytest


@pytest.fixture(autouse=True)
def guard(deadline: None, no_leaks: None) -> None:
    """See the fixtures that this one uses."""
