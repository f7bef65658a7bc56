"""Where a server is: a URL, taken apart and checked."""

from mqttlite.errors import NotSupported, UsageError
from mqttlite.records import field, record, replace

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883, "ws": 80, "wss": 443}
_SCHEMES = "mqtt://, mqtts:// (TLS), ws:// or wss:// (WebSocket) or unix://"
_WEBSOCKET_PATH = "/mqtt"
_PLAIN_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")


@record(frozen=True)
class Endpoint:
    """A server's address, from a URL such as ``mqtts://user:secret@broker.example:8883``.

    ``path`` is the path of a Unix socket, or of a WebSocket URL with its query. The credentials
    are not shown, nor is the query, which may hold some.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = field(default="", repr=False)
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme in ("mqtts", "wss")

    @property
    def is_websocket(self) -> bool:
        """Whether MQTT is spoken in a WebSocket connection."""
        return self.scheme in ("ws", "wss")

    def without_credentials(self) -> "Endpoint":
        """The same server, whoever may use it."""
        if self.username is None and self.password is None:
            return self
        return replace(self, username=None, password=None)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path.partition('?')[0]}"

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Take a URL apart: ``mqtt://``, ``mqtts://``, ``ws://``, ``wss://`` or ``unix://``.

        User name and password of MQTT may stand in it, percent-encoded. The port is 1883, or
        8883 with TLS, 80 and 443 for WebSocket, if there is none; the path of a WebSocket is
        ``/mqtt`` then. Raises UsageError; the message does not repeat the URL, which may hold a
        password.
        """
        if not isinstance(url, str):
            raise UsageError(f"a URL must be a str, not {type(url).__name__}")
        scheme, separator, rest = url.partition("://")
        if not separator:
            raise UsageError('the URL has no scheme: write "mqtt://" or "mqtts://" before the host')
        scheme = scheme.lower()
        if scheme == "quic":
            raise NotSupported(f"quic:// is not supported yet: use {_SCHEMES}")
        if scheme != "unix" and scheme not in _DEFAULT_PORTS:
            raise UsageError(f"unknown URL scheme {scheme!r}: use {_SCHEMES}")
        if scheme in ("mqtt", "mqtts"):
            host, _, digits = rest.partition(":")
            if _is_plain(host, digits):
                return cls(scheme, host.lower(), int(digits or _DEFAULT_PORTS[scheme]))
        from urllib.parse import urlsplit  # noqa: PLC0415 - see _is_plain()

        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UsageError("the URL's host or port is not valid") from None
        username = None if parts.username is None else _unquote(parts.username)
        password = None if parts.password is None else _unquote(parts.password)
        is_websocket = scheme in ("ws", "wss")
        if parts.fragment or (parts.query and not is_websocket):
            raise UsageError("a URL has no query or fragment here: use keyword arguments")
        if scheme == "unix":
            path = _unquote(parts.path)
            if parts.hostname or not path:
                raise UsageError("a Unix socket is given as unix:///path/to/socket")
            return cls(scheme, path=path, username=username, password=password)
        if not parts.hostname:
            raise UsageError(f"the URL names no host: write {scheme}://HOST")
        path = ""
        if is_websocket:
            path = (parts.path or _WEBSOCKET_PATH) + (f"?{parts.query}" if parts.query else "")
        elif parts.path not in ("", "/"):
            raise UsageError(f"an {scheme}:// URL has no path")
        if port == 0:
            raise UsageError("port 0 cannot be connected to")
        return cls(
            scheme,
            parts.hostname,
            port or _DEFAULT_PORTS[scheme],
            path,
            username=username,
            password=password,
        )


def parse_server_reference(reference: str, base: Endpoint) -> list[Endpoint]:
    """Read the servers that a server names instead of itself (MQTT 5.0 section 4.11).

    They are separated by spaces, each a host with or without a port, or a URL. What they leave
    open is as it was: the scheme, so the encryption, and the credentials. Raises UsageError for
    one that cannot be read, and for one that would give up the encryption.
    """
    servers = []
    for name in reference.split():
        scheme = "mqtt" if base.scheme == "unix" else base.scheme
        path = base.path if base.is_websocket else ""
        url = name if "://" in name else f"{scheme}://{_bracket(name)}{path}"
        server = Endpoint.parse(url)
        if base.tls and not server.tls:
            raise UsageError(f"{base} refers to {server}, which is not encrypted")
        if server.scheme == "unix" and base.scheme != "unix":
            raise UsageError(f"{base} refers to a socket of this machine")
        if server.username is None:
            server = replace(server, username=base.username, password=base.password)
        servers.append(server)
    if not servers:
        raise UsageError("the server reference is empty")
    return servers


def _is_plain(host: str, port: str) -> bool:
    """Whether there is no need of ``urllib``, which is slow to import, to say what a URL means."""
    if not host or not _PLAIN_CHARACTERS.issuperset(host):
        return False
    return not port or (
        len(port) < 6 and port.isascii() and port.isdigit() and 0 < int(port) < 2**16
    )


def _bracket(name: str) -> str:
    """An IPv6 address without a port may come without its brackets."""
    return f"[{name}]" if name.count(":") > 1 and not name.startswith("[") else name


def _unquote(text: str) -> str:
    from urllib.parse import unquote  # noqa: PLC0415 - see _is_plain()

    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UsageError("the URL's percent-encoded bytes are not UTF-8") from None
