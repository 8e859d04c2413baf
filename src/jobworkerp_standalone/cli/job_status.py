"""Commands about states: what the jobs that have not ended are doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from jobworkerp_standalone.cli.exits import not_found
from jobworkerp_standalone.cli.gathered import gathered
from jobworkerp_standalone.cli.groups import group
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import (
    MAX_INT32,
    MAX_INT64,
    FormatOption,
    Id,
    Limit,
    NoTruncate,
    Offset,
    TrueFalse,
    examples,
)
from jobworkerp_standalone.cli.rows import status_row, word
from jobworkerp_standalone.cli.session import session_of
from jobworkerp_standalone.cli.show import Moment, show_row, show_rows
from jobworkerp_standalone.cli.values import switch

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import job_status as calls
else:
    calls = calls_of("job_status")

app = group("job-status", "What the jobs that have not ended are doing.")

_STATUS = typer.Option(
    "--status",
    "-s",
    case_sensitive=False,
    metavar="pending|running|wait-result|cancelling",
    help="Only jobs in this state.",
)
Status = Annotated[Literal["unknown", "pending", "running", "wait-result", "wait_result", "cancelling"] | None, _STATUS]


@app.command(epilog=examples("job-status find -i 7531117195959468032"))
def find(context: typer.Context, job_id: Id, form: FormatOption = "card") -> None:
    """Show what a job is doing. One that ended has no state any longer, but a result."""
    status = session_of(context).call(calls.find, job_id)
    if status is None:
        raise not_found("job", job_id, "job-status list")
    show_row({"id": job_id, "status": word(status)}, form)


@app.command("list", epilog=examples("job-status list --format json"))
def list_(context: typer.Context, form: FormatOption = "table", no_truncate: NoTruncate = False) -> None:
    """List what every job is doing."""
    found = session_of(context).call(calls.listing)
    rows = [{"id": job_id, "status": word(status)} for job_id, status in found]
    show_rows(rows, form, no_truncate=no_truncate)


class Wanted(NamedTuple):
    """Which jobs are looked for."""

    status: Status = None
    worker_id: Annotated[
        int | None, typer.Option("--worker-id", "-w", min=0, max=MAX_INT64, help="Only jobs of this worker.")
    ] = None
    channel: Annotated[str | None, typer.Option("--channel", "-c", help="Only jobs on this channel.")] = None
    min_elapsed_time: Annotated[
        int | None,
        typer.Option("--min-elapsed-time", "-m", min=0, max=MAX_INT64, help="Only jobs running so many milliseconds."),
    ] = None
    limit: Limit = None
    offset: Offset = None
    descending: Annotated[
        TrueFalse | None, typer.Option("--descending", "-d", case_sensitive=False, help="The latest start first.")
    ] = None


@app.command(epilog=examples("job-status search -s running -m 60000 --descending true", "job-status search -w 1 -l 10"))
@gathered
def search(
    context: typer.Context,
    wanted: Wanted,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """Search the jobs that have not ended. At most 100 are shown, or --limit (up to 1000)."""
    search = calls.Search(*wanted[:-1], switch(wanted.descending))
    found = session_of(context).call(calls.search, search)
    show_rows([status_row(each) for each in found], form, no_truncate=no_truncate)


@app.command(epilog=examples("job-status cleanup", "job-status cleanup -r 48"))
def cleanup(
    context: typer.Context,
    retention_hours: Annotated[
        int | None,
        typer.Option(
            "--retention-hours", "-r", min=0, max=MAX_INT32, help="Keep what is younger (default: the server's)."
        ),
    ] = None,
    form: FormatOption = "card",
) -> None:
    """Forget the states of jobs that ended long ago."""
    reply = session_of(context).call(calls.cleanup, retention_hours)
    row = {
        "deleted_count": reply.deleted_count,
        "cutoff_time": Moment(reply.cutoff_time),
        "message": reply.message,
    }
    show_row(row, form)
