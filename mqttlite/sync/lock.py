"""The lock around a client's core."""

import threading
from types import TracebackType

from mqttlite.errors import UsageError


class CoreLock:
    """A lock that tells its holder's signal handlers that they cannot have it.

    A signal handler runs in the middle of whatever the main thread does. Where that holds the
    lock, to wait would be for ever, and to go on would find a core that is half changed.
    """

    __slots__ = ("_is_mine", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        # What a threading.Condition asks its lock.
        self._is_mine = self._lock._is_owned  # type: ignore[attr-defined]  # noqa: SLF001

    def __enter__(self) -> None:
        if self._is_mine():
            raise UsageError(
                "the client was called from a signal handler that has interrupted it: let the "
                "handler set a flag, or start a thread, instead"
            )
        self._lock.acquire()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._lock.release()
