"""What an adapter is told, and what it says to the harness: standard library only."""

import asyncio
import gc
import os
import socket
import ssl
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter_ns, process_time_ns

PATIENCE = 20.0
"""Seconds without progress, after which what is waited for will not come."""
AT_ONCE = 4 * 1024 * 1024
"""Bytes on their way with which some clients are fastest."""
_STATM = Path("/proc/self/statm")


@dataclass
class Run:
    """One measurement of one client."""

    host: str
    port: int
    qos: int = 0
    size: int = 64
    count: int = 0
    window: int = 100
    burst: int = 100
    subscriptions: int = 1
    topic: str = "bench/topic/name"
    ca_file: str | None = None  # TLS, if it is there
    control: socket.socket | None = None  # to the ideal broker; None with Mosquitto
    latencies: list[int] = field(default_factory=list)  # ns, of round trips
    received: int = 0  # messages that have come to the program
    cpu: int = 0  # ns of this process, all threads
    wall: int = 0  # ns
    memory: int = 0  # bytes of this process when it stopped
    stopped: bool = False

    @property
    def payload(self) -> bytes:
        """What to publish."""
        return b"x" * self.size

    @property
    def filters(self) -> list[str]:
        """What to subscribe to for ``dispatch``; each of them gets messages of one topic."""
        return [f"bench/{number:05}/+" for number in range(self.subscriptions)]

    @property
    def narrow_window(self) -> int:
        """As ``window``, but of big messages no more than is good for some clients."""
        return max(1, min(self.window, AT_ONCE // self.size))

    @cached_property
    def tls_context(self) -> ssl.SSLContext | None:
        """With TLS, a context that trusts the authority: one for all clients of the process."""
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None

    @property
    def buffer(self) -> int:
        """How many messages a client has to be able to hold, so that none need be dropped."""
        return self.count + self.window

    def start(self) -> None:
        """Set-up is over (connected, subscribed): from now on it counts."""
        self._wall = perf_counter_ns()
        self._cpu = process_time_ns()

    def stop(self) -> None:
        """Everything is done."""
        self.cpu = process_time_ns() - self._cpu
        self.wall = perf_counter_ns() - self._wall
        gc.collect()
        self.memory = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        self.stopped = True

    def go(self) -> None:
        """Let the ideal broker begin to send; after ``start()``."""
        if self.control is not None:
            self.control.send(b"g")

    def cut(self) -> None:
        """Have the ideal broker close all connections, and accept none until ``restore()``."""
        if self.control is not None:
            self.control.send(b"x")

    def restore(self) -> None:
        """Have the ideal broker accept connections again."""
        if self.control is not None:
            self.control.send(b"o")

    def wait_delivered(self) -> None:
        """Wait until the ideal broker has counted everything that this run has to give it."""
        if self.control is not None:
            self.control.settimeout(60)
            assert self.control.recv(1) == b"d"

    async def delivered(self) -> None:
        """As ``wait_delivered()``, for asyncio."""
        if self.control is not None:
            self.control.setblocking(False)
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.control, 1), 60)
            assert data == b"d"
