"""Large messages, and the smallest pieces."""

import hashlib

import pytest

from tests.behaviour import rule
from tests.shells.lab import TIMEOUT, Lab
from tests.support.proxy import Proxy


@pytest.mark.parametrize("version", ["5.0"])
@pytest.mark.deadline(90)
async def test_100_megabytes_go_out_and_come_back(lab: Lab) -> None:
    payload = bytes(range(256)) * (100_000_000 // 256)
    async with lab.client() as client, client.subscribe(lab.topic, qos=1) as messages:
        await client.publish(lab.topic, payload, qos=1, timeout=40.0)
        message = await messages.get(40.0)
        assert len(message.payload) == len(payload)
        assert hashlib.sha256(message.payload).digest() == hashlib.sha256(payload).digest()


@rule(25)
@pytest.mark.parametrize("version", ["5.0", "3.1.1", "3.1"])
async def test_byte_by_byte(lab: Lab) -> None:
    port = int(lab.url.rpartition(":")[2])
    with Proxy(("127.0.0.1", port), chunk=1) as proxy:
        async with (
            lab.client(f"mqtt://127.0.0.1:{proxy.port}") as client,
            client.subscribe(lab.topic, qos=2) as messages,
        ):
            for qos in (0, 1, 2):
                await client.publish(lab.topic, bytes(300), qos=qos)
                assert (await messages.get(TIMEOUT)).payload == bytes(300)
