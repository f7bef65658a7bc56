"""The WebSocket layer, once it is open, against frames that are written by hand (RFC 6455)."""

from __future__ import annotations

import gc
import logging
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqttlite.enums import ClosedBy
from mqttlite.errors import NotSupported, ProtocolError
from tests.property.strategies import chunked
from tests.unit.layers.handwritten import (
    BINARY,
    CLOSE,
    CONTINUATION,
    MIB,
    NORMAL,
    PING,
    PONG,
    TEXT,
    Sent,
    answer_to,
    close_code,
    fed,
    frame,
    frames_of,
    layer_to,
    opened,
)

# --- frames that come


SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 100_000]


class TestReceiving:
    @pytest.mark.parametrize("size", SIZES)
    def test_every_form_of_the_length(self, size: int) -> None:
        layer = opened()
        payload = bytes(range(256)) * 400
        data = frame(BINARY, payload[:size])
        assert layer.receive(data + data) == payload[:size] * 2
        assert fed(layer, data, 1000) == payload[:size]
        assert type(layer.receive(data)) is bytes
        assert layer.error is None
        assert layer.data_to_send() == b""

    def test_byte_by_byte(self) -> None:
        layer = opened()
        assert fed(layer, frame(BINARY, b"slowly") + frame(BINARY, bytes(200))) == (
            b"slowly" + bytes(200)
        )

    def test_an_empty_chunk_changes_nothing(self) -> None:
        layer = opened()
        data = frame(BINARY, b"slowly")
        assert b"".join(layer.receive(data[i : i + 1]) + layer.receive(b"") for i in range(8)) == (
            b"slowly"
        )

    def test_packets_and_frames_are_unrelated(self) -> None:
        # [MQTT-6.0.0-2]: two packets and the beginning of a third in a frame.
        layer = opened()
        packets = bytes.fromhex("40020001 40020002 D000")
        data = frame(BINARY, packets[:5]) + frame(BINARY) + frame(BINARY, packets[5:])
        assert layer.receive(data) == packets

    def test_a_fragment_is_returned_when_it_is_complete(self) -> None:
        layer = opened()
        assert layer.receive(frame(BINARY, b"one", final=False)) == b"one"
        assert layer.receive(frame(PING, b"are you there?")) == b""
        assert frames_of(layer) == [(PONG, b"are you there?")]
        assert layer.receive(frame(CONTINUATION, b"two", final=False) + frame(PONG)) == b"two"
        assert layer.receive(frame(CONTINUATION, final=False)) == b""
        assert layer.receive(frame(CONTINUATION, b"three")) == b"three"
        assert layer.receive(frame(BINARY, b"four")) == b"four"
        assert layer.data_to_send() == b""
        assert layer.is_open

    def test_every_ping_is_answered(self) -> None:
        layer = opened()
        for payload in (b"", bytes(125), b"3"):
            layer.receive(frame(PING, payload))
            assert frames_of(layer) == [(PONG, payload)]
        assert layer.data_to_send() == b""

    def test_of_many_pings_the_latest_is_answered(self) -> None:
        # RFC 6455 section 5.5.3.
        layer = opened()
        layer.receive(frame(PING, b"1") + frame(PING, b"2"))
        layer.receive(frame(BINARY, b"data") + frame(PING, b"3") + NORMAL)
        assert frames_of(layer) == [(PONG, b"3"), (CLOSE, b"\x03\xe8")]
        assert layer.data_to_send() == b""

    @pytest.mark.parametrize("final", [True, False])
    def test_text_ends_the_connection(self, final: bool) -> None:
        # [MQTT-6.0.0-1]
        layer = opened()
        after = frame(BINARY if final else CONTINUATION, b"after")
        data = frame(BINARY, b"before") + frame(TEXT, b"text", final=final) + after
        assert layer.receive(data) == b"before"
        assert isinstance(layer.error, ProtocolError)
        assert layer.error.by is ClosedBy.CLIENT
        assert "text frame" in str(layer.error)
        assert not layer.is_open
        assert close_code(layer) == 1003
        error = layer.error
        assert layer.receive(frame(BINARY, b"later") + frame(TEXT) + NORMAL) == b""
        assert layer.error is error
        assert layer.data_to_send() == b""

    def test_text_and_the_end_at_once(self) -> None:
        layer = opened()
        assert layer.receive(frame(TEXT) + NORMAL) == b""
        assert layer.error is not None
        assert [sent.opcode for sent in frames_of(layer)] == [CLOSE]

    @pytest.mark.parametrize(
        ("data", "code"),
        [
            (b"\x83\x00", 1002),  # a reserved opcode
            (b"\x8b\x00", 1002),
            (b"\xc2\x00", 1002),  # RSV1, which only an extension may set
            (b"\xa2\x00", 1002),
            (b"\x92\x00", 1002),
            (b"\x82\x81\1\2\3\4a", 1002),  # masked
            (frame(CONTINUATION, b"of what?"), 1002),
            (b"\x09\x00", 1002),  # a ping in fragments
            (frame(PING, bytes(126)), 1002),
            (b"\x88\x01\x03", 1002),  # half a code
            (b"\x88\x02\x03\xed", 1002),  # 1005, which is not for the wire
            (b"\x88\x03\x03\xe8\xff", 1007),  # the reason is not UTF-8
        ],
    )
    @pytest.mark.parametrize("size", [1, 1000])
    def test_a_broken_frame_ends_the_connection(self, data: bytes, code: int, size: int) -> None:
        layer = opened()
        good = frame(BINARY, b"good")
        assert fed(layer, good + data + good, size) == b"good"
        assert isinstance(layer.error, ProtocolError)
        assert "broke the WebSocket protocol" in str(layer.error)
        assert not layer.is_open
        assert layer.close_reason is None
        assert close_code(layer) == code
        error = layer.error
        assert layer.receive(good) == b""
        assert layer.error is error

    def test_a_new_message_inside_a_message(self) -> None:
        layer = opened()
        data = frame(BINARY, b"one", final=False) + frame(BINARY, b"two")
        assert layer.receive(data) == b"one"
        assert isinstance(layer.error, ProtocolError)
        assert close_code(layer) == 1002


