"""The embedded broker: what outlives a connection, and wills."""

from typing import Any

import pytest

from mqttlite.enums import ProtocolVersion, ReasonCode
from mqttlite.limits import NEVER_EXPIRES
from mqttlite.message import Will
from mqttlite.packets import (
    Disconnect,
    Message,
    Puback,
    Pubcomp,
    Pubrec,
    Pubrel,
    SubscriptionOptions,
)
from mqttlite.testing import BrokerCore
from mqttlite.testing.session import SessionInfo
from tests.conformance.conforms import conforms
from tests.unit.testing.client import V5, V31, V311, HandClient, connected, lasting


class TestSessions:
    @conforms("5.0", "MQTT-3.1.2-5", "MQTT-3.2.2-3", "MQTT-4.5.0-1")
    def test_it_is_resumed_with_what_waits(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        client.subscribe("a", 1)
        client.lose()
        core.publish("a", b"0", 1)
        core.publish("a", b"1", 1, qos=2)
        client = HandClient(core, 2.0)
        connack = client.connect(
            "c", 2.0, clean_start=False, properties={"session_expiry_interval": 100}
        )
        assert connack.session_present
        assert client.early == [Message("a", b"1", 1, packet_id=1)]
        core.publish("a", b"2", 2.0)
        assert client.payloads() == [b"2"]

    @conforms("3.1.1", "MQTT-3.1.2-5", "MQTT-3.2.2-2", "MQTT-4.5.0-1")
    @pytest.mark.parametrize(("version", "present"), [(V311, True), (V31, False)])
    def test_mqtt_3_keeps_a_session_for_ever(self, version: ProtocolVersion, present: bool) -> None:
        core = BrokerCore()
        client = connected(core, "c", version=version, clean_start=False)
        client.subscribe("a")
        client.disconnect(0.0)
        assert core.next_deadline() is None
        core.publish("a", b"x", 0, qos=1)
        client = HandClient(core, 1e9, version=version)
        connack = client.connect("c", 1e9, clean_start=False)
        assert connack.session_present is present  # MQTT 3.1 cannot say so
        assert len(client.early) == 1

    @pytest.mark.parametrize("version", [V311, V5])
    def test_it_ends_with_its_connection(self, version: ProtocolVersion) -> None:
        core = BrokerCore()
        client = connected(core, "c", version=version)
        client.subscribe("a")
        client.lose()
        assert core.sessions == {}
        assert core.publish("a", b"x", 0, qos=1) == 0

    @conforms("5.0", "MQTT-3.1.4-4")
    def test_a_clean_start_ends_the_old_one(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        client.subscribe("a")
        client.lose()
        connack = HandClient(core).connect("c", clean_start=True)
        assert not connack.session_present
        assert core.publish("a", b"x", 0) == 0

    @conforms("5.0", "MQTT-4.1.0-2")
    def test_it_expires(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        assert core.next_deadline() is None
        client.lose(10.0)
        assert core.next_deadline() == 110.0
        core.handle_deadline(109.0)
        assert core.sessions["c"].expires_at == 110.0
        core.handle_deadline(110.0)
        assert core.sessions == {}

    def test_it_does_not_expire_while_the_client_is_there(self) -> None:
        core = BrokerCore()
        lasting(core, "c").lose(0.0)
        lasting(core, "c", 50.0)
        core.handle_deadline(1000.0)
        assert list(core.sessions) == ["c"]

    def test_disconnect_changes_the_interval(self) -> None:
        core = BrokerCore(maximum_session_expiry_interval=500)
        lasting(core, "longer").disconnect(0.0, session_expiry_interval=NEVER_EXPIRES)
        lasting(core, "shorter").disconnect(0.0, session_expiry_interval=0)
        assert core.sessions["longer"].expires_at == 500.0
        assert list(core.sessions) == ["longer"]

    def test_for_ever(self) -> None:
        core = BrokerCore()
        lasting(core, "c", properties={"session_expiry_interval": NEVER_EXPIRES}).lose(0.0)
        core.handle_deadline(1e12)
        assert list(core.sessions) == ["c"]

    def test_disconnect_must_not_give_life_to_a_session_that_has_none(self) -> None:
        core = BrokerCore()
        client = connected(core, "c", will=Will("w", b"x", retain=True))
        client.write(Disconnect(0, {"session_expiry_interval": 5}))
        assert client.farewell() == ReasonCode.PROTOCOL_ERROR
        assert list(core.router.retained) == ["w"]  # it was no valid DISCONNECT

    def test_infos(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        client.subscribe("a", 1)
        client.write()
        core.publish("a", b"1", 0, qos=1)
        info = SessionInfo.of(core.sessions["c"])
        assert info == SessionInfo("c", True, {"a": SubscriptionOptions(1)}, 0, 1)
        client.lose()
        core.publish("a", b"2", 0, qos=1)
        info = SessionInfo.of(core.sessions["c"])
        assert (info.connected, info.queued, info.unacknowledged) == (False, 1, 1)


class TestFlows:
    def test_what_was_not_acknowledged_comes_again_first(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        client.subscribe("a")
        core.publish("a", b"1", 0, qos=1)
        core.publish("a", b"2", 0, qos=2)
        core.publish("a", b"3", 0, qos=2)
        client.read()
        assert client.ask(Pubrec(3)) == [Pubrel(3)]
        client.lose()
        core.publish("a", b"4", 0, qos=1)
        client = lasting(core, "c")
        assert client.early == [
            Message("a", b"1", 1, dup=True, packet_id=1),
            Message("a", b"2", 2, dup=True, packet_id=2),
            Pubrel(3),
            Message("a", b"4", 1, packet_id=4),
        ]
        assert client.ask(Puback(1), Pubrec(2), Pubcomp(3), Puback(4)) == [Pubrel(2)]
        client.write(Pubcomp(2))
        assert core.sessions["c"].held == core.sessions["c"].held_bytes == 0

    def test_an_incoming_exchange_goes_on(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        client.subscribe("a", 0)
        assert client.ask(Message("a", b"x", 2, packet_id=5)) == [Message("a", b"x"), Pubrec(5)]
        client.lose()
        client = lasting(core, "c")
        assert client.ask(Message("a", b"x", 2, dup=True, packet_id=5)) == [Pubrec(5)]
        assert client.ask(Pubrel(5)) == [Pubcomp(5)]

    def test_a_message_that_the_client_refuses_is_done(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        client.subscribe("a")
        core.publish("a", b"1", 0, qos=1)
        core.publish("a", b"2", 0, qos=2)
        client.read()
        client.write(Puback(1, 0x80), Pubrec(2, 0x80))
        assert core.sessions["c"].held == 0
        client.lose()
        assert lasting(core, "c").early == []

    def test_the_client_comes_back_with_smaller_packets(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        client.subscribe("a")
        core.publish("a", bytes(100), 0, qos=1)
        client.lose()
        client = lasting(core, "c", properties={"maximum_packet_size": 50})
        assert client.early == []
        assert core.sessions["c"].held == core.sessions["c"].held_bytes == 0

    def test_the_client_comes_back_with_another_version(self) -> None:
        core = BrokerCore()
        client = lasting(core, "c")
        client.subscribe("a", identifier=4)
        client.lose()
        core.publish("a", b"x", 0, qos=1, content_type="t")
        old = connected(core, "c", version=V311, clean_start=False)
        assert old.early == [Message("a", b"x", 1, packet_id=1)]

    def test_messages_before_a_goodbye_count(self) -> None:
        core = BrokerCore()
        watcher = connected(core, "w")
        watcher.subscribe("a")
        client = connected(core, "c")
        client.write(Message("a", b"x", 1, packet_id=1), Disconnect())
        assert watcher.payloads() == [b"x"]


class TestTakeover:
    @conforms("3.1.1", "MQTT-3.1.4-2")
    @conforms("5.0", "MQTT-3.1.4-3")
    @pytest.mark.parametrize(
        ("version", "code"), [(V5, ReasonCode.SESSION_TAKEN_OVER), (V311, None)]
    )
    def test_the_old_connection_goes(self, version: ProtocolVersion, code: int | None) -> None:
        core = BrokerCore()
        old = connected(core, "c", version=version, clean_start=False)
        old.subscribe("a")
        new = connected(core, "c", version=version, clean_start=False)
        assert old.farewell() == code
        core.publish("a", b"x", 0)
        # The session of MQTT 5 has no expiry interval: it has ended with its connection.
        assert new.payloads() == ([] if version == V5 else [b"x"])
        old.lose()
        assert core.sessions["c"].connection is new.connection

    def test_the_session_goes_on(self) -> None:
        core = BrokerCore()
        old = lasting(core, "c")
        old.subscribe("a")
        core.publish("a", b"x", 0, qos=1)
        new = lasting(core, "c")
        assert new.early == [Message("a", b"x", 1, dup=True, packet_id=1)]
        assert core.sessions["c"].is_online

    @conforms("5.0", "MQTT-3.1.3-9")
    @pytest.mark.parametrize(
        ("delay", "clean", "published"),
        [(0, False, True), (10, False, False), (10, True, True)],
    )
    def test_its_will(self, delay: int, clean: bool, published: bool) -> None:
        core = BrokerCore()
        lasting(core, "c", will=Will("w", b"x", retain=True, will_delay_interval=delay))
        lasting(core, "c", clean_start=clean)
        assert ("w" in core.router.retained) is published


class TestWills:
    def watched(self, **options: Any) -> tuple[BrokerCore, HandClient, HandClient]:
        core = BrokerCore()
        watcher = connected(core, "watcher")
        watcher.subscribe("will/#", retain_as_published=True)
        delay: Any = {"will_delay_interval": options.pop("delay")} if "delay" in options else {}
        will = Will("will/c", b"gone", qos=1, content_type="t", **delay)
        return core, watcher, lasting(core, "c", will=will, **options)

    @conforms("5.0", "MQTT-3.14.4-3")
    def test_a_goodbye_takes_it_back(self) -> None:
        core, watcher, client = self.watched()
        client.disconnect()
        core.handle_deadline(1e9)
        assert watcher.messages() == []

    @conforms("5.0", "MQTT-3.1.2-14")
    @pytest.mark.parametrize(
        "code", [ReasonCode.DISCONNECT_WITH_WILL_MESSAGE, ReasonCode.UNSPECIFIED_ERROR]
    )
    def test_other_goodbyes_do_not(self, code: int) -> None:
        _, watcher, client = self.watched()
        client.disconnect(code=code)
        (message,) = watcher.messages()
        assert message == Message("will/c", b"gone", 1, False, False, 1, {"content_type": "t"})

    @conforms("5.0", "MQTT-3.1.2-7", "MQTT-3.1.2-8", "MQTT-3.1.2-10")
    def test_a_lost_connection(self) -> None:
        core, watcher, client = self.watched()
        client.lose()
        assert watcher.payloads() == [b"gone"]
        lasting(core, "c").lose()
        assert watcher.payloads() == []  # it is published once

    def test_a_broken_protocol(self) -> None:
        _, watcher, client = self.watched()
        client.feed(b"\xff\xff\xff\xff\xff")
        client.farewell()
        assert watcher.payloads() == [b"gone"]

    def test_a_silent_client(self) -> None:
        core, watcher, _ = self.watched(keep_alive=2)
        core.handle_deadline(3.0)
        assert watcher.payloads() == [b"gone"]

    def test_a_connection_dropped_by_the_broker(self) -> None:
        core, watcher, client = self.watched()
        core.disconnect(client.connection, 0)
        assert watcher.payloads() == [b"gone"]

    @conforms("5.0", "MQTT-3.1.2-15")
    def test_it_may_be_retained(self) -> None:
        core = BrokerCore()
        client = connected(core, "c", will=Will("w", b"x", retain=True))
        client.lose()
        (message,) = connected(core).subscribe("w", 0)
        assert message == Message("w", b"x", 0, True)

    @conforms("5.0", "MQTT-3.1.2-8")
    def test_a_delay(self) -> None:
        core, watcher, client = self.watched(delay=10)
        client.lose(5.0)
        assert core.next_deadline() == 15.0
        core.handle_deadline(14.0)
        assert watcher.payloads(14.0) == []
        core.handle_deadline(15.0)
        assert watcher.payloads(15.0) == [b"gone"]
        assert core.next_deadline() == 105.0

    @conforms("5.0", "MQTT-3.1.3-9")
    def test_coming_back_in_time_takes_it_back(self) -> None:
        core, watcher, client = self.watched(delay=10)
        client.lose(5.0)
        lasting(core, "c", 14.0).disconnect(14.0)
        core.handle_deadline(50.0)
        assert watcher.payloads(50.0) == []

    @conforms("5.0", "MQTT-3.1.2-8")
    def test_the_end_of_the_session_does_not_wait(self) -> None:
        core, watcher, client = self.watched(delay=1000)
        client.lose(0.0)
        core.handle_deadline(100.0)
        assert watcher.payloads(100.0) == [b"gone"]

    def test_a_clean_start_does_not_wait(self) -> None:
        core, watcher, client = self.watched(delay=1000)
        client.lose(0.0)
        connected(core, "c")
        assert watcher.payloads() == [b"gone"]
