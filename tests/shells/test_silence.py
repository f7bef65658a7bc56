"""A server that says nothing, at every stage: who waits is told in time, and can go on."""

import ssl
import threading

import pytest

from mqttlite.enums import ClosedBy, Fate
from mqttlite.errors import KeepAliveTimeout
from mqttlite.options import TLS
from mqttlite.protocol import ClientConnection
from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.mischief import AT_ONCE, first_meets, only_5, works
from tests.shells.peer import ACCEPTED, Call, Peer, accept, decent, serve
from tests.support.certificates import Certificates

IN_VAIN = 0.05
"""Seconds to wait for what does not come."""


@rule(1)
@pytest.mark.parametrize("sent", [0, 1, 2], ids=["nothing", "its type", "half of it"])
async def test_no_connack_or_a_part_of_it(bench: Lab, sent: int) -> None:
    version = str(bench.version)

    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED[version][:sent])
        call.read_to_end()

    with Peer(script, decent(version)) as peer:
        client = bench.client(peer.url, connect_timeout=1.0)
        with pytest.raises(TimeoutError, match=rf"no CONNACK from {peer.url}.*1 seconds"):
            await client.connect()
        assert client.is_idle
        assert not peer.calls[0].received.endswith(b"\xe0\x00")
        await client.connect()
        await works(client)
        await client.close()


