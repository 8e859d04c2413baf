"""A frozen value is what the standard library's ``dataclass(frozen=True, slots=True)`` would be."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, astuple, dataclass, field, fields, is_dataclass, replace
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from jobworkerp_standalone.frozen import frozen

T = TypeVar("T")
Decorator = Callable[..., Any]


def standard(cls: Any = None, /, *, kw_only: bool = False) -> Any:
    """Do what ``frozen`` does, in the way of the standard library."""
    return dataclass(cls, frozen=True, slots=True, kw_only=kw_only)


@pytest.fixture(params=[standard, frozen], ids=["standard", "ours"])
def deco(request: pytest.FixtureRequest) -> Decorator:
    """Both, so that what is tested here holds for the model as well."""
    return request.param


@frozen
class Point:
    """A value at module level, which can be pickled."""

    x: int
    y: int = 0
    tags: dict[str, int] = field(default_factory=dict[str, int])


def test_fields_are_given_by_place_and_by_name(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

        x: int
        y: str = "d"
        z: list[int] = field(default_factory=list[int])

    assert A(1) == A(1, "d", []) == A(x=1, y="d", z=[])
    assert A(1).z is not A(1).z
    assert str(inspect.signature(A)).startswith("(x")
    for wrong in ((), (1, 2, 3, 4)):
        with pytest.raises(TypeError):
            A(*wrong)
    with pytest.raises(TypeError):
        A(1, nope=2)


def test_fields_by_name_alone(deco: Decorator) -> None:
    @deco(kw_only=True)
    class A:
        """A."""

        x: int = 1
        y: int

    assert (A(y=2).x, A(y=2).y) == (1, 2)
    with pytest.raises(TypeError):
        A(2)
    with pytest.raises(TypeError):
        A()


def test_nothing_can_be_changed(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

        x: int

    a = A(1)
    for name in ("x", "other"):
        with pytest.raises((FrozenInstanceError, TypeError)):
            setattr(a, name, 2)
        with pytest.raises((FrozenInstanceError, TypeError)):
            delattr(a, name)
    assert a.x == 1
    assert not hasattr(a, "__dict__")


def test_equality_hash_and_repr_go_by_the_fields_that_say_so(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

        x: int
        secret: str = field(default="", repr=False)
        note: str = field(default="", compare=False)

    @deco
    class B:
        """B."""

        x: int

    assert A(1, "s", "n") == A(1, "s", "other")
    assert A(1, "s") != A(1, "t")
    assert hash(A(1, "s", "n")) == hash(A(1, "s"))
    assert len({A(1), A(1), A(2)}) == 2
    assert A(1) != B(1)
    assert B(1) != 1
    assert repr(A(1, "s", "n")).endswith("A(x=1, note='n')")
    assert repr(B(2)).endswith("B(x=2)")


def test_a_value_without_fields(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

    assert A() == A()
    assert hash(A()) == hash(A())
    assert repr(A()).endswith("A()")


def test_a_value_that_holds_itself_can_be_shown(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

        inner: list[Any]

    a = A([])
    a.inner.append(a)
    assert "..." in repr(a)


def test_what_cannot_be_hashed_is_not(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

        x: list[int]

    with pytest.raises(TypeError, match="unhashable"):
        hash(A([]))


def test_a_class_may_say_otherwise(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

        x: int
        shared: ClassVar[int] = 7

        def __eq__(self, other: object) -> bool:
            return isinstance(other, A)

        def __hash__(self) -> int:
            return 5

        def __repr__(self) -> str:
            return "mine"

    assert A(1) == A(2)
    assert (hash(A(1)), repr(A(1)), A.shared) == (5, "mine", 7)
    assert [each.name for each in fields(A)] == ["x"]


def test_values_inherit_fields(deco: Decorator) -> None:
    @deco
    class Base(Generic[T]):
        """Base."""

        x: T
        y: int = 2

        @property
        def both(self) -> tuple[T, int]:
            return self.x, self.y

    @deco
    class Derived(Base[str]):
        """Derived."""

        z: int = 3

    derived = Derived("a", z=9)
    assert derived.both == ("a", 2)
    assert derived == Derived("a", 2, 9) != Derived("a")
    assert Base("a") != Derived("a")
    assert not hasattr(derived, "__dict__")


def test_what_is_left_to_a_later_step(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

        x: int
        twice: int = field(init=False)
        start: int = field(default=4, init=False)
        seen: list[int] = field(default_factory=list[int], init=False)

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.x)

    assert (A(3).twice, A(3).start, A(3).seen) == (6, 4, [])
    with pytest.raises(TypeError):
        A(3, twice=1)


def test_the_tools_of_the_standard_library_work(deco: Decorator) -> None:
    @deco
    class A:
        """A."""

        x: int
        y: Any = None

    a = A(1, A(2))
    assert replace(a, x=5) == A(5, A(2))
    assert asdict(a) == {"x": 1, "y": {"x": 2, "y": None}}
    assert astuple(a) == (1, (2, None))
    assert [each.name for each in fields(a)] == ["x", "y"]
    assert copy.copy(a) == copy.deepcopy(a) == a
    match a:
        case A(number, A(inner)):
            assert (number, inner) == (1, 2)
        case _:
            pytest.fail("the pattern fits")
    assert is_dataclass(a)


def test_a_value_travels() -> None:
    point = Point(1, tags={"a": 1})
    assert pickle.loads(pickle.dumps(point)) == point
    assert str(inspect.signature(Point)).startswith("(x, y=")
    assert Point.__init__.__qualname__ == "Point.__init__"
