"""What messages take in Python without a client: ``python -m tests.benchmarks.python_floor``.

The least that a client written in Python does for a message of 64 bytes, and nothing else: the
caller gets an object for what it publishes, each received message is an object that comes by way
of a dictionary of topics and a buffer, packets are joined to pieces of 64 KiB and read from such,
and flows of QoS 1 and 2 stand in a dictionary by their packet identifiers. There are no sockets,
checks, limits, sessions, receipts, time-outs or reconnections, and only one length and topic.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from statistics import median
from struct import Struct, pack
from threading import Thread
from time import process_time_ns

from mqttlite.limits import MAXIMUM_PACKET_ID

COUNT = 200_000
THREADS = 2_000
ROUNDS = 5
PIECE = 64 * 1024
WINDOW = 100
TOPIC = "bench/topic/name"
PAYLOAD = b"x" * 64

_HEAD = Struct(">BBH").unpack_from
_ANSWER = Struct(">BBH")
_PUBACK, _PUBREC, _PUBREL, _PUBCOMP = 0x4002, 0x5002, 0x6202, 0x7002


class Delivery:
    """What a caller gets."""

    __slots__ = ("done", "payload", "qos", "topic")

    def __init__(self, topic: str, payload: bytes, qos: int) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos
        self.done = not qos


class Message:
    """What a consumer gets."""

    __slots__ = ("payload", "qos", "topic")

    def __init__(self, topic: str, payload: bytes, qos: int) -> None:
        self.topic = topic
        self.payload = payload
        self.qos = qos


class Client:
    """The least that could be called one."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.flows: dict[int, Delivery] = {}
        self.last_id = 0
        self.topics = {TOPIC.encode(): TOPIC}
        self.starts: dict[tuple[str, int, int], bytes] = {}
        self.buffers: dict[str, deque[Message]] = {TOPIC: deque()}

    def publish(self, topic: str, payload: bytes, qos: int) -> Delivery:
        """Queue a PUBLISH."""
        delivery = Delivery(topic, payload, qos)
        start = self.starts.get((topic, qos, len(payload)))
        if start is None:
            name = topic.encode()
            length = 2 + len(name) + (2 if qos else 0) + 1 + len(payload)
            start = pack(">BBH", 0x30 | qos << 1, length, len(name)) + name
            self.starts[topic, qos, len(payload)] = start
        if qos:
            self.last_id = packet_id = self.last_id % MAXIMUM_PACKET_ID + 1
            self.flows[packet_id] = delivery
            self.out += (start, packet_id.to_bytes(2), b"\0", payload)
        else:
            self.out += (start, b"\0", payload)
        return delivery

    def receive(self, data: bytes) -> None:
        """Read the packets of a piece that ends with one."""
        position = 0
        topics, buffers, flows = self.topics, self.buffers, self.flows
        answers: list[int] = []
        while position < len(data):
            first, length, number = _HEAD(data, position)
            end = position + 2 + length
            if first < 0x40:
                stop = position + 4 + number
                topic = topics[data[position + 4 : stop]]
                qos = 0
                if first >= 0x32:
                    qos = first - 0x30 >> 1
                    packet_id = data[stop] << 8 | data[stop + 1]
                    stop += 2
                    answers += (_PUBACK if qos == 1 else _PUBREC, packet_id)
                buffers[topic].append(Message(topic, data[stop + 1 : end], qos))
            elif first == 0x50:
                answers += (_PUBREL, number)
            elif first == 0x62:
                answers += (_PUBCOMP, number)
            else:  # PUBACK, PUBCOMP
                flows.pop(number).done = True
            position = end
        if answers:
            self.out.append(pack(f">{len(answers)}H", *answers))

    def written(self) -> bytes:
        """What is to be written."""
        data = b"".join(self.out)
        self.out.clear()
        return data


def publish(qos: int) -> float:
    """Publish in windows, all of which is acknowledged."""
    client = Client()
    elapsed = 0
    for _ in range(COUNT // WINDOW):
        if client.last_id > MAXIMUM_PACKET_ID - WINDOW:
            client.last_id = 0
        answers = [
            b"".join(_ANSWER.pack(first, 2, client.last_id + i) for i in range(1, WINDOW + 1))
            for first in ((), (0x40,), (0x50, 0x70))[qos]
        ]
        started = process_time_ns()
        for _ in range(WINDOW):
            client.publish(TOPIC, PAYLOAD, qos)
        client.written()
        for answer in answers:
            client.receive(answer)
            client.written()
        elapsed += process_time_ns() - started
    assert not client.flows
    return elapsed / COUNT / 1000


def receive(qos: int) -> float:
    """Take what comes in pieces from an iterator."""
    client = Client()
    sender = Client()
    count = PIECE // (len(TOPIC) + len(PAYLOAD) + 7)
    for _ in range(count):
        sender.publish(TOPIC, PAYLOAD, qos)
    piece = sender.written()
    releases = b"".join(_ANSWER.pack(0x62, 2, i) for i in range(1, count + 1))
    buffer = client.buffers[TOPIC]

    class Messages:
        def __aiter__(self) -> "Messages":
            return self

        async def __anext__(self) -> Message:
            if not buffer:
                raise StopAsyncIteration
            return buffer.popleft()

    async def consume() -> int:
        taken = 0
        async for _ in Messages():
            taken += 1
        return taken

    async def work() -> int:
        taken = 0
        while taken < COUNT:
            client.receive(piece)
            taken += await consume()
            client.written()
            if qos == 2:
                client.receive(releases)
                client.written()
        return taken

    started = process_time_ns()
    taken = asyncio.run(work())
    return (process_time_ns() - started) / taken / 1000


async def _wait() -> float:
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[None]] = []
    remaining = iter(range(COUNT))

    async def one() -> None:
        future: asyncio.Future[None] = loop.create_future()
        waiting.append(future)
        await future

    async def work() -> None:
        for _ in remaining:
            await one()

    started = process_time_ns()
    tasks = [asyncio.create_task(work()) for _ in range(WINDOW)]
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        acknowledged = waiting.copy()
        waiting.clear()
        for future in acknowledged:
            future.set_result(None)
    return (process_time_ns() - started) / COUNT / 1000


def wait() -> float:
    """Let a hundred tasks wait, each for a future of its own, all of which are set in one turn."""
    return asyncio.run(_wait())


def begin_thread() -> float:
    """Begin and end a thread, as for a connection."""
    started = process_time_ns()
    for _ in range(THREADS):
        thread = Thread(target=int, daemon=True)
        thread.start()
        thread.join()
    return (process_time_ns() - started) / THREADS / 1000


def main() -> None:
    """Print medians."""
    measured: dict[str, Callable[[], float]] = {
        **{f"publish, QoS {qos}": partial(publish, qos) for qos in (0, 1, 2)},
        **{f"receive and iterate, QoS {qos}": partial(receive, qos) for qos in (0, 1, 2)},
        "wait for an acknowledgement": wait,
        "begin and end a thread": begin_thread,
    }
    for name, measure in measured.items():
        print(f"{name:30}{median(measure() for _ in range(ROUNDS)):6.2f} µs")


if __name__ == "__main__":
    main()
