"""Lets one scenario run against both clients.

A scenario is an `async def` test written for `AsyncClient`. With the kind `Asyncio` it runs in an
event loop, as it stands. With `Threads` it gets a stand-in whose methods call those of `Client`
and return when these do: nothing in such a scenario ever suspends, so that it runs to its end
like any function, in the test's own thread and without an event loop. The same goes for handlers.
What differs between threads and tasks, a `Lab` provides: a queue, something that runs meanwhile,
and a way to wait for a function that blocks.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from inspect import isawaitable
from itertools import count
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from mqttlite.aio import AsyncClient
from mqttlite.options import Version
from mqttlite.sync import Client, Delivery, Subscription
from tests.shells.leaks import open_sockets

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_numbers = count(1)

TIMEOUT = 10.0
"""Seconds to wait for what should come at once."""


def run_to_end(scenario: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends."""
    try:
        scenario.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    scenario.close()
    raise AssertionError("the scenario waits for something that only asyncio can bring")


# --- the stand-ins: what AsyncClient has, on Client


class ThreadedDelivery:
    """An AsyncDelivery that is a Delivery."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery

    def __getattr__(self, name: str) -> Any:
        return getattr(self.delivery, name)

    def __await__(self) -> Generator[None, None, ThreadedDelivery]:
        return self.wait().__await__()

    async def wait(self, timeout: float | None = None) -> ThreadedDelivery:
        assert self.delivery.wait(timeout) is self.delivery
        return self


class ThreadedSubscription:
    """An AsyncSubscription that is a Subscription, made when it is awaited or entered."""

    def __init__(self, make: Callable[[], Subscription]) -> None:
        self._make = make
        self._subscription: Subscription | None = None

    def _open(self) -> Subscription:
        if self._subscription is None:
            self._subscription = self._make()
        return self._subscription

    def __getattr__(self, name: str) -> Any:
        return getattr(self._open(), name)

    def __await__(self) -> Generator[None, None, ThreadedSubscription]:
        self._open()
        return self
        yield

    async def __aenter__(self) -> Self:
        self._open().__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._open().__exit__(exc_type, exc, traceback)

    async def unsubscribe(self, timeout: float | None = 10.0, **options: Any) -> Any:
        return self._open().unsubscribe(timeout, **options)

    def __aiter__(self) -> ThreadedSubscription:
        return self

    async def __anext__(self) -> Any:
        try:
            return next(self._open())
        except StopIteration:
            raise StopAsyncIteration from None

    async def get(self, timeout: float | None = None) -> Any:
        return self._open().get(timeout)


def _in_its_thread(handler: Callable[[Any], Any] | None) -> Callable[[Any], object] | None:
    if not callable(handler):
        return handler

    def handle(message: Any) -> object:
        result = handler(message)
        return run_to_end(cast("Coroutine[Any, Any, object]", result)) if isawaitable(result) else 0

    return handle


class ThreadedClient:
    """An AsyncClient that is a Client."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.client = Client(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def connect(self) -> Any:
        return self.client.connect()

    async def close(self, timeout: float = 5.0, **options: Any) -> None:
        self.client.close(timeout, **options)

    async def __aenter__(self) -> Self:
        self.client.__enter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.__exit__(exc_type, exc, traceback)

    async def publish(self, *args: Any, **options: Any) -> ThreadedDelivery:
        return ThreadedDelivery(self.client.publish(*args, **options))

    def publish_nowait(self, *args: Any, **options: Any) -> ThreadedDelivery:
        return ThreadedDelivery(self.client.publish_nowait(*args, **options))

    def subscribe(
        self, *args: Any, handler: Callable[[Any], Any] | None = None, **options: Any
    ) -> ThreadedSubscription:
        return ThreadedSubscription(
            lambda: self.client.subscribe(*args, handler=_in_its_thread(handler), **options)
        )

    def unmatched(
        self, *, handler: Callable[[Any], Any] | None = None, **options: Any
    ) -> ThreadedSubscription:
        subscription = self.client.unmatched(handler=_in_its_thread(handler), **options)
        return ThreadedSubscription(lambda: subscription)

    async def unsubscribe(self, *args: Any, **options: Any) -> Any:
        return self.client.unsubscribe(*args, **options)

    async def reauthenticate(self, timeout: float | None = None) -> None:
        self.client.reauthenticate(timeout)

    async def request(self, *args: Any, **options: Any) -> Any:
        return self.client.request(*args, **options)


