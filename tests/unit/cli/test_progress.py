"""What is shown of a run while it goes on."""

from __future__ import annotations

import time
from typing import Any

import pytest

from jobworkerp_standalone.cli.progress import Progress, TaskLine, TaskState
from jobworkerp_standalone.cli.progress_tree import in_view
from jobworkerp_standalone.pb.jobworkerp.data import (
    ForItemFailedEvent,
    JobCompletedEvent,
    JobId,
    JobStartedEvent,
    StreamingDataEvent,
    TaskCompletedEvent,
    TaskStartedEvent,
    WorkflowEvent,
)
from jobworkerp_standalone.pb.jobworkerp.standalone import WatchedEvent


def started(position: str, time_ms: int = 1) -> WatchedEvent:
    told = TaskStartedEvent(task_type="setTask", task_name=position.rpartition("/")[2], position=position)
    return WatchedEvent(time_ms=time_ms, event=WorkflowEvent(task_started=told))


def completed(position: str, time_ms: int = 1) -> WatchedEvent:
    told = TaskCompletedEvent(task_type="setTask", task_name=position.rpartition("/")[2], position=position)
    return WatchedEvent(time_ms=time_ms, event=WorkflowEvent(task_completed=told))


def test_tasks_stand_below_those_around_them_in_the_order_of_the_document() -> None:
    progress = Progress()
    for position in ("do/10/c", "do/2/b", "do/2/b/try/0/x", "do/2/b/catch/do/0/y", "do/2/bc"):
        progress.take(started(f"/ROOT/{position}"))
    shown = [(line.name, line.depth) for line in progress.lines()]
    assert shown == [("b", 0), ("x", 1), ("y", 1), ("bc", 0), ("c", 0)]


def test_names_of_any_digits_are_in_order() -> None:
    progress = Progress()
    names = ["1", "9", "10", "9" * 5_000, "\u00b2", "b"]
    for name in reversed(names):
        progress.take(started(f"/ROOT/do/0/f/fork/branches/0/{name}"))
    assert sorted(line.name for line in progress.lines()) == sorted(names)
    assert [line.name for line in progress.lines() if line.name.isdecimal()] == names[:4]


def test_a_job_that_streams_is_known_until_it_ends() -> None:
    progress, position = Progress(), "/ROOT/do/0/a"
    line = progress.take(started(position))
    assert line is not None

    def tell(said: str, **event: Any) -> None:
        progress.take(WatchedEvent(time_ms=2, event=WorkflowEvent(**event), last_line=said))

    job = JobId(value=7)
    tell("", streaming_job_started=JobStartedEvent(job_id=job, position=position))
    tell("one", streaming_data=StreamingDataEvent(job_id=job))
    tell("", streaming_job_completed=JobCompletedEvent(job_id=job, position=position))
    tell("two", streaming_data=StreamingDataEvent(job_id=job))
    assert line.output == "one"


def test_a_loop_tells_how_long_each_turn_took_and_all_together() -> None:
    progress = Progress()
    for begin in (100, 200):
        progress.take(started("/ROOT/do/0/a", begin))
        line = progress.take(completed("/ROOT/do/0/a", begin + 30))
        assert line is not None
        assert line.last_took_ms == 30
    assert line.took_ms(999) == 60, "what ran between is not counted"
    progress.take(started("/ROOT/do/0/a", 300))
    assert line.took_ms(305) == 65
    progress.close(TaskState.CANCELLED)
    assert (line.took_ms(999), line.state) == (60, TaskState.CANCELLED)


def test_runs_side_by_side_count_once_and_their_own_times_are_not_guessed() -> None:
    progress = Progress()
    for begin in (100, 110, 120):
        progress.take(started("/ROOT/do/0/a", begin))
    told = [progress.take(completed("/ROOT/do/0/a", end)) for end in (150, 170, 190)]
    line = told[-1]
    assert line is not None
    assert (line.took_ms(999), line.last_took_ms, line.runs, line.ends) == (90, None, 3, 3)
    progress.take(started("/ROOT/do/0/a", 200))
    progress.take(completed("/ROOT/do/0/a", 205))
    assert (line.took_ms(999), line.last_took_ms) == (95, 5), "alone again"


def test_a_loop_says_of_how_many_items_some_failed_once_that_is_known() -> None:
    progress = Progress()
    loop = progress.take(started("/ROOT/do/0/each"))
    assert loop is not None
    for _ in range(2):
        progress.take(started("/ROOT/do/0/each/do/0/a"))
        progress.take(completed("/ROOT/do/0/each/do/0/a"))
    told = ForItemFailedEvent(position=loop.position, error_payload_json='{"error": {"title": "Oh"}}')
    progress.take(WatchedEvent(time_ms=2, event=WorkflowEvent(for_item_failed=told)))
    assert loop.ending == "1 failed: Oh"
    progress.take(completed(loop.position))
    assert loop.ending == "1 of 2 failed: Oh"


def test_many_tasks_cost_little_each() -> None:
    def cost(count: int) -> float:
        progress = Progress()
        began = time.process_time()
        for number in range(count):
            progress.take(started(f"/ROOT/do/{number}/t"))
        return (time.process_time() - began) / count

    assert min(cost(20_000) for _ in range(3)) < 10 * max(cost(1_000) for _ in range(10))


@pytest.mark.parametrize(
    ("running", "room", "shown", "hidden"),
    [
        ([], 10, range(10), 0),
        ([], 4, [7, 8, 9], 7),
        ([9], 4, [7, 8, 9], 7),
        ([0, 5], 4, [3, 4, 5], 7),
        ([0], 4, [0, 1, 2], 7),
        ([3], 0, [3], 9),
    ],
)
def test_what_runs_stays_in_view(running: list[int], room: int, shown: list[int], hidden: int) -> None:
    lines = [TaskLine(str(number), "setTask", "", 0, TaskState.COMPLETED) for number in range(10)]
    for number in running:
        lines[number].state = TaskState.RUNNING
    seen, left_out = in_view(lines, room)
    assert ([int(line.name) for line in seen], left_out) == (list(shown), hidden)
