"""mqttlite: MQTT for Python, with threads and with asyncio."""

__version__ = "0.1.0"
