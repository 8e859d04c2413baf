"""Tasks, of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypedDict

from jobworkerp_standalone.jobs.cloud_events import attribute_problem
from jobworkerp_standalone.workflow.decode.calls import call
from jobworkerp_standalone.workflow.decode.cursor import At, Fields
from jobworkerp_standalone.workflow.decode.events import IN_WITH, consumption
from jobworkerp_standalone.workflow.decode.flow import check_list, warn_waits
from jobworkerp_standalone.workflow.decode.mistakes import of_member
from jobworkerp_standalone.workflow.decode.names import Names
from jobworkerp_standalone.workflow.decode.run_forms import FORMS, run
from jobworkerp_standalone.workflow.decode.values import (
    error_filter,
    error_of,
    flag,
    input_of,
    output_of,
    retry,
    then,
    timeout,
)
from jobworkerp_standalone.workflow.decode.variables import BUILT_IN
from jobworkerp_standalone.workflow.errors import ErrorFilter
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.events import interest_of
from jobworkerp_standalone.workflow.model.run_forms import RunScript
from jobworkerp_standalone.workflow.model.tasks import (
    CallTask,
    Case,
    Catch,
    DoTask,
    EmitTask,
    Foreach,
    ForkTask,
    ForTask,
    ListenTask,
    RaiseTask,
    RunTask,
    SetTask,
    SwitchTask,
    Task,
    TaskList,
    TryTask,
    WaitTask,
)
from jobworkerp_standalone.workflow.model.values import Input, Origin, Output, Then, Timeout
from jobworkerp_standalone.workflow.problems import did_you_mean

_COMMON: Final = ("if", "input", "output", "export", "timeout", "then", "metadata", "checkpoint")
_MEMBERS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "call": ((), ("with",)),
    "emit": ((), ()),
    "for": (("do",), ("while", "inParallel", "onError")),
    "fork": ((), ()),
    "listen": ((), ("foreach",)),
    "raise": ((), ()),
    "run": ((), ("useStreaming",)),
    "set": ((), ()),
    "switch": ((), ()),
    "try": (("catch",), ()),
    "wait": ((), ()),
    "do": ((), ()),
}
"""Each kind's keyword, with what must and what may stand beside it."""
_INSIDE: Final = frozenset({*_COMMON, *_MEMBERS, *(key for both in _MEMBERS.values() for keys in both for key in keys)})
_LEFT_OUT: Final = {
    "sequentially": "it is called 'do'",
    "concurrently": "use fork with branches",
    "compete": "it stands inside of fork",
    "branches": "it stands inside of fork",
    "retry": "it stands inside of catch",
    "catch": "it goes with 'try', which has the tasks whose errors are caught",
    "return": "it stands inside of run",
    "await": "it stands inside of run",
    **dict.fromkeys(FORMS, "it stands inside of run"),
}
_PACKAGES: Final = ("python.packages", "python.requirements_url")
_TEXTS: Final = ("source", "type")
"""Attributes of an event that are text and not empty, where they are given."""
_ON_ERROR: Final[dict[str, Literal["break", "continue"]]] = {"break": "break", "continue": "continue"}
_READS: Final[dict[str, Literal["data", "envelope", "raw"]]] = {"data": "data", "envelope": "envelope", "raw": "raw"}


class Shared(TypedDict):
    """What every task has."""

    name: str
    origin: Origin
    definition: Mapping[str, Any]
    if_: Template | None
    input: Input | None
    output: Output | None
    export: Output | None
    timeout: Timeout | None
    then: Then | None
    metadata: Mapping[str, Any]
    checkpoint: bool


def task_list(at: At, names: Names, *, branches: bool = False, least: int = 1) -> TaskList:
    """Return a list of named tasks; in ``branches`` they run side by side."""
    tasks: list[Task] = []
    index: dict[str, int] = {}
    for item in at.items(least=least):
        named = item.single("task", _INSIDE)
        if named is None:
            continue
        name, inner = named
        if not name.strip():
            inner.misnamed("the name of the task is empty", "give it a name")
        read = task(name, inner, names)
        if name in index:
            first = tasks[index[name]].origin
            where = f"; first on line {first.line}" if first.line else ""
            inner.misnamed(f"the task '{name}' is there twice in this list{where}", "rename one of both")
            continue
        index[name] = len(tasks)
        tasks.append(read)
    found = TaskList(origin=at.origin, tasks=tuple(tasks), index=index)
    check_list(found, at, branches=branches)
    return found


def task(name: str, at: At, names: Names) -> Task:
    """Return one task."""
    kind = _kind(at)
    if kind is None:
        return WaitTask(**_shared(name, at, Fields(at, {}), names), duration=0)
    required, optional = _MEMBERS[kind]
    found = at.fields((*_COMMON, *optional), (kind, *required), hints=_hints(kind))
    return _KINDS[kind](found, _shared(name, at, found, names), names)


def _hints(kind: str) -> dict[str, str]:
    return {**_LEFT_OUT, **({"with": "it goes with 'call'"} if kind != "call" else {})}


