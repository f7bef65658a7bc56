"""What a large message must not cost."""

import tracemalloc

from mqttlite.enums import ProtocolVersion
from mqttlite.packets import Message, PacketReader, encode

SIZE = 16 * 1024 * 1024
PIECE = 64 * 1024


def test_a_large_payload_is_not_in_memory_many_times() -> None:
    version = ProtocolVersion.MQTT_5_0
    packet = encode(Message("a/topic", bytes(SIZE)), version)
    pieces = [packet[start : start + PIECE] for start in range(0, len(packet), PIECE)]
    reader = PacketReader(version)
    tracemalloc.start()
    try:
        packets = [found for piece in pieces for found in reader.feed(piece)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(packets) == 1
    assert peak < 2.5 * SIZE  # what has come, and the payload of it
