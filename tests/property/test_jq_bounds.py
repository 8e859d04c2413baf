"""What runs in the daemon is bounded, and holds nothing that is not on the list."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import jq
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jobworkerp_standalone.workflow.expressions.jq_engine import run
from jobworkerp_standalone.workflow.expressions.jq_program import analyse, with_variables
from jobworkerp_standalone.workflow.expressions.jq_tokens import NotJq

leaves = st.sampled_from(
    [".", ".a", ".b.c", ".[0]", ".[]", ".a[]", "$v", "$v.a", "1", "-2", "0.5", '"x"', '"a\\(.)b"', "[]", "{}", "null",
     "true", "empty", "@json", "@base64", '@html "<\\(.a)>"', ".[1:]", ".[:2]", '.["a"]?', ".[]?"]
)  # fmt: skip
plain = st.sampled_from(
    ["length", "not", "keys", "to_entries", "add", "tostring", "tojson", "ascii_downcase", "sort", "unique",
     "min", "max", "first", "last", "reverse", "any", "all", "type", "explode", "values", "floor", "trim",
     "fromjson",]
)  # fmt: skip
by = st.sampled_from(
    ["map", "select", "sort_by", "group_by", "unique_by", "min_by", "with_entries", "map_values", "any", "all",
     "first"]
)  # fmt: skip
argued = st.sampled_from(
    ["has", "join", "split", "contains", "inside", "startswith", "index", "ltrimstr", "indices"]
)  # fmt: skip


def extended(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = st.sampled_from(["+", "-", "*", "/", "%", "==", "<", "and", "or", "//", "|", ","])
    return st.one_of(
        st.builds("({} {} {})".format, inner, signs, inner),
        st.builds("{} | {}".format, inner, plain),
        st.builds("{} | {}({})".format, inner, by, inner),
        st.builds("{} | {}({})".format, inner, argued, inner),
        st.builds("[{}]".format, inner),
        st.builds("{{k: ({}), (({})|tostring): ({})}}".format, inner, inner, inner),
        st.builds("if {} then {} else {} end".format, inner, inner, inner),
        st.builds("({}) as $w | ({}) | [$w, .]".format, inner, inner),
        st.builds('"<\\({})>"'.format, inner),
        st.builds("({})[{}]?".format, inner, inner),
    )


programs = st.recursive(leaves, extended, max_leaves=6)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 99), st.text("ab<\n", max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5),
        st.dictionaries(st.sampled_from(["a", "b", "c", "key", "value"]), inner, max_size=4),
    ),
    max_leaves=15,
)


def outputs_of(text: str, data: str) -> list[Any]:
    """Return the outputs up to the first error."""
    found: list[Any] = []
    with suppress(ValueError):
        found.extend(iter(jq.compile(text).input_text(data)))
    return found


@settings(max_examples=300, deadline=None)
@given(programs, values)
@example(".[] * .[]", ["ab", 90])
@example("[.[] as $w | $v]", [1, 2, 3])
@example("join($v|tojson)", ["a"] * 100)
@example(".[]", [1, 2, 3])
def test_bounds_hold(text: str, value: object) -> None:
    try:
        program = analyse(text)
    except NotJq:
        assume(False)
        raise
    if program.cost is None:
        return
    data = json.dumps({"d": value, "v": {"v": value}} if program.names else value)
    assume(program.may_run_inline(len(data)))
    found = outputs_of(with_variables(program.body, tuple(program.names)), data)
    assert len(found) <= program.cost.outputs.at(len(data)) + 1e-6
    sizes = [len(json.dumps(output, ensure_ascii=False)) for output in found]
    assert sum(sizes) <= program.cost.total.at(len(data)) + 2 * len(found)


shapes = st.sampled_from(
    ["({0}) | ({1})", "[({1}), ({0})]", "{{a: ({0})}}", '"\\({0})"', "map({0})", "if {0} then {1} else {1} end",
     "({1}) + ({0})", "({1})[{0}]", "({0})[{1}]?"]
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["range(9)", "def f: 1; f", "repeat(1)", "recurse", "..", "until(.;.)", "while(.;.)", "limit(1;2)", "test(\"a\")",
     "match(\"a\")", "gsub(\"a\";\"b\")", "reduce .[] as $x (0;1)", "foreach .[] as $x (0;1)", ".a * .b", '"x" * 1000',
     ".a |= 1", "paths", "getpath([])", "combinations", "label $f | break $f", "try .a catch 1", "walk(.)", "env.X",
     "splits(\"a\")", "ascii_case", "input_line_number", ". as [$x] | $x", "tojson | ltrimstr(range(9))"],
)  # fmt: skip
@settings(max_examples=12, deadline=None)
@given(inner=programs, shape=shapes)
def test_nothing_else_runs_in_the_daemon(text: str, inner: str, shape: str) -> None:
    try:
        program = analyse(shape.format(text, inner))
    except NotJq:
        return
    assert program.cost is None or text == "env.X"


def test_inline_is_what_jq_gives() -> None:
    program = analyse("[.l[] | select(.n > 2) | .n + $more]")
    data = {"d": {"l": [{"n": 1}, {"n": 5}]}, "v": {"more": 2}}
    assert program.cost is not None
    assert run(with_variables(program.body, ("more",)), json.dumps(data)) == [[7]]


@settings(max_examples=100, deadline=None)
@given(programs, values, values)
@example("$v | .a", {"a": 1}, {"a": 2})
@example('if $v then true else "a\\(1)b" end', 1, 2)
def test_what_does_not_read_its_input_gives_the_same_for_any(text: str, value: object, variable: object) -> None:
    try:
        program = analyse(text)
    except NotJq:
        assume(False)
        return
    assume(not program.reads)
    whole = with_variables(text, ("v",))
    outputs = [outputs_of(whole, json.dumps({"d": dot, "v": {"v": variable}})) for dot in (value, None)]
    assert outputs[0] == outputs[1]


READ = ("length", "[.[]]", "$v[.i]", '"\\(.)"', "if $v then 1 end", "{a}", "@json", "$v // .", "$v as $y | .", "..")
SPARE = (
    "$v",
    "$v.a + 1",
    "true",
    '"k"',
    "$v | .a",
    "$v as $y | [$y]",
    "if $v then 1 else 2 end",
    "{$v}",
    "[$v[] | .a]",
)


@pytest.mark.parametrize(("text", "reads"), [(each, True) for each in READ] + [(each, False) for each in SPARE])
def test_what_reads_its_input(text: str, reads: bool) -> None:
    assert analyse(text).reads is reads
