"""Marks a test with the statements of a specification that it shows."""

import pytest


def conforms(version: str, *identifiers: str) -> pytest.MarkDecorator:
    """The test shows that a client keeps to these statements of this protocol version."""
    return pytest.mark.conforms(version, *identifiers)
