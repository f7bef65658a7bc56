"""How many QoS 2 messages of MQTT 3.1.1 may be in flight before a broker loses some?

    python -m tests.benchmarks.in_flight mqtt://localhost

Publishes 1,000 messages to itself with windows of several sizes, and counts what comes back.
"""

import sys
from secrets import token_hex

from mqttlite import Client

COUNT = 1000
PATIENCE = 3.0
"""Seconds without a message after which no more is expected."""


def arrived(url: str, window: int) -> int:
    """Return how many messages come back."""
    topic = f"mqttlite/in-flight/{token_hex(4)}"
    with (
        Client(url, version="3.1.1", maximum_in_flight=window) as client,
        client.subscribe(topic, qos=2) as messages,
    ):
        for number in range(COUNT):
            client.publish_nowait(topic, str(number), qos=2)
        for number in range(COUNT):
            try:
                messages.get(PATIENCE)
            except TimeoutError:
                return number
    return COUNT


def main() -> None:
    """Try several windows."""
    for window in (20, 50, 100, 1000):
        print(f"{window:>5} in flight: {arrived(sys.argv[1], window):>5} of {COUNT} arrived")


if __name__ == "__main__":
    main()
