"""Finds what a test leaves behind: threads, sockets, and what the garbage collector warns of."""

import gc
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.support.proxy import Proxy

GRACE = 1.0
"""Seconds for a thread to end; test_lifecycle.py shows that the clients need none."""


_ignored_ports: set[int] = set()
_proxies: list[Proxy] = []


@contextmanager
def ignored_port(port: int) -> Iterator[None]:
    """Take the sockets at this port for those of a broker in this process, not for leaks."""
    _ignored_ports.add(port)
    try:
        yield
    finally:
        _ignored_ports.discard(port)


@contextmanager
def ignored_proxy(proxy: Proxy) -> Iterator[Proxy]:
    """Do not take the proxy's connections, which end a little later than the client's, for leaks.

    For proxies that are open at the end of a scenario, because they belong to a fixture.
    """
    _proxies.append(proxy)
    try:
        yield proxy
    finally:
        _proxies.remove(proxy)


def open_sockets() -> set[str]:
    """Return the descriptors and names of this process's open sockets."""
    found = set()
    with ExitStack() as stack:
        strangers: set[int] = set()
        for proxy in _proxies:
            stack.enter_context(proxy._changed)  # it neither accepts nor closes meanwhile
            strangers |= {sock.fileno() for link in proxy._links for sock in link.sockets}
        for fd in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - Path.iterdir is no shorter
            if fd in strangers:
                continue
            with suppress(OSError):  # closed meanwhile, or no socket
                name = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
                is_socket = name.startswith("socket:")
                if is_socket and _local_port(fd) not in _ignored_ports:
                    found.add(f"{fd} {name}")
    return found


def _local_port(fd: int) -> int | None:
    with socket.socket(fileno=os.dup(fd)) as copy:
        address = copy.getsockname()
    return address[1] if isinstance(address, tuple) else None


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
