"""What both shells do with sockets, and the order in which the addresses of a server are tried."""

import errno
import os
import socket
import sys
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Final

HAPPY_EYEBALLS_DELAY: Final = 0.25
"""Seconds until the next address of a server is tried beside the one before (RFC 8305)."""

_KERNEL_BACKLOG: Final = 128 * 1024
"""Bytes that a shell lets the system hold unsent, where the system can be told so. On a slow
network megabytes could stand there, behind which the answer to a PINGREQ would come too late."""

_IN_PROGRESS: Final = (errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN, errno.EINTR)

Address = tuple[int, Any]
"""The family of a socket and the address to connect it to."""


def in_turn(found: Sequence[tuple[Any, ...]]) -> list[Address]:
    """Order what ``getaddrinfo()`` found: the two families in turn, the preferred one first."""
    first_family = found[0][0] if found else None
    preferred = [(entry[0], entry[4]) for entry in found if entry[0] == first_family]
    others = [(entry[0], entry[4]) for entry in found if entry[0] != first_family]
    pairs = zip_longest(preferred, others)
    return [address for pair in pairs for address in pair if address is not None]


def numeric_address(host: str, port: int) -> Address | None:
    """The address of a host that is written as one, and need not be looked up; else None."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return None
    return family, (host, port)


def make_socket(family: int) -> socket.socket:
    """Return a socket that does not block, and sends what it gets at once."""
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setblocking(False)
        if family != getattr(socket, "AF_UNIX", None):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if hasattr(socket, "TCP_NOTSENT_LOWAT"):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_BACKLOG)
    except BaseException:
        connection.close()
        raise
    return connection


def is_loopback(host: str) -> bool:
    """Whether a host is an address of this machine."""
    return host == "::1" or (host.startswith("127.") and host.replace(".", "").isdigit())


def is_connected_at_once(connection: socket.socket, address: Any) -> bool:
    """Try to connect a socket that does not block, to a server on this machine.

    Such a one has answered before ``connect()`` returns, which only does not say so: to ask
    again is cheaper than to wait for an event. False: it is yet to be connected, and whether
    that has begun is for the caller not to care. Raises OSError.
    """
    if sys.platform != "linux":  # elsewhere one may not ask again
        return False
    for _ in range(2):
        code = connection.connect_ex(address)
        if not code:
            return True
        if code not in _IN_PROGRESS:
            raise OSError(code, os.strerror(code))
    return False
