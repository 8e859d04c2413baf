"""Commands about jobs: enqueue, follow, look up, end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from jobworkerp_standalone.cli.exits import not_found
from jobworkerp_standalone.cli.gathered import gathered
from jobworkerp_standalone.cli.groups import group
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import (
    MAX_INT64,
    FormatOption,
    Id,
    Limit,
    NoTruncate,
    Offset,
    Priority,
    Using,
    WorkerKey,
    examples,
)
from jobworkerp_standalone.cli.rows import job_row, result_row, schedule_row
from jobworkerp_standalone.cli.session import session_of
from jobworkerp_standalone.cli.show import Row, emit, show_answer, show_row, show_rows
from jobworkerp_standalone.cli.streaming import StreamView, failed_job
from jobworkerp_standalone.cli.values import id_or_name, text_of
from jobworkerp_standalone.cli.workflow import CREATE_EXAMPLES, ENQUEUE_EXAMPLES, create_workflow, enqueue_workflow

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import job as calls
    from jobworkerp_standalone.cli.calls import schedule as schedules
else:
    calls, schedules = calls_of("job"), calls_of("schedule")

app = group("job", "Enqueue, follow, look up and end jobs.")

Arguments = Annotated[
    str,
    typer.Option(
        "--args", "-a", help="Arguments of the runner's method as JSON; @FILE reads a file, - standard input."
    ),
]
UniqueKey = Annotated[
    str | None, typer.Option("--unique-key", "-u", help="Refused while another job with this key has not ended.")
]
RunAfter = Annotated[
    int | None,
    typer.Option("--run-after-time", "-r", min=0, max=MAX_INT64, help="Not before this time, in Unix milliseconds."),
]
PriorityOption = Annotated[
    Priority | None,
    typer.Option("--priority", "-p", case_sensitive=False, metavar="high|middle|low", help="Before or after others."),
]
RunTimeout = Annotated[
    int,
    typer.Option(
        "--timeout",
        "-t",
        min=0,
        max=MAX_INT64,
        help="End an attempt after so many milliseconds (0: the server's default); of a stream, each wait for an item.",
    ),
]


class Wanted(NamedTuple):
    """A job."""

    worker: WorkerKey
    args: Arguments
    unique_key: UniqueKey = None
    run_after_time: RunAfter = None
    priority: PriorityOption = None
    timeout: RunTimeout = 0
    using: Using = None


@app.command(
    epilog=examples(
        'job enqueue --worker Shell --args \'{"command":"echo","args":["hello"]}\'',
        "job enqueue -w 1 -a @args.json -p high -t 60000",
        "job enqueue -w Shell -a @args.json --format json | jq .output",
    )
)
@gathered
def enqueue(
    context: typer.Context,
    wanted: Wanted,
    form: FormatOption = "card",
    no_truncate: NoTruncate = False,
) -> None:
    """Enqueue a job. Shows its id, and with a DIRECT worker its result: exit code 1 where the job failed."""
    done = session_of(context).call(calls.enqueue, _order(wanted))
    if done.result is None:
        show_row({"job_id": done.job_id}, form)
        return
    row: Row = {"job_id": done.job_id, **result_row(done.result, done.output)}
    show_row(row, form, no_truncate=no_truncate)
    if row["status"] != "SUCCESS":
        raise failed_job(done.job_id, row["status"])


@app.command(
    epilog=examples(
        'job enqueue-for-stream -w Shell -a \'{"command":"ping","args":["-c","3","127.0.0.1"]}\'',
        "job enqueue-for-stream -w Shell -a @args.json --format json  (one JSON document per line)",
    )
)
@gathered
def enqueue_for_stream(
    context: typer.Context,
    wanted: Wanted,
    form: FormatOption = "card",
    no_truncate: NoTruncate = False,
) -> None:
    """Enqueue a job and show its items as they come: exit code 1 where the job failed."""
    order = _order(wanted)
    with StreamView(form, no_truncate=no_truncate) as view:
        session_of(context).call(calls.enqueue_for_stream, order, view)


app.command(epilog=ENQUEUE_EXAMPLES)(enqueue_workflow)
app.command(epilog=CREATE_EXAMPLES)(create_workflow)


@app.command(epilog=examples("job find -i 7531117195959468032"))
def find(context: typer.Context, job_id: Id, form: FormatOption = "card", no_truncate: NoTruncate = False) -> None:
    """Show a job that has not ended. One that ended is found in 'job-result list-by-job-id'."""
    found = session_of(context).call(calls.find, job_id)
    if found is None:
        raise not_found("job", job_id, "job-status list")
    show_row(job_row(*found), form, no_truncate=no_truncate)


@app.command("list", epilog=examples("job list", "job list --limit 20 --format json"))
def list_(
    context: typer.Context,
    offset: Offset = None,
    limit: Limit = None,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """List the jobs in the database: scheduled, periodic and durable ones."""
    found = session_of(context).call(calls.listing, offset, limit)
    show_rows([job_row(*each) for each in found], form, no_truncate=no_truncate)


@app.command(epilog=examples("job schedule", "job schedule --times 10 --format json"))
def schedule(
    context: typer.Context,
    times: Annotated[int, typer.Option("--times", min=1, max=1000, help="How many times of each to show.")] = 10,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """Show what runs next and when: scheduled jobs, periodic and cron ones. Times are UTC."""
    found = session_of(context).call(schedules.schedule, times)
    show_rows([schedule_row(each, form) for each in found], form, no_truncate=no_truncate)


@app.command(epilog=examples("job delete -i 7531117195959468032"))
def delete(context: typer.Context, job_id: Id, form: FormatOption = "card") -> None:
    """End a job, waiting or running. Of a periodic job, end the schedule too."""
    done = session_of(context).call(calls.delete, job_id)
    show_answer(is_success=done, form=form, what=f"there is no job {job_id} that has not ended")


@app.command()
def count(context: typer.Context) -> None:
    """Show how many jobs are in the database."""
    emit(str(session_of(context).call(calls.count)))


@app.command(epilog=examples("job list-with-processing-status -s running"))
def list_with_processing_status(
    context: typer.Context,
    status: Annotated[
        Literal["unknown", "pending", "running", "wait-result", "wait_result", "cancelling"],
        typer.Option(
            "--status",
            "-s",
            case_sensitive=False,
            metavar="pending|running|wait-result|cancelling",
            help="What the jobs are doing.",
        ),
    ],
    limit: Limit = None,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """List the jobs in one state."""
    found = session_of(context).call(calls.listing_with_status, status, limit)
    show_rows([job_row(*each) for each in found], form, no_truncate=no_truncate)


def _order(wanted: Wanted) -> calls.Order:
    worker = id_or_name(wanted.worker)
    return calls.Order(worker, text_of("--args", wanted.args), *wanted[2:])
