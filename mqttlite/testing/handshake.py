"""How the broker answers CONNECT: whom it lets in, and with which session."""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING

from mqttlite.client.options import VERSIONS
from mqttlite.enums import ProtocolVersion, ReasonCode
from mqttlite.limits import (
    MAXIMUM_3_1_CLIENT_ID_LENGTH,
)
from mqttlite.message import Properties
from mqttlite.packets import Connect
from mqttlite.protocol import ConnectionState
from mqttlite.protocol.sending import V5
from mqttlite.testing.connection import BrokerConnection
from mqttlite.testing.options import BrokerOptions
from mqttlite.testing.session import BrokerSession

if TYPE_CHECKING:
    from mqttlite.testing.core import BrokerCore


def answer_connect(
    core: BrokerCore, connection: BrokerConnection, connect: Connect, now: float
) -> None:
    """Let a client in, or refuse it [MQTT-3.1.4-2]."""
    if connection.state is not ConnectionState.CONNECTING:
        return  # what came behind CONNECT was wrong: the connection is over already
    options = core.options
    if connect.version not in [VERSIONS[name] for name in options.versions]:
        # A broker of MQTT 3.1.1 answers in the only way that it knows.
        connection.version = ProtocolVersion.MQTT_3_1_1
        connection.refuse(ReasonCode.UNSUPPORTED_PROTOCOL_VERSION)
        core.counters.refused += 1
        return
    code = _find_refusal(options, connect)
    if code:
        connection.refuse(code)  # [MQTT-3.1.4-6] what came behind it is not looked at
        core.counters.refused += 1
        return
    _accept(core, connection, connect, now)


def _find_refusal(options: BrokerOptions, connect: Connect) -> int:
    """Return the reason code of a refusal; 0: the client may connect."""
    if options.refuse is not None:
        return options.refuse
    if connect.properties and "authentication_method" in connect.properties:
        return ReasonCode.BAD_AUTHENTICATION_METHOD  # [MQTT-4.12.0-1]
    if not _is_client_id_valid(connect):
        return ReasonCode.CLIENT_IDENTIFIER_NOT_VALID  # [MQTT-3.1.3-8]
    if options.users is not None and not _is_password_right(options, connect):
        return ReasonCode.BAD_USER_NAME_OR_PASSWORD
    if connect.will is not None:
        if connect.will.qos > options.maximum_qos:  # [MQTT-3.2.2-12]
            return ReasonCode.QOS_NOT_SUPPORTED
        if connect.will.retain and not options.retain_available:  # [MQTT-3.2.2-13]
            return ReasonCode.RETAIN_NOT_SUPPORTED
    return options.authenticate(connect) if options.authenticate is not None else 0


def _is_client_id_valid(connect: Connect) -> bool:
    if connect.version == ProtocolVersion.MQTT_3_1:
        return 1 <= len(connect.client_id) <= MAXIMUM_3_1_CLIENT_ID_LENGTH
    if connect.version == ProtocolVersion.MQTT_3_1_1:
        return connect.client_id != "" or connect.clean_start  # 3.1.1 [MQTT-3.1.3-8]
    return True


def _is_password_right(options: BrokerOptions, connect: Connect) -> bool:
    expected = (options.users or {}).get(connect.username or "")
    if expected is None or connect.password is None:
        return False
    if isinstance(expected, str):
        expected = expected.encode()
    return compare_digest(expected, connect.password)


def _accept(core: BrokerCore, connection: BrokerConnection, connect: Connect, now: float) -> None:
    properties: Properties = {}
    if connect.version == V5:
        properties = core.options.connack_properties()
        if core.options.server_keep_alive is not None:
            connect.keep_alive = core.options.server_keep_alive  # [MQTT-3.2.2-21]
    client_id = connect.client_id
    if not client_id:
        client_id = _new_client_id(core)
        properties["assigned_client_identifier"] = client_id  # [MQTT-3.1.3-7]
    expiry = _expiry_interval(core.options, connect, properties)
    session = _find_session(core, client_id, connect, now)
    session_present = session is not None
    if session is None:
        session = core.sessions[client_id] = BrokerSession(client_id)  # [MQTT-3.1.2-6]
    session.connection = connection
    session.expiry_interval = expiry
    session.expires_at = None
    session.will = session.will_at = None  # [MQTT-3.1.3-9]
    connection.owner = session
    connection.will = connect.will  # [MQTT-3.1.2-7]
    core.counters.connections += 1
    # [MQTT-3.1.4-5] [MQTT-3.2.2-3]
    connection.accept(session.flows, session_present=session_present, properties=properties)
    core.resume(connection, session, now)


def _find_session(
    core: BrokerCore, client_id: str, connect: Connect, now: float
) -> BrokerSession | None:
    """Return the session that the client goes on with."""
    session = core.sessions.get(client_id)
    if session is not None and session.connection is not None:  # [MQTT-3.1.4-3]
        core.disconnect(session.connection, now, ReasonCode.SESSION_TAKEN_OVER)
        session = core.sessions.get(client_id)  # it may have ended with its connection
    if session is not None and connect.clean_start:  # [MQTT-3.1.2-4] [MQTT-3.1.4-4]
        core.end_session(session, now)
        return None
    return session  # [MQTT-3.1.2-5]


def _expiry_interval(options: BrokerOptions, connect: Connect, properties: Properties) -> int:
    if connect.version != V5:  # 3.1.1 [MQTT-3.1.2-4] [MQTT-3.1.2-6]
        return 0 if connect.clean_start else options.maximum_session_expiry_interval
    wanted = (connect.properties or {}).get("session_expiry_interval", 0)
    interval = min(wanted, options.maximum_session_expiry_interval)
    if interval != wanted:
        properties["session_expiry_interval"] = interval
    return interval


def _new_client_id(core: BrokerCore) -> str:
    """Return an identifier that nobody has [MQTT-3.1.3-6]."""
    number = core.counters.connections + 1
    while f"client-{number}" in core.sessions:
        number += 1
    return f"client-{number}"
