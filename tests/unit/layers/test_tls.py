"""TLS between two sides in memory."""

from __future__ import annotations

import os
import shutil
import ssl
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography.hazmat.primitives import serialization

import mqttlite.layers.tls
from mqttlite.layers.tls import TlsLayer, has_context, make_context
from mqttlite.options import TLS
from tests.behaviour import rule
from tests.support.certificates import Certificates, make_certificates


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[object, ssl.SSLContext]:
    """No context is left from the test before."""
    contexts: OrderedDict[object, ssl.SSLContext] = OrderedDict()
    monkeypatch.setattr(mqttlite.layers.tls, "_kept", contexts)
    return contexts


class Peer:
    """The server's side, with the standard library alone."""

    def __init__(self, certificate: Path, key: Path, **settings: Any) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        if "client_ca" in settings:
            self.context.load_verify_locations(settings["client_ca"])
            self.context.verify_mode = ssl.CERT_REQUIRED
        if "alpn" in settings:
            self.context.set_alpn_protocols(settings["alpn"])
        if "version" in settings:
            self.context.maximum_version = settings["version"]
        self.names: list[str | None] = []
        self.context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.object = self.context.wrap_bio(self.incoming, self.outgoing, server_side=True)
        self.is_open = False

    def receive(self, data: bytes) -> bytes:
        self.incoming.write(data)
        with suppress(ssl.SSLWantReadError):
            if not self.is_open:
                self.object.do_handshake()
                self.is_open = True
            return self.object.read(1 << 20)
        return b""


def peer_of(files: Certificates, **settings: Any) -> Peer:
    return Peer(files.server_certificate, files.server_key, **settings)


def talk(client: TlsLayer, peer: Peer) -> None:
    for _ in range(5):
        peer.receive(client.data_to_send())
        client.receive(peer.outgoing.read())


def opened(tls: TLS, peer: Peer, hostname: str | None = "localhost") -> TlsLayer:
    """Let the two sides talk until both have done with the handshake."""
    client = TlsLayer(make_context(tls), hostname)
    assert not client.is_open
    for _ in range(5):
        if data := client.data_to_send():
            assert peer.receive(data) == b""
        assert client.receive(peer.outgoing.read()) == b""
    assert client.is_open
    assert peer.is_open
    return client


def good(files: Certificates, **arguments: Any) -> TLS:
    return TLS(ca_file=files.ca_file, **arguments)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_directions(files: Certificates, version: ssl.TLSVersion) -> None:
    peer = peer_of(files, version=version)
    client = opened(good(files), peer)
    assert client.data_to_send() == b""
    client.send(b"to the server")
    sent = client.data_to_send()
    assert b"server" not in sent
    assert peer.receive(sent) == b"to the server"
    peer.object.write(b"to the client")
    assert client.receive(peer.outgoing.read()) == b"to the client"
    assert client.error is None
    assert client._object.version() == (
        "TLSv1.2" if version < ssl.TLSVersion.TLSv1_3 else "TLSv1.3"
    )


def test_memoryview_is_sent(files: Certificates) -> None:
    peer = peer_of(files)
    client = opened(good(files), peer)
    client.send(memoryview(b"xyz")[1:])
    assert peer.receive(client.data_to_send()) == b"yz"


def test_byte_by_byte(files: Certificates) -> None:
    peer = peer_of(files)
    client = TlsLayer(make_context(good(files)), "localhost")
    received = b""
    for _ in range(5):
        for byte in client.data_to_send():
            peer.receive(bytes((byte,)))
        for byte in peer.outgoing.read():
            received += client.receive(bytes((byte,)))
    assert client.is_open
    peer.object.write(b"slowly")
    for byte in peer.outgoing.read():
        received += client.receive(bytes((byte,)))
    assert received == b"slowly"


@rule(28)
def test_many_records_at_once(files: Certificates) -> None:
    # Rule 28: nothing stays behind in the layer.
    peer = peer_of(files)
    client = opened(good(files), peer)
    data = bytes(range(256)) * 2000
    for start in range(0, len(data), 16_000):
        peer.object.write(data[start : start + 16_000])
    assert client.receive(peer.outgoing.read()) == data
    assert client.receive(b"") == b""


