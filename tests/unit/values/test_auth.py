"""SCRAM and SASLprep, with the examples of the RFCs."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mqttlite.auth import ScramAuth, saslprep
from mqttlite.errors import AuthError, UsageError

# RFC 7677 section 3
NONCE: Final = "rOprNGfwEbeRWgbNEkqO"
FIRST: Final = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
BOTH: Final = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
CHALLENGE: Final = f"r={BOTH},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".encode()
FINAL: Final = f"c=biws,r={BOTH},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".encode()
VERIFIER: Final = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def make(username: str = "user", password: str = "pencil", **arguments: Any) -> ScramAuth:
    return ScramAuth(username, password, make_nonce=lambda: NONCE, **arguments)


def started(**arguments: Any) -> ScramAuth:
    handler = make(**arguments)
    handler.start()
    return handler


# --- the examples


def test_the_example_of_rfc_7677() -> None:
    handler = make()
    assert handler.method == "SCRAM-SHA-256"
    assert handler.start() == FIRST
    assert handler.respond(CHALLENGE, {}) == FINAL
    handler.finish(VERIFIER, {})


def test_the_example_of_rfc_5802() -> None:
    nonce = "fyko+d2lbbFgONRv9qkxdawL"
    handler = ScramAuth("user", "pencil", hash_name="sha1", make_nonce=lambda: nonce)
    assert handler.method == "SCRAM-SHA-1"
    assert handler.start() == b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
    assert handler.respond(
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096", {}
    ) == (b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=")
    handler.finish(b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=", {})


class Server:
    """The server's half of RFC 5802 section 3, word by word, with the slow function written out."""

    def __init__(self, password: str, salt: bytes, iterations: int) -> None:
        self._salt = salt
        self._iterations = iterations
        self._salted = self._hi(password.encode())
        self._first = self._signed = ""

    @staticmethod
    def _hmac(key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, hashlib.sha256).digest()

    def _hi(self, password: bytes) -> bytes:
        last = self._hmac(password, self._salt + b"\0\0\0\1")
        total = int.from_bytes(last)
        for _ in range(self._iterations - 1):
            last = self._hmac(password, last)
            total ^= int.from_bytes(last)
        return total.to_bytes(32)

    def challenge(self, client_first: bytes) -> bytes:
        bare = client_first.decode().removeprefix("n,,")
        nonce = bare.rpartition(",r=")[2]
        salt = b64encode(self._salt).decode()
        first = f"r={nonce}server,s={salt},i={self._iterations}"
        self._signed = f"{bare},{first}"
        return first.encode()

    def verify(self, client_final: bytes) -> bytes:
        """Return what the server answers, if the client has shown that it knows the password."""
        without_proof, _, proof = client_final.decode().rpartition(",p=")
        signed = f"{self._signed},{without_proof}".encode()
        stored = hashlib.sha256(self._hmac(self._salted, b"Client Key")).digest()
        signature = self._hmac(stored, signed)
        key = bytes(a ^ b for a, b in zip(b64decode(proof), signature, strict=True))
        assert hashlib.sha256(key).digest() == stored
        return b"v=" + b64encode(self._hmac(self._hmac(self._salted, b"Server Key"), signed))


@settings(deadline=None, max_examples=30)
@given(
    # What SASLprep leaves alone.
    st.text("abcXYZ019 _-.=,é", min_size=1, max_size=12),
    st.text("abcXYZ019 _-.=,é", max_size=80),
    st.binary(min_size=1, max_size=24),
    st.integers(1, 20),
)
def test_a_server_of_our_own_is_satisfied_and_satisfies(
    username: str, password: str, salt: bytes, iterations: int
) -> None:
    server = Server(password, salt, iterations)
    handler = ScramAuth(username, password, minimum_iterations=1)
    first = handler.start()
    verifier = server.verify(handler.respond(server.challenge(first), {}))
    handler.finish(verifier, {})
    with pytest.raises(AuthError, match="has not proved"):
        handler.finish(b"v=" + b64encode(bytes(32)), {})


