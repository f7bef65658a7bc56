"""Servers that send the client elsewhere (MQTT 5.0 section 4.11)."""

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from mqttlite.enums import ReasonCode
from mqttlite.errors import ConnectRefused
from mqttlite.options import TLS, Reconnect
from mqttlite.testing import Broker
from tests.behaviour import rule
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.peer import ACCEPTED, Call, Peer, Script, answers
from tests.shells.wire import packet, section, text
from tests.support.certificates import Certificates
from tests.support.ports import free_ports

pytestmark = pytest.mark.parametrize("version", ["5.0"])

AT_ONCE = Reconnect(first_delay=0.01, maximum_delay=0.05)
ANOTHER, MOVED = 0x9C, 0x9D


def refusal(code: int, reference: str) -> bytes:
    return packet(0x20, bytes((0, code)), section(b"\x1c" + text(reference)))


def refers(code: int, reference: str) -> Script:
    """Refuse the connection, and name another server."""
    return answers(refusal(code, reference))


def dismisses(code: int, reference: str) -> Script:
    """Accept the connection, and name another server at the first message."""

    def script(call: Call) -> None:
        call.read_packet()
        call.send(ACCEPTED["5.0"])
        call.read_packet()
        call.send(packet(0xE0, bytes((code,)), section(b"\x1c" + text(reference))))
        call.read_to_end()

    return script


@pytest.fixture
def home() -> Iterator[Broker]:
    """Where the client is sent to."""
    with embedded() as broker:
        yield broker


def address(broker: Broker) -> str:
    return f"127.0.0.1:{broker.port}"


@rule(10, 11)
@pytest.mark.parametrize("as_url", [True, False])
@pytest.mark.parametrize("code", [ANOTHER, MOVED])
async def test_connack_names_another_server(
    bench: Lab, home: Broker, code: int, as_url: bool
) -> None:
    up = bench.queue()
    reference = home.url if as_url else address(home)
    with Peer(refers(code, reference)) as peer:
        async with (
            bench.client(peer.url, on_connect=up.put) as client,
            client.subscribe(bench.topic, qos=1) as messages,
        ):
            assert (await up.get()).server == home.url
            await client.publish(bench.topic, b"x", qos=1)
            assert (await messages.get(TIMEOUT)).payload == b"x"
        assert len(peer.calls) == 1


@rule(10, 11)
@pytest.mark.parametrize("code", [ANOTHER, MOVED])
async def test_where_a_reconnection_begins(bench: Lab, home: Broker, code: int) -> None:
    """Use another server holds for once, server moved for good."""
    up = bench.queue()
    with Peer(refers(code, address(home))) as peer:
        async with bench.client(peer.url, reconnect=AT_ONCE, on_connect=up.put):
            await up.get()
            await bench.blocking(home.disconnect_all)
            assert (await up.get()).server == home.url
        assert len(peer.calls) == {ANOTHER: 2, MOVED: 1}[code]


@rule(10, 11)
@pytest.mark.parametrize("code", [ANOTHER, MOVED])
async def test_disconnect_names_another_server(bench: Lab, home: Broker, code: int) -> None:
    """The subscriptions, and what is in flight, go along."""
    up, down = bench.queue(), bench.queue()
    with Peer(dismisses(code, address(home))) as peer:
        options: dict[str, Any] = {"on_connect": up.put, "on_disconnect": down.put}
        client = bench.client(peer.url, **options)
        await client.connect()
        await up.get()
        delivery = client.publish_nowait(bench.topic, b"x", qos=1)
        lost = await down.get()
        assert lost.error.reason_code == code
        assert lost.error.server_reference == address(home)
        assert lost.retry_in == 0
        assert (await up.get()).server == home.url
        await delivery.wait(TIMEOUT)
        await client.close()
        assert len(peer.calls) == 1


@rule(10, 11)
async def test_of_several_servers_the_one_that_answers(bench: Lab, home: Broker) -> None:
    [nobody] = free_ports(1)
    with Peer(refers(ANOTHER, f"127.0.0.1:{nobody} {address(home)}")) as peer:
        async with bench.client(peer.url) as client:
            assert client.is_connected
        assert len(peer.calls) == 1


@rule(10, 11)
async def test_two_servers_that_refer_to_each_other(bench: Lab) -> None:
    ports: list[int] = []

    def refer(call: Call) -> None:
        [other] = set(ports) - {call.sock.getsockname()[1]}
        refers(ANOTHER, f"127.0.0.1:{other}")(call)

    with Peer(refer) as here, Peer(refer) as there:
        ports += [here.port, there.port]
        client = bench.client(here.url, maximum_redirects=5)
        with pytest.raises(ConnectRefused) as caught:
            await client.connect()
        assert caught.value.reason_code == ReasonCode.USE_ANOTHER_SERVER
        assert client.is_idle
        assert (len(here.calls), len(there.calls)) == (3, 3)


