"""A server that says goodbye, with each reason that it may have."""

import pytest

from mqttlite.enums import ClosedBy, Fate, ReasonCode
from mqttlite.errors import ConnectionClosed, PublishError
from mqttlite.options import FINAL_REASON_CODES, Reconnect
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.mischief import AT_ONCE, first_meets, only_5, works
from tests.shells.peer import Call, Peer, Script, accept, decent

# Without "Use another server" and "Server moved", which lead elsewhere.
BY_A_SERVER = [
    0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
    0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
]  # fmt: skip
FINAL = [code for code in BY_A_SERVER if code in FINAL_REASON_CODES]
TRANSIENT = [code for code in BY_A_SERVER if code not in FINAL]


def throws_out(code: int) -> Script:
    """Make a script that throws the client out when it publishes, with a reason in words."""

    def script(call: Call) -> None:
        accept("5.0", call)
        call.read_until(0x32)
        call.send(b"\xe0\x0c" + bytes([code]) + b"\x0a\x1f\x00\x07because")
        call.read_to_end()

    return script


def words(code: int) -> str:
    return ReasonCode(code).name.lower().replace("_", " ")


def test_both_kinds_of_reasons_are_there() -> None:
    assert 0x8E in FINAL
    assert {0x00, 0x8B, 0x89} <= set(TRANSIENT)


@rule(9, 10)
@only_5
async def test_reasons_after_which_it_connects_again(bench: Lab) -> None:
    """Nothing is answered to the goodbye, and what was not acknowledged is sent again."""
    never_waits = Reconnect(first_delay=0.0, maximum_delay=0.0)
    scripts = [throws_out(code) for code in TRANSIENT]
    async with first_meets(bench, *scripts, reconnect=never_waits) as scene:
        delivery = scene.client.publish_nowait("a", b"x", qos=1)
        for code in TRANSIENT:
            error = await scene.lost()
            assert type(error) is ConnectionClosed
            assert error.reason_code == code
            assert error.reason_string == "because"
            assert error.by is ClosedBy.SERVER
            assert words(code) in str(error)
            assert "because" in str(error)
        assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
    for call in scene.peer.calls[:-1]:
        assert not any(packet[0] == 0xE0 for packet in call.packets)


@rule(9, 10)
@only_5
@pytest.mark.parametrize("code", FINAL, ids=lambda code: f"{code:02x}")
async def test_reasons_after_which_it_gives_up(bench: Lab, code: int) -> None:
    """Everything that waits ends with the reason; connecting by hand begins anew."""
    down = bench.queue()
    with Peer(throws_out(code), decent("5.0")) as peer:
        client = bench.client(peer.url, reconnect=AT_ONCE, on_disconnect=down.put)
        messages = await client.subscribe("declared/before")
        await client.connect()
        with pytest.raises(PublishError) as caught:
            await client.publish("a", b"x", qos=1, timeout=TIMEOUT)
        assert caught.value.fate is Fate.CLOSED
        event = await down.get()
        assert event.retry_in is None
        assert event.error.reason_code == code
        assert caught.value.__cause__ is event.error
        with pytest.raises(ConnectionClosed, match=words(code)):
            await messages.get(TIMEOUT)
        with pytest.raises(ConnectionClosed, match=f"given up.*{words(code)}.*because"):
            await client.publish("a", b"x")
        assert client.is_idle
        assert len(peer.calls) == 1
        await client.connect()
        await works(client)
        await client.close()


@rule(10)
@only_5
async def test_the_program_says_which_reasons_are_final(bench: Lab) -> None:
    """A session that was taken over is taken back; a server that is busy is left alone."""
    down = bench.queue()
    policy = Reconnect(
        first_delay=0.0, maximum_delay=0.0, final_reason_codes=frozenset({ReasonCode.SERVER_BUSY})
    )
    with Peer(throws_out(0x8E), throws_out(0x89)) as peer:
        client = bench.client(peer.url, reconnect=policy, on_disconnect=down.put)
        await client.connect()
        with pytest.raises(PublishError):
            await client.publish("a", b"x", qos=1, timeout=TIMEOUT)
        events = [await down.get() for _ in range(2)]
        assert [event.error.reason_code for event in events] == [0x8E, 0x89]
        assert [event.retry_in for event in events] == [0.0, None]
        assert len(peer.calls) == 2
        await client.close()


@rule(9)
@only_5
async def test_a_session_taken_over_while_much_is_under_way(bench: Lab) -> None:
    """All that waits is told: subscribing, unsubscribing, publishing, taking."""

    def take_over(call: Call) -> None:
        accept("5.0", call)
        call.read_until(0x82)
        call.send(b"\x90\x04\0\x01\0\x01")
        call.read_until(0x82)
        call.send(b"\xe0\x01\x8e")
        call.read_to_end()

    with Peer(take_over, decent("5.0")) as peer:
        client = bench.client(peer.url, reconnect=AT_ONCE)
        await client.connect()
        messages = await client.subscribe("a", qos=1, timeout=TIMEOUT)
        deliveries = [client.publish_nowait("b", b"x", qos=qos) for qos in (1, 2)]
        taking = bench.start(messages.get(TIMEOUT))
        with pytest.raises(ConnectionClosed, match="session taken over"):
            await client.subscribe("c", qos=1, timeout=TIMEOUT)
        with pytest.raises(ConnectionClosed, match="session taken over"):
            await taking.result()
        for delivery in deliveries:
            with pytest.raises(PublishError) as caught:
                await delivery.wait(TIMEOUT)
            assert "session taken over" in str(caught.value.__cause__)
        await client.connect()
        await works(client)
        await client.close()


@only_5
async def test_what_comes_before_the_goodbye_counts_and_nothing_behind_it(bench: Lab) -> None:
    def script(call: Call) -> None:
        accept("5.0", call)
        call.read_until(0x32)
        message = b"\x30\x06\0\x01t\0ok"
        call.send(message + b"\x40\x02\0\x01" + b"\xe0\x01\x8b" + message)
        call.read_to_end()

    async with first_meets(bench, script, connected=False) as scene:
        messages = scene.client.unmatched()
        await scene.client.connect()
        delivery = await scene.client.publish("a", b"x", qos=1, timeout=TIMEOUT)
        assert delivery.fate is Fate.ACKNOWLEDGED
        assert (await scene.lost()).reason_code == ReasonCode.SERVER_SHUTTING_DOWN
        assert (await messages.get(TIMEOUT)).payload == b"ok"
        assert not messages.buffered
