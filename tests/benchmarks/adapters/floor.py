"""The least that any client in Python has to do: precomputed bytes and system calls, no library.

What each scenario sends and waits for is a generator: it yields what is to be sent, or None for
whatever comes next from the network. ``drive()`` runs one on a blocking socket, ``drive_beside()``
on one from which another thread reads, ``Driven`` as a Protocol of asyncio. MQTT 3.1.1. Nothing is
validated, kept or handed to anybody.
"""

import asyncio
import socket
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Thread
from time import perf_counter_ns

from tests.benchmarks.adapters.run import Run

Script = Generator[bytes | None, bytes, None]

CONNECT = b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05floor"
DISCONNECT = b"\xe0\x00"
CHUNK = 64 * 1024
IDS = range(1, 65536)
ACKS = {head: b"".join(b"%c\x02%b" % (head, i.to_bytes(2)) for i in IDS) for head in (0x40, 0x50)}
"""PUBACK and PUBREC for all packet identifiers in turn: the broker uses them in turn."""


def publish_head(run: Run, packet_id: int) -> bytes:
    """Return what stands before the payload of a PUBLISH."""
    topic = run.topic.encode()
    left = 2 + len(topic) + (2 if run.qos else 0) + run.size
    length = bytearray()
    while left > 127:
        length.append(left & 127 | 128)
        left >>= 7
    length.append(left)
    head = bytes([0x30 | run.qos << 1]) + length + len(topic).to_bytes(2) + topic
    return head + packet_id.to_bytes(2) if run.qos else head


def acknowledge(head: int, start: int, count: int) -> bytes:
    """Acknowledgements of so many packets, of which the first is the start-th of all."""
    first = start % 65535 * 4
    acks = ACKS[head][first : first + count * 4]
    return acks + ACKS[head][: count * 4 - len(acks)]


def connecting() -> Script:
    """Connect."""
    yield CONNECT
    yield from reading(4)


def reading(size: int) -> Script:
    """Wait for so many bytes."""
    while size > 0:
        size -= len((yield None))


def subscribing(run: Run) -> Script:
    """Subscribe to the topic."""
    topic = run.topic.encode()
    yield bytes([0x82, 5 + len(topic), 0, 1, 0, len(topic)]) + topic + bytes([run.qos])
    yield from reading(5)


def publishing(run: Run, *, batched: bool) -> Script:
    """Send as many messages as the window has places, wait for the acknowledgements, repeat."""
    payload = run.payload
    heads = [publish_head(run, n + 1) for n in range(run.window)]
    big = run.size >= CHUNK
    packets = [] if big else [head + payload for head in heads]
    releases = [b"\x62\x02" + (n + 1).to_bytes(2) for n in range(run.window)]
    for start in range(0, run.count, run.window):
        count = min(run.window, run.count - start)
        if big:
            for head in heads[:count]:
                yield head
                yield payload
        elif batched:
            yield b"".join(packets[:count])
        else:
            yield from packets[:count]
        if run.qos:
            yield from reading(count * 4)
        if run.qos == 2:
            if batched:
                yield b"".join(releases[:count])
            else:
                yield from releases[:count]
            yield from reading(count * 4)


def receiving(run: Run, *, batched: bool) -> Script:
    """Count messages by their size, and acknowledge those of a chunk at once or one by one."""
    size = len(publish_head(run, 0)) + run.size
    if run.qos == 2:
        yield from receiving_qos_2(run, size, batched=batched)
        return
    came = 0
    run.go()
    while run.received < run.count:
        came += len((yield None))
        start, run.received = run.received, came // size
        if run.qos:
            for first, count in pieces(start, run.received - start, batched=batched):
                yield acknowledge(0x40, first, count)


def pieces(start: int, count: int, *, batched: bool) -> list[tuple[int, int]]:
    """Where acknowledgements begin that are sent together, and how many."""
    return [(start, count)] if batched else [(start + n, 1) for n in range(count)]


def receiving_qos_2(run: Run, size: int, *, batched: bool) -> Script:
    """PUBLISH and PUBREL come mixed, so that each has to be looked at."""
    skip = released = 0
    rest = b""
    run.go()
    while released < run.count:
        data = rest + (yield None)
        rest, answers, start, at = b"", [], run.received, skip
        while at < len(data):
            if data[at] == 0x62:
                if at + 4 > len(data):
                    rest, at = data[at:], len(data)
                    break
                answers.append(b"\x70\x02" + data[at + 2 : at + 4])
                released += 1
                at += 4
            else:
                run.received += 1
                at += size
        skip = at - len(data)
        for first, count in pieces(start, run.received - start, batched=batched):
            answers.append(acknowledge(0x50, first, count))
        if batched:
            yield b"".join(answers)
        else:
            yield from answers


