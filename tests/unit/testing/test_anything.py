"""The embedded broker: whatever clients send, it does not fail, and its books are right."""

import random

import pytest

from mqttlite.message import Will
from mqttlite.packets import (
    Connect,
    Disconnect,
    Message,
    Packet,
    Pingreq,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Subscribe,
    SubscriptionOptions,
    Unsubscribe,
    encode,
)
from mqttlite.testing import BrokerCore
from mqttlite.testing.connection import BrokerConnection
from tests.unit.testing.client import V5, V31, V311

FILTERS = ["a", "a/b", "a/#", "+", "#", "$share/g/a", "$share/g/#"]


def some_packet(draw: random.Random) -> Packet:
    packet_id = draw.randint(1, 4)
    topic = draw.choice(["a", "a/b", "b"])
    options = SubscriptionOptions(draw.randint(0, 2), retain_handling=draw.randint(0, 2))
    message = Message(
        topic,
        bytes(draw.choice([0, 1, 100])),
        qos := draw.randint(0, 2),
        draw.random() < 0.3,
        qos > 0 and draw.random() < 0.3,
        packet_id,
        {"message_expiry_interval": draw.randint(0, 9)} if draw.random() < 0.3 else None,
    )
    packets: list[Packet] = [
        message,
        message,
        message,
        Subscribe(packet_id, [(draw.choice(FILTERS), options)]),
        Unsubscribe(packet_id, [draw.choice(FILTERS)]),
        Puback(packet_id),
        Pubrec(packet_id),
        Pubrel(packet_id),
        Pubcomp(packet_id),
        Pingreq(),
        Disconnect(draw.choice([0, 4])),
    ]
    return draw.choice(packets)


def some_connect(draw: random.Random) -> Connect:
    will = Will("a", b"will", qos=draw.randint(0, 2), will_delay_interval=draw.randint(0, 3))
    version = draw.choice([V5, V5, V311, V31])
    connect = Connect(
        draw.choice("xyz"),
        draw.random() < 0.3,
        draw.choice([0, 5]),
        will=will if draw.random() < 0.5 else None,
        version=version,
    )
    connect.properties = {
        "session_expiry_interval": draw.choice([0, 5, 50]),
        "receive_maximum": draw.choice([1, 2, 100]),
        "maximum_packet_size": draw.choice([5, 20, 1000]),
    }
    return connect


def check_books(core: BrokerCore) -> None:
    for client_id, session in core.sessions.items():
        assert session.client_id == client_id
        held = [*session.queue, *session.flows.outgoing.values()]
        assert session.held_bytes == sum(len(delivery.payload) for delivery in held)
        if session.connection is not None:
            assert session.connection.owner is session
            assert session.connection in core.connections
    for connection in core.connections:
        if connection.owner is not None:
            assert not connection.is_ending


@pytest.mark.parametrize("seed", range(100))
def test_anything(seed: int) -> None:
    draw = random.Random(seed)
    core = BrokerCore(maximum_held=10, maximum_unsent=500, maximum_qos=draw.choice([1, 2]))
    connections: list[BrokerConnection] = []
    now = 0.0
    for _ in range(300):
        now += draw.random()
        if len(connections) < 2 or draw.random() < 0.05:
            connection = core.connection_opened(now)
            connections.append(connection)
            connect = some_connect(draw)
            core.receive(connection, encode(connect, connect.version), now)
        connection = draw.choice(connections)
        data = encode(some_packet(draw), connection.version)
        if draw.random() < 0.02:
            data = draw.randbytes(5)
        if core.wants_data(connection):
            core.receive(connection, data, now)
        if draw.random() < 0.1:
            deadline = core.next_deadline()
            core.handle_deadline(now)
            assert deadline is None or core.next_deadline() != deadline or deadline > now
        if draw.random() < 0.5:
            for changed in core.take_changed():
                while core.data_to_send(changed, now):
                    pass
        for each in list(connections):
            if each.is_closed or (each.is_ending and not each.unsent_size):
                connections.remove(each)
                core.connection_lost(each, now)
        check_books(core)
