"""What a picture of a document shows: boxes in lanes, and the ways between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.graph.labels import condition, describe
from jobworkerp_standalone.workflow.model.document import Workflow
from jobworkerp_standalone.workflow.model.tasks import (
    DoTask,
    ForkTask,
    ForTask,
    ListenTask,
    RaiseTask,
    SwitchTask,
    Task,
    TaskList,
    TryTask,
    kind_of,
)
from jobworkerp_standalone.workflow.model.values import Directive, Goto, Then

Way = Literal["flow", "jump", "error"]
_ERRORS: Final = "on error"


@dataclass(slots=True)
class Box:
    """A task, or where a list ends early. With lanes it is a group."""

    id: str
    kind: str
    """``set``, ``call``, ...; ``start``, ``stop``, or ``mark`` for the end of a way (exit, end, wait)."""
    title: str
    details: list[str] = field(default_factory=list[str])
    lanes: list[Lane] = field(default_factory=list["Lane"])
    edges: list[Edge] = field(default_factory=list["Edge"])
    """Between its lanes."""


@dataclass(slots=True)
class Edge:
    """A way from one box to another."""

    source: str
    target: str
    label: str = ""
    way: Way = "flow"


@dataclass(slots=True)
class Lane:
    """Boxes one below the other, and the ways between them."""

    title: str = ""
    boxes: list[Box] = field(default_factory=list[Box])
    marks: dict[str, list[Box]] = field(default_factory=dict[str, "list[Box]"])
    """Beside a box: where ways that start there end."""
    edges: list[Edge] = field(default_factory=list[Edge])


def outline(document: Workflow) -> Lane:
    """Return the lane of the whole document, from its start to its end."""
    ids = (f"n{number}" for number in range(10**9))
    lane = _lane(document.do, ids, "")
    first = lane.boxes[0].id
    start, stop = Box("start", "start", document.name), Box("stop", "stop", "end")
    for edge in lane.edges:
        edge.target = edge.target or stop.id
    lane.edges.insert(0, Edge(start.id, first))
    lane.boxes = [start, *lane.boxes, stop]
    return lane


def _lane(tasks: TaskList, ids: Iterator[str], title: str) -> Lane:
    """Return a lane; ways that leave it at its end have an empty target."""
    lane = Lane(title, [_box(task, ids) for task in tasks.tasks])
    for place, task in enumerate(tasks.tasks):
        source = lane.boxes[place]
        after = lane.boxes[place + 1].id if place + 1 < len(lane.boxes) else ""
        for then, label in _ways(task):
            lane.edges.append(_edge(lane, tasks, source, after, then, label, ids))
    return lane


def _ways(task: Task) -> Iterator[tuple[Then | None, str]]:
    if isinstance(task, SwitchTask):
        for case in task.cases:
            yield case.then, f"{case.name}: {condition(case.when)}" if case.when else case.name
        if all(case.when is not None for case in task.cases):
            yield task.then, "otherwise"
        return
    if not isinstance(task, RaiseTask):
        yield task.then, ""
    if isinstance(task, TryTask) and task.catch.then is not None:
        yield task.catch.then, _ERRORS
    if task.if_ is not None and (isinstance(task, RaiseTask) or task.then not in {None, Directive.CONTINUE}):
        yield None, "skipped"


def _edge(
    lane: Lane, tasks: TaskList, source: Box, after: str, then: Then | None, label: str, ids: Iterator[str]
) -> Edge:
    if isinstance(then, Goto):
        target = lane.boxes[tasks.index[then.name]].id
        return Edge(source.id, target, label, "flow" if target == after else "jump")
    if then is None or then is Directive.CONTINUE:
        return Edge(source.id, after, label)
    word = condition(then) if isinstance(then, Template) else then.value
    if word == Directive.WAIT:
        label = f"{label} wait".strip()
        return Edge(source.id, after, label)
    beside = lane.marks.setdefault(source.id, [])
    mark = next((each for each in beside if each.title == word), None)
    if mark is None:
        mark = Box(next(ids), "mark", word)
        beside.append(mark)
    return Edge(source.id, mark.id, label)


def _box(task: Task, ids: Iterator[str]) -> Box:
    box = Box(next(ids), kind_of(task), task.name, describe(task))
    if isinstance(task, ForkTask):
        for branch in task.branches.tasks:
            alone = TaskList(origin=branch.origin, tasks=(branch,), index={branch.name: 0})
            box.lanes.append(_lane(alone, ids, ""))
    elif isinstance(task, TryTask):
        _try(box, task, ids)
    elif isinstance(task, DoTask | ForTask):
        box.lanes.append(_lane(task.do, ids, ""))
    elif isinstance(task, ListenTask) and task.foreach is not None and task.foreach.do is not None:
        box.lanes.append(_lane(task.foreach.do, ids, "each event"))
    for lane in box.lanes:
        lane.edges = [edge for edge in lane.edges if edge.target]
    return box


def _try(box: Box, task: TryTask, ids: Iterator[str]) -> None:
    box.lanes.append(_lane(task.try_, ids, "try"))
    if task.catch.do is not None:
        box.lanes.append(_lane(task.catch.do, ids, "catch"))
        if box.lanes[0].boxes:
            box.edges.append(Edge(box.lanes[0].boxes[-1].id, box.lanes[1].boxes[0].id, _ERRORS, "error"))