@rule(1)
@only_5
@pytest.mark.parametrize("stage", ["no ServerHello", "half of it"])
async def test_a_tls_handshake_that_stalls(
    bench: Lab, certificates: Certificates, stage: str
) -> None:
    """Until it is over CONNECT is not sent; the next server is asked."""

    def script(call: Call) -> None:
        hello = call.read(5)
        hello += call.read(int.from_bytes(hello[3:]))
        if stage == "half of it":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates.server_certificate, certificates.server_key)
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            server = context.wrap_bio(incoming, outgoing, server_side=True)
            incoming.write(hello)
            with pytest.raises(ssl.SSLWantReadError):
                server.do_handshake()
            answer = outgoing.read()
            call.send(answer[: len(answer) // 2])
        call.read_to_end()

    tls = TLS(ca_file=certificates.ca_file)
    with Peer(script) as silent, Peer(decent("5.0")) as peer:
        urls = [silent.url.replace("mqtt:", "mqtts:"), peer.url]
        client = bench.client(urls[0], tls=tls, connect_timeout=0.3)
        with pytest.raises(TimeoutError, match="in time"):
            await client.connect()
        assert client.is_idle
        client = bench.kind.client(urls, version="5.0", tls=tls, connect_timeout=4.0)
        await client.connect()
        await works(client)
        await client.close()
    for call in silent.calls:
        assert b"MQTT" not in call.received


@rule(3)
async def test_no_answer_to_subscribe(bench: Lab) -> None:
    """The subscription is withdrawn, and its late answer does no harm."""
    version = str(bench.version)

    def script(call: Call) -> None:
        accept(version, call)
        assert call.read_until(0x82)[2:4] == b"\0\x01"
        call.read_until(0xA2)
        if version == "5.0":
            call.send(b"\x90\x04\0\x01\0\x01\xb0\x04\0\x02\0\0")
        else:
            call.send(b"\x90\x03\0\x01\x01\xb0\x02\0\x02")
        serve(call, is_5=version == "5.0")

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            with pytest.raises(TimeoutError, match="SUBSCRIBE"):
                await client.subscribe("a", qos=1, timeout=IN_VAIN)
            await works(client)
        assert len(peer.calls) == 1


@rule(3)
async def test_no_answer_to_unsubscribe(bench: Lab) -> None:
    version = str(bench.version)
    late = threading.Event()

    def script(call: Call) -> None:
        accept(version, call)
        packets = [call.read_until(0xA2)]
        assert late.wait(TIMEOUT)
        for packet in packets:
            end = b"\0\0" if version == "5.0" else b""
            call.send(b"\xb0" + bytes([2 + len(end)]) + packet[2:4] + end)
        serve(call, is_5=version == "5.0")

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            with pytest.raises(TimeoutError):
                await client.unsubscribe("a", timeout=IN_VAIN)
            late.set()
            await works(client)
        assert len(peer.calls) == 1


@rule(3, 13)
@pytest.mark.parametrize(
    ("qos", "before", "missing"),
    [(1, "", "40020001"), (2, "", "50020001"), (2, "50020001", "70020001")],
    ids=["PUBACK", "PUBREC", "PUBCOMP"],
)
async def test_no_acknowledgement(bench: Lab, qos: int, before: str, missing: str) -> None:
    """The wait ends and the message lives on: it is never sent again on the same connection."""
    version = str(bench.version)
    late = threading.Event()

    def script(call: Call) -> None:
        accept(version, call)
        call.read_packet()
        call.send(bytes.fromhex(before))
        assert late.wait(TIMEOUT)
        call.send(bytes.fromhex(missing))
        serve(call, is_5=version == "5.0")

    with Peer(script) as peer:
        async with bench.client(peer.url) as client:
            delivery = client.publish_nowait("a", b"once", qos=qos)
            for _ in range(2):
                with pytest.raises(TimeoutError):
                    await delivery.wait(IN_VAIN)
            assert delivery.fate is Fate.PENDING
            late.set()
            assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED
            await works(client)
        assert len(peer.calls) == 1
        assert peer.received.count(b"once") == 1


@rule(3)
async def test_no_acknowledgement_and_nobody_waits_any_more(bench: Lab) -> None:
    """What timed out in `publish()` was accepted all the same: it arrives in the end."""
    version = str(bench.version)
    cut = threading.Event()

    def script(call: Call) -> None:
        accept(version, call)
        call.read_packet()
        assert cut.wait(TIMEOUT)

    async with first_meets(bench, script) as scene:
        with pytest.raises(TimeoutError):
            await scene.client.publish("a", b"in the end", qos=1, timeout=IN_VAIN)
        cut.set()
        await scene.lost()
    assert b"in the end" in scene.peer.calls[1].received


@rule(3)
@only_5
async def test_no_answer_to_a_request(bench: Lab) -> None:
    with Peer(decent("5.0")) as peer:
        async with bench.client(peer.url) as client:
            with pytest.raises(TimeoutError):
                await client.request("a", b"x", timeout=IN_VAIN)
            await works(client)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let PINGRESP have a shorter time."""
    defaults = ClientConnection.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "ping_timeout", 0.5)


@rule(23)
@pytest.mark.usefixtures("impatient")
async def test_no_answer_to_a_ping(bench: Lab) -> None:
    """The connection is given up; what was not acknowledged arrives in the next one."""
    version = str(bench.version)
    pinged = threading.Event()

    def script(call: Call) -> None:
        accept(version, call)
        call.read_until(0xC0)
        pinged.set()
        call.read_to_end()

    async with first_meets(bench, script, keep_alive=1) as scene:
        delivery = scene.client.publish_nowait("a", b"x", qos=1)
        error = await scene.lost()
        assert pinged.is_set()
        assert type(error) is KeepAliveTimeout
        assert error.by is ClosedBy.CLIENT
        assert "has not answered a ping" in str(error)
        assert (await delivery.wait(TIMEOUT)).fate is Fate.ACKNOWLEDGED


@rule(2, 21)
@only_5
async def test_no_answer_to_anything_and_then_closing(bench: Lab) -> None:
    """Everything that waits ends with `close()`, which itself ends in time."""

    def script(call: Call) -> None:
        accept("5.0", call)
        call.read_to_end()

    with Peer(script, decent("5.0")) as peer:
        client = bench.client(peer.url, reconnect=AT_ONCE)
        await client.connect()
        delivery = client.publish_nowait("a", b"x", qos=2)
        asking = bench.start(_subscribe(client))
        await client.close(IN_VAIN)
        assert delivery.fate is Fate.CLOSED
        assert isinstance(await asking.result(), Exception)
        await client.connect()
        await works(client)
        await client.close()


async def _subscribe(client: object) -> Exception | None:
    try:
        await client.subscribe("a", qos=1)  # type: ignore[attr-defined]
    except Exception as error:
        return error
    return None
