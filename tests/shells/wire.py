"""Takes apart what a client sends: MQTT 5.0 by hand, without the package's own code."""

from typing import NamedTuple

from tests.conformance.by_hand_5_0 import packet, section, split, text, two

__all__ = [
    "Parts",
    "Publish",
    "body",
    "packet",
    "pair",
    "read",
    "read_publish",
    "section",
    "split",
    "text",
    "two",
]

_LENGTHS = {0x01: 1, 0x02: 4, 0x11: 4, 0x17: 1, 0x19: 1, 0x21: 2, 0x22: 2, 0x23: 2, 0x27: 4}
_PAIR = 0x26

Parts = dict[int, list[bytes]]
"""The values of properties by their identifiers; those of a user property as ``name=value``."""

_BEFORE = {1: 10, 4: 3, 5: 3, 14: 1, 15: 1, 8: 2, 10: 2}
"""Bytes between the Remaining Length and the properties, by the type of packet."""


def pair(name: str, value: str) -> bytes:
    """A user property."""
    return b"\x26" + text(name) + text(value)


def body(data: bytes) -> bytes:
    """Return what stands behind the Remaining Length of a packet."""
    return _length(data[1:])[1]


def read(data: bytes) -> Parts:
    """Return the properties of one packet."""
    data = body(data)[_BEFORE[data[0] >> 4] :]
    if not data:  # it may end with the reason code
        return {}
    length, data = _length(data)
    return _read(data[:length])


class Publish(NamedTuple):
    """A PUBLISH, taken apart."""

    first: int
    topic: bytes
    packet_id: int
    properties: Parts
    payload: bytes


def read_publish(data: bytes) -> Publish:
    """Take a PUBLISH apart."""
    assert data[0] >> 4 == 3
    topic, rest = _cut(body(data))
    packet_id = 0
    if data[0] & 6:
        packet_id, rest = int.from_bytes(rest[:2], "big"), rest[2:]
    length, rest = _length(rest)
    return Publish(data[0], topic, packet_id, _read(rest[:length]), rest[length:])


def _length(data: bytes) -> tuple[int, bytes]:
    """Read a Variable Byte Integer; return what is behind it, too."""
    value = shift = 0
    for index, digit in enumerate(data):
        value |= digit % 128 << shift
        shift += 7
        if digit < 128:
            return value, data[index + 1 :]
    raise AssertionError("the length has no end")


def _read(data: bytes) -> Parts:
    found: Parts = {}
    while data:
        identifier, data = data[0], data[1:]
        if identifier in _LENGTHS:
            length = _LENGTHS[identifier]
            value, data = data[:length], data[length:]
        else:
            value, data = _cut(data)
            if identifier == _PAIR:
                second, data = _cut(data)
                value += b"=" + second
        found.setdefault(identifier, []).append(value)
    return found


def _cut(data: bytes) -> tuple[bytes, bytes]:
    end = 2 + int.from_bytes(data[:2], "big")
    return data[2:end], data[end:]
