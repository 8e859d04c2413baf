"""Expressions that would never end, or would take all memory, in whole jobs: they harm their own task alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import pytest

from jobworkerp_standalone.workflow.expressions.helper import Helper
from tests.support.house import eventually
from tests.workflow.cases import STANDARD
from tests.workflow.stage import Stage, open_stage

HOSTILE = {
    "endless": "${ last(range(1e15)) }",
    "memory": r'${ [range(4) | "\(.)" * 1000000000] }',
    "recursion": "${ def f: [f]; f }",
}
REASONS = {"endless": "it took longer than", "memory": "memory"}
EACH = pytest.mark.parametrize("kind", HOSTILE)
HONEST = {"do": [{"a": {"set": {"next": "${ .n + 1 }", "count": "${ [range(.n)] | length }"}}}]}


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Give a daemon whose expressions have a second."""
    async with open_stage(tmp_path_factory.mktemp("home"), WORKFLOW_EXPRESSION_TIMEOUT_MS="1000") as opened:
        yield opened


@EACH
async def test_it_is_an_error_of_its_task(stage: Stage, kind: str) -> None:
    end = await stage.run({"do": [{"a": {"set": {"x": 1}}}, {"bad": {"set": {"x": HOSTILE[kind]}}}]}, {})
    assert end.status == "Faulted"
    assert (end.error["type"], end.error["status"], end.error["instance"]) == (
        f"{STANDARD}expression",
        400,
        "/do/1/bad/set",
    )
    assert REASONS.get(kind, "") in end.error["detail"]


@EACH
async def test_it_can_be_caught(stage: Stage, kind: str) -> None:
    handler = {"h": {"set": {"type": "${ $error.type }", "at": "${ $error.instance }"}}}
    task = {"try": [{"bad": {"set": {"x": HOSTILE[kind]}}}], "catch": {"do": [handler]}}
    end = await stage.run({"do": [{"t": task}]}, {})
    assert end.output == {"type": f"{STANDARD}expression", "at": "/do/0/t/try/0/bad/set"}
    assert (await stage.run(HONEST, {"n": 3})).output == {"next": 4, "count": 3}


async def test_a_job_that_begins_meanwhile_ends_before_it(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs would not end by themselves; one helper is left."""
    asked, ask = list[str](), Helper.ask

    async def asks(self: Helper, kind: int, program: str, data: Sequence[bytes]) -> bytes:
        asked.append(program)
        return await ask(self, kind, program, data)

    monkeypatch.setattr(Helper, "ask", asks)
    never = {
        "WORKFLOW_EXPRESSION_TIMEOUT_MS": "3600000",
        "WORKFLOW_EXPRESSION_HELPERS": "3",
        "WORKER_DEFAULT_CONCURRENCY": "8",
    }
    async with open_stage(tmp_path_factory.mktemp("home"), keep=False, **never) as stage:
        jobs = [await stage.start({"do": [{"bad": {"set": {"x": HOSTILE["endless"]}}}]}, {}) for _ in range(2)]
        await eventually(lambda: len(asked) == 2)
        assert (await stage.run(HONEST, {"n": 3})).output == {"next": 4, "count": 3}
        assert all(stage.house.daemon.engine.live.get(job_id) is not None for job_id in jobs)
        for job_id in jobs:
            assert await stage.house.delete(job_id)
            assert (await stage.result(job_id)).job_status == "CANCELLED"