def _kind(at: At) -> str | None:
    """Return the kind of a task by its keyword. ``for`` has a ``do`` of its own."""
    members = at.node.members
    name = at.pointer.rpartition("/")[2]
    unnamed = f"give the task a name: '- some-name: {{{name}: ...}}'" if name in _MEMBERS else None
    if members is None:
        at.must_be("an object: a task", unnamed)
        return None
    found = [kind for kind in _MEMBERS if kind in members]
    if "for" in found and "do" in found:
        found.remove("do")
    if len(found) == 1:
        return found[0]
    if found:
        names = " and ".join(f"'{kind}'" for kind in found)
        at.wrong(f"the task is of {len(found)} kinds at once: {names}", "make a task of each")
        return None
    close = next((text for key in members if key not in _COMMON and (text := did_you_mean(key, _MEMBERS))), None)
    said = next((f"'{key}': {_LEFT_OUT[key]}" for key in members if key in _LEFT_OUT), None)
    at.wrong("the task has no kind", said or close or unnamed or f"give it one of {', '.join(sorted(_MEMBERS))}")
    return None


def _shared(name: str, at: At, found: Fields, names: Names) -> Shared:
    return Shared(
        name=name,
        origin=at.origin,
        definition=at.value if at.is_object else {},
        if_=found.get("if", At.condition),
        input=found.get("input", lambda each: input_of(each, names)),
        output=found.get("output", lambda each: output_of(each, names)),
        export=found.get("export", lambda each: output_of(each, names)),
        timeout=found.get("timeout", lambda each: timeout(each, names)),
        then=found.get("then", then),
        metadata=found.get("metadata", mapping, {}),
        checkpoint=flag(found, "checkpoint"),
    )


def mapping(at: At) -> Mapping[str, Any]:
    """Return an object as it is written."""
    if not at.is_object:
        at.must_be("an object")
        return {}
    return at.value


def _do(found: Fields, shared: Shared, names: Names) -> Task:
    return DoTask(**shared, do=found.need("do", lambda each: task_list(each, names)))


def _for(found: Fields, shared: Shared, names: Names) -> Task:
    hints = {key: f"'{key}' stands beside 'for', not inside of it" for key in ("onError", "while", "do", "inParallel")}
    loop = found.need("for", lambda each: each.fields(("each", "at"), ("in",), hints=hints))
    parallel = found.get("inParallel", _parallel, (False, None))
    each, at = loop.get("each", variable, "item"), loop.get("at", variable, "index")
    if each == at:
        loop.at.wrong(f"the item and its index have the same name '{each}'", "rename one of both")
    return ForTask(
        **shared,
        each=each,
        at=at,
        in_=loop.need("in", _collection),
        while_=found.get("while", At.condition),
        parallel=parallel[0],
        limit=parallel[1],
        on_error=found.word("onError", _ON_ERROR, "break"),
        do=found.need("do", lambda each: body(each, names, "a loop")),
    )


def body(at: At, names: Names, what: str) -> TaskList:
    """Return a list inside of which a run cannot wait."""
    body = task_list(at, names)
    warn_waits(body, at, what)
    return body


def _collection(at: At) -> Template:
    """Return the template of ``for.in``: an expression, or the array itself."""
    return at.template() if at.is_array else at.condition()


def _parallel(at: At) -> tuple[bool, int | None]:
    if isinstance(at.value, bool):
        return at.value, None
    return True, at.integer(1, 10_000)


def variable(at: At) -> str:
    """Return the name of a variable; a leading ``$`` is left out."""
    name = at.string().removeprefix("$")
    if name and not name.isidentifier():
        at.wrong(f"'{name}' cannot be the name of a variable", "use letters, digits and _, and begin with a letter")
    if name in BUILT_IN:
        at.warn(f"${name} is a variable of the engine, which hides this one", "choose another name")
    return name


def _fork(found: Fields, shared: Shared, names: Names) -> Task:
    fork = found.need("fork", lambda each: each.fields(("compete",), ("branches",)))
    branches = fork.need("branches", lambda each: task_list(each, names, branches=True))
    return ForkTask(**shared, branches=branches, compete=flag(fork, "compete"))


def _switch(found: Fields, shared: Shared, names: Names) -> Task:
    del names
    cases: list[Case] = []
    for item in found.need("switch", lambda each: each.items(least=1)):
        named = item.single("case", ("when", "then"))
        if named is None:
            continue
        name, inner = named
        fields = inner.fields(("when",), ("then",))
        if any(case.name == name for case in cases):
            inner.misnamed(f"the case '{name}' is there twice", "rename one of both")
        default = next((case.name for case in cases if case.when is None), None)
        if default is not None and "when" not in fields:
            inner.misnamed(
                f"the case '{name}' has no 'when', and neither has '{default}': only one case may be the default",
                f"give '{name}' a condition",
            )
        cases.append(
            Case(name=name, origin=inner.origin, then=fields.need("then", then), when=fields.get("when", At.condition))
        )
    return SwitchTask(**shared, cases=tuple(cases))


