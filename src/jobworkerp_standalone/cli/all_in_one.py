"""The command that runs the daemon."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Literal, NamedTuple

import typer

from jobworkerp_standalone.cli.exits import Exit, Stop, usage
from jobworkerp_standalone.cli.gathered import gathered
from jobworkerp_standalone.cli.groups import alone
from jobworkerp_standalone.cli.options import examples
from jobworkerp_standalone.cli.session import environment

GrpcAddr = Annotated[
    str | None, typer.Option("--grpc-addr", help="Where to listen (GRPC_ADDR), for example 127.0.0.1:9000.")
]
Database = Annotated[
    str | None, typer.Option("--db", metavar="PATH", help="Database file, or :memory: to keep nothing (SQLITE_URL).")
]
SqliteUrl = Annotated[str | None, typer.Option("--sqlite-url", help="The same as sqlite://PATH (SQLITE_URL).")]
Concurrency = Annotated[
    int | None,
    typer.Option(
        "--concurrency", min=0, max=100_000, help="Slots of the default channel (WORKER_DEFAULT_CONCURRENCY)."
    ),
]
Channels = Annotated[
    list[str] | None,
    typer.Option("--channel", metavar="NAME=SLOTS", help="A further channel; may be repeated (WORKER_CHANNELS)."),
]
PluginsDir = Annotated[
    str | None, typer.Option("--plugins-dir", help="Directories of drop-in runners (PLUGINS_RUNNER_DIR).")
]
McpConfig = Annotated[str | None, typer.Option("--mcp-config", help="File that lists MCP servers (MCP_CONFIG).")]
Grace = Annotated[
    int | None,
    typer.Option(
        "--shutdown-grace", min=0, max=1_000_000, help="Seconds that running jobs get to end (SHUTDOWN_GRACE_SEC)."
    ),
]
LogLevel = Annotated[
    Literal["trace", "debug", "info", "warn", "error"] | None,
    typer.Option("--log-level", case_sensitive=False, help="Least level that is logged (LOG_LEVEL)."),
]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log one JSON object per line (LOG_USE_JSON).")]


app = alone()


class Given(NamedTuple):
    """Settings on the command line."""

    grpc_addr: GrpcAddr = None
    db: Database = None
    sqlite_url: SqliteUrl = None
    concurrency: Concurrency = None
    channel: Channels = None
    plugins_dir: PluginsDir = None
    mcp_config: McpConfig = None
    shutdown_grace: Grace = None
    log_level: LogLevel = None
    log_json: LogJson = False


@app.command(epilog=examples("all-in-one", "all-in-one --grpc-addr 0.0.0.0:9000 --db data/jobs.sqlite3"))
@gathered
def all_in_one(given: Given) -> None:
    """Run the daemon: gRPC server, queues, storage and workers in one process.

    Options come before environment variables, these before a .env file. The first Ctrl-C lets running jobs end, the
    second does not wait for them.
    """
    if given.db is not None and given.sqlite_url is not None:
        raise usage("give --db or --sqlite-url, not both")
    settings = {
        "GRPC_ADDR": given.grpc_addr,
        "SQLITE_URL": given.sqlite_url if given.db is None else f"sqlite://{given.db}",
        "WORKER_DEFAULT_CONCURRENCY": given.concurrency,
        "PLUGINS_RUNNER_DIR": given.plugins_dir,
        "MCP_CONFIG": given.mcp_config,
        "SHUTDOWN_GRACE_SEC": given.shutdown_grace,
        "LOG_LEVEL": given.log_level,
        "LOG_USE_JSON": "true" if given.log_json else None,
        **_channels(given.channel or ()),
    }
    run({name: str(value) for name, value in settings.items() if value is not None})


def run(options: Mapping[str, str]) -> None:
    """Run the daemon until a signal ends it.

    Raises:
        Stop: it cannot start.
    """
    from jobworkerp_standalone.daemon import main  # noqa: PLC0415 - the whole engine
    from jobworkerp_standalone.jobs.errors import SettingsError, StorageError  # noqa: PLC0415
    from jobworkerp_standalone.log import set_up_logging  # noqa: PLC0415
    from jobworkerp_standalone.settings import load_settings  # noqa: PLC0415

    os.environ.update({**environment(), **options})  # a .env file also reaches the programs that jobs start
    try:
        settings = load_settings(os.environ)
        set_up_logging(settings)
        main(settings)
    except (SettingsError, StorageError, ExceptionGroup) as error:
        causes = list(_causes(error))
        text = "\n".join(map(str, causes))
        if all(isinstance(each, SettingsError) for each in causes):
            raise usage(text) from error
        if all(isinstance(each, SettingsError | StorageError) for each in causes):
            raise Stop(Exit.FAILED, text) from error
        raise


def _channels(given: Sequence[str]) -> Mapping[str, str]:
    if not given:
        return {}
    pairs = [each.rpartition("=") for each in given]
    if any(not name or not slots.isdigit() for name, _, slots in pairs):
        raise usage("--channel: write NAME=SLOTS, for example --channel gpu=1")
    return {
        "WORKER_CHANNELS": ",".join(name for name, _, _ in pairs),
        "WORKER_CHANNEL_CONCURRENCIES": ",".join(slots for _, _, slots in pairs),
    }


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors themselves, out of the groups that task groups wrap around them."""
    if isinstance(error, BaseExceptionGroup):
        group: BaseExceptionGroup[BaseException] = error  # pyright: ignore[reportUnknownVariableType] - narrowed
        for each in group.exceptions:
            yield from _causes(each)
    else:
        yield error
