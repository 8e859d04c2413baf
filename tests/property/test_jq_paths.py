"""Our walk along a path gives what jq gives."""

from __future__ import annotations

import json
from typing import Any

import jq
from hypothesis import example, given
from hypothesis import strategies as st

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.paths import parse_path
from jobworkerp_standalone.workflow.expressions.scope import Scope

names = st.sampled_from(["a", "b", "and", "if", "x_1", "Abc"])
keys = st.sampled_from(["a", "b", "x-y", "", 'q"', "\\", "é", "\n"])
optional = st.sampled_from(["", "", "", "?", " ?", "??"])
steps = st.one_of(
    st.builds(".{}{}".format, names, optional),
    st.builds(lambda key, mark: f".{json.dumps(key)}{mark}", keys, optional),
    st.builds(lambda key, mark: f"[{json.dumps(key)}]{mark}", keys, optional),
    st.builds("[{}]{}".format, st.integers(-4, 4), optional),
    st.builds(".[ {} ]{}".format, st.integers(-4, 4), optional),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.one_of(names, keys), inner, max_size=4)),
    max_leaves=12,
)


@given(st.sampled_from([".", "$v"]), st.lists(steps, max_size=4), values)
@example(".", [".a?", ".b"], {"a": 5})
@example(".", [".a", ".b?"], 5)
@example(".", [".a", ".b??"], 5)
def test_walk(start: str, path: list[str], value: Any) -> None:
    text = start + "".join(path)
    text = text.replace("..", ".", 1) if text.startswith("..") else text
    try:
        theirs = jq.compile(f". as $v | ({text})").input_text(json.dumps(value)).all()
    except ValueError as error:
        theirs = f"error: {error}"
        if "compile error" in theirs:
            assert parse_path(text) is None
            return
    parsed = parse_path(text)
    if parsed is None:
        assert "??" in text  # catches what went wrong further to the left too: jq's
        return
    try:
        ours = parsed.outputs(Scope(value, {"v": value}))
    except EvaluationFailed as error:
        ours = f"error: {error}"
    if isinstance(theirs, str):
        assert isinstance(ours, str), (text, theirs)
    else:
        assert ours == theirs, text


@given(st.integers())
def test_integers_stay_as_they_are(number: int) -> None:
    parsed = parse_path(".a[0]")
    assert parsed is not None
    assert parsed.outputs(Scope({"a": [number]})) == [number]
