"""Classes as messages, held against the protobuf runtime."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, cast

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobworkerp_standalone.plugin import BadInput, PluginMistake
from jobworkerp_standalone.plugin.proto import proto_text
from jobworkerp_standalone.plugin.wire import decode, encode
from jobworkerp_standalone.schema.convert import json_to_bytes
from jobworkerp_standalone.schema.text import root_message


class Colour(Enum):
    RED = "r"
    GREEN = "g"


class Level(IntEnum):
    LOW = 0
    HIGH = 7


@dataclass
class Leaf:
    name: str = "leaf"
    weight: float = 0.0


@dataclass
class Tree:
    """A tree."""

    text: Annotated[str, "Says something."]
    number: int = 0
    ratio: float = 0.5
    flag: bool = False
    data: bytes = b""
    maybe: int | None = None
    colour: Colour = Colour.RED
    level: Level = Level.LOW
    kind: Literal["a", "b"] = "a"
    numbers: list[int] = field(default_factory=list[int])
    texts: tuple[str, ...] = ()
    colours: list[Colour] = field(default_factory=list[Colour])
    leaf: Leaf | None = None
    leaves: list[Leaf] = field(default_factory=list[Leaf])
    named: dict[str, Leaf] = field(default_factory=dict[str, Leaf])
    counts: dict[int, bool] = field(default_factory=dict[int, bool])
    children: list[Tree] = field(default_factory=list["Tree"])


int64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
floats = st.floats(allow_nan=False)
leaves = st.builds(Leaf, text, floats)
trees = st.recursive(
    st.builds(
        Tree,
        text=text,
        number=int64,
        ratio=floats,
        flag=st.booleans(),
        data=st.binary(max_size=8),
        maybe=st.none() | int64,
        colour=st.sampled_from(Colour),
        level=st.sampled_from(Level),
        kind=st.sampled_from(["a", "b"]),
        numbers=st.lists(int64, max_size=3),
        texts=st.lists(text, max_size=3).map(tuple),
        colours=st.lists(st.sampled_from(Colour), max_size=3),
        leaf=st.none() | leaves,
        leaves=st.lists(leaves, max_size=2),
        named=st.dictionaries(text, leaves, max_size=2),
        counts=st.dictionaries(int64, st.booleans(), max_size=2),
    ),
    lambda inner: st.builds(Tree, text=text, children=st.lists(inner, max_size=2)),
    max_leaves=4,
)


@given(trees)
def test_what_goes_in_comes_out_also_through_the_protobuf_runtime(tree: Tree) -> None:
    data = encode(tree, Tree)
    again = root_message(proto_text(Tree)).FromString(data).SerializeToString()
    assert decode(data, Tree) == decode(again, Tree) == tree


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    with suppress(BadInput):
        assert isinstance(decode(data, Tree), Tree)


def test_json_reaches_the_class_and_defaults_hold() -> None:
    given: dict[str, Any] = {"text": "x", "colour": "GREEN", "named": {"k": {"weight": 2}}, "ratio": 0}
    tree = decode(json_to_bytes(given, root_message(proto_text(Tree))), Tree)
    assert tree == Tree("x", colour=Colour.GREEN, named={"k": Leaf(weight=2.0)}, ratio=0.0)


def test_the_text_is_a_schema_with_comments() -> None:
    shown = proto_text(Tree)
    assert shown.index("message Tree") < shown.index("message Leaf")
    for line in (
        "// A tree.",
        "// Says something.",
        "optional double ratio = 3;",
        "// One of: a, b.",
        "COLOUR_UNSPECIFIED = 0;",
    ):
        assert line in shown


class Model(pydantic.BaseModel):
    size: int = pydantic.Field(default=2, ge=1, description="How large.")


def test_pydantic_models_are_checked_by_themselves() -> None:
    assert "// How large." in proto_text(Model)
    assert decode(b"", Model).size == 2
    assert decode(encode(Model(size=9), Model), Model) == Model(size=9)
    with pytest.raises(BadInput, match=r"Model: .*greater than or equal to 1"):
        decode(b"\x08\x00", Model)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (object, "object cannot be part"),
        (int | str, "cannot be part"),
        (dict[float, str], "keys of a map"),
        (tuple[int, str], "tuple"),
    ],
)
def test_types_that_no_message_can_have(hint: Any, words: str) -> None:
    made = dataclass(type("Made", (), {"__annotations__": {"x": hint}, "__module__": __name__}))
    with pytest.raises(PluginMistake, match=words):
        proto_text(made)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (Tree(cast("Any", 1)), "Tree.text is int 1, expected str"),
        (Tree("x", 2**63), "64 bits"),
        (Tree("x", leaves=cast("Any", ["y"])), "expected Leaf, got str"),
        (Leaf(), "expected Tree, got Leaf"),
    ],
)
def test_results_of_the_wrong_type_are_named(value: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        encode(value, Tree)
