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
