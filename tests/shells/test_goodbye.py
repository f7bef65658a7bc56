"""What is said at the end, and with acknowledgements: DISCONNECT, PUBACK, SUBACK, UNSUBACK."""

from typing import Any

import pytest

from mqttlite.enums import ReasonCode
from mqttlite.errors import ConnectionClosed, NotSupported, ProtocolError, UsageError
from mqttlite.message import Will
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import ACCEPTED, Call, Peer, answers
from tests.shells.wire import body, packet, pair, read, read_publish, section, split, text, two

only_5 = pytest.mark.parametrize("version", ["5.0"])
only_3 = pytest.mark.parametrize("version", ["3.1.1"])

REASON = b"\x1f"
SESSION_EXPIRY = b"\x11"


def last_packet(peer: Peer) -> bytes:
    return split(peer.calls[-1].received)[-1]


# --- DISCONNECT


@only_5
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_closing_with_the_will(lab: Lab, qos: int) -> None:
    async with lab.client() as watcher, watcher.subscribe(lab.topic, qos=2) as messages:
        client = lab.client(will=Will(lab.topic, b"gone", qos=qos))
        await client.connect()
        await client.close(reason_code=ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
        message = await messages.get(TIMEOUT)
        assert (message.payload, message.qos) == (b"gone", qos)


@only_5
async def test_a_session_that_is_kept_after_all(lab: Lab) -> None:
    name = f"kept-{lab.topic}"
    client = lab.client(client_id=name)
    await client.connect()
    await client.subscribe(lab.topic, qos=1)
    await client.close(session_expiry_interval=60)
    async with lab.client() as other:
        await other.publish(lab.topic, b"meanwhile", qos=1)
    client = lab.client(client_id=name, clean_start=False, session_expiry_interval=0)
    messages = await client.subscribe(lab.topic, qos=1)
    connack = await client.connect()
    assert connack.session_present
    assert (await messages.get(TIMEOUT)).payload == b"meanwhile"
    await client.close()


@only_5
async def test_a_session_that_is_ended_after_all(lab: Lab) -> None:
    name = f"ended-{lab.topic}"
    client = lab.client(client_id=name, clean_start=False, session_expiry_interval=60)
    await client.connect()
    await client.subscribe(lab.topic, qos=1)
    await client.close(session_expiry_interval=0)
    async with lab.client() as other:
        await other.publish(lab.topic, b"meanwhile", qos=1)
    client = lab.client(client_id=name, clean_start=False, session_expiry_interval=0)
    messages = await client.subscribe(lab.topic, qos=1)
    connack = await client.connect()
    assert not connack.session_present
    async with lab.client() as other:
        await other.publish(lab.topic, b"now", qos=1)
    assert (await messages.get(TIMEOUT)).payload == b"now"
    await client.close()


@only_5
async def test_all_that_a_goodbye_can_say(bench: Lab) -> None:
    with Peer(answers(ACCEPTED["5.0"])) as peer:
        client = bench.client(peer.url, clean_start=False)
        await client.connect()
        await client.close(
            reason_code=0x83,
            reason_string="out of paper",
            user_properties=[("a", "1"), ("a", "2")],
            session_expiry_interval=7,
        )
        goodbye = last_packet(peer)
        assert (goodbye[0], body(goodbye)[0]) == (0xE0, 0x83)
        assert read(goodbye) == {
            0x1F: [b"out of paper"],
            0x26: [b"a=1", b"a=2"],
            0x11: [b"\x00\x00\x00\x07"],
        }


@only_5
async def test_a_goodbye_without_more(bench: Lab) -> None:
    """The session that was asked for on account of reconnections is ended."""
    with Peer(answers(ACCEPTED["5.0"])) as peer:
        async with bench.client(peer.url):
            pass
        goodbye = last_packet(peer)
        assert (goodbye[0], body(goodbye)[0]) == (0xE0, 0)
        assert read(goodbye) == {0x11: [b"\x00\x00\x00\x00"]}


@only_5
async def test_goodbyes_that_cannot_be_sent(bench: Lab) -> None:
    """The caller is told, and nothing has changed."""
    wrong: list[dict[str, Any]] = [
        {"reason_code": 0x9C},  # a server's
        {"reason_code": 0x01},
        {"reason_string": "\0"},
        {"user_properties": [("a", 1)]},
        {"session_expiry_interval": -1},
        {"session_expiry_interval": 5},
    ]
    with Peer(answers(ACCEPTED["5.0"])) as peer:
        client = bench.client(peer.url, session_expiry_interval=0)
        async with client:
            for arguments in wrong:
                with pytest.raises(UsageError):
                    await client.close(**arguments)
                assert client.is_connected
        assert [each[0] for each in split(peer.received)] == [0x10, 0xE0]


@only_3
@pytest.mark.parametrize(
    "arguments",
    [
        {"reason_code": 0x04},
        {"reason_string": "x"},
        {"user_properties": [("a", "b")]},
        {"session_expiry_interval": 0},
    ],
    ids=lambda arguments: next(iter(arguments)),
)
async def test_mqtt_3_has_no_words_for_it(bench: Lab, arguments: dict[str, Any]) -> None:
    with Peer(answers(ACCEPTED["3.1.1"])) as peer:
        async with bench.client(peer.url) as client:
            with pytest.raises(NotSupported, match=r"5\.0"):
                await client.close(**arguments)
            assert client.is_connected


@only_5
async def test_what_the_server_says_when_it_ends_the_connection(bench: Lab) -> None:
    lost = bench.queue()
    said = section(REASON + text("for repair"), pair("until", "noon"), pair("until", "one"))

    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_packet()
        call.send(packet(0xE0, b"\x98", said))
        call.read_to_end()

    with Peer(script) as peer:
        client = bench.client(peer.url, reconnect=False, on_disconnect=lost.put)
        await client.connect()
        await client.publish("t")
        error = (await lost.get()).error
        assert isinstance(error, ConnectionClosed)
        assert error.reason_code == ReasonCode.ADMINISTRATIVE_ACTION
        assert error.reason_string == "for repair"
        assert error.user_properties == [("until", "noon"), ("until", "one")]
        assert "for repair" in str(error)
        await client.close()


# --- acknowledgements


@only_5
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_is_refused(bench: Lab, qos: int) -> None:
    """A refusal of QoS 2 ends the exchange: no PUBREL is awaited."""
    answer: list[bytes] = []

    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        subscribe = call.read_packet()
        call.send(packet(0x90, subscribe[2:4], b"\x00", bytes((qos,))))
        for number in (1, 2):
            call.send(bytes((0x30 | qos << 1, 7, 0, 1)) + b"t" + bytes((0, number, 0)) + b"x")
            answer.append(call.read_packet())
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            messages = await client.subscribe("t", qos=qos, ack="manual")
            message = await messages.get(TIMEOUT)
            message.ack(0x87, reason_string="not yours", user_properties=[("a", "b")])
            message.ack()
            message = await messages.get(TIMEOUT)
            message.ack(ReasonCode.NO_MATCHING_SUBSCRIBERS)
    first, second = answer
    assert (first[0], body(first)[:3]) == (0x40 if qos == 1 else 0x50, b"\x00\x01\x87")
    assert read(first) == {0x1F: [b"not yours"], 0x26: [b"a=b"]}
    assert (second[0], body(second)[:3]) == (0x40 if qos == 1 else 0x50, b"\x00\x02\x10")
    assert read(second) == {}


@only_5
async def test_the_limit_of_the_server_leaves_no_room_for_a_reason(bench: Lab) -> None:
    """An acknowledgement that would be too large loses its explanation, and goes out."""
    answer: list[bytes] = []

    def script(call: Call) -> None:
        call.read_packet()
        call.send(packet(0x20, b"\x00\x00", section(b"\x27\x00\x00\x00\x20")))
        call.read_packet()
        call.send(b"\x90\x04\x00\x01\x00\x01")
        call.send(b"\x32\x07\x00\x01t\x00\x01\x00x")
        answer.append(call.read_packet())
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            messages = await client.subscribe("t", qos=1, ack="manual")
            (await messages.get(TIMEOUT)).ack(0x87, reason_string="long " * 20)
    assert (answer[0][0], body(answer[0])[:3]) == (0x40, b"\x00\x01\x87")
    assert read(answer[0]) == {}


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_refused_does_not_come_again(lab: Lab, qos: int) -> None:
    options: dict[str, Any] = {"client_id": f"refusing-{lab.topic}", "clean_start": False}
    async with lab.client(**options) as client:
        messages = await client.subscribe(lab.topic, qos=qos, ack="manual")
        await client.publish(lab.topic, b"bad", qos=qos)
        (await messages.get(TIMEOUT)).ack(0x99, reason_string="not for me")
    client = lab.client(**options)
    messages = await client.subscribe(lab.topic, qos=qos)
    async with client:
        await client.publish(lab.topic, b"good", qos=qos)
        assert (await messages.get(TIMEOUT)).payload == b"good"
        await messages.unsubscribe()
    async with lab.client(client_id=options["client_id"]):
        pass


@only_5
@pytest.mark.parametrize("code", [0x01, 0x8E, 0x100, -1])
async def test_reason_codes_that_are_none_of_puback(bench: Lab, code: int) -> None:
    with Peer(
        answers(ACCEPTED["5.0"], b"\x90\x04\x00\x01\x00\x01" + b"\x32\x07\x00\x01t\x00\x01\x00x")
    ) as peer:
        async with bench.client(peer.url) as client:
            messages = await client.subscribe("t", qos=1, ack="manual")
            message = await messages.get(TIMEOUT)
            with pytest.raises(UsageError):
                message.ack(code)
            message.ack()


@only_5
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_the_server_says_of_a_message(bench: Lab, qos: int) -> None:
    said = section(REASON + text("thanks"), pair("a", "1"), pair("a", "2"))

    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_packet()
        call.send(packet(0x40 if qos == 1 else 0x50, b"\x00\x01\x00", said))
        if qos == 2:
            assert call.read_packet()[0] == 0x62
            call.send(b"\x70\x02\x00\x01")
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            delivery = await client.publish("t", qos=qos, timeout=TIMEOUT)
            assert delivery.reason_string == "thanks"
            assert delivery.user_properties == [("a", "1"), ("a", "2")]


@only_5
async def test_what_the_server_says_of_subscriptions(bench: Lab) -> None:
    suback = packet(0x90, b"\x00\x01", section(REASON + text("well"), pair("a", "b")), b"\x01")
    unsuback = packet(0xB0, b"\x00\x01", section(REASON + text("bye"), pair("c", "d")), b"\x00")

    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_packet()
        call.send(suback)
        request = call.read_packet()
        assert read(request) == {0x26: [b"why=because"]}
        call.send(unsuback.replace(b"\x00\x01", request[2:4], 1))
        request = call.read_packet()
        assert read(request) == {0x26: [b"why=also"]}
        answer = packet(0xB0, request[2:4], section(REASON + text("none")), b"\x00\x11")
        call.send(answer)
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            messages = await client.subscribe("t", qos=1)
            assert messages.reason_string == "well"
            assert messages.user_properties == [("a", "b")]
            answer: Any = await messages.unsubscribe(user_properties=[("why", "because")])
            assert answer.reason_codes == {"t": 0}
            assert answer.reason_string == "bye"
            assert answer.user_properties == [("c", "d")]
            answer = await client.unsubscribe(["x", "y"], user_properties=[("why", "also")])
            assert answer.reason_codes == {"x": 0, "y": 0x11}
            assert answer.reason_string == "none"
            assert answer.user_properties == []


async def test_the_answer_to_unsubscribe(lab: Lab) -> None:
    async with lab.client() as client:
        messages = await client.subscribe(lab.topic)
        answer: Any = await messages.unsubscribe()
        assert answer.reason_codes.get(lab.topic, 0) == 0
        answer = await client.unsubscribe(f"{lab.topic}/never", timeout=TIMEOUT)
        if lab.is_5:
            assert answer.reason_codes == {f"{lab.topic}/never": 0x11}
        with pytest.raises(UsageError):
            await client.unsubscribe(lab.topic, user_properties=[("a", "\0")])


@only_3
async def test_user_properties_need_mqtt_5(bench: Lab) -> None:
    with Peer(answers(ACCEPTED["3.1.1"], b"\x90\x03\x00\x01\x00")) as peer:
        async with bench.client(peer.url) as client:
            messages = await client.subscribe("t")
            with pytest.raises(NotSupported, match=r"5\.0"):
                await messages.unsubscribe(user_properties=[("a", "b")])
            with pytest.raises(NotSupported, match=r"5\.0"):
                await client.unsubscribe("t", user_properties=[("a", "b")])
            with pytest.raises(NotSupported, match=r"5\.0"):
                await client.subscribe("u", user_properties=[("a", "b")])


# --- what CONNECT asks for


@only_5
async def test_response_information(bench: Lab) -> None:
    """Requests are answered where the server wants it."""

    def script(call: Call) -> None:
        assert read(call.read_packet())[0x19] == [b"\x01"]
        call.send(packet(0x20, b"\x00\x00", section(b"\x1a" + text("for/you"))))
        subscribe = call.read_packet()
        call.send(packet(0x90, subscribe[2:4], b"\x00\x01"))
        request = read_publish(call.read_packet())
        call.send(b"\x40\x02" + two(request.packet_id))
        [answer_to], [data] = request.properties[0x08], request.properties[0x09]
        assert answer_to.startswith(b"for/you")
        assert text(answer_to) in subscribe
        call.send(packet(0x30, text(answer_to), section(b"\x09" + text(data)), b"answer"))
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url, request_response_information=True) as client:
            answer = await client.request("ask", b"", qos=1, timeout=TIMEOUT)
            assert answer.payload == b"answer"


