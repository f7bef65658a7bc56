"""Cancels an awaited call at every point at which it can be cancelled, one after the other.

A `Cut` says where: `number` counts from 1, and means

    suspended    the call's suspension of that number, as soon as it suspends
    resumed      the same, but when what it waits for has just come and it is about to go on
    impatient    from that suspension on at every one, those of its cleaning up too
    turn         the turn of the event loop of that number, counted from the call

A test goes through the numbers until the call ends uncancelled. The last kind is for what happens
elsewhere while the call waits at one place, as with connect().
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Callable, Coroutine, Generator
from itertools import count
from types import coroutine
from typing import Any, Literal, TypeVar

from tests.shells.lab import TIMEOUT

T = TypeVar("T")

How = Literal["suspended", "resumed", "impatient", "turn"]

HOWS: tuple[How, ...] = ("suspended", "resumed", "impatient", "turn")

_MOST = 500
"""More points than any call here has: a call that never ends uncancelled is a fault."""


class _CountingSelector(selectors.DefaultSelector):
    """The loop asks it once in every turn."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = 0
        self.actions: dict[Callable[[], object], int] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(timeout)
        self.turns += 1
        due = [action for action, turn in self.actions.items() if turn == self.turns]
        for action in due:
            del self.actions[action]
            action()
        return found


class TurningLoop(asyncio.SelectorEventLoop):
    """An event loop that can be told to do something in a turn to come.

    `addresses` are what every name lookup brings; without them the name has to be an address.
    Lookups take no time and no thread.
    """

    def __init__(self) -> None:
        self._counting = _CountingSelector()
        self.addresses: list[tuple[str, int]] = []
        super().__init__(self._counting)

    def at_turn(self, number: int, action: Callable[[], object]) -> None:
        """Do something in the turn of that number, counted from now: 1 is the next one."""
        self._counting.actions[action] = self._counting.turns + number

    def forget(self, action: Callable[[], object]) -> None:
        """Do not do it, if it is still to be done."""
        self._counting.actions.pop(action, None)

    async def getaddrinfo(self, host: Any, port: Any, **_options: Any) -> list[Any]:
        found = self.addresses or [(host, port)]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in found]


class Cut:
    """Where to cancel a call; `made` tells whether it was."""

    def __init__(self, how: How, number: int) -> None:
        self.how = how
        self.number = number
        self.made = False
        self._suspensions = 0
        self._task: asyncio.Task[Any] | None = None

    def __repr__(self) -> str:
        return f"{self.how} {self.number}"

    def _cancel(self, *_: object) -> None:
        assert self._task is not None
        if not self._task.done():
            self.made = True
            self._task.cancel()

    def _suspends(self, future: Any) -> None:
        """The call suspends, to wait for a future, or (None) for the loop's next turn."""
        self._suspensions += 1
        here = self._suspensions == self.number
        if self.how == "suspended" and here:
            self._cancel()  # asyncio does it when the future has been handed on
        elif self.how == "impatient" and self._suspensions >= self.number:
            self._cancel()
        elif self.how == "resumed" and here:
            if future is None:
                asyncio.get_running_loop().call_soon(self._cancel)
            else:
                future.add_done_callback(self._cancel)  # called before the one that resumes

    async def run(self, call: Coroutine[Any, Any, object]) -> bool:
        """Run a call; return whether it was cancelled. Whatever else it does is a fault."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(_watched(call, self._suspends))
        if self.how == "turn":
            assert isinstance(loop, TurningLoop)
            loop.at_turn(self.number, self._cancel)
        await asyncio.wait([self._task], timeout=TIMEOUT)
        if isinstance(loop, TurningLoop):
            loop.forget(self._cancel)
        assert self._task.done(), f"{self}: the call does not end"
        call.close()  # it may never have begun
        if self.made:
            assert self._task.cancelled(), f"{self}: {self._task!r} has swallowed it"
        else:
            self._task.result()
        return self.made


async def _watched(call: Coroutine[Any, Any, T], suspends: Callable[[Any], None]) -> T:
    return await _drive(call, suspends)


@coroutine
def _drive(
    call: Coroutine[Any, Any, T], suspends: Callable[[Any], None]
) -> Generator[Any, None, T]:
    """Be an `await` of the call that sees everything it yields."""
    error: BaseException | None = None
    while True:
        try:
            future = call.send(None) if error is None else call.throw(error)
        except StopIteration as stop:
            value: T = stop.value
            return value
        suspends(future)
        error = None
        try:
            yield future
        except BaseException as raised:
            error = raised


async def at_every_point(
    how: How, scenario: Callable[[Cut], Coroutine[Any, Any, bool]]
) -> list[Cut]:
    """Run a scenario with a cut at every point; it returns whether the cut was made."""
    cuts = []
    for number in count(1):
        cut = Cut(how, number)
        if not await scenario(cut):
            break
        assert number < _MOST, f"after {number} cuts the call still does not end by itself"
        cuts.append(cut)
    assert cuts, "the call never suspended: nothing was cancelled"
    return cuts


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a scenario in a TurningLoop; nothing may be left of it but what is closed."""
    with asyncio.Runner(loop_factory=TurningLoop) as runner:
        return runner.run(scenario)


async def until(condition: Callable[[], object], what: str) -> None:
    """Let the loop turn until something has come true."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TIMEOUT
    while not condition():
        assert loop.time() < deadline, f"never: {what}"
        await asyncio.sleep(0)
