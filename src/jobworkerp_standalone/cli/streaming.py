"""Shows a job's items as they come.

JSON: one document per line, nothing else on standard output. Card: what the job prints, as it prints it, and a readable
block for everything else. Table: a table of one row for each item.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self, cast

from jobworkerp_standalone.cli.exits import PROGRAM, Exit, Stop
from jobworkerp_standalone.cli.show import Format, Row, as_card, as_json, as_table, emit, note

_OUTPUTS: Final = ("stdout", "stderr")


class StreamView:
    """Shows one stream, and then ends the command as the job ended."""

    def __init__(self, form: Format, *, no_truncate: bool) -> None:
        self._form = form
        self._no_truncate = no_truncate
        self._job_id: int | None = None
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say how to end the job, where only the watching ended."""
        left = isinstance(error, KeyboardInterrupt) or (isinstance(error, Stop) and error.code is Exit.NO_READER)
        if left and self._job_id is not None:
            note(f"the job goes on; '{PROGRAM} job delete -i {self._job_id}' ends it")

    def started(self, job_id: int | None) -> None:
        """Say which job it is."""
        self._job_id = job_id
        if job_id is not None:
            note(f"job_id: {job_id}")

    def item(self, value: Any) -> None:
        """Show an item."""
        self._count += 1
        if self._form == "json":
            emit(as_json(value, compact=True))
        elif self._form == "table":
            emit(as_table([_row(value) or {"item": value}], no_truncate=self._no_truncate))
        else:
            self._card(value)

    def skipped(self, count: str) -> None:
        """Say that the beginning is missing."""
        note(f"{count} earlier items are not kept any more (STREAM_STORE_MAX_BYTES of the server)")

    def ended(self, status: str | None, text: str) -> None:
        """Say how it ended.

        Raises:
            Stop: the job did not end well.
        """
        if status not in (None, "SUCCESS"):
            raise failed_job(self._job_id, status, text)
        if self._form != "json":
            note("no items: the worker answers NO_RESULT, or the job printed nothing" if not self._count else "done")

    def _card(self, value: Any) -> None:
        row = _row(value)
        if row is None:
            emit(str(value))
            return
        printed = {key: text for key, text in row.items() if key in _OUTPUTS and isinstance(text, str)}
        rest = {key: each for key, each in row.items() if key not in printed}
        for key, text in printed.items():
            emit(text, end="") if key == "stdout" else note(text, end="", raw=True)  # as it came, line ends included
        if rest:
            show = note if printed or _is_outcome(rest) else emit
            show(as_card(rest, no_truncate=self._no_truncate))


def failed_job(job_id: int | None, status: str | None, text: str = "") -> Stop:
    """Return the end of a command whose job failed."""
    return Stop(Exit.FAILED, f"job {job_id if job_id is not None else ''} ended with {status}{': ' * bool(text)}{text}")


def _row(value: Any) -> Row | None:
    return cast("Row", value) if isinstance(value, Mapping) else None


def _is_outcome(item: Mapping[str, Any]) -> bool:
    return "exitCode" in item
