"""A signal handler that raises, wherever Python lets it run: at the entry of any function.

A tracing function takes its place, which Python calls at the same points, and in the same order
every time. What was begun may be lost, as with Ctrl-C anywhere; but the client's lock must not
stay locked, for then every thread that uses the client stands still for ever. The core is left
out: what is interrupted there is half done.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import mqttlite
from mqttlite import Client, Subscription, UsageError
from mqttlite.testing import Broker
from tests.shells.brokers import embedded
from tests.shells.lab import TIMEOUT

pytestmark = pytest.mark.deadline(120.0)

_SHELL = str(Path(mqttlite.__file__).parent / "sync")

_MOST = 1000


class CtrlC(BaseException):
    """What the signal handler raises."""


class Press:
    """Raises CtrlC at the entry of that function of the shell which is called as number so."""

    def __init__(self, number: int) -> None:
        self._left = number
        self.where = ""

    def __call__(self, frame: FrameType, event: str, _arg: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_SHELL):
            self._left -= 1
            if not self._left:
                self.where = frame.f_code.co_qualname
                raise CtrlC


def interrupted(number: int, call: Callable[[], object]) -> str:
    """Interrupt a call; return where that was, or nothing if it ended before."""
    press = Press(number)
    before = sys.gettrace()
    sys.settrace(press)
    try:
        call()
    except CtrlC:
        assert press.where
    except UsageError:  # what cleans up afterwards cannot have the lock
        assert press.where
    except TimeoutError:
        pass
    finally:
        sys.settrace(before)
    return press.where


CALLS: dict[str, Callable[[Client, Subscription, str], object]] = {
    "publish 0": lambda client, _messages, topic: client.publish(topic, b"0"),
    "publish 1": lambda client, _messages, topic: client.publish(topic, b"1", qos=1),
    "publish_nowait": lambda client, _messages, topic: client.publish_nowait(topic, b"1", qos=1),
    "get": lambda _client, messages, _topic: messages.get(0),
    "subscribe": lambda client, _messages, topic: client.subscribe(f"{topic}/a", qos=1),
    "unsubscribe": lambda client, _messages, topic: client.unsubscribe(f"{topic}/a"),
}


@pytest.fixture
def broker() -> Iterator[Broker]:
    with embedded() as broker:
        yield broker


@pytest.mark.parametrize("name", CALLS)
def test_the_lock_is_free_afterwards(broker: Broker, topic: str, name: str) -> None:
    held: dict[str, None] = {}
    for number in count(1):
        assert number < _MOST
        client = Client(broker.url)
        with client:
            messages = client.subscribe(topic, qos=1)

            where = interrupted(number, partial(CALLS[name], client, messages, topic))
            lock: Any = client.driver._lock
            while lock._is_owned():  # or nothing of this would ever end
                held[where] = None
                lock.release()
            thread = threading.Thread(target=client.publish_nowait, args=(f"{topic}/x",))
            thread.start()
            thread.join(TIMEOUT)
            assert not thread.is_alive()
            client.close(drain=False)
        if not where:
            break
    assert not held, f"the lock is held after an interruption in {list(held)}"
