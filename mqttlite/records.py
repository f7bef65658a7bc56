"""Classes of a few named values, as ``dataclasses`` makes them, but quick to define.

``dataclasses`` writes the methods of every class as text and compiles it, each time the program
starts, and imports ``inspect``: a third of the time that it would take to import a client. Here
all classes share one set of methods. Making an object takes a microsecond longer for it; a class
whose objects are made for every message has an ``__init__`` of its own.

Type checkers take a record for a dataclass, and so does ``dataclasses`` itself: its ``replace()``,
``asdict()`` and ``fields()`` work.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from operator import call
from typing import Any, Final, TypeVar, dataclass_transform

T = TypeVar("T")

_NOTHING: Final[Any] = object()
_call: Final[Any] = call  # type checkers do not see through it


class _Field:
    """What ``field()`` returns; ``record()`` takes it out of the class again."""

    __slots__ = ("default", "factory", "is_shown")

    def __init__(self, default: Any, factory: Any, is_shown: bool) -> None:
        self.default = default
        self.factory = factory
        self.is_shown = is_shown


# The arguments have the names that type checkers look for.
def field(
    *,
    default: Any = _NOTHING,
    default_factory: Callable[[], Any] = _NOTHING,
    repr: bool = True,  # noqa: A002
) -> Any:
    """Give a field a default that is made anew for each object, or do not show it in the repr."""
    return _Field(default, default_factory, repr)


class _Layout:
    """What the methods have to know about the class of their object."""

    __slots__ = (
        "defaults",
        "factories",
        "flags",
        "has_post_init",
        "hidden",
        "kinds",
        "names",
        "positional",
        "setters",
        "start",
        "twin",
        "unset",
    )

    def __init__(self, cls: type, flags: dict[str, Any]) -> None:
        kinds = cls.__annotations__.items()
        self.kinds = {name: kind for name, kind in kinds if "ClassVar[" not in str(kind)}
        self.names = tuple(self.kinds)
        self.flags = flags
        self.positional = () if flags["kw_only"] else self.names
        self.defaults: dict[str, Any] = {}
        self.factories: dict[str, Callable[[], Any]] = {}
        self.hidden: set[str] = set()
        self.has_post_init = "__post_init__" in vars(cls)
        self.setters: tuple[Callable[[Any, Any], None], ...] = ()
        """What sets each slot, also of frozen records; known when the class has been made."""
        self.twin: type | None = None
        """The dataclass that the class could be, if somebody has asked for it."""
        for name in self.names:
            value = vars(cls).get(name, _NOTHING)
            if isinstance(value, _Field):
                if value.factory is not _NOTHING:
                    self.factories[name] = value.factory
                if not value.is_shown:
                    self.hidden.add(name)
                value = value.default
            if value is not _NOTHING:
                self.defaults[name] = value
        self.start = {name: self.defaults.get(name, _NOTHING) for name in self.names}
        """All fields in order, with their defaults as far as there are any."""
        self.unset = [name for name in self.names if name not in self.defaults]


@dataclass_transform(field_specifiers=(field,))
def record(
    *, frozen: bool = False, kw_only: bool = False, eq: bool = True
) -> Callable[[type[T]], type[T]]:
    """Make a class a record of the fields that it annotates, with slots: like ``dataclass()``.

    Methods that the class has itself are kept, and ``__post_init__()`` is called. There is no
    inheritance of fields: a class that is derived from a record may add methods only.
    """
    flags: dict[str, Any] = {"frozen": frozen, "kw_only": kw_only, "eq": eq}

    def make(cls: type[T]) -> type[T]:
        layout = _Layout(cls, flags)
        namespace: dict[str, Any] = {"__repr__": _repr, "__replace__": replace}
        if "__init__" not in vars(cls):
            namespace |= {"__init__": _init, "__signature__": _OfTwin("__signature__")}
        if eq:
            namespace |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
        if frozen:
            namespace |= {"__setattr__": _refuse, "__delattr__": _refuse, "__setstate__": _restore}
        # A class gets its slots when it is made: so it is made once more, without the defaults,
        # which would be in the way of the slots.
        left_out = {*layout.names, "__dict__", "__weakref__"}
        namespace |= {name: value for name, value in vars(cls).items() if name not in left_out}
        namespace |= {
            "__qualname__": cls.__qualname__,
            "__slots__": layout.names,
            "__match_args__": layout.positional,
            "__record__": layout,
            "__dataclass_fields__": _OfTwin("__dataclass_fields__"),
            "__dataclass_params__": _OfTwin("__dataclass_params__"),
        }
        again: Any = type(cls)
        made: type[T] = again(cls.__name__, cls.__bases__, namespace)
        layout.setters = tuple(vars(made)[name].__set__ for name in layout.names)
        return made

    return make


def field_names(record: Any) -> tuple[str, ...]:
    """The names of the fields of a record, in order."""
    names: tuple[str, ...] = record.__record__.names
    return names


def replace(record: T, /, **changes: Any) -> T:
    """Return a copy of a record with other values in some of its fields."""
    return type(record)(**{name: getattr(record, name) for name in field_names(record)} | changes)


def _init(self: Any, /, *args: Any, **kwargs: Any) -> None:
    layout: _Layout = self.__record__
    values = layout.start.copy()
    if args:
        names = layout.positional
        if len(args) > len(names) or (kwargs and not kwargs.keys().isdisjoint(names[: len(args)])):
            raise _mistake(self, args, kwargs)
        values.update(zip(names, args, strict=False))
    if kwargs:
        values.update(kwargs)
        if len(values) > len(layout.names):
            raise _mistake(self, args, kwargs)
    for name in layout.unset:
        if values[name] is _NOTHING:
            factory = layout.factories.get(name)
            if factory is None:
                raise _mistake(self, args, kwargs)
            values[name] = factory()
    # A loop in C: there are many fields, and this is done for each connection several times.
    any(map(_call, layout.setters, repeat(self), values.values()))
    if layout.has_post_init:
        self.__post_init__()


def _mistake(record: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TypeError:
    return TypeError(f"{type(record).__name__}() {_explain(record.__record__, args, kwargs)}")


def _explain(layout: _Layout, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Say what is wrong with the arguments for a record."""
    if len(args) > len(layout.positional):
        return f"takes {len(layout.positional)} positional arguments but {len(args)} were given"
    for name in kwargs:
        if name not in layout.kinds:
            return f"got an unexpected keyword argument {name!r}"
        if name in layout.positional[: len(args)]:
            return f"got multiple values for argument {name!r}"
    given = {*layout.positional[: len(args)], *kwargs, *layout.defaults, *layout.factories}
    missing = [repr(name) for name in layout.names if name not in given]
    return f"missing required arguments: {', '.join(missing)}"


