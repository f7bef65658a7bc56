"""Topic names, topic filters, and what matches what."""

from collections.abc import Callable
from itertools import product
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mqttlite import topics
from mqttlite.errors import InvalidTopic, UsageError
from mqttlite.topics import (
    TopicTree,
    encode_filter,
    encode_topic,
    has_wildcard,
    is_shared,
    matches,
    shorten,
    split_share,
)
from tests.behaviour import rule

LONGEST: Final = "x" * 65_535


def naive_matches(topic_filter: str, topic: str) -> bool:
    """MQTT 5.0 section 4.7, word by word."""
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[2]
    if topic.startswith("$") and topic_filter[0] in "+#":
        return False
    return _levels_match(topic_filter.split("/"), topic.split("/"))


def _levels_match(wanted: list[str], levels: list[str]) -> bool:
    if wanted == ["#"]:  # "the parent and any number of child levels"
        return True
    if not wanted or not levels:
        return not wanted and not levels
    return wanted[0] in {"+", levels[0]} and _levels_match(wanted[1:], levels[1:])


# --- names and filters on the wire ---


@pytest.mark.parametrize("encode", [encode_topic, encode_filter])
@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("a", b"\x00\x01a"),
        ("/", b"\x00\x01/"),
        ("//", b"\x00\x02//"),
        ("a/b", b"\x00\x03a/b"),
        (" ", b"\x00\x01 "),
        ("$SYS/uptime", b"\x00\x0b$SYS/uptime"),
        ("price/us$", b"\x00\x09price/us$"),
        ("$", b"\x00\x01$"),
        ("ä", b"\x00\x02\xc3\xa4"),
        ("A\U0002a6d4", b"\x00\x05A\xf0\xaa\x9b\x94"),
        ("\ufeff", b"\x00\x03\xef\xbb\xbf"),
        ("$shared/a", b"\x00\x09$shared/a"),
        ("x/$share", b"\x00\x08x/$share"),
        ("c" * 256, b"\x01\x00" + b"c" * 256),
        (LONGEST, b"\xff\xff" + LONGEST.encode()),
        ("/" * 65_535, b"\xff\xff" + b"/" * 65_535),
    ],
    ids=lambda value: shorten(value) if isinstance(value, str) else "",
)
def test_encoded(encode: Callable[[str], bytes], text: str, data: bytes) -> None:
    assert encode(text) == data


@pytest.mark.parametrize(
    "topic_filter",
    [
        "#",
        "+",
        "/#",
        "+/+",
        "/+",
        "+/",
        "a/#",
        "+/a/#",
        "sport/tennis/+",
        "sport/tennis/player1/#",
        "+/tennis/#",
        "$SYS/#",
        "$SYS/monitor/+",
        "$share/g/a",
        "$share/g/#",
        "$share/g/+/a",
        "$share/g//a",
        "$share/g//",
        "$share/g/$SYS/#",
        "$share/name with spaces/a",
        "$share/g/$share/g/a",
        "a/$share/+",
    ],
)
def test_filters(topic_filter: str) -> None:
    encoded = encode_filter(topic_filter)
    assert encoded[:2] == len(topic_filter).to_bytes(2, "big")
    assert encoded[2:] == topic_filter.encode()


SAME_FAULTS: Final[list[tuple[object, str]]] = [
    ("", "must have at least one character"),  # [MQTT-4.7.3-1]
    ("a\0b", r"'a\\x00b' contains U\+0000"),  # [MQTT-4.7.3-2]
    ("a\ud800", r"cannot be written as UTF-8: it has a lone surrogate at position 1"),
    ("\udfff/a", "a lone surrogate at position 0"),  # [MQTT-1.5.4-1]
    (LONGEST + "x", "is 65536 bytes long, the limit is 65535"),  # [MQTT-4.7.3-3]
    ("ä" * 32_768, "is 65536 bytes long, the limit is 65535"),
    (b"a", "must be a str, not bytes"),
    (None, "must be a str, not NoneType"),
    (1, "must be a str, not int"),
]


@pytest.mark.parametrize(("text", "message"), SAME_FAULTS, ids=range(len(SAME_FAULTS)))
def test_what_neither_may_be(text: Any, message: str) -> None:
    with pytest.raises(InvalidTopic, match=rf"^(a )?topic .*{message}"):
        encode_topic(text)
    with pytest.raises(InvalidTopic, match=rf"^(a )?topic filter .*{message}"):
        encode_filter(text)


