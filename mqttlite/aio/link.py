"""One network connection of asyncio: bytes to the driver and from it, layers in between."""

from __future__ import annotations

import asyncio
import ssl
import sys
import threading
from contextlib import suppress
from socket import SHUT_RDWR
from typing import Final, Protocol, cast

from mqttlite.errors import MqttError
from mqttlite.layers.stack import Layer

# asyncio reads 256 KiB at a time if it is let: allocating those costs more than reading them.
_BUFFER_SIZE: Final = 64 * 1024

# What is read is dealt with before anything else is, so one buffer serves all connections of a
# thread. Only the loop of Windows fills buffers behind one's back: there each has its own.
_SHARES_BUFFER: Final = sys.platform != "win32"


class _Shared(threading.local):
    buffer: memoryview | None = None


_shared: Final = _Shared()


def _make_buffer() -> memoryview:
    if not _SHARES_BUFFER:
        return memoryview(bytearray(_BUFFER_SIZE))
    if _shared.buffer is None:
        _shared.buffer = memoryview(bytearray(_BUFFER_SIZE))
    return _shared.buffer


class LinkOwner(Protocol):
    """Whom a link tells what happens."""

    def link_opened(self, link: Link) -> None:
        """The connection can be used, after the handshakes of its layers."""

    def room(self) -> memoryview | None:
        """Where the link may put the next bytes itself, to tell of them by ``link_filled()``."""

    def link_filled(self, count: int) -> None:
        """So many bytes have been put into ``room()``."""

    def link_received(self, data: bytes | memoryview) -> None:
        """Bytes have come."""

    def link_writable(self) -> None:
        """The network takes bytes again."""

    def link_lost(self, link: Link, error: Exception | None) -> None:
        """The connection is gone; None: the server has closed it in order."""


class Link(asyncio.BufferedProtocol):
    """An asyncio protocol that receives into one buffer, or straight to where bytes belong."""

    def __init__(self, owner: LinkOwner, layer: Layer | None) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._layer = layer
        self._buffer: memoryview | None = None
        self._fills_room = False  # the owner's, not the buffer
        self._is_open = False
        self._handshake: asyncio.Future[None] | None = None  # done when it is, if somebody waits
        self._error: Exception | None = None
        self._finishing = False
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_writable = True
        self._is_reading = True

    async def opened(self) -> None:
        """Wait until the connection can be used, with the handshakes of its layers."""
        if self._is_open:
            return
        if self.closed.done():
            raise self._closed_early()
        self._handshake = asyncio.get_running_loop().create_future()
        await self._handshake

    def _closed_early(self) -> Exception:
        return self._error or ConnectionResetError("the server closed the connection")

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected."""
        self._transport = cast("asyncio.Transport", transport)  # that of uvloop is none by type
        if self._layer is None:
            self._set_opened()
        else:
            self._write_layer(self._layer)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Where asyncio is to read the next bytes to."""
        room = self._owner.room() if self._layer is None else None
        self._fills_room = room is not None
        if room is not None:
            return room
        if self._buffer is None or _SHARES_BUFFER:  # not before it is needed, and in this thread
            self._buffer = _make_buffer()
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes are in the buffer."""
        if self._fills_room:
            self._fills_room = False
            self._owner.link_filled(nbytes)
            return
        assert self._buffer is not None
        data: bytes | memoryview = self._buffer[:nbytes]
        if self._layer is not None:
            data = self._unpack(self._layer, bytes(data))
        if data:
            self._owner.link_received(data)

    def eof_received(self) -> bool:
        """The server has closed its direction: ours is of no use any more.

        Asyncio would first write what it has, however long that takes.
        """
        if self._transport is not None and not self._finishing:
            self._transport.abort()
        return False

    def pause_writing(self) -> None:
        """Asyncio holds more than it likes."""
        self.is_writable = False

    def resume_writing(self) -> None:
        """Asyncio takes bytes again."""
        self.is_writable = True
        if self._layer is not None:
            self._write_layer(self._layer)
        self._owner.link_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.closed.set_result(None)
        self._error = self._error or exc
        if self._is_open:
            self._owner.link_lost(self, self._error)
        elif self._handshake is not None and not self._handshake.done():
            self._handshake.set_exception(self._closed_early())

    # --- what the driver calls

    def describe(self) -> str:
        """What the layers have agreed on, for the log."""
        return "" if self._layer is None else f", {self._layer.describe()}"

    def read(self, *, wanted: bool) -> None:
        """Read from the network, or let it wait."""
        if wanted is self._is_reading or self._transport is None or self._transport.is_closing():
            return
        self._is_reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes."""
        if self._transport is None or self._finishing:
            return
        if self._layer is None:
            self._transport.write(data)
        else:
            self._layer.send(data)
            self._write_layer(self._layer)

    def finish(self) -> None:
        """Close our direction once all is written; the server is to close the other one.

        To close both at once would make the system answer what still comes with a reset, and
        that can take the last packets away from the server.
        """
        if self._transport is None or self._finishing or self._transport.is_closing():
            return
        if self._layer is not None and self._layer.is_open:
            self._layer.close()
            self._write_layer(self._layer)
        self._finishing = True
        with suppress(OSError):  # the server may have reset the connection already
            self._transport.write_eof()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def forsake(self) -> None:
        """The loop was closed, so that asyncio cannot close the connection: let the server know."""
        if self._transport is not None:
            connection = self._transport.get_extra_info("socket")
            with suppress(OSError, AttributeError, TypeError):  # uvloop has closed it
                connection.shutdown(SHUT_RDWR)

    def _unpack(self, layer: Layer, data: bytes) -> bytes:
        error: Exception | None = None
        try:
            data = layer.receive(data)
            error = layer.error
        except (ssl.SSLError, MqttError) as failure:
            data = b""
            error = failure
        if self.is_writable or error is not None:  # what tells the server why is always written
            self._write_layer(layer)
        if error is not None or layer.has_ended:
            self._fail(error)
        elif layer.is_open:
            self._set_opened()
        return data

    def _set_opened(self) -> None:
        if self._is_open:
            return
        if self._handshake is not None:
            if self._handshake.done():  # cancelled: nobody wants the connection any more
                return
            self._handshake.set_result(None)
        self._is_open = True
        self._owner.link_opened(self)

    def _write_layer(self, layer: Layer) -> None:
        data = layer.data_to_send()
        if data and self._transport is not None and not self._finishing:
            self._transport.write(data)

    def _fail(self, error: Exception | None) -> None:
        self._error = error
        if self._transport is not None:
            self._transport.close()  # not abort(): the alert is to arrive
