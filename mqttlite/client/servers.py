"""Which server is tried next: the order of the servers, redirections, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from mqttlite.client.options import ClientOptions, Given
from mqttlite.endpoint import Endpoint, parse_server_reference
from mqttlite.enums import ReasonCode
from mqttlite.errors import ConnectionClosed, UsageError
from mqttlite.options import Reconnect

_MOST_NAMED: Final = 16
"""Servers that are taken from one redirection."""

_MOST_SERVERS: Final = 100
"""Servers in the list, however many have moved."""

REDIRECTS: Final = (ReasonCode.USE_ANOTHER_SERVER, ReasonCode.SERVER_MOVED)


class Servers:
    """The servers of a client, in rounds: an attempt to connect tries each of them once.

    A round begins with the first server of the list, or with the one that was connected last, as
    the policy says. ``redirect()`` puts the servers that another one names before the others of
    the round; where a server has moved for good, the new one takes its place in the list.
    ``random`` returns floats from 0 to 1.
    """

    def __init__(self, options: ClientOptions, random: Callable[[], float]) -> None:
        self._options = options
        self._policy = options.reconnect or Reconnect()
        self._is_shuffled = options.server_order == "shuffled"
        self._maximum_redirects = options.maximum_redirects
        self._random = random
        self._list = options.endpoints
        self._round: tuple[Endpoint, ...] = ()
        self._named: tuple[Endpoint, ...] = ()  # by a redirection, for the next round
        self._last: Endpoint | None = None  # without its credentials, which may change
        self._redirects = 0

    @property
    def current(self) -> Endpoint:
        """The server that is being tried, or is connected."""
        return self._round[0]

    @property
    def left(self) -> int:
        """How many servers this round still has, with the current one."""
        return len(self._round)

    @property
    def all(self) -> Sequence[Endpoint]:
        """All servers of the list."""
        return self._list

    @property
    def is_preferred(self) -> bool:
        """Whether the current server is the first of the list."""
        return self.current == self._list[0]

    def replace(self, endpoints: Sequence[Endpoint]) -> None:
        """Use another list of servers from the next round on."""
        self._list = tuple(endpoints)

    def reset(self) -> None:
        """Forget what was learned: the program calls ``connect()``."""
        self._named = ()
        self._last = None
        self._redirects = 0

    def go_back(self) -> None:
        """Begin the next round with the first server of the list, whatever the policy."""
        self._named = self._list[:1]
        self._last = None

    def begin_round(self) -> None:
        """Begin with the first server again, or with those that another one has named."""
        if not self._named:
            self._redirects = 0
        servers = self._list
        if self._is_shuffled:
            servers = tuple(sorted(servers, key=lambda _: self._random()))
        if self._policy.first_server == "last":  # the others stay in their order
            servers = tuple(
                sorted(servers, key=lambda server: server.without_credentials() != self._last)
            )
        named, self._named = self._named, ()
        self._round = _unique(*named, *servers)

    def end_round(self) -> None:
        """Forget what is left of a round: its credentials may be old ones."""
        self._round = ()

    def next(self) -> bool:
        """Go on to the next server; False if the round is over."""
        if len(self._round) > 1:
            self._round = self._round[1:]
            return True
        return False

    def connected(self) -> None:
        """The current server has accepted the connection."""
        self._last = self.current.without_credentials()

    def connection_lasted(self, seconds: float) -> None:
        """A connection has ended; redirections count anew if it lasted long enough."""
        if seconds >= self._policy.stable_after:
            self._redirects = 0

    def redirect(self, error: Exception, given: Given) -> bool:
        """Make the servers that an error names the next ones; False if there is nowhere to go.

        Every server is followed once in a row at most ``maximum_redirects`` times, and never
        from an encrypted connection to one that is not.
        """
        if not isinstance(error, ConnectionClosed) or error.reason_code not in REDIRECTS:
            return False
        if error.server_reference is None or self._redirects >= self._maximum_redirects:
            return False
        try:
            named = parse_server_reference(error.server_reference, self.current)[:_MOST_NAMED]
            self._options.check_connect(named, given)
        except UsageError:
            return False
        self._redirects += 1
        if error.reason_code == ReasonCode.SERVER_MOVED:
            moved = [
                each
                for known in self._list
                for each in (named if known == self.current else [known])
            ]
            self._list = _unique(*moved)[: max(_MOST_SERVERS, len(self._options.endpoints))]
        self._named = tuple(named)
        return True

    def follow(self) -> None:
        """Go to the servers of the redirection in the middle of a round."""
        named, self._named = self._named, ()
        self._round = _unique(*named, *self._round[1:])


def _unique(*servers: Endpoint) -> tuple[Endpoint, ...]:
    return tuple(dict.fromkeys(servers)) if len(servers) > 1 else servers
