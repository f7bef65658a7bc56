"""How long to wait before the next attempt to connect."""

from collections.abc import Callable

from mqttlite.options import Reconnect


class Backoff:
    """Counts failed attempts; the delays grow exponentially, with full jitter.

    ``random`` returns a float from 0 to 1.
    """

    def __init__(self, policy: Reconnect, random: Callable[[], float]) -> None:
        self._policy = policy
        self._random = random
        self.failures = 0

    def next_delay(self) -> float | None:
        """Seconds until the next attempt; None if there is to be none. Counts as a failure."""
        policy = self._policy
        if policy.maximum_attempts is not None and self.failures >= policy.maximum_attempts:
            return None
        # Beyond 2**32 any first delay has reached its maximum; floats overflow at 2**1024.
        bound = policy.first_delay * 2.0 ** min(self.failures, 32)
        self.failures += 1
        return self._random() * min(bound, policy.maximum_delay)

    def connection_lasted(self, seconds: float) -> None:
        """A connection has ended: begin anew if it lasted long enough."""
        if seconds >= self._policy.stable_after:
            self.failures = 0
