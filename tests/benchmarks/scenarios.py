"""What is measured. A new scenario is one more line here, and a function in the adapters."""

from dataclasses import dataclass
from typing import Literal

KIB = 1024
MIB = 1024 * 1024
NAMES = {64: "64 B", 4 * KIB: "4 KiB", MIB: "1 MiB"}

Broker = Literal["ideal", "mosquitto", "mosquitto-tls", "none"]
Unit = Literal["us a message", "latency", "a second", "KiB", "ms"]


@dataclass(frozen=True)
class Scenario:
    """One measurement, of all clients."""

    name: str
    group: str  # the table in which it stands
    title: str  # its column there
    function: str  # of the adapters
    qos: int = 0
    size: int = 64
    subscriptions: int = 1
    warm_up: int = 0  # messages before it is measured
    least: int = 100  # messages; how many it is in between depends on how fast the client is
    most: int = 200_000
    broker: Broker = "ideal"
    unit: Unit = "us a message"


def _throughput() -> list[Scenario]:
    warm_up = {64: 1000, 4 * KIB: 500, MIB: 5}
    least = {64: 1000, 4 * KIB: 500, MIB: 20}
    # At QoS 0 so many that a client which drops what it cannot keep up with has to.
    least_0 = {64: 20_000, 4 * KIB: 5000, MIB: 50}
    most = {64: 200_000, 4 * KIB: 50_000, MIB: 200}
    return [
        Scenario(
            f"{function}-{qos}-{NAMES[size].replace(' ', '')}",
            f"{function.capitalize()}, {NAMES[size]}",
            f"QoS {qos}",
            function,
            qos=qos,
            size=size,
            warm_up=warm_up[size],
            least=least[size] if qos else least_0[size],
            most=most[size],
        )
        for function in ("publish", "receive")
        for size in (64, 4 * KIB, MIB)
        for qos in (0, 1, 2)
    ]


def _latency() -> list[Scenario]:
    trips = [
        Scenario(
            f"round-trip-{qos}",
            "Round trips, one at a time",
            f"QoS {qos}",
            "round_trips",
            qos=qos,
            warm_up=20,
            least=100,
            most=4000,
            unit="latency",
        )
        for qos in (0, 1)
    ]
    bursts = [
        Scenario(
            f"burst-{qos}",
            "Round trips, in bursts of 100",
            f"QoS {qos}",
            "bursts",
            qos=qos,
            warm_up=2,
            least=10,
            most=100,
            unit="latency",
        )
        for qos in (0, 1)
    ]
    return trips + bursts


def _through_mosquitto() -> list[Scenario]:
    plain = [
        Scenario(
            f"mosquitto-{qos}",
            "End to end through Mosquitto, 64 B",
            f"QoS {qos}",
            "echo",
            qos=qos,
            warm_up=500,
            least=500,
            most=30_000,
            broker="mosquitto",
        )
        for qos in (0, 1, 2)
    ]
    tls = [
        Scenario(
            f"tls-{qos}-{NAMES[size].replace(' ', '')}",
            "End to end through Mosquitto with TLS",
            f"QoS {qos}, {NAMES[size]}",
            "echo",
            qos=qos,
            size=size,
            warm_up=500,
            least=500,
            most=30_000,
            broker="mosquitto-tls",
        )
        for qos, size in ((0, 64), (1, 64), (1, 4 * KIB))
    ]
    return plain + tls


def _dispatch() -> list[Scenario]:
    return [
        Scenario(
            f"dispatch-{number}",
            "Dispatch over many subscriptions, QoS 0, 64 B",
            f"{number:,}",
            "dispatch",
            subscriptions=number,
            warm_up=1000,
            least=10_000,
            most=50_000,
        )
        for number in (1, 100, 10_000)
    ]


SCENARIOS = [
    *_throughput(),
    *_latency(),
    *_through_mosquitto(),
    *_dispatch(),
    Scenario(
        "drain",
        "Draining an outbox of 20,000 messages",
        "QoS 1, 64 B",
        "drain",
        qos=1,
        least=20_000,
        most=20_000,
    ),
    Scenario(
        "connects",
        "Connections, one after the other",
        "TCP",
        "connects",
        warm_up=5,
        least=20,
        most=500,
        unit="a second",
    ),
    Scenario(
        "connects-tls",
        "Connections, one after the other",
        "TLS, Mosquitto",
        "connects",
        warm_up=2,
        least=10,
        most=100,
        broker="mosquitto-tls",
        unit="a second",
    ),
    Scenario("idle", "Memory", "an idle connection", "idle", least=1100, most=1100, unit="KiB"),
    Scenario("import", "Import", "import of the module", "import", broker="none", unit="ms"),
]
IDLE = 100
"""Connections in the process whose memory is subtracted from that of ``idle``."""
