"""Does the cost of a message stay the same when there are many of something?

    python -m tests.benchmarks.growth

CPU time of the client's core per message, without sockets: draining a long outbox, dispatching
over many subscriptions, many messages in flight, and payloads of all sizes. Each figure is the
best of some rounds, for what else the machine does only ever adds.
"""

from collections.abc import Callable
from random import random
from time import process_time_ns

from mqttlite.client import ClientCore, ClientOptions, DeliveryState, make_subscription
from mqttlite.endpoint import Endpoint
from mqttlite.enums import ProtocolVersion
from mqttlite.packets import (
    Connack,
    Message,
    PacketReader,
    Puback,
    Suback,
    Subscribe,
    encode,
)

V5 = ProtocolVersion.MQTT_5_0
ROUNDS = 5


def connected_core() -> ClientCore:
    """A core with an accepted connection."""
    options = ClientOptions(
        endpoints=(Endpoint.parse("mqtt://localhost"),),
        outbox_messages=2_000_000,
        outbox_bytes=2**31,
    )
    core = ClientCore(options, random)
    core.connect(0.0)
    accept(core)
    return core


def accept(core: ClientCore) -> None:
    """Open a connection for a core that is about to dial."""
    core.take_action()
    core.transport_opened(0.0)
    core.data_to_send(0.0)
    core.receive(encode(Connack(), V5), 0.0)


def drain_outbox(count: int) -> int:
    """Messages of QoS 1 queued before the connection, sent and acknowledged after it."""
    core = connected_core()
    core.transport_closed(0.0)
    deliveries = [DeliveryState("a/topic", b"x" * 64, 1) for _ in range(count)]
    for delivery in deliveries:
        core.publish(delivery, 0.0, can_wait=False)
    core.handle_deadline(100.0)
    started = process_time_ns()
    accept(core)
    reader = PacketReader(V5)
    acknowledged = 0
    while acknowledged < count:
        sent = b""
        while data := core.data_to_send(0.0):
            sent += data
        packets = [p for p in reader.feed(sent) if isinstance(p, Message)]
        acknowledged += len(packets)
        core.receive(b"".join(b"\x40\x02" + p.packet_id.to_bytes(2) for p in packets), 0.0)
    elapsed = process_time_ns() - started
    assert all(delivery.done for delivery in deliveries)
    return elapsed // count


def dispatch(subscriptions: int) -> int:
    """Messages of QoS 0 to topics of which each has one subscription among many."""
    core = connected_core()
    reader = PacketReader(V5)
    states = [make_subscription(f"house/{n}/+", buffer_size=10**6) for n in range(subscriptions)]
    for state in states:
        core.subscribe(state)
        for packet in reader.feed(bytes(core.data_to_send(0.0))):
            assert isinstance(packet, Subscribe)
            core.receive(encode(Suback(packet.packet_id, [0]), V5), 0.0)
    count = 20_000
    chunk = b"".join(
        encode(Message(f"house/{n % subscriptions}/lamp", b"x" * 64), V5) for n in range(count)
    )
    core.receive(chunk, 0.0)  # every topic has been seen once
    started = process_time_ns()
    for start in range(0, len(chunk), 65536):
        core.receive(chunk[start : start + 65536], 0.0)
    elapsed = process_time_ns() - started
    assert sum(len(state.buffer) for state in states) == 2 * count
    return elapsed // count


def in_flight(window: int) -> int:
    """Messages of QoS 1 published while so many others are not acknowledged yet."""
    core = connected_core()
    for _ in range(window - 1):
        core.publish(DeliveryState("a/topic", b"x" * 64, 1), 0.0, can_wait=False)
    while core.data_to_send(0.0):
        pass
    count = 20_000
    started = process_time_ns()
    for number in range(count):
        core.publish(DeliveryState("a/topic", b"x" * 64, 1), 0.0, can_wait=False)
        core.data_to_send(0.0)
        core.receive(encode(Puback(number % 65_535 + 1), V5), 0.0)
    return (process_time_ns() - started) // count


def payload_in(size: int) -> int:
    """A message of some size, received in pieces of 64 KiB; per KiB."""
    core = connected_core()
    state = make_subscription("big")
    core.subscribe(state)
    packet = encode(Message("big", bytes(size)), V5)
    pieces = [packet[start : start + 65536] for start in range(0, len(packet), 65536)]
    started = process_time_ns()
    for piece in pieces:
        core.receive(piece, 0.0)
    elapsed = process_time_ns() - started
    assert len(state.buffer) == 1
    return elapsed * 1024 // size


def table(title: str, measure: Callable[[int], int], sizes: list[int], unit: str) -> None:
    """Print one row of figures."""
    print(f"\n{title}")
    for size in sizes:
        print(f"  {size:>11,}  {min(measure(size) for _ in range(ROUNDS)):>8,} {unit}")


def main() -> None:
    """Measure everything."""
    message = "ns a message"
    table("Draining an outbox of n messages", drain_outbox, [1000, 10_000, 100_000], message)
    table("Dispatching over n subscriptions", dispatch, [1, 100, 10_000], message)
    table("n messages in flight", in_flight, [1, 100, 10_000, 65_000], message)
    table("A payload of n bytes", payload_in, [2**16, 2**20, 2**24, 100 * 2**20], "ns a KiB")


if __name__ == "__main__":
    main()
