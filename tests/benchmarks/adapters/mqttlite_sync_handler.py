"""Client, with threads: ``publish()`` that waits at QoS 0, and handlers."""

from threading import Event

from mqttlite import Message
from tests.benchmarks.adapters import synchronous
from tests.benchmarks.adapters.mqttlite_sync import make_client
from tests.benchmarks.adapters.run import Run

LABEL = "mqttlite (threads, handlers)"
PACKAGE = "certifi typing-extensions"
IMPORT = "mqttlite.sync"
CANNOT = "the same as mqttlite (threads)"


def publish(run: Run) -> None:
    """``publish()``, which hands each message to the network."""
    if run.qos:
        raise NotImplementedError("one thread that waits has no window")
    payload = run.payload
    with make_client(run) as client:
        run.start()
        for _ in range(run.count):
            client.publish(run.topic, payload)
        run.wait_delivered()
        run.stop()


def _count(run: Run, filters: list[str]) -> None:
    everything = Event()

    def count(_message: Message) -> None:
        run.received += 1
        if run.received == run.count:
            everything.set()

    client = make_client(run)
    for topic_filter in filters:
        client.subscribe(topic_filter, qos=run.qos, handler=count, buffer_size=run.buffer)
    with client:
        # Whatever was declared before the connection is subscribed to before this.
        client.subscribe("bench/ready")
        run.start()
        run.go()
        everything.wait()
        run.stop()


def receive(run: Run) -> None:
    """A handler."""
    _count(run, [run.topic])


def dispatch(run: Run) -> None:
    """A handler for each filter."""
    _count(run, run.filters)


def round_trips(run: Run) -> None:
    """The handler publishes the next message."""
    payload = run.payload

    def send() -> None:
        client.publish_nowait(run.topic, payload, qos=run.qos)

    on_message, measure = synchronous.round_trips(run, send)
    with make_client(run) as client:
        client.subscribe(run.topic, qos=run.qos, handler=on_message)
        measure()


def echo(run: Run) -> None:
    """The handler publishes the next message when one has come."""
    payload = run.payload
    everything = Event()
    sent = min(run.window, run.count)
    with make_client(run) as client:

        def again(_message: Message) -> None:
            nonlocal sent
            run.received += 1
            if sent < run.count:
                sent += 1
                client.publish_nowait(run.topic, payload, qos=run.qos)
            elif run.received == run.count:
                everything.set()

        client.subscribe(run.topic, qos=run.qos, handler=again)
        run.start()
        for _ in range(min(run.window, run.count)):
            client.publish_nowait(run.topic, payload, qos=run.qos)
        everything.wait()
        run.stop()
