"""TLS and Unix sockets: who is trusted, and who is not."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mqttlite import TLS, ConnectFailed, ConnectionClosed
from mqttlite.testing import Broker
from tests.behaviour import rule
from tests.shells.brokers import mosquitto
from tests.shells.lab import TIMEOUT, Lab
from tests.shells.leaks import ignored_port
from tests.support.certificates import Certificates
from tests.support.mosquitto import Mosquitto

only_5 = pytest.mark.parametrize("version", ["5.0"])


@pytest.fixture(scope="module")
def secure(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mosquitto]:
    """Run a Mosquitto with TLS listeners, one of which wants a certificate, and a Unix socket."""
    directory = tmp_path_factory.mktemp("secure")
    with mosquitto(directory, tls=certificates, unix=True) as process:
        yield process


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


async def there_and_back(lab: Lab, url: str, size: int = 100, **options: Any) -> None:
    """Show that a connection works, in both directions."""
    payload = bytes(range(256)) * (size // 256 + 1)
    async with (
        lab.client(url, **options) as client,
        client.subscribe(lab.topic, qos=2) as messages,
    ):
        await client.publish(lab.topic, payload, qos=2, timeout=TIMEOUT)
        assert (await messages.get(TIMEOUT)).payload == payload


@rule(6, 28)
@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_a_server_that_is_trusted(
    bench: Lab, secure: Mosquitto, certificates: Certificates, size: int
) -> None:
    url = f"mqtts://localhost:{secure.tls_port}"
    await there_and_back(bench, url, size, tls=TLS(ca_file=certificates.ca_file))


@rule(6)
async def test_a_client_with_a_certificate(
    bench: Lab, secure: Mosquitto, certificates: Certificates
) -> None:
    tls = TLS(
        ca_file=certificates.ca_file,
        certificate=certificates.client_certificate,
        private_key=certificates.client_key,
    )
    await there_and_back(bench, f"mqtts://127.0.0.1:{secure.tls_client_port}", tls=tls)


@only_5
async def test_a_client_without_the_certificate_that_is_wanted(
    bench: Lab, secure: Mosquitto, certificates: Certificates
) -> None:
    url = f"mqtts://127.0.0.1:{secure.tls_client_port}"
    client = bench.client(url, tls=TLS(ca_file=certificates.ca_file))
    with pytest.raises(ConnectionClosed):
        await client.connect()
    assert client.is_idle


@rule(6)
@only_5
@pytest.mark.parametrize("trust", ["system", "another CA"])
async def test_a_server_that_is_not_trusted(
    bench: Lab, secure: Mosquitto, certificates: Certificates, trust: str
) -> None:
    tls = True if trust == "system" else TLS(ca_file=certificates.other_ca_file)
    client = bench.client(f"mqtts://localhost:{secure.tls_port}", tls=tls)
    with pytest.raises(ConnectFailed, match=r"(?i)certificate.verify.failed") as caught:
        await client.connect()
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert client.is_idle


@rule(6)
@only_5
async def test_the_roots_of_the_system_are_the_default(
    bench: Lab, secure: Mosquitto, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca_file))
    await there_and_back(bench, f"mqtts://localhost:{secure.tls_port}")


@rule(6)
@only_5
async def test_a_context_of_ones_own(
    bench: Lab, secure: Mosquitto, certificates: Certificates
) -> None:
    context = ssl.create_default_context(cafile=str(certificates.ca_file))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    await there_and_back(bench, f"mqtts://localhost:{secure.tls_port}", tls=context)


@only_5
async def test_host_and_port_instead_of_a_url(
    bench: Lab, secure: Mosquitto, certificates: Certificates
) -> None:
    tls = TLS(ca_file=certificates.ca_file)
    client = type(bench.client())(host="localhost", port=secure.tls_port, tls=tls)
    await client.connect()
    assert client.is_connected
    await client.close()


@only_5
async def test_no_verification_if_that_is_wanted(bench: Lab, secure: Mosquitto) -> None:
    await there_and_back(bench, f"mqtts://127.0.0.1:{secure.tls_port}", tls=TLS(verify=False))


@rule(6)
@only_5
@pytest.mark.parametrize("fault", ["expired", "wrong_host"])
async def test_a_certificate_with_a_fault(
    bench: Lab, certificates: Certificates, fault: str
) -> None:
    context = server_context(
        getattr(certificates, f"{fault}_certificate"), getattr(certificates, f"{fault}_key")
    )
    with Broker(tls=context) as broker, ignored_port(broker.port):
        client = bench.client(broker.url, tls=TLS(ca_file=certificates.ca_file))
        words = {"expired": "expired", "wrong_host": "mismatch|not valid for"}[fault]
        with pytest.raises(ConnectFailed, match=words):
            await client.connect()


@rule(6)
@only_5
async def test_another_name_for_the_server(bench: Lab, certificates: Certificates) -> None:
    asked: list[object] = []
    context = server_context(certificates.wrong_host_certificate, certificates.wrong_host_key)
    context.sni_callback = lambda _object, name, _context: asked.append(name)
    name = "elsewhere.example.org"
    with Broker(tls=context) as broker, ignored_port(broker.port):
        tls = TLS(ca_file=certificates.ca_file, server_hostname=name)
        await there_and_back(bench, broker.url, tls=tls)
    assert asked == [name]


@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_a_unix_socket(bench: Lab, secure: Mosquitto, size: int) -> None:
    await there_and_back(bench, f"unix://{secure.unix_path}", size)


async def test_a_unix_socket_of_the_embedded_broker(bench: Lab, tmp_path: Path) -> None:
    with Broker(unix=tmp_path / "socket") as broker:
        await there_and_back(bench, broker.url)


@only_5
async def test_a_unix_socket_that_is_not_there(bench: Lab, tmp_path: Path) -> None:
    client = bench.client(f"unix://{tmp_path}/nobody")
    with pytest.raises(ConnectFailed, match="No such file"):
        await client.connect()