def test_data_that_comes_with_the_end_of_the_handshake(files: Certificates) -> None:
    peer = peer_of(files, version=ssl.TLSVersion.TLSv1_2)
    client = TlsLayer(make_context(good(files)), "localhost")
    peer.receive(client.data_to_send())
    client.receive(peer.outgoing.read())
    peer.receive(client.data_to_send())
    assert peer.is_open
    assert not client.is_open
    peer.object.write(b"at once")
    assert client.receive(peer.outgoing.read()) == b"at once"


def test_name_that_is_asked_for(files: Certificates) -> None:
    peer = peer_of(files)
    opened(good(files), peer)
    assert peer.names == ["localhost"]


def test_address_instead_of_a_name(files: Certificates) -> None:
    peer = peer_of(files)
    opened(good(files), peer, "127.0.0.1")
    assert peer.names == [None]


class TestRejected:
    """Rule 6: TLS verifies."""

    def rejected(self, tls: TLS, peer: Peer) -> str:
        client = TlsLayer(make_context(tls), "localhost")
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            talk(client, peer)
        assert not client.is_open
        alert = client.data_to_send()
        assert alert  # the server is told
        with pytest.raises(ssl.SSLError):
            peer.receive(alert)
        return str(raised.value)

    def test_unknown_authority(self, files: Certificates) -> None:
        said = self.rejected(TLS(ca_file=files.other_ca_file), peer_of(files))
        assert "unable to get local issuer" in said

    def test_the_default_roots_do_not_know_it(self, files: Certificates) -> None:
        assert "certificate verify failed" in self.rejected(TLS(), peer_of(files))

    def test_expired(self, files: Certificates) -> None:
        peer = Peer(files.expired_certificate, files.expired_key)
        assert "expired" in self.rejected(good(files), peer)

    def test_another_host(self, files: Certificates) -> None:
        peer = Peer(files.wrong_host_certificate, files.wrong_host_key)
        assert "Hostname mismatch" in self.rejected(good(files), peer)

    def test_unless_it_is_not_to_be_verified(self, files: Certificates) -> None:
        peer = Peer(files.wrong_host_certificate, files.wrong_host_key)
        assert opened(TLS(verify=False), peer).is_open


def test_client_certificate(files: Certificates) -> None:
    peer = peer_of(files, client_ca=files.ca_file)
    tls = good(files, certificate=files.client_certificate, private_key=files.client_key)
    opened(tls, peer)
    assert peer.object.getpeercert()


