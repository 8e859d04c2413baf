"""Group A: expressions in running workflows."""

from __future__ import annotations

import pytest

from tests.workflow.cases import Case, expression, table
from tests.workflow.stage import Stage


@table(
    Case("C01 jq value in set", 'do: [{a: {set: {double: "${ .n * 2 }"}}}]', {"n": 2}, {"double": 4}),
    Case("C02 unwrapped text is a literal in set", 'do: [{a: {set: {s: ".n"}}}]', {"n": 2}, {"s": ".n"}),
    Case(
        "C03 text around an expression is kept",
        'do: [{a: {set: {s: "n=${.n}"}}}]',
        {"n": 2},
        {"s": "n=${.n}"},
        odd=True,
    ),
    Case("C04 jq string interpolation", """do: [{a: {set: {s: '${ "n=\\(.n)" }'}}}]""", {"n": 2}, {"s": "n=2"}),
    Case(
        "C05 number of jq outputs",
        'do: [{a: {set: {many: "${ .l[] }", one: "${ .l[:1][] }", none: "${ empty }"}}}]',
        {"l": [1, 2]},
        {"many": [1, 2], "one": 1, "none": []},
    ),
    Case("C06 indexing null", 'do: [{a: {set: {v: "${ .x.y }"}}}]', {}, {"v": None}),
    Case("C07 jq runtime error", 'do: [{a: {set: {v: "${ .n.x }"}}}]', {"n": 5}, fault=expression("/do/0/a/set")),
    Case("C08 undefined variable", 'do: [{a: {set: {v: "${ $nope }"}}}]', {}, fault=expression(None, "$nope")),
    Case("C09 object right before the brace", 'do: [{a: {set: {v: "${{k: .n}}"}}}]', {"n": 2}, {"v": {"k": 2}}),
    Case("C10 object with a blank behind it", 'do: [{a: {set: {v: "${ {k: .n} }"}}}]', {"n": 2}, {"v": {"k": 2}}),
    Case("C11 Liquid number", 'do: [{a: {set: {v: "$${{{ n }}}"}}}]', {"n": 2}, {"v": 2}),
    Case(
        "C12 Liquid boolean",
        'do: [{a: {set: {v: "$${{% if n > 1 %}true{% else %}false{% endif %}}"}}}]',
        {"n": 2},
        {"v": True},
    ),
    Case("C13 Liquid object", """do: [{a: {set: {v: '$${{"k": {{ n }}}}'}}}]""", {"n": 2}, {"v": {"k": 2}}),
    Case("C14 Liquid leading zeros", 'do: [{a: {set: {v: "$${007}"}}}]', {}, {"v": "007"}),
    Case("C15 Liquid null", 'do: [{a: {set: {v: "$${null}"}}}]', {}, {"v": None}),
    Case("C16 Liquid unknown variable", 'do: [{a: {set: {v: "$${{{ nope }}}"}}}]', {}, fault=expression(None, "nope")),
    Case("C17 Liquid, input no object", 'do: [{a: {set: {v: "$${{{ raw_input }}!}"}}}]', "abc", {"v": "abc!"}),
    Case(
        "C18 input keys beat variables in Liquid, not in jq",
        """
        do:
          - a: {set: {k: ctx}}
          - b: {input: {from: {k: inp}}, set: {liq: "$${{{ k }}}", jq: "${ $k }"}}
        """,
        {},
        {"liq": "inp", "jq": "ctx"},
    ),
    Case(
        "C19 error inside an array element",
        """do: [{a: {set: {l: [x, '${ error("boom") }', y]}}}]""",
        {},
        fault=expression("/do/0/a/set", "boom"),
    ),
    Case(
        "C21 set sees the state before the task",
        'do: [{a: {set: {x: 1}}}, {b: {set: {x: 2, y: "${ $x }"}}}]',
        {},
        {"x": 2, "y": 1},
    ),
    Case(
        "C22 nothing hides a built-in name",
        'do: [{a: {set: {input: 9}}}, {b: {set: {v: "${ $input }"}}}]',
        {},
        {"v": {"input": 9}},
    ),
    Case(
        "C114 lines of a text through Liquid",
        """
        do:
          - a:
              set:
                names: >-
                  $${[
                  {%- assign parts = text | newline_to_br | split: '<br />' -%}
                  {%- for p in parts -%}
                  "{{ p | strip_newlines }}"{% unless forloop.last %},{% endunless %}
                  {%- endfor -%}
                  ]}
        """,
        {"text": "a\nb\nc"},
        {"names": ["a", "b", "c"]},
    ),
    Case(
        "C115 first character",
        'do: [{a: {set: {v: "$${{{ name | slice: 0, 1 }}}", e: "$${<{{ none | slice: 0, 1 }}>}"}}}]',
        {"name": "docs", "none": ""},
        {"v": "d", "e": "<>"},
    ),
    Case("exact integers on paths", 'do: [{a: {set: {v: "${ .n }"}}}]', {"n": 2**63 + 1}, {"v": 2**63 + 1}),
)
async def test_expressions(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_c20_the_environment_is_seen_through_an_allow_list(stage: Stage) -> None:
    end = await stage.run('do: [{a: {set: {v: "${ env.DEMO_VAR }", hidden: "${ env.HOME }"}}}]', {})
    assert end.output == {"v": None, "hidden": None}


@pytest.mark.parametrize("text", ["${ input }", '${ import "x" as x; 1 }', "${ $__loc__ }"])
async def test_what_reaches_outside_is_refused(stage: Stage, text: str) -> None:
    end = await stage.run({"do": [{"a": {"set": {"v": text}}}]}, {})
    assert (end.status, end.job_status) == ("Faulted", "OTHER_ERROR")
