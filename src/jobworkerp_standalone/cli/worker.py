"""Commands about workers: runners with their settings, ready for jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import typer
from typer.core import TyperCommand

from jobworkerp_standalone.cli.exits import Exit, Stop, not_found, usage
from jobworkerp_standalone.cli.gathered import gathered
from jobworkerp_standalone.cli.groups import group
from jobworkerp_standalone.cli.lazy import calls_of
from jobworkerp_standalone.cli.options import (
    FormatOption,
    Id,
    Limit,
    Name,
    NoTruncate,
    Offset,
    QueueType,
    ResponseType,
    RetryType,
    TrueFalse,
    examples,
)
from jobworkerp_standalone.cli.rows import worker_row
from jobworkerp_standalone.cli.session import environment, session_of
from jobworkerp_standalone.cli.show import emit, show_answer, show_row, show_rows
from jobworkerp_standalone.cli.values import id_or_name, switch, text_of

if TYPE_CHECKING:
    from jobworkerp_standalone.cli.calls import apply as apply_calls
    from jobworkerp_standalone.cli.calls import worker as calls
else:
    apply_calls = calls_of("apply")
    calls = calls_of("worker")

app = group("worker", "Runners with their settings, ready for jobs.")

_MAX_UINT32: Final = 2**32 - 1
Description = Annotated[str | None, typer.Option("--description", "-d", help="What it is for.")]
RunnerKey = Annotated[str | None, typer.Option("--runner-id", "--runner", "-r", help="Id or name of its runner.")]
RunnerName = Annotated[str | None, typer.Option("--runner-name", help="Name of its runner, also one made of digits.")]
SettingsText = Annotated[
    str | None,
    typer.Option(
        "--settings", "-s", help="Settings of the runner as JSON; @FILE reads a file, - standard input, '' means none."
    ),
]
Periodic = Annotated[
    int | None,
    typer.Option("--periodic", "-p", min=0, max=_MAX_UINT32, help="Run again every so many milliseconds (0: once)."),
]
QueueOption = Annotated[
    QueueType | None,
    typer.Option(
        "--queue-type",
        "-q",
        case_sensitive=False,
        metavar="NORMAL|WITH_BACKUP|DB_ONLY",
        help="Where its jobs wait: in memory, in memory and the database, or in the database only.",
    ),
]
ResponseOption = Annotated[
    ResponseType | None,
    typer.Option(
        "--response-type",
        case_sensitive=False,
        metavar="DIRECT|NO_RESULT",
        help="DIRECT: enqueue waits for the result. NO_RESULT: it answers with the job's id at once.",
    ),
]
ChannelOption = Annotated[
    str | None, typer.Option("--channel", "-c", help="Where its jobs run; '' or [default] is the default channel.")
]
_STORE_SUCCESS: Final[Any] = typer.Option("--store-success", case_sensitive=False, help="Keep results of success.")
_STORE_FAILURE: Final[Any] = typer.Option("--store-failure", case_sensitive=False, help="Keep results of failure.")
_USE_STATIC: Final[Any] = typer.Option("--use-static", case_sensitive=False, help="Keep runners warm between jobs.")
_BROADCAST: Final[Any] = typer.Option(
    "--broadcast-results", case_sensitive=False, help="Let others listen for results ('job-result listen')."
)
Cron = Annotated[
    str | None,
    typer.Option(
        "--cron", help="Run at these times: minute hour day month weekday [second]; '' for none. Needs NO_RESULT."
    ),
]
CronTimezone = Annotated[
    str | None, typer.Option("--cron-timezone", help="IANA zone of the cron times, for example Europe/Berlin (UTC).")
]
CronMisfire = Annotated[
    Literal["run-once-now", "skip"] | None,
    typer.Option(
        "--cron-misfire", case_sensitive=False, help="What is done about runs that were missed, also periodic ones."
    ),
]
NextWorkers = Annotated[
    str | None,
    typer.Option(
        "--next-workers",
        metavar="ID,ID",
        help="Workers that run after a success, the bytes of its result as their args; '': none.",
    ),
]
_OVERLAP: Final[Any] = typer.Option(
    "--allow-overlap", case_sensitive=False, help="A scheduled run does not wait for the one before it to end."
)
RetryTypeOption = Annotated[
    RetryType | None, typer.Option("--retry-type", case_sensitive=False, help="How the pause between tries grows.")
]
RetryInterval = Annotated[
    int | None, typer.Option("--retry-interval", min=0, max=_MAX_UINT32, help="First pause, in milliseconds.")
]
RetryMaxInterval = Annotated[
    int | None, typer.Option("--retry-max-interval", min=0, max=_MAX_UINT32, help="Longest pause, in milliseconds.")
]
MaxRetry = Annotated[
    int | None, typer.Option("--max-retry", min=0, max=_MAX_UINT32, help="Further tries after a failure (0: none).")
]
RetryBasis = Annotated[
    float | None, typer.Option("--retry-basis", help="Factor by which an exponential pause grows; at least 1.")
]


class _ChannelMayBeEmpty(TyperCommand):
    """Lets ``-c`` stand without a value, which means the default channel."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the empty value where it was left out."""
        return super().parse_args(ctx, list(_with_empty_channel(args)))


