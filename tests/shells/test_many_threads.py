"""Many threads that use one Client at once: nothing is lost, everything in order, no deadlock."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mqttlite import Client, Delivery, Fate, Message, Subscription
from mqttlite.options import Reconnect
from mqttlite.testing import Broker
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT
from tests.shells.leaks import ignored_proxy
from tests.support.proxy import Proxy

pytestmark = pytest.mark.deadline(90.0)

PUBLISHERS = 6
COUNT = 120


@pytest.fixture(params=[None, 1e-6], ids=["usual turns", "short turns"])
def turns(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let threads take turns as often as usual, and as often as they can."""
    before = sys.getswitchinterval()
    if request.param is not None:
        sys.setswitchinterval(request.param)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def broker() -> Iterator[Broker]:
    """Run a broker that drops nothing."""
    with embedded(maximum_held=100_000) as broker:
        yield broker
        assert not broker.counters.dropped


class Crew:
    """Threads; what one of them raises is raised at the end."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def start(self, function: Callable[..., object], *args: Any) -> None:
        def run() -> None:
            try:
                function(*args)
            except BaseException as error:
                self._errors.append(error)

        thread = threading.Thread(target=run, name=f"crew {len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(6 * TIMEOUT)
            assert not thread.is_alive(), f"{thread} does not end; {self._errors}"
        if self._errors:
            raise self._errors[0]


@contextmanager
def crew() -> Iterator[Crew]:
    it = Crew()
    yield it
    it.join()


class Sequences:
    """What came, by the topic, whose last levels are the publisher and the QoS."""

    def __init__(self) -> None:
        self._numbers: defaultdict[str, list[int]] = defaultdict(list)
        self._left = PUBLISHERS * COUNT
        self.complete = threading.Event()

    def add(self, message: Message) -> None:
        assert message.topic.endswith(f"/{message.qos}")
        self._numbers[message.topic].append(int(message.payload))
        self._left -= 1
        if not self._left:
            self.complete.set()

    def check(self) -> None:
        assert len(self._numbers) == PUBLISHERS
        for topic, numbers in self._numbers.items():
            assert numbers == list(range(COUNT)), topic


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.usefixtures("turns")
def test_publishing_and_taking_in_many_threads(broker: Broker, topic: str, waits: bool) -> None:
    """By iterating, in a handler, and with acknowledgements that another thread sends."""
    iterated, handled, taken = Sequences(), Sequences(), Sequences()
    with Client(broker.url) as client, Client(broker.url) as other:

        def publish(number: int) -> None:
            deliveries: list[Delivery] = []
            own = client if number % 2 else other
            for i in range(COUNT):
                for qos in (0, 1, 2):
                    where, payload = f"{topic}/{number}/{qos}", b"%d" % i
                    if waits:
                        deliveries.append(own.publish(where, payload, qos=qos, timeout=TIMEOUT))
                    else:
                        deliveries.append(own.publish_nowait(where, payload, qos=qos))
            for delivery in deliveries:
                assert delivery.wait(TIMEOUT).fate is (
                    Fate.ACKNOWLEDGED if delivery.qos else Fate.SENT
                )

        def iterate(messages: Subscription) -> None:
            for message in messages:
                iterated.add(message)
                if iterated.complete.is_set():
                    return

        def take(messages: Subscription, pass_on: list[Message], more: threading.Event) -> None:
            while not taken.complete.is_set():
                message = messages.get(2 * TIMEOUT)
                pass_on.append(message)
                more.set()
                taken.add(message)

        def acknowledge(messages: list[Message], more: threading.Event) -> None:
            done = 0
            while done < PUBLISHERS * COUNT:
                assert more.wait(2 * TIMEOUT)
                more.clear()
                while done < len(messages):
                    messages[done].ack()
                    done += 1

        size = PUBLISHERS * COUNT
        options: dict[str, Any] = {"qos": 2, "buffer_size": size}
        to_acknowledge: list[Message] = []
        more = threading.Event()
        by_qos = [
            client.subscribe(f"{topic}/+/0", **options),
            client.subscribe(f"{topic}/+/1", handler=handled.add, **options),
            client.subscribe(f"{topic}/+/2", ack="manual", **options),
        ]
        with crew() as threads:
            threads.start(iterate, by_qos[0])
            threads.start(take, by_qos[2], to_acknowledge, more)
            threads.start(acknowledge, to_acknowledge, more)
            for number in range(PUBLISHERS):
                threads.start(publish, number)
            assert handled.complete.wait(6 * TIMEOUT)
        for sequences in (iterated, handled, taken):
            sequences.check()


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.usefixtures("turns")
def test_threads_that_wait_for_what_they_publish(broker: Broker, topic: str, qos: int) -> None:
    """Each sends one message and waits until it is back, over and over."""
    with Client(broker.url) as client:

        def go_round(number: int) -> None:
            with client.subscribe(f"{topic}/{number}", qos=qos) as messages:
                for i in range(COUNT):
                    if i % 2:
                        client.publish_nowait(f"{topic}/{number}", b"%d" % i, qos=qos)
                    else:
                        client.publish(f"{topic}/{number}", b"%d" % i, qos=qos, timeout=TIMEOUT)
                    assert messages.get(TIMEOUT).payload == b"%d" % i

        with crew() as threads:
            for number in range(PUBLISHERS):
                threads.start(go_round, number)


@pytest.mark.parametrize("size", [100, 30_000, 100_000])
@pytest.mark.usefixtures("turns")
def test_threads_that_publish_much(broker: Broker, topic: str, size: int) -> None:
    """They write themselves when much has gathered, and that is whole and in order."""
    count = 30
    with Client(broker.url, outbox_messages=20) as client, Client(broker.url) as other:
        messages = other.subscribe(f"{topic}/+", qos=0, buffer_size=PUBLISHERS * count)

        def publish(number: int) -> None:
            for i in range(count):
                payload = b"%d %d " % (number, i) + bytes([number]) * size
                if i % 3:
                    client.publish(f"{topic}/{number}", payload, timeout=2 * TIMEOUT)
                else:
                    client.publish(f"{topic}/{number}", payload, qos=1, timeout=2 * TIMEOUT)

        with crew() as threads:
            for number in range(PUBLISHERS):
                threads.start(publish, number)
            seen: defaultdict[int, list[int]] = defaultdict(list)
            for _ in range(PUBLISHERS * count):
                sender, i, rest = messages.get(2 * TIMEOUT).payload.split(b" ", 2)
                assert rest == bytes([int(sender)]) * size
                seen[int(sender)].append(int(i))
        for numbers in seen.values():
            assert numbers == list(range(count))


@pytest.mark.usefixtures("turns")
def test_threads_and_connections_that_are_cut(broker: Broker, topic: str) -> None:
    """Nothing of QoS 2 is lost, and nothing comes twice."""
    options: dict[str, Any] = {"reconnect": Reconnect(first_delay=0.01, maximum_delay=0.02)}
    with (
        Proxy(("127.0.0.1", broker.port)) as proxy,
        ignored_proxy(proxy),
        Client(broker.url) as receiver,
    ):
        messages = receiver.subscribe(f"{topic}/+", qos=2, buffer_size=PUBLISHERS * COUNT)
        proxy.cuts = 8
        proxy.cut_after = 2_500
        url = f"mqtt://127.0.0.1:{proxy.port}"
        with Client(url, client_id=f"c-{topic}", session_expiry_interval=60, **options) as client:

            def publish(number: int) -> None:
                for i in range(COUNT):
                    if i % 10:
                        client.publish_nowait(f"{topic}/{number}", b"%d" % i, qos=2)
                    else:
                        client.publish(f"{topic}/{number}", b"%d" % i, qos=2, timeout=4 * TIMEOUT)

            with crew() as threads:
                for number in range(PUBLISHERS):
                    threads.start(publish, number)
                seen: defaultdict[str, list[int]] = defaultdict(list)
                for _ in range(PUBLISHERS * COUNT):
                    message = messages.get(4 * TIMEOUT)
                    seen[message.topic].append(int(message.payload))
            client.close(2 * TIMEOUT)
            assert proxy.cuts_made == 8
        for numbers in seen.values():
            assert numbers == list(range(COUNT))
        assert not messages.buffered
