"""What is an expression, where it is one, and what is said about one that cannot be."""

from __future__ import annotations

import pytest

from jobworkerp_standalone.workflow.expressions.errors import ExpressionSyntaxError
from jobworkerp_standalone.workflow.expressions.places import Language, Place, enclosed, looks_like_jq
from jobworkerp_standalone.workflow.expressions.template import compile_template
from jobworkerp_standalone.workflow.expressions.values import JSON


@pytest.mark.parametrize(
    ("text", "language", "body"),
    [
        ("${.a}", Language.JQ, ".a"),
        ("  ${ .a }\n", Language.JQ, " .a "),
        ("${{k: .n}}", Language.JQ, "{k: .n}"),
        ("$${{{ n }}}", Language.LIQUID, "{{ n }}"),
        ('$${{"k": {{ n }}}}', Language.LIQUID, '{"k": {{ n }}}'),
    ],
)
def test_one_closing_brace_belongs_to_the_enclosure(text: str, language: Language, body: str) -> None:
    found = enclosed(text)
    assert found is not None
    assert (found.language, found.text) == (language, body)
    assert text[found.offset :].startswith(body)


@pytest.mark.parametrize("text", ["", ".n", "n=${.n}", "${.n} m", "{{ n }}", "$ {.n}"])
def test_other_text_is_a_literal(text: str) -> None:
    assert enclosed(text) is None
    assert compile_template(text).constant


def test_only_a_condition_takes_text_as_jq_always() -> None:
    assert compile_template("false", Place.TEXT).constant
    assert not compile_template("false", Place.CONDITION).constant
    assert not compile_template(".a > 1", Place.TRANSFORM).constant
    assert compile_template("plain words", Place.TRANSFORM).constant
    with pytest.raises(ExpressionSyntaxError):
        compile_template("plain words", Place.CONDITION)
    for text in (".a >", "a | b", "$ 5"):
        assert looks_like_jq(text)
        with pytest.raises(ExpressionSyntaxError):
            compile_template(text, Place.TRANSFORM)


def test_keys_are_never_expressions() -> None:
    template = compile_template({"${ 1 }": [1, {"b": "x"}]})
    assert template.constant
    assert template.raw == {"${ 1 }": [1, {"b": "x"}]}


def test_names_are_what_it_refers_to() -> None:
    value: JSON = {
        "a": "${ $x.y + $z }",
        "b": ["${ $secrets.API }", '${ $secrets["k"] | length }'],
        "c": "$${{{ q.r }}}",
    }
    assert compile_template(value).names == {"x", "z", "secrets", "secrets.API", "secrets.k", "q"}


@pytest.mark.parametrize(
    ("text", "said", "line", "column"),
    [
        ("${ 1 +\n  foo(1) }", "foo/1 is not defined", 2, 3),
        ("${ .a ! }", "unexpected '!'", 1, 7),
        ("${ (.a }", "'(' is not closed", 1, 8),
        ('${ "a }', "is not closed", 1, 7),
        ("${ }", "it is empty", None, None),
        ("${ input }", "`input` is refused", 1, 4),
        ("${ inputs }", "`inputs` is refused", 1, 4),
        ('${ import "a" as a; . }', "`import` is refused", 1, 4),
        ('${ include "a"; . }', "`include` is refused", 1, 4),
        ("${ $__loc__ }", "`$__loc__` is refused", 1, 4),
        ("${ env }", "`env` as a whole is refused", 1, 4),
        ("${ $ENV | keys }", "`$ENV` as a whole is refused", 1, 4),
        ("$${{% include 'x' %}}", "include", 1, None),
        ("$${{{ a | nofilter }}}", "unknown filter 'nofilter'", None, None),
        ("$${\n{% nope %}}", "unexpected tag 'nope'", 2, None),
        ("${ " + "(" * 300 + "1" + ")" * 300 + " }", "nested deeper than 200 levels", None, None),
        ("${ 1" + " " * 70_000 + "}", "longer than 65,536 characters", None, None),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, said: str, line: int | None, column: int | None) -> None:
    with pytest.raises(ExpressionSyntaxError) as raised:
        compile_template({"a/b": ["x", text]})
    error = raised.value
    assert said in error.reason
    assert (error.text, error.path) == (text, "/a~1b/1")
    if line is not None:
        assert error.line == line
    if column is not None:
        assert error.column == column
    assert "\n" not in str(error)


def test_words_are_refused_as_what_they_are_only() -> None:
    compile_template("${ {input: .import, env: 1, include: .a.input} }")
    compile_template('${ "env and input" }')


def test_nothing_escapes_from_the_program_around_it() -> None:
    for text in ("${ 1) | (2 }", "${ . # \\\n}", '${ "\\(1" }', "${ def f: 1; }", "${ 1 as $x }"):
        with pytest.raises(ExpressionSyntaxError):
            compile_template(text)
