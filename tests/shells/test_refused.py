"""Servers that refuse the connection: the right error, in words, and nothing stays behind."""

import logging

import pytest

from mqttlite.enums import ClosedBy, PacketType, ReasonCode
from mqttlite.errors import ConnectFailed, ConnectRefused
from mqttlite.packets.reasons import REASON_CODES, RETURN_CODES
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import ACCEPTED, Call, Peer, answers

REFUSALS = sorted(code for code in REASON_CODES[PacketType.CONNACK] if code >= 0x80)


@rule(1)
@pytest.mark.parametrize("version", ["5.0"])
@pytest.mark.parametrize("code", REFUSALS, ids=lambda code: f"{code:02x}")
async def test_every_reason_code_of_mqtt_5(bench: Lab, code: int) -> None:
    reason = b"\x1f\x00\x07because"
    connack = bytes([0x20, 3 + len(reason), 0, code, len(reason)]) + reason
    with Peer(answers(connack)) as peer:
        client = bench.client(peer.url)
        for attempt in (1, 2):
            with pytest.raises(ConnectRefused) as caught:
                await client.connect()
            error = caught.value
            assert error.reason_code == code
            assert error.reason_string == "because"
            assert error.by is ClosedBy.SERVER
            words = ReasonCode(code).name.lower().replace("_", " ")
            assert words in str(error)
            assert "because" in str(error)
            assert client.is_idle
            assert len(peer.calls) == attempt


@rule(1)
@pytest.mark.parametrize("version", ["3.1.1", "3.1"])
@pytest.mark.parametrize("code", [1, 2, 3, 4, 5])
async def test_every_return_code_of_mqtt_3(bench: Lab, code: int) -> None:
    with Peer(answers(bytes([0x20, 2, 0, code]))) as peer:
        client = bench.client(peer.url)
        with pytest.raises(ConnectRefused) as caught:
            await client.connect()
        reason = RETURN_CODES[code]
        assert caught.value.reason_code == reason
        assert reason.name.lower().replace("_", " ") in str(caught.value)
        assert caught.value.by is ClosedBy.SERVER
        assert client.is_idle


@pytest.mark.parametrize("version", ["5.0"])
@pytest.mark.parametrize("code", [0x9C, 0x9D])
async def test_another_server_is_named(bench: Lab, code: int) -> None:
    reference = b"\x1c\x00\x09elsewhere"
    connack = bytes([0x20, 3 + len(reference), 0, code, len(reference)]) + reference
    with Peer(answers(connack)) as peer:
        with pytest.raises(ConnectRefused, match="elsewhere") as caught:
            await bench.client(peer.url, maximum_redirects=0).connect()
        assert caught.value.server_reference == "elsewhere"


@rule(8)
@pytest.mark.parametrize("version", ["5.0"])
async def test_the_password_is_never_shown(bench: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), Peer(answers(b"\x20\x03\x00\x86\x00")) as peer:
        url = peer.url.replace("mqtt://", "mqtt://user:hunter2@")
        client = bench.client(url)
        with pytest.raises(ConnectRefused) as caught:
            await client.connect()
        assert b"hunter2" in peer.received
        assert "hunter2" not in f"{caught.value!r} {caught.value} {client!r} {caplog.text}"


# --- the version


def wants(version: int) -> bytes:
    return b"\x00\x04MQTT" + bytes([version])


@pytest.mark.parametrize("version", [None])
@pytest.mark.parametrize(
    "refusal", [b"\x20\x02\x00\x01", b"\x20\x03\x00\x84\x00"], ids=["as 3.1.1", "as 5.0"]
)
async def test_falling_back_to_3_1_1(bench: Lab, refusal: bytes) -> None:
    suback = b"\x90\x03\x00\x01\x01"
    with Peer(answers(refusal), answers(ACCEPTED["3.1.1"], suback)) as peer:
        client = bench.client(peer.url)
        await client.connect()
        assert client.version == "3.1.1"
        await client.subscribe("a", qos=1)
        await client.close()
        assert wants(5) in peer.calls[0].received
        assert wants(4) in peer.calls[1].received
        # It remembers.
        await client.connect()
        assert len(peer.calls) == 3
        await client.close()


@pytest.mark.parametrize("version", ["5.0"])
async def test_a_pinned_version_does_not_fall_back(bench: Lab) -> None:
    with Peer(answers(b"\x20\x02\x00\x01")) as peer:
        with pytest.raises(ConnectRefused) as caught:
            await bench.client(peer.url).connect()
        assert caught.value.reason_code == ReasonCode.UNSUPPORTED_PROTOCOL_VERSION
        assert len(peer.calls) == 1


@pytest.mark.parametrize("version", [None])
async def test_no_endless_fall_back(bench: Lab) -> None:
    with Peer(answers(b"\x20\x02\x00\x01")) as peer:
        with pytest.raises(ConnectRefused):
            await bench.client(peer.url).connect()
        assert len(peer.calls) == 2


@pytest.mark.parametrize("version", [None])
async def test_some_old_servers_just_close(bench: Lab) -> None:
    """Not taken for a refusal of the version: the error says what happened."""

    def close(call: Call) -> None:
        call.read_packet()

    with Peer(close) as peer, pytest.raises(ConnectFailed):
        await bench.client(peer.url).connect()


@pytest.mark.parametrize(("version", "level"), [("3.1.1", 4), ("5.0", 5)])
async def test_a_pinned_version_is_used(bench: Lab, level: int) -> None:
    with Peer(answers(ACCEPTED[str(bench.version)])) as peer:
        async with bench.client(peer.url) as client:
            assert client.version == bench.version
        assert wants(level) in peer.received


@rule(31)
@pytest.mark.parametrize("version", ["3.1"])
async def test_mqtt_3_1_has_another_name(bench: Lab) -> None:
    with Peer(answers(ACCEPTED["3.1"])) as peer:
        async with bench.client(peer.url):
            pass
        assert b"\x00\x06MQIsdp\x03" in peer.received


@rule(9, 10)
@pytest.mark.parametrize("version", ["5.0"])
async def test_a_server_that_throws_the_client_out(bench: Lab) -> None:
    """Session taken over is final: it is not fought about."""
    lost = bench.queue()

    def throw_out(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_packet()
        call.send(b"\xe0\x02\x8e\x00")

    with Peer(throw_out) as peer:
        client = bench.client(peer.url, on_disconnect=lost.put)
        await client.connect()
        delivery = client.publish_nowait("a", b"x", qos=1)
        event = await lost.get(TIMEOUT)
        assert event.error.reason_code == ReasonCode.SESSION_TAKEN_OVER
        assert event.error.by is ClosedBy.SERVER
        assert event.retry_in is None
        with pytest.raises(Exception, match="not acknowledged") as caught:
            await delivery.wait(TIMEOUT)
        assert caught.value.__cause__ is event.error
        assert client.is_idle
        assert len(peer.calls) == 1
        await client.close()