# --- what the client says of itself


def test_comma_and_equals_sign_are_escaped_in_the_name() -> None:
    assert make("a=b,c").start() == b"n,,n=a=3Db=2Cc,r=" + NONCE.encode()


def test_name_and_password_are_prepared() -> None:
    assert make("I\u00adX").start() == b"n,,n=IX,r=" + NONCE.encode()
    handler = started(password="p\u00aden\uff43il")  # a soft hyphen, a full-width c
    assert handler.respond(CHALLENGE, {}) == FINAL


@pytest.mark.parametrize("username", ["\u0007", "\u0627" + "1", "secret\ue000"])
def test_a_name_or_a_password_that_saslprep_forbids(username: str) -> None:
    for arguments in ((username, "p"), ("u", username)):
        with pytest.raises(UsageError, match="RFC 4013") as raised:
            ScramAuth(*arguments)
        assert "secret" not in str(raised.value)


def test_which_of_them_is_wrong() -> None:
    with pytest.raises(UsageError, match="username has a character"):
        ScramAuth("\u0007", "p")
    with pytest.raises(UsageError, match="password has a character"):
        ScramAuth("u", "\u0007")


@pytest.mark.parametrize("username", ["", "\u00ad"])
def test_a_name_has_at_least_one_character(username: str) -> None:
    # RFC 5802 section 7: saslname = 1*(value-safe-char / "=2C" / "=3D")
    with pytest.raises(UsageError):
        ScramAuth(username, "p")


@pytest.mark.parametrize("hash_name", ["sha512", "SHA256", "md5", None])
def test_unknown_hash(hash_name: Any) -> None:
    with pytest.raises(UsageError, match="hash_name must be"):
        ScramAuth("u", "p", hash_name=hash_name)


def test_nothing_secret_is_shown() -> None:
    handler = started(username="alice", password="s3cret")
    handler.respond(CHALLENGE, {})
    assert repr(handler) == "<ScramAuth SCRAM-SHA-256>"
    assert str(handler) == repr(handler)


def test_a_nonce_is_new_every_time_and_fit_to_be_sent() -> None:
    handler = ScramAuth("user", "pencil")
    nonces = {handler.start().rpartition(b",r=")[2] for _ in range(100)}
    assert len(nonces) == 100
    for nonce in nonces:
        assert len(nonce) >= 18
        assert all(0x21 <= byte <= 0x7E and byte != ord(",") for byte in nonce)


# --- what the server says


