"""Checks of the test support itself, with plain sockets and MQTT packets written by hand."""

import dataclasses
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.certificates import Certificates, make_certificates
from tests.support.mosquitto import Mosquitto, find_mosquitto
from tests.support.ports import free_ports
from tests.support.proxy import Direction, Proxy

TIMEOUT = 5.0
CONNACK = b"\x20\x02\x00\x00"
NOT_AUTHORISED = b"\x20\x02\x00\x05"

needs_mosquitto = pytest.mark.skipif(find_mosquitto() is None, reason="needs Mosquitto")


def text(value: str) -> bytes:
    return len(value).to_bytes(2, "big") + value.encode()


def packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([kind, len(body)]) + body


def connect_packet(*, user: tuple[str, str] | None = None, session: str | None = None) -> bytes:
    flags = (0 if session else 0x02) | (0xC0 if user else 0)
    payload = text(session or "") + b"".join(map(text, user or ()))
    return packet(0x10, text("MQTT") + bytes([4, flags, 0, 60]) + payload)


def publish_packet(topic: str, payload: bytes, flags: int) -> bytes:
    return packet(0x30 | flags, text(topic) + b"\0\1" + payload)


def subscribe_packet(topic: str) -> bytes:
    return packet(0x82, b"\0\2" + text(topic) + b"\1")


def tcp(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), TIMEOUT)


def receive(sock: socket.socket, count: int) -> bytes:
    """Return that many bytes, or fewer where the stream ends or is reset."""
    data = b""
    while len(data) < count:
        try:
            part = sock.recv(count - len(data))
        except ConnectionResetError:
            break
        if not part:
            break
        data += part
    return data


def talk(sock: socket.socket, *exchanges: tuple[bytes, bytes]) -> None:
    """Send each packet and expect its answer, then close."""
    with sock:
        for request, answer in exchanges:
            sock.sendall(request)
            assert receive(sock, len(answer)) == answer


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


