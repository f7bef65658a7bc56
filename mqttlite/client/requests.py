"""Requests and their answers: a topic of one's own, and correlation data (section 4.10)."""

from __future__ import annotations

from mqttlite.client.operations import Operation
from mqttlite.client.subscriber import Finish
from mqttlite.client.subscriptions import SubscriptionState, accept
from mqttlite.message import Message
from mqttlite.packets import SubscriptionOptions


class ReplyInbox(SubscriptionState):
    """The subscription to a response topic that no other client uses.

    What arrives finishes the operation of the request that it answers; an answer that nobody
    waits for any more is dropped.
    """

    def __init__(self, response_information: str, random_id: str, finish: Finish) -> None:
        # What the server wants such topics to begin with (section 3.2.2.3.15).
        prefix = response_information.rstrip("/")
        self.response_topic = f"{prefix or 'mqttlite/reply'}/{random_id}"
        super().__init__([self.response_topic], SubscriptionOptions(qos=1), buffer_size=1)
        self.buffer_size = 0  # everything goes through push()
        self._finish = finish
        self._expected: dict[bytes, Operation[Message]] = {}
        self._serial = 0

    def expect(self) -> tuple[str, bytes, Operation[Message]]:
        """Return the response topic and correlation data for a request, and its answer."""
        self._serial += 1
        correlation_data = self._serial.to_bytes(8)
        operation: Operation[Message] = Operation()
        self._expected[correlation_data] = operation
        return self.response_topic, correlation_data, operation

    def forget(self, correlation_data: bytes) -> None:
        """Nobody waits for this answer any more."""
        self._expected.pop(correlation_data, None)

    def push(self, message: Message) -> None:
        """Finish the request that the message answers."""
        operation = self._expected.pop(message.correlation_data or b"", None)
        if operation is not None:
            self._finish(operation, message, None)
        accept(message)

    def fail(self, error: Exception) -> None:
        """No answer will come any more."""
        for operation in self._expected.values():
            self._finish(operation, None, error)
        self._expected.clear()
