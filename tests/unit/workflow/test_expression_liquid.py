"""Liquid as the specification has it: every tag, every filter, strict names, and how results are typed."""

from __future__ import annotations

from typing import Any

import pytest

from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.liquid_engine import NotLiquid, render, typed
from jobworkerp_standalone.workflow.expressions.liquid_program import analyse
from jobworkerp_standalone.workflow.expressions.scope import Scope

DATA: dict[str, Any] = {
    "n": 3, "f": -1.5, "s": "Hello World", "none": "", "nil": None, "yes": True, "l": [3, 1, 2],
    "names": ["b", "A", "c"],
    "people": [{"name": "ann", "age": 30}, {"name": "bob", "age": 20}, {"name": "cy"}], "html": "<b>x & y</b>",
    "lines": "a\nb\r\nc", "twice": [1, 1, None, 2],
}  # fmt: skip


def shown(body: str, dot: Any = None, **variables: Any) -> Any:
    """Return the value of a template between two dots, as text."""
    program = analyse(f".{body}.")
    found = render(program.body, program.globals(Scope(DATA if dot is None else dot, variables)))
    assert isinstance(found, str)
    return found[1:-1]


TAGS = [
    ("{% assign a = 1 %}{{ a }}", "1"),
    ("{% capture a %}x{{ n }}{% endcapture %}{{ a }}", "x3"),
    ("{% case n %}{% when 1, 2 %}low{% when 3 %}three{% else %}high{% endcase %}", "three"),
    ("a{% comment %} no {{ nothing }} {% endcomment %}b", "ab"),
    ("{% for i in l %}{% cycle 'x', 'y' %}{% endfor %}", "xyx"),
    ("{% increment c %}{% increment c %}{% decrement d %}", "01-1"),
    ("{% for i in l %}{{ i }}{% unless forloop.last %},{% endunless %}{% endfor %}", "3,1,2"),
    ("{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}", "32"),
    ("{% for i in l %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}", "3"),
    ("{% for i in (1..9) limit: 2 offset: 3 %}{{ i }}{% endfor %}", "45"),
    ("{% for i in l reversed %}{{ i }}{% endfor %}", "213"),
    ("{% for i in none %}x{% else %}empty{% endfor %}", "empty"),
    ("{% for i in l %}{{ forloop.index }}{{ forloop.index0 }}{{ forloop.first }}{% endfor %}", "10true21false32false"),
    ("{% if n > 5 %}a{% elsif n == 3 and yes %}b{% else %}c{% endif %}", "b"),
    ("{% if s contains 'World' %}a{% endif %}", "a"),
    ("{% for i in twice %}{% ifchanged %}{{ i }}{% endifchanged %}{% endfor %}", "12"),
    ("{% raw %}{{ n }}{% endraw %}", "{{ n }}"),
    ("{% tablerow i in l cols: 2 %}{{ i }}{% endtablerow %}",
     '<tr class="row1">\n<td class="col1">3</td><td class="col2">1</td></tr>\n'
     '<tr class="row2"><td class="col1">2</td></tr>\n'),
    ("{% unless n == 3 %}a{% else %}b{% endunless %}", "b"),
    (" \n {{- n -}} \n ", "3"),
    (" {%- if yes -%} x {%- endif -%} ", "x"),
]  # fmt: skip
FILTERS = [
    ("f | abs", "1.5"), ("s | append: '!'", "Hello World!"), ("n | at_least: 5", "5"), ("n | at_most: 2", "2"),
    ("'abc d' | capitalize", "Abc d"), ("1.2 | ceil", "2"), ("twice | compact | join: ','", "1,1,2"),
    ("l | concat: names | join: ''", "312bAc"), ("0 | date: '%Y'", "1970"), ("none | default: 'd'", "d"),
    ("7 | divided_by: 2", "3"), ("s | downcase", "hello world"), ("html | escape", "&lt;b&gt;x &amp; y&lt;/b&gt;"),
    ("'a &amp; <' | escape_once", "a &amp; &lt;"), ("l | first", "3"), ("1.8 | floor", "1"), ("l | join: '-'", "3-1-2"),
    ("l | last", "2"), ("'  a ' | lstrip", "a "), ("people | map: 'name' | join: ','", "ann,bob,cy"),
    ("n | minus: 1", "2"),
    ("7 | modulo: 4", "3"), ("lines | newline_to_br", "a<br />\nb\r<br />\nc"), ("n | plus: 1", "4"),
    ("s | prepend: '>'", ">Hello World"), ("s | remove: 'o'", "Hell Wrld"), ("s | remove_first: 'o'", "Hell World"),
    ("s | replace: 'o', '0'", "Hell0 W0rld"), ("s | replace_first: 'o', '0'", "Hell0 World"),
    ("l | reverse | join: ''", "213"),
    ("1.26 | round: 1", "1.3"), ("'a  ' | rstrip", "a"), ("s | size", "11"), ("s | slice: 0, 1", "H"),
    ("none | slice: 0, 1", ""), ("s | slice: -3, 2", "rl"), ("l | sort | join: ''", "123"),
    ("names | sort_natural | join: ''", "Abc"), ("'a,b,,c' | split: ',' | size", "4"), ("',' | split: ',' | size", "2"),
    ("none | split: ',' | size", "0"), ("'a b  c' | split: ' ' | size", "4"), ("' a ' | strip", "a"),
    ("html | strip_html", "x & y"), ("lines | strip_newlines", "abc"), ("n | times: 2", "6"),
    ("s | truncate: 8", "Hello..."),
    ("s | truncatewords: 1", "Hello..."), ("twice | compact | uniq | join: ''", "12"), ("s | upcase", "HELLO WORLD"),
    ("'a%20b' | url_decode", "a b"), ("'a b' | url_encode", "a+b"),
    ("people | where: 'age', 20 | map: 'name' | first", "bob"),
    ("people | json_encode", '[{"name": "ann", "age": 30}, {"name": "bob", "age": 20}, {"name": "cy"}]'),
    ("'[1, 2]' | json_decode | last", "2"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "wanted"), TAGS)
