"""From where ``workflow dev`` goes on with the next version of a file."""

from __future__ import annotations

from typing import Any

import pytest

from jobworkerp_standalone.cli.calls.dev import Version
from jobworkerp_standalone.cli.progress import TaskState
from jobworkerp_standalone.client.workflows import WorkflowOrder


def version(*tasks: dict[str, Any], given: str = "", done: int = 0, **members: Any) -> Version:
    """Return a version of a file with tasks ``t0``, ``t1``..., of which so many have completed."""
    named = [{f"t{number}": task} for number, task in enumerate(tasks)]
    ended = {f"/ROOT/do/{number}/t{number}": TaskState.COMPLETED for number in range(done)}
    return Version(WorkflowOrder(document="", input=given), {**members, "do": named}, {}, (), ended)


A, B, C = ({"set": {"x": number}} for number in range(3))


def test_all_before_the_first_task_that_was_changed_is_left_out() -> None:
    before = version(A, B, C, done=2)
    assert before.go_on_after(version(A, B, A)) == "/ROOT/do/1/t1"
    assert before.go_on_after(version(A, C, C)) == "/ROOT/do/0/t0"
    assert before.go_on_after(version(C, B, C)) is None


@pytest.mark.parametrize("other", [version(A, B, given="1"), version(A, B, input={"from": ".x"})])
def test_another_input_and_other_members_begin_anew(other: Version) -> None:
    assert version(A, B, done=2).go_on_after(other) is None


@pytest.mark.parametrize(
    "task",
    [
        {**A, "then": "t2"},
        {**A, "then": "${ .next }"},
        {"switch": [{"a": {"when": ".x", "then": "t2"}}]},
        {"try": [], "catch": {"then": "t2"}},
    ],
)
def test_where_tasks_name_what_follows_everything_begins_anew(task: dict[str, Any]) -> None:
    assert version(task, B, C, done=2).go_on_after(version(task, B, A)) is None


@pytest.mark.parametrize("task", [{**A, "then": "continue"}, {"switch": [{"a": {"then": "end"}}]}])
def test_directives_that_name_no_task_do_not_matter(task: dict[str, Any]) -> None:
    assert version(task, B, C, done=2).go_on_after(version(task, B, A)) == "/ROOT/do/1/t1"
