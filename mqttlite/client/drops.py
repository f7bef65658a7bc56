"""Counts the messages that go no further."""

from collections import Counter
from typing import Final

from mqttlite.client.events import Dropped, DropReason

_NOTHING: Final[Counter[tuple[DropReason, tuple[str, ...]]]] = Counter()
_NONE: Final[Counter[DropReason]] = Counter()


class Drops:
    """How many messages were dropped, and for which reason.

    ``totals`` counts them all. Where somebody wants to be told (``is_watched``), ``take_new()``
    returns what has come since its last call: one entry for a reason and a subscription, however
    many messages that were.
    """

    def __init__(self) -> None:
        self.totals = _NONE
        self.is_watched = False
        self.new = _NOTHING

    def count(
        self, reason: DropReason, count: int = 1, topic_filters: tuple[str, ...] = ()
    ) -> None:
        """Messages were dropped."""
        if not count:
            return
        if self.totals is _NONE:
            self.totals = Counter()
        self.totals[reason] += count
        if self.is_watched:
            if self.new is _NOTHING:
                self.new = Counter()
            self.new[reason, topic_filters] += count

    def take_new(self) -> list[Dropped]:
        """Return what has not been told yet."""
        new, self.new = self.new, _NOTHING
        return [Dropped(reason, count, filters) for (reason, filters), count in new.items()]