def _with_empty_channel(arguments: Sequence[str]) -> Sequence[str]:
    filled: list[str] = []
    for position, argument in enumerate(arguments):
        filled.append(argument)
        following = arguments[position + 1 : position + 2]
        if argument in ("-c", "--channel") and (not following or following[0].startswith("-")):
            filled.append("")
    return filled


class New(NamedTuple):
    """A worker that is to be."""

    name: Name
    description: Description = ""
    runner: RunnerKey = None
    runner_name: RunnerName = None
    settings: SettingsText = ""
    periodic: Periodic = 0
    cron: Cron = None
    cron_timezone: CronTimezone = None
    cron_misfire: CronMisfire = None
    allow_overlap: Annotated[bool, _OVERLAP] = False
    next_workers: NextWorkers = None
    channel: ChannelOption = None
    queue_type: QueueOption = "NORMAL"
    response_type: ResponseOption = "DIRECT"
    store_success: Annotated[bool, _STORE_SUCCESS] = False
    store_failure: Annotated[bool, _STORE_FAILURE] = False
    use_static: Annotated[bool, _USE_STATIC] = False
    broadcast_results: Annotated[bool, _BROADCAST] = False
    retry_type: RetryTypeOption = "exponential"
    retry_interval: RetryInterval = 800
    retry_max_interval: RetryMaxInterval = 60_000
    max_retry: MaxRetry = 1
    retry_basis: RetryBasis = 2.0


@app.command(
    epilog=examples(
        "worker create -n Shell -r COMMAND",
        'worker create --name Search --runner-id 2 --settings \'{"base_url":"https://www.example.com"}\'',
        "worker create -n Tick -r 1 --periodic 3000 --response-type NO_RESULT --store-success --broadcast-results",
        "worker create -n Nightly -r 1 --cron '30 2 * * *' --cron-timezone Europe/Berlin --response-type NO_RESULT",
    )
)
@gathered
def create(
    context: typer.Context,
    given: New,
    form: FormatOption = "card",
) -> None:
    """Add a worker. Shows its id."""
    worker_id = session_of(context).call(calls.create, _changes(given, new=True))
    show_row({"id": worker_id}, form)


@app.command(epilog=examples("worker find -i 1"))
def find(context: typer.Context, worker_id: Id, form: FormatOption = "card", no_truncate: NoTruncate = False) -> None:
    """Show a worker by id."""
    _show(context, worker_id, form, no_truncate=no_truncate)


@app.command(epilog=examples("worker find-by-name -n Shell --format json"))
def find_by_name(
    context: typer.Context, name: Name, form: FormatOption = "card", no_truncate: NoTruncate = False
) -> None:
    """Show a worker by name."""
    _show(context, name, form, no_truncate=no_truncate)


