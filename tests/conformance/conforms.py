"""The mark of a test that shows a statement of a specification."""

from __future__ import annotations

import pytest


def conforms(version: str, *identifiers: str) -> pytest.MarkDecorator:
    """Say which statements of MQTT ``version`` a test shows, such as "MQTT-3.3.1-2"."""
    return pytest.mark.conforms(version, *identifiers)
