"""WebSocket as a layer without input or output, the same for both clients.

It is the client's side of RFC 6455, as MQTT 5.0 section 6 wants it. The frames are read and
written by the package ``websockets``, which is imported when the first layer is made.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import quote

from mqttlite.enums import ClosedBy
from mqttlite.errors import (
    ConnectFailed,
    NotSupported,
    ProtocolError,
    UsageError,
    WebSocketRefused,
)
from mqttlite.limits import MAXIMUM_PACKET_SIZE
from mqttlite.options import check_headers

if TYPE_CHECKING:  # the package need not be installed
    from websockets.frames import Frame
    from websockets.http11 import Request
    from websockets.typing import Subprotocol

# The package logs headers, which may hold credentials, and payloads. This logger is unknown to
# logging.getLogger(), so that no configuration can switch it on.
_SILENT: Final = logging.Logger("mqttlite.websocket", logging.CRITICAL + 1)  # noqa: LOG001

_CONTINUATION: Final = 0
_TEXT: Final = 1
_BINARY: Final = 2
_PONG_START: Final = b"\x8a"

_NORMAL_CLOSURE: Final = 1000
_UNSUPPORTED_DATA: Final = 1003
_MESSAGE_TOO_BIG: Final = 1009
_PROTOCOL_ERROR: Final = 1002

_OTHER_PACKETS: Final = 1024 * 1024
"""Bytes of a frame that other packets may take beside the largest one."""

_MAXIMUM_ANSWER: Final = 64 * 1024
"""Bytes of the status line and the headers with which the server may answer."""

_ANSWER_START: Final = b"HTTP/1."
_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r\n]")
# Without the query: that of the URL may come back in it, and may hold a signature.
_LOCATION: Final = re.compile(rb"^location:[ \t]*([^?#\s]{1,200})", re.IGNORECASE | re.MULTILINE)

# A path comes percent-encoded; what cannot stand in a request line is encoded here.
_PATH_CHARACTERS: Final = "".join(map(chr, range(0x21, 0x7F))).replace("#", "")

_ADVICE: Final = {
    3: "redirections are not followed, use the new address in the URL",
    401: "check the credentials; the server wants them in the headers of the HTTP request",
    403: "check the credentials; the server wants them in the headers of the HTTP request",
    404: 'check the path of the URL; many servers use "/mqtt"',
    426: "the server wants another protocol, or a proxy has removed the Upgrade header",
    5: "the server, or a proxy in front of it, cannot serve at the moment",
}
_OTHER_ADVICE: Final = "check port and path of the URL; a WebSocket server answers with 101"


class WebSocketLayer:
    """The client's side of one WebSocket connection.

    ``receive()`` takes what came from the network and returns what it means; ``send()`` takes
    what is to be sent; ``data_to_send()`` returns what the network is to get, at the beginning
    and after each of them. The handshake goes on by itself; until ``is_open`` nothing may be
    sent. What the server does wrong raises ``ConnectFailed`` during the handshake; later it is
    in ``error``, after what came before it has been returned. The close frame for it is in
    ``data_to_send()``. The server's own close frame is the end, but no error: it is in
    ``close_reason``, and the answer to it in ``data_to_send()``.

    ``secure`` tells that TLS is below, ``path`` is the path of the URL with its query, percent-
    encoded. ``headers`` are sent in addition; they appear in no error and in no log. Raises
    UsageError for headers that cannot be sent, NotSupported without the package ``websockets``.

    The payload of a frame is returned when the frame is complete. So a frame is bounded: by
    ``maximum_packet_size``, and 1 MiB for other packets in it. A larger one is an error before
    more of it is kept. A message, which is any number of frames, is not bounded.
    """

    def __init__(
        self,
        host: str,
        port: int,
        path: str = "/",
        *,
        secure: bool,
        subprotocols: Sequence[str] = ("mqtt",),
        headers: Sequence[tuple[str, str]] = (),
        maximum_packet_size: int = MAXIMUM_PACKET_SIZE,
    ) -> None:
        try:
            from websockets.client import ClientProtocol  # noqa: PLC0415 - it may be missing
            from websockets.uri import WebSocketURI  # noqa: PLC0415
        except ImportError:
            raise NotSupported(
                'ws:// needs the websockets package: pip install "mqttlite[websocket]"'
            ) from None
        uri = WebSocketURI(
            secure,
            host.partition("%")[0].encode("idna").decode(),  # without the zone of IPv6
            port,
            quote(path if path.startswith("/") else f"/{path}", safe=_PATH_CHARACTERS),
            query="",
        )
        self._protocol = ClientProtocol(
            uri,
            subprotocols=cast("Sequence[Subprotocol]", subprotocols),  # [MQTT-6.0.0-3]
            max_size=None,  # older versions apply it to a whole message
            logger=_SILENT,
        )
        self._maximum_frame = maximum_packet_size + _OTHER_PACKETS
        self._incomplete = 0  # bytes that came since the last complete frame
        self._unsent: list[bytes] = []
        self._pong = b""
        self._answer: bytearray | None = bytearray()  # until the server has answered
        self.is_open = False
        self.error: ProtocolError | None = None
        self.close_reason: str | None = None
        """The code and the reason of the server's close frame, once it has come."""
        request = self._protocol.connect()
        _add_headers(request, headers)
        self._protocol.send_request(request)

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the network; return what they contain."""
        if self._answer is not None:
            data = self._take_answer(self._answer, data)
            if not self.is_open:
                return b""
        self._protocol.receive_data(data)
        frames = cast("list[Frame]", self._protocol.events_received())
        self._incomplete = 0 if frames else self._incomplete + len(data)
        parts = []
        for frame in frames:
            if frame.opcode == _TEXT:  # [MQTT-6.0.0-1]
                self._fail(_UNSUPPORTED_DATA, "the server sent a text frame, MQTT is binary")
                break
            if frame.opcode in (_BINARY, _CONTINUATION):
                parts.append(frame.data)
        if self.error is None and self.close_reason is None:
            self._look_for_the_end()
        self._collect()
        return b"".join(parts)

    def send(self, data: bytes | memoryview) -> None:
        """Put bytes into a frame for the network; they are dropped once ``is_open`` is over."""
        if self.is_open:
            self._protocol.send_binary(data)

    def close(self) -> None:
        """Say that nothing more will be sent."""
        if self.is_open:
            self.is_open = False
            self._protocol.send_close(_NORMAL_CLOSURE)

    @property
    def has_ended(self) -> bool:
        """Whether the server has said that nothing more will come."""
        return self.close_reason is not None

    def describe(self) -> str:
        """What was agreed on, for the log."""
        return f"WebSocket with {self._protocol.subprotocol}"

    def data_to_send(self) -> bytes:
        """Return what is to be written to the network."""
        self._collect()
        frames, self._unsent = self._unsent, []
        if self._pong:
            frames.insert(0, self._pong)  # nothing may come after a close frame
            self._pong = b""
        return b"".join(frames)

    def _collect(self) -> None:
        """Take what the package wants to send; of the pongs, the latest is enough.

        RFC 6455 section 5.5.3. All of them could pile up, if the server never reads.
        """
        for data in self._protocol.data_to_send():
            if data.startswith(_PONG_START):
                self._pong = data
            else:
                self._unsent.append(data)

    def _take_answer(self, answer: bytearray, data: bytes) -> bytes:
        """Take bytes of the answer to the handshake; return those that come after it."""
        searched = max(0, len(answer) - 2)
        answer += data
        if not answer.startswith(_ANSWER_START[: len(answer)]):
            raise _not_http()
        blank = _BLANK_LINE.search(answer, searched)
        if blank is None:
            if len(answer) > _MAXIMUM_ANSWER:
                raise ConnectFailed(
                    "the server answered the WebSocket handshake with too many headers",
                    by=ClosedBy.CLIENT,
                )
            return b""
        self._check_answer(bytes(answer[: blank.end()]))
        self._answer = None
        self.is_open = True
        return bytes(answer[blank.end() :])

    def _check_answer(self, answer: bytes) -> None:
        # The package would first wait for the body of a refusal, which may last until the
        # connection is closed.
        status = _STATUS.match(answer)
        if status is None:
            raise _not_http()
        if status[1] != b"101":
            raise _refused(int(status[1]), answer)
        from websockets.exceptions import (  # noqa: PLC0415 - it may be missing
            InvalidHeader,
            NegotiationError,
        )

        protocol = self._protocol
        protocol.receive_data(answer)
        protocol.events_received()
        failure = protocol.handshake_exc
        if failure is not None:
            said = "its headers cannot be read"
            if isinstance(failure, (InvalidHeader, NegotiationError)):
                said = str(failure)[:200].encode("ascii", "replace").decode()
            raise ConnectFailed(
                f"the server's answer to the WebSocket handshake is wrong: {said}",
                by=ClosedBy.CLIENT,
            )
        if protocol.subprotocol is None:  # [MQTT-6.0.0-4]
            protocol.fail(_PROTOCOL_ERROR, "no subprotocol was selected")
            raise ConnectFailed(
                "the server speaks WebSocket, but did not select a subprotocol of MQTT: "
                "check port and path of the URL",
                by=ClosedBy.CLIENT,
            )

    def _look_for_the_end(self) -> None:
        """Look whether the frames that came, or the one that is coming, are the last ones."""
        protocol = self._protocol
        if protocol.close_rcvd is not None:
            self.close_reason = str(protocol.close_rcvd)
            self.is_open = False
        elif protocol.parser_exc is not None:
            self._fail(
                _PROTOCOL_ERROR, f"the server broke the WebSocket protocol: {protocol.parser_exc}"
            )
        elif self._incomplete > self._maximum_frame:
            self._fail(_MESSAGE_TOO_BIG, "the server sent a WebSocket frame that is too large")

    def _fail(self, code: int, message: str) -> None:
        """End the connection; whatever the server sends from now on is thrown away."""
        self.is_open = False
        self.error = ProtocolError(message)
        self._protocol.fail(code)


def _add_headers(request: Request, headers: Sequence[tuple[str, str]]) -> None:
    own = set(request.headers)
    for name, value in check_headers(headers):
        if name.lower() in own or name.lower().startswith("sec-websocket-"):
            raise UsageError(f"the header {name} is set by the WebSocket handshake itself")
        request.headers[name] = value


def _not_http() -> ConnectFailed:
    return ConnectFailed(
        "the server's answer to the WebSocket handshake is not HTTP/1.1: check the port of the URL",
        by=ClosedBy.CLIENT,
    )


def _refused(status: int, answer: bytes) -> WebSocketRefused:
    said = ""
    location = _LOCATION.search(answer)
    if status // 100 == 3 and location is not None:
        said = f" and the location {location[1].decode('latin-1')!a}"
    advice = _ADVICE.get(status) or _ADVICE.get(status // 100, _OTHER_ADVICE)
    return WebSocketRefused(
        f"the server answered the WebSocket handshake with HTTP status {status}{said}: {advice}",
        status,
    )
