"""The embedded broker on real sockets, with threads and with asyncio."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from mqttlite.aio import AsyncClient
from mqttlite.enums import ProtocolVersion, ReasonCode
from mqttlite.errors import ConnectRefused, UsageError
from mqttlite.message import Will
from mqttlite.packets import (
    Connack,
    Connect,
    Disconnect,
    Message,
    Packet,
    PacketReader,
    Pingreq,
    Pingresp,
    Suback,
    Subscribe,
    SubscriptionOptions,
    encode,
)
from mqttlite.sync import Client
from mqttlite.testing import AsyncBroker, Broker
from tests.support.certificates import Certificates

V5 = ProtocolVersion.MQTT_5_0


class PlainClient:
    """A client that is a socket and blocks."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(10.0)
        self.reader = PacketReader(V5)
        self.packets: list[Packet] = []

    def send(self, *packets: Packet) -> None:
        self.sock.sendall(b"".join(encode(packet, V5) for packet in packets))

    def read(self) -> Packet | None:
        """Return the next packet; None: the broker has closed the connection."""
        while not self.packets:
            data = self.sock.recv(65536)
            if not data:
                return None
            self.packets += self.reader.feed(data)
        return self.packets.pop(0)

    def connect(self, client_id: str = "", **arguments: Any) -> Connack:
        self.send(Connect(client_id, **arguments))
        packet = self.read()
        assert isinstance(packet, Connack)
        return packet

    def subscribe(self, topic_filter: str, qos: int = 0) -> None:
        self.send(Subscribe(1, [(topic_filter, SubscriptionOptions(qos))]))
        assert isinstance(self.read(), Suback)


@contextmanager
def plain(broker: Broker, client_id: str | None = None) -> Iterator[PlainClient]:
    with socket.create_connection(("127.0.0.1", broker.port)) as sock:
        client = PlainClient(sock)
        if client_id is not None:
            assert client.connect(client_id).reason_code == 0
        yield client


def server_context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.server_certificate, certificates.server_key)
    return context


def client_context(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates.ca_file))


def exchange(broker: Broker, **options: Any) -> None:
    """Send a message through a broker, and get it."""
    with Client(broker.url, **options) as client, client.subscribe("a", qos=2) as messages:
        client.publish("a", b"x", qos=2)
        assert next(iter(messages)).payload == b"x"


class TestStartingAndStopping:
    def test_a_thread_comes_and_goes(self) -> None:
        before = threading.active_count()
        broker = Broker()
        assert threading.active_count() == before
        with broker:
            assert broker.url == f"mqtt://127.0.0.1:{broker.port}"
            assert threading.active_count() == before + 1
            broker.start()  # it runs already
            exchange(broker)
        assert threading.active_count() == before
        broker.stop()  # and nothing happens

    def test_it_comes_back_at_the_same_port_with_what_it_knew(self) -> None:
        with Broker() as broker:
            port = broker.port
            with plain(broker) as client:
                client.connect("c", properties={"session_expiry_interval": 100})
                client.subscribe("a", 1)
                assert broker.publish("r", b"retained", retain=True) == 0
                broker.stop()
                assert client.read() == Disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
                assert client.read() is None
            assert broker.sessions["c"].queued == 0
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            broker.start()
            assert broker.port == port
            assert broker.publish("a", b"meanwhile", qos=1) == 1
            with plain(broker) as client:
                assert client.connect("c", clean_start=False).session_present
                assert client.read() == Message("a", b"meanwhile", 1, packet_id=1)
                client.subscribe("r")
                assert client.read() == Message("r", b"retained", 0, True)

    def test_dropping(self) -> None:
        with Broker() as broker, plain(broker, "c") as client:
            broker.stop(drop=True)
            assert client.read() is None

    @pytest.mark.parametrize("running", [True, False])
    def test_forgetting(self, running: bool) -> None:
        with Broker() as broker:
            with plain(broker) as client:
                client.connect("c", properties={"session_expiry_interval": 100})
                client.send(Disconnect())
                assert client.read() is None
            broker.publish("r", b"retained", retain=True)
            if not running:
                broker.stop()
                assert list(broker.sessions) == ["c"]
            broker.stop(forget=True)
            assert broker.sessions == {}
            broker.start()
            with plain(broker) as client:
                assert not client.connect("c", clean_start=False).session_present
            assert broker.core.router.retained == {}

    def test_connections_that_are_no_clients_yet(self) -> None:
        with Broker() as broker, plain(broker, "c"), plain(broker) as silent:
            broker.stop()
            assert silent.read() is None

    def test_a_port_that_is_taken(self) -> None:
        with Broker() as broker:
            other = Broker(port=broker.port)
            for _ in range(2):
                with pytest.raises(OSError, match="in use"):
                    other.start()
            with pytest.raises(UsageError, match="start"):
                other.publish("a")
        other.start()
        exchange(other)
        other.stop()

    def test_stopping_does_not_wait_for_a_client_that_does_not_read(self) -> None:
        with Broker() as broker, plain(broker, "c") as client:
            client.subscribe("a")
            for _ in range(20):
                broker.publish("a", bytes(500_000))
            broker.stop()
            received = 0
            while client.read() is not None:
                received += 1
            assert received < 20

    def test_calls_need_a_running_broker(self) -> None:
        broker = Broker()
        assert broker.sessions == {}
        with pytest.raises(UsageError, match="start"):
            broker.publish("a")
        with pytest.raises(UsageError, match="start"):
            broker.disconnect_all()

    def test_mistakes_come_back_to_the_caller(self) -> None:
        with Broker() as broker:
            with pytest.raises(UsageError):
                broker.publish("a", qos=5)
            assert broker.publish("a") == 0