def test_a_list_is_no_topic() -> None:
    with pytest.raises(UsageError, match="a topic must be a str, not list"):
        encode_topic(_anything(["a"]))
    with pytest.raises(UsageError, match="a topic filter must be a str, not list"):
        encode_filter(_anything(["a"]))


def _anything(value: object) -> Any:
    return value


@rule(26)
@pytest.mark.parametrize("topic", ["+", "#", "a/+", "a/#", "a+", "#a", "a/b+c/d", "$SYS/#"])
def test_a_topic_has_no_wildcard(topic: str) -> None:  # [MQTT-3.3.2-2] [MQTT-4.7.0-1]
    with pytest.raises(InvalidTopic) as raised:
        encode_topic(topic)
    assert str(raised.value) == (
        f"topic {topic!r} contains a wildcard: + and # are for subscribing only"
    )


@rule(26)
@pytest.mark.parametrize(
    ("topic_filter", "message"),
    [
        # [MQTT-4.7.1-1]
        ("#/a", r"'#/a': # must be the last level, alone$"),
        ("a/#/b", r"# must be the last level, alone$"),
        ("a/#/", r"# must be the last level, alone$"),
        ("#/#", r"# must be the last level, alone$"),
        ("a#/b", r"# must be the last level, alone$"),
        ("sport/tennis#", r"a wildcard must be a whole level, not a part of 'tennis#'$"),
        ("a/#b", r"a wildcard must be a whole level, not a part of '#b'$"),
        ("##", r"a wildcard must be a whole level, not a part of '##'$"),
        ("+#", r"a wildcard must be a whole level, not a part of '\+#'$"),
        # [MQTT-4.7.1-2]
        ("sport+", r"a wildcard must be a whole level, not a part of 'sport\+'$"),
        ("+a/b", r"a wildcard must be a whole level, not a part of '\+a'$"),
        ("a/++/b", r"a wildcard must be a whole level, not a part of '\+\+'$"),
        # [MQTT-4.8.2-1] [MQTT-4.8.2-2]
        ("$share", r"is \$share/NAME/FILTER with a name of at least one character"),
        ("$share/", r"is \$share/NAME/FILTER with a name of at least one character"),
        ("$share//a", r"is \$share/NAME/FILTER with a name of at least one character"),
        ("$share/+/a", r"is \$share/NAME/FILTER with a name .* without \+ and #"),
        ("$share/a#/a", r"is \$share/NAME/FILTER with a name .* without \+ and #"),
        ("$share/g", r"needs a filter after its name: \$share/g/FILTER$"),
        ("$share/g/", r"needs a filter after its name: \$share/g/FILTER$"),
        ("$share/g/#/a", r"# must be the last level, alone$"),
        ("$share/g/a+", r"a wildcard must be a whole level, not a part of 'a\+'$"),
    ],
)
def test_what_is_no_filter(topic_filter: str, message: str) -> None:
    with pytest.raises(InvalidTopic, match=message) as raised:
        encode_filter(topic_filter)
    assert str(raised.value).startswith(f"topic filter {topic_filter!r}: ")


def test_a_long_topic_is_cut_in_messages() -> None:
    with pytest.raises(InvalidTopic) as raised:
        encode_topic("a" * 50_000 + "/#")
    assert "a" * 77 + "...'" in str(raised.value)
    assert len(str(raised.value)) < 200
    with pytest.raises(InvalidTopic) as raised:
        encode_filter("b" * 50_000 + "#")
    assert len(str(raised.value)) < 300


def test_shorten() -> None:
    assert shorten("") == ""
    assert shorten("a" * 80) == "a" * 80
    assert shorten("a" * 81) == "a" * 77 + "..."


def test_what_is_refused_is_refused_again() -> None:  # nothing wrong is cached
    for _ in range(2):
        with pytest.raises(InvalidTopic):
            encode_topic("#")
        with pytest.raises(InvalidTopic):
            encode_filter("a#")
        assert encode_filter("#") == b"\0\1#"


def test_what_is_remembered_is_bounded() -> None:
    maximum = topics._encode_filter.cache_info().maxsize
    assert maximum is not None
    assert maximum <= 4096
    for number in range(20_000):
        encode_topic(f"a/{number}")
        assert len(topics.encoded_topics) <= 16_384
    encode_topic("b" * 10_000)
    assert "b" * 10_000 not in topics.encoded_topics


# --- small questions ---


