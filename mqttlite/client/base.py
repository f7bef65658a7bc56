"""What the two clients share: their arguments, and what can be asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import urandom
from typing import TYPE_CHECKING, Any

from mqttlite.client.core import ClientCore
from mqttlite.client.counters import Counters
from mqttlite.client.events import Connected, Disconnected, Dropped, DropReason, Reconnecting
from mqttlite.client.options import (
    VERSIONS,
    ClientOptions,
    as_endpoints,
    as_tls,
    check_user_properties,
    encode_password,
)
from mqttlite.client.subscriptions import SubscriptionState, is_coroutine_function
from mqttlite.endpoint import Endpoint
from mqttlite.errors import UsageError
from mqttlite.message import Message, Properties, Will
from mqttlite.options import (
    TLS,
    Asked,
    Headers,
    Reconnect,
    ServerOrder,
    Version,
    WhenFull,
    WhenSessionLost,
    check_headers,
)
from mqttlite.packets import Connack, Disconnect

if TYPE_CHECKING:  # they are slow to import, and not every program needs them
    import ssl

    from mqttlite.auth import AuthHandler

_DEFAULT_RECONNECT = Reconnect()

_NONE: Mapping[Any, Any] = {}  # one for all clients that have no functions of the program


class ClientBase:
    """The arguments of a client, which both clients take.

    In place of ``url``, ``username``, ``password``, ``tls`` and ``headers`` a function may be
    given that returns it. It is asked anew for every attempt to connect: tokens may expire. A plain
    function is called in a thread of its own; for ``AsyncClient`` it may be a coroutine function.

    Args:
        url: Where the server is: ``mqtt://host``, ``mqtts://host`` (TLS), ``ws://host/path``,
            ``wss://host/path`` (WebSocket, needs ``mqttlite[websocket]``) or ``unix:///path``;
            with a port, a user name and a password if need be. Several are tried one after the
            other, at the first attempt and later.
        host: Instead of a URL: the name or address of the server; TLS is used if ``tls`` is given.
        port: With ``host``: 1883 by default, 8883 with TLS.
        client_id: The client identifier. Empty: the server assigns one (MQTT 5.0 section
            3.1.3.1), which is kept for reconnections.
        username: User name, if it is not in the URL.
        password: Password, ``str`` or ``bytes``, if it is not in the URL.
        version: ``"5.0"``, ``"3.1.1"`` or ``"3.1"``. None: 5.0, or 3.1.1 if the server refuses it.
        clean_start: Whether the first connection begins a new session (section 3.1.2.4); later
            ones resume it.
        session_expiry_interval: Seconds for which the server keeps the session without a
            connection (section 3.1.2.11.2). None: long enough for a reconnection, and ended by
            ``close()``; with ``clean_start=False`` for ever.
        keep_alive: Seconds of silence after which a ping is sent (section 3.1.2.10); 0: never.
        connect_timeout: Seconds for an attempt to connect, from the name lookup to CONNACK.
        will: The message to publish when the connection is lost (section 3.1.2.5).
        tls: How TLS is done: a ``TLS``, an ``ssl.SSLContext``, or True for the defaults.
        headers: For the HTTP request with which a WebSocket begins: pairs, or a dictionary.
        auth: Enhanced authentication (section 4.12): an ``AuthHandler``, ``ScramAuth`` for
            example. MQTT 5.0 only; there is no falling back to 3.1.1 then.
        server_order: ``"in_order"`` or ``"shuffled"``: how several servers are tried. Which one a
            reconnection begins with is said by ``Reconnect``.
        maximum_redirects: How many times in a row the client goes where a server sends it (use
            another server, server moved: section 4.11), with the same credentials, and never from
            TLS to a connection without. 0: never.
        receive_maximum: How many messages of QoS 1 and 2 the server may send before the first
            of them is acknowledged (section 3.1.2.11.3).
        maximum_in_flight: How many messages of QoS 1 and 2 may be sent before the first of them is
            acknowledged. None: the server's Receive Maximum (section 3.2.2.3.3), and 20 in
            MQTT 3.x, where the server cannot say.
        maximum_packet_size: Bytes of the largest packet that is accepted (section 3.1.2.11.4).
            None: what MQTT allows, 256 MiB.
        topic_alias_maximum: How many topic aliases the server may use (section 3.1.2.11.5).
        use_topic_aliases: Whether topics that are published often are sent as aliases, as far as
            the server allows it (section 3.3.2.3.4): fewer bytes for long topics.
        use_subscription_identifiers: Whether filters that overlap are told apart by identifiers
            (section 3.8.2.1.2), so that each subscription gets each message once. False is for a
            server that names only one of several subscriptions.
        request_problem_information: Whether the server may send reason strings and user
            properties with its acknowledgements (section 3.1.2.11.7).
        request_response_information: Whether to ask the server where answers to requests should
            be sent (section 3.1.2.11.6); ``request()`` obeys.
        check_payload_format: Whether received payloads that are said to be UTF-8
            (``payload_format_indicator=1``) are checked; those that are not are refused with the
            reason code 0x99, and counted (section 3.3.2.3.2).
        user_properties: Name and value pairs for CONNECT (section 3.1.2.11.8).
        reconnect: False: never; True: with the defaults of ``Reconnect``.
        outbox_messages: How many messages may wait to be sent.
        outbox_bytes: How many bytes of payload may wait to be sent.
        when_full: What publishing does when the outbox is full: ``"wait"`` (``publish_nowait``
            raises QueueFull), ``"raise"`` QueueFull, ``"drop_oldest"`` or ``"drop_newest"``.
        queue_qos_0: Whether messages of QoS 0 are queued, too, while there is no connection.
        when_session_lost: What becomes of the messages in flight when the server has lost the
            session: ``"republish"`` sends those again that it had not received, ``"report"``
            fails them all with PublishError and the fate LOST.
        on_connect: Called with ``Connected`` whenever a connection was accepted.
        on_disconnect: Called with ``Disconnected`` whenever one was lost, or an attempt to
            reconnect failed.
        on_reconnecting: Called with ``Reconnecting`` whenever a server is about to be tried,
            after the first one of ``connect()``.
        on_dropped: Called with ``Dropped`` when messages were dropped, received or published.
        on_error: Called with the exception and the message when a handler has raised.

    Raises:
        UsageError: An argument cannot work.
    """

    def __init__(
        self,
        url: str | Sequence[str] | Asked[str | Sequence[str]] | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        client_id: str = "",
        username: str | Asked[str | None] | None = None,
        password: str | bytes | Asked[str | bytes | None] | None = None,
        version: Version | None = None,
        clean_start: bool = True,
        session_expiry_interval: int | None = None,
        keep_alive: int = 60,
        connect_timeout: float = 30.0,
        will: Will | None = None,
        tls: TLS | ssl.SSLContext | bool | Asked[TLS | ssl.SSLContext] | None = None,
        headers: Headers | Asked[Headers] = (),
        auth: AuthHandler | None = None,
        server_order: ServerOrder = "in_order",
        maximum_redirects: int = 5,
        receive_maximum: int = 1000,
        maximum_in_flight: int | None = None,
        maximum_packet_size: int | None = None,
        topic_alias_maximum: int = 0,
        use_topic_aliases: bool = False,
        use_subscription_identifiers: bool = True,
        request_problem_information: bool = True,
        request_response_information: bool = False,
        check_payload_format: bool = False,
        user_properties: Sequence[tuple[str, str]] = (),
        reconnect: bool | Reconnect = True,
        outbox_messages: int = 100_000,
        outbox_bytes: int = 256 * 1024 * 1024,
        when_full: WhenFull = "wait",
        queue_qos_0: bool = False,
        when_session_lost: WhenSessionLost = "republish",
        on_connect: Callable[[Connected], object] | None = None,
        on_disconnect: Callable[[Disconnected], object] | None = None,
        on_reconnecting: Callable[[Reconnecting], object] | None = None,
        on_dropped: Callable[[Dropped], object] | None = None,
        on_error: Callable[[BaseException, Message], object] | None = None,
    ) -> None:
        for callback in (on_connect, on_disconnect, on_reconnecting, on_dropped, on_error):
            if callback is not None and not callable(callback):
                raise UsageError(f"on_connect and the like are functions, not {callback!r}")
            if is_coroutine_function(callback):
                raise UsageError("on_connect and the like are plain functions, not coroutines")
        if auth is not None and not all(
            callable(getattr(auth, name, None)) for name in ("start", "respond", "finish")
        ):
            raise UsageError(f"auth must be an AuthHandler, not {type(auth).__name__}")
        given = {
            "url": url,
            "username": username,
            "password": password,
            "tls": tls,
            "headers": headers,
        }
        asked = {name: value for name, value in given.items() if callable(value)} or _NONE
        fixed: dict[str, Any] = {**given, **dict.fromkeys(asked)}
        if "url" in asked and (host is not None or port is not None):
            raise UsageError("give a URL or a host, not both")
        with_tls = bool(tls)
        if will is not None and not isinstance(will, Will):
            raise UsageError(f"will must be a Will, not {type(will).__name__}")
        options = ClientOptions(
            endpoints=()
            if "url" in asked
            else _endpoints(fixed["url"], host, port, with_tls=with_tls),
            asked=asked,
            client_id=client_id,
            username=fixed["username"],
            password=encode_password(fixed["password"]),
            version=version,
            clean_start=bool(clean_start),
            session_expiry_interval=session_expiry_interval,
            keep_alive=keep_alive,
            connect_timeout=connect_timeout,
            will=will,
            tls=as_tls(fixed["tls"]),
            headers=check_headers(fixed["headers"] or ()),
            auth=auth,
            server_order=server_order,
            maximum_redirects=maximum_redirects,
            receive_maximum=receive_maximum,
            maximum_in_flight=maximum_in_flight,
            maximum_packet_size=maximum_packet_size,
            topic_alias_maximum=topic_alias_maximum,
            use_topic_aliases=bool(use_topic_aliases),
            use_subscription_identifiers=bool(use_subscription_identifiers),
            request_problem_information=bool(request_problem_information),
            request_response_information=bool(request_response_information),
            check_payload_format=bool(check_payload_format),
            user_properties=user_properties,
            reconnect=_DEFAULT_RECONNECT if reconnect is True else (reconnect or None),
            outbox_messages=outbox_messages,
            outbox_bytes=outbox_bytes,
            when_full=when_full,
            queue_qos_0=bool(queue_qos_0),
            when_session_lost=when_session_lost,
        )
        if with_tls and options.endpoints and not any(each.tls for each in options.endpoints):
            raise UsageError("tls is given, but no URL uses it: write mqtts:// instead of mqtt://")
        if headers and options.endpoints and not any(e.is_websocket for e in options.endpoints):
            raise UsageError("headers are given, but no URL is ws:// or wss://")
        callbacks = {
            Connected: on_connect,
            Disconnected: on_disconnect,
            Reconnecting: on_reconnecting,
        }
        self._callbacks: Mapping[Any, Callable[[Any], object]] = {
            event: callback for event, callback in callbacks.items() if callback is not None
        } or _NONE
        self._on_dropped = on_dropped
        self._on_error = on_error
        self._core = self._set_up(options)
        self._core.drops.is_watched = on_dropped is not None

    def _set_up(self, options: ClientOptions) -> ClientCore:
        """Make the core, and what the client's own kind needs to drive it."""
        raise NotImplementedError

    @property
    def is_idle(self) -> bool:
        """Whether the client is not connected and will not be before ``connect()``."""
        return self._core.is_idle

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection now that the server has accepted."""
        return self._core.is_connected

    @property
    def client_id(self) -> str:
        """The client identifier, which the server may have assigned; empty before that."""
        return self._core.client_id

    @property
    def version(self) -> str:
        """The protocol version of the connection, or the one that is tried next."""
        return next(name for name, value in VERSIONS.items() if value == self._core.version)

    @property
    def connack(self) -> Connack | None:
        """The server's last CONNACK, with its limits in ``properties`` (section 3.2.2.3)."""
        return self._core.connack

    @property
    def counters(self) -> Counters:
        """What the client has done so far, and what waits in it: a picture of this moment."""
        return self._core.counters

    @property
    def unmatched_messages(self) -> int:
        """How many messages were dropped because no subscription matched them."""
        return self._core.drops.totals[DropReason.UNMATCHED]

    def __repr__(self) -> str:
        servers = ", ".join(map(str, self._core.options.endpoints))
        return f"<{type(self).__name__} {servers}, {self._core.state.value}>"


