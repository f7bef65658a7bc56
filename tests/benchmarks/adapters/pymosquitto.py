# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""PyMosquitto, which is libmosquitto in C by ctypes; MQTT 3.1.1, its default.

Its client without asyncio, which is the fastest by its own figures, and the thread of libmosquitto.
``publish()`` does not wait. Callbacks run in that thread; the one for what has been acknowledged
publishes the next message. libmosquitto's limit for messages in flight (20) is raised.
libmosquitto itself has to be on the machine: it is in the packages of the system.
"""

import contextlib
from collections.abc import Callable, Iterator
from threading import Event

from pymosquitto import Mosquitto
from pymosquitto.constants import Option
from pymosquitto.helpers import TopicMatcher

from tests.benchmarks.adapters import synchronous
from tests.benchmarks.adapters.run import Run

PACKAGE = "pymosquitto==0.4.1"
IMPORT = "pymosquitto"
CANNOT = {
    "idle": "it uses select(), and so can have 340 connections in a process",
    "drain": "publish() raises an error while there is no connection, but keeps the message",
}


@contextlib.contextmanager
def make_client(run: Run, on_message: Callable[..., None] | None = None) -> Iterator[Mosquitto]:
    """A connected client, with its thread."""
    connected = Event()
    client = Mosquitto()
    client.max_inflight_messages_set(max(run.window, run.burst))
    client.int_option(Option.TCP_NODELAY, 1)
    if run.ca_file:
        client.tls_set(run.ca_file, None, None, None, None)
    client.on_connect = lambda *_: connected.set()
    if on_message:
        client.on_message = on_message
    client.connect(run.host, run.port)
    client.loop_start()
    try:
        synchronous.finish(connected, connected.is_set)
        yield client
        client.disconnect()
    finally:
        client.loop_stop(True)


def subscribe(client: Mosquitto, *filters: str, qos: int) -> None:
    """Subscribe, and wait until that is acknowledged."""
    done = Event()
    answers = 0

    def on_subscribe(*_: object) -> None:
        nonlocal answers
        answers += 1
        if answers == len(filters):
            done.set()

    client.on_subscribe = on_subscribe
    for filter_ in filters:
        client.subscribe(filter_, qos)
    synchronous.finish(done, lambda: answers)


def publish(run: Run) -> None:
    """At QoS 1 and 2 a message for each that has been acknowledged; at QoS 0 all at once."""
    payload = run.payload
    done = Event()
    acknowledged = 0
    left = run.count - min(run.narrow_window, run.count)

    def on_publish(*_: object) -> None:
        nonlocal acknowledged, left
        acknowledged += 1
        if left:
            left -= 1
            client.publish(run.topic, payload, run.qos)
        elif acknowledged == run.count:
            done.set()

    with make_client(run) as client:
        run.start()
        if run.qos:
            client.on_publish = on_publish
            for _ in range(min(run.narrow_window, run.count)):
                client.publish(run.topic, payload, run.qos)
            synchronous.finish(done, lambda: acknowledged)
        else:
            for _ in range(run.count):
                client.publish(run.topic, payload)
        run.wait_delivered()
        run.stop()


def receive(run: Run) -> None:
    """A callback that counts."""
    on_message, done = synchronous.count(run)
    with make_client(run, on_message) as client:
        subscribe(client, run.topic, qos=run.qos)
        synchronous.receive(run, done)


def round_trips(run: Run) -> None:
    """The callback publishes the next message: so there is no change of threads."""
    payload = run.payload

    def send() -> None:
        client.publish(run.topic, payload, run.qos)

    on_message, measure = synchronous.round_trips(run, send)
    with make_client(run, on_message) as client:
        subscribe(client, run.topic, qos=run.qos)
        measure()


def bursts(run: Run) -> None:
    """The program's thread publishes a burst, and waits until it is back."""
    payload = run.payload

    def send() -> None:
        for _ in range(run.burst):
            client.publish(run.topic, payload, run.qos)

    on_message, measure = synchronous.bursts(run, send)
    with make_client(run, on_message) as client:
        subscribe(client, run.topic, qos=run.qos)
        measure()


def connects(run: Run) -> None:
    """A new client each time."""
    synchronous.connects(run, make_client)


def echo(run: Run) -> None:
    """The callback publishes a message for each that has come."""
    payload = run.payload
    done = Event()
    left = run.count - min(run.window, run.count)

    def on_message(*_: object) -> None:
        nonlocal left
        run.received += 1
        if left:
            left -= 1
            client.publish(run.topic, payload, run.qos)
        elif run.received == run.count:
            done.set()

    with make_client(run, on_message) as client:
        subscribe(client, run.topic, qos=run.qos)
        run.start()
        for _ in range(min(run.window, run.count)):
            client.publish(run.topic, payload, run.qos)
        synchronous.finish(done, lambda: run.received)
        run.wait_delivered()
        run.stop()


def dispatch(run: Run) -> None:
    """Its matcher for topics, which asks all filters."""
    done = Event()
    matcher = TopicMatcher()

    def on_topic(_message: object) -> None:
        run.received += 1
        if run.received == run.count:
            done.set()

    def on_message(_client: Mosquitto, _userdata: object, message: object) -> None:
        for callback in matcher.find(message.topic):
            callback(message)

    for filter_ in run.filters:
        matcher.set_topic_callback(filter_, on_topic)
    with make_client(run, on_message) as client:
        subscribe(client, *run.filters, qos=run.qos)
        synchronous.receive(run, done)
