"""The client without input or output: reconnection, outbox, subscriptions, dispatch."""

from mqttlite.client.core import ClientCore, ClientState, Dial, HangUp
from mqttlite.client.events import Connected, Disconnected, Event
from mqttlite.client.operations import DeliveryState, Operation
from mqttlite.client.options import ClientOptions
from mqttlite.client.subscriptions import SubscriptionState, make_subscription

__all__ = [
    "ClientCore",
    "ClientOptions",
    "ClientState",
    "Connected",
    "DeliveryState",
    "Dial",
    "Disconnected",
    "Event",
    "HangUp",
    "Operation",
    "SubscriptionState",
    "make_subscription",
]
