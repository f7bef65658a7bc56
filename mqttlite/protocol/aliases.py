"""Which topics this side gives a topic alias (MQTT 5.0 section 3.3.2.3.4)."""

from typing import Final

ALIAS_SIZE: Final = 4
"""Bytes that an alias adds at most: the property, and a longer property length."""

_MOST_CREDIT: Final = 16
"""Uses that count for an alias: what was used much more often long ago has no claim."""

_SEEN_ONCE: Final = 1024


class OutgoingAliases:
    """The topic aliases of one connection, given to the topics that are worth one.

    A topic can get one when it is published for the second time. While there are aliases left it
    does. Later it has to take the place of another topic: every use of an alias is a credit for
    it, and every topic that asks takes one away from the alias whose turn it is; an alias
    without credit is given to who asks. So topics that go round, more of them than there are
    aliases, do not take each other's place all the time, and what is not used any more gives way.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._aliases: dict[str, int] = {}
        self._topics: list[str] = []  # the topic of alias n at index n - 1
        self._credits: list[int] = []
        self._seen_once: set[str] = set()
        self._turn = 0

    def use(self, topic: str) -> tuple[int, bool]:
        """Return the alias for a topic that is published now, and whether the peer knows it.

        0 is no alias. One that the peer does not know has to be sent with the topic's name.
        """
        alias = self._aliases.get(topic)
        if alias is not None:
            credit = self._credits[alias - 1]
            if credit < _MOST_CREDIT:
                self._credits[alias - 1] = credit + 1
            return alias, True
        if topic not in self._seen_once:
            if len(self._seen_once) >= _SEEN_ONCE:
                self._seen_once.clear()
            self._seen_once.add(topic)
            return 0, False
        alias = self._find_place()
        if alias:
            self._seen_once.discard(topic)
            self._aliases[topic] = alias
            self._topics[alias - 1] = topic
        return alias, False

    def _find_place(self) -> int:
        """Return an alias that is free, or has become so; 0: there is none this time."""
        if len(self._topics) < self._maximum:
            self._topics.append("")
            self._credits.append(0)
            return len(self._topics)
        index = self._turn
        self._turn = (index + 1) % self._maximum
        if self._credits[index]:
            self._credits[index] -= 1
            return 0
        del self._aliases[self._topics[index]]
        return index + 1
