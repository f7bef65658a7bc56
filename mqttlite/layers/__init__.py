"""Layers between the network and MQTT: bytes in, bytes out, without input or output."""
