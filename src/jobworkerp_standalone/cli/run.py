"""The command ``run``, and those of the group ``workflow`` that run something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from jobworkerp_standalone.cli.exits import RUN_EXIT_HELP, not_empty, usage
from jobworkerp_standalone.cli.gathered import gathered
from jobworkerp_standalone.cli.groups import alone
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import MAX_INT64, FormatOption, NoTruncate, examples
from jobworkerp_standalone.cli.rows import waiting_row
from jobworkerp_standalone.cli.session import Session, session_of
from jobworkerp_standalone.cli.show import show_rows

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import dev as dev_calls
    from jobworkerp_standalone.cli.calls import running as calls
else:
    calls, dev_calls = calls_of("running"), calls_of("dev")

File = Annotated[str, typer.Argument(metavar="FILE", help="The workflow; - is standard input.")]
Input = Annotated[
    str, typer.Option("--input", "-i", help="Its input: JSON, or text; @FILE reads a file, - standard input.")
]
Context = Annotated[
    str | None, typer.Option("--context", help="Variables of its expressions, a JSON object; @FILE reads a file.")
]
Server = Annotated[
    str | None,
    typer.Option("--server", "-s", metavar="ADDR", help="Use this server instead of a daemon in this process."),
]
Database = Annotated[
    str | None,
    typer.Option(
        "--db", metavar="PATH", help="The file with the runs that wait; else one in ~/.local/state/jobworkerp."
    ),
]
Form = Annotated[
    Literal["text", "json"],
    typer.Option("--format", case_sensitive=False, help="text: the output alone; json: status, output and tasks."),
]
Events = Annotated[
    Literal["ndjson"] | None,
    typer.Option("--events", case_sensitive=False, help="Show each event as a line of JSON, the last is the result."),
]
Junit = Annotated[
    str | None, typer.Option("--junit", metavar="FILE", help="Write a report in the form of JUnit, a case per task.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not show how it goes on.")]
Timeout = Annotated[
    int | None,
    typer.Option("--timeout", "-t", min=1, max=MAX_INT64, metavar="MS", help="End the whole run after this time."),
]
Bare = Annotated[bool, typer.Option("--bare", help="Allow a file that has 'do' but no 'document'.")]
RUN_HELP = (
    examples(
        "run flow.yml",
        "run ls.yaml -i /",
        "run flow.yml -i @input.json --junit report.xml",
        "run flow.yml --format json",
    )
    + "\n\n"
    + RUN_EXIT_HELP
)
RESUME_HELP = examples("workflow resume 7531569311698124800 --payload '{\"approved\":true}'") + "\n\n" + RUN_EXIT_HELP
WAITING_HELP = examples("workflow waiting", "workflow waiting --server http://127.0.0.1:9000 --format json")
DEV_HELP = examples("workflow dev flow.yml -i '{}'")


app = alone()


class What(NamedTuple):
    """What is run."""

    file: File
    input_: Input = ""
    variables: Context = None
    timeout: Timeout = None
    bare: Bare = False


class At(NamedTuple):
    """Where it runs, or waits."""

    server: Server = None
    db: Database = None


class Told(NamedTuple):
    """How it is told of."""

    form: Form = "text"
    events: Events = None
    junit: Junit = None
    quiet: Quiet = False


@app.command(epilog=RUN_HELP)
@gathered
def run(
    context: typer.Context,
    what: What,
    at: At,
    told: Told,
) -> None:
    """Run a workflow to its end, without a server.

    On a terminal its tasks are shown while they run, elsewhere a line for each change, both on standard error; the
    output goes to standard output. What a document schedules (every, cron, ...) is run once.
    """
    raise typer.Exit(calls.run_file(calls.Wanted(*what), _place(context, at), _report(what.file, told)))


@gathered
def resume(
    context: typer.Context,
    job_id: Annotated[int, typer.Argument(metavar="ID", min=1, max=MAX_INT64, help="Id of the job that waits.")],
    payload: Annotated[
        str | None,
        typer.Option("--payload", "-p", help="What the waiting task puts out: JSON; @FILE reads a file, - input."),
    ] = None,
    position: Annotated[
        str | None, typer.Option("--from", metavar="POSITION", help="Begin again at this task (/ROOT/do/1/name).")
    ] = None,
    *,
    at: At,
    told: Told,
) -> None:
    """Go on with a run that waits (then: wait), in a new job. Shows it as 'run' does."""
    report = _report(f"job {job_id}", told)
    raise typer.Exit(calls.resume_job(_place(context, at), job_id, payload, position, report))


@gathered
def waiting(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", "-l", min=1, max=1000, help="How many to show at most.")] = 100,
    *,
    at: At,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """List runs that wait (then: wait) and that nobody goes on with by now, the latest first."""
    rows = calls.waiting_runs(_place(context, at), limit)
    show_rows([waiting_row(each, form) for each in rows], form, no_truncate=no_truncate)


def dev(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow.")],
    input_: Annotated[
        str, typer.Option("--input", "-i", help="Its input: JSON, or text; @FILE is read again when it is saved.")
    ] = "",
    variables: Context = None,
    bare: Bare = False,
) -> None:
    """Run a workflow whenever its file is saved, from the first task that was changed. Ctrl-C ends it."""
    if file == "-" or input_ == "-":
        raise usage("workflow dev needs files: it reads them again")
    raise typer.Exit(dev_calls.develop(calls.Wanted(file, input_, variables, None, bare=bare)))


def _place(context: typer.Context, at: At) -> calls.Place:
    """Return the server that was named; where none was, a place in this process."""
    before = session_of(context)
    address = before.address if at.server is None else not_empty("--server", at.server)
    return calls.place_of(None if address is None else Session(address, before.timeout_ms), at.db)


def _report(name: str, told: Told) -> calls.Report:
    return calls.telling(name, told.form, told.events, told.junit, quiet=told.quiet)
