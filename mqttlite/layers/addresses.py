"""The order in which the addresses of a server are tried."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds until the next address of a server is tried beside the one before (RFC 8305)."""

Address = tuple[int, Any]
"""The family of a socket and the address to connect it to."""


def in_turn(found: Sequence[tuple[Any, ...]]) -> list[Address]:
    """Order what ``getaddrinfo()`` found: the two families in turn, the preferred one first."""
    first_family = found[0][0]
    preferred = [(entry[0], entry[4]) for entry in found if entry[0] == first_family]
    others = [(entry[0], entry[4]) for entry in found if entry[0] != first_family]
    pairs = zip_longest(preferred, others)
    return [address for pair in pairs for address in pair if address is not None]
