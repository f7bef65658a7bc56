"""What a thread writes that calls a Client, in the place of the I/O thread."""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any

from mqttlite import Client, Fate
from tests.shells.lab import TIMEOUT
from tests.shells.peer import Call, Peer, accept

LARGE = bytes(16_000_000)
"""More than the system takes while nobody reads."""


class Slow:
    """A server that reads nothing before it is told to, and then all that comes."""

    def __init__(self) -> None:
        self.reads = threading.Event()

    def __call__(self, call: Call) -> None:
        accept("5.0", call)
        assert self.reads.wait(TIMEOUT)
        while call.sock.recv(1_000_000):
            pass


class Waiter(threading.Thread):
    """Waits for a delivery; when it writes, the network takes everything."""

    def __init__(self, client: Client, delivery: Any, server: Slow) -> None:
        super().__init__(name="waiter")
        self._client = client
        self._driver = client.driver
        self._delivery = delivery
        self._server = server
        self._write = self._driver._write
        self.wrote = False

    def run(self) -> None:
        driver: Any = self._driver
        driver._write = self._write_all
        self._delivery.wait()

    def _write_all(self) -> None:
        self._write()
        if threading.current_thread() is not self:
            return
        self._server.reads.set()
        deadline = monotonic() + TIMEOUT
        while self._driver._unsent or self._client._core.unsent_size:
            assert monotonic() < deadline
            self._write()
        self.wrote = True


def test_who_waits_sends_what_it_waits_for() -> None:
    """The message has its turn while its waiter writes, and the I/O thread has nothing to do."""
    server = Slow()
    with Peer(server) as peer:
        client = Client(peer.url)
        client.connect()
        client.publish_nowait("t", LARGE)
        delivery = client.publish_nowait("t", b"x")
        assert not delivery.done
        waiter = Waiter(client, delivery, server)
        waiter.start()
        waiter.join(2.0)
        hangs = waiter.is_alive()
        for waits in delivery.waiters or ():
            if hangs:
                waits.release()
        waiter.join(TIMEOUT)
        client.close(drain=False)
    assert delivery.fate is Fate.SENT
    assert waiter.wrote
    assert not hangs, "it waits for what it has sent itself"
