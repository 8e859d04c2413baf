"""The whole document."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from jobworkerp_standalone.jobs.cron import BadCron, cron_schedule
from jobworkerp_standalone.workflow.decode.auth import policy
from jobworkerp_standalone.workflow.decode.calls import is_callable
from jobworkerp_standalone.workflow.decode.cursor import At, Fields
from jobworkerp_standalone.workflow.decode.events import consumption
from jobworkerp_standalone.workflow.decode.flow import warn_last_wait, warn_waits_in_function
from jobworkerp_standalone.workflow.decode.names import Names
from jobworkerp_standalone.workflow.decode.tasks import body, mapping, task, task_list
from jobworkerp_standalone.workflow.decode.values import (
    endpoint,
    error_definition,
    flag,
    input_of,
    output_of,
    retry_policy,
    timeout,
)
from jobworkerp_standalone.workflow.decode.variables import warn_of_misspelled
from jobworkerp_standalone.workflow.expressions.variables import secret_names
from jobworkerp_standalone.workflow.model.document import Extension, Schedule, Use, Workflow
from jobworkerp_standalone.workflow.model.events import Consumption
from jobworkerp_standalone.workflow.model.tasks import Task, TaskList
from jobworkerp_standalone.workflow.model.values import Endpoint, Timeout

_KNOWN: Final = "1.0.3"
DEFAULT_NAME: Final = "default-workflow"
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
_NUMBER: Final = r"(?:0|[1-9]\d*)"
_PART: Final = rf"(?:{_NUMBER}|\d*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PART}(?:\.{_PART})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?\Z", re.ASCII
)
"""https://semver.org: numbers have no leading zeros."""
_LONGEST_VERSION: Final = 256
_ROOT: Final = ("document", "input", "output", "do", "timeout", "use", "schedule", "checkpointing", "evaluate")
_DOCUMENT: Final = ("dsl", "namespace", "name", "version", "title", "summary", "tags", "metadata")
_USE: Final = (
    "authentications",
    "catalogs",
    "errors",
    "extensions",
    "functions",
    "retries",
    "secrets",
    "timeouts",
)
_EXTENDED: Final = {
    kind: kind
    for kind in (
        "all",
        "call",
        "composite",
        "do",
        "emit",
        "for",
        "fork",
        "listen",
        "raise",
        "run",
        "set",
        "switch",
        "try",
        "wait",
    )
}
_SCHEDULES: Final = ("every", "cron", "after", "on")
_STORAGES: Final = {"memory": "memory", "redis": "redis"}
_MODES: Final = {"strict": "strict", "loose": "loose"}


class About(NamedTuple):
    """What ``document`` says."""

    dsl: str = _KNOWN
    namespace: str = "default"
    name: str = DEFAULT_NAME
    version: str = "0.0.1"
    title: str | None = None
    summary: str | None = None
    tags: Mapping[str, Any] = {}
    metadata: Mapping[str, Any] = {}


def workflow(at: At, *, bare: bool) -> Workflow:
    """Return a document; under ``bare``, ``document`` may be left out."""
    found = _open_fields(at, _ROOT, ("do",) if bare else ("document", "do"))
    names = Names()
    at.notes.loose = found.get("evaluate", _is_loose, False)
    use = found.get("use", lambda each: _use(each, names)) or _nothing()
    checkpointing = found.of("checkpointing")
    about = found.get("document", _about) or About()
    document = Workflow(
        **about._asdict(),
        input=found.get("input", lambda each: input_of(each, names)),
        output=found.get("output", lambda each: output_of(each, names)),
        timeout=found.get("timeout", lambda each: timeout(each, names)),
        schedule=found.get("schedule", _schedule),
        checkpointing=_checkpointing(checkpointing) if checkpointing else False,
        do=found.need("do", lambda each: _main(each, names)),
        use=use,
        definition=mapping(at),
    )
    document = replace(document, listens_for=names.listens_for, may_wait=at.notes.may_wait)
    for leaf, place in at.notes.leaves:
        for name in sorted(secret_names(leaf.names) - names.secrets):
            place.warn(f"the secret '{name}' is not declared: reading it faults", f"add '{name}' to use.secrets")
    warn_of_misspelled(at.notes)
    return document


def _main(at: At, names: Names) -> TaskList:
    tasks = task_list(at, names)
    warn_last_wait(tasks, at)
    return tasks


def function(name: str, at: At, use: Use) -> Task:
    """Return a function that is a file of its own: a task without a name, which may use what its caller declares."""
    return task(name, at, Names.of(use))


def _open_fields(at: At, known: tuple[str, ...], required: tuple[str, ...]) -> Fields:
    """Return an object in which unknown keys are allowed, with a warning."""
    if at.node.members is None:
        at.must_be("an object")
        return Fields(at, {})
    for key in at.node.members:
        if key not in known:
            at.unknown_key(key, known, warning=True)
    for key in required:
        if key not in at.node.members:
            at.lacks(key, known)
    return Fields(at, dict(at.members()))


def _about(at: At) -> About:
    # Documents of the reference have an id; nothing reads it.
    found = _open_fields(at, (*_DOCUMENT, "id"), _DOCUMENT[:4])
    return About(
        dsl=found.need("dsl", _dsl),
        namespace=found.need("namespace", _name),
        name=found.need("name", _name),
        version=found.need("version", _version),
        title=found.get("title", lambda each: each.string(empty=True)),
        summary=found.get("summary", lambda each: each.string(empty=True)),
        tags=found.get("tags", mapping, {}),
        metadata=found.get("metadata", mapping, {}),
    )