def random_fraction() -> float:
    """From 0 to 1; the module ``random`` would take longer to import than it is worth."""
    return int.from_bytes(urandom(6)) / 2**48


def make_goodbye(
    reason_code: int,
    reason_string: str | None,
    user_properties: Sequence[tuple[str, str]],
    session_expiry_interval: int | None,
) -> Disconnect | None:
    """The DISCONNECT that the arguments of ``close()`` ask for; None: the usual one."""
    check_user_properties(user_properties)
    properties: Properties = {}
    if reason_string is not None:
        properties["reason_string"] = reason_string
    if user_properties:
        properties["user_properties"] = list(user_properties)
    if session_expiry_interval is not None:
        properties["session_expiry_interval"] = session_expiry_interval
    if not reason_code and not properties:
        return None
    return Disconnect(reason_code, properties or None)


class SubscriptionBase:
    """What can be asked of a subscription of either client."""

    def __init__(self, state: SubscriptionState) -> None:
        self._state = state
        state.owner = self

    @property
    def topic_filters(self) -> tuple[str, ...]:
        """The topic filters."""
        return self._state.topic_filters

    @property
    def granted(self) -> dict[str, int]:
        """The server's reason code for each filter: the granted QoS, or 0x80 and above."""
        return dict(self._state.granted)

    @property
    def reason_string(self) -> str | None:
        """What the server said of its answer, for people to read."""
        return self._state.answer.get("reason_string")

    @property
    def user_properties(self) -> list[tuple[str, str]]:
        """The user properties of the server's answer."""
        return self._state.answer.get("user_properties", [])

    @property
    def dropped(self) -> int:
        """How many messages of QoS 0 were dropped because the buffer was full."""
        return self._state.dropped

    @property
    def buffered(self) -> int:
        """How many messages wait to be taken."""
        return len(self._state.buffer)


def _endpoints(
    url: Any, host: str | None, port: int | None, *, with_tls: bool
) -> tuple[Endpoint, ...]:
    if host is not None:
        if url is not None:
            raise UsageError("give a URL or a host, not both")
        default = 8883 if with_tls else 1883
        port = default if port is None else port
        if not isinstance(port, int) or not 1 <= port <= 65_535:
            raise UsageError(f"port must be from 1 to 65535, not {port!r}")
        if not isinstance(host, str) or not host or "/" in host:
            raise UsageError("host must be the name or the address of a server")
        return (Endpoint("mqtts" if with_tls else "mqtt", host, port),)
    if port is not None:
        raise UsageError("port goes with host; in a URL it stands behind the host")
    if url is None:
        raise UsageError('give a URL, for example "mqtt://localhost", or a host')
    return as_endpoints(url)
