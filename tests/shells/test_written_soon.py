"""What is due is written though nothing else happens: no message, no ping, no other caller.

Acknowledgements are written together, with whatever is written next. The server here waits for
the last of them, and sends nothing before it has it; the client does not ping.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from mqttlite.message import Message
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.mischief import AT_ONCE, only_5
from tests.shells.peer import Call, Peer, Script, accept, serve
from tests.shells.wire import packet, text, two

COUNT = 7

SILENT: dict[str, Any] = {"keep_alive": 0}

qos_1_and_2 = pytest.mark.parametrize("qos", [1, 2])


def publish(payload: bytes, qos: int = 0, packet_id: int = 0, topic: str = "t") -> bytes:
    """A PUBLISH of MQTT 5.0."""
    identifier = two(packet_id) if qos else b""
    return packet(0x30 | qos << 1, text(topic) + identifier + b"\0" + payload)


def subscribed(call: Call, count: int = 1) -> None:
    """Let a client in, and let it subscribe."""
    accept("5.0", call)
    for _ in range(count):
        request = call.read_until(0x82)
        call.send(b"\x90\x04" + request[2:4] + b"\0\x02")


def answer(qos: int, packet_id: int) -> bytes:
    """PUBACK or PUBREC."""
    return bytes((0x40 if qos == 1 else 0x50, 2)) + two(packet_id)


def expect_answers(call: Call, qos: int, numbers: range = range(1, COUNT + 1)) -> None:
    """Wait for the answers to a burst: all of them, in order, and nothing else."""
    for number in numbers:
        assert call.read_packet() == answer(qos, number)


def gather(call: Call, qos: int, numbers: range) -> list[bytes]:
    """Wait for these answers, in order; return the packets that came between them."""
    others: list[bytes] = []
    for number in numbers:
        while (received := call.read_packet()) != answer(qos, number):
            assert received[0] >> 4 not in (4, 5)
            others.append(received)
    return others


def complete(call: Call, qos: int, count: int = COUNT) -> None:
    """Go on with the flows of a burst of QoS 2."""
    if qos == 2:
        call.send(b"".join(b"\x62\x02" + two(number) for number in range(1, count + 1)))
        for number in range(1, count + 1):
            assert call.read_packet() == b"\x70\x02" + two(number)


def burst(qos: int, count: int = COUNT) -> bytes:
    """Messages with the packet identifiers from 1."""
    return b"".join(publish(b"%d" % number, qos, number) for number in range(1, count + 1))


def bursts(qos: int, subscriptions: int = 1) -> Script:
    """Make a server: it says "end" when all of its burst is answered."""

    def script(call: Call) -> None:
        subscribed(call, subscriptions)
        call.send(burst(qos))
        expect_answers(call, qos)
        complete(call, qos)
        call.send(publish(b"end"))
        serve(call, is_5=True)

    return script


PAUSE: dict[str, Any] = {"buffer_size": 3, "when_full": "pause"}

buffers = pytest.mark.parametrize("buffer", [{}, PAUSE], ids=["large", "pause"])


@only_5
@qos_1_and_2
@buffers
@pytest.mark.parametrize("way", ["next", "get"])
async def test_the_last_is_acknowledged_when_the_next_is_wanted(
    bench: Lab, qos: int, way: str, buffer: dict[str, Any]
) -> None:
    with Peer(bursts(qos)) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            messages = await client.subscribe("t", qos=2, **buffer)
            for number in (b"%d" % i for i in range(1, COUNT + 1)):
                message = await (anext(messages) if way == "next" else messages.get(TIMEOUT))
                assert message.payload == number
            assert (await messages.get(TIMEOUT)).payload == b"end"


@only_5
@qos_1_and_2
@buffers
async def test_it_is_acknowledged_when_the_next_is_taken_and_nobody_comes_back(
    bench: Lab, qos: int, buffer: dict[str, Any]
) -> None:
    """All but the last one, while the program does something else."""
    answered = threading.Event()

    def script(call: Call) -> None:
        subscribed(call)
        call.send(burst(qos))
        expect_answers(call, qos, range(1, COUNT))
        answered.set()
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            messages = await client.subscribe("t", qos=2, **buffer)
            await bench.blocking(wait_until, lambda: messages.buffered == COUNT)
            for _ in range(COUNT):
                await messages.get(TIMEOUT)
            assert await bench.blocking(answered.wait, TIMEOUT)


@only_5
@qos_1_and_2
@buffers
async def test_the_last_is_acknowledged_when_the_next_is_wanted_in_vain(
    bench: Lab, qos: int, buffer: dict[str, Any]
) -> None:
    """By somebody who does not wait at all."""
    with Peer(bursts(qos)) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            messages = await client.subscribe("t", qos=2, **buffer)
            for _ in range(COUNT):
                await messages.get(TIMEOUT)
            with pytest.raises(TimeoutError):
                await messages.get(0)
            await bench.blocking(wait_until, lambda: messages.buffered)
            assert (await messages.get(0)).payload == b"end"


def wait_until(condition: Callable[[], object]) -> None:
    """Wait in a thread until something has come true."""
    changed = threading.Event()
    for _ in range(int(TIMEOUT * 1000)):
        if condition():
            return
        changed.wait(0.001)
    raise AssertionError("it never came true")


@only_5
@qos_1_and_2
@buffers
@pytest.mark.parametrize("plain", [True, False])
async def test_the_last_is_acknowledged_after_its_handler(
    bench: Lab, qos: int, plain: bool, buffer: dict[str, Any]
) -> None:
    got = bench.queue()

    async def handler(message: Message) -> None:
        got.put(message)

    with Peer(bursts(qos)) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            await client.subscribe("t", qos=2, handler=got.put if plain else handler, **buffer)
            for number in (b"%d" % i for i in range(1, COUNT + 1)):
                assert (await got.get()).payload == number
            assert (await got.get()).payload == b"end"


@only_5
@qos_1_and_2
async def test_the_last_of_several_hundred_is_acknowledged_after_its_handler(
    bench: Lab, qos: int
) -> None:
    """As many as a handler gets before others have their turn, and one less, and one more."""
    counts = [99, 100, 101, 199, 200, 201]
    got = bench.queue()

    def script(call: Call) -> None:
        subscribed(call)
        for count in counts:
            call.send(burst(qos, count))
            expect_answers(call, qos, range(1, count + 1))
            complete(call, qos, count)
        call.send(publish(b"end"))
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            await client.subscribe("t", qos=2, handler=got.put)
            for _ in range(sum(counts)):
                await got.get()
            assert (await got.get()).payload == b"end"


@only_5
@qos_1_and_2
@pytest.mark.parametrize("count", [1, 99, 100, 101])
async def test_the_last_is_acknowledged_while_another_handler_runs(
    bench: Lab, qos: int, count: int
) -> None:
    """One that takes its time; those of a Client share a thread."""
    entered, leave, got = bench.queue(), bench.queue(), bench.queue()
    answered = threading.Event()

    async def wait(_message: Message) -> None:
        entered.put(None)
        await leave.get()

    async def handler(message: Message) -> None:
        got.put(message)
        if message.payload == b"1":
            await leave.get()

    def script(call: Call) -> None:
        subscribed(call, 2)
        call.send(burst(qos, count) + publish(b"", topic="slow"))
        expect_answers(call, qos, range(1, count + 1))
        answered.set()
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            await client.subscribe("t", qos=2, handler=handler)
            await client.subscribe("slow", handler=wait)
            await got.get()
            await bench.blocking(wait_until, lambda: client.counters.received_messages > count)
            leave.put(None)
            await entered.get()
            if bench.kind.name == "aio" or count <= 100:  # so many in a row
                assert await bench.blocking(answered.wait, TIMEOUT)
            leave.put(None)
            assert await bench.blocking(answered.wait, TIMEOUT)


@only_5
@qos_1_and_2
@pytest.mark.parametrize("order", ["as they came", "the other way round", "the first one last"])
@pytest.mark.parametrize("when_full", ["drop_oldest", "pause"])
async def test_acknowledged_by_the_program(
    bench: Lab, qos: int, order: str, when_full: Any
) -> None:
    with Peer(bursts(qos)) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            messages = await client.subscribe(
                "t", qos=2, ack="manual", buffer_size=COUNT, when_full=when_full
            )
            taken = [await messages.get(TIMEOUT) for _ in range(COUNT)]
            if order == "the other way round":
                taken.reverse()
            elif order == "the first one last":
                taken.append(taken.pop(0))
            for message in taken:
                message.ack()
            # Nobody calls the client until the server has seen them all.
            await bench.blocking(wait_until, lambda: messages.buffered)
            assert (await messages.get(TIMEOUT)).payload == b"end"


@only_5
@qos_1_and_2
async def test_acknowledged_by_the_program_in_its_handler(bench: Lab, qos: int) -> None:
    """The first one in the last call, which is the one that lets all of them go."""
    got = bench.queue()
    held: list[Message] = []

    async def handler(message: Message) -> None:
        got.put(message)
        if not message.qos:
            return
        held.append(message)
        if len(held) == COUNT:
            for each in reversed(held):
                each.ack()

    with Peer(bursts(qos)) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            await client.subscribe("t", qos=2, ack="manual", handler=handler)
            for _ in range(COUNT):
                await got.get()
            assert (await got.get()).payload == b"end"


@only_5
@qos_1_and_2
@pytest.mark.parametrize("taken", [0, 1, COUNT])
@pytest.mark.parametrize("way", ["unsubscribe", "client", "block"])
async def test_ending_a_subscription_acknowledges(
    bench: Lab, qos: int, taken: int, way: str
) -> None:
    """What was taken, and what was not."""
    if way == "client" and taken != COUNT:
        pytest.skip("the messages can still be taken")

    answered = threading.Event()

    def script(call: Call) -> None:
        subscribed(call)
        call.send(burst(qos))
        seen: list[bytes] = []
        unsubscribed = b""
        while len(seen) < COUNT or not unsubscribed:
            received = call.read_packet()
            if received[0] == 0xA2:
                unsubscribed = received
            else:
                seen.append(received)
        assert seen == [answer(qos, number) for number in range(1, COUNT + 1)]
        complete(call, qos)
        answered.set()
        call.send(b"\xb0\x04" + unsubscribed[2:4] + b"\0\0")
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            messages = await client.subscribe("t", qos=2)
            for _ in range(taken):
                await messages.get(TIMEOUT)
            await bench.blocking(wait_until, lambda: messages.buffered == COUNT - taken)
            if way == "unsubscribe":
                await messages.unsubscribe(TIMEOUT)
            elif way == "block":
                async with messages:
                    pass
            else:
                with pytest.raises(TimeoutError):
                    await messages.get(0)
                await client.unsubscribe("t", timeout=TIMEOUT)
            assert answered.is_set()


@only_5
@qos_1_and_2
async def test_closing_acknowledges_what_the_handler_has_done(bench: Lab, qos: int) -> None:
    """The handler is in its last message when the client closes."""
    entered, leave = bench.queue(), bench.queue()

    async def handler(message: Message) -> None:
        if message.payload == b"%d" % COUNT:
            entered.put(message)
            await leave.get()

    def script(call: Call) -> None:
        subscribed(call)
        call.send(burst(qos))
        [published] = gather(call, qos, range(1, COUNT)) or [call.read_packet()]
        assert published[0] == 0x32
        expect_answers(call, qos, range(COUNT, COUNT + 1))
        call.send(b"\x40\x02" + published[5:7])
        assert call.read_packet()[0] == 0xE0

    with Peer(script) as peer:
        client = bench.client(peer.url, **SILENT)
        await client.connect()
        await client.subscribe("t", qos=2, handler=handler)
        await entered.get()
        delivery = client.publish_nowait("a", qos=1)  # which the server answers after the handler
        closing = bench.start(client.close(TIMEOUT))
        leave.put(None)
        await closing.result()
        await delivery.wait(TIMEOUT)


@only_5
@qos_1_and_2
async def test_a_message_of_two_subscriptions(bench: Lab, qos: int) -> None:
    """The one that is done last has it acknowledged, whoever that is."""
    got = bench.queue()

    def script(call: Call) -> None:
        subscribed(call, 2)
        call.send(burst(qos))
        expect_answers(call, qos)
        complete(call, qos)
        call.send(publish(b"end"))
        serve(call, is_5=True)

    with Peer(script) as peer:
        options: dict[str, Any] = {"use_subscription_identifiers": False, **SILENT}
        async with bench.client(peer.url, **options) as client:
            messages = await client.subscribe("t", qos=2)
            await client.subscribe("t/#", qos=2, handler=got.put)
            for _ in range(COUNT):
                await got.get()
            for _ in range(COUNT):
                await messages.get(TIMEOUT)
            assert (await messages.get(TIMEOUT)).payload == b"end"


# --- handlers that fail


@only_5
@qos_1_and_2
async def test_a_handler_that_raises_holds_back_nothing(bench: Lab, qos: int) -> None:
    """The messages behind its own are acknowledged at once: they waited only for their turn."""
    leave, raised = bench.queue(), bench.queue()

    async def fail(_message: Message) -> None:
        await leave.get()
        raise KeyError("a fault")

    def script(call: Call) -> None:
        subscribed(call, 2)
        call.send(publish(b"bad", qos, 100, "bad"))
        call.send(burst(qos))
        expect_answers(call, qos)
        complete(call, qos)
        call.send(publish(b"end"))
        serve(call, is_5=True)

    def on_error(error: Exception, _message: Message) -> None:
        raised.put(error)

    with Peer(script) as peer:
        async with bench.client(peer.url, on_error=on_error, **SILENT) as client:
            await client.subscribe("bad", qos=2, handler=fail)
            good = await client.subscribe("t", qos=2)
            for _ in range(COUNT):
                await good.get(TIMEOUT)
            with pytest.raises(TimeoutError):
                await good.get(0)
            leave.put(None)
            assert isinstance(await raised.get(), KeyError)
            assert (await good.get(2.0)).payload == b"end"


@only_5
@qos_1_and_2
@pytest.mark.parametrize("window", [1, 3, 20])
async def test_handlers_that_raise_have_the_connection_made_anew(
    bench: Lab, qos: int, window: int
) -> None:
    """A server whose window is full of them sends nothing more, and says nothing more."""
    got = bench.queue()
    count = min(window, 8)  # so many may be left to be delivered again

    async def handler(message: Message) -> None:
        if message.payload not in (b"again", b"end"):
            raise KeyError("a fault")
        got.put(message)

    def first(call: Call) -> None:
        subscribed(call)
        call.send(burst(qos, count))
        assert call.read_packet()[0] == 0xE0

    def second(call: Call) -> None:
        subscribed(call)
        call.send(publish(b"again", qos, 1))
        expect_answers(call, qos, range(1, 2))
        complete(call, qos, 1)
        call.send(publish(b"end"))
        serve(call, is_5=True)

    with Peer(first, second) as peer:
        options: dict[str, Any] = {"receive_maximum": window, "reconnect": AT_ONCE, **SILENT}
        async with bench.client(peer.url, **options) as client:
            await client.subscribe("t", qos=2, handler=handler)
            assert (await got.get(2.0)).payload == b"again"
            assert (await got.get()).payload == b"end"


# --- publishing


@only_5
async def test_every_publication_is_written(bench: Lab) -> None:
    """The first one at once, the others without another one to push them."""
    counts = [1, 1, 2, 3, 1, 5]  # the very first message to a topic takes a longer way

    def script(call: Call) -> None:
        subscribed(call)
        for count in counts:
            for number in range(count):
                assert call.read_packet() == publish(b"%d" % number, topic="a")
            call.send(publish(b"%d" % count))
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            messages = await client.subscribe("t", qos=2)
            for count in counts:
                for number in range(count):
                    if number % 2:
                        client.publish_nowait("a", b"%d" % number)
                    else:
                        await client.publish("a", b"%d" % number)
                assert (await messages.get(TIMEOUT)).payload == b"%d" % count


@only_5
@pytest.mark.parametrize("size", [10, 70_000, 200_000, 3_000_000])
async def test_publications_of_any_size_are_written(bench: Lab, size: int) -> None:
    """Those of a burst, small ones before and behind the large one."""
    large = bytes(size)

    def script(call: Call) -> None:
        subscribed(call)
        for _ in range(3):
            for payload in (b"1", large, b"2"):
                assert call.read_packet() == publish(payload, topic="a")
            call.send(publish(b"seen"))
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            messages = await client.subscribe("t", qos=2)
            for _ in range(3):
                for payload in (b"1", large, b"2"):
                    client.publish_nowait("a", payload)
                assert (await messages.get(TIMEOUT)).payload == b"seen"


@only_5
@qos_1_and_2
async def test_publishing_between_the_acknowledgements(bench: Lab, qos: int) -> None:
    """What is written at once takes along what is due, and nothing is written twice."""
    published: list[bytes] = []

    def script(call: Call) -> None:
        subscribed(call)
        call.send(burst(qos))
        published.extend(gather(call, qos, range(1, COUNT + 1)))
        call.send(publish(b"end"))
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url, **SILENT) as client:
            messages = await client.subscribe("t", qos=2)
            for number in range(COUNT):
                await messages.get(TIMEOUT)
                client.publish_nowait("b", b"%d" % number)
            assert (await messages.get(TIMEOUT)).payload == b"end"
    assert published == [publish(b"%d" % number, topic="b") for number in range(COUNT)]
