"""Certificates for TLS tests, good ones and ones a client has to reject."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trustme


@dataclass(frozen=True)
class Certificates:
    """Paths of PEM files; every certificate is signed by `ca_file`.

    To run a broker with one of the bad server certificates, put it in the place of the good one
    with `dataclasses.replace`.
    """

    ca_file: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path
    other_ca_file: Path
    expired_certificate: Path
    expired_key: Path
    wrong_host_certificate: Path
    wrong_host_key: Path


def make_certificates(directory: Path) -> Certificates:
    """Create a CA, an unrelated CA and all certificates as files in the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    ca = trustme.CA()
    hosts = ("localhost", "127.0.0.1", "::1")

    def ca_file(name: str, authority: trustme.CA) -> Path:
        path = directory / f"{name}.pem"
        authority.cert_pem.write_to_path(path)
        return path

    def pair(name: str, *identities: str, not_after: datetime | None = None) -> tuple[Path, Path]:
        leaf = ca.issue_cert(*identities, not_after=not_after)
        certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
        leaf.private_key_pem.write_to_path(key)
        for index, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(certificate, append=index > 0)
        return certificate, key

    server_certificate, server_key = pair("server", *hosts)
    client_certificate, client_key = pair("client", "client@example.org")
    expired_certificate, expired_key = pair(
        "expired", *hosts, not_after=datetime(2020, 1, 1, tzinfo=UTC)
    )
    wrong_host_certificate, wrong_host_key = pair("wrong-host", "elsewhere.example.org")
    return Certificates(
        ca_file=ca_file("ca", ca),
        server_certificate=server_certificate,
        server_key=server_key,
        client_certificate=client_certificate,
        client_key=client_key,
        other_ca_file=ca_file("other-ca", trustme.CA()),
        expired_certificate=expired_certificate,
        expired_key=expired_key,
        wrong_host_certificate=wrong_host_certificate,
        wrong_host_key=wrong_host_key,
    )
