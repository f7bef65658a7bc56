"""The marker that says which statements of a specification a test shows."""

import pytest


def conforms(version: str, *identifiers: str) -> pytest.MarkDecorator:
    """Mark a test: it shows these statements of MQTT "3.1.1" or "5.0".

    ``table.py`` reads the marks from the source, so the arguments are strings as they stand. The
    rules of 5.0 that have no number are RULE-1 to RULE-14.
    """
    return pytest.mark.conforms(version, *identifiers)
