"""A sensor that reports its readings, and whether it is alive.

    python examples/sensor.py                           # on an embedded broker, five readings
    python examples/sensor.py mqtts://broker.example    # on a real one, until Ctrl-C

Readings are sent with QoS 1 and survive a lost connection in the outbox. The will and the
retained "online" messages tell everybody who asks whether the sensor is there.
"""

import json
import random
import sys
import time
from itertools import count

import mqttlite
from mqttlite.testing import Broker

NAME = "greenhouse"
INTERVAL = 0.2
"""Seconds between two readings; a real sensor would take its time."""


def read_temperature() -> float:
    """Stand in for a real sensor."""
    return round(random.gauss(21.0, 0.5), 2)


def run(url: str, readings: int | None) -> None:
    """Report readings; None: for ever."""
    status = f"sensors/{NAME}/status"
    client = mqttlite.Client(
        url,
        client_id=f"sensor-{NAME}",
        will=mqttlite.Will(status, "offline", qos=1, retain=True),
    )
    with client:
        client.publish(status, "online", qos=1, retain=True)
        for number in count(1):
            reading = {"number": number, "temperature": read_temperature()}
            # Not to wait keeps the rhythm of the readings through an outage.
            client.publish_nowait(
                f"sensors/{NAME}/temperature",
                json.dumps(reading),
                qos=1,
                message_expiry_interval=3600,
                content_type="application/json",
            )
            print("published", reading)
            if number == readings:
                break
            time.sleep(INTERVAL)
        client.publish(status, "offline", qos=1, retain=True)
    print("all readings are acknowledged")


def main() -> None:
    """Use the broker that is given, or bring one."""
    if len(sys.argv) > 1:
        run(sys.argv[1], None)
        return
    with Broker() as broker:
        run(broker.url, 5)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("stopped")
