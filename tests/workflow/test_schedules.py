"""``schedule``: a worker that is made from a document runs by itself."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
import yaml

from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import Job
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.events import abreast, trigger
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.template import Template
from tests.support.house import eventually
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import Stage, document, ended, open_stage

_ARGS: Any = message_class("jobworkerp.runner.CreateWorkflowArgs")


async def create(stage: Stage, name: str, schedule: Any, command: str = "true", **fields: Any) -> str:
    """Make a worker of a document with a schedule; return what was said."""
    text = document({"schedule": schedule, "do": [{"run": {"run": {"shell": {"command": command}}}}]})
    args = _ARGS(workflow_data=text, name=name, **fields)
    reply = await stage.house.enqueue(args.SerializeToString(), worker="flow", using="create")
    return reply.result.data.output.items.decode("utf-8", "replace")


async def worker(stage: Stage, name: str) -> Any:
    """Return a worker as clients see it."""
    return (await stage.house.client.call("WorkerService.FindByName", name=name)).data.data


HEARD = 'do: [{keep: {set: {heard: "${ $workflow.input }"}}}]'


async def create_on(stage: Stage, name: str, on: Any, text: str = HEARD, **options: Any) -> str:
    """Make a worker whose runs events start; return what was said."""
    value = {"schedule": {"on": on}, **yaml.safe_load(text)}
    options = {"queue_type": 0, "response_type": 0, "store_success": True, "store_failure": True, **options}
    args = _ARGS(workflow_data=document(value, name=name.replace("_", "-")), name=name, worker_options=options)
    reply = await stage.house.enqueue(args.SerializeToString(), worker="flow", using="create")
    return reply.result.data.output.items.decode("utf-8", "replace")


async def publish(stage: Stage, *events: tuple[str, str, Any]) -> None:
    """Publish events: id, type and data."""
    texts = [
        json.dumps({"specversion": "1.0", "source": "urn:t", "id": id_, "type": type_, "data": data})
        for id_, type_, data in events
    ]
    await stage.house.client.call("EventService.Publish", events=texts)


async def started(stage: Stage, name: str, count: int) -> list[list[Any]]:
    """Wait for so many stored results of a worker; return what each run heard: pairs of id and data."""
    worker_id = (await stage.house.client.call("WorkerService.FindByName", name=name)).data.id.value
    with anyio.fail_after(PATIENCE_SEC):
        while True:
            found = (await stage.house.client.items("JobResultService.FindList", limit=100)).items
            ends = [ended(each.data, 0) for each in found if each.data.worker_id.value == worker_id]
            if len(ends) >= count:
                return [[(e["id"], e.get("data")) for e in end.output["heard"]] for end in ends]
            await anyio.sleep(0.02)


def until_there(path: Path) -> str:
    """Return a script that waits for a file."""
    return f"until test -e '{path}'; do sleep 0.02; done"


async def lines(path: Path, count: int) -> list[str]:
    """Wait for so many lines in a file."""
    with anyio.fail_after(PATIENCE_SEC):
        while True:
            file = anyio.Path(path)
            found = (await file.read_text()).splitlines() if await file.exists() else []
            if len(found) >= count:
                return found
            await anyio.sleep(0.02)


async def test_every_starts_at_once_and_goes_on(tmp_path: Path) -> None:
    async with open_stage(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50") as stage:
        log = tmp_path / "every"
        await create(stage, "often", {"every": {"milliseconds": 200}}, f"echo x >> {log}")
        assert len(await lines(log, 3)) >= 3
        made = await worker(stage, "often")
        assert (made.periodic_interval, made.periodic_from_end) == (200, False)


async def test_a_schedule_goes_on_after_a_restart_in_a_channel_that_nobody_configured(tmp_path: Path) -> None:
    log = tmp_path / "every"
    async with open_stage(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50") as stage:
        options = {"channel": "nightly"}
        await create(stage, "often", {"every": {"milliseconds": 200}}, f"echo x >> {log}", worker_options=options)
        assert len(await lines(log, 1)) >= 1
    log.unlink()
    async with open_stage(tmp_path, keep=True, JOB_QUEUE_FETCH_INTERVAL="50"):
        assert len(await lines(log, 2)) >= 2


async def test_a_period_that_no_worker_can_have_is_refused(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        for name, schedule in (("every", {"every": "P50D"}), ("after", {"after": "P280000Y"})):
            assert "above 4294967295 ms (49 days)" in await create(stage, name, schedule)
        assert (await stage.house.client.items("WorkerService.FindList")).items, "the list can be read"


async def test_a_worker_whose_first_job_cannot_be_stored_is_not_there_either(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as store:
            store.execute("CREATE TRIGGER full BEFORE INSERT ON job BEGIN SELECT RAISE(ABORT, 'no more jobs'); END")
            assert "the worker cannot be stored" in await create(stage, "often", {"every": {"hours": 1}})
            assert not (await stage.house.client.call("WorkerService.FindByName", name="often")).HasField("data")
            store.execute("DROP TRIGGER full")
        await create(stage, "often", {"every": {"hours": 1}})
        assert (await worker(stage, "often")).periodic_interval == 3_600_000


async def test_after_counts_from_the_end_of_a_run(tmp_path: Path) -> None:
    async with open_stage(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50") as stage:
        log = tmp_path / "after"
        await create(stage, "after", {"after": {"milliseconds": 300}}, f"date +%s.%N >> {log}; sleep 0.4")
        began = [float(line) for line in await lines(log, 3)]
        assert all(later - earlier >= 0.7 for earlier, later in pairwise(began))
        assert (await worker(stage, "after")).periodic_from_end


async def test_cron(stage: Stage) -> None:
    began = time.time() * 1000
    await create(stage, "monthly", {"cron": "0 0 1 * *"})
    assert (await worker(stage, "monthly")).cron == "0 0 1 * *"
    waiting = [each.job for each in stage.house.daemon.engine.live.all() if each.job.recurring]
    rows = await stage.house.daemon.engine.store.of_worker(
        (await stage.house.client.call("WorkerService.FindByName", name="monthly")).data.id.value
    )
    assert [job.run_after_ms > began for job in [*waiting, *rows]] == [True]


async def test_deleting_the_worker_ends_its_schedule(tmp_path: Path) -> None:
    async with open_stage(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50") as stage:
        log = tmp_path / "log"
        await create(stage, "often", {"every": {"milliseconds": 100}}, f"echo x >> {log}")
        await lines(log, 1)
        found = (await stage.house.client.call("WorkerService.FindByName", name="often")).data
        await stage.house.client.call("WorkerService.Delete", value=found.id.value)
        with anyio.fail_after(PATIENCE_SEC):
            while any(  # noqa: ASYNC110 - nothing tells that a job has left
                each.job.recurring for each in stage.house.daemon.engine.live.all()
            ):
                await anyio.sleep(0.02)


async def test_a_document_without_a_schedule_does_not_run_by_itself(stage: Stage) -> None:
    text = document({"do": [{"a": {"set": {"x": 1}}}]})
    args = _ARGS(workflow_data=text, name="plain")
    await stage.house.enqueue(args.SerializeToString(), worker="flow", using="create")
    assert not (await worker(stage, "plain")).periodic_interval


@pytest.mark.parametrize(
    ("schedule", "word"),
    [
        ({"on": {"any": [], "until": False}}, "never start"),
        ({"every": {"milliseconds": 1}}, "periodic_interval"),
    ],
)
async def test_a_schedule_that_a_worker_cannot_have_is_refused(stage: Stage, schedule: Any, word: str) -> None:
    assert word in await create(stage, "never", schedule)
    assert not (await stage.house.client.call("WorkerService.FindByName", name="never")).HasField("data")


async def test_every_runs_whether_or_not_the_last_run_has_ended(tmp_path: Path) -> None:
    async with open_stage(tmp_path, JOB_QUEUE_FETCH_INTERVAL="50") as stage:
        log = tmp_path / "every"
        go_on = tmp_path / "go on"
        await create(stage, "often", {"every": {"milliseconds": 100}}, f"echo x >> {log}; {until_there(go_on)}")
        await lines(log, 2)
        go_on.touch()


async def test_a_name_that_is_taken_is_refused(stage: Stage) -> None:
    await create(stage, "twice", {"cron": "0 0 1 * *"})
    assert "already exists" in await create(stage, "twice", {"cron": "0 0 2 * *"})
    assert (await worker(stage, "twice")).cron == "0 0 1 * *"


# ------------------------------------------------------------ on


async def test_an_event_starts_a_run_with_the_events_as_its_input(stage: Stage) -> None:
    await create_on(stage, "on_one", {"one": {"with": {"type": "on.one", "data": "${ .n > 1 }"}}})
    await publish(stage, ("1", "on.one", {"n": 1}), ("2", "on.other", {"n": 5}), ("3", "on.one", {"n": 2}))
    assert await started(stage, "on_one", 1) == [[("3", {"n": 2})]]


async def test_any_of_several_each_a_run_of_its_own(stage: Stage) -> None:
    await create_on(stage, "on_any", {"any": [{"with": {"type": "on.x"}}, {"with": {"type": "on.y"}}]})
    await publish(stage, ("1", "on.x", 1), ("2", "on.y", 2), ("3", "on.x", 3))
    assert sorted(await started(stage, "on_any", 3)) == [[("1", 1)], [("2", 2)], [("3", 3)]]


async def test_all_of_several_that_belong_together_start_a_run(stage: Stage) -> None:
    same = {"order": {"from": ".data.order"}}
    filters = [{"with": {"type": t}, "correlate": same} for t in ("on.paid", "on.packed")]
    await create_on(stage, "on_all", {"all": filters})
    one, two = {"order": 1}, {"order": 2}
    await publish(stage, ("a", "on.paid", one), ("b", "on.paid", two), ("c", "on.packed", two), ("d", "on.packed", one))
    assert sorted(await started(stage, "on_all", 2)) == [[("a", one), ("d", one)], [("b", two), ("c", two)]]


async def test_all_finds_a_filter_for_each_event_whatever_came_first(stage: Stage) -> None:
    await create_on(stage, "on_each", {"all": [{"with": {"type": r"each\..*"}}, {"with": {"type": "each.a"}}]})
    await publish(stage, ("1", "each.a", 1), ("2", "each.b", 2))
    assert await started(stage, "on_each", 1) == [[("1", 1), ("2", 2)]]


async def test_any_until_enough_came(stage: Stage) -> None:
    meant = [{"with": {"type": "on.many"}}]
    await create_on(stage, "on_until", {"any": meant, "until": "length == 2"})
    await create_on(stage, "on_stop", {"any": meant, "until": {"one": {"with": {"type": "on.stop"}}}})
    await publish(stage, *((str(n), "on.many", n) for n in range(5)), ("s", "on.stop", None), ("t", "on.stop", None))
    assert sorted(await started(stage, "on_until", 2)) == [[("0", 0), ("1", 1)], [("2", 2), ("3", 3)]]
    assert await started(stage, "on_stop", 1) == [[(str(n), n) for n in range(5)]]


async def test_several_runs_at_once(stage: Stage, tmp_path: Path) -> None:
    log, go_on = tmp_path / "log", tmp_path / "go on"
    run = {"shell": {"command": f"echo x >> {log}; {until_there(go_on)}"}}
    text = json.dumps({"do": [{"r": {"run": run}}, {"keep": {"set": {"heard": "${ $workflow.input }"}}}]})
    await create_on(stage, "on_side", {"one": {"with": {"type": "on.side"}}}, text)
    await publish(stage, ("1", "on.side", 1), ("2", "on.side", 2))
    await lines(log, 2)
    go_on.touch()
    assert sorted(await started(stage, "on_side", 2)) == [[("1", 1)], [("2", 2)]]


async def test_an_expression_that_fails_starts_nothing_and_ends_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await create_on(stage, "on_wrong", {"one": {"with": {"type": "on.w", "data": "${ .n > 1 }"}}})
    await publish(stage, ("1", "on.w", "text"), ("2", "on.w", {"n": 2}))
    assert await started(stage, "on_wrong", 1) == [[("2", {"n": 2})]]
    told = "\n".join(each.getMessage() for each in caplog.records)
    assert "event 1 of urn:t does not start worker 'on_wrong'" in told
    assert " at /schedule/on/one/with/data failed" in told


async def test_the_end_of_a_run_starts_another_workflow_but_not_itself(stage: Stage) -> None:
    over = {"type": "io.serverlessworkflow.workflow.completed.v1", "source": "/t/on-(over|first)/1.0.0"}
    await create_on(stage, "on_over", {"one": {"with": over}}, "do: [{k: {set: {heard: []}}}]")
    await create_on(stage, "on_first", {"one": {"with": {"type": "on.first"}}})
    await publish(stage, ("1", "on.first", 1))
    assert await started(stage, "on_over", 1) == [[]]
    await publish(stage, ("2", "on.first", 2))
    assert len(await started(stage, "on_over", 2)) == 2


async def test_deleting_or_changing_the_worker_ends_what_started_it(stage: Stage) -> None:
    bus, before = stage.house.daemon.engine.bus, stage.house.daemon.engine.bus.listeners
    await create_on(stage, "on_gone", {"one": {"with": {"type": "on.gone"}}})
    assert bus.listeners == before + 1
    found = (await stage.house.client.call("WorkerService.FindByName", name="on_gone")).data
    found.data.description = "another"
    await stage.house.client.call("WorkerService.Update", found)
    await eventually(lambda: bus.listeners == before + 1)
    await publish(stage, ("1", "on.gone", 1))
    assert await started(stage, "on_gone", 1) == [[("1", 1)]]
    await stage.house.client.call("WorkerService.Delete", value=found.id.value)
    await eventually(lambda: bus.listeners == before)


async def test_a_correlation_is_computed_once_for_an_event(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    value, seen = Evaluator.value, list[Any]()

    async def noted(self: Evaluator, template: Template, scope: Scope) -> Any:
        if template.raw == ".data.order":
            seen.append(scope.dot)
        return await value(self, template, scope)

    monkeypatch.setattr(Evaluator, "value", noted)
    filters = [{"with": {"type": t}, "correlate": {"order": {"from": ".data.order"}}} for t in ("on.1st", "on.2nd")]
    await create_on(stage, "on_once", {"all": filters})
    await publish(stage, *((str(n), "on.1st", {"order": n}) for n in range(5)), ("5", "on.2nd", {"order": 4}))
    assert await started(stage, "on_once", 1) == [[("4", {"order": 4}), ("5", {"order": 4})]]
    assert [each["id"] for each in seen] == ["0", "1", "2", "3", "4", "5"]


async def test_a_restart_goes_on_with_events_that_start_runs(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        await create_on(stage, "on_again", {"one": {"with": {"type": "on.again"}}})
    async with open_stage(tmp_path, keep=True) as stage:
        await publish(stage, ("1", "on.again", 1))
        assert await started(stage, "on_again", 1) == [[("1", 1)]]


async def test_a_run_that_cannot_be_taken_now_starts_later(tmp_path: Path) -> None:
    async with open_stage(
        tmp_path, WORKER_DEFAULT_CONCURRENCY="1", JOB_QUEUE_CHANNEL_CAPACITY="1", JOB_QUEUE_FULL_WAIT_MS="50"
    ) as stage:
        text = "do: [{w: {wait: {milliseconds: 300}}}, {keep: {set: {heard: '${ $workflow.input }'}}}]"
        await create_on(stage, "on_full", {"one": {"with": {"type": "on.full"}}}, text)
        await publish(stage, *((str(n), "on.full", n) for n in range(5)))
        assert sorted(await started(stage, "on_full", 5)) == [[(str(n), n)] for n in range(5)]


async def test_a_run_is_accepted_before_its_event_is_answered_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the answer knows that a durable run is not lost, should the daemon be killed now."""
    store, gate, asked = stage.house.daemon.engine.store, anyio.Event(), anyio.Event()
    add, answered = store.add, False

    async def held_up(jobs: Sequence[Job], *, held: bool = False) -> None:
        asked.set()
        await gate.wait()
        await add(jobs, held=held)

    async def tell() -> None:
        nonlocal answered
        await publish(stage, ("1", "on.kept", 1))
        answered = True

    await create_on(stage, "on_kept", {"one": {"with": {"type": "on.kept"}}}, queue_type=1)
    monkeypatch.setattr(store, "add", held_up)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tell)
        with anyio.fail_after(PATIENCE_SEC):
            await asked.wait()
        await stage.house.client.call("JobService.Count")
        assert not answered
        gate.set()
    assert await started(stage, "on_kept", 1) == [[("1", 1)]]


