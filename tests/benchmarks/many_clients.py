"""Many clients in one process, against a server in another that costs next to nothing.

Each number of clients gets two processes of its own: memory that was used once is not given back.
"""

import asyncio
import json
import resource
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from time import process_time_ns
from typing import NamedTuple, cast

from mqttlite import AsyncClient, Client
from tests.benchmarks.server import Server, publish

ROOT = Path(__file__).resolve().parents[2]
MESSAGES = 20_000
"""Messages of all clients together that are measured, in whole rounds."""
TOGETHER = 50
"""Clients that connect at the same time."""
PATIENCE = 600.0
TOPIC = "clients/topic"
PAYLOAD = b"x" * 64


class Cost(NamedTuple):
    """What a message and a client cost."""

    nanoseconds: float
    kibibytes: float


def measure_clients(kind: str, count: int) -> Cost:
    """Measure ``AsyncClient`` or ``Client``."""
    command = [sys.executable, "-m", "tests.benchmarks.many_clients"]
    with subprocess.Popen([*command, "server"], cwd=ROOT, stdout=subprocess.PIPE) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().decode().strip()
            result = subprocess.run(
                [*command, kind, str(count), port],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                timeout=PATIENCE,
                check=True,
            )
        finally:
            server.terminate()
    nanoseconds, kibibytes = json.loads(result.stdout)
    return Cost(nanoseconds, kibibytes)


class Echo(asyncio.Protocol):
    """A connection of the server, which sends back every message that it acknowledges."""

    def __init__(self) -> None:
        self._server = Server()
        self._transport: asyncio.Transport | None = None
        self._message = publish(TOPIC.encode(), PAYLOAD, 0, 0, b"\0")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        before = self._server.published
        answer = self._server.receive(data)
        answer += self._message * (self._server.published - before)
        if self._transport is not None:
            self._transport.write(answer)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def _memory() -> float:
    """KiB of resident memory; the most that there ever were, where the system says no more."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "darwin" else float(most)


async def _measure_async(count: int, url: str) -> Cost:
    async with AsyncClient(url) as client, client.subscribe(TOPIC) as messages:
        await client.publish(TOPIC, PAYLOAD, qos=1)  # what the first one loads
        await anext(messages)
    clients: list[AsyncClient] = []
    before = _memory()
    for start in range(0, count, TOGETHER):
        new = [AsyncClient(url) for _ in range(start, min(count, start + TOGETHER))]
        await asyncio.gather(*(client.connect() for client in new))
        clients += new
    subscriptions = await asyncio.gather(*(client.subscribe(TOPIC) for client in clients))

    async def play() -> None:
        deliveries = [client.publish_nowait(TOPIC, PAYLOAD, qos=1) for client in clients]
        for delivery, subscription in zip(deliveries, subscriptions, strict=True):
            await delivery
            await anext(subscription)

    await play()
    memory = (_memory() - before) / count
    rounds = max(3, MESSAGES // count)
    started = process_time_ns()
    for _ in range(rounds):
        await play()
    nanoseconds = (process_time_ns() - started) / rounds / count
    for start in range(0, count, TOGETHER):
        await asyncio.gather(*(each.close() for each in clients[start : start + TOGETHER]))
    return Cost(nanoseconds, memory)


def _measure_threads(count: int, url: str) -> Cost:
    with Client(url) as client, client.subscribe(TOPIC) as messages:
        client.publish(TOPIC, PAYLOAD, qos=1)  # what the first one loads
        next(messages)
    before = _memory()
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(url)) for _ in range(count)]
        subscriptions = [client.subscribe(TOPIC) for client in clients]

        def play() -> None:
            deliveries = [client.publish_nowait(TOPIC, PAYLOAD, qos=1) for client in clients]
            for delivery, subscription in zip(deliveries, subscriptions, strict=True):
                delivery.wait()
                next(subscription)

        play()
        memory = (_memory() - before) / count
        rounds = max(3, MESSAGES // count)
        started = process_time_ns()
        for _ in range(rounds):
            play()
        return Cost((process_time_ns() - started) / rounds / count, memory)


def main() -> None:
    """Be the server, or the clients."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if sys.argv[1] == "server":
        with suppress(KeyboardInterrupt):
            asyncio.run(_serve())
        return
    kind, count, url = sys.argv[1], int(sys.argv[2]), f"mqtt://127.0.0.1:{sys.argv[3]}"
    if kind == "AsyncClient":
        cost = asyncio.run(_measure_async(count, url))
    else:
        cost = _measure_threads(count, url)
    print(json.dumps(cost))


if __name__ == "__main__":
    main()
