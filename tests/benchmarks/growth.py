"""Does the cost of a message stay the same when there are many of something?

    python -m tests.benchmarks.growth            print the tables
    python -m tests.benchmarks.growth --write    write them to docs/reference, with a plot

CPU time per message: of the client's core without sockets, for messages in flight, waiting,
and of all sizes, and for subscriptions; of whole clients over loopback sockets, for many clients
in one process. Each figure of the core is the best of some rounds, for what else the machine does
only ever adds.
"""

import gc
import os
import platform
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from random import random
from time import perf_counter, process_time_ns
from typing import Any

from mqttlite.client import ClientCore, ClientOptions, DeliveryState, make_subscription
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ProtocolVersion
from mqttlite.packets import Connack, Message, PacketReader, Suback, Subscribe, encode
from tests.benchmarks.many_clients import measure_clients
from tests.benchmarks.plot import Line, Panel, draw

V5 = ProtocolVersion.MQTT_5_0
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"

ROUNDS = 5
LONG = 10.0
"""Seconds after which there are no more rounds."""

AT_LEAST = 5000
"""Messages of one round."""

MOST_IN_FLIGHT = 65_519
"""16 of the 65,535 packet identifiers are left for SUBSCRIBE and UNSUBSCRIBE."""

TOPIC = "a/topic"
PAYLOAD = b"x" * 64
PIECE = 65_536
"""Bytes that are received at once."""

ACKS = [b"\x40\x02" + number.to_bytes(2) for number in range(1, 65_536)]


def connected_core(**options: Any) -> ClientCore:
    """A core with an accepted connection."""
    core = ClientCore(
        ClientOptions(
            endpoints=(Endpoint.parse("mqtt://localhost"),),
            outbox_messages=2_000_000,
            outbox_bytes=2**31,
            **options,
        ),
        random,
    )
    core.connect(0.0)
    accept(core)
    core.data_to_send(0.0)
    return core


def accept(core: ClientCore) -> None:
    """Open a connection for a core that is about to dial."""
    core.take_action()
    core.transport_opened(0.0)
    core.data_to_send(0.0)
    core.receive(encode(Connack(), V5), 0.0)


def pieces(data: bytes) -> list[bytes]:
    """What is received one after the other."""
    return [data[start : start + PIECE] for start in range(0, len(data), PIECE)]


