"""The client without input or output: reconnection, outbox, subscriptions, dispatch."""

from mqttlite.client.core import ClientCore
from mqttlite.client.counters import Counters
from mqttlite.client.events import (
    Connected,
    Disconnected,
    Dropped,
    DropReason,
    Event,
    Question,
    Reconnecting,
    Reporter,
)
from mqttlite.client.operations import DeliveryState, Operation, Unsubscribed
from mqttlite.client.options import ClientOptions
from mqttlite.client.states import ClientState, Dial, HangUp
from mqttlite.client.subscriptions import SubscriptionState, make_subscription

__all__ = [
    "ClientCore",
    "ClientOptions",
    "ClientState",
    "Connected",
    "Counters",
    "DeliveryState",
    "Dial",
    "Disconnected",
    "DropReason",
    "Dropped",
    "Event",
    "HangUp",
    "Operation",
    "Question",
    "Reconnecting",
    "Reporter",
    "SubscriptionState",
    "Unsubscribed",
    "make_subscription",
]
