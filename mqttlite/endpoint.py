"""Where a server is: a URL, taken apart and checked."""

from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from mqttlite.errors import NotSupported, UsageError

_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_PLANNED = ("ws", "wss", "quic")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's address, from a URL such as ``mqtts://user:secret@broker.example:8883``.

    ``path`` is the path of a Unix socket. The credentials are not shown.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted."""
        return self.scheme == "mqtts"

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> "Endpoint":
        """Take a URL apart: ``mqtt://``, ``mqtts://`` or ``unix://``.

        User name and password may stand in it, percent-encoded. The port is 1883, or 8883 with
        TLS, if there is none. Raises UsageError; the message does not repeat the URL, which may
        hold a password.
        """
        if not isinstance(url, str):
            raise UsageError(f"a URL must be a str, not {type(url).__name__}")
        scheme, separator, _ = url.partition("://")
        if not separator:
            raise UsageError('the URL has no scheme: write "mqtt://" or "mqtts://" before the host')
        scheme = scheme.lower()
        if scheme in _PLANNED:
            raise NotSupported(
                f"{scheme}:// is not supported yet: use mqtt://, mqtts:// or unix://"
            )
        if scheme not in ("mqtt", "mqtts", "unix"):
            raise UsageError(
                f"unknown URL scheme {scheme!r}: use mqtt://, mqtts:// (TLS) or unix://"
            )
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UsageError("the URL's host or port is not valid") from None
        username = None if parts.username is None else _unquote(parts.username)
        password = None if parts.password is None else _unquote(parts.password)
        if parts.query or parts.fragment:
            raise UsageError("a URL has no query or fragment here: use keyword arguments")
        if scheme == "unix":
            path = _unquote(parts.path)
            if parts.hostname or not path:
                raise UsageError("a Unix socket is given as unix:///path/to/socket")
            return cls(scheme, path=path, username=username, password=password)
        if not parts.hostname:
            raise UsageError(f"the URL names no host: write {scheme}://HOST")
        if parts.path not in ("", "/"):
            raise UsageError(f"an {scheme}:// URL has no path")
        if port == 0:
            raise UsageError("port 0 cannot be connected to")
        return cls(
            scheme,
            parts.hostname,
            port or _DEFAULT_PORTS[scheme],
            username=username,
            password=password,
        )


def _unquote(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise UsageError("the URL's percent-encoded bytes are not UTF-8") from None