def trips(run: Run, burst: int) -> Script:
    """Send a burst, and wait until all of it is back."""
    packet = publish_head(run, 1) + run.payload
    data = packet * burst
    # PUBACK comes as well; which of both comes first does not matter.
    size = len(packet) + (4 if run.qos else 0)
    for number in range(run.count):
        came = done = 0
        started = perf_counter_ns()
        yield data
        while done < burst:
            came += len((yield None))
            time = perf_counter_ns() - started
            run.latencies.extend([time] * (came // size - done))
            done = came // size
        if run.qos:
            yield acknowledge(0x40, number * burst, burst)


def echoing(run: Run) -> Script:
    """Keep the window full of messages to oneself."""
    if run.qos == 2:
        raise NotImplementedError("no floor at QoS 2")
    packet = publish_head(run, 1) + run.payload
    size = len(packet) + (4 if run.qos else 0)
    sent = min(run.window, run.count)
    yield packet * sent
    came = 0
    while run.received < run.count:
        came += len((yield None))
        start, run.received = run.received, came // size
        more = min(run.received - start, run.count - sent)
        sent += more
        yield packet * more + (acknowledge(0x40, start, run.received - start) if run.qos else b"")


# --- blocking sockets


def dial(run: Run) -> socket.socket:
    """Open a connection."""
    sock = socket.create_connection((run.host, run.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if run.tls_context is not None:
        sock = run.tls_context.wrap_socket(sock, server_hostname=run.host)
    drive(sock, connecting())
    return sock


def drive(sock: socket.socket, script: Script, receive: Callable[[], bytes] | None = None) -> None:
    """Run a script on a blocking socket, whose bytes ``receive()`` may bring from elsewhere."""
    if receive is None:
        receive = partial(sock.recv, CHUNK)
    with suppress(StopIteration):
        step = next(script)
        while True:
            if step is None:
                data = receive()
                if not data:
                    raise ConnectionError("the broker has closed the connection")
                step = script.send(data)
            else:
                sock.sendall(step)
                step = next(script)


def drive_beside(sock: socket.socket, script: Script) -> None:
    """Run a script on a blocking socket from which another thread reads, as a client's does."""
    chunks: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        data = b"x"
        while data:
            data = sock.recv(CHUNK)
            chunks.put(data)

    thread = Thread(target=read)
    thread.start()
    drive(sock, script, chunks.get)
    sock.shutdown(socket.SHUT_RDWR)
    thread.join()


def measure_trips(
    run: Run, burst: int, driver: Callable[[socket.socket, Script], None] = drive
) -> None:
    """Measure round trips, so many at a time."""
    with dial(run) as sock:
        drive(sock, subscribing(run))
        run.start()
        driver(sock, trips(run, burst))
        run.stop()


# --- asyncio


class Driven(asyncio.Protocol):
    """Runs a script; ``await run()``."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.is_paused = False
        self.waiting = b""  # what came while the script could not go on

    async def run(self, script: Script) -> None:
        """Run a script to its end."""
        self.script = script
        self.done = asyncio.get_running_loop().create_future()
        self.advance(None)
        await self.done

    def advance(self, data: bytes | None) -> None:
        """Give the script what it waits for, and send what it sends."""
        try:
            step = next(self.script) if data is None else self.script.send(data)
            while step is not None or self.waiting:
                if step is None:
                    data, self.waiting = self.waiting, b""
                    step = self.script.send(data)
                    continue
                self.transport.write(step)
                if self.is_paused:
                    return
                step = next(self.script)
        except StopIteration:
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Data for the script."""
        if self.is_paused:
            self.waiting += data
        else:
            self.advance(data)

    def pause_writing(self) -> None:
        """Too much has been written."""
        self.is_paused = True

    def resume_writing(self) -> None:
        """The script may go on writing."""
        self.is_paused = False
        self.advance(None)


async def open_driven(run: Run) -> Driven:
    """Open a connection."""
    loop = asyncio.get_running_loop()
    _, driven = await loop.create_connection(Driven, run.host, run.port, ssl=run.tls_context)
    await driven.run(connecting())
    return driven
