"""TLS as a layer without input or output, the same for both clients; and the contexts for it."""

import os
import ssl
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Final

from mqttlite.options import TLS

_READ_SIZE: Final = 64 * 1024

_MOST_KEPT: Final = 8
"""Contexts, each of which has some 150 certificates in it if it has the system's."""

_ROOTS_ARE_FILES: Final = sys.platform != "win32"

# Connections are opened in several threads: each step with it is one of C.
_kept: Final[OrderedDict[object, ssl.SSLContext]] = OrderedDict()


class TlsLayer:
    """One side of one TLS connection: the client's, or with ``server_side`` the server's.

    ``receive()`` takes what came from the network and returns what it means; ``send()`` takes
    what is to be sent; ``data_to_send()`` returns what the network is to get, after each of
    them. The handshake goes on by itself; until ``is_open`` nothing may be sent. What the server
    does wrong raises ``ssl.SSLError`` during the handshake; later it is in ``error``, after what
    came before it has been returned. The alert for it is in ``data_to_send()``.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        server_hostname: str | None = None,
        *,
        server_side: bool = False,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=server_hostname,
        )
        self.is_open = False
        self.error: ssl.SSLError | None = None
        self.has_ended = False
        """Whether the other side has said that nothing more will come."""
        self._handshake()

    def _handshake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.is_open = True

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the network; return what they contain."""
        self._incoming.write(data)
        if not self.is_open:
            self._handshake()
            if not self.is_open:
                return b""
        parts = []
        try:
            while part := self._object.read(_READ_SIZE):
                parts.append(part)
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self.error = error
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, data: bytes | memoryview) -> None:
        """Encrypt bytes for the network."""
        self._object.write(data)

    def close(self) -> None:
        """Say that nothing more will be sent."""
        with suppress(ssl.SSLError):  # it would wait for the server's answer, which nobody needs
            self._object.unwrap()

    def describe(self) -> str:
        """What was agreed on in the handshake, for the log."""
        cipher = self._object.cipher()
        return f"{self._object.version()} with {cipher[0] if cipher else 'no cipher'}"

    def data_to_send(self) -> bytes:
        """Return what is to be written to the network."""
        return self._outgoing.read()


def make_context(tls: TLS) -> ssl.SSLContext:
    """Return the SSLContext that ``TLS`` describes, a kept one or a new one.

    To read the system's roots takes more time than all the rest of a connection, and memory: one
    context serves all connections with the same settings, until a file changes. What has a key
    of its own in it is not kept. Raises OSError or ssl.SSLError for files that cannot be used.
    """
    if tls.context is not None:
        return tls.context
    key = _key(tls)
    context = _kept.get(key)
    if context is None:
        context = _build_context(tls)
        if key is not None:
            _kept[key] = context
            if len(_kept) > _MOST_KEPT:
                _kept.popitem(last=False)
    return context


def has_context(tls: TLS) -> bool:
    """Whether ``make_context()`` reads no files, so that it takes no time worth mentioning."""
    return tls.context is not None or _key(tls) in _kept


def _key(tls: TLS) -> object:
    """What a context can be known by, with the state of the files; None: it is not to be kept."""
    if tls.certificate is not None:
        return None
    if tls.ca_file is not None:
        files = [str(tls.ca_file)]
    elif not _ROOTS_ARE_FILES:  # that they have changed is not to be seen
        return None
    else:
        paths = ssl.get_default_verify_paths()
        if os.pathsep in os.environ.get(paths.openssl_capath_env, paths.openssl_capath):
            return None  # these directories are not named in the paths
        files = [path for path in (paths.cafile, paths.capath) if path]
    return tls.verify, tls.ca_file is None, tuple(tls.alpn), *map(_state, files)


def _state(file: str) -> object:
    """What is different when the file is another one, or there is none."""
    try:
        state = os.stat(file)  # noqa: PTH116 - a Path would only be made for it
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_mtime_ns, state.st_ctime_ns, state.st_size


def _build_context(tls: TLS) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=None if tls.ca_file is None else str(tls.ca_file))
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif tls.ca_file is None and not _system_has_roots(context):
        import certifi  # noqa: PLC0415 - it is slow to import, and few systems need it

        context.load_verify_locations(certifi.where())
    if tls.certificate is not None:
        context.load_cert_chain(
            str(tls.certificate),
            None if tls.private_key is None else str(tls.private_key),
            # Without one OpenSSL would ask on the terminal.
            tls.password or "",
        )
    if tls.alpn:
        context.set_alpn_protocols(list(tls.alpn))
    return context


def _system_has_roots(context: ssl.SSLContext) -> bool:
    """Whether the default roots are there; those in a directory are loaded when needed."""
    directory = ssl.get_default_verify_paths().capath
    return bool(context.cert_store_stats()["x509_ca"]) or (
        directory is not None and any(Path(directory).glob("*.0"))
    )
