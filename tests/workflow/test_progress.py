"""Events, checkpoints, waiting and going on."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow import progress
from tests.support.house import eventually, refused
from tests.support.patience import PATIENCE_SEC
from tests.workflow.stage import Stage, open_stage

TWO = "do: [{a: {set: {x: 1}}}, {b: {set: {y: 2}}}]"
ASK = """
checkpointing: {enabled: true}
do:
  - ask: {set: {q: name}, then: wait}
  - go: {set: {seen: "${ $q }", got: "${ .q }"}}
"""
_ARGS: Any = message_class("jobworkerp.runner.WorkflowRunArgs")


def told(events: list[Any]) -> list[tuple[str, ...]]:
    """Return what events say, in short."""
    return [_told(each) for each in events]


def _told(each: Any) -> tuple[str, ...]:
    what = each.WhichOneof("what")
    if what != "event":
        return (what,)
    kind = each.event.WhichOneof("event")
    inner = getattr(each.event, kind)
    return (kind, *(getattr(inner, name) for name in ("task_type", "position") if hasattr(inner, name)))


async def test_c110_events_of_every_task(stage: Stage) -> None:
    job_id = await stage.start(TWO, {})
    await stage.result(job_id)
    events = await stage.events(job_id)
    assert told(events) == [
        ("workflow_started",),
        ("task_started", "doTask", "/ROOT"),
        ("task_started", "setTask", "/ROOT/do/0/a"),
        ("task_completed", "setTask", "/ROOT/do/0/a"),
        ("task_started", "setTask", "/ROOT/do/1/b"),
        ("task_completed", "setTask", "/ROOT/do/1/b"),
        ("workflow_ended",),
    ]
    assert [each.sequence for each in events] == list(range(1, len(events) + 1))
    assert all(each.time_ms for each in events)


async def test_events_come_while_the_run_goes_on(stage: Stage) -> None:
    job_id = await stage.start("do: [{a: {set: {x: 1}}}, {b: {wait: {hours: 1}}}]", {})
    async with stage.house.client.open("WorkflowEventService.Watch") as stream:
        request = stage.house.client.request("WorkflowEventService.Watch", None, {"job_id": {"value": job_id}})
        await stream.send_message(request, end=True)
        seen: list[tuple[str, ...]] = []
        while ("task_started", "waitTask", "/ROOT/do/1/b") not in seen:
            seen.append(_told(stage.house.client.reply("WorkflowEventService.Watch", await stream.recv_message())))
        await stage.house.delete(job_id)
        while (data := await stream.recv_message()) is not None:
            seen.append(_told(stage.house.client.reply("WorkflowEventService.Watch", data)))
    assert (await stage.result(job_id)).job_status == "CANCELLED"


async def test_faults_retries_skips_and_items_are_told(stage: Stage) -> None:
    text = """
    do:
      - left: {if: "${ false }", set: {x: 1}}
      - t:
          try: [{bad: {set: {v: '${ error("boom") }'}}}]
          catch: {retry: {delay: PT0S, limit: {attempt: {count: 1}}}, do: [{h: {set: {x: 1}}}]}
      - loop:
          for: {in: "${ [1] }"}
          onError: continue
          do: [{bad: {set: {v: '${ error("item") }'}}}]
    """
    job_id = await stage.start(text, {})
    await stage.result(job_id)
    events = await stage.events(job_id)
    short = told(events)
    assert ("task_completed", "skip_if", "/ROOT/do/0/left") in short
    assert short.count(("task_faulted",)) == 3
    assert short.count(("task_retried",)) == 1
    (failed,) = [each.event.for_item_failed for each in events if each.event.HasField("for_item_failed")]
    assert (failed.index, json.loads(failed.error_payload_json)["item"]) == (0, 1)


async def test_events_of_an_unknown_job(stage: Stage) -> None:
    async with refused(Status.NOT_FOUND, "12345"):
        await stage.events(12345)


async def test_c112_resume_after_a_wait(stage: Stage) -> None:
    job_id = await stage.start(ASK, {}, execution_id="e1")
    end = await stage.result(job_id)
    assert (end.status, end.output) == ("Waiting", {"q": "name"})
    again = await stage.result(await stage.resume(job_id))
    assert (again.status, again.output) == ("Completed", {"seen": "name", "got": "name"})
    assert again.position == "/ROOT/do/1/go"


async def test_a_payload_becomes_the_output_of_the_task_that_waits(stage: Stage) -> None:
    job_id = await stage.start(ASK.replace("checkpointing: {enabled: true}", "metadata: {}"), {})
    assert (await stage.result(job_id)).status == "Waiting"
    again = await stage.result(await stage.resume(job_id, payload='{"q":"ann"}'))
    assert again.output == {"seen": "name", "got": "ann"}


async def test_a_wait_in_nested_lists(stage: Stage) -> None:
    text = """
    do:
      - outer:
          do: [{a: {set: {i: 1}}}, {ask: {set: {i: "${ .i + 1 }"}, then: wait}}]
          output: {as: "${ {o: .i} }"}
      - after: {set: {r: "${ .o }", i: "${ $i }"}}
    """
    job_id = await stage.start(text, {})
    assert (await stage.result(job_id)).output == {"i": 2}
    assert (await stage.events(job_id))[-1].workflow_ended.resumes_at == "/ROOT/do/0/outer"
    again = await stage.result(await stage.resume(job_id, payload='{"i":9}'))
    assert again.output == {"r": 9, "i": 2}


@pytest.mark.parametrize("name", ["t", "catch"])
async def test_a_wait_at_the_end_of_a_handler(stage: Stage, name: str) -> None:
    """The run goes on at the task whose error was handled, whatever it is called."""
    text = f"""
    do:
      - {name}:
          try: [{{bad: {{set: {{v: '${{ error }}'}}}}}}]
          catch: {{do: [{{ask: {{set: {{q: 1}}, then: wait}}}}]}}
          output: {{as: "${{ {{o: .q}} }}"}}
      - after: {{set: {{r: "${{ . }}"}}}}
    """
    job_id = await stage.start(text, {})
    assert (await stage.result(job_id)).status == "Waiting"
    assert (await stage.events(job_id))[-1].workflow_ended.resumes_at == f"/ROOT/do/0/{name}"
    assert (await stage.result(await stage.resume(job_id, payload='{"q":5}'))).output == {"r": {"o": 5}}


async def test_nothing_can_go_on_with_a_run_that_ended_or_is_unknown(stage: Stage) -> None:
    job_id = await stage.start(TWO, {})
    await stage.result(job_id)
    await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
    for known in (job_id, 12345):
        async with refused(Status.NOT_FOUND, str(known)):
            await stage.resume(known)


async def test_a_run_that_goes_on_cannot_be_resumed(stage: Stage) -> None:
    job_id = await stage.start("do: [{a: {wait: {hours: 1}}}]", {})
    async with refused(Status.FAILED_PRECONDITION, str(job_id)):
        await stage.resume(job_id)
    await stage.house.delete(job_id)
    await stage.result(job_id)


async def test_one_job_at_a_time_goes_on_with_a_run(stage: Stage) -> None:
    job_id = await stage.start("do: [{a: {set: {x: 1}, then: wait}}, {b: {wait: {hours: 1}}}]", {}, "kept")
    assert (await stage.result(job_id, "kept")).status == "Waiting"
    await eventually(lambda: stage.house.daemon.engine.live.get(job_id) is None)
    both = await asyncio.gather(stage.resume(job_id), stage.resume(job_id), return_exceptions=True)
    (started,) = [each for each in both if isinstance(each, int)]
    async with refused(Status.FAILED_PRECONDITION, str(started)):
        await stage.resume(job_id)
    with anyio.fail_after(PATIENCE_SEC):
        while not await stage.house.daemon.engine.store.notes(f"job:{started}"):
            pass
    await stage.house.delete(started)
    await stage.result(started, "kept")
    await eventually(lambda: stage.house.daemon.engine.live.get(started) is None)
    async with refused(Status.FAILED_PRECONDITION, f"go on with job {started}"):
        await stage.resume(job_id)
    third = await stage.resume(started)
    await stage.house.delete(third)
    await stage.result(third, "kept")


async def test_a_run_is_not_listed_while_a_job_goes_on_with_it(stage: Stage) -> None:
    text = "do: [{ask: {set: {q: 1}, then: wait}}, {long: {wait: {hours: 1}}}]"
    job_id = await stage.start(text, {})
    await stage.result(job_id)
    assert job_id in await stage.waiting()
    going_on = await stage.resume(job_id)
    assert not {job_id, going_on} & set(await stage.waiting())
    await stage.house.delete(going_on)
    await stage.result(going_on)
    await eventually(lambda: stage.house.daemon.engine.live.get(going_on) is None)
    assert job_id in await stage.waiting(), "somebody may go on with it again"


async def test_the_latest_runs_that_wait_are_listed(stage: Stage) -> None:
    jobs = [await stage.start(ASK, {}) for _ in range(3)]
    for job_id in jobs:
        await stage.result(job_id)
    assert sorted((await stage.waiting())[:3]) == jobs
    assert len(await stage.waiting(limit=2)) == 2
    async with refused(Status.INVALID_ARGUMENT, "limit 0 is outside 1 to 1000"):
        await stage.waiting(limit=0)


async def test_c111_a_checkpoint_of_the_reference(stage: Stage) -> None:
    text = """
    checkpointing: {enabled: true, storage: memory}
    do:
      - a: {set: {x: 1}, checkpoint: true}
      - b: {set: {y: "${ $x + 1 }"}}
    """
    given: dict[str, Any] = {
        "position": "/ROOT/do/0/a",
        "data": {
            "workflow": {"name": "flow", "input": "{}", "context_variables": '{"x":1}'},
            "task": {"input": "{}", "output": '{"x":1}', "context_variables": "{}", "flow_directive": "continue"},
        },
    }
    end = await stage.run(text, {}, execution_id="e1", from_checkpoint=given)
    assert end.output == {"y": 2}
    # what the reference keeps for a task that waited is the task that comes next
    given["data"]["task"]["flow_directive"] = "wait"
    given["position"] = "/ROOT/do/1/b"
    assert (await stage.run(text, {}, execution_id="e7", from_checkpoint=given)).output == {"y": 2}
    alone = await stage.run(text, {}, from_checkpoint=given)
    assert (alone.job_status, "execution_id" in alone.text) == ("OTHER_ERROR", True)


@pytest.mark.parametrize(
    ("place", "word"),
    [
        ("/do/7/none", "has no task there"),
        ("/do/0/t/try/7/none", "has no task there"),
        ("/do/0/t/catch/do/0/h", "a handler of errors"),
        ("/do/1/l/do/0/x", "inside of a loop"),
        ("/do/0/t/try/0/inner/do/0/x", ""),
    ],
)
async def test_where_a_checkpoint_of_the_reference_may_be(stage: Stage, place: str, word: str) -> None:
    """What is wrong with its position is told, and caught by nothing."""
    text = """
    do:
      - t:
          try: [{inner: {do: [{x: {set: {x: 1}}}, {y: {set: {y: "${ .x }"}}}]}}]
          catch: {do: [{h: {set: {handled: true}}}]}
      - l: {for: {in: "${ [1] }"}, do: [{x: {set: {all: "${ . }"}}}]}
    """
    data = {"workflow": {"name": "flow", "input": "{}"}, "task": {"output": '{"x":7}'}}
    given = {"position": f"/ROOT{place}", "data": data}
    end = await stage.run(text, {}, execution_id="e6", from_checkpoint=given)
    if word:
        assert (end.job_status, f"/ROOT{place}" in end.text, word in end.text) == ("OTHER_ERROR", True, True), end.text
    else:
        assert end.output == {"all": {"y": 7}}


@pytest.mark.parametrize("variables", ["[]", "0", '""', "false", "[1]"])
async def test_variables_of_a_checkpoint_are_an_object(stage: Stage, variables: str) -> None:
    state = {"workflow": {"name": "flow", "input": "{}", "context_variables": variables}, "task": {}}
    given = {"position": "/ROOT/do/0/a", "data": state}
    end = await stage.run("do: [{a: {set: {x: 1}}}]", {}, execution_id="e3", from_checkpoint=given)
    assert end.job_status == "OTHER_ERROR"
    assert "from_checkpoint.data.workflow.context_variables must be a JSON object" in end.text
    assert variables in end.text


async def test_a_checkpoint_that_was_kept_is_found_by_execution_id(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "ran"
    text = f"""
    checkpointing: {{enabled: true}}
    do:
      - a: {{run: {{shell: 'echo a >> {file}'}}, checkpoint: true}}
      - b: {{run: {{shell: 'echo b >> {file}'}}, output: {{as: '${{ "b" }}'}}}}
      - c: {{if: "${{ $fail }}", raise: {{error: {{type: 'https://x.org/e', status: 500}}}}}}
    """
    first = await stage.run(text, {}, execution_id="e2", workflow_context={"fail": True})
    assert first.status == "Faulted"
    again = await stage.run(
        text, {}, execution_id="e2", from_checkpoint={"position": "/ROOT/do/0/a"}, workflow_context={"fail": False}
    )
    assert again.status == "Completed", again
    assert ran(file) == ["a", "b", "b"]


async def test_what_is_kept_counts_for_the_task_at_its_own_place_alone(stage: Stage, tmp_path: Path) -> None:
    """The document that goes on may be another one than that of which something was kept."""
    file = tmp_path / "ran"
    end = "{raise: {error: {type: 'https://x.org/e', status: 500}}}"
    head = "checkpointing: {enabled: true}\ndo:\n"
    a, b = (f"  - {name}: {{run: {{shell: 'echo {name} >> {file}'}}, checkpoint: true}}\n" for name in "ab")
    assert (await stage.run(f"{head}{a}{b}  - c: {end}", {}, execution_id="e5")).status == "Faulted"
    place = {"position": "/ROOT/do/1/b"}
    other = f"{head}{a.replace('a', 'x', 1).replace('echo a', 'echo x')}{a}{b}"
    assert (await stage.run(other, {}, execution_id="e5", from_checkpoint=place)).status == "Completed"
    assert ran(file) == ["a", "b", "x", "a", "b"]


async def test_a_run_with_a_name_that_is_cancelled_can_be_gone_on_with(stage: Stage, steps: Path) -> None:
    """What a task did before somebody ended the run is not done again under the same execution_id."""
    first = {"a": {"run": {"shell": f"echo a >> {steps}"}}}

    def text(last: Any) -> dict[str, Any]:
        return {"checkpointing": {"enabled": True}, "do": [first, {"b": last}]}

    slow = {"run": {"shell": f"echo b >> {steps}; exec sleep 1000"}}
    for number in (1, 2):  # the second one goes on with the first
        place: dict[str, Any] = {} if number == 1 else {"from_checkpoint": {"position": "/ROOT/do/0/a"}}
        job_id = await stage.start(text(slow), {}, execution_id="e4", **place)
        await eventually(lambda number=number: steps.exists() and ran(steps).count("b") == number)
        await stage.house.delete(job_id)
        assert (await stage.result(job_id)).job_status == "CANCELLED"
    again = await stage.run(
        text({"set": {"done": True}}), {}, execution_id="e4", from_checkpoint={"position": "/ROOT/do/0/a"}
    )
    assert (again.status, again.output, ran(steps)) == ("Completed", {"done": True}, ["a", "b", "b"]), again.text


async def test_a_later_run_that_has_kept_nothing_hides_no_earlier_one(stage: Stage, steps: Path) -> None:
    first = {"a": {"run": {"shell": f"echo a >> {steps}"}}}

    def text(last: Any) -> dict[str, Any]:
        return {"checkpointing": {"enabled": True}, "do": [first, {"b": last}]}

    assert (await stage.run(text({"set": {"y": 1}}), {}, execution_id="e5")).status == "Completed"
    job_id = await stage.start(text({"wait": {"hours": 1}}), {}, execution_id="e5")
    await eventually(lambda: ran(steps) == ["a", "a"])
    place = {"position": "/ROOT/do/0/a"}
    again = await stage.run(text({"set": {"y": 2}}), {}, execution_id="e5", from_checkpoint=place)
    assert (again.status, ran(steps)) == ("Completed", ["a", "a"]), again.text
    await stage.house.delete(job_id)


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    """Give the file to which tasks write that they ran."""
    return tmp_path / "steps"


def noted(folder: Path, key: str) -> int:
    """Return how many notes of such a key are in the store."""
    with closing(sqlite3.connect(f"file:{folder}/jobs.sqlite3?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT count(*) FROM job_note WHERE key LIKE ?", (key,)).fetchone()[0]


def ran(steps: Path) -> list[str]:
    """Return what tasks wrote down."""
    return steps.read_text().split()


def block(steps: Path, *, stop: bool = True) -> None:
    """Make the task fail that looks for a file, or not any more."""
    file = Path(f"{steps}.stop")
    if stop:
        file.touch()
    else:
        file.unlink()


def noting(steps: Path, *, stop_at: int, count: int) -> dict[str, Any]:
    """Return a workflow of tasks that write down their number; one of them fails while a file is there."""
    tasks: list[dict[str, Any]] = []
    for number in range(count):
        script = f"echo {number} >> {steps}"
        if number == stop_at:
            script = f"test ! -e {steps}.stop || exit 1; {script}"
        shell = {"command": "sh", "args": ["-c", script], "treatNonzeroAsError": True}
        tasks.append({f"t{number}": {"run": {"shell": shell}, "output": {"as": {"n": number}}}})
    return {"do": tasks}


async def test_a_durable_run_that_faulted_begins_again_at_any_task(stage: Stage, steps: Path) -> None:
    block(steps)
    job_id = await stage.start(noting(steps, stop_at=3, count=5), {}, "kept")
    assert (await stage.result(job_id, "kept")).status == "Faulted"
    assert ran(steps) == ["0", "1", "2"]
    block(steps, stop=False)
    again = await stage.result(await stage.resume(job_id), "kept")
    assert (again.status, again.output) == ("Completed", {"n": 4})
    assert ran(steps) == ["0", "1", "2", "3", "4"]
    third = await stage.start(noting(steps, stop_at=9, count=5), {}, "kept")
    await stage.result(third, "kept")


async def test_a_run_begins_again_at_a_position(stage: Stage, steps: Path) -> None:
    block(steps)
    job_id = await stage.start(noting(steps, stop_at=3, count=4), {}, "kept")
    assert (await stage.result(job_id, "kept")).status == "Faulted"
    block(steps, stop=False)
    again = await stage.result(await stage.resume(job_id, from_position="/ROOT/do/1/t1"), "kept")
    assert again.status == "Completed"
    assert ran(steps) == ["0", "1", "2", "1", "2", "3"]


async def test_a_durable_run_goes_on_after_a_stop_of_the_daemon(
    tmp_path: Path, steps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"""
    do:
      - a: {{run: {{shell: 'echo a >> {steps}'}}}}
      - loop:
          for: {{in: "${{ [1,2,3] }}"}}
          do:
            - i: {{run: {{shell: {{command: sh, args: ["-c", "echo i$0 >> {steps}", "${{ $item }}"]}}}}}}
            - w: {{if: "${{ $item == 2 }}", wait: {{hours: 1}}}}
            - s: {{set: {{sum: "${{ ($sum? // 0) + $item }}"}}}}
      - f:
          fork:
            branches:
              - x: {{run: {{shell: 'echo x >> {steps}'}}}}
              - y: {{set: {{y: 1}}}}
      - z: {{set: {{sum: "${{ $sum }}", f: "${{ .[1] }}"}}}}
    """
    async with open_stage(tmp_path) as stage:
        job_id = await stage.start(text, {}, "kept", workflow_context={"sum": 0})
        await eventually(lambda: noted(tmp_path, "%/until") > 0)  # the wait after i2 has begun
    an_hour_later = progress.now_ms() + 3_600_000
    monkeypatch.setattr(progress, "now_ms", lambda: an_hour_later)
    async with open_stage(tmp_path, keep=True) as stage:
        end = await stage.result(job_id, "kept")
        assert end.output == {"sum": 6, "f": {"y": 1}}
        assert ran(steps) == ["a", "i1", "i2", "i3", "x"]


async def test_a_retry_starts_anew(stage: Stage, steps: Path) -> None:
    text = noting(steps, stop_at=99, count=2)
    text["do"].append(
        {
            "last": {
                "run": {
                    "shell": {
                        "command": "sh",
                        "args": ["-c", f"test $(wc -l < {steps}) -ge 4"],
                        "treatNonzeroAsError": True,
                    }
                }
            }
        }
    )
    policy = {"type": 3, "interval": 10, "max_retry": 2}
    await stage.house.worker("twice", 32_769, queue_type=1, retry_policy=policy, broadcast_results=True)
    end = await stage.result(await stage.start(text, {}, "twice"), "twice")
    assert end.status == "Completed"
    assert ran(steps) == ["0", "1", "0", "1"]


async def test_what_a_completed_run_wrote_down_goes_with_it(stage: Stage, steps: Path) -> None:
    job_id = await stage.start(noting(steps, stop_at=99, count=3), {}, "kept")
    await stage.result(job_id, "kept")
    with anyio.fail_after(PATIENCE_SEC):
        while await stage.house.daemon.engine.store.notes(f"job:{job_id}"):
            pass


async def test_a_run_begins_where_it_is_told_to_or_says_that_it_cannot(stage: Stage, steps: Path) -> None:
    """A position that the run had not reached, or that is inside of what has ended, must not lead somewhere else."""
    block(steps)
    text = noting(steps, stop_at=2, count=4)
    inner = noting(steps, stop_at=9, count=2)["do"]
    text["do"][0] = {"t0": {"try": [{"in": {"do": inner}}], "catch": {}}}
    job_id = await stage.start(text, {}, "kept")
    assert (await stage.result(job_id, "kept")).status == "Faulted"
    block(steps, stop=False)
    before = ran(steps)
    for place in ("/ROOT/do/3/t3", "/ROOT/do/0/t0/try/0/in/do/1/t1"):
        end = await stage.result(await stage.resume(job_id, from_position=place), "kept")
        assert end.job_status == "OTHER_ERROR", end
        assert f"cannot begin at {place}: what is kept of the run leads to /ROOT/do/2/t2" in end.text
    assert ran(steps) == before, "nothing ran"
    again = await stage.result(await stage.resume(job_id, from_position="/ROOT/do/2/t2"), "kept")
    assert again.status == "Completed"
    assert ran(steps) == [*before, "2", "3"], "the task that had failed is one that was reached"


async def test_a_run_begins_again_beside_other_branches(stage: Stage, steps: Path) -> None:
    block(steps)
    left, right = noting(steps, stop_at=1, count=2)["do"], noting(steps, stop_at=9, count=1)["do"]
    text = {"do": [{"f": {"fork": {"branches": [{"a": {"do": left}}, {"b": {"do": right}}]}}}]}
    job_id = await stage.start(text, {}, "kept")
    assert (await stage.result(job_id, "kept")).status == "Faulted"
    block(steps, stop=False)
    place = "/ROOT/do/0/f/fork/branches/0/a/do/1/t1"
    assert (await stage.result(await stage.resume(job_id, from_position=place), "kept")).status == "Completed"


@pytest.mark.parametrize(
    ("payload", "why"), [("[" * 100_000, "nested too deeply"), ("NaN", "NaN is no JSON"), ("-1e999", "too large")]
)
async def test_a_payload_that_is_no_json(stage: Stage, payload: str, why: str) -> None:
    job_id = await stage.start(ASK, {})
    await stage.result(job_id)
    async with refused(Status.INVALID_ARGUMENT, why):
        await stage.resume(job_id, payload=payload)


async def test_a_child_that_waits(stage: Stage) -> None:
    """Whoever sees the status of a child can look at it; a bare output that is none yet would be a lie."""
    child: dict[str, Any] = {"do": [{"a": {"set": {"v": 1}, "then": "wait"}}, {"b": {"set": {"w": "${ .p }"}}}]}
    end = await stage.run({"do": [{"c": {"run": {"workflow": {"workflowData": child}}}}]}, {})
    assert (end.status, end.output["status"], end.output["output"]) == ("Completed", "Waiting", '{"v":1}')
    waiting = (await stage.waiting())[0]
    again = await stage.result(await stage.resume(waiting, payload='{"p":3}'))
    assert (again.status, again.output) == ("Completed", {"w": 3})
    await stage.worker("kid", json.dumps(child))
    named = {"namespace": "t", "name": "flow", "version": "1.0.0"}
    end = await stage.run({"do": [{"c": {"run": {"workflow": named}}}]}, {})
    assert (end.status, end.error["title"], end.error["instance"]) == (
        "Faulted",
        "A child workflow waits",
        "/do/0/c/run/workflow",
    )
    assert (await stage.waiting())[0] not in (waiting, end.job_id), "the child can be gone on with"


async def test_a_durable_run_takes_over_all_records_or_none(tmp_path: Path) -> None:
    """A daemon that dies amid that finds what was written, takes over no more, and would lose the payload."""
    text = "do: [{a: {set: {x: 1}}}, {ask: {set: {q: 1}, then: wait}}, {use: {set: {got: '${ .p }'}}}]"
    async with open_stage(tmp_path) as stage:
        live = stage.house.daemon.engine.live
        job_id = await stage.start(text, {}, "kept")
        assert (await stage.result(job_id, "kept")).status == "Waiting"
        await eventually(lambda: live.get(job_id) is None)
        other = f"NEW.run <> 'job:{job_id}' AND NEW.key = '/1'"
        change(
            tmp_path,
            f"CREATE TRIGGER refuse BEFORE INSERT ON job_note WHEN {other} BEGIN SELECT RAISE(ABORT, 'no'); END",
        )
        failed = await stage.resume(job_id, payload='{"p": 7}')
        assert (await stage.result(failed, "kept")).job_status != "SUCCESS"
        assert not await stage.house.daemon.engine.store.notes(f"job:{failed}")
        change(tmp_path, "DROP TRIGGER refuse")
        await eventually(lambda: live.get(failed) is None)
        end = await stage.result(await stage.resume(job_id, payload='{"p": 7}'), "kept")
        assert (end.status, end.output) == ("Completed", {"got": 7})


def change(folder: Path, statement: str) -> None:
    """Change the store from the outside."""
    with closing(sqlite3.connect(folder / "jobs.sqlite3")) as connection:
        connection.execute(statement)
        connection.commit()
