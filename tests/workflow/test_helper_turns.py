"""Runs share the helper processes of expressions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from jobworkerp_standalone.workflow.expressions.helper import Helper
from jobworkerp_standalone.workflow.expressions.helpers import Helpers
from tests.support.house import eventually
from tests.workflow.stage import open_stage


async def test_a_run_with_many_expressions_keeps_no_other_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run has one turn at the helpers before any has another."""
    wanted, evaluated, go_on = list[str](), list[str](), anyio.Event()
    want, evaluate = Helpers.ask, Helper.ask

    async def wants(self: Helpers, kind: int, program: str, data: Sequence[bytes]) -> bytes:
        wanted.append(program)
        return await want(self, kind, program, data)

    async def evaluates(self: Helper, kind: int, program: str, data: Sequence[bytes]) -> bytes:
        evaluated.append(program)
        await go_on.wait()
        return await evaluate(self, kind, program, data)

    monkeypatch.setattr(Helpers, "ask", wants)
    monkeypatch.setattr(Helper, "ask", evaluates)
    each = {"for": {"in": "${ . }", "each": "n"}, "inParallel": True}
    many = {"do": [{"f": {**each, "do": [{"s": {"set": {"many": "${ [range($n)] | length }"}}}]}}]}
    few = {"do": [{"s": {"set": {"few": "${ [range(5)] | length }"}}}]}
    async with open_stage(tmp_path, WORKFLOW_EXPRESSION_HELPERS="1") as stage:
        jobs = [await stage.start(many, list(range(20)))]
        await eventually(lambda: len(wanted) == 20)
        jobs.append(await stage.start(few, {}))
        await eventually(lambda: len(wanted) == 21)
        go_on.set()
        ends = [await stage.result(job_id) for job_id in jobs]
    assert [end.status for end in ends] == ["Completed"] * 2
    assert ["range(5)" in program for program in evaluated].index(True) == 2
