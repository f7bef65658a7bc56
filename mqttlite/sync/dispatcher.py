"""The thread on which a client calls its user's functions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from queue import SimpleQueue

_log = logging.getLogger("mqttlite.sync")


class Dispatcher:
    """Runs jobs one after the other in a thread that is started when there is one.

    So handlers never hold up the network, and never run at the same time.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def is_current_thread(self) -> bool:
        """Whether a job of this dispatcher is asking."""
        return threading.current_thread() is self._thread

    def put(self, job: Callable[[], object]) -> None:
        """Run a job in its turn."""
        self._jobs.put(job)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread after the jobs that it has; wait for that for some seconds."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return
        self._jobs.put(None)
        if not self.is_current_thread:
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                with self._lock:
                    if self._jobs.empty():
                        self._thread = None
                        return
                continue
            try:
                job()
            except Exception:
                _log.exception("a callback raised")