def test_is_shared() -> None:
    assert is_shared("$share/g/a")
    assert not is_shared("$share")
    assert not is_shared("$shared/g/a")
    assert not is_shared("a/$share/g")


@rule(27)
def test_split_share() -> None:
    assert split_share("$share/g/a/b") == ("g", "a/b")
    assert split_share("$share/g//") == ("g", "/")
    assert split_share("a/b") == ("", "a/b")
    assert split_share("$SYS/#") == ("", "$SYS/#")


def test_has_wildcard() -> None:
    assert has_wildcard("#")
    assert has_wildcard("a/+/b")
    assert not has_wildcard("a/b")
    assert not has_wildcard("$share/g/a")
    assert has_wildcard("$share/g/+")


# --- matching: the examples of MQTT 5.0 section 4.7 and rule 27 ---

MATCHES: Final = [
    ("sport/tennis/player1/#", "sport/tennis/player1"),
    ("sport/tennis/player1/#", "sport/tennis/player1/ranking"),
    ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
    ("sport/#", "sport"),
    ("#", "a"),
    ("#", "/"),
    ("#", "a/b/c"),
    ("#", "a/$SYS"),
    ("sport/tennis/+", "sport/tennis/player1"),
    ("sport/+", "sport/"),
    ("+/+", "/finance"),
    ("/+", "/finance"),
    ("+", "finance"),
    ("+/#", "a"),
    ("+/#", "a/b"),
    ("+/tennis/#", "sport/tennis"),
    ("$SYS/#", "$SYS/"),
    ("$SYS/#", "$SYS"),
    ("$SYS/monitor/+", "$SYS/monitor/Clients"),
    ("price/us$", "price/us$"),
    ("price/+", "price/us$"),
    ("a/+", "a/$b"),
    ("+/$b", "a/$b"),
    ("a//b", "a//b"),
    ("a/+/b", "a//b"),
    ("//", "//"),
    ("+/+/+", "//"),
    ("ACCOUNTS", "ACCOUNTS"),
    ("$share/g/a/+", "a/b"),
    ("$share/g/#", "a"),
    ("$share/g/$SYS/#", "$SYS/a"),
    ("$share/g//a", "/a"),
]

NO_MATCHES: Final = [
    ("sport/tennis/+", "sport/tennis/player1/ranking"),
    ("sport/+", "sport"),
    ("+", "/finance"),
    ("#", "$SYS"),
    ("#", "$SYS/monitor/Clients"),
    ("+", "$SYS"),
    ("+/#", "$SYS/a"),
    ("+/monitor/Clients", "$SYS/monitor/Clients"),
    ("ACCOUNTS", "Accounts"),
    ("/a", "a"),
    ("a", "a/"),
    ("a/", "a"),
    ("a/b", "a"),
    ("a", "a/b"),
    ("a/#", "ab"),
    ("a/#", "b"),
    ("a/b/#", "a"),
    ("$share/g/#", "$SYS/a"),
    ("$share/g/a", "$share/g/a"),
    ("a/+/c", "a/b/d"),
]


@rule(27)
@pytest.mark.parametrize(("topic_filter", "topic"), MATCHES)
def test_matches(topic_filter: str, topic: str) -> None:
    assert naive_matches(topic_filter, topic)  # the reference knows it, too
    assert matches(topic_filter, topic) is True


@rule(27)
@pytest.mark.parametrize(("topic_filter", "topic"), NO_MATCHES)
def test_does_not_match(topic_filter: str, topic: str) -> None:
    assert not naive_matches(topic_filter, topic)
    assert matches(topic_filter, topic) is False


def test_very_many_levels() -> None:
    topic = "/" * 65_535
    assert matches("#", topic)
    assert matches(topic, topic)
    assert not matches(topic, topic[1:])
    assert not matches("+/+", topic)
    every = "+/" * 32_767 + "#"
    assert matches(every, topic)
    assert not matches("+/" * 32_767 + "+", topic)
    tree: TopicTree[int] = TopicTree()
    tree.add(topic, 1)
    tree.add(every, 2)
    assert sorted(tree.match(topic)) == [1, 2]
    tree.remove(topic, 1)
    assert list(tree.match(topic)) == [2]
    tree.remove(every, 2)
    assert not tree._root.children


def test_very_long_levels() -> None:
    tree: TopicTree[int] = TopicTree()
    tree.add(LONGEST, 1)
    tree.add(LONGEST[1:], 2)
    assert list(tree.match(LONGEST)) == [1]


# --- the tree ---


