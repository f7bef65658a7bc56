"""What mqttlite does, in a few seconds: run it as it is, or with the URL of a broker.

    python examples/quickstart.py
    python examples/quickstart.py mqtt://localhost

Without a URL it runs an embedded broker. It prints what happened, and ends with an exit code
other than 0 if anything did not happen as it should.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from secrets import token_hex

import mqttlite
from mqttlite.testing import Broker, Relay

ROOT = f"mqttlite/quickstart/{token_hex(4)}"
"""All topics are below this one, so that two quickstarts on one broker do not meet."""

COUNT = 100
"""Messages that are published while the broker goes away and comes back."""

TIMEOUT = 10.0
"""Seconds in which everything that is waited for has to happen."""


def check(happened: bool, what: str) -> None:
    """Print what happened; stop everything if it did not."""
    print(f"  {'ok ' if happened else 'NOT'}  {what}")
    if not happened:
        sys.exit(1)


def publish_and_subscribe(url: str) -> None:
    """Messages of every QoS, with the client for threads."""
    print("Client, for threads:")
    with (
        mqttlite.Client(url) as client,
        client.subscribe(f"{ROOT}/threads/+", qos=2) as messages,
    ):
        for qos in (0, 1, 2):
            client.publish(f"{ROOT}/threads/{qos}", f"hello with QoS {qos}", qos=qos)
            message = messages.get(TIMEOUT)
            check(message.payload == f"hello with QoS {qos}".encode(), f"received {message}")


async def publish_and_subscribe_async(url: str) -> None:
    """Messages of every QoS, with the client for asyncio."""
    print("AsyncClient, for asyncio:")
    async with (
        mqttlite.AsyncClient(url) as client,
        client.subscribe(f"{ROOT}/asyncio/+", qos=2) as messages,
    ):
        for qos in (0, 1, 2):
            await client.publish(f"{ROOT}/asyncio/{qos}", f"hello with QoS {qos}", qos=qos)
            message = await messages.get(TIMEOUT)
            check(message.payload == f"hello with QoS {qos}".encode(), f"received {message}")


def retained_message(url: str) -> None:
    """A message that the broker keeps for those who come later."""
    print("A retained message:")
    topic = f"{ROOT}/retained"
    with mqttlite.Client(url) as client:
        client.publish(topic, "I was here", qos=1, retain=True)
    with mqttlite.Client(url) as client:
        with client.subscribe(topic) as messages:
            message = messages.get(TIMEOUT)
            check(message.retain and message.payload == b"I was here", f"received {message}")
        client.publish(topic, b"", qos=1, retain=True)  # an empty one deletes it


def last_will(url: str) -> None:
    """A message that the broker publishes for a client that is cut off."""
    print("A last will:")
    topic = f"{ROOT}/will"
    with mqttlite.Client(url) as client, client.subscribe(topic, qos=1) as messages:
        with Relay(url) as relay:
            will = mqttlite.Will(topic, "I am gone", qos=1)
            device = mqttlite.Client(relay.url, will=will, reconnect=False, tls=relay.tls)
            device.connect()
            relay.stop()  # the device's network fails
        message = messages.get(TIMEOUT)
        check(message.payload == b"I am gone", f"received {message}")
        device.close()


@contextmanager
def a_broker_that_can_go_away(url: str | None) -> Iterator[Broker | Relay]:
    """The embedded broker, or the network before another one."""
    if url is None:
        with Broker() as broker:
            yield broker
    else:
        with Relay(url) as relay:
            yield relay


def broker_goes_away(url: str | None) -> None:
    """The broker goes away in the middle of everything, and comes back."""
    print("A broker that goes away and comes back:")
    with (
        a_broker_that_can_go_away(url) as broker,
        a_lasting_client("publisher", broker) as publisher,
        a_lasting_client("subscriber", broker) as subscriber,
        subscriber.subscribe(f"{ROOT}/outage/#", qos=2) as messages,
    ):
        deliveries = []
        for number in range(COUNT):
            if number == COUNT // 3:
                broker.stop()
                wait_until(lambda: not (publisher.is_connected or subscriber.is_connected))
                check(True, "the broker is gone: both clients have noticed")
            for qos in (1, 2):
                topic = f"{ROOT}/outage/{qos}"
                deliveries.append(publisher.publish_nowait(topic, str(number), qos=qos))
        check(not deliveries[-1].done, f"{sum(not d.done for d in deliveries)} messages wait")
        broker.start()
        for delivery in deliveries:
            delivery.wait(TIMEOUT)
        check(True, f"the broker is back: all {len(deliveries)} messages are acknowledged")

        received: dict[int, Counter[bytes]] = {1: Counter(), 2: Counter()}
        everything = {str(number).encode() for number in range(COUNT)}
        while any(set(counter) != everything for counter in received.values()):
            message = messages.get(TIMEOUT)
            received[message.qos][message.payload] += 1
        check(True, f"QoS 1: all {COUNT} came at least once, {received[1].total()} in all")
        exactly = received[2].total() == COUNT
        check(exactly, f"QoS 2: all {COUNT} came exactly once, {received[2].total()} in all")


def a_lasting_client(name: str, broker: Broker | Relay) -> mqttlite.Client:
    """A client whose session the broker keeps for a minute, and that comes back quickly."""
    return mqttlite.Client(
        broker.url,
        client_id=f"quickstart-{name}-{token_hex(4)}",
        clean_start=False,
        session_expiry_interval=60,
        reconnect=mqttlite.Reconnect(first_delay=0.1, maximum_delay=0.5),
        # Through a relay the certificate has the broker's name, not the one that is called.
        tls=broker.tls if isinstance(broker, Relay) else None,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something has happened that a client does not report by a call."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            check(False, "it took too long")
        time.sleep(0.01)


def main() -> None:
    """Show everything."""
    given = sys.argv[1] if len(sys.argv) > 1 else None
    started = time.monotonic()
    with Broker() as embedded:
        url = given or embedded.url
        print(f"mqttlite {mqttlite.__version__} on {'your' if given else 'its embedded'} broker")
        publish_and_subscribe(url)
        asyncio.run(publish_and_subscribe_async(url))
        retained_message(url)
        last_will(url)
        broker_goes_away(given)
    print(f"All of this took {time.monotonic() - started:.1f} seconds.")


if __name__ == "__main__":
    main()