@rule(10, 11)
async def test_two_servers_that_dismiss_to_each_other(bench: Lab) -> None:
    """The client gives up, though each of them has accepted it."""
    down = bench.queue()
    ports: list[int] = []

    def dismiss(call: Call) -> None:
        [other] = set(ports) - {call.sock.getsockname()[1]}
        dismisses(MOVED, f"127.0.0.1:{other}")(call)

    with Peer(dismiss) as here, Peer(dismiss) as there:
        ports += [here.port, there.port]
        client = bench.client(here.url, maximum_redirects=3, on_disconnect=down.put)
        await client.connect()
        delivery = client.publish_nowait("t", b"", qos=1)
        events = [await down.get() for _ in range(4)]
        assert [event.retry_in for event in events] == [0, 0, 0, None]
        assert events[-1].error.reason_code == ReasonCode.SERVER_MOVED
        assert client.is_idle
        assert delivery.done
        assert (len(here.calls), len(there.calls)) == (2, 2)
        await client.close()


@rule(10, 11)
@pytest.mark.parametrize("code", [ANOTHER, MOVED])
async def test_no_redirections(bench: Lab, home: Broker, code: int) -> None:
    with Peer(refers(code, address(home))) as peer:
        client = bench.client(peer.url, maximum_redirects=0)
        with pytest.raises(ConnectRefused, match="127") as caught:
            await client.connect()
        assert caught.value.reason_code == code
        assert caught.value.server_reference == address(home)
        assert len(peer.calls) == 1
    assert home.counters.connections == 0


@rule(10, 11)
@pytest.mark.parametrize(
    "reference", ["", " ", "quic://127.0.0.1", "127.0.0.1:port", "http://[", "127.0.0.1:99999"]
)
async def test_references_that_lead_nowhere(bench: Lab, reference: str) -> None:
    with Peer(refers(MOVED, reference)) as peer:
        client = bench.client(peer.url)
        with pytest.raises(ConnectRefused) as caught:
            await client.connect()
        assert caught.value.reason_code == MOVED
        assert client.is_idle
        assert len(peer.calls) == 1


@rule(10, 11)
@pytest.mark.parametrize("where", ["URL", "arguments"])
async def test_the_credentials_go_along(bench: Lab, where: str) -> None:
    options: dict[str, Any] = {}
    with (
        embedded(users={"meter": "hunter2"}) as home,
        Peer(refers(ANOTHER, address(home))) as peer,
    ):
        url = peer.url
        if where == "URL":
            url = url.replace("mqtt://", "mqtt://meter:hunter2@")
        else:
            options = {"username": "meter", "password": "hunter2"}
        async with bench.client(url, **options) as client:
            assert client.is_connected
        assert len(peer.calls) == 1


@rule(10, 11)
async def test_a_reference_with_credentials_of_its_own(bench: Lab) -> None:
    with embedded(users={"other": "secret"}) as home:
        reference = f"mqtt://other:secret@{address(home)}"
        with Peer(refers(ANOTHER, reference)) as peer:
            url = peer.url.replace("mqtt://", "mqtt://meter:hunter2@")
            async with bench.client(url) as client:
                assert client.is_connected


# --- TLS


def encrypted(certificates: Certificates, script: Script) -> Script:
    """Run a script behind TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)

    def run(call: Call) -> None:
        with context.wrap_socket(call.sock, server_side=True) as call.sock:
            script(call)

    return run


@rule(10, 11)
@pytest.mark.parametrize("how", [refers, dismisses])
async def test_tls_is_never_given_up(bench: Lab, certificates: Certificates, how: Any) -> None:
    down = bench.queue()
    with Peer(answers(ACCEPTED["5.0"])) as plain:
        with Peer(encrypted(certificates, how(MOVED, plain.url))) as peer:
            tls = TLS(ca_file=certificates.ca_file)
            url = f"mqtts://localhost:{peer.port}"
            client = bench.client(url, tls=tls, on_disconnect=down.put)
            if how is refers:
                with pytest.raises(ConnectRefused):
                    await client.connect()
            else:
                await client.connect()
                client.publish_nowait("t")
                assert (await down.get()).retry_in is None
            assert client.is_idle
            await client.close()
        assert not plain.calls


@rule(10, 11)
async def test_tls_goes_along(bench: Lab, certificates: Certificates) -> None:
    """A reference without a scheme is one to the same kind of server."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    with (
        embedded(tls=context) as home,
        Peer(encrypted(certificates, refers(ANOTHER, address(home)))) as peer,
    ):
        tls = TLS(ca_file=certificates.ca_file)
        async with bench.client(f"mqtts://localhost:{peer.port}", tls=tls) as client:
            await client.publish("t", b"", qos=1)
    assert home.counters.connections == 1
