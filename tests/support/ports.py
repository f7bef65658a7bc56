"""Free loopback ports for servers that have to be told their port beforehand."""

import random
import socket

# Below the range the kernel takes the ports of outgoing connections from. While a broker is down,
# a client that keeps reconnecting could otherwise be given the broker's port as its own, and so
# connect to itself or keep the broker from coming back.
_CANDIDATES = range(10_000, 16_000)
_ATTEMPTS = 100


def free_ports(count: int) -> list[int]:
    """Return that many distinct loopback ports nobody listens on at the moment."""
    ports: list[int] = []
    for port in random.sample(_CANDIDATES, _ATTEMPTS):
        if len(ports) == count:
            return ports
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        ports.append(port)
    raise RuntimeError(f"fewer than {count} of {_ATTEMPTS} loopback ports are free")
