"""The server's side of SCRAM (RFC 5802, RFC 7677), and a peer that lets in whoever masters it."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import Literal

from tests.shells.peer import Call
from tests.shells.wire import body, packet, read, section, text

METHOD, DATA = 0x15, 0x16
"""Properties: authentication method, authentication data."""

ITERATIONS = 4096


def auth(reason_code: int, method: str, data: bytes | None = None) -> bytes:
    """An AUTH packet."""
    return packet(0xF0, bytes((reason_code,)), section(*_properties(method, data)))


def connack(reason_code: int, method: str, data: bytes | None = None) -> bytes:
    """A CONNACK without a session."""
    return packet(0x20, bytes((0, reason_code)), section(*_properties(method, data)))


def _properties(method: str, data: bytes | None) -> list[bytes]:
    given = [bytes((METHOD,)) + text(method)]
    return given if data is None else [*given, bytes((DATA,)) + text(data)]


class ScramServer:
    """Knows one user; ``knows_password=False``: it lets everybody in, and proves nothing."""

    def __init__(
        self,
        name: Literal["sha256", "sha1"] = "sha256",
        user: str = "meter",
        password: str = "hunter2",
        *,
        knows_password: bool = True,
    ) -> None:
        self.method = {"sha256": "SCRAM-SHA-256", "sha1": "SCRAM-SHA-1"}[name]
        self.nonces: list[str] = []
        """The nonces of the clients."""
        self._name = name
        self._user = user
        self._password = password.encode()
        self._knows_password = knows_password
        self._salt = b"salt of the earth"
        self._messages: list[str] = []

    def challenge(self, data: bytes) -> bytes:
        """Answer the client's first message."""
        header, _, bare = data.decode().partition(",,")
        assert header == "n"
        user, nonce = bare.split(",")
        assert user == f"n={self._user}"
        assert nonce.startswith("r=")
        assert len(nonce) > 10
        self.nonces.append(nonce[2:])
        salt = b64encode(self._salt).decode()
        first = f"{nonce}serverpart,s={salt},i={ITERATIONS}"
        self._messages = [bare, first]
        return first.encode()

    def verify(self, data: bytes) -> bytes | None:
        """Check the client's proof: return the server's own one, None if it is wrong."""
        unproved, _, proof = data.decode().rpartition(",p=")
        assert unproved == f"c=biws,r={self.nonces[-1]}serverpart"
        signed = ",".join([*self._messages, unproved]).encode()
        salted = hashlib.pbkdf2_hmac(self._name, self._password, self._salt, ITERATIONS)
        stored = hashlib.new(self._name, self._mac(salted, b"Client Key")).digest()
        signature = self._mac(stored, signed)
        key = bytes(a ^ b for a, b in zip(b64decode(proof), signature, strict=True))
        signature = self._mac(self._mac(salted, b"Server Key"), signed)
        if not self._knows_password:
            signature = bytes(len(signature))
        elif hashlib.new(self._name, key).digest() != stored:
            return None
        return b"v=" + b64encode(signature)

    def _mac(self, key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, self._name).digest()


def expect_auth(call: Call, reason_code: int, method: str) -> bytes:
    """Read an AUTH packet of this method; return its data."""
    data = call.read_packet()
    if data[0] == 0xE0:  # the client leaves
        call.read_to_end()
        raise EOFError
    assert (data[0], body(data)[0]) == (0xF0, reason_code)
    properties = read(data)
    assert properties[METHOD] == [method.encode()]
    [value] = properties[DATA]
    return value


def let_in(call: Call, server: ScramServer) -> None:
    """Be the server's side of the handshake."""
    properties = read(call.read_packet())
    assert properties[METHOD] == [server.method.encode()]
    [data] = properties[DATA]
    call.send(auth(0x18, server.method, server.challenge(data)))
    proof = server.verify(expect_auth(call, 0x18, server.method))
    if proof is None:
        call.send(connack(0x87, server.method))
        raise EOFError
    call.send(connack(0, server.method, proof))


def let_in_again(call: Call, server: ScramServer) -> None:
    """The same for a re-authentication; what is wrong is answered with DISCONNECT."""
    data = expect_auth(call, 0x19, server.method)
    call.send(auth(0x18, server.method, server.challenge(data)))
    proof = server.verify(expect_auth(call, 0x18, server.method))
    if proof is None:
        call.send(b"\xe0\x02\x87\x00")
        raise EOFError
    call.send(auth(0, server.method, proof))
