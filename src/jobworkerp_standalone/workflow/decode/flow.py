"""Where a list of tasks goes: targets that are not there, tasks that are never reached."""

from __future__ import annotations

from collections.abc import Iterator

from jobworkerp_standalone.workflow.decode.cursor import At
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.tasks import DoTask, RaiseTask, SwitchTask, Task, TaskList, TryTask, lists_in
from jobworkerp_standalone.workflow.model.values import Directive, Goto, Then
from jobworkerp_standalone.workflow.problems import did_you_mean

_WORDS = tuple(each.value for each in Directive)


def check_list(tasks: TaskList, at: At, *, branches: bool) -> None:
    """Note what is wrong with the flow of a list that was just read."""
    before = len(at.notes.problems)
    for task in tasks.tasks:
        _check_name(task, at)
        for then, where in _directives(task, at):
            if isinstance(then, Goto):
                _check_target(then, where, tasks, branches=branches)
    for where in _waits(tasks, at) if branches else ():
        where.wrong(
            "a run cannot wait in a branch of a fork: it would stop the others in the middle", "wait after the fork"
        )
    if not branches and len(at.notes.problems) == before:
        _warn_unreached(tasks, at)


def _check_name(task: Task, at: At) -> None:
    if task.name in _WORDS:
        _place(task, at).warn(
            f"no 'then' can name the task '{task.name}': the word has a meaning of its own", "rename the task"
        )


def _place(task: Task, at: At) -> At:
    return at.find(task.origin.pointer.removeprefix(at.pointer))


def _directives(task: Task, at: At) -> Iterator[tuple[Then, At]]:
    place = _place(task, at)
    if task.then is not None:
        yield task.then, place.find("/then")
    if isinstance(task, SwitchTask):
        for case in task.cases:
            yield case.then, at.find(f"{case.origin.pointer.removeprefix(at.pointer)}/then")
    if isinstance(task, TryTask) and task.catch.then is not None:
        yield task.catch.then, place.find("/catch/then")


def _check_target(then: Goto, where: At, tasks: TaskList, *, branches: bool) -> None:
    if not then.name:
        return
    if branches:
        where.wrong(f"a branch cannot go to '{then.name}': branches run side by side", "use one of continue, exit, end")
    elif then.name not in tasks.index:
        known = [*tasks.index, *_WORDS]
        where.wrong(
            f"there is no task '{then.name}' in this list",
            did_you_mean(then.name, known) or f"'then' may be {', '.join(known)}",
        )


def _warn_unreached(tasks: TaskList, at: At) -> None:
    reached: set[int] = set()
    pending = [0]
    while pending:
        place = pending.pop()
        if place in reached or place >= len(tasks.tasks):
            continue
        reached.add(place)
        following = _following(place, tasks)
        if following is None:
            return
        pending.extend(following)
    for place, task in enumerate(tasks.tasks):
        if place not in reached:
            _place(task, at).warn(f"the task '{task.name}' is never reached")


def _following(place: int, tasks: TaskList) -> list[int] | None:
    """Return which tasks may follow one; None is any of them."""
    task = tasks.tasks[place]
    then: list[Then] = [] if task.then is None else [task.then]
    found: list[int] = [place + 1] if task.if_ is not None else []
    if isinstance(task, RaiseTask):
        return found
    if isinstance(task, SwitchTask):
        default = any(case.when is None for case in task.cases)
        found += [] if default or then else [place + 1]
        then = [case.then for case in task.cases] + ([] if default else then)
    elif not then:
        found.append(place + 1)
    if isinstance(task, TryTask) and task.catch.then is not None:
        then.append(task.catch.then)
    for each in then:
        if isinstance(each, Template):
            return None
        if isinstance(each, Goto):
            found.append(tasks.index.get(each.name, place + 1))
        elif each in {Directive.CONTINUE, Directive.WAIT}:
            found.append(place + 1)
    return found


def warn_waits_in_function(task: Task, at: At) -> None:
    """Warn about ``then: wait`` in the lists of a function, which faults when it is reached."""
    for inner in _inner_lists(task):
        warn_waits(inner, _list_place(inner, at), "a function")


def warn_waits(body: TaskList, at: At, what: str) -> None:
    """Warn about ``then: wait`` in a list inside of which a run cannot wait: it faults when it is reached."""
    for where in _waits(body, at):
        where.warn(f"'then: wait' in {what} faults when it is reached", f"wait after the {what.partition(' ')[2]}")


def warn_last_wait(tasks: TaskList, at: At) -> None:
    """Warn about ``then: wait`` of the last task of a workflow, behind which there is nothing to go on with."""
    for then, where in _directives(tasks.tasks[-1], at) if tasks.tasks else ():
        if then is Directive.WAIT:
            where.warn("the run does not wait after its last task, it completes", "add a task that takes the answer")


def _waits(body: TaskList, at: At) -> Iterator[At]:
    """Yield each ``then: wait`` of a list and those inside of its tasks."""
    for task in body.tasks:
        for then, where in _directives(task, at):
            if then is Directive.WAIT:
                yield where
        for inner in _inner_lists(task):
            yield from _waits(inner, _list_place(inner, at))


def _list_place(tasks: TaskList, at: At) -> At:
    return at.find(tasks.origin.pointer.removeprefix(at.pointer))


def _inner_lists(task: Task) -> Iterator[TaskList]:
    """Yield the lists that belong to one task, but loops and branches of forks: those were looked at already."""
    if isinstance(task, (DoTask, TryTask)):
        yield from lists_in(task)
