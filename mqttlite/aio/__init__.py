"""The client for asyncio."""

from mqttlite.aio.client import AsyncClient
from mqttlite.aio.delivery import AsyncDelivery
from mqttlite.aio.subscription import AsyncSubscription

__all__ = ["AsyncClient", "AsyncDelivery", "AsyncSubscription"]