def test_tags(body: str, wanted: str) -> None:
    assert shown(body) == wanted


@pytest.mark.parametrize(("expression", "wanted"), FILTERS)
def test_filters(expression: str, wanted: str) -> None:
    assert shown(f"{{{{ {expression} }}}}") == wanted


UNKNOWN = [
    "{{ nope }}", "{{ s.nope }}", "{{ people[0].nope }}", "{{ nope | default: 'x' }}", "{{ nope | upcase }}",
    "{{ s | append: nope }}", "{% if nope == 1 %}{% endif %}", "{% if 1 != nope %}{% endif %}",
    "{% if nope > 1 %}{% endif %}",
    "{% if nope contains 1 %}{% endif %}", "{% if yes and nope == nil %}{% endif %}",
    "{% unless nope == 1 %}{% endunless %}",
    "{% case nope %}{% when 1 %}{% endcase %}",
    "{% for i in nope %}{% endfor %}", "{% for i in l %}{{ nope }}{% endfor %}",
    "{% tablerow i in nope %}{% endtablerow %}", "{% assign a = nope | size %}",
]  # fmt: skip


@pytest.mark.parametrize("body", UNKNOWN)
def test_what_is_unknown_is_an_error_that_names_it(body: str) -> None:
    with pytest.raises(EvaluationFailed, match="nope"):
        shown(body)


@pytest.mark.parametrize("body", ["{% if nope %}a{% else %}b{% endif %}", "{% unless nope %}b{% endunless %}",
                                  "{% if nope or nope.x %}a{% else %}b{% endif %}",
                                  "{% if s.nope %}a{% else %}b{% endif %}"])  # fmt: skip
def test_a_bare_condition_may_be_unknown(body: str) -> None:
    assert shown(body) == "b"


