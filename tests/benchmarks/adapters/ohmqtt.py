# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportAttributeAccessIssue=false
# pyright: reportMissingModuleSource=false
"""ohmqtt, with its own thread for the connection; MQTT 5, which is all it has.

``publish()`` does not wait and gives a handle, which can be waited for. The program's thread
publishes a window's worth and then waits for the older half of it, for each wait for a handle may
be a change of threads. Callbacks belong to filters and run in the client's thread.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from threading import Event
from uuid import uuid4

from ohmqtt import Client, MQTTConnectProps

from tests.benchmarks.adapters import synchronous
from tests.benchmarks.adapters.run import PATIENCE, Run

PACKAGE = "ohmqtt==1.2.1"
IMPORT = "ohmqtt"
CANNOT = {}


def connect(client: Client, run: Run, client_id: str, **options: object) -> None:
    """Connect, and wait until that is done."""
    scheme = "mqtts" if run.ca_file else "mqtt"
    client.connect(
        f"{scheme}://{run.host}:{run.port}",
        client_id=client_id,
        keepalive_interval=60,
        tls_context=run.tls_context,
        **options,
    )
    client.wait_for_connect(PATIENCE)


@contextlib.contextmanager
def new_client() -> Iterator[Client]:
    """A client that is not connected, with its thread; in the end it is, and disconnects."""
    with Client() as client:
        yield client
        client.disconnect()
        client.wait_for_disconnect(PATIENCE)
    client.wait_for_shutdown(PATIENCE)


@contextlib.contextmanager
def make_client(run: Run) -> Iterator[Client]:
    """A connected client."""
    with new_client() as client:
        connect(client, run, f"bench-{uuid4().hex}", clean_start=True)
        yield client


def subscribe(
    client: Client, filters: list[str], qos: int, on_message: Callable[..., None]
) -> None:
    """Subscribe, and wait until that is acknowledged."""
    for handle in [client.subscribe(filter_, on_message, qos) for filter_ in filters]:
        handle.wait_for_ack(PATIENCE)


def publish(run: Run) -> None:
    """From the program's thread; at QoS 0 there is nothing to wait for."""
    payload = run.payload
    with make_client(run) as client:
        run.start()
        if run.qos:
            handles = deque()
            for _ in range(run.count):
                if len(handles) == run.window:
                    for _ in range((run.window + 1) // 2):
                        handles.popleft().wait_for_ack(PATIENCE)
                handles.append(client.publish(run.topic, payload, qos=run.qos))
            for handle in handles:
                handle.wait_for_ack(PATIENCE)
        else:
            for _ in range(run.count):
                client.publish(run.topic, payload)
        run.wait_delivered()
        run.stop()


def receive(run: Run) -> None:
    """A callback that counts."""
    on_message, done = synchronous.count(run)
    with make_client(run) as client:
        subscribe(client, [run.topic], run.qos, on_message)
        synchronous.receive(run, done)


def round_trips(run: Run) -> None:
    """The callback publishes the next message: so there is no change of threads."""
    payload = run.payload

    def send() -> None:
        client.publish(run.topic, payload, qos=run.qos)

    on_message, measure = synchronous.round_trips(run, send)
    with make_client(run) as client:
        subscribe(client, [run.topic], run.qos, on_message)
        measure()


def bursts(run: Run) -> None:
    """The program's thread publishes a burst, and waits until it is back."""
    payload = run.payload

    def send() -> None:
        for _ in range(run.burst):
            client.publish(run.topic, payload, qos=run.qos)

    on_message, measure = synchronous.bursts(run, send)
    with make_client(run) as client:
        subscribe(client, [run.topic], run.qos, on_message)
        measure()


def connects(run: Run) -> None:
    """A new client each time."""
    synchronous.connects(run, make_client)


def idle(run: Run) -> None:
    """Each has a thread."""
    synchronous.idle(run, make_client)


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
            client.publish(run.topic, payload, qos=run.qos)
        elif run.received == run.count:
            done.set()

    with make_client(run) as client:
        subscribe(client, [run.topic], run.qos, on_message)
        run.start()
        for _ in range(min(run.window, run.count)):
            client.publish(run.topic, payload, qos=run.qos)
        synchronous.finish(done, lambda: run.received)
        run.wait_delivered()
        run.stop()


def dispatch(run: Run) -> None:
    """A callback for each filter."""
    on_message, done = synchronous.count(run)
    with make_client(run) as client:
        subscribe(client, run.filters, run.qos, on_message)
        synchronous.receive(run, done)


def drain(run: Run) -> None:
    """It queues always, but drops that if the server does not have the session any more."""
    payload = run.payload
    client_id = f"bench-{uuid4().hex}"
    properties = MQTTConnectProps(SessionExpiryInterval=60)
    with new_client() as client:
        connect(client, run, client_id, connect_properties=properties)
        run.cut()
        client.wait_for_disconnect(PATIENCE)
        handles = [client.publish(run.topic, payload, qos=run.qos) for _ in range(run.count)]
        run.restore()
        run.start()
        connect(client, run, client_id, connect_properties=properties)
        handles[-1].wait_for_ack(PATIENCE)
        run.wait_delivered()
        run.stop()