# --- frames that are sent


class TestSending:
    @pytest.mark.parametrize("size", SIZES)
    def test_one_binary_frame(self, size: int) -> None:
        # [MQTT-6.0.0-1]
        layer = opened()
        payload = (bytes(range(256)) * 400)[:size]
        layer.send(payload)
        assert frames_of(layer) == [(BINARY, payload)]
        assert layer.data_to_send() == b""

    def test_a_memoryview_of_what_may_change(self) -> None:
        layer = opened()
        data = bytearray(b"xyz")
        layer.send(memoryview(data)[1:])
        data[:] = b"---"
        assert frames_of(layer) == [(BINARY, b"yz")]

    def test_masks_are_not_the_same(self) -> None:
        layer = opened()
        masks = set()
        for _ in range(8):
            layer.send(b"")
            masks.add(layer.data_to_send()[2:])
        assert len(masks) > 1

    def test_what_is_sent_stays_in_order(self) -> None:
        layer = opened()
        layer.send(b"1")
        layer.receive(frame(PING, b"p"))
        layer.send(b"2")
        sent = frames_of(layer)
        assert [payload for opcode, payload in sent if opcode == BINARY] == [b"1", b"2"]
        assert (PONG, b"p") in sent


# --- the end


class TestTheEnd:
    @pytest.mark.parametrize(
        ("payload", "said"),
        [
            (b"", "1005"),
            (b"\x03\xe8", "1000"),
            (b"\x03\xf0too much", "1008 .* too much"),
            (b"\x0f\xa0", "4000"),
        ],
    )
    def test_the_server_closes(self, payload: bytes, said: str) -> None:
        layer = opened()
        end = frame(CLOSE, payload)
        assert layer.receive(frame(BINARY, b"last") + end + frame(BINARY, b"more")) == b"last"
        assert not layer.is_open
        assert layer.error is None
        assert layer.has_ended
        assert layer.close_reason is not None
        assert re.match(said, layer.close_reason)
        assert frames_of(layer) == [(CLOSE, payload)]
        assert layer.receive(b"\xff" * 1000) == b""
        assert layer.error is None

    def test_an_open_one_has_not_ended(self) -> None:
        layer = opened()
        assert not layer.has_ended
        assert layer.describe() == "WebSocket with mqtt"

    def test_the_server_closes_inside_a_message(self) -> None:
        layer = opened()
        assert layer.receive(frame(BINARY, b"last", final=False) + NORMAL) == b"last"
        assert layer.close_reason is not None
        assert [sent.opcode for sent in frames_of(layer)] == [CLOSE]

    def test_nothing_is_sent_after_it(self) -> None:
        layer = opened()
        layer.receive(NORMAL)
        layer.data_to_send()
        layer.send(b"late")
        layer.close()
        assert layer.data_to_send() == b""

    def test_this_side_closes(self) -> None:
        layer = opened()
        layer.send(b"last")
        layer.close()
        layer.send(b"late")
        layer.close()
        assert not layer.is_open
        assert frames_of(layer) == [(BINARY, b"last"), (CLOSE, b"\x03\xe8")]
        assert layer.close_reason is None
        # What the server has sent before it knows of it comes in.
        assert layer.receive(frame(BINARY, b"still ") + frame(BINARY, b"here")) == b"still here"
        assert layer.receive(NORMAL) == b""
        assert layer.close_reason is not None
        assert layer.error is None
        assert layer.data_to_send() == b""

    def test_close_before_the_handshake_is_done(self) -> None:
        layer = layer_to()
        layer.data_to_send()
        layer.close()
        assert layer.data_to_send() == b""

    def test_nothing_is_sent_before_the_handshake_is_done(self) -> None:
        layer = layer_to()
        layer.data_to_send()
        layer.send(b"early")
        assert layer.data_to_send() == b""