@pytest.mark.parametrize("body", ["{% include 'a' %}", "{% render 'a' %}", "{{ 1 | nope }}", "{% if %}", "{{ a"])
def test_what_can_never_be_rendered(body: str) -> None:
    with pytest.raises(NotLiquid):
        analyse(body)


@pytest.mark.parametrize(
    ("body", "reason", "line"),
    [
        ("a\n{{ " * 2_000, "'{{' has no end", 2),
        ("{{ a }}" + "{% a" * 2_000, "'{%' has no end", 1),
        ("{% raw %}" * 500, "'{% raw %}' has no end", 1),
        ("{% comment %}{{ a{% endcomment %}" + "a" * 500, "'{{' has no end", 1),
        ("{% comment %}\n" + "{% {{ %}" * 2_000 + "{% endcomment %}", "'{{' has no end", 2),
        ("{{" + " " * 2_000 + "-}}", "'{{' has more than 200 blanks before its end", 1),
        ("{% if a" + "\n" * 2_000 + "%}{% endif %}", "'{%' has more than 200 blanks before its end", 1),
        ("{{ " + "(" * 2_000 + " }}", "'{{' has more than 100 parentheses in it", 1),
    ],
)
def test_what_would_keep_the_library_busy_does_not_reach_it(body: str, reason: str, line: int) -> None:
    with pytest.raises(NotLiquid) as caught:
        analyse(body)
    assert (caught.value.reason, caught.value.line) == (reason, line)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("{% raw %}{{ {% {{{% endraw %}", "{{ {% {{"),
        ("{{ n }}{% comment %}{{ a{% endcomment %}{% comment %}{% raw %}{% endcomment %}", "3"),
        ('{{% if n %}"n": 3{% endif %} }', '{"n": 3 }'),
        ("{{" + " " * 190 + "n }}", "3"),
        ("{{ n" + " " * 190 + "-}}", "3"),
    ],
)
def test_what_only_looks_like_that_does(body: str, text: str) -> None:
    assert shown(body) == text


_GROWN = "{% assign s = 'xxx' %}" + "{% assign s = s | append: s %}"
_NESTED = 31


@pytest.mark.parametrize(
    "body",
    [
        "{% for i in (1..1001) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}",
        _GROWN.replace("{% assign s = s", "{% for i in (1..26) %}{% assign s = s") + "{% endfor %}",
        _GROWN.replace("{% assign s = s", "{% for i in (1..23) %}{% assign s = s") + "{% endfor %}{{ s }}",
        "{% capture s %}" + "{% if yes %}" * _NESTED + "{% endif %}" * _NESTED + "{% endcapture %}",
    ],
    ids=["rounds of loops", "what is assigned", "output", "depth"],
)
def test_what_a_template_may_do_is_limited(body: str) -> None:
    with pytest.raises((EvaluationFailed, NotLiquid), match="limit"):
        shown(body)


def test_text_that_is_no_json_cannot_be_decoded() -> None:
    with pytest.raises(EvaluationFailed, match="json_decode: not JSON"):
        shown("{{ s | json_decode }}")


def test_names() -> None:
    assert shown("{{ k }}", {"k": 1}, k=2) == "1"
    assert shown("{{ k }}", {"j": 1}, k=2) == "2"
    assert shown("{{ raw_input }}", "abc") == "abc"
    assert shown("{{ raw_input | join: '' }}", [1, 2]) == "12"
    assert shown("{{ secrets.a }}", {"secrets": {"a": "no"}}, secrets={"a": "yes"}) == "yes"
    with pytest.raises(EvaluationFailed, match="raw_input"):
        shown("{{ raw_input }}", {"a": 1})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("2", 2), (" 2\n", 2), ("-1.5", -1.5), ("true", True), ("null", None), ('{"k": 2}', {"k": 2}), ("[1]", [1]),
     ('"a"', "a"),
     ("007", "007"), ("+1", "+1"), ("NaN", "NaN"), ("Infinity", "Infinity"), ("", ""), ("a", "a"), ("[1", "[1"),
     ("True", "True"), (str(2**70), 2**70), ("[" * 100_000, "[" * 100_000)],
)  # fmt: skip
def test_a_result_is_json_if_it_can_be(text: str, wanted: Any) -> None:
    found = typed(text)
    assert found == wanted
    assert type(found) is type(wanted)