class Echo:
    """Sends back whatever it receives, one connection after the other."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self.received: list[bytes] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            data = b""
            with sock:
                while part := receive(sock, 1):
                    data += part
                    if part == b"\xff":
                        return
                    # After a reset there may still be something to read.
                    with suppress(OSError):
                        sock.sendall(part)
            self.received.append(data)

    def close(self) -> None:
        with tcp(self.address[1]) as sock:
            sock.sendall(b"\xff")
            self._thread.join(TIMEOUT)
        self._listener.close()
        assert not self._thread.is_alive()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@needs_mosquitto
def test_mosquitto_listeners(tmp_path: Path, certificates: Certificates) -> None:
    user = ("someone", "secret")
    with Mosquitto(tmp_path, tls=certificates, unix=True, password=user) as broker:
        talk(tcp(broker.port), (connect_packet(), NOT_AUTHORISED))
        talk(tcp(broker.port), (connect_packet(user=user), CONNACK))

        unix = socket.socket(socket.AF_UNIX)
        unix.settimeout(TIMEOUT)
        unix.connect(str(broker.unix_path))
        talk(unix, (connect_packet(), CONNACK))

        context = ssl.create_default_context(cafile=str(certificates.ca_file))
        sock = context.wrap_socket(tcp(broker.tls_port), server_hostname="localhost")
        talk(sock, (connect_packet(), CONNACK))

        # With TLS 1.3 the client learns only after its handshake that it has been rejected.
        with (
            pytest.raises(OSError),  # noqa: PT011 - a reset or an alert
            context.wrap_socket(tcp(broker.tls_client_port), server_hostname="127.0.0.1") as sock,
        ):
            sock.recv(1)
        context.load_cert_chain(certificates.client_certificate, certificates.client_key)
        sock = context.wrap_socket(tcp(broker.tls_client_port), server_hostname="127.0.0.1")
        talk(sock, (connect_packet(), CONNACK))
    assert "terminating" in broker.log


@needs_mosquitto
@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        ("expired", "certificate has expired"),
        ("wrong_host", "Hostname mismatch"),
        ("other_ca", "unable to get local issuer certificate"),
    ],
)
def test_bad_server_certificates(
    tmp_path: Path, certificates: Certificates, bad: str, problem: str
) -> None:
    ca_file, server = certificates.ca_file, certificates
    if bad == "other_ca":
        ca_file = certificates.other_ca_file
    else:
        server = dataclasses.replace(
            certificates,
            server_certificate=getattr(certificates, f"{bad}_certificate"),
            server_key=getattr(certificates, f"{bad}_key"),
        )
    context = ssl.create_default_context(cafile=str(ca_file))
    with (
        Mosquitto(tmp_path, tls=server) as broker,
        tcp(broker.tls_port) as sock,
        pytest.raises(ssl.SSLCertVerificationError, match=problem),
    ):
        context.wrap_socket(sock, server_hostname="localhost")


@needs_mosquitto
@pytest.mark.parametrize("password", [None, ("someone", "secret")])
def test_what_was_saved_survives_a_kill(tmp_path: Path, password: tuple[str, str] | None) -> None:
    connect = connect_packet(user=password)
    resume = connect_packet(user=password, session="subscriber")
    subscribe, suback = subscribe_packet("a/b"), b"\x90\x03\0\2\1"
    publish, puback = publish_packet("a/b", b"kept", 0x03), b"\x40\x02\0\1"
    with Mosquitto(
        tmp_path,
        persistence=True,
        unix=True,
        password=password,
        extra=["max_inflight_messages 0", "max_queued_messages 0"],
    ) as broker:
        port = broker.port
        talk(tcp(port), (resume, CONNACK), (subscribe, suback))
        talk(tcp(port), (connect, CONNACK), (publish, puback))
        broker.save()
        broker.kill()
        with pytest.raises(ConnectionRefusedError):
            tcp(port)
        broker.start()
        assert broker.port == port
        # Both the message queued for a session and the retained one are there.
        queued = publish_packet("a/b", b"kept", 0x02)
        talk(tcp(port), (resume, b"\x20\x02\x01\x00" + queued))
        talk(tcp(port), (connect, CONNACK), (subscribe, suback + publish))


@needs_mosquitto
def test_mosquitto_that_cannot_start(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path, extra=["no_such_option true"])
    with pytest.raises(RuntimeError, match="no_such_option"):
        broker.start()


@needs_mosquitto
def test_mosquitto_takes_other_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, Mosquitto(tmp_path / "other") as other:
        choices = [free_ports(4), [other.port, 0, 0, 0], [taken.getsockname()[1], 0, 0, 0]]

        def choose(_: int) -> list[int]:
            return choices.pop()

        monkeypatch.setattr("tests.support.mosquitto.free_ports", choose)
        with Mosquitto(tmp_path) as broker:
            talk(tcp(broker.port), (connect_packet(), CONNACK))


@pytest.mark.parametrize("chunk", [1, 7, 65536])
@pytest.mark.parametrize("count", [1, 2, 99, 100])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_proxy_cuts_at_exactly(echo: Echo, direction: Direction, count: int, chunk: int) -> None:
    with Proxy(echo.address, cut_after=count, cuts=1, direction=direction, chunk=chunk) as proxy:
        data = bytes(range(100))
        with tcp(proxy.port) as sock:
            sock.sendall(data + b"more")
            answer = receive(sock, 104)
        proxy.wait_for(lambda p: p.cuts_made == 1 and p.open_connections == 0)
        if direction == "up":
            assert proxy.bytes_up == count
            assert answer == data[: len(answer)]
        else:
            assert proxy.bytes_down == count
            assert answer == data[:count]
        with tcp(proxy.port) as sock:
            sock.sendall(data)
            assert receive(sock, 100) == data
    if direction == "up":
        # The echo is over with the first connection when it answers on the second.
        assert echo.received[0] == data[:count]


def test_proxy_cuts_before_the_first_byte(echo: Echo) -> None:
    with Proxy(echo.address, cut_after=0, cuts=2) as proxy:
        for _ in range(2):
            with pytest.raises(ConnectionResetError), tcp(proxy.port) as sock:
                sock.recv(1)
        talk(tcp(proxy.port), (b"a", b"a"))
        assert (proxy.cuts, proxy.cuts_made, proxy.connections) == (0, 2, 3)


def test_proxy_cuts_in_both_directions(echo: Echo) -> None:
    with Proxy(echo.address, cut_after=5) as proxy:
        for connection in (1, 2, 3):
            with tcp(proxy.port) as sock:
                for octet in (b"a", b"b"):
                    sock.sendall(octet)
                    assert receive(sock, 1) == octet
                sock.sendall(b"c")
                with pytest.raises(ConnectionResetError):
                    sock.recv(1)
            assert (proxy.bytes_up, proxy.bytes_down) == (3 * connection, 2 * connection)
        assert proxy.connections == proxy.cuts_made == 3


def test_proxy_cuts_and_freezes_on_demand(echo: Echo) -> None:
    with Proxy(echo.address) as proxy, tcp(proxy.port) as sock:
        sock.sendall(b"a")
        assert receive(sock, 1) == b"a"
        proxy.freeze()
        sock.sendall(b"b")
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert proxy.bytes_up == 1
        assert proxy.open_connections == 1
        proxy.thaw()
        sock.settimeout(TIMEOUT)
        assert receive(sock, 1) == b"b"
        proxy.cut()
        assert proxy.open_connections == 0
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_proxy_refuses_and_swallows(echo: Echo) -> None:
    with Proxy(echo.address, refuse=True) as proxy:
        with tcp(proxy.port) as sock:
            assert receive(sock, 1) == b""
        proxy.refuse, proxy.black_hole = False, True
        with tcp(proxy.port) as sock:
            sock.sendall(b"a")
            sock.settimeout(0.05)
            with pytest.raises(TimeoutError):
                sock.recv(1)
        proxy.wait_for(lambda p: p.connections == 2 and p.open_connections == 0)
        proxy.black_hole = False
        with tcp(proxy.port) as sock:
            sock.sendall(b"a")
            assert receive(sock, 1) == b"a"
        with pytest.raises(TimeoutError, match="3 connections"):
            proxy.wait_for(lambda p: p.connections == 4, timeout=0.01)


def test_proxy_passes_on_the_end_of_a_stream(echo: Echo) -> None:
    with Proxy(echo.address) as proxy, tcp(proxy.port) as sock:
        sock.sendall(b"a")
        sock.shutdown(socket.SHUT_WR)
        assert receive(sock, 2) == b"a"
        proxy.wait_for(lambda p: p.open_connections == 0)


def test_proxy_forwards_what_the_peer_has_yet_to_read() -> None:
    size = 1_000_003
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        Proxy(listener.getsockname(), cut_after=size, direction="up") as proxy,
        tcp(proxy.port) as sock,
    ):
        sender = threading.Thread(target=sock.sendall, args=(bytes(size),))
        sender.start()
        server, _ = listener.accept()
        with server:
            server.settimeout(TIMEOUT)
            assert len(receive(server, 2 * size)) == size
        sender.join(TIMEOUT)


def test_proxy_without_a_target_and_closing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    before = threading.active_count()
    with Proxy(address) as proxy:
        with tcp(proxy.port) as sock:
            assert receive(sock, 1) == b""
        port = proxy.port
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        tcp(port)
    with pytest.raises(RuntimeError, match="closed"):
        proxy.cut()
