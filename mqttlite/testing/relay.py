"""A network that can fail: forwards connections to a broker until it is stopped."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self
from urllib.parse import quote

from mqttlite.endpoint import Endpoint
from mqttlite.options import TLS

_CONNECT_TIMEOUT = 10.0
_JOIN_TIMEOUT = 5.0


class Relay:
    """Listens on a free port of 127.0.0.1 and forwards every connection to a broker.

    ``stop()`` cuts all connections without a word and refuses new ones, until ``start()``. Made
    for demonstrations and tests: a thread for each direction of each connection.
    """

    def __init__(self, url: str) -> None:
        self._endpoint = Endpoint.parse(url)
        self._port = 0
        self._listener: socket.socket | None = None
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """The broker's URL, with this relay in its place."""
        endpoint = self._endpoint
        credentials = ""
        if endpoint.username is not None:
            credentials = quote(endpoint.username, safe="")
            if endpoint.password is not None:
                credentials += ":" + quote(endpoint.password, safe="")
            credentials += "@"
        scheme = "mqtts" if endpoint.tls else "mqtt"
        return f"{scheme}://{credentials}127.0.0.1:{self._port}"

    @property
    def tls(self) -> TLS | None:
        """What a client needs for TLS through the relay: the name of the broker."""
        return TLS(server_hostname=self._endpoint.host) if self._endpoint.tls else None

    def start(self) -> None:
        """Let connections through, on the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Cut all connections, and let no more through."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        listener.close()
        with self._lock:
            for connection in self._sockets:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.join(_JOIN_TIMEOUT)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name="relay", daemon=True)
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:  # stopped
                return
            try:
                far = self._connect()
            except OSError:
                near.close()
                continue
            pair = _Pair(near, far)
            with self._lock:
                if self._listener is not listener:  # stopped in the meantime
                    near.close()
                    far.close()
                    return
                self._sockets |= {near, far}
            self._spawn(self._forward, pair, near, far)
            self._spawn(self._forward, pair, far, near)

    def _connect(self) -> socket.socket:
        endpoint = self._endpoint
        if endpoint.scheme != "unix":
            far = socket.create_connection((endpoint.host, endpoint.port), _CONNECT_TIMEOUT)
            far.settimeout(None)
            return far
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(endpoint.path)
        except OSError:
            far.close()
            raise
        return far

    def _forward(self, pair: _Pair, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)
        with self._lock:
            pair.directions -= 1
            if not pair.directions:
                self._sockets -= {pair.near, pair.far}
                pair.near.close()
                pair.far.close()


class _Pair:
    """The two sockets of a connection, and how many directions are still open."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self.directions = 2