# --- threads and tasks


class Queue(Protocol):
    """Brings what callbacks and handlers are called with to the scenario."""

    def put(self, item: Any) -> None:
        """Add an item; to be used as a handler or a callback, too."""

    async def get(self, timeout: float = TIMEOUT) -> Any:
        """Take the next item, or raise TimeoutError."""


class _ThreadedQueue:
    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def put(self, item: Any) -> None:
        self._items.put(item)

    async def get(self, timeout: float = TIMEOUT) -> Any:
        try:
            return self._items.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError("nothing came") from None


class _TaskQueue:
    def __init__(self) -> None:
        self._items: asyncio.Queue[Any] = asyncio.Queue()

    def put(self, item: Any) -> None:
        self._items.put_nowait(item)

    async def get(self, timeout: float = TIMEOUT) -> Any:
        return await asyncio.wait_for(self._items.get(), timeout)


class Meanwhile(Protocol[T_co]):
    """A part of the scenario that runs beside the rest."""

    async def result(self) -> T_co:
        """Wait for its end; raise what it raised."""
        raise NotImplementedError


class _Thread(Generic[T]):
    def __init__(self, scenario: Coroutine[Any, Any, T]) -> None:
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(scenario,), name="meanwhile")
        self._thread.start()

    def _run(self, scenario: Coroutine[Any, Any, T]) -> None:
        try:
            self._result.append(run_to_end(scenario))
        except BaseException as error:
            self._error = error

    async def result(self) -> T:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result[0]


class _Task(Generic[T]):
    def __init__(self, scenario: Coroutine[Any, Any, T]) -> None:
        self._task = asyncio.get_running_loop().create_task(scenario)

    async def result(self) -> T:
        return await self._task


class Threads:
    """Scenarios with `Client`."""

    name = "sync"
    client: type[AsyncClient] = cast("type[AsyncClient]", ThreadedClient)

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        return run_to_end(scenario)

    async def blocking(self, function: Callable[..., T], *args: Any) -> T:
        return function(*args)

    def start(self, scenario: Coroutine[Any, Any, T]) -> Meanwhile[T]:
        return _Thread(scenario)

    def queue(self) -> Queue:
        return _ThreadedQueue()


class Asyncio:
    """Scenarios with `AsyncClient`."""

    name = "aio"
    client = AsyncClient

    def run(self, scenario: Coroutine[Any, Any, T]) -> T:
        async def check() -> T:
            before = open_sockets()
            result = await scenario
            # What is closed has to be closed before the loop ends, and not by it.
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, f"tasks are left: {left}"
            more = open_sockets() - before
            assert not more, f"sockets are left: {sorted(more)}"
            return result

        return asyncio.run(check())

    async def blocking(self, function: Callable[..., T], *args: Any) -> T:
        return await asyncio.to_thread(function, *args)

    def start(self, scenario: Coroutine[Any, Any, T]) -> Meanwhile[T]:
        return _Task(scenario)

    def queue(self) -> Queue:
        return _TaskQueue()


Kind = Threads | Asyncio


class Lab:
    """What a scenario works with: a kind of client, a server, a version, and a topic of its own."""

    def __init__(self, kind: Kind, url: str, version: Version | None, topic: str) -> None:
        self.kind = kind
        self.url = url
        self.version: Version | None = version
        self.topic = topic

    @property
    def is_5(self) -> bool:
        return self.version == "5.0"

    @property
    def address(self) -> tuple[str, int]:
        """Where the server is to be had by plain TCP."""
        host, _, port = self.url.removeprefix("mqtt://").partition(":")
        return host, int(port)

    def client(self, url: str | None = None, **options: Any) -> AsyncClient:
        """Make a client: an AsyncClient, or a Client that looks like one."""
        options.setdefault("version", self.version)
        if options["version"] == "3.1":  # the server assigns none
            options.setdefault("client_id", f"id-{next(_numbers)}")
        return self.kind.client(self.url if url is None else url, **options)

    def queue(self) -> Queue:
        return self.kind.queue()

    def start(self, scenario: Coroutine[Any, Any, T]) -> Meanwhile[T]:
        """Run a part of the scenario beside the rest."""
        return self.kind.start(scenario)

    async def blocking(self, function: Callable[..., T], *args: Any) -> T:
        """Wait for a function that blocks, while the clients go on."""
        return await self.kind.blocking(function, *args)


Handler = Callable[[Any], Awaitable[object] | object]
