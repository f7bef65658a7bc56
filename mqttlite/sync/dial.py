"""Opens a network connection: name lookup, all addresses in a race, the layers' handshakes."""

from __future__ import annotations

import selectors
import socket
from collections import deque
from contextlib import suppress
from os import strerror
from time import monotonic
from typing import Any, cast

from mqttlite.client import Dial
from mqttlite.errors import MqttError
from mqttlite.layers.stack import Layer, make_layer
from mqttlite.sockets import (
    HAPPY_EYEBALLS_DELAY,
    Address,
    in_turn,
    is_connected_at_once,
    is_loopback,
    make_socket,
    numeric_address,
)


class DialCancelled(Exception):
    """The connection is not wanted any more."""


def dial_at_once(action: Dial) -> socket.socket | None:
    """Connect to a server on this machine, for which nothing has to be waited for.

    None: it is not on this machine, or has to be waited for all the same. Raises OSError.
    """
    endpoint = action.endpoint
    if endpoint.tls or endpoint.is_websocket:
        return None
    address: Address | None = None
    if endpoint.scheme == "unix":
        address = (socket.AF_UNIX, endpoint.path)
    elif is_loopback(endpoint.host):
        address = numeric_address(endpoint.host, endpoint.port)
    if address is None:
        return None
    connection = make_socket(address[0])
    try:
        if is_connected_at_once(connection, address[1]):
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def dial(action: Dial, cancel: socket.socket) -> tuple[socket.socket, Layer | None]:
    """Open a connection; it is given up as soon as ``cancel`` is readable.

    Only the name lookup cannot be interrupted. Raises OSError (of which ssl.SSLError is one),
    MqttError, or DialCancelled.
    """
    endpoint = action.endpoint
    layer = make_layer(action)
    if endpoint.scheme == "unix":
        addresses: list[Address] = [(socket.AF_UNIX, endpoint.path)]
    else:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        addresses = in_turn(found)
    connection = _race(addresses, cancel)
    if layer is not None:
        try:
            _shake_hands(connection, layer, cancel)
        except BaseException:
            connection.close()
            raise
    return connection, layer


def _race(addresses: list[Address], cancel: socket.socket) -> socket.socket:
    """Connect to the address that answers first; each gets a head start before the next."""
    waiting = deque(addresses)
    errors: list[OSError] = []
    next_start = monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(cancel, selectors.EVENT_READ)
        running: set[socket.socket] = set()
        try:
            while True:
                if waiting and (not running or monotonic() >= next_start):
                    next_start = monotonic() + HAPPY_EYEBALLS_DELAY
                    try:
                        attempt = _start(*waiting.popleft())
                    except OSError as error:
                        errors.append(error)
                        continue
                    running.add(attempt)
                    selector.register(attempt, selectors.EVENT_WRITE)
                if not running:
                    raise errors[0]
                timeout = max(0.0, next_start - monotonic()) if waiting else None
                for key, _ in selector.select(timeout):
                    attempt = cast("socket.socket", key.fileobj)
                    if attempt is cancel:
                        raise DialCancelled
                    running.discard(attempt)
                    code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        return attempt
                    selector.unregister(attempt)
                    attempt.close()
                    errors.append(OSError(code, strerror(code)))
        finally:
            for loser in running:
                loser.close()


def _start(family: int, address: Any) -> socket.socket:
    attempt = make_socket(family)
    try:
        with suppress(BlockingIOError):
            attempt.connect(address)
    except BaseException:
        attempt.close()
        raise
    return attempt


def _shake_hands(connection: socket.socket, layer: Layer, cancel: socket.socket) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(cancel, selectors.EVENT_READ)
        selector.register(connection, selectors.EVENT_READ)
        while True:
            # A handshake's messages are far smaller than a socket's buffer: this does not block.
            with suppress(BlockingIOError):
                connection.sendall(layer.data_to_send())
            if layer.is_open:
                return
            for key, _ in selector.select():
                if key.fileobj is cancel:
                    raise DialCancelled
                data = connection.recv(65536)
                try:
                    if data:
                        layer.receive(data)
                    if not data or layer.has_ended:
                        _raise_closed()
                except (OSError, MqttError):
                    with suppress(OSError):  # the alert that tells the server why
                        connection.send(layer.data_to_send())
                    raise


def _raise_closed() -> None:
    raise ConnectionResetError("the server closed the connection")