def test_an_empty_tree_matches_nothing() -> None:
    tree: TopicTree[int] = TopicTree()
    assert list(tree.match("a")) == []
    assert list(tree.match("")) == []


def test_a_filter_may_hold_several_values() -> None:
    tree: TopicTree[str] = TopicTree()
    tree.add("a/+", "one")
    tree.add("a/+", "two")
    tree.add("a/+", "one")
    assert list(tree.match("a/b")) == ["one", "two", "one"]
    tree.remove("a/+", "one")
    assert sorted(tree.match("a/b")) == ["one", "two"]
    tree.remove("a/+", "one")
    tree.remove("a/+", "two")
    assert list(tree.match("a/b")) == []


def test_a_value_comes_once_for_each_filter() -> None:
    tree: TopicTree[int] = TopicTree()
    for topic_filter in ("#", "+/b", "a/#", "a/b", "a/b/#", "$share/g/a/+", "+/+", "b", "a/b/c"):
        tree.add(topic_filter, 1)
    assert len(list(tree.match("a/b"))) == 7


def test_removing_leaves_the_other_branches() -> None:
    tree: TopicTree[int] = TopicTree()
    for topic_filter in ("a", "a/b", "a/b/c", "a/#", "+/b"):
        tree.add(topic_filter, 1)
    tree.remove("a/b", 1)
    assert len(list(tree.match("a/b/c"))) == 2
    assert len(list(tree.match("a"))) == 2
    tree.remove("a/b/c", 1)
    assert len(list(tree.match("a/b"))) == 2
    for topic_filter in ("a", "a/#", "+/b"):
        tree.remove(topic_filter, 1)
    assert not tree._root.children


@pytest.mark.parametrize("topic_filter", ["a/b/c", "b", "a", "a/b"])
def test_removing_what_is_not_there(topic_filter: str) -> None:
    tree: TopicTree[int] = TopicTree()
    tree.add("a/b", 1)
    with pytest.raises((KeyError, ValueError)):
        tree.remove(topic_filter, 2)
    assert list(tree.match("a/b")) == [1]


# --- what may overlap ---


def _tree(*topic_filters: str) -> TopicTree[str]:
    tree: TopicTree[str] = TopicTree()
    for each in topic_filters:
        tree.add(each, each)
    return tree


def _overlap(topic_filter: str, *others: str) -> bool:
    return _tree(*others).may_overlap(topic_filter)


def test_every_two_short_filters_overlap_or_do_not() -> None:
    # If two filters have a topic in common, they have one of these levels: "z" stands for all
    # that neither of them names. The empty text is taken for a topic here: it is none, but it is
    # all that "+" and "/#" have in common, and True is the safe answer.
    names = ["", "a", "$a", "z"]
    topics = ["/".join(each) for size in (1, 2, 3, 4) for each in product(names, repeat=size)]
    levels = ["", "a", "$a", "+"]
    beginnings = [list(each) for size in (0, 1, 2, 3) for each in product(levels, repeat=size)]
    filters = ["/".join(each) for each in beginnings if each and each != [""]]
    filters += ["/".join([*each, "#"]) for each in beginnings if len(each) < 3]
    matched = {each: {topic for topic in topics if naive_matches(each, topic)} for each in filters}
    assert all(matched.values())
    wrong = [
        (one, other)
        for one in filters
        for tree in [_tree(one)]
        for other in filters
        if tree.may_overlap(other) == matched[one].isdisjoint(matched[other])
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("topic_filter", "other", "expected"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a/b", "a", False),
        ("a/#", "a", True),
        ("a", "a/#", True),
        ("#", "$SYS/#", False),
        ("+/b", "$SYS/b", False),
        ("$SYS/+", "$SYS/b", True),
        ("a/$b", "a/+", True),
        ("$share/g/a/+", "a/b", True),
        ("a/+", "$share/g/+/b", True),
        ("$share/g/a", "$share/g/b", False),
    ],
)
def test_two_filters_overlap(topic_filter: str, other: str, expected: bool) -> None:
    assert _overlap(topic_filter, other) is expected
    assert _overlap(other, topic_filter) is expected


def test_nothing_overlaps_an_empty_tree() -> None:
    for topic_filter in ("a", "+", "#", "$a/#"):
        assert not _overlap(topic_filter)


def test_what_was_removed_does_not_overlap() -> None:
    tree: TopicTree[int] = TopicTree()
    tree.add("a/b/c", 1)
    tree.add("a/x", 2)
    tree.remove("a/b/c", 1)
    assert not tree.may_overlap("a/b/#")
    assert tree.may_overlap("a/+")


