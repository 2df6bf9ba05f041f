"""Params as digests: equal if and only if the values are, in this process and in others."""

from __future__ import annotations

import array
import collections
import dataclasses
import decimal
import enum
import fractions
import functools
import operator
import re
import subprocess
import sys
import threading
import types
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from runcue._artifacts.artifact import Artifact
from runcue._artifacts.file import File
from runcue._artifacts.flag import Flag
from runcue._freshness import encoding
from runcue._model.errors import ArtifactError


class Size(enum.Enum):
    SMALL = 10


class Other(enum.Enum):
    SMALL = 11
    SIGN = object()


class Number(enum.IntEnum):
    SMALL = 10


class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Settings:
    size: Any
    cache: object = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass
class Twin:
    size: Any
    cache: object = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass
class Marked(list[int]):
    mark: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    size: Any


class Point(NamedTuple):
    x: Any
    y: Any


class Shouting(str):
    __slots__ = ()


class Loud(str):  # noqa: SLOT000 - as users write it
    level = 1


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    @functools.cached_property
    def size(self) -> int:
        return len(self.__dict__)


class Slotted:
    __slots__ = ("a", "b")

    def __init__(self, a: Any) -> None:
        self.a = a


class Derived(Plain):
    """A descriptor of its class raises when it is asked for."""

    class Raising:
        def __get__(self, instance: object, owner: type) -> None:
            raise RuntimeError("not for classes")

    a = Raising()


class Abridged:
    """Its repr leaves out the middle, and says no address."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def __repr__(self) -> str:
        return f"<Abridged {self.values[0]} ... {self.values[-1]}>"


class Broken:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise RuntimeError("no way to make it again")


class Row(Artifact):
    def __init__(self, name: Any) -> None:
        self.name = name

    def valid(self) -> bool:
        return True


class Nameless(Artifact):
    def valid(self) -> bool:
        return True


class Aged(Row):
    """Which one it is says nothing of its age."""

    def __init__(self, name: Any, age: Any) -> None:
        super().__init__(name)
        self.age = age

    def identity(self) -> Any:
        return self.name


def found() -> None: ...


def found_valid(path: Path) -> bool:
    return True


def found_so(path: Path) -> bool:
    return True


def digest_of(value: object) -> str:
    return encoding.digest_of_params({"x": value})["x"]


def marked(*values: int) -> Marked:
    value = Marked("a")
    value.extend(values)
    return value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def again(value: Plain) -> Plain:
    """The same after its size was asked for, which it keeps."""
    assert value.size >= 0
    return value


class TestTheSame:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
            ({2: "b", 1: "a"}, {1: "a", 2: "b"}),
            ({"x", "y", "z"}, {"z", "y", "x"}),
            ([1, {2: (3,)}], [1, {2: (3,)}]),
            (Settings(Size.SMALL, [1]), Settings(Size.SMALL, [1])),
            (File("a", max_age=60), File("./a", max_age="1 min")),
            (File("a", validate=found_valid), File("a", validate=found_valid)),
            (Aged("a", [1]), Aged("a", [1])),
            (Plain(a=1, b=[2]), Plain(b=[2], a=1)),
            (again(Plain(a=1)), Plain(a=1)),
            (float("nan"), float("nan")),
            (File("a"), File("./a")),
            (re.compile("a", re.IGNORECASE), re.compile("a", re.IGNORECASE)),
            (memoryview(b"abcdef")[::2], memoryview(b"ace")),
            (functools.partial(int, base=2), functools.partial(int, base=2)),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_is_equal_is_the_same(self, one: object, other: object) -> None:
        assert digest_of(one) == digest_of(other)

    def test_each_name_has_its_own_digest(self) -> None:
        params = {"a": 1, "b": [1]}
        digests = encoding.digest_of_params(params)
        assert list(digests) == ["a", "b"]
        changed = encoding.digest_of_params({**params, "b": [2]})
        assert changed["a"] == digests["a"]
        assert changed["b"] != digests["b"]

    def test_names_of_another_type_are_names_of_their_own(self) -> None:
        names = [next(iter(encoding.digest_of_params({name: 1}))) for name in ("1", 1, True, 1.0, None, "\0")]  # type: ignore[dict-item]
        assert len(set(names)) == len(names)

    def test_much_in_common_takes_no_longer(self) -> None:
        shared: Any = [1]
        for _ in range(80):
            shared = [shared, shared]
        assert digest_of(shared) == digest_of([shared[0], shared[0]])

    def test_a_hash_that_is_another_in_each_process_makes_no_difference(self) -> None:
        program = """