def _repr(self: Any) -> str:
    layout: _Layout = self.__record__
    shown = [
        f"{name}={getattr(self, name)!r}" for name in layout.names if name not in layout.hidden
    ]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _values(record: Any) -> tuple[Any, ...]:
    return tuple([getattr(record, name) for name in field_names(record)])


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _refuse(self: Any, name: str, value: Any = None) -> None:  # noqa: ARG001 - the protocol
    """Let nobody set or delete an attribute of a frozen record."""
    from dataclasses import FrozenInstanceError  # noqa: PLC0415 - see the head of the module

    raise FrozenInstanceError(f"cannot change the field {name!r}")


def _restore(self: Any, state: tuple[None, dict[str, Any]]) -> None:
    """Copy or unpickle a frozen record."""
    layout: _Layout = self.__record__
    for name, value in state[1].items():
        layout.setters[layout.names.index(name)](self, value)


class _OfTwin:
    """An attribute that is the same as that of the dataclass that a record could be.

    The dataclass is made when somebody asks for the attribute: ``dataclasses`` and ``inspect``.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: Any, owner: Any) -> Any:
        layout: _Layout = owner.__record__
        if layout.twin is None:
            layout.twin = _make_twin(owner, layout)
        if self._name != "__signature__":
            return getattr(layout.twin, self._name)
        if owner.__init__ is not _init:  # a derived class with a constructor of its own
            raise AttributeError(self._name)
        from inspect import signature  # noqa: PLC0415 - see the head of the module

        return signature(layout.twin)


def _make_twin(cls: type, layout: _Layout) -> type:
    import dataclasses  # noqa: PLC0415 - see the head of the module

    fields = []
    for name, kind in layout.kinds.items():
        more: dict[str, Any] = {"repr": name not in layout.hidden}
        if name in layout.defaults:
            more["default"] = layout.defaults[name]
        if name in layout.factories:
            more["default_factory"] = layout.factories[name]
        fields.append((name, kind, dataclasses.field(**more)))
    return dataclasses.make_dataclass(cls.__name__, fields, **layout.flags)
