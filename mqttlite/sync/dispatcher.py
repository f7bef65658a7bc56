"""The thread on which a client calls its user's functions."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable

_log = logging.getLogger("mqttlite.sync")


class Dispatcher:
    """Runs jobs one after the other in a thread that is started when there is one.

    So handlers never hold up the network, and never run at the same time.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: deque[Callable[[], object]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def put(self, job: Callable[[], object]) -> None:
        """Run a job in its turn."""
        with self._changed:
            self._jobs.append(job)
            if self._thread is None:
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            else:
                self._changed.notify()

    def stop(self, timeout: float) -> None:
        """End the thread after the jobs that it has; wait for that for some seconds."""
        with self._changed:
            thread = self._thread
            self._stopping = True
            self._changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._stopping:
                    self._changed.wait()
                if not self._jobs:
                    self._thread = None
                    return
                job = self._jobs.popleft()
            try:
                job()
            except BaseException:
                # sys.exit() in a handler, too: the others are to go on.
                _log.exception("a callback raised")
