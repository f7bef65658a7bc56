"""One client's network connection: bytes to the core and from it, TLS in between."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from mqttlite.errors import ConnectionLost
from mqttlite.layers.tls import TlsLayer
from mqttlite.testing.connection import BrokerConnection

if TYPE_CHECKING:
    from mqttlite.testing.broker import AsyncBroker

_CLOSE_TIMEOUT: Final = 2.0
"""Seconds in which a client has to read its last packets and to close its side."""


class Link(asyncio.Protocol):
    """An asyncio protocol for one client.

    It ends at once if the core dropped the connection; else when all is written and, unless it
    was the client who said goodbye, the client has closed its side. It has a little time for it.
    """

    def __init__(self, broker: AsyncBroker, context: ssl.SSLContext | None) -> None:
        self._broker = broker
        self._tls = TlsLayer(context, server_side=True) if context is not None else None
        self._transport: asyncio.Transport | None = None
        self._connection: BrokerConnection | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._is_writable = True
        self._has_finished = False

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        # That of uvloop is none by its type.
        self._transport = transport = cast("asyncio.Transport", transport)
        self._connection = self._broker.link_opened(self)

    def data_received(self, data: bytes) -> None:
        """The client has sent bytes."""
        if self._connection is None or self._transport is None:
            return
        if self._tls is not None:
            try:
                data = self._tls.receive(data)
                error = self._tls.error
            except ssl.SSLError as failure:
                error = failure
            if not self._has_finished:  # the alert that says why, too
                self._transport.write(self._tls.data_to_send())
            if error is not None:
                self._set_close_timer(self._transport)
                self._transport.close()
                return
        self._broker.core.receive(self._connection, data, self._broker.now())
        self._broker.pump_soon()

    def eof_received(self) -> None:
        """The client has closed its direction: asyncio closes ours once all is written."""
        if self._transport is not None:
            self._set_close_timer(self._transport)

    def pause_writing(self) -> None:
        """The client reads more slowly than it is sent to: the rest stays in the core."""
        self._is_writable = False

    def resume_writing(self) -> None:
        """The client has read."""
        self._is_writable = True
        self.pump()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why is no matter
        """The socket is closed."""
        if self._close_timer is not None:
            self._close_timer.cancel()
        connection, self._connection = self._connection, None
        if connection is not None:
            self._broker.link_lost(connection)

    # --- what the broker calls

    def pump(self) -> None:
        """Do what the core wants done with this connection."""
        transport, connection = self._transport, self._connection
        if transport is None or connection is None:
            return
        core = self._broker.core
        now = self._broker.now()
        while self._is_writable and (data := core.data_to_send(connection, now)):
            if self._tls is not None:
                self._tls.send(data)
                data = self._tls.data_to_send()
            transport.write(data)
        if connection.is_ending:
            self._close(transport, connection)
        elif core.wants_data(connection):
            transport.resume_reading()
        else:
            transport.pause_reading()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # --- closing

    def _close(self, transport: asyncio.Transport, connection: BrokerConnection) -> None:
        if isinstance(connection.close_cause, ConnectionLost):
            transport.abort()
            return
        self._set_close_timer(transport)
        if connection.unsent_size or self._has_finished:
            return
        self._has_finished = True
        if self._tls is not None and self._tls.is_open:
            self._tls.close()
            transport.write(self._tls.data_to_send())
        if connection.is_closed and self._tls is None:
            transport.close()  # the client said goodbye: it sends nothing any more
            return
        # Only our direction: to close both while the client is still sending (with TLS, even
        # after its goodbye) would make the system answer with a reset, which can take our last
        # packet away from it.
        transport.resume_reading()  # to see the end of what it sends
        with suppress(OSError):  # the client has reset the connection
            transport.write_eof()

    def _set_close_timer(self, transport: asyncio.Transport) -> None:
        if self._close_timer is None:
            loop = asyncio.get_running_loop()
            self._close_timer = loop.call_later(_CLOSE_TIMEOUT, transport.abort)
