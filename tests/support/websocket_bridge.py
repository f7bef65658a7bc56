"""A WebSocket server that hands everything on to a broker, in a process of its own.

``python -m tests.support.websocket_bridge PORT [CERTIFICATE KEY]`` prints its port, and runs until
its standard input is closed.
"""

import asyncio
import ssl
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

ROOT = Path(__file__).resolve().parents[2]

_CUT = 1000
"""Bytes of a frame, so that frames and packets have nothing to do with each other."""


async def _hand_on(connection: ServerConnection, port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def to_broker() -> None:
        with suppress(ConnectionClosed, ConnectionError):
            async for message in connection:
                assert isinstance(message, bytes)
                writer.write(message)
                await writer.drain()
        writer.close()

    async def from_broker() -> None:
        with suppress(ConnectionClosed, ConnectionError):
            while data := await reader.read(65536):
                await connection.ping()
                for start in range(0, len(data), _CUT):
                    await connection.send(data[start : start + _CUT])
        await connection.close()

    await asyncio.gather(to_broker(), from_broker())


async def _serve(port: int, context: ssl.SSLContext | None) -> None:
    async with serve(
        lambda connection: _hand_on(connection, port),
        "127.0.0.1",
        0,
        ssl=context,
        subprotocols=["mqtt", "mqttv3.1"],  # type: ignore[list-item]
        max_size=None,
        compression=None,
    ) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)


class WebSocketBridge:
    """The server as a context manager; ``port`` is where it listens."""

    def __init__(self, port: int, certificate: Path | None = None, key: Path | None = None) -> None:
        files = [str(file) for file in (certificate, key) if file is not None]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.websocket_bridge", str(port), *files],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10.0)
        self._process.stdout.close()


def main() -> None:
    """Serve."""
    context = None
    if len(sys.argv) > 2:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(sys.argv[2], sys.argv[3])
    asyncio.run(_serve(int(sys.argv[1]), context))


if __name__ == "__main__":
    main()