@only_5
async def test_response_information_that_was_not_asked_for(bench: Lab) -> None:
    """It says nothing, and a session's topic is made up instead."""

    def script(call: Call) -> None:
        assert 0x19 not in read(call.read_packet())
        call.send(packet(0x20, b"\x00\x00", section(b"\x1a" + text("for/you"))))
        subscribe = call.read_packet()
        assert b"for/you" not in subscribe
        call.send(packet(0x90, subscribe[2:4], b"\x00\x01"))
        call.read_to_end()

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            with pytest.raises(TimeoutError):
                await client.request("ask", b"", timeout=0.2)


@only_5
async def test_no_problem_information(bench: Lab) -> None:
    with Peer(answers(ACCEPTED["5.0"])) as peer:
        async with bench.client(peer.url, request_problem_information=False):
            pass
        assert read(split(peer.received)[0])[0x17] == [b"\x00"]


@only_5
async def test_problem_information_that_was_not_wanted(bench: Lab) -> None:
    """PUBACK must not have any then; CONNACK and DISCONNECT may."""
    lost = bench.queue()
    reason = section(REASON + text("why"))
    with Peer(
        answers(packet(0x20, b"\x00\x00", reason), packet(0x40, b"\x00\x01\x10", reason))
    ) as peer:
        client = bench.client(
            peer.url, request_problem_information=False, reconnect=False, on_disconnect=lost.put
        )
        await client.connect()
        client.publish_nowait("t", qos=1)
        error = (await lost.get()).error
        assert isinstance(error, ProtocolError)
        await client.close()
        goodbye = last_packet(peer)
        assert (goodbye[0], body(goodbye)[0]) == (0xE0, 0x82)
