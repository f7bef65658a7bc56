"""Who gets a message: the subscriptions of all sessions, and the retained messages."""

from __future__ import annotations

from collections.abc import Iterator

from mqttlite.testing.session import BrokerSession, Publication, Subscription
from mqttlite.topics import TopicTree, has_wildcard, is_shared


class ShareGroup:
    """The sessions that share a subscription: each message goes to one of them.

    They take turns; who is away is passed over, unless all are. The message then stays with the
    one that was chosen, whatever becomes of it [MQTT-4.8.2-5] [MQTT-4.8.2-6].
    """

    def __init__(self, topic_filter: str) -> None:
        self.topic_filter = topic_filter
        self.members: list[Subscription] = []

    def choose(self) -> Subscription:
        """The member whose turn it is: it goes to the end of the line."""
        chosen = self.members[0]
        for member in self.members:
            if member.session.is_online:
                chosen = member
                break
        self.members.remove(chosen)
        self.members.append(chosen)
        return chosen


class Route:
    """One copy of a message for one session, and the subscriptions that are the reason."""

    __slots__ = ("identifiers", "qos", "retain", "session")

    def __init__(self, session: BrokerSession) -> None:
        self.session = session
        self.qos = 0
        self.retain = False
        self.identifiers: list[int] = []

    def add(self, subscription: Subscription, publication: Publication) -> None:
        """Another subscription of the session matches, too."""
        options = subscription.options
        self.qos = max(self.qos, min(options.qos, publication.qos))  # [MQTT-3.3.4-2]
        # [MQTT-3.3.1-12] [MQTT-3.3.1-13]
        self.retain |= publication.retain and options.retain_as_published
        if subscription.identifier is not None:
            self.identifiers.append(subscription.identifier)


class Router:
    """All subscriptions by their filters, and the retained messages by their topics."""

    def __init__(self) -> None:
        self.retained: dict[str, Publication] = {}
        self._tree: TopicTree[Subscription | ShareGroup] = TopicTree()
        self._groups: dict[str, ShareGroup] = {}

    def subscribe(self, subscription: Subscription) -> bool:
        """Add a subscription; return whether it is new.

        One with the same filter is replaced in its place [MQTT-3.8.4-3].
        """
        topic_filter = subscription.topic_filter
        subscriptions = subscription.session.subscriptions
        known = subscriptions.get(topic_filter)
        if known is not None:
            known.options = subscription.options
            known.identifier = subscription.identifier
            return False
        subscriptions[topic_filter] = subscription
        if not is_shared(topic_filter):
            self._tree.add(topic_filter, subscription)
            return True
        group = self._groups.get(topic_filter)
        if group is None:
            group = self._groups[topic_filter] = ShareGroup(topic_filter)
            self._tree.add(topic_filter, group)
        group.members.append(subscription)
        return True

    def unsubscribe(self, session: BrokerSession, topic_filter: str) -> bool:
        """Remove a subscription; return whether there was one."""
        subscription = session.subscriptions.pop(topic_filter, None)
        if subscription is None:
            return False
        group = self._groups.get(topic_filter)
        if group is None:
            self._tree.remove(topic_filter, subscription)
            return True
        group.members.remove(subscription)
        if not group.members:
            self._tree.remove(topic_filter, group)
            del self._groups[topic_filter]
        return True

    def routes(self, publication: Publication) -> list[Route]:
        """Find who gets a message.

        A session gets one copy for all its own subscriptions that match, and one for each
        shared subscription in which it is its turn.
        """
        own: dict[BrokerSession, Route] = {}
        shared: list[Route] = []
        for match in self._tree.match(publication.topic):
            if isinstance(match, ShareGroup):
                subscription = match.choose()
                route = Route(subscription.session)
                shared.append(route)
            else:
                subscription = match
                session = subscription.session
                if subscription.options.no_local and publication.sender == session.client_id:
                    continue  # [MQTT-3.8.3-3]
                route = own.get(session) or own.setdefault(session, Route(session))
            route.add(subscription, publication)
        return [*own.values(), *shared]

    def retain(self, publication: Publication) -> None:
        """Keep a message as the retained one of its topic.

        It replaces the one before [MQTT-3.3.1-5]; an empty one only removes it
        [MQTT-3.3.1-6] [MQTT-3.3.1-7].
        """
        self.retained.pop(publication.topic, None)
        if publication.payload:
            self.retained[publication.topic] = publication

    def retained_for(self, topic_filter: str, now: float) -> Iterator[Publication]:
        """The retained messages that match a filter; those that have expired are removed."""
        topics = [topic_filter]
        if has_wildcard(topic_filter):
            tree: TopicTree[bool] = TopicTree()
            tree.add(topic_filter, True)
            topics = [topic for topic in self.retained if any(tree.match(topic))]
        for topic in topics:
            publication = self.retained.get(topic)
            if publication is None:
                continue
            if publication.has_expired(now):
                del self.retained[topic]
            else:
                yield publication
