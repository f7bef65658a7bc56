"""Asks the program something that may take its time: credentials, an authentication step."""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from inspect import isawaitable
from typing import Any

from mqttlite.client import Question
from mqttlite.errors import UsageError

Answered = Callable[[Question, dict[str, Any], Exception | None], None]


class Asking:
    """Calls the functions of a question in a thread of its own, and hands on the answers.

    Raises RuntimeError if no thread can be started.
    """

    def __init__(self, question: Question, answered: Answered, name: str) -> None:
        self.question = question
        self._answered = answered
        thread = threading.Thread(target=self._run, name=f"{name} asking", daemon=True)
        thread.start()

    def _run(self) -> None:
        answers: dict[str, Any] = {}
        failure: Exception | None = None
        try:
            for name, function in self.question.functions.items():
                answers[name] = _call(function)
        except Exception as error:
            failure = error
        self._answered(self.question, answers, failure)


def _call(function: Callable[[], Any]) -> Any:
    answer = function()
    if isawaitable(answer):
        if isinstance(answer, Coroutine):  # one that is not awaited would be complained about
            answer.close()
        raise UsageError("coroutine functions are for AsyncClient: give a plain one")
    return answer