# --- the package


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.client", None)
    with pytest.raises(NotSupported, match=r'pip install "mqttlite\[websocket\]"'):
        layer_to()


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    output = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return set(output.stdout.decode().split())


def test_the_package_is_imported_when_it_is_needed() -> None:
    module = "import mqttlite.layers.websocket as module"
    assert "websockets" not in _modules_after(module)
    loaded = _modules_after(f"{module}; module.WebSocketLayer('a', 80, secure=False)")
    assert "websockets" in loaded
    assert "asyncio" not in loaded  # a program with threads never imports it


def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "websockets")
    caplog.set_level(logging.DEBUG, "websockets.client")
    logging.getLogger("websockets.client").debug("this is seen")
    layer = opened(headers=[("Authorization", "secret")])
    layer.send(b"secret")
    layer.receive(frame(BINARY, b"secret") + b"\xff\xff")
    assert layer.error is not None
    assert [record.getMessage() for record in caplog.records] == ["this is seen"]
    assert "secret" not in repr(layer)


# --- memory and work


LIMIT = 1000 + MIB
"""Bytes of the largest frame where the largest packet may have 1000."""


class TestMemory:
    def test_a_frame_of_the_largest_size(self) -> None:
        layer = opened(maximum_packet_size=1000)
        assert len(fed(layer, frame(BINARY, bytes(LIMIT)), 4096)) == LIMIT
        assert layer.error is None

    @pytest.mark.parametrize("size", [LIMIT * 2, 2**62])
    def test_a_larger_frame_is_an_error_while_it_comes(self, size: int) -> None:
        layer = opened(maximum_packet_size=1000)
        assert layer.receive(frame(BINARY, b"good")) == b"good"
        chunk = bytes(4096)
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            layer.receive(b"\x82\x7f" + size.to_bytes(8, "big"))
            for _ in range(2 * LIMIT // len(chunk)):
                assert layer.receive(chunk) == b""
            now, peak = (used - before for used in tracemalloc.get_traced_memory())
        finally:
            tracemalloc.stop()
        assert isinstance(layer.error, ProtocolError)
        assert "too large" in str(layer.error)
        assert not layer.is_open
        assert close_code(layer) == 1009
        assert peak < LIMIT * 3  # a buffer that grows is copied
        assert now < 100_000

    def test_the_answers_to_pings_do_not_pile_up(self) -> None:
        # The server sends, but does not read.
        layer = opened()
        pings = frame(PING, bytes(125)) * 100
        gc.collect()
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(50):
                layer.receive(pings)
            kept = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert kept < 20_000
        assert frames_of(layer) == [(PONG, bytes(125))]

    def test_a_message_has_no_largest_size(self) -> None:
        layer = opened(maximum_packet_size=1000)
        data = frame(CONTINUATION, bytes(100_000), final=False)
        assert layer.receive(frame(BINARY, final=False)) == b""
        for _ in range(30):
            assert len(layer.receive(data)) == 100_000
        assert layer.error is None

    def test_many_chunks_of_many_frames_are_not_one_large_frame(self) -> None:
        layer = opened(maximum_packet_size=1000)
        data = frame(BINARY, bytes(50_000)) * 60
        assert len(fed(layer, data, 4096)) == 60 * 50_000
        assert layer.error is None


class Buffer(bytearray):
    """Counts the bytes that are copied into it and out of it."""

    copied = 0

    def __iadd__(self, other: Any) -> Any:  # type: ignore[misc]  # what += gives here
        self.copied += len(other)
        return super().__iadd__(other)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            self.copied += len(range(*index.indices(len(self))))
        return super().__getitem__(index)


def _calls(work: Callable[[], object]) -> int:
    """How many functions, of Python and of C, are called to do it."""
    count = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(previous)
    return count


class TestWork:
    @pytest.mark.parametrize("piece", [1, 10, 1000])
    def test_a_large_frame_is_copied_a_few_times_only(self, piece: int) -> None:
        layer = opened()
        buffer = Buffer()
        layer._protocol.reader.buffer = buffer
        data = frame(BINARY, bytes(piece * 2000))
        assert len(fed(layer, data, piece)) == piece * 2000
        # Into the buffer and out of it. A look at the whole for each piece would be 1000 copies.
        assert len(data) <= buffer.copied <= 3 * len(data)

    def test_the_answer_is_copied_a_few_times_only(self) -> None:
        layer = layer_to()
        buffer = layer._answer = Buffer()
        fields: dict[str, str | None] = {f"X-{number}": "y" * 300 for number in range(100)}
        data = answer_to(layer, **fields)
        assert fed(layer, data) == b""
        assert layer.is_open
        assert len(data) <= buffer.copied <= 3 * len(data)

    def test_the_calls_grow_with_the_pieces_only(self) -> None:
        def drip(pieces: int) -> int:
            layer = opened()
            data = frame(BINARY, bytes(pieces * 20))
            return _calls(lambda: fed(layer, data, 20))

        one, two = drip(1000), drip(2000)
        assert one < 1000 * 100
        assert two < one * 2.1

    def test_the_calls_grow_with_the_frames_only(self) -> None:
        def read(count: int) -> tuple[int, int]:
            layer = opened()
            buffer = Buffer()
            layer._protocol.reader.buffer = buffer
            data = frame(BINARY, b"1234") * count
            return _calls(lambda: layer.receive(data)), buffer.copied

        (calls_1, copied_1), (calls_2, copied_2) = read(1000), read(2000)
        assert calls_1 < 1000 * 200
        assert calls_2 < calls_1 * 2.1
        assert copied_1 <= 1000 * 6 * 3
        assert copied_2 <= copied_1 * 2.1


# --- any frames in any chunks


CONTROL = st.tuples(st.sampled_from([PING, PONG]), st.binary(max_size=125))
PAYLOADS = st.binary(max_size=40) | st.sampled_from([125, 126, 127, 3000, 65_536]).map(bytes)


class Stream(NamedTuple):
    data: bytes
    payload: bytes
    pings: list[bytes]


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Messages of several frames each, with control frames in between."""
    parts, payload, pings = [], b"", []
    for fragments in draw(st.lists(st.lists(PAYLOADS, min_size=1, max_size=4), max_size=4)):
        for number, fragment in enumerate(fragments, 1):
            for opcode, content in draw(st.lists(CONTROL, max_size=2)):
                parts.append(frame(opcode, content))
                if opcode == PING:
                    pings.append(content)
            opcode = CONTINUATION if number > 1 else BINARY
            parts.append(frame(opcode, fragment, final=number == len(fragments)))
            payload += fragment
    return Stream(b"".join(parts), payload, pings)


ENDS = {
    "none": b"",
    "close": NORMAL,
    "text": frame(TEXT, b"no"),
    "broken": b"\xff\xff",
}

SETTINGS = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow], database=None
)


@SETTINGS
@given(st.data(), streams(), st.sampled_from(sorted(ENDS)))
def test_any_frames_in_any_chunks(data: st.DataObject, stream: Stream, end: str) -> None:
    layer = layer_to()
    answer = answer_to(layer)
    received = b""
    sent: list[Sent] = []
    for chunk in data.draw(chunked(answer + stream.data + ENDS[end])):
        received += layer.receive(chunk)
        sent += frames_of(layer)
    assert received == stream.payload
    assert layer.is_open == (end == "none")
    assert (layer.close_reason is not None) == (end == "close")
    assert (layer.error is not None) == (end in {"text", "broken"})
    answered = [payload for opcode, payload in sent if opcode == PONG]
    pings = iter(stream.pings)
    assert all(payload in pings for payload in answered)  # in their order
    assert answered[-1:] == stream.pings[-1:]
    closes = [opcode == CLOSE for opcode, _ in sent]
    assert sum(closes) == (end != "none")
    assert not any(closes[:-1])
