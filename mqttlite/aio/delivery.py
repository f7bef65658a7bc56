"""A message on its way to the server, to be awaited."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from mqttlite.client import DeliveryState
from mqttlite.enums import Fate


class AsyncDelivery(DeliveryState):
    """A message on its way to the server: what ``publish_nowait()`` returns.

    ``await`` it, or ``wait()`` for it, as often as you like. ``done`` tells whether it is
    settled, ``fate`` how; ``reason_code``, ``reason_string`` and ``user_properties`` are what
    the server said. Giving up waiting does not take the message back.
    """

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, AsyncDelivery]:
        if self.fate is Fate.PENDING:
            yield from self._driver.wait(self, None).__await__()
        return self.result()

    async def wait(self, timeout: float | None = None) -> AsyncDelivery:
        """Wait until it is known what became of the message, and return this object.

        Raises PublishError if it was not delivered, TimeoutError after ``timeout`` seconds.
        """
        await self._driver.wait(self, timeout)
        return self.result()

    def result(self) -> AsyncDelivery:
        """Return this object if the message was delivered; raise PublishError if it was not."""
        if self.error is not None:
            raise self.error
        return self
