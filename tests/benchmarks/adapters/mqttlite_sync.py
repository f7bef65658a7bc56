"""Client, with threads: ``publish_nowait()`` within a window, messages are iterated."""

from collections import deque
from threading import Event, Semaphore, Thread
from time import perf_counter_ns

from mqttlite import TLS, Client, Delivery, Reconnect
from tests.benchmarks.adapters import synchronous
from tests.benchmarks.adapters.run import Run

LABEL = "mqttlite (threads)"
PACKAGE = "certifi typing-extensions"
IMPORT = "mqttlite.sync"
CANNOT = {"dispatch": "the same as mqttlite (threads, handlers)"}


def make_client(run: Run) -> Client:
    """A client as for all scenarios."""
    return Client(
        host=run.host, port=run.port, tls=TLS(ca_file=run.ca_file) if run.ca_file else None
    )


def publish(run: Run) -> None:
    """When the window is full, the oldest message has to be waited for."""
    payload = run.payload
    deliveries: deque[Delivery] = deque()
    with make_client(run) as client:
        run.start()
        for _ in range(run.count):
            if len(deliveries) == run.window:
                deliveries.popleft().wait()
            deliveries.append(client.publish_nowait(run.topic, payload, qos=run.qos))
        for delivery in deliveries:
            delivery.wait()
        run.wait_delivered()
        run.stop()


def receive(run: Run) -> None:
    """Iterate."""
    with make_client(run) as client:
        messages = client.subscribe(run.topic, qos=run.qos, buffer_size=run.buffer)
        run.start()
        run.go()
        for _ in messages:
            run.received += 1
            if run.received == run.count:
                break
        run.stop()


def round_trips(run: Run) -> None:
    """One at a time, and each is waited for."""
    payload = run.payload
    with make_client(run) as client:
        messages = client.subscribe(run.topic, qos=run.qos)
        run.start()
        for _ in range(run.count):
            started = perf_counter_ns()
            client.publish(run.topic, payload, qos=run.qos)
            messages.get()
            run.latencies.append(perf_counter_ns() - started)
        run.stop()


def bursts(run: Run) -> None:
    """Publish without waiting, then take what comes."""
    payload = run.payload
    with make_client(run) as client:
        messages = client.subscribe(run.topic, qos=run.qos)
        run.start()
        for _ in range(run.count):
            started = perf_counter_ns()
            for _ in range(run.burst):
                client.publish_nowait(run.topic, payload, qos=run.qos)
            for _ in range(run.burst):
                messages.get()
                run.latencies.append(perf_counter_ns() - started)
        run.stop()


def connects(run: Run) -> None:
    """A new client each time."""
    synchronous.connects(run, make_client)


def idle(run: Run) -> None:
    """Each with its thread."""
    synchronous.idle(run, make_client)


def drain(run: Run) -> None:
    """What is published after the connection has been lost waits in the outbox."""
    payload = run.payload
    lost = Event()
    client = Client(
        host=run.host,
        port=run.port,
        maximum_in_flight=run.window,
        reconnect=Reconnect(first_delay=0.01, maximum_delay=0.01),
        on_disconnect=lambda _event: lost.set(),
        on_connect=lambda _event: run.start(),  # the second one counts
    )
    with client:
        run.cut()
        lost.wait()
        deliveries = [
            client.publish_nowait(run.topic, payload, qos=run.qos) for _ in range(run.count)
        ]
        run.restore()
        for delivery in deliveries:
            delivery.wait()
        run.wait_delivered()
        run.stop()


def echo(run: Run) -> None:
    """One thread publishes, the other one takes what comes."""
    payload = run.payload
    places = Semaphore(run.window)
    with make_client(run) as client:
        messages = client.subscribe(run.topic, qos=run.qos)

        def work() -> None:
            for _ in range(run.count):
                places.acquire()
                client.publish_nowait(run.topic, payload, qos=run.qos)

        thread = Thread(target=work)
        run.start()
        thread.start()
        for _ in messages:
            run.received += 1
            places.release()
            if run.received == run.count:
                break
        run.stop()
        thread.join()
