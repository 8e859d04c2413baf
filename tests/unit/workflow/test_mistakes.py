"""What is said of expressions that are meant otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobworkerp_standalone.workflow.load import load_text
from jobworkerp_standalone.workflow.problems import InvalidDocument, Problem


def loaded(task: dict[str, Any], **more: Any) -> tuple[Problem, ...]:
    """Return what is odd about a document that is valid."""
    return load_text(json.dumps({"do": [{"a": task}], **more}), bare=True).warnings


def refused(task: dict[str, Any]) -> str:
    """Return what is suggested for the one mistake of a document."""
    with pytest.raises(InvalidDocument) as caught:
        loaded(task)
    (problem,) = caught.value.problems
    return problem.suggestion or ""


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("${ .first-name }", '."a-b"'),
        ("${ $my-var }", "variables have no dashes"),
        ("${ .a && .b }", "as: and"),
        ("${ .a || .b }", "as: or"),
        ("${ !.a }", "(.a | not)"),
        ("${ not(.a) }", "(.a | not)"),
        ("${ .a == 'x' }", 'double quotes: "text"'),
        ("${ `x` }", 'double quotes: "text"'),
        ("${ .a === 1 }", "with == and !="),
        ("${ .a ?? 1 }", ".a // .b"),
        ("${ .a ? 1 : 2 }", "if .a then .b else .c end"),
        ("${ if .a { 1 } }", "if .a then .b else .c end"),
        ("${ $.x }", ".name, without $"),
        ("${ .x.length() }", ".a | length"),
        ("${ .items.0 }", ".items[0]"),
        ("${ len(.a) }", "jq has length"),
        ("${ name }", 'a member of the input is .name, a variable $name, a text "name"'),
        ("${ .a } and ${ .b }", 'make one expression of several, as ${ "\\(.a) and \\(.b)" }'),
        ("${ {{ .a }} }", "looks like Liquid"),
        ("$${ {{ .x }} }", "without a dot or $"),
        ("$${ {{ a | plus: $x }} }", "without a dot or $"),
        ('${ "it\'s && ok" | nothing }', "a member of the input is .nothing"),
    ],
)
def test_what_was_probably_meant_by_what_does_not_compile(text: str, suggestion: str) -> None:
    assert suggestion in refused({"set": {"x": text}})


@pytest.mark.parametrize("text", ["${ .a && " + ".b " * 500 + "}", "$${ {{ .x }}{{ a == }}" + "x" * 1_000 + " }"])
def test_nothing_is_looked_for_in_long_texts(text: str) -> None:
    assert refused({"set": {"x": text}}) == ""


@pytest.mark.parametrize("text", ["${ .a[0 }", "${ .a .b: }", "$${ {{ a == }} }", '$${ {% if "a.b" %} }'])
def test_what_nothing_is_known_of_has_no_advice(text: str) -> None:
    assert refused({"set": {"x": text}}) == ""


@pytest.mark.parametrize(
    ("task", "message", "suggestion", "pointer"),
    [
        (
            {"set": {"x": ["${ .content-type }"]}},
            "takes what jq calls type from .content",
            '."content-type"',
            "set/x/0",
        ),
        ({"set": {"x": "$${ .x }"}}, "begins as jq does", "write ${...}", "set/x"),
        ({"set": {"x": "${ .a "}}, "not closed", "add the }", "set/x"),
        ({"set": {"x": "hello ${.name}!"}}, "in the middle", "the whole text one", "set/x"),
        ({"set": {"x": "hello ${ $input.name }!"}}, "in the middle", "the whole text one", "set/x"),
        ({"set": {"x": "hello $${ {{ name }} }!"}}, "in the middle", "the whole text one", "set/x"),
        ({"set": {"x": "$workflow.input.x"}}, "is a text here", "${ $workflow.input.x }", "set/x"),
        ({"set": {"name": ".user.name"}}, ".user.name is a text here", "${ .user.name }", "set/name"),
        ({"set": {"x": ".n + 1"}}, ".n + 1 is a text here", "${ .n + 1 }", "set/x"),
        ({"set": {"x": ".items | length"}}, "is a text here", None, "set/x"),
        ({"if": ".a = 1", "set": {"x": 1}}, "'=' sets a member", "compare with ==", "if"),
        ({"if": "not .a", "set": {"x": 1}}, "the member 'a' of what 'not' gives", "(.a | not)", "if"),
        ({"run": {"shell": "echo ${ .x }"}}, "in the middle", "'arguments'", "run/shell"),
        ({"set": {"x": 1}, "output": {"as": {"t": "n=${.n}"}}}, "in the middle", None, "output/as/t"),
    ],
)
def test_what_compiles_and_is_nearly_always_meant_otherwise(
    task: dict[str, Any], message: str, suggestion: str | None, pointer: str
) -> None:
    (warning,) = loaded(task)
    assert message in warning.message
    assert suggestion is None or suggestion in (warning.suggestion or "")
    assert warning.pointer == f"/do/0/a/{pointer}"


@pytest.mark.parametrize(
    "task",
    [
        {"set": {"file": ".gitignore", "archive": "backup.tar.gz", "dots": "...", "path": "./x | y"}},
        {"set": {"price": "$5 + tax", "text": ". and more", "mask": "*.py", "sum": "a + b"}},
        {"set": {"shell": "echo ${HOME} $(date) ${1:-x}"}},
        {"set": {"x": "${ .total - .part }", "y": "${ .n-1 }", "z": "${ .end-now }", "q": '${ ."a-b" }'}},
        {"set": {"x": "${ .a = 1 }", "y": "${ .a | not }", "z": '${ "a && b" }', "l": "$${007}", "m": "$${.x{{ a }}}"}},
        {"if": ".a == 1 and (.b | not)", "set": {"x": 1}},
        {"if": '.a | test("=")', "set": {"x": 1}},
        {"run": {"shell": "for f in *; do echo ${f%.py} ${#f} $((1 + 2)); done"}},
        {"run": {"shell": {"command": "docker ps --format '{{.Names}}'", "arguments": ["$input"]}}},
        {"call": "http", "with": {"method": "get", "endpoint": "https://example.com/{id}"}},
        {"listen": {"to": {"one": {"with": {"type": "com\\.example\\.(a|b)", "data": "${ .n > 1 }"}}}}},
    ],
)  # fmt: skip
def test_what_is_meant_as_it_is_written_is_no_mistake(task: dict[str, Any]) -> None:
    assert loaded(task) == ()


def test_in_loose_mode_texts_are_expressions() -> None:
    assert loaded({"set": {"n": ".n", "x": ".n + 1"}}, evaluate={"mode": "loose"}) == ()


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("${ $inptu.x }", "did you mean $input?"),
        ("${ $imput }", "did you mean $input?"),
        ("${ [$Context.a] | length }", "did you mean $context?"),
        ("${ $worflow.id as $w | $w }", "did you mean $workflow?"),
        ("${ .a as $b | $tassk + $b }", "did you mean $task?"),
        ("${ $oder }", "did you mean $order?"),
    ],
)
def test_a_variable_that_is_probably_misspelled(text: str, suggestion: str) -> None:
    loop = {"for": {"each": "order", "in": "${ .orders }"}, "do": [{"b": {"set": {"x": text}}}]}
    assert [each.suggestion for each in loaded(loop)] == [suggestion]


def test_as_many_misspelled_variables_are_told_as_anybody_reads() -> None:
    slips = (f"{'workflow'[:at]}{letter}{'workflow'[at:]}" for at in range(1, 8) for letter in "abcdeghijmnpqstuvxyz")
    told = loaded({"set": {f"k{number}": f"${{ ${name} }}" for number, name in enumerate(slips)}})
    assert [each.suggestion for each in told] == ["did you mean $workflow?"] * 100


@pytest.mark.parametrize(
    "text",
    [
        "${ $given }",
        "${ $inputs + $users + $tasks + $form + $file1 + $pathb }",
        "${ $env + $tsk }",
        "${ . as $inptu | $inptu }",
        "${ . as [$inptu, {a: $imput}] | $inptu + $imput }",
        "${ . as {($input.x): $inptu} | $inptu }",
        "${ . as [$inptu] ?// $imput | $inptu }",
        "${ reduce .[] as $imput (0; . + $imput) }",
        "${ foreach .[] as [$imput, $b] (0; . + $imput; $b) }",
        "${ def f($inptu; g): $inptu; f(1; 2) }",
        "${ label $inptu | break $inptu }",
        "${ $made }",
        "${ $amde }",
        "${ $ENV.HOME }",
        "$${ {{ inptu }} }",
    ],
)
def test_variables_that_may_come_from_elsewhere_are_no_mistakes(text: str) -> None:
    first = {"set": {"made": 1, "amde": 2, "file2": 3, "patha": 4}}
    loop = {"for": {"each": "user", "in": "${ .from }"}, "do": [{"b": first}, {"c": {"set": {"x": text}}}]}
    assert [str(each) for each in loaded(loop) if "variable" in each.message] == []