class TestWhereItListens:
    @pytest.mark.parametrize("host", ["0.0.0.0", "", "::", "192.0.2.1", "broker.example"])
    def test_only_on_loopback(self, host: str) -> None:
        for broker in (Broker, AsyncBroker):
            with pytest.raises(UsageError, match="allow_remote"):
                broker(host=host)

    @pytest.mark.parametrize("host", ["0.0.0.0", "localhost", "127.0.0.2"])
    def test_elsewhere(self, host: str) -> None:
        with Broker(host=host, allow_remote=True) as broker:
            exchange(broker)

    def test_ipv6(self) -> None:
        try:
            with Broker(host="::1") as broker:
                assert broker.url == f"mqtt://[::1]:{broker.port}"
                exchange(broker)
        except OSError:
            pytest.skip("this machine has no IPv6")

    def test_a_unix_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "a socket"
        with Broker(unix=path) as broker:
            assert broker.url == f"unix://{tmp_path}/a%20socket"
            assert broker.port == 0
            exchange(broker)
            broker.stop()
            assert not path.exists()
            broker.start()
            exchange(broker)
        assert not path.exists()


class TestTls:
    def test_both_clients(self, certificates: Certificates) -> None:
        with Broker(tls=server_context(certificates)) as broker:
            assert broker.url.startswith("mqtts://")
            tls = client_context(certificates)
            exchange(broker, tls=tls)
            asyncio.run(async_exchange(broker.url, tls=tls))

    def test_nothing_goes_wrong_at_the_end(
        self, certificates: Certificates, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What a client says last comes when the broker has said its last."""

        async def connect_and_close(url: str) -> None:
            for _ in range(5):
                async with AsyncClient(url, tls=client_context(certificates)) as client:
                    await client.publish("t", qos=1)

        with Broker(tls=server_context(certificates)) as broker:
            asyncio.run(connect_and_close(broker.url))
        assert "Fatal error" not in caplog.text

    def test_large_messages(self, certificates: Certificates) -> None:
        with (
            Broker(tls=server_context(certificates)) as broker,
            Client(broker.url, tls=client_context(certificates)) as client,
            client.subscribe("a", qos=1) as messages,
        ):
            payload = bytes(range(256)) * 10_000
            client.publish("a", payload, qos=1)
            assert next(iter(messages)).payload == payload

    def test_the_last_packet_arrives(self, certificates: Certificates) -> None:
        with (
            Broker(tls=server_context(certificates)) as broker,
            socket.create_connection(("127.0.0.1", broker.port)) as raw,
            client_context(certificates).wrap_socket(raw, server_hostname="localhost") as sock,
        ):
            client = PlainClient(sock)
            client.connect("c")
            broker.disconnect_all(ReasonCode.USE_ANOTHER_SERVER)
            assert client.read() == Disconnect(ReasonCode.USE_ANOTHER_SERVER)
            assert client.read() is None

    def test_a_client_that_speaks_no_tls(self, certificates: Certificates) -> None:
        with Broker(tls=server_context(certificates)) as broker, plain(broker) as client:
            client.send(Connect("c"))
            with suppress(ConnectionResetError):
                while client.sock.recv(1024):
                    pass
            exchange(broker, tls=client_context(certificates))

    def test_a_handshake_that_does_not_come(self, certificates: Certificates) -> None:
        with Broker(tls=server_context(certificates)) as broker, plain(broker) as client:
            exchange(broker, tls=client_context(certificates))
            broker.stop()
            assert client.read() is None


class TestClients:
    def test_a_goodbye_from_the_client(self) -> None:
        with Broker() as broker, plain(broker, "c") as client:
            client.send(Pingreq(), Disconnect())
            while client.read() is not None:
                pass
            assert broker.sessions == {}

    def test_a_client_that_closes_its_side_only(self) -> None:
        with Broker() as broker, plain(broker, "c") as client:
            client.sock.shutdown(socket.SHUT_WR)
            assert client.read() is None

    def test_a_goodbye_from_the_broker(self) -> None:
        with Broker() as broker, plain(broker, "c") as client:
            broker.disconnect_all(ReasonCode.ADMINISTRATIVE_ACTION)
            client.send(*(Message("a", bytes(1000)) for _ in range(100)))  # not read any more
            assert client.read() == Disconnect(ReasonCode.ADMINISTRATIVE_ACTION)
            assert client.read() is None

    def test_no_goodbye(self) -> None:
        with Broker() as broker, plain(broker, "c") as client:
            broker.disconnect_all()
            assert client.read() is None

    def test_a_refusal(self) -> None:
        with Broker(refuse=ReasonCode.BANNED) as broker:
            with plain(broker) as client:
                assert client.connect().reason_code == ReasonCode.BANNED
                assert client.read() is None
            with pytest.raises(ConnectRefused), Client(broker.url):
                pass

    def test_a_silent_client(self) -> None:
        with Broker(server_keep_alive=1) as broker, plain(broker, "c") as client:
            # The broker's timer goes off, and nothing else wakes it.
            assert client.read() == Disconnect(ReasonCode.KEEP_ALIVE_TIMEOUT)
            assert client.read() is None

    def test_a_session_that_expires_while_nothing_happens(self) -> None:
        with Broker() as broker, plain(broker, "watcher") as watcher:
            watcher.subscribe("will")
            with plain(broker) as client:
                will = Will("will", b"gone", will_delay_interval=1000)
                client.connect("c", will=will, properties={"session_expiry_interval": 1})
            # The broker's timer goes off, and nothing else wakes it.
            assert watcher.read() == Message("will", b"gone")
            assert list(broker.sessions) == ["watcher"]

    def test_options_that_call_the_broker(self) -> None:
        def authenticate(connect: Connect) -> int:
            return broker.publish("connects", connect.client_id)  # nobody listens: 0

        with Broker(authenticate=authenticate) as broker:
            exchange(broker)

    def test_the_options_may_be_changed(self) -> None:
        with Broker() as broker:
            broker.core.options.refuse = ReasonCode.SERVER_BUSY
            with plain(broker) as client:
                assert client.connect().reason_code == ReasonCode.SERVER_BUSY
            broker.core.options.refuse = None
            exchange(broker)
            assert (broker.counters.connections, broker.counters.refused) == (1, 1)


class TestBackpressure:
    def test_a_client_that_does_not_read_its_messages(self) -> None:
        limit = 1_000_000
        with (
            Broker(maximum_unsent=limit, maximum_held_bytes=limit) as broker,
            plain(broker, "slow") as slow,
            Client(broker.url) as client,
        ):
            slow.subscribe("a", 1)
            for _ in range(1000):
                client.publish("a", bytes(10_000))
                client.publish("a", bytes(10_000), qos=1)
            counters = broker.counters
            # What the system buffers is some megabytes.
            assert counters.dropped > 500
            (unsent,) = (
                connection.unsent_size
                for connection in broker.core.connections
                if connection.owner is not None and connection.owner.client_id == "slow"
            )
            assert unsent < limit + 20_000
            assert broker.core.sessions["slow"].held_bytes <= limit
            slow.send(Pingreq())
            while slow.read() != Pingresp():
                pass

    def test_a_client_that_does_not_read_its_answers(self, tmp_path: Path) -> None:
        limit = 50_000
        path = tmp_path / "socket"  # the system buffers less here than with TCP
        with (
            Broker(unix=path, maximum_unsent=limit) as broker,
            socket.socket(socket.AF_UNIX) as sock,
        ):
            sock.connect(str(path))
            client = PlainClient(sock)
            client.connect("c")
            sock.settimeout(1.0)
            (connection,) = broker.core.connections
            sent = self.send_until(
                lambda: connection.unsent_size > limit, client, encode(Pingreq(), V5) * 10_000
            )
            assert connection.unsent_size < 10 * limit
            sock.settimeout(10.0)
            received = 0
            while received < sent // 2 * 2:  # PINGRESP is as long as PINGREQ
                received += len(sock.recv(1_000_000))
            assert received == sent // 2 * 2

    def send_until(self, blocked: Callable[[], bool], client: PlainClient, data: bytes) -> int:
        """Send until nothing more is taken, and the broker's reason is the one that is meant."""
        sent = 0
        while True:
            try:
                sent += client.sock.send(data[sent % 2 :])
            except TimeoutError:  # it may only be busy with what it has got
                if blocked():
                    return sent


async def async_exchange(url: str, **options: Any) -> None:
    async with (
        AsyncClient(url, **options) as client,
        client.subscribe("a", qos=2) as messages,
    ):
        await client.publish("a", b"x", qos=2)
        async for message in messages:
            assert message.payload == b"x"
            break


class TestAsyncBroker:
    def test_a_whole_life(self) -> None:
        async def scenario() -> None:
            async with AsyncBroker() as broker:
                await broker.start()  # it runs already
                await async_exchange(broker.url)
                broker.publish("r", b"x", retain=True, content_type="t")
                await broker.stop()
                await broker.stop()
                await broker.start()
                async with AsyncClient(broker.url) as client:
                    async with client.subscribe("r") as messages:
                        async for message in messages:
                            assert message.content_type == "t"
                            break
                    (info,) = broker.sessions.values()
                    assert info.connected
                    assert broker.counters.connections == 2
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(scenario(), debug=True)

    def test_in_one_loop_after_another(self, tmp_path: Path) -> None:
        broker = AsyncBroker(unix=tmp_path / "socket")

        async def scenario() -> None:
            async with broker, AsyncClient(broker.url) as client:
                await client.publish("a", qos=1)
                await broker.stop(forget=True)

        for _ in range(2):
            asyncio.run(scenario())

    def test_dropping(self) -> None:
        async def scenario() -> None:
            async with AsyncBroker() as broker:
                reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
                writer.write(encode(Connect("c"), V5))
                await reader.read(100)
                broker.disconnect_all()
                assert await reader.read() == b""
                writer.close()
                await writer.wait_closed()

        asyncio.run(scenario())

    def test_a_connection_that_comes_while_it_stops(self) -> None:
        async def scenario() -> None:
            async with AsyncBroker() as broker:
                loop = asyncio.get_running_loop()
                with socket.socket() as sock:
                    sock.setblocking(False)
                    await loop.sock_connect(sock, ("127.0.0.1", broker.port))
                    await broker.stop()
                    with suppress(ConnectionResetError):
                        assert await loop.sock_recv(sock, 1) == b""

        asyncio.run(scenario())
