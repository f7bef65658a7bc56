"""The protocol core over a bare socket: what a shell for another event loop has to do.

    python examples/bare_core.py
    python examples/bare_core.py mqtt://localhost

``ClientCore`` does no input or output. This shell gives it bytes, the time, and what the user
wants; and takes bytes to write, one action at a time, and what has become of things.
"""

import random
import socket
import sys
from collections.abc import Callable
from time import monotonic

from mqttlite.client import (
    ClientCore,
    ClientOptions,
    DeliveryState,
    Dial,
    HangUp,
    make_subscription,
)
from mqttlite.endpoint import Endpoint
from mqttlite.testing import Broker


class BareShell:
    """The smallest shell: it blocks, and can do one thing at a time."""

    def __init__(self, url: str) -> None:
        options = ClientOptions(endpoints=(Endpoint.parse(url),))
        self.core = ClientCore(options, random.random)
        self.socket: socket.socket | None = None

    def run_until(self, condition: Callable[[], bool]) -> None:
        """Do what the core wants, until something has happened."""
        core = self.core
        while not condition():
            self.pump()
            if self.socket is None or condition():
                continue
            deadline = core.next_deadline()
            self.socket.settimeout(None if deadline is None else max(0.001, deadline - monotonic()))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                core.handle_deadline(monotonic())
                continue
            if data:
                core.receive(data, monotonic())
            else:
                self.close()

    def pump(self) -> None:
        """After every call into the core: write, and act."""
        self.write()
        match self.core.take_action():
            case Dial(endpoint):
                try:
                    self.socket = socket.create_connection((endpoint.host, endpoint.port))
                except OSError as error:
                    self.core.dial_failed(error, monotonic())
                else:
                    self.core.transport_opened(monotonic())
                    self.write()
            case HangUp():
                self.close()

    def write(self) -> None:
        """Write what there is."""
        while self.socket is not None and (data := self.core.data_to_send(monotonic())):
            self.socket.settimeout(None)
            self.socket.sendall(data)

    def close(self) -> None:
        """Close the socket, and tell the core."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None
        self.core.transport_closed(monotonic())


def run(url: str) -> None:
    """Connect, subscribe, publish to ourselves, and leave."""
    shell = BareShell(url)
    core = shell.core

    connecting = core.connect(monotonic())
    shell.run_until(lambda: connecting.done)
    connecting.result()
    print("connected as", core.client_id)

    subscription = make_subscription("bare/+", qos=1)
    core.subscribe(subscription)
    shell.run_until(lambda: subscription.subscribed.done)
    print("subscribed:", subscription.subscribed.result())

    delivery = DeliveryState("bare/metal", b"without a shell", qos=1)
    core.publish(delivery, monotonic(), can_wait=False)
    shell.run_until(lambda: delivery.done and bool(subscription.buffer))
    print("published:", delivery)
    print("received:", subscription.take())

    closing = core.close(monotonic(), timeout=5.0)
    shell.run_until(lambda: closing.done)
    print("closed")


def main() -> None:
    """Use the broker that is given, or bring one."""
    if len(sys.argv) > 1:
        run(sys.argv[1])
        return
    with Broker() as broker:
        run(broker.url)


if __name__ == "__main__":
    main()
