"""A client whose first connection meets a server that does wrong; the next one is good."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.enums import Fate
from mqttlite.options import Reconnect
from tests.shells.lab import TIMEOUT, Lab, Queue
from tests.shells.peer import Call, Peer, Script, accept, decent

AT_ONCE = Reconnect(first_delay=0.01, maximum_delay=0.05)

only_5 = pytest.mark.parametrize("version", ["5.0"])


class Scene:
    """A client, the peer it talks to, and why its connections have ended."""

    def __init__(self, client: AsyncClient, peer: Peer, down: Queue) -> None:
        self.client = client
        self.peer = peer
        self.down = down

    async def lost(self) -> Any:
        """Wait for the end of a connection; return why."""
        return (await self.down.get(TIMEOUT)).error


@asynccontextmanager
async def first_meets(
    bench: Lab, *scripts: Script, connected: bool = True, **options: Any
) -> AsyncIterator[Scene]:
    """Connect; after what the scenario does, show that the client is as good as new."""
    down = bench.queue()
    options.setdefault("reconnect", AT_ONCE)
    with Peer(*scripts, decent(str(bench.version))) as peer:
        client = bench.client(peer.url, on_disconnect=down.put, **options)
        try:
            if connected:
                await client.connect()
            yield Scene(client, peer, down)
            await works(client)
            assert len(peer.calls) == len(scripts) + 1
        finally:
            await client.close(drain=False)


async def works(client: AsyncClient) -> None:
    """Show that a client can publish and subscribe."""
    for qos in (1, 2):
        delivery = await client.publish("still/there", b"yes", qos=qos, timeout=TIMEOUT)
        assert delivery.fate is Fate.ACKNOWLEDGED
    subscription = await client.subscribe("still/there", qos=2, timeout=TIMEOUT)
    await subscription.unsubscribe(TIMEOUT)


def after_accepting(version: str, do: Callable[[Call], object]) -> Script:
    """Make a script that lets the client in, does something, and reads until the client goes."""

    def script(call: Call) -> None:
        accept(version, call)
        do(call)
        call.read_to_end()

    return script


def goodbye(call: Call) -> int | None:
    """The reason code of the client's DISCONNECT; None if there was none."""
    last = call.packets[-1]
    if last[0] != 0xE0:
        return None
    return last[2] if len(last) > 2 else 0


def assert_told(call: Call, version: str, code: int, case: object = None) -> None:
    """The server was told why, where the version has words for it."""
    assert b"".join(call.packets) == call.received, f"{case}: a packet was not sent whole"
    assert goodbye(call) == (code if version == "5.0" else None), case