@app.command("list", epilog=examples("worker list", "worker list --limit 20 --offset 40 --format json"))
def list_(
    context: typer.Context,
    offset: Offset = None,
    limit: Limit = None,
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """List workers."""
    found = session_of(context).call(calls.listing, offset, limit)
    show_rows([worker_row(worker, settings, form) for worker, settings in found], form, no_truncate=no_truncate)


class Changed(NamedTuple):
    """What of a worker is to be another; None stays as it is."""

    name: Annotated[str | None, typer.Option("--name", "-n", help="Its new name.")] = None
    description: Description = None
    runner: RunnerKey = None
    runner_name: RunnerName = None
    settings: SettingsText = None
    periodic: Periodic = None
    cron: Cron = None
    cron_timezone: CronTimezone = None
    cron_misfire: CronMisfire = None
    allow_overlap: Annotated[TrueFalse | None, _OVERLAP] = None
    next_workers: NextWorkers = None
    channel: ChannelOption = None
    queue_type: QueueOption = None
    response_type: ResponseOption = None
    store_success: Annotated[TrueFalse | None, _STORE_SUCCESS] = None
    store_failure: Annotated[TrueFalse | None, _STORE_FAILURE] = None
    use_static: Annotated[TrueFalse | None, _USE_STATIC] = None
    broadcast_results: Annotated[TrueFalse | None, _BROADCAST] = None
    retry_type: RetryTypeOption = None
    retry_interval: RetryInterval = None
    retry_max_interval: RetryMaxInterval = None
    max_retry: MaxRetry = None
    retry_basis: RetryBasis = None


@app.command(
    cls=_ChannelMayBeEmpty,
    epilog=examples(
        "worker update -i 1 --store-success true --channel gpu", "worker update -i 1 -c  (default channel)"
    ),
)
@gathered
def update(
    context: typer.Context,
    worker_id: Id,
    given: Changed,
    form: FormatOption = "card",
) -> None:
    """Change a worker. What is not named stays as it is."""
    done = session_of(context).call(calls.update, worker_id, _changes(given, new=False))
    show_answer(is_success=done, form=form, what=f"worker {worker_id} was not changed")


@app.command(epilog=examples("worker delete -i 1"))
def delete(context: typer.Context, worker_id: Id, form: FormatOption = "card") -> None:
    """Remove a worker. Its waiting jobs end with a result that says so."""
    done = session_of(context).call(calls.delete, worker_id)
    show_answer(is_success=done, form=form, what=f"there is no worker {worker_id}")


@app.command(epilog=examples("worker apply workers.yaml", "worker apply workers.yaml --format json"))
def apply(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML with the list 'workers', and maybe 'defaults'.")],
    form: FormatOption = "table",
    no_truncate: NoTruncate = False,
) -> None:
    """Add or replace the workers of a file, by name. Nothing is written where the file is wrong."""
    from jobworkerp_standalone.cli.manifest import BadManifest, read_workers  # noqa: PLC0415 - loads YAML
    from jobworkerp_standalone.cli.reading import TooLarge  # noqa: PLC0415 - loaded by that

    try:
        entries = read_workers(file.expanduser(), environment())
    except BadManifest as error:
        raise Stop(Exit.FAILED, f"{file}: {error}") from error
    except (OSError, UnicodeDecodeError, TooLarge) as error:
        raise usage(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    done = session_of(context).call(apply_calls.apply, entries)
    rows = [{"name": name, "worker_id": worker_id} for name, worker_id in sorted(done.ids.items())]
    if rows or done.failure is None:
        show_rows(rows, form, no_truncate=no_truncate)
    if done.failure is not None:
        raise Stop(Exit.FAILED, f"{file}: {done.failure}")


@app.command()
def count(context: typer.Context) -> None:
    """Show how many workers there are."""
    emit(str(session_of(context).call(calls.count)))


def _show(context: typer.Context, key: int | str, form: FormatOption, *, no_truncate: bool) -> None:
    found = session_of(context).call(calls.find, key)
    if found is None:
        raise not_found("worker", key, "worker list")
    show_row(worker_row(*found, form), form, no_truncate=no_truncate)


def _changes(given: New | Changed, *, new: bool) -> calls.Changes:
    runner = _runner(given.runner, given.runner_name, needed=new)
    switches = (given.store_success, given.store_failure, given.use_static, given.broadcast_results)
    cron = (given.cron, given.cron_timezone, given.cron_misfire)
    pauses = (given.retry_type, given.retry_interval, given.retry_max_interval)
    return calls.Changes(
        calls.What(given.name, given.description, runner, _settings(given.settings)),
        calls.How(given.periodic, given.channel, given.queue_type, given.response_type),
        calls.Flags(*map(switch, switches)),
        calls.Retry(*pauses, given.max_retry, given.retry_basis),
        calls.Schedule(*cron, switch(given.allow_overlap), _ids(given.next_workers)),
    )


def _runner(key: str | None, name: str | None, *, needed: bool) -> int | str | None:
    if key is not None and name is not None:
        raise usage("give --runner-id or --runner-name, not both")
    if name is not None:
        return name
    if key is None and needed:
        raise usage("missing option --runner-id (or --runner-name); 'jobworkerp runner list' shows what there is")
    return None if key is None else id_or_name(key)


def _ids(text: str | None) -> list[int] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    ids = [id_or_name(part) for part in parts]
    if not all(isinstance(each, int) for each in ids):
        raise usage(f"--next-workers {text!r}: write ids of workers, separated by commas")
    return [each for each in ids if isinstance(each, int)]


def _settings(text: str | None) -> str | None:
    return None if text is None else text_of("--settings", text)