import sys
from runcue._freshness.encoding import digest_of_params
class Bag:
    def __init__(self): self.words = {str(number) for number in range(50)}
print(digest_of_params({"a": {str(number) for number in range(100)}, "b": frozenset("abc"), "c": Bag(),
    "d": [{b"x", "x", 1, None, (2, "y")}], "e": {frozenset("xyz"): 1, frozenset("uvw"): 2}}))
"""
        said = {
            subprocess.run(
                [sys.executable, "-c", program],
                env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
                capture_output=True,
                check=True,
                text=True,
            ).stdout
            for seed in ("1", "2")
        }
        assert len(said) == 1


NAIVE = datetime(2024, 1, 1)  # noqa: DTZ001 - one without a time zone is meant

APART: list[Any] = [
    *(
        None,
        False,
        True,
        0,
        1,
        -1,
        0.0,
        -0.0,
        1.0,
        1j,
        complex(0.0, -0.0),
        float("nan"),
        float("inf"),
        -float("inf"),
    ),
    *("", "0", "1", "None", "null", "a", "ä", "\U0001f600", "\ud83d\ude00", "\udcff", "a\0b"),
    *(b"", b"1", b"a", bytearray(b"a"), memoryview(b"a"), memoryview(b"a").cast("b"), array.array("b", b"a")),
    *(10**5000, 10**5000 + 1, 2**64, -(2**64)),
    *(
        [],
        (),
        set(),
        frozenset(),
        {},
        [[]],
        [()],
        [1, [2]],
        [[1], 2],
        [1, 2],
        (1, 2),
        {1, 2},
        frozenset({1, 2}),
    ),
    *(
        ["ab", "c"],
        ["a", "bc"],
        [b"ab", b"c"],
        {"a": "b"},
        {"b": "a"},
        [("a", "b")],
        {1: "a"},
        {"1": "a"},
        {True: "a"},
    ),
    types.MappingProxyType({"a": "b"}),
    *(collections.OrderedDict(a=1, b=2), collections.OrderedDict(b=2, a=1), {"a": 1, "b": 2}),
    *(collections.defaultdict(list, a=1), collections.defaultdict(set, a=1), collections.Counter(a=1)),
    *(collections.deque([1, 2]), collections.deque([1, 2], 5)),
    *(Size.SMALL, Other.SMALL, Other.SIGN, Number.SMALL, 10, Rights.READ, Rights.READ | Rights.WRITE),
    *(
        Settings(Size.SMALL),
        Settings(Other.SMALL),
        Settings(1),
        Settings(1.0),
        Twin(1),
        Frozen(1),
        Frozen(True),
    ),
    *(Marked(), marked(), marked(1), marked(2), Point(1, 2), Point(1, 3), Point(2, 1)),
    *(Plain(), Plain(a=1), Plain(a="1"), Plain(b=1), Slotted(1), Slotted(2), Derived(a=1), Derived(a=2)),
    *(Shouting("a"), Loud("a")),
    *(
        Path("/a/b"),
        PurePosixPath("/a/b"),
        PureWindowsPath("/a/b"),
        "/a/b",
        File("/a/b"),
        Path("/a/b/c"),
        Path("b"),
    ),
    *(Flag("a"), Row("a"), Row("b"), Row(("a",))),
    *(
        re.compile("a"),
        re.compile(b"a"),
        re.compile("a", re.IGNORECASE),
        re.compile("a|" * 120 + "b"),
        re.compile("a|" * 120 + "c"),
    ),
    *(Abridged(1, 2, 3), Abridged(1, 4, 3)),
    *(date(2024, 1, 1), NAIVE, NAIVE.replace(fold=1), datetime(2024, 1, 1, tzinfo=UTC)),
    *(
        datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")),
        datetime(2024, 1, 1, tzinfo=timezone(timedelta(0), "GMT")),
    ),
    *(NAIVE.replace(microsecond=1), time(1), time(1, fold=1), timedelta(1), timedelta(hours=23)),
    *(
        decimal.Decimal(1),
        decimal.Decimal("1.0"),
        decimal.Decimal("1.00"),
        fractions.Fraction(1),
        uuid.UUID(int=1),
    ),
    *(
        range(3),
        range(0, 4, 2),
        range(0, 3, 2),
        slice(1),
        slice(1, 2),
        slice(1, 2, 3),
        Ellipsis,
        NotImplemented,
    ),
    *(
        int,
        bool,
        str,
        Plain,
        Size,
        len,
        found,
        print,
        "abc".upper,
        "abd".upper,
        operator.itemgetter(1),
        int | None,
    ),
    *(
        list[int],
        list[str],
        functools.partial(int, base=2),
        functools.partial(int, base=3),
        ValueError("a"),
        KeyError("a"),
    ),
]


def test_what_differs_in_value_or_type_is_told_apart() -> None:
    digests: dict[str, Any] = {}
    for value in APART:
        other = digests.setdefault(digest_of(value), value)
        assert other is value, (value, other)


def test_an_array_counts_as_a_whole() -> None:
    numpy = pytest.importorskip("numpy")
    one = numpy.zeros(5000)
    other = one.copy()
    other[2500] = 1
    assert repr(one) == repr(other)
    many = [
        one,
        other,
        one.reshape(50, 100),
        one.astype("f4"),
        one.astype(object),
        one[:-1],
        numpy.float64(0),
        0.0,
    ]
    assert len(set(map(digest_of, many))) == len(many)
    assert digest_of(one) == digest_of(numpy.zeros(5000))
    assert digest_of(other[::2]) == digest_of(other[::2].copy())


class TestCountsWhole:
    """What makes no difference when two are compared may make one to a handler."""

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (Settings(1, cache="a"), Settings(1, cache="b")),
            (Settings(1, cache=[1, 2]), Settings(1, cache=[1, 3])),
            ([Settings(1, cache="a")], [Settings(1)]),
            (File("a", max_age=1), File("a", max_age=2)),
            (File("a", max_age=1), File("a")),
            (File("a", validate=found_valid), File("a", validate=found_so)),
            (File("a", validate=found_valid), File("a")),
            ([{"f": File("a", max_age=1)}], [{"f": File("a")}]),
            (Aged("a", 1), Aged("a", 2)),
            (Aged("a", [1]), Aged("a", [2])),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_each_part_is_told_apart(self, one: object, other: object) -> None:
        assert digest_of(one) != digest_of(other)

    @pytest.mark.parametrize(
        ("value", "part"),
        [
            (Settings(1, cache=threading.Lock()), "params['x'].cache "),
            (File("a", validate=lambda path: True), "params['x'].validate "),
            ([Aged("a", object())], "params['x'][0].age "),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_cannot_be_told_is_refused_with_its_path(self, value: object, part: str) -> None:
        with pytest.raises(ArtifactError) as raised:
            digest_of(value)
        assert str(raised.value).startswith(part)


class TestRefused:
    @pytest.mark.parametrize(
        ("value", "part"),
        [
            (object(), "params['x'] "),
            (lambda: None, "params['x'] "),
            ([object()], "params['x'][0] "),
            ({"a": [1, 2, Plain(pattern=threading.Lock())]}, "params['x']['a'][2].pattern "),
            ({"a": {1, lambda: None}}, "params['x']['a'] "),
            (Settings(size={"b": object()}), "params['x'].size['b'] "),
            (Broken(), "params['x'] "),
            ((one for one in ()), "params['x'] "),
            (functools.partial(lambda: None), "params['x'] "),
            (Nameless(), "params['x'] "),
            (deep(99_999), "params['x'][0][0][0] ... [0][0][0] "),
            (sys.stdout if sys.stdout is not None else object(), "params['x']"),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_what_cannot_be_told_exactly_is_refused_with_the_path_of_the_part(
        self, value: object, part: str
    ) -> None:
        with pytest.raises(ArtifactError) as raised:
            digest_of(value)
        text = str(raised.value)
        assert text.startswith(part)
        assert "digest(params=False)" in text
        assert len(text) < 500

    @pytest.mark.parametrize("make", [list, dict, Plain])
    def test_so_is_what_contains_itself(self, make: Callable[[], Any]) -> None:
        loop = make()
        if isinstance(loop, list):
            loop.append((1, loop))
        elif isinstance(loop, dict):
            loop["a"] = [loop]
        else:
            loop.itself = {"a": loop}
        with pytest.raises(ArtifactError, match="contains itself"):
            digest_of(loop)

    def test_a_version_is_named_by_its_artifact(self) -> None:
        with pytest.raises(ArtifactError, match=r"^The version of Row\[1\] cannot"):
            encoding.digest_of_value([1, object()], "The version of Row")


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from((0, 1, -1, 2, 10, 11))
    | st.floats()
    | st.sampled_from((0.0, -0.0, 1.0))
    | st.text(max_size=4)
    | st.characters()
    | st.text("\ud800\udc00a1:", max_size=4)
    | st.binary(max_size=4)
    | st.sampled_from(
        (Size.SMALL, Other.SMALL, Number.SMALL, Path("a"), Path("1"), Shouting("a"), re.compile("a"))
    )
)
hashable = st.recursive(
    scalars,
    lambda inner: (
        st.tuples(inner)
        | st.tuples(inner, inner)
        | st.frozensets(inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Frozen, inner)
    ),
    max_leaves=6,
)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.sets(hashable, max_size=3)
        | st.builds(Settings, inner)
        | st.builds(Plain, a=inner)
        | st.builds(Slotted, inner)
    ),
    max_leaves=8,
)


def told(value: Any) -> Any:
    """A value with the types of all its parts, so that `==` means the same in type and value."""
    kind = type(value)
    if isinstance(value, enum.Enum):
        return kind, value.name
    if kind is float:
        return kind, repr(value)
    if kind in (list, tuple, Point):
        return kind, tuple(map(told, value))
    if kind in (set, frozenset):
        return kind, frozenset(map(told, value))
    if kind is dict:
        return kind, frozenset((told(key), told(one)) for key, one in value.items())
    if kind in (Settings, Frozen):
        return kind, told(value.size)
    if kind is Plain:
        return kind, told(value.a)
    if kind is Slotted:
        return kind, told(value.a)
    return kind, value


def counterpart(value: Any, data: st.DataObject) -> Any:
    """A value much like another one: the same, or the same in some other form."""
    kind = type(value)
    if kind in (list, tuple, set, frozenset):
        parts = [counterpart(part, data) for part in value]
        make = data.draw(st.sampled_from((kind, kind, kind, list, tuple)))
        if make in (set, frozenset):
            assume(all(part.__hash__ is not None and _is_hashable(part) for part in parts))
        return make(parts)
    if kind is dict:
        return {key: counterpart(one, data) for key, one in reversed(value.items())}
    if kind is str and data.draw(st.booleans()):
        return data.draw(
            st.sampled_from((value, value + "\0", value.encode(errors="surrogatepass"), Shouting(value)))
        )
    if kind is int:
        return data.draw(st.sampled_from((value, value, str(value), bool(value), -value)))
    if kind is float:
        return data.draw(st.sampled_from((value, value, -value, repr(value))))
    return value


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@given(values, values)
def test_two_values_have_one_digest_if_and_only_if_they_are_equal_in_type_and_value(
    one: Any, other: Any
) -> None:
    same = told(one) == told(other)
    event(f"the same: {same}")
    assert (digest_of(one) == digest_of(other)) == same


@given(st.data(), values)
def test_so_have_two_values_that_are_much_alike(data: st.DataObject, one: Any) -> None:
    other = counterpart(one, data)
    same = told(one) == told(other)
    event(f"the same: {same}")
    assert (digest_of(one) == digest_of(other)) == same
