"""A value in fragments is the value, and no fragment takes long to write or to read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobworkerp_standalone.jobs import json_fragments as fragments
from jobworkerp_standalone.jobs.json_fragments import LARGEST, Reader, fragments_of

ESCAPED = 12
"""Characters that one outside the first plane is written as."""

leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=60)
)
values: st.SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=4), inner, max_size=6)),
    max_leaves=30,
)


def read(value: Any) -> Any:
    """Return a value that was written and read again."""
    reader = Reader()
    for kind, text in fragments_of(value):
        reader.take(kind, text)
    return reader.value


@pytest.mark.parametrize("largest", [8, 30, 100, LARGEST])
@given(value=values)
def test_a_value_in_fragments_is_the_value(largest: int, value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fragments, "LARGEST", largest)
        assert json.loads("".join(text for _, text in fragments_of(value))) == value
        assert read(value) == value


LARGE: dict[str, Any] = {
    "text": "\U0001f600" * 1_000_000,
    "one line": {"a": {"b": ["x" * 3_000_000, 1]}},
    "numbers": list(range(200_000)),
    "objects": [{"id": number, "name": f"n{number}", "tags": ["a", "b"]} for number in range(50_000)],
    "keys": {f"key {number}": number for number in range(200_000)},
    "long keys": {"k" * 100_000: 1, "l" * 100_000: [2]},
    "nothing": [[]] * 100_000,
    "a number of many digits": [10**4_000] * 1_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_fragments_are_small(name: str) -> None:
    written = list(fragments_of(LARGE[name]))
    longest = 100_000 if name == "long keys" else 0
    assert max(len(text) for _, text in written) <= LARGEST * ESCAPED + longest
    whole = sum(len(text) for _, text in written)
    assert len(written) <= 4 * whole / LARGEST * ESCAPED + 20
    assert read(LARGE[name]) == LARGE[name]


def test_what_is_no_json_is_an_error() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    values: list[Any] = [nested, {"a": object()}, [10**5_000]]
    for value in values:
        with pytest.raises((ValueError, TypeError, RecursionError)):
            list(fragments_of(value))
