"""Topic aliases that this side gives: to which topics, and how they are written."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.enums import ProtocolVersion
from mqttlite.errors import InvalidTopic, PacketTooLarge
from mqttlite.protocol import Outgoing, Session
from mqttlite.protocol.aliases import OutgoingAliases
from tests.conformance.conforms import conforms
from tests.unit.protocol.sides import V5, V311, Client, connack


def use(aliases: OutgoingAliases, *topics: str) -> list[tuple[int, bool]]:
    return [aliases.use(topic) for topic in topics]


class TestWhoGetsOne:
    def test_second_use_gives_one_and_the_third_has_it(self) -> None:
        aliases = OutgoingAliases(10)
        assert use(aliases, "a", "a", "a", "a") == [(0, False), (1, False), (1, True), (1, True)]

    def test_topics_that_are_used_once_get_none(self) -> None:
        aliases = OutgoingAliases(10)
        assert all(aliases.use(f"once/{number}") == (0, False) for number in range(5_000))
        # Nor do they take anything from others.
        assert use(aliases, "a", "a", "a") == [(0, False), (1, False), (1, True)]

    def test_free_ones_are_given_in_turn(self) -> None:
        aliases = OutgoingAliases(3)
        use(aliases, "a", "b", "c")
        assert use(aliases, "c", "a", "b") == [(1, False), (2, False), (3, False)]
        assert use(aliases, "a", "b", "c") == [(2, True), (3, True), (1, True)]

    def test_what_is_used_keeps_its_place(self) -> None:
        aliases = OutgoingAliases(2)
        use(aliases, *"aabb")
        # Between any two uses of "c" both others are used.
        for _ in range(100):
            assert use(aliases, "a", "b") == [(1, True), (2, True)]
            assert aliases.use("c") == (0, False)

    def test_what_is_not_used_any_more_gives_way(self) -> None:
        aliases = OutgoingAliases(2)
        use(aliases, *"aabb")
        use(aliases, *("a" * 10_000))  # which is not remembered for ever
        given = []
        for _ in range(100):
            given.append(aliases.use("c"))
            given.append(aliases.use("d"))
            if all(is_known for _, is_known in given[-2:]):
                break
        else:
            raise AssertionError("the new topics got no alias")
        assert {alias for alias, _ in given[-2:]} == {1, 2}
        # The old ones have lost theirs.
        assert not aliases.use("a")[1]
        assert not aliases.use("b")[1]

    def test_one_that_gives_way_can_come_again(self) -> None:
        aliases = OutgoingAliases(1)
        use(aliases, "a", "a")
        use(aliases, "b", "b")
        assert aliases.use("b") == (1, True)
        assert aliases.use("a") == (0, False)  # as if it were new

    @pytest.mark.parametrize("topics", [11, 12, 20])
    def test_more_topics_than_aliases_that_go_round_do_not_thrash(self, topics: int) -> None:
        # The aliases are of use to as many topics as there are aliases, but for a few.
        aliases = OutgoingAliases(10)
        for _ in range(100):
            for topic in range(topics):
                aliases.use(str(topic))
        known = [aliases.use(str(topic))[1] for _ in range(100) for topic in range(topics)]
        assert sum(known) >= 0.8 * 10 * 100
        defined = len(known) - sum(known)
        assert defined <= topics * 100 - 8 * 100

    def test_what_it_remembers_is_bounded(self) -> None:
        aliases = OutgoingAliases(5)
        for number in range(20_000):
            aliases.use(f"once/{number}")
            aliases.use(f"twice/{number}")
            aliases.use(f"twice/{number}")
        kept = [value for value in vars(aliases).values() if isinstance(value, (dict, list, set))]
        assert sum(map(len, kept)) < 1_100

    @settings(deadline=None, max_examples=200)
    @given(st.integers(1, 4), st.lists(st.sampled_from("abcdefg"), max_size=200))
    def test_the_peer_always_knows_what_it_is_said_to_know(
        self, maximum: int, topics: list[str]
    ) -> None:
        # The peer's half, as section 3.3.2.3.4 has it.
        aliases = OutgoingAliases(maximum)
        known_by_peer: dict[int, str] = {}
        for topic in topics:
            alias, is_known = aliases.use(topic)
            assert 0 <= alias <= maximum
            if is_known:
                assert known_by_peer[alias] == topic
            elif alias:
                known_by_peer[alias] = topic


def make(
    properties: str = "22 00 0a",
    maximum: int = 65_535,
    version: ProtocolVersion = V5,
    session: Session | None = None,
) -> Client:
    """A client that gives topic aliases, to a server that takes 10 of them."""
    answer = connack(properties) if version == V5 else "20 02 00 00"
    return Client(answer, version=version, session=session, maximum_own_aliases=maximum)


def said(client: Client, topic: str = "a/b", payload: bytes = b"x", **properties: Any) -> str:
    """What is sent for a message of QoS 0."""
    client.publish(topic, payload, **properties)
    return client.sent()


PLAIN = "30 07 00 03 61 2f 62 00 78"
DEFINED = "30 0a 00 03 61 2f 62 03 23 00 01 78"
KNOWN = "30 07 00 00 03 23 00 01 78"


class TestOnTheWire:
    @conforms("5.0", "MQTT-3.3.2-9")
    def test_name_then_name_and_alias_then_alias(self) -> None:
        client = make()
        assert [said(client) for _ in range(4)] == [PLAIN, DEFINED, KNOWN, KNOWN]

    def test_every_quality(self) -> None:
        client = make()
        for qos in (1, 2, 1):
            client.publish("t", b"x", qos)
        client.connection.publish(Outgoing("t", b"x", 0, True))
        assert client.sent() == (
            "32 07 00 01 74 00 01 00 78"
            " 34 0a 00 01 74 00 02 03 23 00 01 78"
            " 32 09 00 00 00 03 03 23 00 01 78"
            " 31 07 00 00 03 23 00 01 78"
        )

    def test_beside_other_properties(self) -> None:
        client = make()
        said(client)
        assert said(client, content_type="c") in (
            "30 0e 00 03 61 2f 62 07 23 00 01 03 00 01 63 78",
            "30 0e 00 03 61 2f 62 07 03 00 01 63 23 00 01 78",
        )
        assert said(client, user_properties=[("k", "v"), ("k", "w")]) in (
            "30 15 00 00 11 23 00 01 26 00 01 6b 00 01 76 26 00 01 6b 00 01 77 78",
            "30 15 00 00 11 26 00 01 6b 00 01 76 26 00 01 6b 00 01 77 23 00 01 78",
        )
        assert said(client) == KNOWN

    def test_the_message_itself_knows_nothing_of_it(self) -> None:
        client = make()
        outgoing = [client.publish("t", b"", 1, content_type="c") for _ in range(3)][-1]
        assert outgoing.topic == "t"
        assert outgoing.properties == {"content_type": "c"}

    @conforms("5.0", "MQTT-3.2.2-18")
    @pytest.mark.parametrize("properties", ["", "22 00 00"])
    def test_none_for_a_server_that_takes_none(self, properties: str) -> None:
        client = make(properties)
        assert [said(client) for _ in range(4)] == [PLAIN] * 4

    def test_none_if_the_owner_wants_none(self) -> None:
        client = make(maximum=0)
        assert [said(client) for _ in range(4)] == [PLAIN] * 4
        client = Client(connack("22 00 0a"))
        assert [said(client) for _ in range(4)] == [PLAIN] * 4

    def test_none_in_mqtt_3(self) -> None:
        client = make(version=V311)
        assert [said(client) for _ in range(4)] == ["30 06 00 03 61 2f 62 78"] * 4

    @conforms("5.0", "MQTT-3.2.2-17", "MQTT-3.3.2-9")
    @pytest.mark.parametrize(
        ("of_the_server", "own", "expected"), [(2, 65_535, 2), (65_535, 2, 2), (3, 3, 3)]
    )
    def test_never_more_than_either_side_wants(
        self, of_the_server: int, own: int, expected: int
    ) -> None:
        client = make(f"22 {of_the_server:04x}", own)
        topics = [f"{number:03}" for number in range(expected + 1)]
        seen = set()
        for _ in range(50):
            for topic in topics:
                sent = bytes.fromhex(said(client, topic))
                length = int.from_bytes(sent[2:4])
                if sent[4 + length]:
                    assert sent[4 + length : 6 + length] == b"\x03\x23"
                    seen.add(int.from_bytes(sent[6 + length : 8 + length]))
        assert seen == set(range(1, expected + 1))

    def test_next_connection_begins_anew(self) -> None:
        client = make()
        for _ in range(3):
            said(client)
        client.connection.receive_eof()
        again = make(session=client.session)
        assert [said(again) for _ in range(3)] == [PLAIN, DEFINED, KNOWN]

    @pytest.mark.parametrize("qos", [1, 2])
    def test_what_is_sent_again_has_its_name(self, qos: int) -> None:
        # [MQTT-3.3.2-7] The aliases of the old connection mean nothing in the new one.
        client = make()
        for _ in range(3):
            client.publish("t", b"", qos)
        answer = connack("22 00 0a", session_present=True)
        again = Client(
            answer, session=client.session, clean_start=False, maximum_own_aliases=65_535
        )
        again.connection.resume()
        first = f"3{8 + 2 * qos:x}"
        assert again.sent() == " ".join(
            f"{first} 06 00 01 74 00 0{number} 00" for number in (1, 2, 3)
        )
        # Nor have they made the topic known.
        assert said(again, "t") == "30 05 00 01 74 00 78"
        assert said(again, "t") == "30 08 00 01 74 03 23 00 01 78"


class TestSmallPackets:
    def test_message_that_an_alias_would_make_too_large_has_none(self) -> None:
        client = make("22 00 0a 27 00 00 00 14")  # 20 bytes
        longest = b"x" * 12
        assert [said(client, "ab", longest) for _ in range(3)] == [
            "30 11 00 02 61 62 00" + " 78" * 12
        ] * 3

    def test_largest_packet_is_as_large_as_without_aliases(self) -> None:
        client = make("22 00 0a 27 00 00 00 28")  # 40 bytes
        for size in range(40):
            for _ in range(4):
                try:
                    sent = bytes.fromhex(said(client, "ab", b"x" * size))
                except PacketTooLarge:
                    assert size > 40 - 7
                else:
                    assert size <= 40 - 7
                    assert len(sent) <= 40

    def test_message_that_fits_has_one_all_the_same(self) -> None:
        client = make("22 00 0a 27 00 00 00 28")
        assert [said(client) for _ in range(3)] == [PLAIN, DEFINED, KNOWN]

    def test_what_is_refused_defines_nothing(self) -> None:
        client = make("22 00 0a 27 00 00 00 28")
        said(client)
        with pytest.raises(PacketTooLarge):
            client.publish("a/b", bytes(100))
        with pytest.raises(InvalidTopic):
            client.publish("a/#", b"")
        assert client.sent() == ""
        assert [said(client) for _ in range(2)] == [DEFINED, KNOWN]
