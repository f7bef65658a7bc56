# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""The AWS Common Runtime, in C with threads of its own; MQTT 5.

``publish()`` does not wait and gives a future; the callback of a future that is done publishes the
next message, in the client's thread. What it does by default for AWS (names of the SDK in the
connection, limits as of AWS IoT Core) is off. It has no QoS 2.

Only its client for MQTT 3.1.1 has callbacks for filters: it is the one of ``dispatch``.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import cache
from threading import Event
from uuid import uuid4

from awscrt import io, mqtt, mqtt5

from tests.benchmarks.adapters import synchronous
from tests.benchmarks.adapters.run import PATIENCE, Run

PACKAGE = "awscrt==0.38.1"
IMPORT = "awscrt.mqtt5"
CANNOT = {"qos 2": "its client for MQTT 5 has QoS 0 and 1 only"}


def ignore(_data: object) -> None:
    """What the callback is when nothing is to be done."""


@cache
def tls_context(ca_file: str | None) -> io.ClientTlsContext | None:
    """With TLS, one that trusts the authority."""
    if ca_file is None:
        return None
    options = io.TlsContextOptions()
    options.override_default_trust_store_from_path(ca_filepath=ca_file)
    return io.ClientTlsContext(options)


@contextlib.contextmanager
def new_client(
    run: Run, on_message: Callable[..., None] = ignore
) -> Iterator[tuple[mqtt5.Client, Event]]:
    """A client that is not connected, and the event that it is."""
    if run.qos == 2:
        raise NotImplementedError(CANNOT["qos 2"])
    connected, stopped = Event(), Event()
    client = mqtt5.Client(
        mqtt5.ClientOptions(
            host_name=run.host,
            port=run.port,
            tls_ctx=tls_context(run.ca_file),
            connect_options=mqtt5.ConnectPacket(
                client_id=f"bench-{uuid4().hex}", keep_alive_interval_sec=60
            ),
            extended_validation_and_flow_control_options=(
                mqtt5.ExtendedValidationAndFlowControlOptions.NONE
            ),
            on_publish_callback_fn=on_message,
            on_lifecycle_event_connection_success_fn=lambda _data: connected.set(),
            on_lifecycle_event_stopped_fn=lambda _data: stopped.set(),
            disable_metrics=True,
        )
    )
    try:
        yield client, connected
    finally:
        client.stop(mqtt5.DisconnectPacket())
        synchronous.finish(stopped, stopped.is_set)


@contextlib.contextmanager
def make_client(run: Run, on_message: Callable[..., None] = ignore) -> Iterator[mqtt5.Client]:
    """A connected client."""
    with new_client(run, on_message) as (client, connected):
        client.start()
        synchronous.finish(connected, connected.is_set)
        yield client


def subscribe(client: mqtt5.Client, run: Run) -> None:
    """Subscribe, and wait until that is acknowledged."""
    subscription = mqtt5.Subscription(run.topic, mqtt5.QoS(run.qos))
    client.subscribe(mqtt5.SubscribePacket([subscription])).result(PATIENCE)


def make_packet(run: Run) -> mqtt5.PublishPacket:
    """What to publish."""
    return mqtt5.PublishPacket(topic=run.topic, payload=run.payload, qos=mqtt5.QoS(run.qos))


def publish(run: Run) -> None:
    """A message for each that is done: acknowledged, or at QoS 0 written."""
    packet = make_packet(run)
    done = Event()
    finished = 0
    left = run.count - min(run.narrow_window, run.count)

    def on_done(_future: object) -> None:
        nonlocal finished, left
        finished += 1
        if left:
            left -= 1
            client.publish(packet).add_done_callback(on_done)
        elif finished == run.count:
            done.set()

    with make_client(run) as client:
        run.start()
        for _ in range(min(run.narrow_window, run.count)):
            client.publish(packet).add_done_callback(on_done)
        synchronous.finish(done, lambda: finished)
        run.wait_delivered()
        run.stop()


def receive(run: Run) -> None:
    """A callback that counts."""
    done = Event()

    def on_message(_data: object) -> None:
        run.received += 1
        if run.received == run.count:
            done.set()

    with make_client(run, on_message) as client:
        subscribe(client, run)
        synchronous.receive(run, done)


def round_trips(run: Run) -> None:
    """The callback publishes the next message: so there is no change of threads."""
    packet = make_packet(run)

    def send() -> None:
        client.publish(packet)

    on_message, measure = synchronous.round_trips(run, send)
    with make_client(run, on_message) as client:
        subscribe(client, run)
        measure()


def bursts(run: Run) -> None:
    """The program's thread publishes a burst, and waits until it is back."""
    packet = make_packet(run)

    def send() -> None:
        for _ in range(run.burst):
            client.publish(packet)

    on_message, measure = synchronous.bursts(run, send)
    with make_client(run, on_message) as client:
        subscribe(client, run)
        measure()


def connects(run: Run) -> None:
    """A new client each time."""
    synchronous.connects(run, make_client)


def idle(run: Run) -> None:
    """They share the threads of the library."""
    synchronous.idle(run, make_client)


def echo(run: Run) -> None:
    """The callback publishes a message for each that has come."""
    packet = make_packet(run)
    done = Event()
    left = run.count - min(run.window, run.count)

    def on_message(_data: object) -> None:
        nonlocal left
        run.received += 1
        if left:
            left -= 1
            client.publish(packet)
        elif run.received == run.count:
            done.set()

    with make_client(run, on_message) as client:
        subscribe(client, run)
        run.start()
        for _ in range(min(run.window, run.count)):
            client.publish(packet)
        synchronous.finish(done, lambda: run.received)
        run.wait_delivered()
        run.stop()


def dispatch(run: Run) -> None:
    """A callback for each filter, with MQTT 3.1.1."""
    done = Event()

    def on_message(**_: object) -> None:
        run.received += 1
        if run.received == run.count:
            done.set()

    connection = mqtt.Connection(
        mqtt.Client(tls_ctx=tls_context(run.ca_file)),
        run.host,
        run.port,
        f"bench-{uuid4().hex}",
        disable_metrics=True,
    )
    connection.connect().result(PATIENCE)
    qos = mqtt.QoS(run.qos)
    for future, _ in [connection.subscribe(filter_, qos, on_message) for filter_ in run.filters]:
        future.result(PATIENCE)
    synchronous.receive(run, done)
    connection.disconnect().result(PATIENCE)


def drain(run: Run) -> None:
    """What is published before the client has been started is queued, at QoS 1."""
    packet = make_packet(run)
    with new_client(run) as (client, _):
        futures = [client.publish(packet) for _ in range(run.count)]
        run.start()
        client.start()
        for future in futures:
            future.result(PATIENCE)
        run.wait_delivered()
        run.stop()
