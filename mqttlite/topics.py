"""Topic names and topic filters: what is allowed, and what matches what (MQTT 5.0 section 4.7)."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

from mqttlite.errors import InvalidTopic
from mqttlite.limits import MAXIMUM_STRING_LENGTH

T = TypeVar("T")

_LONG_SEARCH = 100

SHARED_PREFIX = "$share/"


_TOPICS_CACHED: Final = 16_384
_LONGEST_CACHED: Final = 256  # characters of a topic

encoded_topics: Final[dict[str, bytes]] = {}
"""Topic names that are allowed, as they go on the wire; filled by ``encode_topic()``.

Programs publish to the same topics again and again.
"""


def encode_topic(topic: str) -> bytes:
    """Check a topic name and return it as it goes on the wire: two length bytes, then UTF-8.

    Raises InvalidTopic.
    """
    try:
        known = encoded_topics.get(topic)
    except TypeError:  # a list, for example
        raise _wrong_type(topic, "topic") from None
    if known is not None:
        return known
    encoded = _encode(topic, "topic")
    if "+" in topic or "#" in topic:  # [MQTT-3.3.2-2] [MQTT-4.7.0-1]
        raise InvalidTopic(
            f"topic {shorten(topic)!r} contains a wildcard: + and # are for subscribing only"
        )
    if len(topic) <= _LONGEST_CACHED:
        if len(encoded_topics) >= _TOPICS_CACHED:
            encoded_topics.clear()
        encoded_topics[topic] = encoded
    return encoded


def encode_filter(topic_filter: str) -> bytes:
    """Check a topic filter and return it as it goes on the wire. Raises InvalidTopic."""
    try:
        return _encode_filter(topic_filter)
    except TypeError:
        raise _wrong_type(topic_filter, "topic filter") from None


@lru_cache(maxsize=1024)
def _encode_filter(topic_filter: str) -> bytes:
    encoded = _encode(topic_filter, "topic filter")
    levels = topic_filter.split("/")
    if levels[0] == "$share":
        levels = _check_share(topic_filter, levels)
    for level in levels[:-1]:
        if "#" in level:  # [MQTT-4.7.1-1]
            raise InvalidTopic(
                f"topic filter {shorten(topic_filter)!r}: # must be the last level, alone"
            )
    for level in levels:
        if len(level) > 1 and ("+" in level or "#" in level):  # [MQTT-4.7.1-1] [MQTT-4.7.1-2]
            raise InvalidTopic(
                f"topic filter {shorten(topic_filter)!r}: a wildcard must be a whole level, "
                f"not a part of {shorten(level)!r}"
            )
    return encoded


def _check_share(topic_filter: str, levels: list[str]) -> list[str]:
    """Check ``$share/NAME/FILTER`` and return the levels of FILTER."""
    name = levels[1] if len(levels) > 1 else ""
    if not name or "+" in name or "#" in name:  # [MQTT-4.8.2-1] [MQTT-4.8.2-2]
        raise InvalidTopic(
            f"topic filter {shorten(topic_filter)!r}: a shared subscription is "
            f"$share/NAME/FILTER with a name of at least one character, without + and #"
        )
    if len(levels) < 3 or levels[2:] == [""]:  # [MQTT-4.8.2-2]
        raise InvalidTopic(
            f"topic filter {shorten(topic_filter)!r}: a shared subscription needs a filter "
            f"after its name: $share/{name}/FILTER"
        )
    return levels[2:]


def _encode(text: str, what: str) -> bytes:
    if not isinstance(text, str):
        raise _wrong_type(text, what)
    if not text:  # [MQTT-4.7.3-1]
        raise InvalidTopic(f"a {what} must have at least one character")
    if "\0" in text:  # [MQTT-4.7.3-2]
        raise InvalidTopic(f"{what} {shorten(text)!r} contains U+0000")
    try:
        encoded = text.encode()
    except UnicodeEncodeError as error:  # [MQTT-1.5.4-1]
        raise InvalidTopic(
            f"{what} {shorten(text)!r} cannot be written as UTF-8: it has a lone surrogate "
            f"at position {error.start}"
        ) from None
    if len(encoded) > MAXIMUM_STRING_LENGTH:  # [MQTT-4.7.3-3]
        raise InvalidTopic(
            f"{what} {shorten(text)!r} is {len(encoded)} bytes long, "
            f"the limit is {MAXIMUM_STRING_LENGTH}"
        )
    return len(encoded).to_bytes(2) + encoded


def _wrong_type(value: object, what: str) -> InvalidTopic:
    return InvalidTopic(f"a {what} must be a str, not {type(value).__name__}")


def shorten(text: str) -> str:
    """Cut a long text for a message to people."""
    return text if len(text) <= 80 else text[:77] + "..."


def is_shared(topic_filter: str) -> bool:
    """Whether a filter is a shared subscription (MQTT 5.0 section 4.8.2)."""
    return topic_filter.startswith(SHARED_PREFIX)


def split_share(topic_filter: str) -> tuple[str, str]:
    """Split ``$share/NAME/FILTER`` into NAME and FILTER; NAME is empty if it is not shared."""
    if not is_shared(topic_filter):
        return "", topic_filter
    _, name, actual = topic_filter.split("/", 2)
    return name, actual


def has_wildcard(topic_filter: str) -> bool:
    """Whether a filter can match more than one topic."""
    return "+" in topic_filter or "#" in topic_filter


def matches(topic_filter: str, topic: str) -> bool:
    """Whether a topic name matches a topic filter; ``$share/NAME/`` is passed over.

    >>> matches("lamp/+/set", "lamp/1/set"), matches("#", "$SYS/uptime")
    (True, False)
    """
    tree: TopicTree[bool] = TopicTree()
    tree.add(topic_filter, True)
    return next(tree.match(topic), False)


class TopicTree(Generic[T]):
    """Values by topic filter, and quickly all values whose filters match a topic.

    A lookup walks the levels of the topic once, whatever the number of filters. One filter
    may hold several values. ``$share/NAME/`` is stripped: what it matches is its filter.
    """

    __slots__ = ("_root",)

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, topic_filter: str, value: T) -> None:
        """Add a value under a (valid) filter."""
        node = self._root
        for level in split_share(topic_filter)[1].split("/"):
            child = node.children.get(level)
            if child is None:
                if node.children is _NO_CHILDREN:
                    node.children = {}
                child = node.children[level] = _Node()
            node = child
        if node.values is _NO_VALUES:
            node.values = []
        node.values.append(value)

    def remove(self, topic_filter: str, value: T) -> None:
        """Remove a value that was added under this filter."""
        node = self._root
        path = []
        for level in split_share(topic_filter)[1].split("/"):
            path.append((node, level))
            node = node.children[level]
        node.values.remove(value)
        for parent, level in reversed(path):
            child = parent.children[level]
            if child.values or child.children:
                break
            del parent.children[level]

    def may_overlap(self, topic_filter: str) -> bool:
        """Whether a topic may match both this filter and one that is here.

        True also where to find out would be a long search.
        """
        nodes = [self._root]
        for index, level in enumerate(split_share(topic_filter)[1].split("/")):
            if level == "#":
                return any(
                    node.values or any(index or not name.startswith("$") for name in node.children)
                    for node in nodes
                )
            following: list[_Node[T]] = []
            for node in nodes:
                children = node.children
                if len(children) + len(following) > _LONG_SEARCH and level == "+":
                    return True
                wildcards = index > 0 or not level.startswith("$")
                if wildcards and "#" in children:
                    return True
                if level == "+":
                    names = [name for name in children if index or not name.startswith("$")]
                else:
                    names = [level, "+"] if wildcards else [level]
                following += [children[name] for name in names if name in children]
            nodes = following
        return any(node.values or "#" in node.children for node in nodes)

    def match(self, topic: str) -> Iterator[T]:
        """All values whose filter matches the topic, once for each of their matching filters."""
        nodes = [self._root]
        levels = topic.split("/")
        for index, level in enumerate(levels):
            following = []
            # A first level that starts with $ is matched by no wildcard (section 4.7.2).
            wildcards = index > 0 or not level.startswith("$")
            for node in nodes:
                children = node.children
                if level in children:
                    following.append(children[level])
                if wildcards:
                    if "+" in children:
                        following.append(children["+"])
                    if "#" in children:
                        yield from children["#"].values
            if not following:
                return
            nodes = following
        for node in nodes:
            yield from node.values
            # "a/#" also matches "a" itself.
            if "#" in node.children:
                yield from node.children["#"].values


# Every node lacks one or the other, and empty ones of their own would be most of its size.
_NO_CHILDREN: Final[dict[str, Any]] = {}
_NO_VALUES: Final[list[Any]] = []


class _Node(Generic[T]):
    __slots__ = ("children", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = _NO_CHILDREN
        self.values: list[T] = _NO_VALUES