def _try(found: Fields, shared: Shared, names: Names) -> Task:
    return TryTask(
        **shared,
        try_=found.need("try", lambda each: task_list(each, names, least=0)),
        catch=found.need("catch", lambda each: _catch(each, names)),
    )


def _catch(at: At, names: Names) -> Catch:
    known = ("errors", "as", "when", "exceptWhen", "retry", "do", "then")
    found = at.fields(known, hints={"with": "it stands in errors"})
    errors = found.get("errors", lambda each: each.fields(("with",)))
    return Catch(
        origin=at.origin,
        errors=errors.get("with", error_filter, ErrorFilter()) if errors else ErrorFilter(),
        as_=found.get("as", variable, "error"),
        when=found.get("when", At.condition),
        except_when=found.get("exceptWhen", At.condition),
        retry=found.get("retry", lambda each: retry(each, names)),
        do=found.get("do", lambda each: task_list(each, names)),
        then=found.get("then", then),
    )


def _set(found: Fields, shared: Shared, names: Names) -> Task:
    del names
    return SetTask(**shared, set=found.need("set", _set_values))


def _set_values(at: At) -> Template:
    if at.value == {}:
        at.wrong("'set' is empty", "give it at least one member")
    for key, inner in at.members() if at.is_object and not at.notes.loose else ():
        if isinstance(inner.value, str) and (remark := of_member(key, inner.value)) is not None:
            inner.warn(*remark)
    return at.object_template()


def _raise(found: Fields, shared: Shared, names: Names) -> Task:
    inner = found.need("raise", lambda each: each.fields((), ("error",)))
    return RaiseTask(**shared, error=inner.need("error", lambda each: error_of(each, names)))


def _wait(found: Fields, shared: Shared, names: Names) -> Task:
    del names
    return WaitTask(**shared, duration=found.need("wait", At.duration))


def _emit(found: Fields, shared: Shared, names: Names) -> Task:
    del names
    emit = found.need("emit", lambda each: each.fields((), ("event",)))
    event = emit.need("event", lambda each: each.fields((), ("with",), hints=IN_WITH))
    return EmitTask(**shared, event=event.need("with", _event))


def _event(at: At) -> Template:
    if not at.is_expression:
        for key, inner in at.members():
            before = len(at.notes.problems)
            if key in _TEXTS:
                inner.text_template()
            evaluated = inner.is_expression or at.notes.loose
            if evaluated or key == "data" or inner.value is None or len(at.notes.problems) > before:
                continue
            if (problem := attribute_problem(key, inner.value)) is not None:
                inner.wrong(problem)
        at.fields(at.node.members or (), ("type",))
    return at.template()


def _listen(found: Fields, shared: Shared, names: Names) -> Task:
    listen = found.need("listen", lambda each: each.fields(("read",), ("to",)))
    to = listen.need("to", consumption)
    if to:
        names.hears(interest_of(to))
    if to and to.forever and "foreach" not in found:
        found.at.warn("nothing is ever done with what this task hears", "add 'foreach', or another 'until'")
    return ListenTask(
        **shared,
        to=to,
        read=listen.word("read", _READS, "data"),
        foreach=found.get("foreach", lambda each: _foreach(each, names)),
    )


def _foreach(at: At, names: Names) -> Foreach:
    found = at.fields(("item", "at", "do", "output", "export"))
    return Foreach(
        item=found.get("item", variable, "item"),
        at=found.get("at", variable, "index"),
        do=found.get("do", lambda each: body(each, names, "a foreach")),
        output=found.get("output", lambda each: output_of(each, names)),
        export=found.get("export", lambda each: output_of(each, names)),
    )


def _call(found: Fields, shared: Shared, names: Names) -> Task:
    kind = found.of("call") or found.at
    return CallTask(**shared, call=call(kind, found.of("with"), found.at, names))


def _run(found: Fields, shared: Shared, names: Names) -> Task:
    streaming = flag(found, "useStreaming")
    settings = found.need("run", lambda each: run(each, names))
    if streaming and not settings["await_"]:
        found.at.wrong("'useStreaming' needs a job that is waited for", "leave 'await: false' out")
    metadata = found.of("metadata")
    if metadata is not None and isinstance(settings["run"], RunScript) and set(_PACKAGES) <= shared["metadata"].keys():
        metadata.find(f"/{_PACKAGES[1]}").misnamed(f"'{_PACKAGES[0]}' is there too: give one of both only")
    return RunTask(**shared, **settings, streaming=streaming)


_KINDS: Final[Mapping[str, Callable[[Fields, Shared, Names], Task]]] = {
    "call": _call,
    "do": _do,
    "emit": _emit,
    "for": _for,
    "fork": _fork,
    "listen": _listen,
    "raise": _raise,
    "run": _run,
    "set": _set,
    "switch": _switch,
    "try": _try,
    "wait": _wait,
}
