"""Mosquitto is killed in mid-stream and comes back from its disk: nothing is lost or doubled."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mqttlite.options import Reconnect
from tests.shells.brokers import mosquitto
from tests.shells.lab import TIMEOUT, Lab
from tests.support.mosquitto import Mosquitto
from tests.support.proxy import Proxy

COUNT = 400
KILLS = 5
WINDOW = 15

SETTINGS = ("max_queued_messages 0", "max_inflight_messages 1000", "set_tcp_nodelay true")
"""Of more messages in flight than `max_inflight_messages` Mosquitto 2.0.11 forgets at a restart
whether it has released them (PUBREL), and publishes them again: its log shows it."""


def crash(proxy: Proxy, process: Mosquitto) -> None:
    """Kill the broker. What it has acknowledged is on its disk: it promised no more than that."""
    proxy.freeze()
    process.save()
    process.kill()
    proxy.cut()
    process.start()
    proxy.thaw()


@pytest.mark.deadline(60)
@pytest.mark.parametrize("qos", [1, 2])
async def test_killed_in_mid_stream(bench: Lab, tmp_path: Path, qos: int) -> None:
    """One client publishes while another one receives; both lose their connections."""
    options: dict[str, Any] = {
        "clean_start": False,
        "reconnect": Reconnect(first_delay=0.01, maximum_delay=0.05),
    }
    if bench.is_5:
        options["session_expiry_interval"] = 3600
    got: Counter[bytes] = Counter()
    with (
        mosquitto(tmp_path, persistence=True, extra=SETTINGS) as process,
        Proxy(("127.0.0.1", process.port)) as proxy,
    ):
        url = f"mqtt://127.0.0.1:{proxy.port}"
        sender = bench.client(url, client_id="sender", **options)
        receiver = bench.client(url, client_id="receiver", **options)
        messages = await receiver.subscribe(bench.topic, qos=qos)

        async def send() -> None:
            deliveries = []
            for i in range(COUNT):
                deliveries.append(sender.publish_nowait(bench.topic, b"%d" % i, qos=qos))
                if i >= WINDOW:
                    await deliveries[-WINDOW].wait(3 * TIMEOUT)
            for delivery in deliveries:
                await delivery.wait(3 * TIMEOUT)

        async with receiver, sender:
            sending = bench.start(send())
            kills = 0
            while len(got) < COUNT:
                message = await messages.get(TIMEOUT)
                got[message.payload] += 1
                if kills < KILLS and len(got) >= (kills + 1) * COUNT // (KILLS + 1):
                    kills += 1
                    await bench.blocking(crash, proxy, process)
            await sending.result()
            # What was sent twice comes before this.
            await sender.publish(bench.topic, b"end", qos=qos)
            while (message := await messages.get(TIMEOUT)).payload != b"end":
                got[message.payload] += 1
    assert set(got) == {b"%d" % i for i in range(COUNT)}
    if qos == 2:
        doubled = {payload: times for payload, times in got.items() if times > 1}
        assert not doubled
