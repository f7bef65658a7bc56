"""A server that answers twice, in the wrong order, with the wrong packet, or that refuses."""

import threading

import pytest

from mqttlite.enums import ClosedBy, Fate, ReasonCode
from mqttlite.errors import ProtocolError, PublishError
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.mischief import AT_ONCE, after_accepting, assert_told, first_meets, only_5
from tests.shells.peer import Call, Peer, accept, decent, serve

REFUSALS = [0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]

# The first packet identifier that a client uses is 1.


# --- what fits nothing ends the connection


def _twice(packet: str) -> list[str]:
    return [packet, packet]


WRONG_ANSWERS = [
    pytest.param(0, ["40020001"], "PUBACK.*1, which awaits nothing", id="PUBACK, unknown"),
    pytest.param(1, _twice("40020001"), "PUBACK.*1, which awaits nothing", id="PUBACK twice"),
    pytest.param(1, ["40020002"], "PUBACK.*2, which awaits nothing", id="PUBACK for another"),
    pytest.param(1, ["50020001"], "PUBREC.*QoS 1", id="PUBREC for QoS 1"),
    pytest.param(1, ["70020001"], "PUBCOMP.*awaits PUBACK", id="PUBCOMP for QoS 1"),
    pytest.param(2, ["40020001"], "PUBACK.*awaits PUBREC", id="PUBACK for QoS 2"),
    pytest.param(2, ["70020001"], "PUBCOMP.*awaits PUBREC", id="PUBCOMP without PUBREC"),
    pytest.param(2, ["50020001", "40020001"], "awaits PUBCOMP", id="PUBACK after PUBREC"),
]


@rule(21)
@pytest.mark.parametrize(("qos", "packets", "words"), WRONG_ANSWERS)
async def test_answers_that_fit_nothing(
    bench: Lab, qos: int, packets: list[str], words: str
) -> None:
    """They end the connection; what was not answered before is sent again in the next one."""
    version = str(bench.version)

    def misbehave(call: Call) -> None:
        if qos:
            call.read_packet()
        for packet in packets:
            call.send(bytes.fromhex(packet))

    async with first_meets(bench, after_accepting(version, misbehave)) as scene:
        delivery = scene.client.publish_nowait("a", b"x", qos=qos) if qos else None
        error = await scene.lost()
        with pytest.raises(ProtocolError, match=words):
            raise error
        assert error.by is ClosedBy.CLIENT
        assert error.reason_code == ReasonCode.PROTOCOL_ERROR
        if delivery is not None and "50020001" in packets and qos == 2:
            with pytest.raises(PublishError) as caught:  # it may have been delivered
                await delivery.wait(TIMEOUT)
            assert caught.value.fate is Fate.LOST
        elif delivery is not None:
            assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
    assert_told(scene.peer.calls[0], version, 0x82)


@pytest.mark.parametrize(
    ("asks", "v5", "v3"),
    [
        ("", "900400010001", "9003000101"),
        ("subscribe", "900400010001 900400010001", "9003000101 9003000101"),
        ("subscribe", "900400020001", "9003000201"),
        ("subscribe", "90050001000101", "900400010101"),
        ("subscribe", "b00400010000", "b0020001"),
        ("", "b00400010000", "b0020001"),
        ("unsubscribe", "b00400010000 b00400010000", "b0020001 b0020001"),
        ("unsubscribe", "900400010001", "9003000101"),
        ("unsubscribe", "b0050001000000", None),
    ],
    ids=[
        "SUBACK without SUBSCRIBE",
        "SUBACK twice",
        "SUBACK for another",
        "SUBACK with too many codes",
        "UNSUBACK for SUBSCRIBE",
        "UNSUBACK without UNSUBSCRIBE",
        "UNSUBACK twice",
        "SUBACK for UNSUBSCRIBE",
        "UNSUBACK with too many codes",
    ],
)
async def test_answers_to_no_request(bench: Lab, asks: str, v5: str, v3: str | None) -> None:
    version = str(bench.version)
    data = v5 if version == "5.0" else v3
    if data is None:
        pytest.skip("MQTT 3.1.1 has no codes there")

    def misbehave(call: Call) -> None:
        if asks:
            call.read_packet()
        call.send(bytes.fromhex(data))

    async with first_meets(bench, after_accepting(version, misbehave)) as scene:
        if asks == "subscribe":  # it is asked for again in the next connection
            await scene.client.subscribe("a", qos=1, timeout=TIMEOUT)
        elif asks:
            await scene.client.unsubscribe("a", timeout=TIMEOUT)
        error = await scene.lost()
        with pytest.raises(ProtocolError, match=r"unknown request|reason codes answer a request"):
            raise error
    assert_told(scene.peer.calls[0], version, 0x82)


