"""Packets in words, for the log: no payload, no password, nothing that may be a secret."""

from typing import Any, Final

from mqttlite.enums import describe_reason
from mqttlite.message import Message, Properties, Will
from mqttlite.packets.types import Packet
from mqttlite.records import field_names
from mqttlite.topics import shorten

_HIDDEN: Final = {"username", "password", "authentication_data", "correlation_data"}


def describe(packet: Packet) -> str:
    """Say a packet in one line: ``PUBLISH topic='a/b' payload=5 bytes qos=1 packet_id=7``.

    Of payloads, user names, passwords and binary properties only the length is shown, of user
    properties the names.
    """
    if isinstance(packet, Message):
        words = ["PUBLISH", *_message(packet)]
        if packet.packet_id:
            words.append(f"packet_id={packet.packet_id}")
    else:
        words = [type(packet).__name__.upper()]
        for name in field_names(packet):
            if name != "properties":
                words += _field(name, getattr(packet, name))
    words += _properties(getattr(packet, "properties", None))
    return " ".join(words)


def _message(message: Message | Will) -> list[str]:
    words = [f"topic={shorten(message.topic)!r}", f"payload={len(message.payload)} bytes"]
    words += [f"qos={message.qos}"]
    words += [f"{name}=True" for name in ("retain", "dup") if getattr(message, name, False)]
    return words


def _field(name: str, value: Any) -> list[str]:
    if value is None:
        return []
    if name == "reason_code":
        return [f"reason_code={describe_reason(value)}"]
    if name == "reason_codes":
        return [f"reason_codes=[{', '.join(map(describe_reason, value))}]"]
    if name == "version":
        return [f"version={value.name}"]
    if isinstance(value, Will):
        return [f"will=({' '.join([*_message(value), *_properties(value.properties)])})"]
    if name == "user_properties":
        return [f"user_properties={[shorten(key) for key, _ in value]}"]
    if name in _HIDDEN:
        return [f"{name}=({len(value)} hidden)"]
    if isinstance(value, str):
        return [f"{name}={shorten(value)!r}"]
    return [f"{name}={value!r}"]


def _properties(properties: Properties | None) -> list[str]:
    words = []
    for name, value in (properties or {}).items():
        words += _field(name, value)
    return words