def test_certificate_and_key_in_one_file(files: Certificates, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(files.client_key.read_bytes() + files.client_certificate.read_bytes())
    opened(good(files, certificate=both), peer_of(files, client_ca=files.ca_file))


def test_key_with_a_password(files: Certificates, tmp_path: Path) -> None:
    key = serialization.load_pem_private_key(files.client_key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    make_context(TLS(certificate=files.client_certificate, private_key=locked, password="secret"))
    for password in ("wrong", None):
        with pytest.raises(ssl.SSLError):  # and nobody is asked on the terminal
            make_context(
                TLS(certificate=files.client_certificate, private_key=locked, password=password)
            )


@rule(6)
def test_application_protocol(files: Certificates) -> None:
    peer = peer_of(files, alpn=["mqtt"])
    client = opened(good(files, alpn=("other", "mqtt")), peer)
    assert client._object.selected_alpn_protocol() == "mqtt"
    assert peer.object.selected_alpn_protocol() == "mqtt"


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        make_context(TLS(ca_file=tmp_path / "none"))
    with pytest.raises(OSError, match="No such file"):
        make_context(TLS(certificate=tmp_path / "none"))


def test_context_of_ones_own() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    assert make_context(TLS(context=context)) is context


def test_defaults_of_the_context() -> None:
    context = make_context(TLS())
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname is True
    lax = make_context(TLS(verify=False))
    assert lax.verify_mode is ssl.CERT_NONE
    assert lax.check_hostname is False


class TestKeptContexts:
    @rule(6)
    def test_one_serves_all_with_the_same_settings(self, files: Certificates) -> None:
        assert not has_context(TLS(ca_file=files.ca_file))
        context = make_context(TLS(ca_file=files.ca_file))
        assert has_context(TLS(ca_file=str(files.ca_file)))
        assert make_context(TLS(ca_file=str(files.ca_file))) is context
        name = TLS(ca_file=files.ca_file, server_hostname="other")  # is that of a connection
        assert make_context(name) is context

    def test_other_settings_have_another_one(self, files: Certificates) -> None:
        settings = [
            TLS(ca_file=files.ca_file),
            TLS(ca_file=files.other_ca_file),
            TLS(ca_file=files.ca_file, alpn=["mqtt"]),
            TLS(ca_file=files.ca_file, alpn=["mqtt", "other"]),
            TLS(),
            TLS(verify=False),
        ]
        contexts = [make_context(tls) for tls in settings]
        assert len(set(contexts)) == len(settings)
        assert [make_context(tls) for tls in settings] == contexts

    @rule(6)
    def test_a_file_is_read_again_when_it_has_changed(
        self, files: Certificates, tmp_path: Path
    ) -> None:
        tls = TLS(ca_file=tmp_path / "ca.pem")
        shutil.copy(files.ca_file, tmp_path / "ca.pem")
        old = make_context(tls)
        shutil.copy(files.other_ca_file, tmp_path / "ca.pem")
        os.utime(tmp_path / "ca.pem", ns=(0, 0))  # else it may be as old as the other one
        assert not has_context(tls)
        new = make_context(tls)
        assert new.get_ca_certs() != old.get_ca_certs()
        shutil.copy(files.ca_file, tmp_path / "new")
        os.utime(tmp_path / "new", ns=(0, 0))
        (tmp_path / "new").replace(tmp_path / "ca.pem")
        assert make_context(tls).get_ca_certs() == old.get_ca_certs()
        (tmp_path / "ca.pem").unlink()
        with pytest.raises(OSError, match="No such file"):
            make_context(tls)

    @pytest.mark.parametrize("which", ["cafile", "capath"])
    def test_the_systems_roots_are_read_again_when_they_have_changed(
        self, which: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        (tmp_path / "cafile").touch()
        (tmp_path / "capath").mkdir()
        roots: dict[str, Any] = {name: str(tmp_path / name) for name in ("cafile", "capath")}
        paths = ssl.get_default_verify_paths()._replace(**roots)
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
        context = make_context(TLS())
        assert make_context(TLS()) is context
        os.utime(tmp_path / which, ns=(0, 0))
        assert not has_context(TLS())
        assert make_context(TLS()) is not context

    def test_a_file_is_read_again_when_nothing_but_its_contents_has_changed(
        self, files: Certificates, tmp_path: Path
    ) -> None:
        """Neither its size nor what it says of its time: as with archives and images."""
        path = tmp_path / "ca.pem"
        contents = [ca.read_bytes() for ca in (files.ca_file, files.other_ca_file)]
        size = max(map(len, contents))
        path.write_bytes(contents[0].ljust(size, b"\n"))
        os.utime(path, ns=(0, 0))
        old, before = make_context(TLS(ca_file=path)), path.stat()
        while path.stat().st_ctime_ns == before.st_ctime_ns:  # the system's clock has ticks
            path.write_bytes(contents[1].ljust(size, b"\n"))
            os.utime(path, ns=(0, 0))
        after = path.stat()
        assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, size, 0)
        assert make_context(TLS(ca_file=path)).get_ca_certs() != old.get_ca_certs()

    @rule(6)
    def test_a_file_of_ones_own_is_not_the_systems(
        self, files: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where it is the same file, the system may have directories beside it, or certifi."""
        roots: dict[str, Any] = {"cafile": str(files.ca_file), "capath": None}
        paths = ssl.get_default_verify_paths()._replace(**roots)
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
        assert make_context(TLS()) is not make_context(TLS(ca_file=files.ca_file))

    def test_several_directories_of_roots(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_DIR", f"/a{os.pathsep}/b")
        make_context(TLS())
        assert not has_context(TLS())

    def test_where_the_systems_roots_are_in_no_file(
        self, files: Certificates, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mqttlite.layers.tls, "_ROOTS_ARE_FILES", False)
        make_context(TLS())
        assert not has_context(TLS())
        make_context(TLS(ca_file=files.ca_file))
        assert has_context(TLS(ca_file=files.ca_file))

    @rule(6)
    def test_a_key_of_ones_own_is_not_kept(
        self, files: Certificates, kept: dict[object, ssl.SSLContext]
    ) -> None:
        tls = good(files, certificate=files.client_certificate, private_key=files.client_key)
        make_context(tls)
        assert not has_context(tls)
        assert not kept

    def test_one_of_the_programs_own_needs_not_be_kept(
        self, kept: dict[object, ssl.SSLContext]
    ) -> None:
        tls = TLS(context=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        make_context(tls)
        assert has_context(tls)
        assert not kept

    def test_only_so_many_are_kept(
        self, files: Certificates, kept: dict[object, ssl.SSLContext]
    ) -> None:
        settings = [TLS(ca_file=files.ca_file, alpn=[f"{i}"]) for i in range(9)]
        for tls in settings:
            make_context(tls)
        assert len(kept) == 8
        assert [has_context(tls) for tls in settings] == [False] + [True] * 8


class TestRoots:
    def test_those_of_certifi_where_the_system_has_none(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        loaded: list[str] = []

        class Recording(ssl.SSLContext):
            def load_verify_locations(self, cafile: Any = None, *_: Any, **__: Any) -> None:
                loaded.append(cafile)

        def without_roots(cafile: str | None) -> ssl.SSLContext:
            assert cafile is None
            return Recording(ssl.PROTOCOL_TLS_CLIENT)

        paths = ssl.get_default_verify_paths()._replace(capath=str(tmp_path))
        monkeypatch.setattr(ssl, "create_default_context", without_roots)
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
        make_context(TLS())
        assert loaded == [certifi.where()]
        # Those in a directory are only loaded when one of them is needed.
        (tmp_path / "01234567.0").touch()
        make_context(TLS())
        assert len(loaded) == 1
        # There may be no such directory.
        none = paths._replace(capath=None)  # type: ignore[arg-type]
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: none)
        make_context(TLS())
        assert len(loaded) == 2


class TestTheEnd:
    def test_this_side_closes(self, files: Certificates) -> None:
        peer = peer_of(files)
        client = opened(good(files), peer)
        client.send(b"last")
        client.close()
        peer.incoming.write(client.data_to_send())
        assert peer.object.read(100) == b"last"
        assert peer.object.read(100) == b""
        client.close()  # twice

    def test_the_server_closes(self, files: Certificates) -> None:
        peer = peer_of(files)
        client = opened(good(files), peer)
        peer.object.write(b"last")
        with suppress(ssl.SSLWantReadError):
            peer.object.unwrap()
        assert not client.has_ended
        assert client.receive(peer.outgoing.read()) == b"last"
        assert client.has_ended
        assert client.error is None
        assert client.receive(b"") == b""

    def test_close_before_the_handshake_is_done(self, files: Certificates) -> None:
        client = TlsLayer(make_context(good(files)), "localhost")
        client.data_to_send()
        client.close()

    def test_garbage_instead_of_a_handshake(self, files: Certificates) -> None:
        client = TlsLayer(make_context(good(files)), "localhost")
        with pytest.raises(ssl.SSLError):
            client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    def test_garbage_later_comes_after_what_was_good(self, files: Certificates) -> None:
        peer = peer_of(files)
        client = opened(good(files), peer)
        peer.object.write(b"good")
        assert client.receive(peer.outgoing.read() + b"\x17\x03\x03\x00\x20" + bytes(32)) == b"good"
        assert isinstance(client.error, ssl.SSLError)
        assert client.data_to_send()  # the alert


def test_description(files: Certificates) -> None:
    client = opened(good(files), peer_of(files, version=ssl.TLSVersion.TLSv1_3))
    assert client.describe().startswith("TLSv1.3 with TLS_")
    assert TlsLayer(make_context(TLS()), "h").describe().endswith("no cipher")
