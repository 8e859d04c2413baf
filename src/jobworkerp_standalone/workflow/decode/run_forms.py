"""What ``run`` tasks run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypedDict

from jobworkerp_standalone.workflow.decode.cursor import At, Fields
from jobworkerp_standalone.workflow.decode.mistakes import PART
from jobworkerp_standalone.workflow.decode.names import Names
from jobworkerp_standalone.workflow.decode.runner_args import check_runner
from jobworkerp_standalone.workflow.decode.values import flag, resource, retry
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.run_forms import (
    Return,
    RunContainer,
    RunForm,
    RunOptions,
    RunRunner,
    RunScript,
    RunShell,
    RunWorker,
    RunWorkflow,
)
from jobworkerp_standalone.workflow.model.values import RetryPolicy

FORMS: Final = ("runner", "function", "worker", "script", "shell", "container", "workflow")
_RETURNING: Final = ("script", "shell", "container")
_RETURNS: Final[dict[str, Return]] = {
    "stdout": "stdout",
    "stderr": "stderr",
    "code": "code",
    "all": "all",
    "none": "none",
}
_QUEUES: Final[dict[str, Literal["NORMAL", "WITH_BACKUP", "DB_ONLY"]]] = {
    "normal": "NORMAL",
    "with_backup": "WITH_BACKUP",
    "db_only": "DB_ONLY",
    "forced_rdb": "DB_ONLY",
}
_RESPONSES: Final[dict[str, Literal["DIRECT", "NO_RESULT"]]] = {"direct": "DIRECT", "no_result": "NO_RESULT"}
_LANGUAGES: Final[dict[str, Literal["python", "javascript"]]] = {
    "python": "python",
    "javascript": "javascript",
    "js": "javascript",
}
Cleanup = Literal["always", "never", "eventually"]
_CLEANUPS: Final[dict[str, Cleanup]] = {
    "always": "always",
    "never": "never",
    "eventually": "eventually",
}
_PULLS: Final[dict[str, Literal["ifNotPresent", "always", "never"]]] = {
    "ifnotpresent": "ifNotPresent",
    "always": "always",
    "never": "never",
}
_LARGEST: Final = 2**32 - 1
"""What the retry policy of a worker can hold."""
_OPTIONS: Final = (
    "channel",
    "queueType",
    "responseType",
    "storeSuccess",
    "storeFailure",
    "useStatic",
    "broadcastResults",
    "retry",
    "withBackup",
    "broadcastResultsToListener",
)
_BESIDE: Final = {"useStreaming": "it stands beside 'run', not inside of it"}


class Settings(TypedDict):
    """What a run task has beside what it runs."""

    run: RunForm
    await_: bool
    returns: Return


def run(at: At, names: Names) -> Settings:
    """Return what a task runs."""
    found = at.fields((*FORMS, "await", "return"), hints=_BESIDE)
    form = found.one_of(FORMS, "'run'")
    returns = found.of("return")
    if returns is not None and form is not None and form not in _RETURNING:
        _check_return(returns, form)
    inner = found.of(form) if form else None
    return Settings(
        run=_form(form, inner, names) if form and inner else RunShell(command=at.template()),
        await_=flag(found, "await", default=True),
        returns=found.word("return", _RETURNS, "stdout"),
    )


def _check_return(at: At, form: str) -> None:
    """Note a ``return`` of something that is no process; of a workflow there is its output, or nothing."""
    if form != "workflow":
        at.wrong(f"'return' goes with {', '.join(_RETURNING)} and workflow, not with {form}", "use output.as")
    elif isinstance(at.value, str) and at.value.strip().lower() in {"stderr", "code", "all"}:
        at.wrong(f"a workflow has no '{at.value}' to return", "leave 'return' out, or write 'none'")


def _form(form: str, at: At, names: Names) -> RunForm:
    read: dict[str, Callable[[], RunForm]] = {
        "runner": lambda: _runner(at, "runner", "name", names),
        "worker": lambda: _worker(at, "worker", "name"),
        "function": lambda: _function(at, names),
        "script": lambda: _script(at, names),
        "shell": lambda: _shell(at),
        "container": lambda: _container(at),
        "workflow": lambda: _workflow(at),
    }
    return read[form]()


def _function(at: At, names: Names) -> RunForm:
    if at.is_object and "workerName" in at.value and "runnerName" not in at.value:
        return _worker(at, "function", "workerName")
    hints = {
        **_BESIDE,
        "name": "it is called 'runnerName' or 'workerName' here",
        "workerName": "give it or 'runnerName', not both",
    }
    return _runner(at, "function", "runnerName", names, hints)


def _runner(
    at: At, form: Literal["runner", "function"], key: str, names: Names, hints: dict[str, str] | None = None
) -> RunRunner:
    found = at.fields(("using", "settings", "options"), (key, "arguments"), hints=hints or _BESIDE)
    if (runner := found.of(key)) is not None:
        check_runner(runner, found.of("using"), found.of("arguments"), found.of("settings"))
    return RunRunner(
        form=form,
        name=found.need(key, At.text_template),
        arguments=found.need("arguments", At.object_template),
        using=found.get("using", At.text_template),
        settings=found.get("settings", At.object_template),
        options=found.get("options", lambda each: _options(each, names)) or RunOptions(),
    )


def _worker(at: At, form: Literal["worker", "function"], key: str) -> RunWorker:
    found = at.fields(("using",), (key, "arguments"), hints=_BESIDE)
    return RunWorker(
        form=form,
        name=found.need(key, At.text_template),
        arguments=found.need("arguments", At.object_template),
        using=found.get("using", At.text_template),
    )


def _options(at: At, names: Names) -> RunOptions:
    if at.node.members is not None:
        for key in at.node.members:
            if key not in _OPTIONS:
                at.unknown_key(key, _OPTIONS, _BESIDE.get(key), warning=True)
    known = dict(at.members())
    found = Fields(at, {key: each for key, each in known.items() if key in _OPTIONS})
    plain = RunOptions()
    backup = flag(found, "withBackup")
    broadcast = "broadcastResults" if "broadcastResults" in found else "broadcastResultsToListener"
    return RunOptions(
        channel=found.get("channel", At.string),
        queue_type=found.word("queueType", _QUEUES, ("WITH_BACKUP" if backup else "NORMAL")),
        response_type=found.word("responseType", _RESPONSES, plain.response_type),
        store_success=flag(found, "storeSuccess", default=plain.store_success),
        store_failure=flag(found, "storeFailure", default=plain.store_failure),
        use_static=flag(found, "useStatic", default=plain.use_static),
        broadcast_results=flag(found, broadcast, default=plain.broadcast_results),
        retry=found.get("retry", lambda each: _fixed(each, retry(each, names))),
    )


def _fixed(at: At, policy: RetryPolicy | None) -> RetryPolicy | None:
    """Note expressions in the policy of a job: its worker has fixed delays."""
    if policy is None:
        return None
    for each in (policy.delay, policy.attempt_duration, policy.attempts):
        if isinstance(each, Template):
            at.wrong("the retry policy of a job cannot have expressions as durations", "write durations such as PT5S")
        elif each is not None and each > _LARGEST:
            at.wrong(f"the retry policy of a job has numbers up to {_LARGEST}, as milliseconds 49 days, not {each}")
    return policy


def _script(at: At, names: Names) -> RunScript:
    found = at.fields(("code", "source", "arguments", "stdin", "environment"), ("language",), hints=_BESIDE)
    found.one_of(("code", "source"), "a script")
    arguments = found.of("arguments")
    if arguments is not None and arguments.is_object:
        for key, each in arguments.members():
            if not key.isidentifier():
                each.misnamed(f"'{key}' cannot be the name of a variable", "use letters, digits and _")
    return RunScript(
        language=found.need("language", lambda each: each.word(_LANGUAGES, _LANGUAGES)),
        code=found.get("code", At.string),
        source=found.get("source", lambda each: resource(each, names)),
        arguments=arguments.template() if arguments else None,
        stdin=found.get("stdin", At.template),
        environment=found.get("environment", At.object_template),
    )


def _list(at: At) -> Template:
    if not (at.is_array or at.is_expression):
        at.must_be("an array or an expression in ${...}")
    return at.template()


def _list_or_map(at: At) -> Template:
    if not ((at.is_array or at.is_object) or at.is_expression):
        at.must_be("an array, an object or an expression in ${...}")
    return at.template()


def _words(at: At) -> Template:
    if not (isinstance(at.value, str) or at.is_array):
        at.must_be("text or an array")
    return at.template()


def _command(at: At) -> Template:
    _warn_of_parts(at)
    return at.text_template()


def _command_words(at: At) -> Template:
    _warn_of_parts(at)
    return _words(at)


def _warn_of_parts(at: At) -> None:
    """Warn of an expression inside of other text: no shell knows ``${ .x }``, and it would only say so when it runs."""
    if isinstance(at.value, str) and "${ " in at.value and not at.is_expression:
        at.warn(
            PART,
            'make the whole text one, as ${ "echo \\(.name)" }, or give the value as one of \'arguments\': "$1"',
        )


def _codes(at: At) -> tuple[int, ...]:
    return tuple(item.integer(0, 255) for item in at.items())


def _shell(at: At) -> RunShell:
    if isinstance(at.value, str):
        return RunShell(command=_command(at), bare=True)
    known = (
        "args",
        "arguments",
        "stdin",
        "environment",
        "workingDir",
        "withMemoryMonitoring",
        "treatNonzeroAsError",
        "successExitCodes",
    )
    found = at.fields(known, ("command",), hints=_BESIDE)
    if "args" in found and "arguments" in found:
        at.wrong("shell has 'args' (of a program) and 'arguments' (of a script): give one of them only")
    return RunShell(
        command=found.need("command", _command),
        args=found.get("args", _list),
        arguments=found.get("arguments", _list_or_map),
        stdin=found.get("stdin", At.template),
        environment=found.get("environment", At.object_template),
        working_dir=found.get("workingDir", At.text_template),
        memory_monitoring=flag(found, "withMemoryMonitoring"),
        treat_nonzero_as_error=flag(found, "treatNonzeroAsError"),
        success_exit_codes=found.get("successExitCodes", _codes, ()),
    )


_CONTAINER: Final = (
    "name",
    "command",
    "entrypoint",
    "arguments",
    "ports",
    "volumes",
    "environment",
    "env",
    "stdin",
    "user",
    "workingDir",
    "lifetime",
    "pullPolicy",
    "timeoutSec",
    "treatNonzeroAsError",
    "successExitCodes",
)


def _container(at: At) -> RunContainer:
    found = at.fields(_CONTAINER, ("image",), hints=_BESIDE)
    if "env" in found and "environment" in found:
        at.wrong("container has 'env' and 'environment', which mean the same: give one of them only")
    cleanup, after = found.get("lifetime", _lifetime, ("always", None))
    return RunContainer(
        image=found.need("image", At.text_template),
        name=found.get("name", At.text_template),
        command=found.get("command", _command_words),
        entrypoint=found.get("entrypoint", _words),
        arguments=found.get("arguments", _list),
        ports=found.get("ports", At.object_template),
        volumes=found.get("volumes", At.object_template),
        environment=found.get("environment" if "environment" in found else "env", At.object_template),
        stdin=found.get("stdin", At.template),
        user=found.get("user", At.text_template),
        working_dir=found.get("workingDir", At.text_template),
        cleanup=cleanup,
        cleanup_after_ms=after,
        pull_policy=found.word("pullPolicy", _PULLS, "ifNotPresent"),
        timeout_sec=found.get("timeoutSec", At.integer),
        treat_nonzero_as_error=flag(found, "treatNonzeroAsError"),
        success_exit_codes=found.get("successExitCodes", _codes, ()),
    )


def _lifetime(at: At) -> tuple[Cleanup, int | None]:
    found = at.fields(("after",), ("cleanup",))
    cleanup: Cleanup = found.word("cleanup", _CLEANUPS, "always")
    after = found.of("after")
    if cleanup == "eventually" and after is None:
        at.wrong("the clean-up 'eventually' needs 'after'", "add 'after'")
    elif cleanup != "eventually" and after is not None:
        after.wrong(f"'after' goes with the clean-up 'eventually' only, not with '{cleanup}'", "remove it")
    return cleanup, after.milliseconds() if after else None


_SOURCES: Final = ("workflowData", "workflowUrl", "name")


def _workflow(at: At) -> RunWorkflow:
    hints = {**_BESIDE, "workflowContext": "a child sees the variables of its parent"}
    known = (*_SOURCES, "namespace", "version", "input", "executionId")
    found = at.fields(known, hints=hints)
    source = found.one_of(_SOURCES, "'workflow'")
    for key in ("namespace", "version"):
        inner = found.of(key)
        if inner is not None and source in {"workflowData", "workflowUrl"}:
            inner.wrong(f"'{key}' goes with 'name' only, not with '{source}'", "remove it")
        elif inner is None and source == "name" and key == "namespace":
            at.wrong("'workflow' lacks 'namespace'", "add 'namespace'")
    data = found.of("workflowData")
    if data is not None and not (isinstance(data.value, str) or data.is_object):
        data.must_be("text or an object")
    expression = data is not None and data.is_expression
    document: Any = data.value if data is not None and not expression else None
    if data is not None and document:
        at.notes.documents.append(data)
    url = found.of("workflowUrl")
    if url is not None and isinstance(url.value, str) and not url.is_expression and not at.notes.loose:
        at.notes.files.append(url)
    return RunWorkflow(
        document=document,
        data=data.template() if data is not None and expression else None,
        url=found.get("workflowUrl", At.text_template),
        execution_id=found.get("executionId", At.text_template),
        namespace=found.get("namespace", At.text_template),
        name=found.get("name", At.text_template),
        version=found.get("version", At.text_template),
        input=found.get("input", At.template),
    )