# --- what a lost connection can explain is put up with


@rule(15)
@pytest.mark.parametrize(
    ("packets", "v5", "v3"),
    [
        ("62020007", "7003000792", "70020007"),
        ("62020007 62020007", "70030007927003000792", "7002000770020007"),
        ("50020007", "6203000792", "62020007"),
        ("50020007 70020007", "6203000792", "62020007"),
        ("70020007", "", ""),
    ],
    ids=["PUBREL", "PUBREL twice", "PUBREC", "PUBREC and PUBCOMP", "PUBCOMP"],
)
async def test_identifiers_that_only_the_server_remembers(
    bench: Lab, packets: str, v5: str, v3: str
) -> None:
    """They are answered, so that the server can forget them; the connection goes on."""
    version = str(bench.version)
    answer = bytes.fromhex(v5 if version == "5.0" else v3)
    answered = threading.Event()

    def script(call: Call) -> None:
        accept(version, call)
        call.send(bytes.fromhex(packets))
        assert call.read(len(answer)) == answer
        answered.set()
        serve(call, is_5=version == "5.0")

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            assert await bench.blocking(answered.wait, TIMEOUT)
            for qos in (1, 2):
                await client.publish("a", b"x", qos=qos, timeout=TIMEOUT)
            await client.subscribe("a", qos=1, timeout=TIMEOUT)
        assert len(peer.calls) == 1


@rule(15)
async def test_pubrec_and_pubrel_twice(bench: Lab) -> None:
    """The message is published once, and received once."""
    version = str(bench.version)
    incoming = bytes.fromhex("34080001740009006f6b" if version == "5.0" else "34070001740009 6f6b")
    seen: list[bytes] = []
    answered = threading.Event()

    def script(call: Call) -> None:
        accept(version, call)
        publish = call.read_packet()
        assert publish[0] == 0x34
        call.send(b"\x50\x02\0\x01\x50\x02\0\x01")
        seen.extend(call.read_packet() for _ in range(2))
        call.send(b"\x70\x02\0\x01")
        call.send(incoming + incoming)
        seen.append(call.read_packet())
        call.send(b"\x62\x02\0\x09")
        seen.append(call.read_packet())
        call.send(b"\x62\x02\0\x09")
        seen.append(call.read_packet())
        answered.set()
        serve(call, is_5=version == "5.0")

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            messages = client.unmatched(ack="manual")
            delivery = await client.publish("a", b"x", qos=2, timeout=TIMEOUT)
            assert delivery.fate is Fate.ACKNOWLEDGED
            message = await messages.get(TIMEOUT)
            assert message.payload == b"ok"
            message.ack()
            assert await bench.blocking(answered.wait, TIMEOUT)
            await client.publish("a", b"x", qos=1, timeout=TIMEOUT)
            assert not messages.buffered
        assert len(peer.calls) == 1
    unknown = "7003000992" if version == "5.0" else "70020009"
    assert [packet.hex() for packet in seen] == [
        "62020001",
        "62020001",
        "50020009",
        "70020009",
        unknown,
    ]


# --- refusals


@rule(15, 21)
@only_5
@pytest.mark.parametrize("qos", [1, 2])
async def test_every_refusal_of_a_message(bench: Lab, qos: int) -> None:
    """It ends the flow: the caller is told, PUBREL is not sent, identifier and quota are free."""
    first = b"\x40" if qos == 1 else b"\x50"
    reason = b"\x0a\x1f\x00\x07because"

    def script(call: Call) -> None:
        # A Receive Maximum of 1: a quota that is not given back stops everything.
        accept("5.0", call, b"\x20\x06\x00\x00\x03\x21\x00\x01")
        for code in REFUSALS:
            packet = call.read_packet()
            assert packet[0] == (0x32 if qos == 1 else 0x34), packet
            call.send(first + b"\x0e" + packet[5:7] + bytes([code]) + reason)
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            for code in REFUSALS:
                with pytest.raises(PublishError, match="because") as caught:
                    await client.publish("a", b"x", qos=qos, timeout=TIMEOUT)
                assert caught.value.reason_code == code
                assert caught.value.fate is Fate.REFUSED
                assert ReasonCode(code).name.lower().replace("_", " ") in str(caught.value)
            await client.publish("a", b"x", qos=qos, timeout=TIMEOUT)
        assert len(peer.calls) == 1


