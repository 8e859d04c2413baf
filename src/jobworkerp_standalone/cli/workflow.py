"""Commands of the group ``job`` that run a workflow, or make a worker from one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jobworkerp_standalone.cli.exits import RUN_EXIT_HELP, RUN_WAITS, Stop, run_exits, usage
from jobworkerp_standalone.cli.gathered import gathered
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import (
    MAX_INT64,
    FormatOption,
    Name,
    NoTruncate,
    Priority,
    QueueType,
    ResponseType,
    TrueFalse,
    examples,
)
from jobworkerp_standalone.cli.session import session_of
from jobworkerp_standalone.cli.show import note, show_row
from jobworkerp_standalone.cli.streaming import StreamView
from jobworkerp_standalone.cli.values import switch, text_of

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import workflow as calls
else:
    calls = calls_of("workflow")

_HOUR_MS = 3_600_000
WorkflowFile = Annotated[
    str | None,
    typer.Option("--workflow-file", "-w", help="Path or URL of the workflow; the server reads it, in its directory."),
]
WorkflowData = Annotated[
    str | None, typer.Option("--workflow-data", help="The workflow itself, JSON or YAML; @FILE reads a file here.")
]
Local = Annotated[bool, typer.Option("--local", help="Read --workflow-file here and send what it holds.")]
ContextText = Annotated[str | None, typer.Option("--context", help="Variables of the workflow, a JSON object.")]
ContextFile = Annotated[str | None, typer.Option("--context-file", help="File with the variables, read here.")]
Channel = Annotated[str | None, typer.Option("--channel", "-c", help="Where it runs; '' is the default channel.")]
_SWITCHES: dict[str, Any] = {
    "store_success": typer.Option("--store-success", case_sensitive=False, help="Keep results of success."),
    "store_failure": typer.Option("--store-failure", case_sensitive=False, help="Keep results of failure."),
    "use_static": typer.Option("--use-static", case_sensitive=False, help="Keep runners warm between jobs."),
}
ENQUEUE_EXAMPLES = (
    examples("job enqueue-workflow -i '/path/to/list' -w ./ls.yml", "job enqueue-workflow --workflow-data @flow.yaml")
    + f"\n\n{RUN_EXIT_HELP}"
)
CREATE_EXAMPLES = examples("job create-workflow -n Flow -w ./flow.yml --response-type DIRECT --store-success true")


class Document(NamedTuple):
    """Where the workflow comes from, and its variables."""

    workflow_file: WorkflowFile = None
    workflow_data: WorkflowData = None
    context_text: ContextText = None
    context_file: ContextFile = None
    local: Local = False


class Running(NamedTuple):
    """How one run is made."""

    channel: Channel = None
    priority: Annotated[
        Priority | None, typer.Option("--priority", "-p", case_sensitive=False, metavar="high|middle|low")
    ] = None
    run_after_time: Annotated[
        int | None,
        typer.Option("--run-after-time", "-r", min=0, max=MAX_INT64, help="Not before this Unix time, milliseconds."),
    ] = None
    timeout: Annotated[
        int,
        typer.Option("--timeout", "-t", min=1000, max=MAX_INT64, help="End it after so many ms, in whole seconds."),
    ] = _HOUR_MS
    execution_id: Annotated[str | None, typer.Option("--execution-id", help="Id that the run gets.")] = None


class Options(NamedTuple):
    """How a worker runs a workflow; the names are those of ``worker_options``."""

    channel: Channel = None
    queue_type: Annotated[
        QueueType | None,
        typer.Option("--queue-type", case_sensitive=False, metavar="NORMAL|WITH_BACKUP|DB_ONLY"),
    ] = None
    response_type: Annotated[
        ResponseType | None, typer.Option("--response-type", case_sensitive=False, metavar="DIRECT|NO_RESULT")
    ] = None
    store_success: Annotated[TrueFalse | None, _SWITCHES["store_success"]] = None
    store_failure: Annotated[TrueFalse | None, _SWITCHES["store_failure"]] = None
    use_static: Annotated[TrueFalse | None, _SWITCHES["use_static"]] = None


@gathered
def enqueue_workflow(
    context: typer.Context,
    input_: Annotated[str, typer.Option("--input", "-i", help="Input of the workflow: JSON, or text.")] = "",
    *,
    document: Document,
    running: Running,
    form: FormatOption = "card",
    no_truncate: NoTruncate = False,
) -> None:
    """Run a workflow and show its states. Its worker is made for this run, and removed after it."""
    wanted = calls.Run(_source(document), input_, *running)
    session = session_of(context)
    with StreamView(form, no_truncate=no_truncate) as view, _hinting(document), run_exits():
        waits = session.call(calls.enqueue_workflow, wanted, view)
    if waits is not None:
        note(f"the run waits; go on with: {session.resume_line(waits)}")
        raise typer.Exit(RUN_WAITS)


@gathered
def create_workflow(
    context: typer.Context,
    name: Name,
    document: Document,
    options: Options,
    form: FormatOption = "card",
) -> None:
    """Add a worker that runs a workflow, also by the schedule of the document. Shows its id."""
    source = _source(document)
    given = {key: value for key, value in options._asdict().items() if value is not None}
    if options.queue_type == "DB_ONLY":
        given["queue_type"] = "FORCED_RDB"
    given |= {key: switch(given[key]) for key in _SWITCHES.keys() & given}
    with _hinting(document):
        worker_id = session_of(context).call(calls.create_workflow, name, source, given)
    show_row({"name": name, "worker_id": worker_id}, form)
    if options.queue_type == "WITH_BACKUP" and options.response_type != "NO_RESULT":
        note(
            f"note: jobs of {name} that answer their caller (response_type DIRECT) are lost if the server dies, "
            "whatever the queue type; with --response-type NO_RESULT they go on"
        )


@contextmanager
def _hinting(document: Document) -> Iterator[None]:
    """Say what helps where the server does not see a file that is here."""
    try:
        yield
    except Stop as stop:
        file = None if document.local else document.workflow_file
        if file is not None and " read" in (stop.message or "") and Path(file).is_file():
            stop.hint = f"the server looks for {file} in its own directory; --local sends the file that is here"
        raise


def _source(document: Document) -> calls.Source:
    url, data, context, context_file, local = document
    if (url is None) == (data is None):
        raise usage("give either --workflow-file or --workflow-data")
    if context is not None and context_file is not None:
        raise usage("give --context or --context-file, not both")
    if url is not None and not url.strip():
        raise usage("--workflow-file is empty")
    if local and url is None:
        raise usage("--local needs --workflow-file")
    text = None if data is None else text_of("--workflow-data", data)
    if local and url is not None:
        url, text = None, text_of("--workflow-file", f"@{url}")
    if text is not None and not text.strip():
        raise usage(f"{'--workflow-file' if local else '--workflow-data'} is empty")
    if context_file is not None:
        context = text_of("--context-file", f"@{context_file}")
    return calls.Source(url, text, context)
