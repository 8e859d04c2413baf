"""Flow: whatever a document does, a run ends as a plain reading of the document says, in one life or in many."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.workflow.alone import lives, run_alone

NAMES = ("a", "b", "c", "d", "e")
_then = st.sampled_from(["continue", "exit", "end", *NAMES])
_leaf = st.fixed_dictionaries(
    {"set": st.just({"path": "${ (.path // []) + [$task.name] }"})},
    optional={"then": _then, "if": st.sampled_from(["${ (.path | length) < 4 }", "${ true }", "${ false }"])},
)


def _lists(inner: Any) -> Any:
    return st.lists(inner, min_size=1, max_size=4).map(
        lambda tasks: [{name: task} for name, task in zip(NAMES, tasks, strict=False)]
    )


def _known(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the list without directives that name no task of it, or one before: every run ends."""
    names = [next(iter(each)) for each in tasks]
    for at, each in enumerate(tasks):
        task = next(iter(each.values()))
        then = task.get("then")
        if then in NAMES and (then not in names or names.index(then) <= at):
            del task["then"]
    return tasks


_documents = _lists(
    st.one_of(
        _leaf,
        st.builds(lambda tasks: {"do": _known(tasks)}, _lists(_leaf)),
        st.builds(lambda tasks: {"try": _known(tasks), "catch": {}}, _lists(_leaf)),
        st.builds(
            lambda tasks: {"for": {"in": "${ [1, 2] }"}, "do": _known(tasks)},
            _lists(_leaf),
        ),
    )
).map(_known)


def read(tasks: list[dict[str, Any]], path: list[str], ended: list[bool]) -> list[str]:
    """Return the path that a plain reading of the list gives."""
    names = [next(iter(each)) for each in tasks]
    at = 0
    while at < len(tasks):
        name, task = next(iter(tasks[at].items()))
        if not _holds(task, path):
            at += 1
            continue
        path = _after(name, task, path, ended)
        then = task.get("then", "continue")
        if then == "end":
            ended.append(True)
        if ended or then == "exit":
            return path
        at = at + 1 if then == "continue" else names.index(then)
    return path


def _holds(task: dict[str, Any], path: list[str]) -> bool:
    condition = task.get("if", "${ true }")
    return condition == "${ true }" or ("length" in condition and len(path) < 4)


def _after(name: str, task: dict[str, Any], path: list[str], ended: list[bool]) -> list[str]:
    if "set" in task:
        return [*path, name]
    for _ in range(2 if "for" in task else 1):
        if not ended:
            path = read(task.get("do") or task["try"], path, ended)
    return path


@given(tasks=_documents)
def test_a_run_takes_the_way_that_the_document_says(tasks: list[dict[str, Any]]) -> None:
    output = asyncio.run(run_alone({"do": tasks}, {}))
    assert (output or {}).get("path", []) == read(tasks, [], [])


@given(tasks=_documents, deaths=st.lists(st.integers(1, 6), max_size=4))
def test_a_run_that_dies_at_any_time_ends_all_the_same(tasks: list[dict[str, Any]], deaths: list[int]) -> None:
    """Each life dies after so many tasks were written down; the next goes on, and no task that was runs again."""
    expected = read(tasks, [], [])
    outcome = asyncio.run(lives({"do": tasks}, {}, deaths))
    assert (outcome.output or {}).get("path", []) == expected
    assert not outcome.twice