def _name(at: At) -> str:
    text = at.string()
    if text.strip() and not _NAME.match(text):
        better = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:63].strip("-")
        at.wrong(
            f"'{text}' is not a name of 1 to 63 letters, digits and hyphens", f"write '{better}'" if better else None
        )
    return text


def _dsl(at: At) -> str:
    """Return the version of the language; documents of the reference may have one below 1."""
    text = _version(at)
    major, minor = (int(each) for each in text.split(".")[:2]) if _is_version(text) else (1, 0)
    if major > 1:
        at.wrong(f"documents of DSL {text} cannot be read: this program knows {_KNOWN}", f"write it in DSL {_KNOWN}")
    elif (major, minor) > (1, 0):
        at.warn(f"this program knows DSL {_KNOWN}: what is new in {text} it does not", None)
    return text


def _version(at: At) -> str:
    text = at.string()
    if text.strip() and not _is_version(text):
        at.wrong(f"'{text[:_LONGEST_VERSION]}' is not a semantic version", "write it as 1.0.0")
    return text


def _is_version(text: str) -> bool:
    return len(text) <= _LONGEST_VERSION and _VERSION.match(text) is not None


def _nothing() -> Use:
    return Use(functions={}, catalogs={}, authentications={}, errors={}, retries={}, timeouts={})


def _use(at: At, names: Names) -> Use:
    found = at.fields(_USE)
    for secret in found.get("secrets", At.items, []):
        names.secrets.add(secret.string())
    for name, inner in _section(found, "authentications"):
        names.authentications[name] = replace(policy(inner, names), name=name)
    for name, inner in _section(found, "timeouts"):
        limit = timeout(inner, Names()) if inner.is_object else _no_name(inner)
        names.timeouts[name] = replace(limit or Timeout(0), name=name)
    for name, inner in _section(found, "errors"):
        names.errors[name] = replace(error_definition(inner), name=name)
    for name, inner in _section(found, "retries"):
        names.retries[name] = replace(retry_policy(inner), name=name)
    catalogs = {name: _catalog(inner, names) for name, inner in _section(found, "catalogs")}
    names.catalogs.update(catalogs)
    functions = list(_section(found, "functions"))
    names.functions.update(name for name, _ in functions)
    return Use(
        functions={name: _function(name, inner, names) for name, inner in functions},
        catalogs=catalogs,
        extensions=tuple(_extensions(found, names)),
        secrets=frozenset(names.secrets),
        authentications=names.authentications,
        errors=names.errors,
        retries=names.retries,
        timeouts=names.timeouts,
    )


def _function(name: str, at: At, names: Names) -> Task:
    if not is_callable(name):
        at.warn(f"a function of the name '{name}' can never be called: it means something else", "rename it")
    if at.is_object and "then" in at.value:
        at.find("/then").warn("'then' of a function has no meaning", "write it at the tasks that call the function")
    found = task(name, at, names)
    warn_waits_in_function(found, at)
    return found


def _no_name(at: At) -> None:
    at.must_be("an object such as {after: PT5S}")


def _section(found: Fields, key: str) -> Iterator[tuple[str, At]]:
    return found.get(key, At.members, iter(()))


def _catalog(at: At, names: Names) -> Endpoint:
    return at.fields((), ("endpoint",)).need("endpoint", lambda each: endpoint(each, names))


def _extensions(found: Fields, names: Names) -> Iterator[Extension]:
    for item in found.get("extensions", At.items, []):
        named = item.single("extension")
        if named is None:
            continue
        name, inner = named
        fields = inner.fields(("when", "before", "after"), ("extend",))
        yield Extension(
            name=name,
            origin=inner.origin,
            extend=fields.need("extend", lambda each: each.word(_EXTENDED)),
            when=fields.get("when", At.condition),
            before=fields.get("before", lambda each: body(each, names, "an extension")),
            after=fields.get("after", lambda each: body(each, names, "an extension")),
        )


def _schedule(at: At) -> Schedule:
    found = at.fields(_SCHEDULES)
    found.one_of(_SCHEDULES, "a schedule")
    return Schedule(
        every_ms=found.get("every", _positive),
        cron=found.get("cron", _cron),
        after_ms=found.get("after", At.milliseconds),
        on=found.get("on", _starting),
    )


def _starting(at: At) -> Consumption:
    on = consumption(at)
    if on.forever:
        at.wrong("the workflow would never start: 'until' is false", "remove 'until': each event starts a run then")
    return on


def _positive(at: At) -> int:
    before = len(at.notes.problems)
    every = at.milliseconds()
    if every == 0 and len(at.notes.problems) == before:
        at.wrong("'every' must be longer than nothing")
    return every


def _cron(at: At) -> str:
    text = at.string()
    if text.strip():
        try:
            cron_schedule(text, "")
        except BadCron as error:
            at.wrong(f"the cron expression is wrong: {error}")
    return text


def _checkpointing(at: At) -> bool:
    found = at.fields(("storage",), ("enabled",))
    found.get("storage", lambda each: each.word(_STORAGES))
    return flag(found, "enabled")


def _is_loose(at: At) -> bool:
    found = at.fields(("language", "mode"))
    language = found.of("language")
    if language is not None and language.string().strip().lower() not in {"", "jq"}:
        language.wrong(
            f"expressions in '{language.value}' are not supported", "write jq in ${...}, or Liquid in $${...}"
        )
    return found.word("mode", _MODES, "strict") == "loose"