@pytest.mark.parametrize(
    ("challenge", "message"),
    [
        (b"", "nonce"),
        (b"\xff", "not UTF-8"),
        (b"nothing", "nonce"),
        (b"e=other-error", "the server refuses: 'other-error'"),
        (b"m=new," + CHALLENGE, "extension that is not supported"),
        # The nonce has to continue this client's, by something.
        (CHALLENGE.replace(b"r=rO", b"r=sO"), "nonce does not continue"),
        (CHALLENGE.replace(b"r=rO", b"r=xrO"), "nonce does not continue"),
        (CHALLENGE.replace(b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", b""), "nonce does not continue"),
        (CHALLENGE.replace(b"i=4096", b"i=4095"), "4095 SCRAM iterations; from 4096 to"),
        (CHALLENGE.replace(b"i=4096", b"i=10000001"), "10000001 SCRAM iterations"),
        (CHALLENGE.replace(b"i=4096", b"i=" + b"9" * 5000), "SCRAM iterations"),
        (CHALLENGE.replace(b"i=4096", b"i=-5000"), "SCRAM iterations"),
        (CHALLENGE.replace(b"i=4096", b"i=5e3"), "SCRAM iterations"),
        (CHALLENGE.replace(b"i=4096", b"i="), "SCRAM iterations"),
        (CHALLENGE.replace(b",i=4096", b""), "SCRAM iterations"),
        (CHALLENGE.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==", b"s="), "lacks a value"),
        (CHALLENGE.replace(b"s=W22ZaJ0SNY7soEsUEjb6gQ==,", b""), "lacks a value"),
        (CHALLENGE.replace(b"gQ==", b"gQ"), "not base64"),
        (CHALLENGE.replace(b"W22Z", b"W2 2Z"), "not base64"),
        (CHALLENGE.replace(b"W22Z", "Wé2Z".encode()), "not base64"),
    ],
)
def test_challenge_that_is_refused(challenge: bytes, message: str) -> None:
    handler = started()
    with pytest.raises(AuthError, match=message):
        handler.respond(challenge, {})
    # Such a server is not trusted afterwards, either.
    with pytest.raises(AuthError):
        handler.finish(VERIFIER, {})


def test_a_long_refusal_is_cut() -> None:
    with pytest.raises(AuthError) as raised:
        started().respond(b"e=" + b"x" * 10_000, {})
    assert len(str(raised.value)) < 200


def test_order_of_optional_extensions_does_not_matter() -> None:
    # RFC 5802 section 5.1: unknown optional extensions are ignored; they are signed like the rest.
    handler = started()
    answer = handler.respond(CHALLENGE + b",z=unknown", {})
    assert answer.startswith(f"c=biws,r={BOTH},p=".encode())
    assert answer != FINAL


def test_fewer_iterations_are_accepted_on_request_only() -> None:
    few = CHALLENGE.replace(b"i=4096", b"i=1")
    with pytest.raises(AuthError, match="from 4096"):
        started().respond(few, {})
    assert started(minimum_iterations=1).respond(few, {})
    with pytest.raises(AuthError, match="from 4097"):
        started(minimum_iterations=4097).respond(CHALLENGE, {})


def test_challenge_before_the_start() -> None:
    with pytest.raises(AuthError, match="further"):
        make().respond(CHALLENGE.replace(NONCE.encode(), b""), {})


def test_second_challenge() -> None:
    handler = started()
    handler.respond(CHALLENGE, {})
    with pytest.raises(AuthError, match="further"):
        handler.respond(CHALLENGE, {})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "lacks a value"),
        (b"v=", "lacks a value"),
        (b"v=!", "not base64"),
        (b"x=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "lacks a value"),
        (VERIFIER.replace(b"6rri", b"6rrj"), "has not proved"),
        (b"v=6rri", "has not proved"),
        (b"e=invalid-proof", "the server refuses: 'invalid-proof'"),
        (b"e=invalid-proof," + VERIFIER, "the server refuses"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_success_without_a_proof(data: bytes, message: str) -> None:
    handler = started()
    handler.respond(CHALLENGE, {})
    with pytest.raises(AuthError, match=message):
        handler.finish(data, {})


def test_success_without_a_challenge() -> None:
    # Who skips the challenge has not proved anything: not even with an old proof.
    handler = make()
    with pytest.raises(AuthError, match="has not proved"):
        handler.finish(VERIFIER, {})
    handler.start()
    with pytest.raises(AuthError, match="has not proved"):
        handler.finish(VERIFIER, {})
    handler.respond(CHALLENGE, {})
    handler.start()
    with pytest.raises(AuthError, match="has not proved"):
        handler.finish(VERIFIER, {})


def test_start_begins_anew() -> None:
    nonces = iter(["other", NONCE])
    handler = ScramAuth("user", "pencil", make_nonce=lambda: next(nonces))
    handler.start()
    handler.respond(CHALLENGE.replace(NONCE.encode(), b"other"), {})
    assert handler.start() == FIRST
    assert handler.respond(CHALLENGE, {}) == FINAL
    handler.finish(VERIFIER, {})


def test_salting_is_done_again_only_for_another_salt_or_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = hashlib.pbkdf2_hmac
    salted: list[tuple[bytes, int]] = []

    def count(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        salted.append((salt, iterations))
        return real(name, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", count)
    handler = make()
    other_salt = CHALLENGE.replace(b"W22Z", b"W23Z")
    other_count = CHALLENGE.replace(b"4096", b"4097")
    answers = []
    for challenge in (CHALLENGE, CHALLENGE, other_salt, other_count, CHALLENGE):
        handler.start()
        answers.append(handler.respond(challenge, {}))
    salt, other = b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), b64decode("W23ZaJ0SNY7soEsUEjb6gQ==")
    assert salted == [(salt, 4096), (other, 4096), (salt, 4097), (salt, 4096)]
    assert answers[0] == answers[1] == answers[4] == FINAL
    assert len(set(answers)) == 3


# --- SASLprep


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # RFC 4013 section 3
        ("I\u00adX", "IX"),
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        # Other spaces are a space (table C.1.2), some characters are nothing (table B.1).
        ("a\u00a0b\u1680c\u2003d\u3000e", "a b c d e"),
        ("a\u034fb\u180bc\u200bd\u2060e\ufe0ff\ufeffg\u200c\u200d", "abcdefg"),
        # What is not forbidden: NFKC, and nothing else.
        ("", ""),
        (" ~", " ~"),
        ("e\u0301", "é"),
        ("\ufb01", "fi"),
        ("ß\u0130", "ß\u0130"),
        ("\U0001f600", "\U0001f600"),
        # Table C.8 forbids U+0340, which NFKC has made U+0300 before.
        ("x\u0340", "x\u0300"),
        # Direction: right to left throughout, or from the first to the last.
        ("\u0627", "\u0627"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("\u0627" + "1" + "\u0628", "\u0627" + "1" + "\u0628"),
        ("\u05d0 - \u05d1", "\u05d0 - \u05d1"),
    ],
)
def test_saslprep(text: str, expected: str) -> None:
    assert saslprep(text, "password") == expected


@pytest.mark.parametrize(
    "character",
    [
        # C.2.1 and C.2.2, control characters
        *("\x00", "\x07", "\n", "\x1f", "\x7f", "\x80", "\x9f"),
        *("\u06dd", "\u070f", "\u180e", "\u2028", "\u2029", "\u2061", "\u206a", "\ufff9"),
        *("\ufffc", "\U0001d173"),
        # C.3, private use
        *("\ue000", "\uf8ff", "\U000f0000", "\U0010fffd"),
        # C.4, no characters
        *("\ufdd0", "\ufdef", "\ufffe", "\uffff", "\U0001fffe", "\U0010ffff"),
        # C.5, surrogates
        *("\ud800", "\udfff"),
        # C.6, not for plain text
        *("\ufffa", "\ufffb", "\ufffd"),
        # C.7, not for canonical representation
        *("\u2ff0", "\u2ffb"),
        # C.8, change of display, deprecated
        *("\u200e", "\u200f", "\u202a", "\u202e", "\u206f"),
        # C.9, tags
        *("\U000e0001", "\U000e0020", "\U000e007f"),
    ],
    ids=ascii,
)
def test_saslprep_forbids(character: str) -> None:
    for text in (character, f"a{character}", f"{character}a", f"a{character}b"):
        with pytest.raises(UsageError, match=r"password has a character that SASLprep"):
            saslprep(text, "password")


@pytest.mark.parametrize(
    "text",
    [
        "\u0627" + "1",  # RFC 4013 section 3
        "1" + "\u0627",
        " \u0627",
        "\u0627 ",
        "\u0627a\u0628",
        "a\u0627",
        "\u0627a",
        "a\u05d0a",
    ],
    ids=ascii,
)
def test_saslprep_forbids_mixed_directions(text: str) -> None:
    with pytest.raises(UsageError, match="username mixes directions") as raised:
        saslprep(text, "username")
    assert text not in str(raised.value)


@pytest.mark.parametrize("value", [None, b"user", 5])
def test_saslprep_wants_text(value: Any) -> None:
    with pytest.raises(UsageError, match=f"password must be a str, not {type(value).__name__}"):
        saslprep(value, "password")
