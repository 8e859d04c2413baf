"""What each part of jq does in a workflow: where it runs, what it gives, or what is said about it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.settings import load_settings
from jobworkerp_standalone.workflow.expressions.errors import ExpressionError, ExpressionSyntaxError
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.expressions.jq_check import SHORT, is_quick
from jobworkerp_standalone.workflow.expressions.jq_tokens import tokens_of
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.template import compile_template
from tests.unit.workflow.helped import asked_of_helpers

pytestmark = pytest.mark.anyio
DOT: Any = {"n": 3, "big": 2**60 + 1, "s": "a,b", "a": {"b": 1, 'k"q': 7}, "l": [1, 2]}
VARIABLES: Any = {"input": 1, "x": 5, "and": 6}
IN_THE_DAEMON: list[tuple[str, Any]] = [
    (".big", 2**60 + 1), (".big + 0", 2**60), ("9007199254740993", 2**53), ("1e-1000", 0), ("-1e1000", None),
    ('.a["k\\"q"]', 7), ('."a"."b"', 1), (".and", None), ("$and", 6), ("$x", 5),
    ("{if: 1, env}", {"if": 1, "env": None}),
    ('{a: [1, "}"], env, b: (2, 3)} | keys', [["a", "b", "env"], ["a", "b", "env"]]),
    ('"aGk=" | @base64d', "hi"), ('"a b" | @sh', "'a b'"), ('@uri "\\(.s)"', "a%2Cb"), ('.s | ltrimstr("a")', ",b"),
    ("[65, 1114112, -1, 55296] | implode", "A\ufffd\ufffd\ufffd"), ("1.1 | tojson", "1.1"), ("now | type", "number"),
    ("first(empty)", []), ("1, 2", [1, 2]), ('"}"', "}"), ('"a\\("b\\("c}")")"', "abc}"), ('"\\u0000"', "\0"),
    ('"\\(1, 2) \\(3, 4)"', ["1 3", "2 3", "1 4", "2 4"]), (".a.b.c?", []), ("5 % 1e1000", 5), (".n # }", 3),
]  # fmt: skip
IN_A_HELPER: list[tuple[str, Any]] = [
    ('.s | [splits(",")]', ["a", "b"]), ('.s | test("a")', True), ('getpath(["a", "b"])', 1),
    ("[.l | paths]", [[0], [1]]),
    ('0 | strftime("%Y %Z")', "1970 GMT"), ("0 | localtime | mktime", 0), ("[limit(0; 1, 2)]", []), ("-.n", -3),
    ("label $f | 1, break $f", 1), ("def f: def g: 3; g; f", 3), (". as {a: $x} ?// [$x] | $x.b", 1),
    ('try error("x") catch .', "x"), ("del(.a, .s, .big, .l)", {"n": 3}), (".n | debug | stderr", 3),
    ("[range(100000)] | length", 100_000), ('"a" * .n', "aaa"), ("{a: 1,}", {"a": 1}),
]  # fmt: skip
FAILURES = [
    ("error(null)", "null"), ("error({a: 1})", '{"a": 1}'), ('"!!" | @base64d', "not valid base64"), ("1 / 0", "zero"),
    ("[{}] | @sh", "can not be escaped"), ('["a"] | implode', "imploded"), ("$__prog_args", "not defined"),
    ('.s | test("[")', "Regex failure"), ("getpath(1)", "array"), ("limit(-1; 1)", "negative"), ("@nofmt", "nofmt"),
    ('error("\\u0000a")', "\0a"), ("10 | ltrimstr(1)", "string"),
]  # fmt: skip
REFUSED = [
    ("halt", "cannot end the program"), ('"x" | halt_error(1)', "cannot end the program"),
    ("input_filename", "refused"),
    ("input_line_number", "refused"), ("get_search_list", "refused"), ("modulemeta", "refused"),
    ('"\\(env)"', "refused"),
    ("[1, env, 2]", "refused"), ("{a: 1} | (1, env, 2)", "refused"), ("{a: (1, env, 2), b: 3}", "refused"),
    ('[{a: "("}, env, 2]', "refused"), ('{a: "\\(1, env, 2)"}', "refused"),
    ("env | keys", "refused"), ('env["HO" + "ME"]', "refused"), ("reduce env as $x (0; 1)", "refused"),
    ('"\\ud800"', "surrogate"), ("ascii(65)", "not defined"), ("$x::y", "not defined"), ("1 as $x", "syntax error"),
    ("{(1): 2}", "object key"), ('"\\x"', "escape"), (". == . == .", "syntax error"),
    (".a + " * SHORT + "foo", "foo/0 is not defined"), ('"x" * 1000 * 1000 * 1000', "too much time or memory"),
]  # fmt: skip


async def test_values_and_where_they_are_found() -> None:
    async with anyio.create_task_group() as tasks:
        host = Host(load_settings({"WORKFLOW_EXPRESSION_TIMEOUT_MS": "20000"}), tasks)
        evaluator = host.shared(Evaluator)
        asked = asked_of_helpers(evaluator)
        scope = Scope(DOT, VARIABLES)
        for cases, inline in ((IN_THE_DAEMON, True), (IN_A_HELPER, False)):
            for text, wanted in cases:
                template = compile_template(f"${{ {text}\n}}")
                asked.clear()
                assert await evaluator.value(template, scope) == wanted, text
                assert (not asked) is inline, text
        for text, reason in FAILURES:
            with pytest.raises(ExpressionError) as raised:
                await evaluator.value(compile_template({"task": f"${{ {text} }}"}), scope)
            assert reason in raised.value.reason, text
            assert raised.value.path == "/task"
        await host.aclose()


@pytest.mark.parametrize(("text", "reason"), REFUSED)
def test_refusals_when_a_document_is_loaded(text: str, reason: str) -> None:
    with pytest.raises(ExpressionSyntaxError) as raised:
        compile_template(f"${{ {text} }}")
    assert reason in raised.value.reason


@pytest.mark.parametrize("text", [".a + " * SHORT + "1", '"x" * 9', '"x" | . *= 9', "label $f | " * SHORT + "."])
def test_what_jq_may_take_long_to_compile_is_not_compiled_in_the_daemon(text: str) -> None:
    assert not is_quick(tokens_of(text))
    assert is_quick(tokens_of(".a + 1 | {b: . * 2}"))
