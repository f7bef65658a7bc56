"""The lock around a client's core."""

import threading
from types import TracebackType

from mqttlite.errors import UsageError


class CoreLock:
    """A lock that tells its holder's signal handlers that they cannot have it.

    A signal handler runs in the middle of whatever the main thread does. Where that holds the
    lock, to wait would be for ever, and to go on would find a core that is half changed.

    The hot paths do what ``with`` does themselves: ``refuse_again()`` if ``is_mine()``, and
    ``with lock.raw``, which takes a fifth of the time.
    """

    __slots__ = ("is_mine", "raw")

    def __init__(self) -> None:
        self.raw = threading.RLock()
        # What a threading.Condition asks its lock.
        self.is_mine = self.raw._is_owned  # type: ignore[attr-defined]  # noqa: SLF001

    def refuse_again(self) -> None:
        """Raise UsageError."""
        raise UsageError(
            "the client was called from a signal handler that has interrupted it: let the "
            "handler set a flag, or start a thread, instead"
        )

    def __enter__(self) -> None:
        if self.is_mine():
            self.refuse_again()
        self.raw.acquire()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.raw.release()