# --- order and quota


@rule(21)
@pytest.mark.parametrize("qos", [1, 2])
async def test_answers_in_another_order(bench: Lab, qos: int) -> None:
    """Each answer settles its own message, and those that were not answered go on waiting."""
    version = str(bench.version)
    first = 0x40 if qos == 1 else 0x50

    def script(call: Call) -> None:
        accept(version, call)
        for _ in range(3):
            call.read_packet()
        for number in (3, 1, 2):
            if qos == 1 and version == "5.0":
                call.send(bytes([first, 3, 0, number, 0x10 if number == 3 else 0]))
            else:
                call.send(bytes([first, 2, 0, number]))
                if qos == 2:
                    assert call.read_packet() == bytes([0x62, 2, 0, number])
                    call.send(bytes([0x70, 2, 0, number]))
            assert call.read_until(0x30)  # which the scenario sends when it has seen this
        serve(call, is_5=version == "5.0")

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            deliveries = [client.publish_nowait("a", b"%d" % i, qos=qos) for i in range(3)]
            done = [False] * 3
            for number in (3, 1, 2):
                settled = await deliveries[number - 1].wait(TIMEOUT)
                done[number - 1] = True
                assert settled.fate is Fate.ACKNOWLEDGED
                assert [delivery.done for delivery in deliveries] == done
                await client.publish("go on", b"")
            if qos == 1 and version == "5.0":
                codes = [delivery.reason_code for delivery in deliveries]
                assert codes == [0, 0, ReasonCode.NO_MATCHING_SUBSCRIBERS]
        assert len(peer.calls) == 1


@rule(16)
@only_5
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_receive_maximum_of_1(bench: Lab, qos: int) -> None:
    """One message at a time, in order, while everything else goes on."""
    counts: list[int] = []

    def script(call: Call) -> None:
        accept("5.0", call, b"\x20\x06\x00\x00\x03\x21\x00\x01")
        call.read_until(0x82)  # what was published before it, stands before it
        call.send(b"\x90\x04\0\x02\0\x01")
        counts.append(sum(packet[0] >> 4 == 3 for packet in call.packets))
        for number in (1, 3, 4, 5, 6):  # 2 is the SUBSCRIBE
            if qos == 1:
                call.send(bytes([0x40, 2, 0, number]))
            else:
                call.send(bytes([0x50, 2, 0, number]))
                assert call.read_packet() == bytes([0x62, 2, 0, number])
                call.send(bytes([0x70, 2, 0, number]))
            if number < 6:
                packet = call.read_packet()
                assert packet[-1:] == b"%d" % max(number - 1, 1), packet
        serve(call, is_5=True)

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            deliveries = [client.publish_nowait("a", b"%d" % i, qos=qos) for i in range(5)]
            await client.subscribe("b", qos=1, timeout=TIMEOUT)
            for delivery in deliveries:
                assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
        assert len(peer.calls) == 1
    assert counts == [1]


@rule(13)
@only_5
async def test_the_queue_stays_in_order_over_a_goodbye(bench: Lab) -> None:
    """A server that says goodbye in the middle: the rest arrives in the next connection."""

    def script(call: Call) -> None:
        accept("5.0", call, b"\x20\x06\x00\x00\x03\x21\x00\x01")
        call.read_packet()
        call.send(b"\x40\x02\0\x01\xe0\x01\x8b")

    with Peer(script, decent("5.0")) as peer:
        async with bench.client(peer.url, reconnect=AT_ONCE) as client:
            deliveries = [client.publish_nowait("a", b"%d" % i, qos=1) for i in range(5)]
            for delivery in deliveries:
                assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
        sent = [packet[-1:] for packet in peer.calls[1].packets if packet[0] == 0x32]
    assert sent == [b"1", b"2", b"3", b"4"]