class Stopwatch:
    """CPU time of this process, without what the garbage collector has left over before."""

    def __init__(self) -> None:
        self.elapsed = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time that the block takes."""
        started = process_time_ns()
        yield
        self.elapsed += process_time_ns() - started


def send_all(core: ClientCore) -> int:
    """Return how many bytes the core has to send, and let them go."""
    size = 0
    while data := core.data_to_send(0.0):
        size += len(data)
    return size


# --- in flight


def in_flight(window: int, *, newest_first: bool = False) -> float:
    """Messages of QoS 1 published while so many others are not acknowledged yet."""
    core = connected_core()
    for _ in range(window - 1):
        core.publish(DeliveryState(TOPIC, PAYLOAD, 1), 0.0, can_wait=False)
    send_all(core)
    count = 1000 if newest_first else 20_000
    watch = Stopwatch()
    with watch.running():
        for number in range(count):
            delivery = DeliveryState(TOPIC, PAYLOAD, 1)
            core.publish(delivery, 0.0, can_wait=False)
            core.data_to_send(0.0)
            oldest = delivery.packet_id - 1 if newest_first else number % 65_535
            core.receive(ACKS[oldest], 0.0)
    return watch.elapsed / count


def received_in_flight(window: int) -> float:
    """Messages of QoS 1 received while so many others are not acknowledged yet."""
    core = connected_core(receive_maximum=65_535)
    core.set_acknowledger(lambda receipt, answer: receipt.accept(answer))
    state = make_subscription(TOPIC, qos=1, ack="manual", buffer_size=100_000)
    core.subscribe(state)
    send_all(core)
    count = 20_000
    packets = [
        encode(Message(TOPIC, PAYLOAD, 1, packet_id=number % 65_535 + 1), V5)
        for number in range(max(count, window))
    ]
    held: list[Message] = []
    for number in range(window - 1):
        core.receive(packets[number], 0.0)
        message = state.take()
        assert message is not None
        held.append(message)
    watch = Stopwatch()
    first = window - 1
    sent = [packets[(first + number) % len(packets)] for number in range(count)]
    if len(packets) % 65_535:  # the identifiers begin anew with the list
        sent = [
            encode(Message(TOPIC, PAYLOAD, 1, packet_id=(first + number) % 65_535 + 1), V5)
            for number in range(count)
        ]
    with watch.running():
        for number in range(count):
            core.receive(sent[number], 0.0)
            message = state.take()
            assert message is not None
            held.append(message)
            held[number].ack()
            core.data_to_send(0.0)
    assert core.is_connected
    return watch.elapsed / count


# --- subscriptions


def subscribed_core(subscriptions: int) -> tuple[ClientCore, list[Any], int]:
    """A core with subscriptions, their states, and the time that it took to subscribe."""
    core = connected_core()
    reader = PacketReader(V5)
    states = [make_subscription(f"house/{n}/+", buffer_size=10**6) for n in range(subscriptions)]
    watch = Stopwatch()
    for state in states:
        with watch.running():
            core.subscribe(state)
            data = bytes(core.data_to_send(0.0))
        for packet in reader.feed(data):
            assert isinstance(packet, Subscribe)
            answer = encode(Suback(packet.packet_id, [0]), V5)
            with watch.running():
                core.receive(answer, 0.0)
    return core, states, watch.elapsed


def dispatch(subscriptions: int, *, new: bool = False) -> float:
    """Messages of QoS 0 to topics of which each has one subscription among many.

    ``new``: the topics were not seen before.
    """
    core, states, _ = subscribed_core(subscriptions)
    count = 20_000

    def data(last: str) -> bytes:
        return b"".join(
            encode(Message(f"house/{n % subscriptions}/{last}{n if new else ''}", PAYLOAD), V5)
            for n in range(count)
        )

    core.receive(data("lamp"), 0.0)  # every topic has been seen once
    chunks = pieces(data("door" if new else "lamp"))
    watch = Stopwatch()
    with watch.running():
        for chunk in chunks:
            core.receive(chunk, 0.0)
    assert sum(len(state.buffer) for state in states) == 2 * count
    return watch.elapsed / count


def subscribe(subscriptions: int) -> float:
    """A further subscription, where there are many."""
    rounds = max(1, 1000 // subscriptions)
    return sum(subscribed_core(subscriptions)[2] for _ in range(rounds)) / rounds / subscriptions


# --- waiting


def queued(count: int) -> float:
    """Messages of QoS 1 that wait until those before them are acknowledged."""
    core = connected_core(maximum_in_flight=1)
    rounds = max(1, AT_LEAST // (count + 1))
    watch = Stopwatch()
    number = 0
    for _ in range(rounds):
        deliveries = [DeliveryState(TOPIC, PAYLOAD, 1) for _ in range(count + 1)]
        with watch.running():
            for delivery in deliveries:
                core.publish(delivery, 0.0, can_wait=False)
            for _ in deliveries:
                core.data_to_send(0.0)
                core.receive(ACKS[number % 65_535], 0.0)
                number += 1
        assert all(delivery.done for delivery in deliveries)
    return watch.elapsed / number


def drained(count: int) -> float:
    """Messages of QoS 1 queued without a connection, sent and acknowledged with the next one."""
    core = connected_core()
    core.transport_closed(0.0)
    deliveries = [DeliveryState(TOPIC, PAYLOAD, 1) for _ in range(count)]
    size = len(encode(Message(TOPIC, PAYLOAD, 1, packet_id=1), V5))
    watch = Stopwatch()
    with watch.running():
        for delivery in deliveries:
            core.publish(delivery, 0.0, can_wait=False)
        core.handle_deadline(100.0)
        accept(core)
    done = 0
    while done < count:
        with watch.running():
            sent = send_all(core) // size
        acks = b"".join(ACKS[number % 65_535] for number in range(done, done + sent))
        chunks = pieces(acks)
        done += sent
        with watch.running():
            for chunk in chunks:
                core.receive(chunk, 0.0)
    assert all(delivery.done for delivery in deliveries)
    return watch.elapsed / count


def buffered(count: int) -> float:
    """Messages of QoS 0 received, and taken when all have come."""
    core = connected_core()
    state = make_subscription(TOPIC, buffer_size=count + 1)
    core.subscribe(state)
    packet = encode(Message(TOPIC, PAYLOAD), V5)
    at_once = min(count, PIECE // len(packet))
    chunk = packet * at_once
    rounds = max(1, AT_LEAST // count)
    watch = Stopwatch()
    for _ in range(rounds):
        with watch.running():
            for _ in range(count // at_once):
                core.receive(chunk, 0.0)
            core.receive(packet * (count % at_once), 0.0)
            for _ in range(count):
                state.take()
        assert not state.buffer
    return watch.elapsed / count / rounds


# --- payloads


def payload_in(size: int) -> float:
    """A message of some size, received in pieces of 64 KiB."""
    core = connected_core()
    count = max(1, min(AT_LEAST, 2**24 // size))
    state = make_subscription("big", buffer_size=count)
    core.subscribe(state)
    packet = encode(Message("big", bytes(size)), V5)
    at_once = max(1, min(count, PIECE // len(packet)))
    chunks = pieces(packet * at_once) if at_once == 1 else [packet * at_once]
    watch = Stopwatch()
    for _ in range(count // at_once):
        with watch.running():
            for chunk in chunks:
                core.receive(chunk, 0.0)
    received = count // at_once * at_once
    assert len(state.buffer) == received
    return watch.elapsed / received


def payload_out(size: int) -> float:
    """A message of some size and of QoS 0, published and taken in pieces of 64 KiB."""
    core = connected_core()
    payload = bytes(size)
    count = max(1, min(AT_LEAST, 2**24 // size))
    deliveries = [DeliveryState("big", payload, 0) for _ in range(count)]
    watch = Stopwatch()
    with watch.running():
        for delivery in deliveries:
            core.publish(delivery, 0.0, can_wait=False)
            if core.unsent_size >= PIECE:
                send_all(core)
        send_all(core)
    assert core.counters.sent_messages == count
    return watch.elapsed / count


# --- tables


@dataclass
class Series:
    """One column: what a message costs, by how many there are of something."""

    title: str
    measure: Callable[[int], float]
    sizes: list[int]
    figures: dict[int, float] = field(default_factory=dict)

    def run(self) -> None:
        """Measure everything."""
        for size in self.sizes:
            started = perf_counter()
            best = None
            for _ in range(ROUNDS):
                gc.collect()
                figure = self.measure(size)
                best = figure if best is None else min(best, figure)
                if perf_counter() - started > LONG:
                    break
            assert best is not None
            self.figures[size] = best
            print(f"{self.title:<44} {size:>11,} {best:>12,.0f}", file=sys.stderr, flush=True)


@dataclass
class Table:
    """Columns with the same rows."""

    title: str
    of: str
    unit: str
    series: list[Series]
    text: str
    has_ratio: bool = True

    def markdown(self) -> Iterator[str]:
        """The lines of the table."""
        yield f"## {self.title}"
        yield ""
        yield self.text
        yield ""
        yield f"| {self.of} | " + " | ".join(each.title for each in self.series) + " |"
        yield "| ---: |" + " ---: |" * len(self.series)
        sizes = sorted({size for each in self.series for size in each.figures})
        for size in sizes:
            cells = [_cell(each.figures.get(size)) for each in self.series]
            yield f"| {size:,} | " + " | ".join(cells) + " |"
        if self.has_ratio:
            ratios = []
            for each in self.series:
                first, *_, last = each.figures.values()
                ratios.append(f"{last / first:.2f}" if first else "")
            yield "| *last : first* | " + " | ".join(ratios) + " |"
        yield ""


def _cell(figure: float | None) -> str:
    if figure is None:
        return ""
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:,.1f}"


def powers(last: int) -> list[int]:
    """Return 1, 10, 100 and so on, and the last."""
    found = []
    size = 1
    while size < last:
        found.append(size)
        size *= 10
    return [*found, last]


def tables() -> Iterable[Table]:
    """Everything that is measured without sockets."""
    flights = powers(MOST_IN_FLIGHT)
    million = powers(1_000_000)
    yield Table(
        "Messages in flight",
        "in flight",
        "ns a message",
        [
            Series("published", in_flight, flights),
            Series("newest acknowledged first", partial(in_flight, newest_first=True), flights),
            Series("received", received_in_flight, flights),
        ],
        "Nanoseconds for a message of QoS 1 while so many others wait for their acknowledgement. "
        "16 of the 65,535 packet identifiers are kept for SUBSCRIBE and UNSUBSCRIBE. Servers "
        "acknowledge the oldest first; the second column is the opposite.",
    )
    subscriptions = powers(10_000)
    yield Table(
        "Subscriptions",
        "subscriptions",
        "ns a message",
        [
            Series("received", dispatch, subscriptions),
            Series("received, topic never seen", partial(dispatch, new=True), subscriptions),
            Series("subscribed", subscribe, subscriptions),
        ],
        "Nanoseconds for a message of QoS 0 that one of so many subscriptions with a wildcard "
        "matches; and for each of the subscriptions themselves, from SUBSCRIBE to SUBACK.",
    )
    yield Table(
        "Messages that wait",
        "waiting",
        "ns a message",
        [
            Series("published", queued, million),
            Series("published, disconnected", drained, million[3:]),
            Series("received", buffered, million),
        ],
        "Nanoseconds for a message of QoS 1 that waits behind so many others to be sent, from "
        "publishing to its acknowledgement: one after the other because one may be in flight, or "
        "together with the next connection; and for one of QoS 0 that was received and waits to "
        "be taken.",
    )
    sizes = [1, 16, 256, 4096, 65_536, 2**20, 2**24, 100 * 2**20]
    received = Series("received", payload_in, sizes)
    published = Series("published", payload_out, sizes)
    yield Table(
        "Payloads",
        "bytes",
        "ns a message",
        [received, published],
        "Nanoseconds for a message of QoS 0 with a payload of so many bytes.",
        has_ratio=False,
    )
    large = sizes[4:]
    yield Table(
        "Large payloads",
        "bytes",
        "ns a KiB",
        [
            Series("received", lambda size: received.figures[size] / size * 1024, large),
            Series("published", lambda size: published.figures[size] / size * 1024, large),
        ],
        "The same, in nanoseconds for each KiB of the payload.",
    )


def client_tables(most: int, most_threads: int) -> Iterable[Table]:
    """What many clients in one process cost."""
    time = []
    memory = []
    for kind, last in (("AsyncClient", most), ("Client", most_threads)):
        found = {size: measure_clients(kind, size) for size in powers(last)}
        time.append(Series(kind, lambda _: 0.0, []))
        time[-1].figures = {size: each.nanoseconds for size, each in found.items()}
        memory.append(Series(kind, lambda _: 0.0, []))
        memory[-1].figures = {size: each.kibibytes for size, each in found.items() if size > 1}
        for size, each in found.items():
            print(f"{kind:<44} {size:>11,} {each}", file=sys.stderr, flush=True)
    yield Table(
        "Clients in one process",
        "clients",
        "ns a message",
        time,
        "Nanoseconds of CPU time, of the process and of the system for it, for a message of QoS 1 "
        "that each client publishes, and that a server in another process, over loopback sockets, "
        "acknowledges and sends back to the client with QoS 0. All clients publish, then each "
        "takes its message, and so on; the mean of all rounds.",
    )
    yield Table(
        "Memory of a client",
        "clients",
        "KiB a client",
        memory,
        "KiB by which the process grows for each client that is connected, has one subscription, "
        "and has published and received: resident memory, with the stacks of threads, without "
        "that of the system.",
    )


def head() -> list[str]:
    """What was measured when, with what, and how to do it again."""
    version = platform.python_version()
    today = datetime.now(UTC).date().isoformat()
    return [
        "# Growth",
        "",
        (
            "What a message costs when there are many of something. Measured on "
            f"{today} with {platform.python_implementation()} {version} on {platform.system()} "
            f"({platform.machine()}, {os.cpu_count()} processors) by"
        ),
        "",
        "```sh",
        "python -m tests.benchmarks.growth --write",
        "```",
        "",
        (
            "CPU time, not time on the wall, and the best of some rounds. All but the clients are "
            "measured in the client's core, without sockets: what is above it knows of one message "
            "at a time. Payloads have 64 bytes where nothing else is said."
        ),
        "",
        "![Each figure over the number of things, both on logarithmic scales](growth.svg)",
        "",
    ]


def main() -> None:
    """Measure everything."""
    parser = ArgumentParser(description="Measures whether the cost of a message grows.")
    parser.add_argument("--write", action="store_true", help="write the tables and the plot")
    parser.add_argument("--clients", type=int, default=5000, help="the most AsyncClients")
    parser.add_argument("--threads", type=int, default=1000, help="the most Clients")
    arguments = parser.parse_args()
    found = []
    for table in tables():
        for series in table.series:
            series.run()
        found.append(table)
    found += client_tables(arguments.clients, arguments.threads)
    lines = head()
    for table in found:
        lines += table.markdown()
    text = "\n".join(lines).rstrip() + "\n"
    if not arguments.write:
        print(text)
        return
    panels = [
        Panel(each.title, each.of, each.unit, [Line(s.title, s.figures) for s in each.series])
        for each in found
    ]
    (REFERENCE / "growth.md").write_text(text, encoding="utf-8")
    (REFERENCE / "growth.svg").write_text(draw(panels), encoding="utf-8")


if __name__ == "__main__":
    main()
