"""Connects a socket to a server: name lookup, and all addresses in a race."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import Any

from mqttlite.endpoint import Endpoint
from mqttlite.sockets import (
    HAPPY_EYEBALLS_DELAY,
    Address,
    in_turn,
    is_connected_at_once,
    make_socket,
    numeric_address,
)


async def connect_socket(endpoint: Endpoint) -> socket.socket:
    """Return a connected socket. Raises OSError; cancelling leaves nothing behind.

    ``loop.create_connection()`` could do it, but loses a socket if it is cancelled in the moment
    in which the race is decided.
    """
    if endpoint.scheme == "unix":
        return await _connect(socket.AF_UNIX, endpoint.path)
    host, port = endpoint.host, endpoint.port
    address = numeric_address(host, port)
    if address is not None:
        return await _connect(*address)
    loop = asyncio.get_running_loop()
    addresses = in_turn(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    if len(addresses) == 1:
        return await _connect(*addresses[0])
    return await _race(addresses)


async def _connect(family: int, address: Any) -> socket.socket:
    connection = make_socket(family)
    try:
        if not is_connected_at_once(connection, address):
            await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def _race(addresses: list[Address]) -> socket.socket:
    """Connect to the address that answers first; each gets a head start before the next."""
    waiting = deque(addresses)
    attempts: list[asyncio.Task[socket.socket]] = []
    winner: asyncio.Task[socket.socket] | None = None
    errors: list[BaseException] = []
    try:
        running: set[asyncio.Task[socket.socket]] = set()
        while winner is None and (waiting or running):
            if waiting:
                attempts.append(asyncio.create_task(_connect(*waiting.popleft())))
                running.add(attempts[-1])
            done, running = await asyncio.wait(
                running,
                timeout=HAPPY_EYEBALLS_DELAY if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in done:
                error = attempt.exception()
                if error is None:
                    winner = attempt
                else:
                    errors.append(error)
        await _clear_away([attempt for attempt in attempts if attempt is not winner])
    except BaseException:
        await _clear_away(attempts)
        raise
    if winner is None:
        raise errors[0]
    return winner.result()


async def _clear_away(attempts: list[asyncio.Task[socket.socket]]) -> None:
    """Stop attempts that are not wanted, and close what they have achieved."""
    for attempt in attempts:
        attempt.cancel()
        attempt.add_done_callback(_close)  # also if this is cancelled
    if attempts:
        await asyncio.wait(attempts)


def _close(attempt: asyncio.Task[socket.socket]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
