# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
"""Paho with its thread (``loop_start()``) and callbacks; MQTT 3.1.1, its default.

``publish()`` does not wait. The limit of messages in flight (20) is raised to the window, the rest
waits in Paho's queue, which has no limit.
"""

import threading
from time import perf_counter_ns

import paho.mqtt.client as mqtt

from tests.benchmarks.adapters import synchronous
from tests.benchmarks.adapters.run import Run

PACKAGE = "paho-mqtt==2.2.0"
IMPORT = "paho.mqtt.client"
CANNOT = {"idle": "it uses select(), and so can have 340 connections in a process"}


def make_client(run: Run) -> mqtt.Client:
    """A client as for all scenarios."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(max(run.window, run.burst))
    if run.tls_context is not None:
        client.tls_set_context(run.tls_context)
    return client


def connect(run: Run, client: mqtt.Client) -> mqtt.Client:
    """Connect, and wait until it is."""
    connected = threading.Event()
    client.on_connect = lambda *_: connected.set()
    client.connect(run.host, run.port)
    client.loop_start()
    connected.wait()
    return client


def subscribe(run: Run, client: mqtt.Client, topic_filter: str) -> None:
    """Subscribe, and wait for the answer."""
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.subscribe(topic_filter, run.qos)
    subscribed.wait()


def close(client: mqtt.Client) -> None:
    """Disconnect, and end the thread."""
    client.disconnect()
    client.loop_stop()


def publish_all(run: Run, client: mqtt.Client) -> mqtt.MQTTMessageInfo:
    """Publish, and return the last one."""
    payload = run.payload
    for _ in range(run.count):
        info = client.publish(run.topic, payload, run.qos)
    return info


def publish(run: Run) -> None:
    """All at once, then wait for the last one."""
    client = connect(run, make_client(run))
    run.start()
    publish_all(run, client).wait_for_publish()
    run.wait_delivered()
    run.stop()
    close(client)


def receive(run: Run) -> None:
    """A callback."""
    client = connect(run, make_client(run))
    client.on_message, everything = synchronous.count(run)
    subscribe(run, client, run.topic)
    run.start()
    run.go()
    everything.wait()
    run.stop()
    close(client)


def dispatch(run: Run) -> None:
    """A callback for each filter."""
    client = connect(run, make_client(run))
    on_message, everything = synchronous.count(run)
    for topic_filter in run.filters:
        client.message_callback_add(topic_filter, on_message)
    for start in range(0, run.subscriptions, 1000):
        some = run.filters[start : start + 1000]
        subscribe(run, client, [(topic_filter, 0) for topic_filter in some])
    run.start()
    run.go()
    everything.wait()
    run.stop()
    close(client)


def trips(run: Run, burst: int) -> None:
    """Publish from one thread, receive in the other."""
    client = connect(run, make_client(run))
    payload = run.payload
    back = threading.Semaphore(0)
    started = 0

    def on_message(*_arguments: object) -> None:
        run.latencies.append(perf_counter_ns() - started)
        back.release()

    client.on_message = on_message
    subscribe(run, client, run.topic)
    run.start()
    for _ in range(run.count):
        started = perf_counter_ns()
        for _ in range(burst):
            client.publish(run.topic, payload, run.qos)
        for _ in range(burst):
            back.acquire()
    run.stop()
    close(client)


def round_trips(run: Run) -> None:
    """One at a time."""
    trips(run, 1)


def bursts(run: Run) -> None:
    """Many at a time."""
    trips(run, run.burst)


def connects(run: Run) -> None:
    """A new client each time."""
    run.start()
    for _ in range(run.count):
        close(connect(run, make_client(run)))
    run.stop()


def drain(run: Run) -> None:
    """``publish()`` queues before the first connection, too."""
    client = make_client(run)
    publish_all(run, client)
    run.start()
    connect(run, client)
    run.wait_delivered()
    run.stop()
    close(client)


def echo(run: Run) -> None:
    """A semaphore keeps the window."""
    client = connect(run, make_client(run))
    places = threading.Semaphore(run.window)
    everything = threading.Event()
    payload = run.payload

    def on_message(*_arguments: object) -> None:
        run.received += 1
        places.release()
        if run.received == run.count:
            everything.set()

    client.on_message = on_message
    subscribe(run, client, run.topic)
    run.start()
    for _ in range(run.count):
        places.acquire()
        client.publish(run.topic, payload, run.qos)
    everything.wait()
    run.stop()
    close(client)
