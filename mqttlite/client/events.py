"""What the core reports of the connection as it comes and goes."""

from dataclasses import dataclass

from mqttlite.packets import Connack


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has accepted the connection; ``connack`` is what it said."""

    connack: Connack


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection, or an attempt to connect, has ended because of ``error``.

    The next attempt is made ``retry_in`` seconds later; None: there will be none.
    """

    error: Exception
    retry_in: float | None


Event = Connected | Disconnected
