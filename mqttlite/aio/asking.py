"""Calls a function of the program that may take its time, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def call_in_thread(function: Callable[[], Any]) -> asyncio.Future[Any]:
    """Return a future of what the function returns.

    Not in the loop's pool of threads, where a function that blocks would take the place of name
    lookups; and the end of the loop does not wait for it.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def done(answer: Any, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)

    def run() -> None:
        answer: Any = None
        failure: Exception | None = None
        try:
            answer = function()
        except StopIteration as error:  # a future does not take it
            failure = RuntimeError("StopIteration was raised")
            failure.__cause__ = error
        except Exception as error:
            failure = error
        except BaseException as error:
            failure = RuntimeError(f"{type(error).__name__} was raised")
            failure.__cause__ = error
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(done, answer, failure)

    threading.Thread(target=run, name="mqttlite asking", daemon=True).start()
    return future
