"""The thread on which a client calls its user's functions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from queue import SimpleQueue

_log = logging.getLogger("mqttlite.sync")


class Dispatcher:
    """Runs jobs one after the other in a thread that is started when there is one.

    So handlers never hold up the network, and never run at the same time.
    """

    def __init__(self, name: str) -> None:
        from queue import SimpleQueue  # noqa: PLC0415 - who imports mqttlite may not need it

        self._name = name
        # A queue in C: what waits for it is woken by one call. None: there is no job.
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._lock = threading.Lock()  # between those who put the first job, or end the thread
        self._thread: threading.Thread | None = None
        self._stopping = False

    def put(self, job: Callable[[], object]) -> None:
        """Run a job in its turn."""
        with self._lock:
            self._jobs.put(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def stop(self, timeout: float) -> None:
        """End the thread after the jobs that it has; wait for that for some seconds."""
        with self._lock:
            thread = self._thread
            if thread is not None:
                self._stopping = True
                self._jobs.put(None)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if job is not None:
                    job()
            except BaseException:
                # sys.exit() in a handler, too: the others are to go on.
                _log.exception("a callback raised")
            if self._stopping:
                with self._lock:
                    if self._jobs.empty():
                        self._stopping = False
                        self._thread = None
                        return
