"""The link is cut after N bytes, for every N: nothing is lost, and QoS 2 comes once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.behaviour import rule
from tests.protocol.simulation import FAST, Broker, World, make_core, take_all

UP = {b"u%d" % number: 1 + number % 2 for number in range(4)}
DOWN = {b"d%d" % number: 1 + number % 2 for number in range(4)}


def run(cuts: Sequence[int], **options: Any) -> int:
    """Run a session with such cuts, and check it; return the bytes of the last connection."""
    broker = Broker()
    core = make_core(client_id="c", clean_start=False, reconnect=FAST, **options)
    world = World(core, broker, cuts=iter([*cuts, 1 << 20]))
    subscription = world.subscribe("down", qos=2)
    received: list[bytes] = []
    world.connected_at_last()
    deliveries = [world.publish("up", payload, qos) for payload, qos in UP.items()]
    world.run_until(lambda: bool(broker.sessions and broker.sessions["c"].filters))
    for payload, qos in DOWN.items():
        broker.publish("down", payload, qos)
    world.run_until(lambda: all(each.done for each in deliveries))
    for _ in range(20):
        received += take_all(subscription)
        world.run(0.5)
    assert [each.fate.value for each in deliveries] == ["acknowledged"] * len(UP)
    published = [message.payload for message in broker.published if message.topic == "up"]
    for arrived, sent in ((published, UP), (received, DOWN)):
        assert set(arrived) == set(sent)
        for qos in (1, 2):
            of_qos = [payload for payload in arrived if sent[payload] == qos]
            once = list(dict.fromkeys(of_qos))
            assert once == [payload for payload in sent if sent[payload] == qos]
            assert qos == 1 or of_qos == once
    assert not core.session.outgoing
    assert not core.session.incoming
    assert world.link is not None
    assert world.link.left is not None
    return (1 << 20) - world.link.left


@rule(13, 15)
@pytest.mark.parametrize("version", ["5.0", "3.1.1"])
def test_cut_at_every_byte(version: str) -> None:
    whole = run([], version=version)
    assert 150 < whole < 500
    for cut in range(1, whole + 1):
        run([cut], version=version)


@pytest.mark.parametrize("receive_maximum", [1, 2])
def test_cut_again_and_again(receive_maximum: int) -> None:
    for cut in range(60, 240, 7):
        run([cut, cut + 11, cut + 3, cut + 17], receive_maximum=receive_maximum)