def test_a_long_search_is_given_up_for_the_safe_answer() -> None:
    tree: TopicTree[int] = TopicTree()
    for number in range(10_000):
        tree.add(f"{number}/a", number)
    assert tree.may_overlap("+/a")
    assert tree.may_overlap("+/b")  # which is not so
    # One that is not long is not given up, however many filters there are.
    assert tree.may_overlap("9999/+")
    assert not tree.may_overlap("9999/b")
    assert not tree.may_overlap("other/+")


# --- properties ---

LEVELS: Final = st.sampled_from(["", "a", "b", "$a", "$SYS", "$share", "c$", "ä"])
TOPICS: Final = st.lists(LEVELS, min_size=1, max_size=5).map("/".join).filter(bool)


def _is_filter(text: str) -> bool:
    try:
        encode_filter(text)
    except InvalidTopic:
        return False
    return True


PLAIN_FILTERS: Final = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(LEVELS | st.just("+"), max_size=5),
    st.sampled_from([["#"], ["+"], ["a"], [""]]),
)
FILTERS: Final = (
    PLAIN_FILTERS | st.builds("$share/{}/{}".format, st.sampled_from("gh"), PLAIN_FILTERS)
).filter(_is_filter)


@settings(deadline=None, max_examples=300)
@given(FILTERS, TOPICS)
@example("a/#", "a")
@example("#", "$SYS")
def test_matches_as_the_reference_does(topic_filter: str, topic: str) -> None:
    assert matches(topic_filter, topic) is naive_matches(topic_filter, topic)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(FILTERS, st.integers(0, 3)), max_size=12),
    st.data(),
    st.lists(TOPICS, min_size=1, max_size=5),
)
def test_the_tree_is_a_list_of_filters(
    entries: list[tuple[str, int]], data: st.DataObject, topics: list[str]
) -> None:
    tree: TopicTree[int] = TopicTree()
    for topic_filter, value in entries:
        tree.add(topic_filter, value)
    remaining = list(entries)
    for index in data.draw(st.permutations(range(len(entries)))):
        for topic in topics:
            expected = [value for one, value in remaining if naive_matches(one, topic)]
            assert sorted(tree.match(topic)) == sorted(expected)
        tree.remove(*entries[index])
        remaining.remove(entries[index])
    assert not tree._root.children
    assert not tree._root.values


SHORT_FILTERS: Final = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(st.sampled_from(["", "a", "b", "$a", "+"]), max_size=3),
    st.sampled_from([["#"], ["+"], ["a"], ["b"]]),
)
SHORT_TOPICS: Final = [
    "/".join(each)
    for size in (1, 2, 3, 4)
    for each in product(["", "a", "b", "$a", "z"], repeat=size)
]


@settings(deadline=None, max_examples=200)
@given(SHORT_FILTERS, st.lists(SHORT_FILTERS, max_size=6))
def test_a_filter_overlaps_a_tree_if_it_overlaps_one_of_its_filters(
    topic_filter: str, others: list[str]
) -> None:
    expected = any(
        naive_matches(topic_filter, topic) and any(naive_matches(each, topic) for each in others)
        for topic in SHORT_TOPICS
    )
    assert _overlap(topic_filter, *others) is expected


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="a/+#$\0\ud800", max_size=8))
@example("$share/a/b")
def test_topics_and_filters_are_what_the_rules_say(text: str) -> None:
    def accepted(encode: Callable[[str], bytes]) -> bool:
        try:
            encoded = encode(text)
        except InvalidTopic:
            return False
        assert encoded[2:].decode() == text
        return True

    text_is_fine = bool(text) and "\0" not in text and "\ud800" not in text
    assert accepted(encode_topic) == (text_is_fine and not set(text) & set("+#"))
    levels = text.split("/")
    if levels[0] == "$share":
        name = levels[1] if len(levels) > 1 else ""
        text_is_fine &= bool(name) and not set(name) & set("+#")
        text_is_fine &= "/".join(levels[2:]) != ""
        levels = levels[2:]
    filter_is_fine = all(level == "+" or not set(level) & set("+#") for level in levels[:-1])
    filter_is_fine &= not levels or levels[-1] in {"+", "#"} or not set(levels[-1]) & set("+#")
    assert accepted(encode_filter) == (text_is_fine and filter_is_fine)
