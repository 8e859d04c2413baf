"""What an expression of a workflow costs above jq's own evaluation, and what a hostile one does to the loop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Final, cast

import anyio
import jq

from benchmarks.figures import Figure, Spread, Target
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.settings import load_settings
from jobworkerp_standalone.workflow.expressions.errors import ExpressionError
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.template import compile_template

_INLINE, _HELPER, _LATE = Target(50), Target(250), Target(20)
_SETS: Final[dict[str, tuple[str, Target]]] = {
    "in the daemon": (".n + $step", _INLINE),
    "in a helper": ("reduce .n as $x ($step; . + $x)", _HELPER),
}
_HOSTILE: Final = {
    "endless": "${ last(range(1e15)) }",
    "4 GB": '${ [range(4) | "\\(.)" * 1000000000] }',
    "endless recursion": "${ def f: [f]; f }",
}
_HEARTBEAT_SEC: Final = 0.001


def measure_expressions(rounds: int, calls: int, say: Callable[[str], None]) -> list[Figure]:
    """Evaluate so often, ours and bare jq in turn; then let hostile expressions run beside a heartbeat."""
    return anyio.run(_measure, rounds, calls, say)


async def _measure(rounds: int, calls: int, say: Callable[[str], None]) -> list[Figure]:
    found: list[Figure] = []
    async with anyio.create_task_group() as tasks:
        host = Host(load_settings({"WORKFLOW_EXPRESSION_TIMEOUT_MS": "1000"}), tasks)
        evaluator = host.shared(Evaluator)
        try:
            found += [
                Figure(f"an expression {where}, above jq's own evaluation", "us", spread, target)
                for where, (text, target) in _SETS.items()
                for spread in [await _above_jq(evaluator, text, rounds, calls)]
            ]
            for name, text in _HOSTILE.items():
                late = await _lateness(evaluator, text)
                found.append(Figure(f"longest delay of the loop, {name} expression", "ms", Spread.of([late]), _LATE))
                say(f"hostile: {name}")
        finally:
            await host.aclose()
    return found


async def _above_jq(evaluator: Evaluator, text: str, rounds: int, calls: int) -> Spread:
    template = compile_template({"n": f"${{ {text} }}"})
    bare: Any = cast("Any", jq).compile(f".v as {{$step}} | .d | ({text})")
    scope = Scope({"n": 1, "text": "x" * 50}, {"step": 2})
    given = json.dumps({"d": scope.dot, "v": {"step": 2}})
    await evaluator.value(template, scope)
    differences: list[float] = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(calls):
            await evaluator.value(template, scope)
        ours = time.perf_counter()
        for _ in range(calls):
            bare.input_text(given).all()
        theirs = time.perf_counter()
        differences.append(((ours - began) - (theirs - ours)) / calls * 1e6)
    return Spread.of(differences)


async def _lateness(evaluator: Evaluator, text: str) -> float:
    """Return by how much the loop was late at most while an expression ran."""
    latest = 0.0
    template = compile_template(text)
    async with anyio.create_task_group() as tasks:

        async def beat() -> None:
            nonlocal latest
            while True:
                due = time.perf_counter() + _HEARTBEAT_SEC
                await anyio.sleep(_HEARTBEAT_SEC)
                latest = max(latest, time.perf_counter() - due)

        tasks.start_soon(beat)
        try:
            await evaluator.value(template, Scope())
        except ExpressionError:
            tasks.cancel_scope.cancel()
        else:
            raise AssertionError(f"{text} has a value")
    return latest * 1e3
