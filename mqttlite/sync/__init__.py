"""The client for threads."""

from mqttlite.sync.client import Client
from mqttlite.sync.delivery import Delivery
from mqttlite.sync.subscription import Subscription

__all__ = ["Client", "Delivery", "Subscription"]
