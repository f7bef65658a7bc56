"""A service on asyncio that answers requests, and somebody who asks it.

    python examples/service.py
    python examples/service.py mqtt://localhost     # a broker with MQTT 5

The topic that an answer goes to, and the data that tells which request it answers, travel in
the request's properties (MQTT 5.0 section 4.10); ``request()`` sees to both.
"""

import asyncio
import json
import sys
from contextlib import AsyncExitStack

import mqttlite
from mqttlite.testing import AsyncBroker


async def serve(client: mqttlite.AsyncClient, ready: asyncio.Event) -> None:
    """Add numbers for whoever asks, until cancelled."""

    async def answer(message: mqttlite.Message) -> None:
        if message.response_topic is None:
            return
        try:
            result = {"sum": sum(json.loads(message.payload))}
        except (ValueError, TypeError) as error:
            result = {"error": str(error)}
        await client.publish(
            message.response_topic,
            json.dumps(result),
            qos=1,
            correlation_data=message.correlation_data or b"",
        )

    # A shared subscription: start this service twice, and each takes some of the requests.
    async with client.subscribe("$share/adders/service/add", qos=1, handler=answer):
        ready.set()
        await asyncio.Event().wait()


async def run(url: str) -> None:
    """Run the service, ask it some questions at the same time, and stop it."""
    async with mqttlite.AsyncClient(url) as server, mqttlite.AsyncClient(url) as asker:
        ready = asyncio.Event()
        service = asyncio.create_task(serve(server, ready))
        await ready.wait()
        questions: list[object] = [[1, 2], [3, 4, 5], "no numbers"]
        answers = await asyncio.gather(
            *(asker.request("service/add", json.dumps(question)) for question in questions)
        )
        for question, answer in zip(questions, answers, strict=True):
            print(question, "->", answer.payload.decode())
        service.cancel()
        await asyncio.wait([service])


async def main() -> None:
    """Use the broker that is given, or bring one."""
    async with AsyncExitStack() as stack:
        if len(sys.argv) > 1:
            url = sys.argv[1]
        else:
            url = (await stack.enter_async_context(AsyncBroker())).url
        await run(url)


if __name__ == "__main__":
    asyncio.run(main())
