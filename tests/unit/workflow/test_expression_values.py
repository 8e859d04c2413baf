"""The value of a template in a scope, wherever it is evaluated."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from jobworkerp_standalone.jobs.json_fragments import LARGEST
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.settings import load_settings
from jobworkerp_standalone.workflow.expressions import fork_server, helpers
from jobworkerp_standalone.workflow.expressions.errors import ExpressionError
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.expressions.places import Place
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.template import compile_template
from jobworkerp_standalone.workflow.expressions.values import is_true
from tests.support.patience import PATIENCE_SEC
from tests.unit.workflow.helped import asked_of_helpers

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


@asynccontextmanager
async def evaluating(**variables: str) -> AsyncIterator[Evaluator]:
    evaluators: list[Evaluator] = []
    pids: frozenset[int] = frozenset()
    async with anyio.create_task_group() as tasks:
        host = Host(load_settings({"WORKFLOW_EXPRESSION_TIMEOUT_MS": "20000", **variables}), tasks)
        evaluators.append(host.shared(Evaluator))
        try:
            yield evaluators[0]
        finally:
            pids = evaluators[0].helpers.pids
            await host.aclose()
    assert not evaluators[0].helpers.pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


CASES: list[tuple[Any, Any, dict[str, Any], Any]] = [
    ("${ .n * 2 }", {"n": 2}, {}, 4),
    (".n", {"n": 2}, {}, ".n"),
    ("n=${.n}", {"n": 2}, {}, "n=${.n}"),
    ('${ "n=\\(.n)" }', {"n": 2}, {}, "n=2"),
    (["${ .l[] }", "${ .l[:1][] }", "${ empty }"], {"l": [1, 2]}, {}, [[1, 2], 1, []]),
    ("${ .x.y }", {}, {}, None),
    ("${ .a? }", 5, {}, []),
    ("${{k: .n}}", {"n": 2}, {}, {"k": 2}),
    ("${ {k: .n} }", {"n": 2}, {}, {"k": 2}),
    ("${ [nan, infinite, -infinite] }", None, {}, [None, None, None]),
    ("${ .a }", {"a": 2**80}, {}, 2**80),
    ("${ $v.a[1] }", None, {"v": {"a": [1, 2**63 - 1]}}, 2**63 - 1),
    ("${ $k }", {"k": "inp"}, {"k": "ctx"}, "ctx"),
    ("${ [.[] | select(. > $low)] }", [1, 5], {"low": 2}, [5]),
    ("${ . # all of it\n}", 5, {}, 5),
    ("${ reduce .[] as $x ($start; . + $x) }", [1, 2], {"start": 4}, 7),
    ("${ [limit(3; repeat(1))] }", None, {}, [1, 1, 1]),
    ('${ .s | test("^a.c$") }', {"s": "abc"}, {}, True),
    ("${ .a * .b }", {"a": 2, "b": 4}, {}, 8),
    ("${ {env} }", {"env": 3}, {}, {"env": 3}),
    ("${ .text + $v }", {"text": "é\u2028\U0001f600"}, {"v": "ß"}, "é\u2028\U0001f600ß"),
    ("$${{{ n }}}", {"n": 2}, {}, 2),
    ("$${{{ k }}}", {"k": "inp"}, {"k": "ctx"}, "inp"),
    ("$${{{ k }}}", {}, {"k": "ctx"}, "ctx"),
    ("$${{{ secrets.K }}}", {"secrets": {"K": "no"}}, {"secrets": {"K": "yes"}}, "yes"),
    ("$${{{ raw_input }}!}", "abc", {}, "abc!"),
    ("$${{% assign s = '' %}{% for i in (1..3) %}{% assign s = s | append: i %}{% endfor %}{{ s }}.}", {}, {}, "123."),
]  # fmt: skip


async def test_values() -> None:
    async with evaluating() as evaluator:
        for value, dot, variables, wanted in CASES:
            found = await evaluator.value(compile_template(value), Scope(dot, variables))
            assert found == wanted, value
            assert type(found) is type(wanted), value


@pytest.mark.parametrize(
    ("value", "dot", "reason"),
    [
        ("${ .n.x }", {"n": 5}, "Cannot index number"),
        ("${ .n.x + 1 }", {"n": 5}, "Cannot index number"),
        ("${ $nope }", {}, "variable $nope is not defined"),
        ("${ $nope + 1 }", {}, "variable $nope is not defined"),
        ("${ reduce .[] as $x ($nope; 1) }", [], "$nope is not defined"),
        ("${ error }", "boom", "boom"),
        ("${ def f: error; f }", "boom", "boom"),
        ("$${{{ nope }}}", {}, "'nope' is undefined"),
        ("$${{% for i in (1..2) %}{{ nope }}{% endfor %}}", {}, "'nope' is undefined"),
    ],
)
async def test_failures(value: str, dot: Any, reason: str) -> None:
    async with evaluating() as evaluator:
        template = compile_template({"a": ["x", value]})
        with pytest.raises(ExpressionError) as raised:
            await evaluator.value(template, Scope(dot, {}))
        assert reason in raised.value.reason
        assert (raised.value.text, raised.value.path) == (value, "/a/1")
        assert await evaluator.value(compile_template("${ [range(3)] }"), Scope()) == [0, 1, 2]


async def test_truth() -> None:
    async with evaluating() as evaluator:
        true = ["true", "1", "0.5", "-1", '"false"', "[0]", "{a: null}", '$${false or "x"}']
        false = ["false", "null", "0", "0.0", '""', "[]", "{}", "empty", "$${false}", "$${0}", "$${ [] }", "$${}"]
        for texts, wanted in ((true, True), (false, False)):
            for text in texts:
                assert is_true(await evaluator.value(compile_template(text, Place.CONDITION), Scope())) is wanted, text


async def test_environment_is_seen_through_the_list_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_VAR", "ok")
    monkeypatch.setenv("OTHER_VAR", "hidden")
    async with evaluating(WORKFLOW_ENV_ALLOW="DEMO_*") as evaluator:
        template = compile_template(["${ env.DEMO_VAR }", "${ $ENV.OTHER_VAR }", '${ env["DEMO_VAR"] + "!" }',
                                     "${ env.NONE }",
                                     "${ def f: env.DEMO_VAR; f }", '${ def f: "env"; f }'])  # fmt: skip
        assert await evaluator.value(template, Scope()) == ["ok", None, "ok!", None, "ok", "env"]


async def test_what_is_quick_needs_no_helper() -> None:
    async with evaluating() as evaluator:
        asked = asked_of_helpers(evaluator)
        large: Any = {"a": "x" * 100_000}
        assert await evaluator.value(compile_template("${ .a + 1 }"), Scope({"a": 1})) == 2
        assert await evaluator.value(compile_template("${ .a }"), Scope(large)) == large["a"]
        assert not asked
        assert await evaluator.value(compile_template("${ [range(3)] }"), Scope()) == [0, 1, 2]
        assert await evaluator.value(compile_template("${ .a | length }"), Scope(large)) == 100_000
        assert len(asked) == 2


HOSTILE = {
    "endless": "${ def f: f; f }",
    "endless loop": "${ last(range(1e15)) }",
    "endless text": '${ [repeat("x" * 1000)] }',
    "4 GB": r'${ [range(4) | "\(.)" * 1000000000] }',
    "recursion": "${ def f: [f]; f }",
    "repeated text": '${ "x" * (1000 | . * 1000 * 1000) }',
    "Liquid": "$${{% for i in (1..900000) %}{% for j in (1..900000) %}{{ i }}{% endfor %}{% endfor %}}",
    "Liquid text": "$${{% assign s = 'xxx' %}{% for i in (1..40) %}{% assign s = s | append: s %}{% endfor %}{{ s }}}",
}


async def test_what_an_engine_takes_to_load_is_not_taken_from_its_first_program() -> None:
    """Else a helper would spend so much on it that it has to give way to others, and would be replaced by its like."""
    liquid = compile_template("$${{% for i in (1..3) %}{{ i }}{% endfor %}{{ text }}}")
    async with evaluating() as evaluator:
        given: Any = {"text": "x" * 100_000}
        assert await evaluator.value(liquid, Scope(given)) == "123" + given["text"]
        (first,) = evaluator.helpers.pids
        assert _cpu_seconds(first) < LONG_SEC
        assert await evaluator.value(liquid, Scope(given)) == "123" + given["text"]
        assert evaluator.helpers.pids == {first}
        assert await evaluator.violations('{"pattern": "^a"}', "b") == ["'b' does not match '^a'"]
        while first in evaluator.helpers.pids:  # noqa: ASYNC110 - what another process is
            await anyio.sleep(0.01)
        (second,) = evaluator.helpers.pids
        assert _cpu_seconds(second) < LONG_SEC
        assert await evaluator.violations('{"pattern": "^a"}', "a") == []
        assert await evaluator.value(liquid, Scope(given)) == "123" + given["text"]
        assert evaluator.helpers.pids == {second}


async def test_hostile_expressions_harm_nobody_else() -> None:
    async with evaluating(WORKFLOW_EXPRESSION_TIMEOUT_MS="2000", WORKFLOW_EXPRESSION_HELPERS="3") as evaluator:
        failed: dict[str, str] = {}
        good = compile_template("${ [range(.n)] | length }")

        async def hostile(name: str) -> None:
            with pytest.raises(ExpressionError) as raised:
                await evaluator.value(compile_template(HOSTILE[name]), Scope())
            failed[name] = raised.value.reason

        async def honest() -> None:
            while len(failed) < len(HOSTILE):
                assert await evaluator.value(good, Scope({"n": 5})) == 5
                await anyio.sleep(0.01)

        async with anyio.create_task_group() as tasks:
            for name in HOSTILE:
                tasks.start_soon(hostile, name)
            tasks.start_soon(honest)
        for name in ("endless", "endless loop"):
            assert failed[name] in ("it took longer than 2 s", "it took longer than 20 s, and hardly had the processor")


async def test_an_expression_that_waits_for_the_processor_has_its_time() -> None:
    async with evaluating(WORKFLOW_EXPRESSION_TIMEOUT_MS="1000") as evaluator:
        good = compile_template("${ [range(.n)] | length }")
        await evaluator.value(good, Scope({"n": 1}))
        (pid,) = evaluator.helpers.pids
        os.kill(pid, signal.SIGSTOP)

        async def go_on() -> None:
            await anyio.sleep(1.5)
            os.kill(pid, signal.SIGCONT)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(go_on)
            assert await evaluator.value(good, Scope({"n": 5})) == 5
        assert evaluator.helpers.pids == {pid}


async def test_a_helper_that_was_stopped_is_replaced() -> None:
    async with evaluating(WORKFLOW_EXPRESSION_TIMEOUT_MS="100") as evaluator:
        good = compile_template("${ [range(3)] }")
        await evaluator.value(good, Scope())
        (pid,) = evaluator.helpers.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(ExpressionError, match="took longer than 1 s, and hardly had the processor"):
            await evaluator.value(good, Scope())
        assert await evaluator.value(good, Scope()) == [0, 1, 2]
        with anyio.fail_after(PATIENCE_SEC):
            while pid in evaluator.helpers.pids:
                await anyio.lowlevel.checkpoint()


async def test_an_end_while_a_helper_is_replaced_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    for steps in range(6):
        async with evaluating(WORKFLOW_EXPRESSION_TIMEOUT_MS="10") as evaluator:
            with pytest.raises(ExpressionError, match="it took longer than"):
                await evaluator.value(compile_template("${ last(range(1e15)) }"), Scope())
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
    assert not caplog.records


async def test_what_ended_its_helper_pauses_and_keeps_nobody_waiting() -> None:
    async with evaluating(WORKFLOW_EXPRESSION_HELPERS="1") as evaluator:
        good = compile_template("${ [range(3)] }")
        await evaluator.value(good, Scope())
        (pid,) = evaluator.helpers.pids
        told: list[str] = []

        async def hostile() -> None:
            with pytest.raises(ExpressionError, match="memory"):
                await evaluator.value(compile_template(HOSTILE["4 GB"]), Scope())
            told.append("hostile")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hostile)
            assert await _eventually_gone(pid)
            assert await evaluator.value(good, Scope()) == [0, 1, 2]
            told.append("good")
        assert told == ["good", "hostile"]


async def test_a_killed_helper_is_one_failure() -> None:
    async with evaluating() as evaluator:
        good = compile_template("${ [range(3)] }")
        await evaluator.value(good, Scope())
        (pid,) = evaluator.helpers.pids
        failures: list[str] = []

        async def ask() -> None:
            try:
                await evaluator.value(compile_template("${ last(range(1e15)) }"), Scope())
            except ExpressionError as error:
                failures.append(error.reason)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            while _cpu_seconds(pid) < 0.2:  # noqa: ASYNC110 - what another process does
                await anyio.sleep(0.01)
            os.kill(pid, signal.SIGKILL)
        assert failures == ["its process was killed"]
        assert await evaluator.value(good, Scope()) == [0, 1, 2]
        for other in evaluator.helpers.pids:
            os.kill(other, signal.SIGKILL)
            assert await _eventually_gone(other)
        assert await evaluator.value(good, Scope()) == [0, 1, 2]


LONG_SEC = 0.05
"""What uses more processor time gets a low priority."""


async def test_what_takes_long_gets_the_time_that_others_leave() -> None:
    async with evaluating() as evaluator:
        good = compile_template("${ [range(3)] }")
        await evaluator.value(good, Scope())
        (pid,) = evaluator.helpers.pids
        first = os.getpriority(os.PRIO_PROCESS, pid)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(evaluator.value, compile_template("${ last(range(1e15)) }"), Scope())
            while os.getpriority(os.PRIO_PROCESS, pid) == first:  # noqa: ASYNC110 - what another process is
                await anyio.sleep(0.01)
            assert os.sched_getscheduler(pid) == os.SCHED_BATCH
            tasks.cancel_scope.cancel()
        while pid in evaluator.helpers.pids:  # noqa: ASYNC110 - as above
            await anyio.sleep(0.01)
        assert await evaluator.value(good, Scope()) == [0, 1, 2]
        slowed = evaluator.helpers.pids
        while slowed & evaluator.helpers.pids:  # a loop that others keep waiting may miss that one took long
            assert await evaluator.value(compile_template("${ [range(5e5)] | length }"), Scope()) == 500_000
        assert await evaluator.value(good, Scope()) == [0, 1, 2]


async def test_another_fork_server_takes_the_place_of_one_that_was_killed() -> None:
    async with evaluating(WORKFLOW_EXPRESSION_HELPERS="2") as evaluator:
        good = compile_template("${ [range(3)] }")
        assert await evaluator.value(good, Scope()) == [0, 1, 2]
        (pid,) = evaluator.helpers.pids
        os.kill(_parent(pid), signal.SIGKILL)
        assert await evaluator.value(good, Scope()) == [0, 1, 2]
        os.kill(pid, signal.SIGKILL)
        assert await _eventually_gone(pid)
        assert await evaluator.value(good, Scope()) == [0, 1, 2]


async def test_a_fork_server_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (fork_server, helpers):
        monkeypatch.setattr(module, "_FAREWELL_SEC", 0.2)
    async with evaluating() as evaluator:
        assert await evaluator.value(compile_template("${ [range(3)] }"), Scope()) == [0, 1, 2]
        (pid,) = evaluator.helpers.pids
        server = _parent(pid)
        os.kill(server, signal.SIGSTOP)
        with anyio.fail_after(PATIENCE_SEC):
            await evaluator.helpers.aclose()
        assert await _eventually_gone(server)


async def test_a_large_value_lets_others_take_their_turn() -> None:
    async with evaluating() as evaluator:
        large: Any = {"items": [{"id": number, "text": "x" * 20} for number in range(20_000)], "text": "y" * 1_000_000}
        await evaluator.value(compile_template("${ [range(3)] }"), Scope())
        turns = 0
        found: Any = None

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(others)
            found = await evaluator.value(compile_template("${ [., range(0)] | .[0] }"), Scope(large))
            tasks.cancel_scope.cancel()
        assert found == large
        assert turns > 2 * len(str(large)) / LARGEST


async def test_a_cancelled_evaluation_leaves_nothing() -> None:
    async with evaluating() as evaluator:
        with anyio.move_on_after(0.5) as scope:
            await evaluator.value(compile_template("${ last(range(1e15)) }"), Scope())
        assert scope.cancelled_caught
        answers = [await evaluator.value(compile_template("${ [range(.)] | length }"), Scope(n)) for n in range(5)]
        assert answers == [0, 1, 2, 3, 4]


async def test_many_at_once_get_their_own_answers() -> None:
    async with evaluating(WORKFLOW_EXPRESSION_HELPERS="2") as evaluator:
        template = compile_template("${ [range($n)] | length }")
        found: dict[int, Any] = {}

        async def ask(number: int) -> None:
            found[number] = await evaluator.value(template, Scope(None, {"n": number}))

        async with anyio.create_task_group() as tasks:
            for number in range(100):
                tasks.start_soon(ask, number)
        assert found == {number: number for number in range(100)}
        assert len(evaluator.helpers.pids) <= 2


async def test_sizes_are_limited() -> None:
    async with evaluating(WORKFLOW_EXPRESSION_MAX_BYTES="65536") as evaluator:
        with pytest.raises(ExpressionError, match="input is larger than 65,536 bytes"):
            await evaluator.value(compile_template("${ .a | length }"), Scope({"a": "x" * 70_000}))
        with pytest.raises(ExpressionError, match="result is larger than 65,536 bytes"):
            await evaluator.value(compile_template("${ [range(30000)] }"), Scope())
        assert await evaluator.value(compile_template("${ [range(3)] }"), Scope()) == [0, 1, 2]


async def test_a_value_that_is_put_together_is_limited_too() -> None:
    """Referring to a value twice takes no memory, thirty rounds of it would be 8 GB of text."""
    twice = compile_template({"v": ["${ .v }", 1, "${ .v }"]})
    async with evaluating(WORKFLOW_EXPRESSION_MAX_BYTES="65536") as evaluator:
        value: Any = {"v": "some text"}
        for _ in range(10):
            value = await evaluator.value(twice, Scope(value))
        with pytest.raises(ExpressionError, match="at /v/2 failed: with it the value is larger than 65,536"):
            await evaluator.value(twice, Scope(value))
        large: Any = ["x" * 70_000]
        assert await evaluator.value(compile_template({"v": "${ . }"}), Scope(large)) == {"v": large}, "it is passed on"
        with pytest.raises(ExpressionError, match="at /b failed"):
            await evaluator.value(compile_template({"a": "${ .n }", "b": "${ .l }"}), Scope({"n": 1, "l": large}))


async def test_a_large_value_is_counted_in_turns() -> None:
    """Whoever has a thousand large values put together keeps nobody from their turn."""
    many: list[Any] = [list(range(100_000))] * 1000
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with evaluating() as evaluator, anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        assert await evaluator.first_beyond(many) is not None
        assert turns > 100
        tasks.cancel_scope.cancel()


def _parent(pid: int) -> int:
    return int(_fields(pid)[1])


def _fields(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_seconds(pid: int) -> float:
    fields = _fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _eventually_gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE_SEC
    while time.monotonic() < deadline:
        try:
            _fields(pid)
        except OSError:
            return True
        await anyio.sleep(0.005)
    return False
