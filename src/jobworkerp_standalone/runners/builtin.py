"""The built-in runner kinds: what clients are told, and which class does the work.

A kind's module is imported when its first instance is made, so that a process carries only what it uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import cache, cached_property
from importlib import import_module
from importlib.resources import files
from typing import Any, Final, NamedTuple

import anyio.to_thread

from jobworkerp_standalone.jobs.model import DEFAULT_METHOD, OutputType, Worker
from jobworkerp_standalone.runners.base import Runner
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.journal import Entry
from jobworkerp_standalone.runners.spec import CheckWish, Follow, Ready, RunnerSpec, Standing, Start

BUILT_IN_MAX_ID: Final = 65_535
"""Ids above this are made at run time: plugins and MCP servers."""
_PLAIN: Final = OutputType.NON_STREAMING
_BOTH: Final = OutputType.BOTH


class _Texts(NamedTuple):
    """One method: names of its published proto texts."""

    args: str
    result: str
    output_type: OutputType = _PLAIN
    name: str = DEFAULT_METHOD
    description: str = ""


class _Kind(NamedTuple):
    """One built-in kind."""

    id: int
    name: str
    description: str
    settings: str
    methods: tuple[_Texts, ...]
    default_method: str = DEFAULT_METHOD
    made_by: str = ""
    """``module:function`` below this package, given the host; empty: not built in this version."""
    tidied_by: str = ""
    """In the same way: what removes what a daemon that died left behind."""
    not_built: str = ""
    """What is said about a kind that is not built yet, after "it is listed but"."""
    stands_by: str = ""
    """In the same way: what is done for a worker beside its jobs."""
    wishes_checked_by: str = ""
    """In the same way: what looks whether a job can go on with another."""
    stands_for: bytes = b""
    """Stands in the settings of every worker for which there may be something to do."""
    follows_by: str = ""
    """In the same way: what makes args from the result of another job."""


_KINDS: Final = (
    _Kind(
        1,
        "COMMAND",
        "Run a command of the operating system with arguments, without a shell.",
        "",
        (_Texts("command_args", "command_result", _BOTH),),
        made_by="runners.command:make",
    ),
    _Kind(
        2,
        "HTTP_REQUEST",
        "Send one HTTP request with method, headers, query and body.",
        "http_request_runner",
        (_Texts("http_request_args", "http_request_result", _BOTH),),
        made_by="runners.http:make",
    ),
    _Kind(
        3,
        "GRPC_UNARY",
        "Call one unary method of a gRPC server (the older form of GRPC).",
        "grpc_unary_runner",
        (_Texts("grpc_unary_args", "grpc_unary_result"),),
        made_by="runners.grpc.unary_runner:make",
    ),
    _Kind(
        4,
        "DOCKER",
        "Run a container, or a command in a container that is kept.",
        "docker_runner",
        (_Texts("docker_args", "docker_result", _BOTH),),
        made_by="runners.docker.runner:make",
        tidied_by="runners.docker.lifetime:take_over",
    ),
    _Kind(
        5,
        "SLACK_POST_MESSAGE",
        "Post a message to a Slack channel.",
        "slack_runner",
        (_Texts("slack_args", "slack_result"),),
        made_by="runners.slack:make",
    ),
    _Kind(
        6,
        "PYTHON_COMMAND",
        "Run a Python script in an environment that uv builds.",
        "python_command_runner",
        (_Texts("python_command_args", "python_command_result", _BOTH),),
        made_by="runners.python:make",
    ),
    _Kind(
        8,
        "FUNCTION_SET_SELECTOR",
        "List function sets as text from which a language model chooses.",
        "function_set_selector_settings",
        (_Texts("function_set_selector_args", "function_set_selector_result"),),
        not_built="waits for function sets, which are not built yet",
    ),
    _Kind(
        32_768,
        "LLM",
        "Ask a language model: chat, completion or embedding.",
        "llm/runner",
        (
            _Texts("llm/completion_args", "llm/completion_result", _BOTH, "completion", "Complete one prompt."),
            _Texts("llm/chat_args", "llm/chat_result", _BOTH, "chat", "Answer a conversation, with tools if asked."),
            _Texts("llm/embedding_args", "llm/embedding_result", _PLAIN, "embedding", "Turn texts into vectors."),
        ),
        "",
    ),
    _Kind(
        32_769,
        "WORKFLOW",
        "Run a Serverless Workflow document, or create a worker from one.",
        "workflow_runner_settings",
        (
            _Texts("workflow_run_args", "workflow_result", _BOTH, "run", "Run a workflow to its end."),
            _Texts("create_workflow_args", "create_workflow_result", _PLAIN, "create", "Create a worker that runs it."),
        ),
        made_by="workflow.runner_kinds:workflow",
        wishes_checked_by="workflow.resume_wish:check",
        stands_by="workflow.events.trigger:stand",
        stands_for=b"schedule",
        follows_by="workflow.following:workflow_args",
    ),
    _Kind(
        32_770,
        "GRPC",
        "Call a method of a gRPC server, unary or server-streaming.",
        "grpc/runner",
        (
            _Texts("grpc/args", "grpc/unary_result", _PLAIN, "unary", "One request, one answer."),
            _Texts("grpc/args", "grpc/streaming_result", _BOTH, "streaming", "One request, a stream of answers."),
        ),
        "unary",
        made_by="runners.grpc.runner:make",
    ),
    _Kind(
        65_533,
        "LLM_CHAT",
        "Answer a conversation with a language model (the older form of LLM).",
        "llm/runner",
        (_Texts("llm/chat_args", "llm/chat_result", _BOTH),),
    ),
    _Kind(
        65_534,
        "LLM_COMPLETION",
        "Complete a prompt with a language model (the older form of LLM).",
        "llm/runner",
        (_Texts("llm/completion_args", "llm/completion_result", _BOTH),),
    ),
    _Kind(
        65_535,
        "INLINE_WORKFLOW",
        "Run a workflow document that comes with the job.",
        "",
        (_Texts("workflow_args", "seed_workflow_result"),),
        made_by="workflow.runner_kinds:inline",
        wishes_checked_by="workflow.resume_wish:check",
    ),
    _Kind(
        -1,
        "REUSABLE_WORKFLOW",
        "Run the workflow document of the worker's settings.",
        "reusable_workflow_runner",
        (_Texts("reusable_workflow_args", "seed_workflow_result"),),
        made_by="workflow.runner_kinds:reusable",
        follows_by="workflow.following:reusable_args",
        wishes_checked_by="workflow.resume_wish:check",
    ),
)


def built_in_specs() -> list[RunnerSpec]:
    """Return every built-in kind. Those that this version does not run have nothing that makes them."""
    return [_spec(kind) for kind in _KINDS]


@cache
def proto_text(name: str) -> str:
    """Return a published proto text by its path below ``jobworkerp/runner``, without the ending."""
    if name == "seed_workflow_result":
        return _SEED_WORKFLOW_RESULT
    return files("jobworkerp_standalone").joinpath("pb", "texts", "jobworkerp", "runner", f"{name}.proto").read_text()


class _FirstUse:
    """Makes instances; the module is imported before the first one is made."""

    def __init__(self, made_by: str) -> None:
        self._made_by = made_by

    @cached_property
    def _make(self) -> Callable[[Host], Runner]:
        return _imported(self._made_by)

    def prepare(self) -> None:
        """Import the module."""
        _ = self._make

    def __call__(self, host: Host) -> Runner:
        return self._make(host)


def _tidier(tidied_by: str) -> Callable[[Host], Awaitable[None]]:
    async def tidy(host: Host) -> None:
        tidy_up = await anyio.to_thread.run_sync(_imported, tidied_by)
        await tidy_up(host)

    return tidy


def _standing(stands_by: str, stands_for: bytes) -> Standing:
    async def run(host: Host, worker: Worker, start: Start, ready: Ready) -> None:
        stand = await anyio.to_thread.run_sync(_imported, stands_by)
        await stand(host, worker, start, ready)

    return Standing(lambda worker: stands_for in worker.runner_settings, run)


def _wish_checker(checked_by: str) -> CheckWish:
    async def check(job_id: int, notes: Sequence[Entry], wish: bytes) -> None:
        await (await anyio.to_thread.run_sync(_imported, checked_by))(job_id, notes, wish)

    return check


def _follow(follows_by: str) -> Follow:
    async def follow(worker: Worker, schema: str, result: bytes) -> bytes:
        make_args = await anyio.to_thread.run_sync(_imported, follows_by)
        return await make_args(worker, schema, result)

    return follow


def _imported(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(import_module(f"jobworkerp_standalone.{module}"), function)


def _spec(kind: _Kind) -> RunnerSpec:
    first_use = _FirstUse(kind.made_by) if kind.made_by else None
    return RunnerSpec(
        id=kind.id,
        type=kind.id,
        name=kind.name,
        description=kind.description,
        definition=f"builtin{kind.id}",
        settings_proto=proto_text(kind.settings) if kind.settings else "",
        methods={each.name: _method(each) for each in kind.methods},
        make=first_use,
        prepare=first_use and first_use.prepare,
        tidy=_tidier(kind.tidied_by) if kind.tidied_by else None,
        default_method=kind.default_method,
        not_built=kind.not_built,
        standing=_standing(kind.stands_by, kind.stands_for) if kind.stands_by else None,
        follow=_follow(kind.follows_by) if kind.follows_by else None,
        check_wish=_wish_checker(kind.wishes_checked_by) if kind.wishes_checked_by else None,
    )


def _method(texts: _Texts) -> Method:
    return Method(texts.name, proto_text(texts.args), proto_text(texts.result), texts.description, texts.output_type)


_SEED_WORKFLOW_RESULT: Final = """syntax = "proto3";

package jobworkerp.runner;

// Result of a workflow run, in the numbering of the generation that INLINE_WORKFLOW and REUSABLE_WORKFLOW belong to.
message WorkflowResult {
  enum WorkflowStatus {
    Completed = 0;
    Faulted = 1;
    Cancelled = 2;
    Pending = 3;
    Running = 4;
    Waiting = 5;
  }
  // Id of the run.
  string id = 1;
  // The workflow's output as JSON text.
  string output = 2;
  // How the run ended.
  optional WorkflowStatus status = 3;
  // Why it is Faulted.
  optional string error_message = 4;
}
"""
