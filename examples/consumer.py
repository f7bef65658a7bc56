"""A consumer with threads and handlers: commands for lamps, carried out and confirmed.

    python examples/consumer.py
    python examples/consumer.py mqtt://localhost

Handlers run in a thread of their own, so they may take their time, and may publish and wait. A
command is acknowledged when its handler returns: one that fails comes again after the next
reconnection, if the session is kept.
"""

import sys
import threading

import mqttlite
from mqttlite.testing import Broker

LAMPS = ("desk", "door", "hall")


def run(url: str) -> None:
    """Switch every lamp on, and wait until all say so."""
    lit: set[str] = set()
    all_lit = threading.Event()

    with mqttlite.Client(url, on_error=lambda error, _: print("failed:", error)) as client:

        def switch(message: mqttlite.Message) -> None:
            lamp = message.topic.split("/")[1]
            if lamp not in LAMPS:
                raise LookupError(f"there is no lamp {lamp!r}")
            client.publish(f"lamps/{lamp}/state", message.payload, qos=1, retain=True)

        def show(message: mqttlite.Message) -> None:
            if not message.payload:  # the state was deleted
                return
            print(message.topic, "is", message.payload.decode())
            lit.add(message.topic.split("/")[1])
            if lit == set(LAMPS):
                all_lit.set()

        client.subscribe("lamps/+/set", qos=1, handler=switch)
        client.subscribe("lamps/+/state", qos=1, handler=show)
        for lamp in (*LAMPS, "moon"):
            client.publish(f"lamps/{lamp}/set", "on", qos=1)
        if not all_lit.wait(timeout=10):
            sys.exit("some lamps stayed dark")
        for lamp in LAMPS:
            client.publish(f"lamps/{lamp}/state", b"", qos=1, retain=True)  # leave no trace


def main() -> None:
    """Use the broker that is given, or bring one."""
    if len(sys.argv) > 1:
        run(sys.argv[1])
        return
    with Broker() as broker:
        run(broker.url)


if __name__ == "__main__":
    main()
