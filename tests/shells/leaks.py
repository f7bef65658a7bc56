"""Finds what a test leaves behind: threads, sockets, and what the garbage collector warns of."""

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

GRACE = 1.0
"""Seconds for a thread to end; test_lifecycle.py shows that the clients need none."""


def open_sockets() -> set[str]:
    """Return the names of this process's open sockets."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):  # noqa: PTH208 - Path.iterdir is no shorter
        with suppress(FileNotFoundError):  # the directory's own
            target = str(Path(f"/proc/self/fd/{fd}").readlink())
            if target.startswith("socket:"):
                found.add(f"{fd} {target}")
    return found


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if there are more threads or sockets at the end than there were at the beginning."""
    threads = set(threading.enumerate())
    sockets = open_sockets() if Path("/proc/self/fd").exists() else set()
    yield
    left = [thread for thread in threading.enumerate() if thread not in threads]
    for thread in left:
        thread.join(GRACE)
    left = [thread for thread in left if thread.is_alive()]
    assert not left, f"threads are left: {left}"
    if sockets or Path("/proc/self/fd").exists():
        more = open_sockets() - sockets
        assert not more, f"sockets are left: {sorted(more)}"
    gc.collect()  # an object that warns when it is collected is to do it in this test