README = """
{%- assign files = stdout | newline_to_br | split: '<br />' -%}
{"files": [
{%- for file in files -%}
"{{- file |strip_newlines -}}"{% unless forloop.last %},{% endunless -%}
{%- endfor -%}
] }
"""
HEAD = '{%- assign head_char = file | slice: 0, 1 -%}{%- if head_char == "d" %}true{% else %}false{% endif -%}'


@pytest.mark.parametrize("stdout", ["", "a", "bin\nboot\ndev\nwith blank"])
def test_the_list_of_files(stdout: str) -> None:
    program = analyse(README)
    seen = program.globals(Scope({"stdout": stdout}))
    assert render(program.body, seen) == {"files": stdout.split("\n") if stdout else []}


@pytest.mark.parametrize(("name", "wanted"), [("dev", True), ("bin", False), ("", False)])
def test_the_first_letter(name: str, wanted: bool) -> None:
    program = analyse(HEAD)
    assert render(program.body, program.globals(Scope(None, {"file": name}))) is wanted


@pytest.mark.parametrize(
    "body",
    ["{% for i in (1..2) %}{% endfor %}", "{% for i in l %}{% assign a = a | append: a %}{% endfor %}",
     "{% capture a %}{% endcapture %}"],
)  # fmt: skip
def test_what_could_take_long_is_left_to_a_helper(body: str) -> None:
    assert not analyse(body).may_run_inline({})


def test_large_values_are_left_to_a_helper() -> None:
    program = analyse("{% for i in l %}{{ i }}{% endfor %}")
    assert program.may_run_inline({"l": [1, 2]})
    many: Any = [0] * 1_000
    assert not program.may_run_inline({"l": many})
    assert not analyse("{{ a | upcase }}").may_run_inline({"a": "x" * 100_000})


@pytest.mark.parametrize(
    "body",
    [
        '{% assign x = "a" %}' + "{% assign x = x | append: x %}" * 40,
        '{{ s | replace: "x", s }}',
        "{{ s" + " | base64_encode" * 20 + " }}",
        "{{ s" + " | escape" * 20 + " }}",
        "{{ s" + " | upcase" * 2_000 + " }}",
        "{{ l" + " | sort | reverse" * 500 + " | size }}",
        "{% for i in l %}{{ l | sort | size }}{% endfor %}",
        "{% for i in l %}" + "x" * 60_000 + "{% endfor %}",
        "{{ n }}" * 4_000,
        "{{ l | uniq | size }}",
        "{{ s | replace: 'x', s | replace: 'x', s }}",
    ],
)
def test_what_is_much_work_for_its_size_never_runs_in_the_daemon(body: str) -> None:
    seen: dict[str, Any] = {"s": "x" * 15_000, "l": [1] * 1_000, "n": 1}
    assert not analyse(body).may_run_inline(seen)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<{{ o }}>", '<{"a": [1, null], "b": true}>'),
        ("<{{ t }}>", "<true>"),
        ("<{{ l }}>", '<1[2]{"x": null}>'),
        ("{{ t | append: '!' }}", "true!"),
        ("{{ 'is ' | append: t }}", "is true"),
        ("{{ 'o: ' | append: o }}", 'o: {"a": [1, null], "b": true}'),
        ("{{ o | upcase | append: '.' }}", '{"A": [1, NULL], "B": TRUE}.'),
    ],
)
def test_values_that_are_no_text_are_written_as_json(body: str, text: str) -> None:
    seen: dict[str, Any] = {"o": {"a": [1, None], "b": True}, "l": [1, [2], {"x": None}], "t": True}
    assert render(body, seen) == text
