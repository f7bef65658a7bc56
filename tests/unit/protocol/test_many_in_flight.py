"""What many messages in flight must not cost."""

from mqttlite.protocol import Outgoing
from tests.unit.protocol.sides import Client


class Counting(dict[int, Outgoing]):
    """Counts how often it is asked for a key."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


def test_a_free_identifier_is_found_among_many_that_are_not() -> None:
    client = Client()
    outgoing = client.session.outgoing = Counting()
    for _ in range(65_518):
        client.publish("t", b"", 1)
    outgoing.asked = 0
    for _ in range(1000):
        client.publish("t", b"", 1)
        newest = next(reversed(outgoing))
        assert client.give(f"40 02 {newest:04x}") == []
    assert outgoing.asked < 20_000
    assert len(outgoing) == 65_518


def test_identifier_that_became_free_and_was_taken_is_not_given_out_again() -> None:
    client = Client()
    for _ in range(40_000):
        client.publish("t", b"", 1)
    client.give("40 02 00 07", "40 02 00 08", "40 02 00 09")
    session = client.session
    # The next message finds the same identifier in another way.
    session.last_packet_id = 6
    seven = Outgoing("t", b"", 1)
    assert client.connection.publish_at_once(seven)
    assert seven.packet_id == 7
    assert client.publish("t", b"", 1).packet_id == 8
    assert session.allocate_packet_id({9}) == 40_001
    assert len(session.outgoing) == 39_999
    assert client.connection.send_quota == 65_519 - 39_999


def test_identifiers_that_become_free_are_given_out_once() -> None:
    client = Client()
    for _ in range(33_000):
        client.publish("t", b"", 1)
    for _ in range(3):
        client.give("".join(f"40 02 {number:04x}" for number in range(1, 101)))
        again = {client.publish("t", b"", 1).packet_id for _ in range(100)}
        assert again == set(range(1, 101))
    assert len(client.session.outgoing) == 33_000


def test_what_is_remembered_of_free_identifiers_is_bounded() -> None:
    client = Client()
    for _ in range(40_000):
        client.publish("t", b"", 1)
    session = client.session
    for _ in range(30):  # messages that find their identifier without it
        done = list(session.outgoing)[:3000]
        client.give("".join(f"40 02 {number:04x}" for number in done))
        for _ in done:
            assert client.connection.publish_at_once(Outgoing("t", b"", 1))
    assert session._freed is not None
    assert len(session._freed) <= 65_535
