"""What a server sends behind CONNACK in the same piece of bytes."""

from mqttlite.client.subscriptions import SubscriptionState
from mqttlite.packets import SubscriptionOptions
from tests.behaviour import rule
from tests.unit.client.hand import Hand

CONNACK = "2003000000"
MESSAGE = "34080001740007006f6b"  # QoS 2, topic "t", identifier 7
AGAIN = "3c" + MESSAGE[2:]


def together(*packets: str) -> tuple[Hand, SubscriptionState]:
    """Receive packets in one piece of bytes, as the first that the server sends."""
    hand = Hand()
    unmatched = SubscriptionState((), SubscriptionOptions(qos=2), ack="manual")
    hand.core.subscribe_unmatched(unmatched)
    hand.dial()
    hand.sent()
    hand.core.receive(bytes.fromhex("".join(packets)), hand.now)
    return hand, unmatched


@rule(15)
def test_a_message_of_qos_2_is_remembered() -> None:
    hand, unmatched = together(CONNACK, MESSAGE)
    message = unmatched.take()
    assert message is not None
    message.ack()
    assert hand.sent().hex() == "50020007"
    hand.core.receive(bytes.fromhex(AGAIN), hand.now)
    assert unmatched.take() is None  # it is not delivered a second time
    hand.core.receive(bytes.fromhex("62020007"), hand.now)
    assert hand.sent().hex() == "50020007" + "70020007"


@rule(16)
def test_a_message_of_qos_2_gives_its_place_back() -> None:
    """Or a Receive Maximum of 1 would be used up for as long as the connection lasts."""
    hand = Hand(receive_maximum=1)
    hand.dial()
    hand.sent()
    hand.core.receive(bytes.fromhex(CONNACK + MESSAGE), hand.now)
    hand.core.receive(bytes.fromhex("62020007"), hand.now)
    hand.core.receive(bytes.fromhex(MESSAGE), hand.now)
    assert hand.core.is_connected


def test_a_message_of_qos_1_is_acknowledged() -> None:
    hand, unmatched = together(CONNACK, "32" + MESSAGE[2:])
    message = unmatched.take()
    assert message is not None
    message.ack()
    assert hand.sent().hex() == "40020007"
