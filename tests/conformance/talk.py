"""A client core of MQTT 3.1.1 that talks in hexadecimal: what it writes, and what the server does.

The test is the shell and the server, and writes every byte of the server by hand.
"""

from __future__ import annotations

from typing import Any, Self

from mqttlite.client import ClientState, Dial, HangUp, SubscriptionState
from mqttlite.client.events import Disconnected
from mqttlite.errors import ProtocolError
from mqttlite.message import Message
from tests.unit.client.hand import Hand

ACCEPTED = "20 02 00 00"
RESUMED = "20 02 01 00"
"""CONNACK of MQTT 3.1.1: with a new session, with the old one."""


class Talk(Hand):
    """A client with the identifier "c" and no keep alive, if it is not told otherwise."""

    def __init__(self, **options: Any) -> None:
        usual: dict[str, Any] = {"version": "3.1.1", "client_id": "c", "keep_alive": 0}
        super().__init__(**usual | options)

    def give(self, *packets: str) -> None:
        """Let these packets arrive."""
        self.core.receive(bytes.fromhex("".join(packets)), self.now)

    def took(self) -> str:
        """Take what the client has to send."""
        return self.sent().hex(" ")

    def opened(self) -> str:
        """Open the transport; return what the client sends then."""
        self.dial()
        return self.took()

    def open(self, answer: str = ACCEPTED) -> Self:
        """Have a connection; CONNECT is taken, what follows CONNACK is not."""
        self.opened()
        self.give(answer)
        assert self.core.state is ClientState.CONNECTED
        return self

    def again(self, answer: str = RESUMED) -> str:
        """Lose the connection and make the next; return what follows CONNACK."""
        self.lose()
        self.core.events.clear()
        self.pass_deadline()
        assert isinstance(self.core.take_action(), Dial)
        self.core.transport_opened(self.now)
        self.took()
        self.give(answer)
        assert self.core.state is ClientState.CONNECTED
        return self.took()

    def fault(self) -> ProtocolError:
        """See that the client closes, without another word, because of the server's fault."""
        assert self.took() == ""
        assert isinstance(self.core.take_action(), HangUp)
        operation = self.core._connecting
        self.lose()
        if operation is not None:
            error = operation.error
        else:
            event = self.core.events[-1]
            assert isinstance(event, Disconnected)
            error = event.error
        assert isinstance(error, ProtocolError)
        return error

    def listen(self, topic_filter: str = "#", qos: int = 2, **arguments: Any) -> SubscriptionState:
        """Have a subscription, with the server's consent."""
        subscription = self.subscribe(topic_filter, qos, **arguments)
        packet_id = self.sent()[2:4]
        self.core.receive(b"\x90\x03" + packet_id + bytes((qos,)), self.now)
        assert subscription.granted == {topic_filter: qos}
        return subscription

    def refuses(self, error: type[Exception], action: Any) -> None:
        """See that a call is refused before a byte is sent."""
        before = self.core.unsent_size
        try:
            action()
        except error:
            pass
        else:
            raise AssertionError(f"it was not refused with {error.__name__}")
        assert self.core.unsent_size == before


def all_of(subscription: SubscriptionState) -> list[Message]:
    """Take all messages of a subscription, the last one stays unacknowledged."""
    return list(iter(subscription.take, None))
