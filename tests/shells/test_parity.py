"""The two clients have the same vocabulary."""

import inspect
from typing import Any

import pytest

from mqttlite.aio import AsyncClient, AsyncDelivery, AsyncSubscription
from mqttlite.sync import Client, Delivery, Subscription

PAIRS: list[tuple[type, type]] = [
    (Client, AsyncClient),
    (Subscription, AsyncSubscription),
    (Delivery, AsyncDelivery),
]

ONLY_SYNC = {
    "dispatcher",
    "wait_subscribed",  # what awaiting an AsyncSubscription does
}
ONLY_ASYNC = {"wake_now"}


def public(cls: type) -> dict[str, Any]:
    return {name: value for name, value in inspect.getmembers(cls) if not name.startswith("_")}


def parameters(function: Any) -> list[tuple[Any, ...]]:
    return [
        (p.name, p.kind, p.default, str(p.annotation).replace("Async", ""))
        for p in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize(("threaded", "asynchronous"), PAIRS)
def test_the_same_names(threaded: type, asynchronous: type) -> None:
    assert set(public(threaded)) - ONLY_SYNC == set(public(asynchronous)) - ONLY_ASYNC


@pytest.mark.parametrize(("threaded", "asynchronous"), PAIRS)
def test_the_same_arguments(threaded: type, asynchronous: type) -> None:
    theirs = public(asynchronous)
    for name, value in public(threaded).items():
        if name in ONLY_SYNC or not callable(value):
            continue
        assert parameters(value) == parameters(theirs[name]), name
        annotation = str(inspect.signature(theirs[name]).return_annotation)
        own = str(inspect.signature(value).return_annotation)
        assert annotation.replace("Async", "") == own, name


@pytest.mark.parametrize(("threaded", "asynchronous"), PAIRS[:1])
def test_the_same_arguments_to_make_a_client(threaded: type, asynchronous: type) -> None:
    assert parameters(threaded) == parameters(asynchronous)


@pytest.mark.parametrize(("threaded", "asynchronous"), PAIRS)
def test_blocks(threaded: type, asynchronous: type) -> None:
    def has(cls: type, name: str) -> bool:
        return hasattr(cls, name)

    assert has(threaded, "__enter__") == has(asynchronous, "__aenter__")
    assert has(threaded, "__exit__") == has(asynchronous, "__aexit__")
    assert has(threaded, "__iter__") == has(asynchronous, "__aiter__")
    assert not has(asynchronous, "__enter__")
    assert not has(threaded, "__aenter__")
