"""The lock around a client's core."""

import threading
from types import TracebackType

from mqttlite.errors import UsageError


class CoreLock:
    """A lock that tells its holder's signal handlers that they cannot have it.

    A signal handler runs in the middle of whatever the main thread does. Where that holds the
    lock, to wait would be for ever, and to go on would find a core that is half changed.
    """

    __slots__ = ("_is_held", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._is_held = False

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._is_held:
            self._lock.release()
            raise UsageError(
                "the client was called from a signal handler that has interrupted it: let the "
                "handler set a flag, or start a thread, instead"
            )
        self._is_held = True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_held = False
        self._lock.release()
