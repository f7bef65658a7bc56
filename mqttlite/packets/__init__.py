"""Packets to bytes and bytes to packets: pure functions, and one incremental reader.

Usable alone: ``encode(packet, version)`` writes, ``PacketReader(version).feed(data)`` reads.
"""

from mqttlite.message import Message
from mqttlite.packets.decode import decode
from mqttlite.packets.encode import encode
from mqttlite.packets.reader import PacketReader
from mqttlite.packets.types import (
    Auth,
    Connack,
    Connect,
    Disconnect,
    Packet,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    SubscriptionOptions,
    Unsuback,
    Unsubscribe,
)

__all__ = [
    "Auth",
    "Connack",
    "Connect",
    "Disconnect",
    "Message",
    "Packet",
    "PacketReader",
    "Pingreq",
    "Pingresp",
    "Puback",
    "Pubcomp",
    "Pubrec",
    "Pubrel",
    "Suback",
    "Subscribe",
    "SubscriptionOptions",
    "Unsuback",
    "Unsubscribe",
    "decode",
    "encode",
]
