"""Asks the program something that may take its time: credentials, an authentication step."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from mqttlite.client import Question
from mqttlite.errors import UsageError

Answered = Callable[[Question, dict[str, Any], Exception | None], None]


class Asker:
    """Calls the functions of questions in one thread, and hands on the answers.

    A new question waits for the end of a function that is being called: so there are never two
    of them at once. Those that were asked in between are passed over.
    """

    def __init__(self, answered: Answered, name: str) -> None:
        self._answered = answered
        self._name = name
        self._lock = threading.Lock()
        self._next: Question | None = None
        self._is_running = False

    def ask(self, question: Question | None) -> None:
        """Ask this question, and no earlier one; None: none at all."""
        with self._lock:
            self._next = question
            if question is None or self._is_running:
                return
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
            self._is_running = True

    def _run(self) -> None:
        while True:
            with self._lock:
                question, self._next = self._next, None
                if question is None:
                    self._is_running = False
                    return
            answers: dict[str, Any] = {}
            failure: Exception | None = None
            try:
                for name, function in question.functions.items():
                    answers[name] = _call(function)
            except Exception as error:
                failure = error
            except BaseException as error:  # sys.exit() does not end another's thread
                failure = RuntimeError(f"{type(error).__name__} was raised")
                failure.__cause__ = error
            self._answered(question, answers, failure)


def _call(function: Callable[[], Any]) -> Any:
    answer = function()
    if isinstance(answer, Awaitable):
        if isinstance(answer, Coroutine):  # one that is not awaited would be complained about
            answer.close()
        raise UsageError("coroutine functions are for AsyncClient: give a plain one")
    return answer
