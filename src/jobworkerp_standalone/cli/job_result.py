"""Commands about results: stored ones, and those to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobworkerp_standalone.cli.exits import not_found
from jobworkerp_standalone.cli.groups import group
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import (
    MAX_INT64,
    FormatOption,
    Id,
    JobId,
    Limit,
    ListenTimeout,
    NoTruncate,
    Offset,
    Using,
    WorkerKey,
    examples,
)
from jobworkerp_standalone.cli.rows import result_row
from jobworkerp_standalone.cli.session import session_of
from jobworkerp_standalone.cli.show import as_json, emit, machine_row, show_answer, show_row, show_rows
from jobworkerp_standalone.cli.streaming import StreamView, failed_job
from jobworkerp_standalone.cli.values import id_or_name

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import job_result as calls
else:
    calls = calls_of("job_result")

app = group("job-result", "Results: stored ones, and those to come.")

ResultId = Annotated[
    int, typer.Option("--id", "-i", min=0, max=MAX_INT64, metavar="ID", help="Id of the result (not of the job).")
]


@app.command(epilog=examples("job-result find -i 7531117195959468033"))
def find(
    context: typer.Context, result_id: ResultId, form: FormatOption = "card", no_truncate: NoTruncate = False
) -> None:
    """Show a stored result."""
    found = session_of(context).call(calls.find, result_id)
    if found is None:
        raise not_found("job result", result_id, "job-result list")
    show_row(result_row(*found), form, no_truncate=no_truncate)


@app.command(epilog=examples("job-result listen --job-id 7531117195959468032 --worker Sleep --timeout 70000"))
def listen(
    context: typer.Context,
    job_id: JobId,
    worker: WorkerKey,
    timeout: ListenTimeout = 0,
    using: Using = None,
    form: FormatOption = "card",
    no_truncate: NoTruncate = False,
) -> None:
    """Wait for the result of a job: exit code 1 where it failed. The worker must broadcast its results."""
    found = session_of(context).call(calls.listen, job_id, id_or_name(worker), timeout, using)
    row = result_row(*found)
    show_row(row, form, no_truncate=no_truncate)
    if row.get("status") != "SUCCESS":
        raise failed_job(job_id, row.get("status"))


@app.command(epilog=examples("job-result listen-stream -j 7531117195959468032 -w Shell"))
def listen_stream(
    context: typer.Context,
    job_id: JobId,
    worker: WorkerKey,
    timeout: ListenTimeout = 0,
    using: Using = None,
    form: FormatOption = "card",
    no_truncate: NoTruncate = False,
) -> None:
    """Show the items of a streaming job as they come (json: one document per line): exit code 1 where it failed."""
    with StreamView(form, no_truncate=no_truncate) as view:
        session_of(context).call(calls.listen_stream, job_id, id_or_name(worker), timeout, using, view)


@app.command(epilog=examples("job-result listen-by-worker -w Tick", "job-result listen-by-worker -w 1 --format json"))
def listen_by_worker(
    context: typer.Context, worker: WorkerKey, form: FormatOption = "card", no_truncate: NoTruncate = False
) -> None:
    """Show every result of a worker from now on (json: one document per line), until interrupted."""

    def show(found: calls.Decoded) -> None:
        row = result_row(*found)
        if form == "json":
            emit(as_json(machine_row(row), compact=True))
        else:
            show_row(row, form, no_truncate=no_truncate)
            emit("")

    session_of(context).call(calls.listen_by_worker, id_or_name(worker), show)


@app.command("list", epilog=examples("job-result list -l 20", "job-result list --format json | jq '.[].status'"))
def list_(
    context: typer.Context,
    offset: Offset = None,
    limit: Limit = None,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """List stored results, the latest first."""
    found = session_of(context).call(calls.listing, offset, limit)
    show_rows([result_row(*each) for each in found], form, no_truncate=no_truncate)


@app.command(epilog=examples("job-result list-by-job-id -j 7531117195959468032"))
def list_by_job_id(
    context: typer.Context, job_id: JobId, form: FormatOption = "table", no_truncate: NoTruncate = False
) -> None:
    """List the stored results of one job: of each run of a periodic job, of each try of a failing one."""
    found = session_of(context).call(calls.listing_by_job_id, job_id)
    show_rows([result_row(*each) for each in found], form, no_truncate=no_truncate)


@app.command(epilog=examples("job-result delete -i 7531117195959468033"))
def delete(context: typer.Context, result_id: Id, form: FormatOption = "card") -> None:
    """Remove a stored result."""
    done = session_of(context).call(calls.delete, result_id)
    show_answer(is_success=done, form=form, what=f"there is no job result {result_id}")


@app.command()
def count(context: typer.Context) -> None:
    """Show how many results are stored."""
    emit(str(session_of(context).call(calls.count)))
