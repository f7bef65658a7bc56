"""Values that say how a client is to behave: versions, policies, reconnection, TLS."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Literal, TypeVar

from mqttlite.enums import ReasonCode
from mqttlite.errors import UsageError
from mqttlite.records import field, record

if TYPE_CHECKING:  # it is slow to import, and many programs need no TLS
    import ssl

Version = Literal["5.0", "3.1.1", "3.1"]
"""A protocol version, as it is given to a client."""

WhenFull = Literal["wait", "raise", "drop_oldest", "drop_newest"]
"""What publishing does when the outbox is full."""

WhenSessionLost = Literal["republish", "report"]
"""What becomes of the messages in flight when the server has lost the session."""

ServerOrder = Literal["in_order", "shuffled"]
"""The order in which the servers of an attempt are tried."""

T = TypeVar("T")

Headers = Sequence[tuple[str, str]] | Mapping[str, str]
"""Headers of HTTP, as pairs or as a dictionary."""

Asked = Callable[[], T | Awaitable[T]]
"""A function that is asked anew for every attempt to connect.

A plain function is called in a thread of its own. With ``AsyncClient`` it may be a coroutine
function, which is awaited in its loop. What it raises makes the attempt a failed one.
"""

# Compiled when they are needed.
_HEADER_NAME = r"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"
_HEADER_VALUE = r"[\t\x20-\x7e]*"


def check_headers(headers: Headers) -> tuple[tuple[str, str], ...]:
    """Return headers as pairs. Raises UsageError, which does not show their values."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    if isinstance(pairs, str) or not isinstance(pairs, Iterable):
        raise UsageError("headers are pairs of a name and a value, or a dictionary")
    checked = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or [type(each) for each in pair] != [str, str]:
            raise UsageError("headers are pairs of a name and a value, which are str")
        name, value = pair
        if not re.fullmatch(_HEADER_NAME, name):
            raise UsageError("the name of a header has characters that HTTP does not allow")
        if not re.fullmatch(_HEADER_VALUE, value):
            raise UsageError(f"the header {name} has characters that HTTP does not allow")
        checked.append((name, value))
    return tuple(checked)


FINAL_REASON_CODES = frozenset(
    {
        ReasonCode.MALFORMED_PACKET,
        ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
        ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
        ReasonCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.BANNED,
        ReasonCode.BAD_AUTHENTICATION_METHOD,
        ReasonCode.SESSION_TAKEN_OVER,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
        ReasonCode.RETAIN_NOT_SUPPORTED,
        ReasonCode.QOS_NOT_SUPPORTED,
        ReasonCode.SERVER_MOVED,
    }
)
"""The reason codes in CONNACK or DISCONNECT after which trying again would not help.

Server moved, and use another server, which is not among them, are first followed to the server
that they name; the table counts if that is not possible.
"""


@record(frozen=True, kw_only=True)
class Reconnect:
    """How a client comes back after it has lost its connection.

    The delay before an attempt is drawn at random between 0 and a bound, which begins at
    ``first_delay`` seconds and doubles with every failed attempt up to ``maximum_delay``; it
    begins anew once a connection has lasted for ``stable_after`` seconds. After
    ``maximum_attempts`` failures in a row (None: never), or a reason code that is in
    ``final_reason_codes``, the client gives up: everything that waits fails with the reason.

    An attempt tries all servers. It begins with the one that was connected last
    (``first_server="last"``), which may still have the session, or with the first of the list
    (``"preferred"``). A connection to another server than the
    first is left after ``return_after`` seconds, as soon as nothing is in flight, to try the
    first one again (None: it is kept for as long as it lasts).

    ``connect()`` fails with its first attempt, unless ``retry_first``: then it goes on in the
    same way, for a program that starts before its network does.
    """

    first_delay: float = 1.0
    maximum_delay: float = 60.0
    stable_after: float = 10.0
    maximum_attempts: int | None = None
    final_reason_codes: frozenset[int] = FINAL_REASON_CODES
    first_server: Literal["last", "preferred"] = "last"
    return_after: float | None = None
    retry_first: bool = False

    def __post_init__(self) -> None:
        numbers = (self.first_delay, self.maximum_delay, self.stable_after)
        attempts = self.maximum_attempts
        if not all(isinstance(number, (int, float)) for number in numbers) or not (
            attempts is None or isinstance(attempts, int)
        ):
            raise UsageError("the delays of Reconnect are numbers, maximum_attempts is an int")
        if not 0 <= self.first_delay <= self.maximum_delay:
            raise UsageError("Reconnect needs 0 <= first_delay <= maximum_delay (seconds)")
        if not self.stable_after >= 0:
            raise UsageError("Reconnect.stable_after must not be negative")
        if self.maximum_attempts is not None and self.maximum_attempts < 0:
            raise UsageError("Reconnect.maximum_attempts must not be negative")
        if self.first_server not in ("preferred", "last"):
            raise UsageError('Reconnect.first_server is "preferred" or "last"')
        after = self.return_after
        if after is not None and (not isinstance(after, (int, float)) or not after > 0):
            raise UsageError("Reconnect.return_after must be positive, in seconds")


@record(frozen=True, kw_only=True)
class TLS:
    """How a server's certificate is checked, and what the client shows of itself.

    By default the certificate is verified against the system's roots, or those of certifi where
    the system has none. ``ca_file`` replaces them (PEM). ``certificate`` and ``private_key`` are
    the client's own (PEM files; the key may stand in the same file), ``password`` opens the key.
    ``server_hostname`` is the name that is asked for (SNI) and checked, if it is not the host of
    the URL. ``alpn`` names the application protocols to offer, ``["mqtt"]`` for example.
    ``context`` is an ``ssl.SSLContext`` of your own, which is used as it is, but for
    ``server_hostname``. ``verify=False`` accepts any certificate: for tests only.

    Files are read when a connection is opened. Where ``certificate`` is not given, what was read
    serves all connections with the same settings, until the files change.
    """

    ca_file: str | PathLike[str] | None = None
    certificate: str | PathLike[str] | None = None
    private_key: str | PathLike[str] | None = None
    password: str | None = field(default=None, repr=False)
    server_hostname: str | None = None
    alpn: Sequence[str] = ()
    context: ssl.SSLContext | None = None
    verify: bool = True

    def __post_init__(self) -> None:
        if self.private_key is not None and self.certificate is None:
            raise UsageError("TLS.private_key needs TLS.certificate")
        if self.context is not None:
            import ssl  # noqa: PLC0415 - as above

            if not isinstance(self.context, ssl.SSLContext):
                kind = type(self.context).__name__
                raise UsageError(f"tls must be True, a TLS or an ssl.SSLContext, not {kind}")
        own = (self.ca_file, self.certificate, self.password)
        if self.context is not None and (any(own) or self.alpn or not self.verify):
            raise UsageError(
                "TLS.context is used as it is: set certificates, alpn and verification on it"
            )
        if isinstance(self.alpn, str):
            raise UsageError('TLS.alpn is a list of names, for example ["mqtt"]')
        if not self.verify and self.ca_file is not None:
            raise UsageError("TLS.ca_file has no effect with verify=False: drop one of them")
