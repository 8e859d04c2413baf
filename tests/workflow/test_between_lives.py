"""A durable run that listened when its daemon ended misses nothing that is published before it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from jobworkerp_standalone.jobs.model import JobStatus
from jobworkerp_standalone.workflow.progress import now_ms
from tests.support.house import eventually, refused
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import Ended, Stage, open_stage
from tests.workflow.test_events import event, listen, publish
from tests.workflow.test_progress import change, noted

LONG = "do: [{w: {wait: {hours: 1}}}]"
THREE = listen({"any": [{"with": {"type": "t.a"}}], "until": "length == 3"})


async def begun(folder: Path, document: Any) -> tuple[int, int]:
    """Start a job that holds a slot for long, and one that listens; return both. The daemon ends then."""
    async with open_stage(folder) as stage:
        long = await stage.start(LONG, {}, "kept")
        job_id = await stage.start(document, {}, "kept")
        await eventually(lambda: stage.house.daemon.engine.bus.listeners > 0)
        return long, job_id


def narrow(folder: Path, **settings: str) -> Any:
    """Open the daemon again with a single slot, which the older one of the two jobs takes."""
    return open_stage(folder, keep=True, WORKER_DEFAULT_CONCURRENCY="1", **settings)


def is_waiting(stage: Stage, job_id: int) -> bool:
    """Tell whether a job waits for a slot."""
    live = stage.house.daemon.engine.live.get(job_id)
    return live is not None and live.status is JobStatus.PENDING


async def gone_on(stage: Stage, long: int, job_id: int) -> Ended:
    """Let a job have its slot and return how it ended."""
    await stage.house.delete(long)
    with anyio.fail_after(PATIENCE_SEC):
        return await stage.result(job_id, "kept")


async def test_what_is_published_while_it_waits_for_a_slot_is_heard(tmp_path: Path) -> None:
    long, job_id = await begun(tmp_path, THREE)
    async with narrow(tmp_path) as stage:
        await publish(stage, event("t.a", 1), event("t.b", 2))
        await eventually(lambda: is_waiting(stage, job_id))
        await publish(stage, event("t.a", 3))
        await stage.house.delete(long)
        await eventually(lambda: not is_waiting(stage, job_id))
        await publish(stage, event("t.a", 4))
        with anyio.fail_after(PATIENCE_SEC):
            assert (await stage.result(job_id, "kept")).output == [1, 3, 4]
        assert stage.house.daemon.engine.bus.listeners == 0
        await eventually(lambda: noted(tmp_path, "heard/%") + noted(tmp_path, ":hears") == 0)


async def test_it_is_written_down_before_the_answer_and_outlives_further_restarts(tmp_path: Path) -> None:
    long, job_id = await begun(tmp_path, THREE)
    for number in (1, 2):
        async with narrow(tmp_path) as stage:
            await publish(stage, event("t.a", number))
            assert noted(tmp_path, "heard/%") == number
    async with narrow(tmp_path) as stage:
        await publish(stage, event("t.a", 3))
        assert (await gone_on(stage, long, job_id)).output == [1, 2, 3]


async def test_what_a_run_emits_is_heard_by_one_that_has_not_gone_on(tmp_path: Path) -> None:
    long, job_id = await begun(tmp_path, listen({"one": {"with": {"type": "t.own"}}}))
    async with narrow(tmp_path, WORKER_CHANNELS="side", WORKER_CHANNEL_CONCURRENCIES="1") as stage:
        await stage.house.worker("beside", 32_769, response_type=1, channel="side")
        await stage.run("do: [{e: {emit: {event: {with: {type: t.own, data: 7}}}}}]", {}, "beside")
        assert (await gone_on(stage, long, job_id)).output == [7]


async def test_what_was_heard_before_comes_first(tmp_path: Path) -> None:
    document = {"do": [*listen({"one": {"with": {"type": "t.go"}}})["do"], {"then": THREE["do"][0]["hear"]}]}
    async with open_stage(tmp_path) as stage:
        long = await stage.start(LONG, {}, "kept")
        job_id = await stage.start(document, {}, "kept")
        await eventually(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await publish(stage, event("t.a", 1))
    async with narrow(tmp_path) as stage:
        await publish(stage, event("t.a", 2), event("t.go"), event("t.a", 3))
        assert (await gone_on(stage, long, job_id)).output == [1, 2, 3]


async def test_a_listener_that_was_read_later_than_the_document_misses_nothing_either(tmp_path: Path) -> None:
    ended = {"type": "io.serverlessworkflow.workflow.completed.v1"}
    function = {"do": listen({"one": {"with": ended}}, output={"as": ".[0].output"})["do"]}
    (tmp_path / "f.json").write_text(json.dumps(function))
    call = {"c": {"call": f"file://{tmp_path}/f.json"}}
    async with open_stage(tmp_path, WORKFLOW_ALLOWED_ROOTS=str(tmp_path)) as stage:
        long = await stage.start(LONG, {}, "kept")
        job_id = await stage.start({"do": [call]}, {}, "kept")
        await eventually(lambda: stage.house.daemon.engine.bus.watched)
        await eventually(lambda: noted(tmp_path, ":hears") > 0)
    settings = {"WORKER_CHANNELS": "side", "WORKER_CHANNEL_CONCURRENCIES": "1"}
    async with narrow(tmp_path, WORKFLOW_ALLOWED_ROOTS=str(tmp_path), **settings) as stage:
        await stage.house.worker("beside", 32_769, response_type=1, channel="side")
        await stage.run("do: [{a: {set: {x: 1}}}]", {}, "beside")
        assert (await gone_on(stage, long, job_id)).output == {"x": 1}


async def test_the_latest_are_kept_and_the_log_says_that_others_are_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long, job_id = await begun(tmp_path, listen({"any": [{"with": {"type": "t.a"}}], "until": "length == 2"}))
    async with narrow(tmp_path, WORKFLOW_EVENTS_KEPT="2") as stage:
        await publish(stage, *(event("t.a", number) for number in range(5)))
        assert noted(tmp_path, "heard/%") == 2
        assert (await gone_on(stage, long, job_id)).output == [3, 4]
    said = [each.getMessage() for each in caplog.records if f"job {job_id} " in each.getMessage()]
    assert ["WORKFLOW_EVENTS_KEPT" in each for each in said] == [True]


@pytest.mark.parametrize("held", [True, False])
async def test_nobody_hears_for_a_job_that_was_deleted(tmp_path: Path, held: bool) -> None:
    """While it waits for a slot, or before it is leased."""
    _, job_id = await begun(tmp_path, THREE)
    if not held:
        change(tmp_path, f"UPDATE job SET due_ms = {now_ms() * 2} WHERE id = {job_id}")
    async with narrow(tmp_path) as stage:
        bus, live = stage.house.daemon.engine.bus, stage.house.daemon.engine.live
        await eventually(lambda: len(live) == 1 + held)
        assert bus.listeners == 1
        await publish(stage, event("t.a", 1))
        assert await stage.house.delete(job_id)
        await eventually(lambda: bus.listeners == 0)


async def test_nobody_hears_for_a_job_that_another_daemon_has_taken(tmp_path: Path) -> None:
    _, job_id = await begun(tmp_path, THREE)
    async with narrow(tmp_path) as stage:
        bus = stage.house.daemon.engine.bus
        columns = "id, slot, ip_address, hostname, channels, registered_at_ms, last_heartbeat_ms, lease_until_ms"
        change(
            tmp_path, f"INSERT INTO worker_instance ({columns}) VALUES (5, NULL, '', '', '[]', 0, 0, {now_ms() * 2})"
        )
        change(tmp_path, f"UPDATE job SET owner_id = 5, fence = fence + 1 WHERE id = {job_id}")
        await publish(stage, event("t.a", 1))
        assert (bus.listeners, noted(tmp_path, "heard/%")) == (0, 0)


async def test_nobody_hears_for_a_run_that_will_begin_anew(tmp_path: Path) -> None:
    document = {"do": [*THREE["do"], {"bad": {"raise": {"error": {"type": "https://x.org/e", "status": 500}}}}]}
    async with open_stage(tmp_path) as stage:
        policy = {"type": 3, "interval": 3_600_000, "max_retry": 2}
        await stage.house.worker("again", 32_769, queue_type=1, retry_policy=policy)
        await stage.start(document, {}, "again")
        await eventually(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await publish(stage, *(event("t.a", number) for number in range(3)))
        await eventually(lambda: stage.house.daemon.engine.bus.listeners == 0)
        await eventually(lambda: len(stage.house.daemon.engine.live) == 0)
    async with open_stage(tmp_path, keep=True) as stage:
        assert stage.house.daemon.engine.bus.listeners == 0
        assert await stage.house.daemon.engine.store.count() == 1


async def test_an_event_that_no_run_hears_any_more_is_not_accepted(tmp_path: Path) -> None:
    """A stop ends the runs before it ends the calls."""
    async with open_stage(tmp_path) as stage:
        await stage.start(THREE, {}, "kept")
        await eventually(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await stage.house.daemon.stop()
        async with refused(Status.UNAVAILABLE, "stopping"):
            await publish(stage, event("t.a", 1))
