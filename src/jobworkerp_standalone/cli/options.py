"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import typer

from jobworkerp_standalone.cli.show import Format

FormatOption = Annotated[
    Format,
    typer.Option("--format", case_sensitive=False, help="How to show it. json is never coloured; a list is an array."),
]
NoTruncate = Annotated[bool, typer.Option("--no-truncate", help="Show long texts, arrays and objects in full.")]
MAX_INT32: Final = 2**31 - 1
MAX_INT64: Final = 2**63 - 1
Offset = Annotated[int | None, typer.Option("--offset", "-o", min=0, max=MAX_INT32, help="How many to skip.")]
Limit = Annotated[int | None, typer.Option("--limit", "-l", min=0, max=MAX_INT32, help="How many to show at most.")]
Id = Annotated[int, typer.Option("--id", "-i", min=-MAX_INT64, max=MAX_INT64, metavar="ID", help="Its id.")]
Name = Annotated[str, typer.Option("--name", "-n", help="Its name.")]
JobId = Annotated[
    int,
    typer.Option(
        "--job-id", "-j", min=0, max=MAX_INT64, metavar="ID", help="Id of the job, as 'job enqueue' shows it."
    ),
]
WorkerKey = Annotated[str, typer.Option("--worker", "-w", help="Id or name of the worker.")]
Using = Annotated[
    str | None, typer.Option("--using", help="Method of the runner, where it has more than one (default: run).")
]
ListenTimeout = Annotated[
    int, typer.Option("--timeout", "-t", min=0, max=MAX_INT64, help="Wait at most so many milliseconds (0: for ever).")
]
Priority = Literal["high", "middle", "medium", "low"]
QueueType = Literal["NORMAL", "WITH_BACKUP", "DB_ONLY", "FORCED_RDB"]
ResponseType = Literal["NO_RESULT", "DIRECT"]
RetryType = Literal["none", "exponential", "linear", "constant"]
TrueFalse = Literal["true", "false"]


def examples(*lines: str) -> str:
    """Return the end of a command's help; every line without the program's name."""
    return "\b\nExamples:\n" + "\n".join(f"  jobworkerp {line}" for line in lines)
