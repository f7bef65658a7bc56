"""A message on its way to the server, to be waited for."""

from __future__ import annotations

from mqttlite.client import DeliveryState


class Delivery(DeliveryState):
    """A message on its way to the server: what ``publish_nowait()`` returns.

    ``wait()`` for it, as often as you like. ``done`` tells whether it is settled, ``fate`` how;
    ``reason_code``, ``reason_string`` and ``user_properties`` are what the server said. Giving
    up waiting does not take the message back.
    """

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> Delivery:
        """Wait until it is known what became of the message, and return this object.

        Raises PublishError if it was not delivered, TimeoutError after ``timeout`` seconds.
        """
        self._driver.wait(self, timeout)
        return self.result()

    def result(self) -> Delivery:
        """Return this object if the message was delivered; raise PublishError if it was not."""
        if self.error is not None:
            raise self.error
        return self