async def test_a_run_that_cannot_be_taken_now_holds_up_no_one_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stage.house.daemon.engine.store

    async def refuse(_jobs: Sequence[Job], *, held: bool = False) -> None:
        raise StorageError("the disk is full; this is only a test")

    await create_on(stage, "on_later", {"one": {"with": {"type": "on.later"}}}, queue_type=1)
    with monkeypatch.context() as patch:
        patch.setattr(store, "add", refuse)
        patch.setattr(trigger, "_AGAIN_SEC", 0.01)
        patch.setattr(abreast, "_LONGEST_SEC", PATIENCE_SEC * 2)
        with anyio.fail_after(PATIENCE_SEC):
            await publish(stage, ("1", "on.later", 1))
    assert await started(stage, "on_later", 1) == [[("1", 1)]]


async def test_who_is_deleted_holds_up_no_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = stage.house.daemon.engine.store, anyio.Event()

    async def never(_jobs: Sequence[Job], *, held: bool = False) -> None:
        asked.set()
        await anyio.sleep_forever()

    await create_on(stage, "on_never", {"one": {"with": {"type": "on.never"}}}, queue_type=1)
    worker_id = (await stage.house.client.call("WorkerService.FindByName", name="on_never")).data.id.value
    monkeypatch.setattr(abreast, "_LONGEST_SEC", PATIENCE_SEC * 2)
    with monkeypatch.context() as patch:
        patch.setattr(store, "add", never)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(publish, stage, ("1", "on.never", 1))
            with anyio.fail_after(PATIENCE_SEC):
                await asked.wait()
                await stage.house.client.call("WorkerService.Delete", value=worker_id)
