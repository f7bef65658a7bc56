"""What many messages in flight must not cost."""

import pytest

from mqttlite.client import DeliveryState
from mqttlite.protocol.session import Session


class Counting(dict[int, object]):
    """Counts how often it is asked for a key."""

    asked = 0

    def __contains__(self, key: object) -> bool:
        self.asked += 1
        return super().__contains__(key)


@pytest.mark.xfail(reason="the next identifier is looked for one by one", strict=True)
def test_a_free_identifier_is_found_among_many_that_are_not() -> None:
    session = Session()
    outgoing = Counting()
    session.outgoing = outgoing  # type: ignore[assignment]
    delivery = DeliveryState("a/topic", b"", 1)
    for _ in range(65_518):
        outgoing[session.allocate_packet_id()] = delivery
    outgoing.asked = 0
    for _ in range(1000):
        packet_id = session.allocate_packet_id()
        assert packet_id
        outgoing[packet_id] = delivery
        del outgoing[packet_id]
    assert outgoing.asked < 20_000
