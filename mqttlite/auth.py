"""Enhanced authentication (MQTT 5.0 section 4.12): the protocol of a handler, and SCRAM."""

from __future__ import annotations

import hashlib
import hmac
import stringprep
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from secrets import token_urlsafe
from typing import Final, Literal, Protocol
from unicodedata import ucd_3_2_0

from mqttlite.errors import AuthError, UsageError
from mqttlite.message import Properties

Reply = bytes | None | Awaitable[bytes | None]
"""What a handler answers with: authentication data, or nothing; a coroutine is awaited."""


class AuthHandler(Protocol):
    """Authenticates the client to the server, and the server to the client.

    Its methods are called one after the other: ``start`` for every attempt to connect and for
    every ``reauthenticate()``, then ``respond`` for every AUTH packet of the server, and
    ``finish`` when the server says that all is well. Plain functions are called in a thread of
    their own, so they may take their time; with ``AsyncClient`` they may be coroutine functions,
    which are awaited in its loop. What they raise ends the attempt.

    ``properties`` are those of the server's packet: its reason string and user properties, too.
    """

    @property
    def method(self) -> str:
        """The name of the authentication method, as the server knows it."""
        raise NotImplementedError

    def start(self) -> Reply:
        """Begin anew; return the data for CONNECT, or for the AUTH that begins it again."""

    def respond(self, data: bytes, properties: Properties) -> Reply:
        """Return the answer to the data of the server's AUTH."""

    def finish(self, data: bytes, properties: Properties) -> Awaitable[None] | None:
        """Check the data that came with success; raise AuthError if the server is not trusted."""


Hash = Literal["sha256", "sha1"]

_MINIMUM_ITERATIONS: Final = 4096  # RFC 7677 section 4
_MAXIMUM_ITERATIONS: Final = 10_000_000
"""More than this a server asks for only to keep the client busy."""


class ScramAuth:
    """SCRAM (RFC 5802, RFC 7677): the password is never sent, and the server has to know it, too.

    ``hash_name`` is ``"sha256"`` (the method SCRAM-SHA-256) or ``"sha1"`` (SCRAM-SHA-1). User
    name and password are prepared with SASLprep (RFC 4013). A server that asks for fewer than
    ``minimum_iterations`` is not answered. Raises UsageError for names that SASLprep forbids.
    """

    def __init__(
        self,
        username: str,
        password: str,
        *,
        hash_name: Hash = "sha256",
        minimum_iterations: int = _MINIMUM_ITERATIONS,
        make_nonce: Callable[[], str] = token_urlsafe,
    ) -> None:
        if hash_name not in ("sha256", "sha1"):
            raise UsageError(f'hash_name must be "sha256" or "sha1", not {hash_name!r}')
        if not saslprep(username, "username"):
            raise UsageError("username must have at least one character")
        self._hash = hash_name
        self._username = saslprep(username, "username").replace("=", "=3D").replace(",", "=2C")
        self._password = saslprep(password, "password").encode()
        self._minimum_iterations = minimum_iterations
        self._make_nonce = make_nonce
        self._nonce = ""
        self._first = ""
        self._server_signature = b""
        # Salting takes long: it is done again only if the server's salt changes.
        self._salted: tuple[bytes, int, bytes] = (b"", 0, b"")

    @property
    def method(self) -> str:
        """The name of the authentication method."""
        return "SCRAM-SHA-256" if self._hash == "sha256" else "SCRAM-SHA-1"

    def start(self) -> bytes:
        """Return the client's first message."""
        self._nonce = self._make_nonce()
        self._first = f"n={self._username},r={self._nonce}"
        self._server_signature = b""
        return b"n,," + self._first.encode()

    def respond(self, data: bytes, properties: Properties) -> bytes:  # noqa: ARG002 - the protocol
        """Return the proof that this side knows the password."""
        if self._server_signature or not self._nonce:
            raise AuthError("the server sends a further SCRAM challenge, which there is not")
        server_first, fields = _read(data)
        nonce, salt, iterations = self._check_challenge(fields)
        salted = self._salt(salt, iterations)
        final = f"c=biws,r={nonce}"
        signed = f"{self._first},{server_first},{final}".encode()
        client_key = self._mac(salted, b"Client Key")
        stored_key = hashlib.new(self._hash, client_key).digest()
        signature = self._mac(stored_key, signed)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._server_signature = self._mac(self._mac(salted, b"Server Key"), signed)
        return f"{final},p={b64encode(proof).decode()}".encode()

    def _check_challenge(self, fields: dict[str, str]) -> tuple[str, bytes, int]:
        if "m" in fields:
            raise AuthError("the server wants a SCRAM extension that is not supported")
        nonce = fields.get("r", "")
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise AuthError("the server's SCRAM nonce does not continue this client's")
        digits = fields.get("i", "")
        iterations = int(digits) if digits.isdecimal() and len(digits) < 10 else 0
        if not self._minimum_iterations <= iterations <= _MAXIMUM_ITERATIONS:
            raise AuthError(
                f"the server asks for {iterations} SCRAM iterations; from "
                f"{self._minimum_iterations} to {_MAXIMUM_ITERATIONS} are accepted"
            )
        return nonce, _decode(fields.get("s", "")), iterations

    def finish(self, data: bytes, properties: Properties) -> None:  # noqa: ARG002 - the protocol
        """Check that the server knows the password, too."""
        _, fields = _read(data)
        if not self._server_signature or not hmac.compare_digest(
            _decode(fields.get("v", "")), self._server_signature
        ):
            raise AuthError("the server has not proved that it knows the password")

    def _salt(self, salt: bytes, iterations: int) -> bytes:
        known_salt, known_iterations, salted = self._salted
        if (known_salt, known_iterations) != (salt, iterations):
            salted = hashlib.pbkdf2_hmac(self._hash, self._password, salt, iterations)
            self._salted = (salt, iterations, salted)
        return salted

    def _mac(self, key: bytes, message: bytes) -> bytes:
        return hmac.digest(key, message, self._hash)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.method}>"


def _read(data: bytes) -> tuple[str, dict[str, str]]:
    """Take a SCRAM message apart: ``a=text,b=text``."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise AuthError("the server's SCRAM message is not UTF-8") from None
    fields = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
    if "e" in fields:
        raise AuthError(f"the server refuses: {fields['e'][:80]!r}")
    return text, fields


def _decode(text: str) -> bytes:
    try:
        decoded = b64decode(text, validate=True)
    except ValueError:
        decoded = b""
    if not decoded:
        raise AuthError("the server's SCRAM message lacks a value, or it is not base64")
    return decoded


def saslprep(text: str, what: str) -> str:
    """Prepare a user name or a password (RFC 4013). Raises UsageError, without showing it."""
    if not isinstance(text, str):
        raise UsageError(f"{what} must be a str, not {type(text).__name__}")
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if not stringprep.in_table_b1(character)
    )
    prepared = ucd_3_2_0.normalize("NFKC", mapped)
    if any(is_in(character) for character in prepared for is_in in _PROHIBITED):
        raise UsageError(f"{what} has a character that SASLprep (RFC 4013) forbids")
    if any(map(stringprep.in_table_d1, prepared)) and (
        any(map(stringprep.in_table_d2, prepared))
        or not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1]))
    ):
        raise UsageError(f"{what} mixes directions of writing in a way that RFC 4013 forbids")
    return prepared


_PROHIBITED: Final = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
