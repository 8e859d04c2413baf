"""From the command line to a run: files are read and checked, then it begins."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, NamedTuple, cast

from jobworkerp_standalone.cli.calls.place import Place, default_storage, in_loop, opened
from jobworkerp_standalone.cli.calls.run import Report, resume, run, tell_refused
from jobworkerp_standalone.cli.calls.workflow_file import Refused, load_file
from jobworkerp_standalone.cli.exits import PROGRAM, not_empty, usage
from jobworkerp_standalone.cli.junit import cannot_be_written
from jobworkerp_standalone.cli.progress_views import Silent, ViewOptions
from jobworkerp_standalone.cli.session import Session
from jobworkerp_standalone.cli.show import note
from jobworkerp_standalone.cli.values import text_of
from jobworkerp_standalone.client.workflows import WorkflowOrder
from jobworkerp_standalone.jobs.json_in import json_value
from jobworkerp_standalone.pb.jobworkerp.standalone import ListWaitingRequest, WaitingRun
from jobworkerp_standalone.workflow.decode.variables import BUILT_IN
from jobworkerp_standalone.workflow.model.document import Workflow

_NOT_JSON: Final = ("NaN", "Infinity", "-Infinity", "None", "True", "False")


class Wanted(NamedTuple):
    """What a command line wants to have run."""

    file: str
    input: str
    context: str | None
    timeout_ms: int | None
    bare: bool


def place_of(server: Session | None, db: str | None) -> Place:
    """Return where to run.

    Raises:
        Stop: the options contradict each other, or one of them is empty.
    """
    if server is not None and db is not None:
        raise usage("give --server or --db, not both")
    return Place(server, Path(not_empty("--db", db)) if db is not None else None)


def telling(file: str, form: Literal["text", "json"], events: str | None, junit: str | None, *, quiet: bool) -> Report:
    """Return how to tell of a run.

    Raises:
        Stop: the options contradict each other, or the report cannot be written.
    """
    if form == "json" and events is not None:
        raise usage("give --format json or --events, not both: the last event is the result")
    if junit is not None and (complaint := cannot_be_written(not_empty("--junit", junit))) is not None:
        raise usage(complaint)
    return Report(file=file, view=ViewOptions(form, events is not None, quiet), junit=junit)


def run_file(wanted: Wanted, place: Place, report: Report) -> int:
    """Check a file, run it, and return the exit code.

    Raises:
        Stop: it cannot be run.
    """
    if wanted.file == "-" and "-" in (wanted.input, wanted.context):
        raise usage("only one of FILE, --input and --context can come from standard input")
    if wanted.file.startswith(("http://", "https://")):
        raise usage(f"FILE is a path; run what lies at a URL with: curl -fsSL {wanted.file} | {PROGRAM} run -")
    try:
        loaded = load_file(wanted.file, bare=wanted.bare, warn=not report.view.quiet)
    except Refused as refused:
        tell_refused(report, refused)
        raise
    if loaded.document.schedule is not None:
        note("the document has a schedule; it is run once ('job create-workflow' makes a worker that keeps it)")
    order = order_of(wanted, loaded.document)
    if place.embedded:
        storage = place.storage or (default_storage() if loaded.document.may_wait else None)
        place = Place(None, storage, () if wanted.file == "-" else (Path(wanted.file).resolve().parent,))
    return run(place, order, replace(report, text=None if wanted.file == "-" else loaded.text))


def resume_job(place: Place, job_id: int, payload: str | None, position: str | None, report: Report) -> int:
    """Go on with a run, and return the exit code.

    Raises:
        Stop: it cannot be gone on with.
    """
    if payload is not None:
        payload = text_of("--payload", payload)
        checked_json("--payload", payload)
    if place.embedded:
        place = Place(None, place.storage or default_storage())
        if place.storage is not None and not place.storage.exists():
            raise usage(f"no run waits here: {place.storage} does not exist; --server or --db names another place")
    return resume(place, job_id, payload, position, report)


def waiting_runs(place: Place, limit: int) -> list[WaitingRun]:
    """Return runs that wait, the latest first.

    Raises:
        Stop: they cannot be listed.
    """
    if place.embedded:
        place = Place(None, place.storage or default_storage())
        if place.storage is not None and not place.storage.exists():
            return []

    async def listed() -> list[WaitingRun]:
        async with opened(place, Silent()) as client:
            return [each async for each in client.workflow.list_waiting(ListWaitingRequest(limit=limit))]

    return in_loop(listed())


def order_of(wanted: Wanted, document: Workflow) -> WorkflowOrder:
    """Return the order for a document that was checked.

    Raises:
        Stop: input or variables cannot be read.
    """
    context = None if wanted.context is None else text_of("--context", wanted.context)
    if context is not None:
        _check_variables(checked_json("--context", context))
    text = text_of("--input", wanted.input)
    if wanted.input.startswith("@") and wanted.input.lower().endswith(".json"):
        checked_json(f"--input: {wanted.input[1:]}", text.removeprefix("\ufeff"))
    _tell_broken_json(text)
    return WorkflowOrder(
        document=json.dumps(dict(document.definition), ensure_ascii=False),
        input=text,
        context=context,
        timeout_ms=wanted.timeout_ms,
    )


def _check_variables(variables: object) -> None:
    if not isinstance(variables, dict):
        raise usage('--context is not a JSON object, for example \'{"name":"value"}\'')
    for name in sorted(BUILT_IN.intersection(cast("dict[str, object]", variables))):
        note(f"warning: no expression sees {name!r} of --context: ${name} is what the engine gives; rename it")


def _tell_broken_json(text: str) -> None:
    """Input may be any text; where it looks as if it was meant to be JSON, say so."""
    if text.strip() in _NOT_JSON:
        note(f"warning: --input is {text.strip()}, which JSON does not have; the workflow gets it as text")
    elif text.lstrip().startswith(("{", "[")):
        try:
            json_value(text)
        except ValueError as error:
            note(f"warning: --input begins like JSON but is none ({error}); the workflow gets it as text")


def checked_json(option: str, text: str) -> object:
    """Return what JSON says.

    Raises:
        Stop: it is none.
    """
    try:
        return json_value(text)
    except ValueError as error:
        raise usage(f"{option} is not JSON: {error}") from error
