"""A broker inside the program, so that a program that uses MQTT can be tested without another.

It is for tests and demonstrations and **not for production**: everything is in memory, nothing is
guarded against those who mean harm, and nobody has measured it under load.

    with Broker() as broker, mqttlite.Client(broker.url) as client: ...

``AsyncBroker`` is the same for asyncio, ``BrokerCore`` the broker without input and output.
"""

from mqttlite.testing.broker import AsyncBroker, Broker
from mqttlite.testing.core import BrokerCore
from mqttlite.testing.relay import Relay

__all__ = ["AsyncBroker", "Broker", "BrokerCore", "Relay"]
