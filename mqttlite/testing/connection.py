"""A connection from a client, with what a broker adds to the server's side of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mqttlite.errors import ConnectionLost
from mqttlite.message import Will
from mqttlite.protocol import ConnectionState, ServerConnection
from mqttlite.protocol.session import make_answer
from mqttlite.testing.options import BrokerOptions

if TYPE_CHECKING:
    from mqttlite.testing.session import BrokerSession


class BrokerConnection(ServerConnection):
    """What ``BrokerCore.connection_opened()`` returns, and the other calls want to have.

    ``owner`` is the session that is using the connection: None before CONNECT was accepted,
    and again once the connection is ending. ``will`` is what to publish if it ends badly.
    """

    def __init__(self, now: float, options: BrokerOptions) -> None:
        super().__init__(
            now,
            receive_maximum=options.receive_maximum,
            maximum_packet_size=options.maximum_packet_size,
            topic_alias_maximum=options.topic_alias_maximum,
        )
        self.owner: BrokerSession | None = None
        self.will: Will | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self.state is ConnectionState.OPEN

    def answer(self, reason_code: int) -> None:
        """Acknowledge the oldest message of QoS 1 or 2 that is not acknowledged yet."""
        self._write_answers()  # the oldest is then one that is not acknowledged
        self.acknowledge(self._unacknowledged[0], make_answer(reason_code, None))
        self._write_answers()

    def end(self, reason_code: int | None) -> None:
        """Close from this side: with a DISCONNECT, or (None) without a word."""
        if reason_code is None:
            self.lose(ConnectionLost("the broker dropped the connection"))
        else:
            self.disconnect(reason_code)
