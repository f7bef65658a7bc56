"""Records: they behave as dataclasses with slots do."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, ClassVar, get_type_hints

import pytest

from mqttlite.records import field, field_names, record, replace


@record()
class Point:
    """A point."""

    count: ClassVar[int] = 0

    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list)

    def total(self) -> int:
        return self.x + self.y


@record(frozen=True)
class Login:
    name: str
    password: str | None = field(default=None, repr=False)
    key: bytes = field(default_factory=bytes, repr=False)


@record(frozen=True, kw_only=True)
class Limit:
    most: int = 10
    least: int

    def __post_init__(self) -> None:
        if self.least > self.most:
            raise ValueError("least > most")


@record(frozen=True, eq=False)
class Call:
    function: Any


@record()
class Nothing:
    pass


@record()
class Own:
    x: int
    y: int = 2

    def __init__(self, x: int, y: int = 2) -> None:
        self.x = x + 1
        self.y = y

    def __repr__(self) -> str:
        return "own"


class Derived(Point):
    __slots__ = ()

    def product(self) -> int:
        return self.x * self.y


class DerivedLimit(Limit):
    def __init__(self, least: int) -> None:
        super().__init__(least=least, most=least)


def values(point: Point) -> tuple[int, int, list[str]]:
    return point.x, point.y, point.tags


class TestMaking:
    def test_by_position_and_by_keyword(self) -> None:
        for point in (
            Point(1, 2, ["a"]),
            Point(1, y=2, tags=["a"]),
            Point(x=1, y=2, tags=["a"]),
            Point(tags=["a"], y=2, x=1),
        ):
            assert values(point) == (1, 2, ["a"])

    def test_defaults(self) -> None:
        assert values(Point(1)) == (1, 0, [])
        assert values(Point(1, tags=["a"])) == (1, 0, ["a"])
        login = Login("me")
        assert (login.password, login.key) == (None, b"")

    def test_a_factory_is_called_for_each(self) -> None:
        first, second = Point(1), Point(1)
        first.tags.append("a")
        assert second.tags == []

    def test_a_factory_is_not_called_for_what_is_given(self) -> None:
        calls: list[int] = []

        @record()
        class Counting:
            x: Any = field(default_factory=lambda: calls.append(1))

        assert Counting(5).x == 5
        assert Counting(x=5).x == 5
        assert calls == []
        assert Counting().x is None
        assert calls == [1]

    def test_without_fields(self) -> None:
        assert Nothing() == Nothing()
        assert repr(Nothing()) == "Nothing()"

    def test_keywords_only(self) -> None:
        limit = Limit(least=3)
        assert (limit.least, limit.most) == (3, 10)

    def test_after_it_is_made(self) -> None:
        with pytest.raises(ValueError, match="least > most"):
            Limit(least=11)

    def test_with_an_init_of_its_own(self) -> None:
        own = Own(1)
        assert (own.x, own.y) == (2, 2)
        with pytest.raises(TypeError):
            Own()  # type: ignore[call-arg]

    @pytest.mark.parametrize(
        ("cls", "args", "kwargs", "message"),
        [
            (Point, (), {}, r"Point\(\) missing required arguments: 'x'$"),
            (Point, (), {"y": 1}, r"Point\(\) missing required arguments: 'x'$"),
            (Point, (1, 2, [], 4), {}, r"Point\(\) takes 3 positional arguments but 4 were given"),
            (Point, (1,), {"x": 1}, r"Point\(\) got multiple values for argument 'x'"),
            (Point, (1, 2), {"tags": [], "y": 1}, "got multiple values for argument 'y'"),
            (Point, (1,), {"z": 1}, r"Point\(\) got an unexpected keyword argument 'z'"),
            (Point, (), {"y": 1, "z": 1}, "got an unexpected keyword argument 'z'"),
            (Point, (), {"total": 1}, "got an unexpected keyword argument 'total'"),
            (Point, (1,), {"count": 1}, "got an unexpected keyword argument 'count'"),
            (Limit, (1,), {}, r"Limit\(\) takes 0 positional arguments but 1 were given"),
            (Limit, (), {}, "missing required arguments: 'least'"),
            (Nothing, (1,), {}, "takes 0 positional arguments"),
            (Nothing, (), {"x": 1}, "unexpected keyword argument 'x'"),
            (Derived, (), {}, r"Derived\(\) missing"),
        ],
    )
    def test_wrong_arguments(
        self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(TypeError, match=message):
            cls(*args, **kwargs)

    def test_all_that_is_missing(self) -> None:
        @record()
        class Pair:
            a: int
            b: int
            c: int

        with pytest.raises(TypeError, match="missing required arguments: 'a', 'c'"):
            Pair(b=1)  # type: ignore[call-arg]


class TestTheClass:
    def test_it_is_the_same_but_for_the_slots(self) -> None:
        assert Point.__name__ == "Point"
        assert Point.__module__ == __name__
        assert Point.__doc__ == "A point."
        assert TestTheClass.Inner.__qualname__ == "TestTheClass.Inner"
        assert Point(1, 2).total() == 3
        assert Point.count == 0
        assert get_type_hints(Point)["y"] is int

    def test_slots(self) -> None:
        point = Point(1)
        assert not hasattr(point, "__dict__")
        with pytest.raises(AttributeError):
            point.z = 1  # type: ignore[attr-defined]
        point.x = 5
        assert point.x == 5

    def test_the_names_of_the_fields(self) -> None:
        assert field_names(Point(1)) == ("x", "y", "tags")
        assert field_names(Limit) == ("most", "least")
        assert field_names(Nothing()) == ()

    def test_patterns(self) -> None:
        match Point(1, 2):
            case Point(x, 2):
                assert x == 1
            case _:
                pytest.fail("it does match")
        assert Limit.__match_args__ == ()

    def test_a_derived_class(self) -> None:
        derived = Derived(2, y=3)
        assert derived.product() == 6
        assert derived == Derived(2, 3)
        assert derived != Point(2, 3)
        assert repr(derived) == "Derived(x=2, y=3, tags=[])"
        assert type(replace(derived, x=1)) is Derived

    @record()
    class Inner:
        x: int


class TestRepr:
    def test_of_all_fields(self) -> None:
        assert repr(Point(1, tags=["a"])) == "Point(x=1, y=0, tags=['a'])"
        assert repr(TestTheClass.Inner(1)) == "TestTheClass.Inner(x=1)"

    def test_what_is_hidden(self) -> None:
        assert repr(Login("me", "secret", b"secret")) == "Login(name='me')"

    def test_of_its_own(self) -> None:
        assert repr(Own(1)) == "own"


class TestEquality:
    def test_all_fields_count(self) -> None:
        assert Point(1, 2, ["a"]) == Point(1, 2, ["a"])
        assert Point(1, 2, ["a"]) != Point(0, 2, ["a"])
        assert Point(1, 2, ["a"]) != Point(1, 0, ["a"])
        assert Point(1, 2, ["a"]) != Point(1, 2, [])
        assert Login("me", "a") != Login("me", "b")  # also those that are hidden

    def test_of_the_same_class_only(self) -> None:
        @record()
        class Twin:
            x: int
            y: int = 0
            tags: list[str] = field(default_factory=list)

        others: list[object] = [Twin(1), (1, 0, []), None]
        for other in others:
            assert Point(1) != other
        assert Point(1).__eq__(1) is NotImplemented

    def test_without(self) -> None:
        call = Call(1)
        assert call == call  # noqa: PLR0124
        assert call != Call(1)
        assert len({call, Call(1)}) == 2

    def test_hash(self) -> None:
        assert hash(Login("me", "a")) == hash(Login("me", "a"))
        assert len({Login("me", "a"), Login("me", "a"), Login("me", "b")}) == 2
        with pytest.raises(TypeError, match="unhashable"):
            hash(Point(1))


class TestFrozen:
    @pytest.mark.parametrize("name", ["name", "password", "other"])
    def test_nothing_can_be_set_or_deleted(self, name: str) -> None:
        login = Login("me", "a")
        with pytest.raises(dataclasses.FrozenInstanceError, match=repr(name)):
            setattr(login, name, "b")
        with pytest.raises(dataclasses.FrozenInstanceError, match=repr(name)):
            delattr(login, name)
        assert login == Login("me", "a")

    def test_it_is_an_attribute_error(self) -> None:
        with pytest.raises(AttributeError):
            Login("me").name = "you"  # type: ignore[misc]


ALL = [Point(1, tags=["a"]), Login("me", "a", b"k"), Limit(least=2), Nothing(), Derived(1, 2)]


class TestCopies:
    @pytest.mark.parametrize("value", ALL, ids=repr)
    def test_copy_and_pickle(self, value: Any) -> None:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            assert pickle.loads(pickle.dumps(value, protocol)) == value
        assert copy.copy(value) == value
        assert copy.deepcopy(value) == value
        assert copy.copy(value) is not value

    def test_a_deep_copy(self) -> None:
        point = Point(1, tags=["a"])
        assert copy.copy(point).tags is point.tags
        assert copy.deepcopy(point).tags is not point.tags

    def test_replace(self) -> None:
        point = Point(1, 2, ["a"])
        changed = replace(point, y=5)
        assert values(changed) == (1, 5, ["a"])
        assert values(point) == (1, 2, ["a"])
        assert replace(Login("me", "a"), name="you") == Login("you", "a")
        assert replace(Limit(least=1), most=2) == Limit(least=1, most=2)
        with pytest.raises(ValueError, match="least > most"):
            replace(Limit(least=1), most=0)
        with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
            replace(point, z=1)

    def test_as_copy_replace_does_it(self) -> None:  # from Python 3.13 on
        assert values(getattr(Point(1, 2), "__replace__")(x=3)) == (3, 2, [])  # noqa: B009


class TestDataclasses:
    """What ``dataclasses`` and ``inspect`` see."""

    def test_fields(self) -> None:
        assert dataclasses.is_dataclass(Point)
        fields = dataclasses.fields(Login)
        assert [each.name for each in fields] == ["name", "password", "key"]
        assert [each.repr for each in fields] == [True, False, False]
        assert [each.default for each in fields[:2]] == [dataclasses.MISSING, None]
        assert fields[2].default_factory is bytes
        assert dataclasses.fields(Login("me")) == fields
        assert all(each.kw_only for each in dataclasses.fields(Limit))

    def test_functions(self) -> None:
        assert dataclasses.asdict(Point(1, 2, ["a"])) == {"x": 1, "y": 2, "tags": ["a"]}
        assert dataclasses.replace(Login("me", "a"), name="you") == Login("you", "a")
        assert dataclasses.astuple(Derived(1)) == (1, 0, [])
        assert dataclasses.asdict(Own(1)) == {"x": 2, "y": 2}

    def test_a_dataclass_may_be_derived(self) -> None:
        @dataclasses.dataclass(frozen=True)
        class More(Login):
            more: int = 0

        assert More("me", more=1) == More("me", None, b"", 1)
        with pytest.raises(TypeError, match="non-frozen"):
            dataclasses.dataclass(type("Other", (Login,), {}))

    def test_signature(self) -> None:
        assert list(inspect.signature(Point).parameters) == ["x", "y", "tags"]
        assert inspect.signature(Login).parameters["password"].default is None
        most = inspect.signature(Limit).parameters["most"]
        assert most.kind is inspect.Parameter.KEYWORD_ONLY
        assert list(inspect.signature(Own).parameters) == ["x", "y"]

    def test_signature_of_a_derived_class(self) -> None:
        assert list(inspect.signature(Derived).parameters) == ["x", "y", "tags"]
        assert list(inspect.signature(DerivedLimit).parameters) == ["least"]
        assert DerivedLimit(3) == DerivedLimit(3)
        assert DerivedLimit(3).most == 3
