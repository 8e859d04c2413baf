"""Ways to watch a run: a live tree on a terminal, a line for each change elsewhere, one JSON document per event."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from jobworkerp_standalone.cli.progress import Progress, TaskLine, TaskState
from jobworkerp_standalone.cli.show import as_json, coloured, emit, note
from jobworkerp_standalone.client.workflows import State, WorkflowRun
from jobworkerp_standalone.jobs.visible import one_line, printable
from jobworkerp_standalone.pb.jobworkerp.standalone import WatchedEvent

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

_MARKS: Final = {
    TaskState.RUNNING: ("*", "cyan"),
    TaskState.COMPLETED: ("+", "green"),
    TaskState.FAULTED: ("x", "red"),
    TaskState.SKIPPED: ("-", "bright_black"),
    TaskState.WAITING: ("?", "yellow"),
    TaskState.CANCELLED: ("!", "yellow"),
}
_SIGNS: Final = {"+": "✓", "x": "✗", "*": "●", "-": "·", "?": "◌", "!": "■"}
_PER_SECOND: Final = 8
_AROUND: Final = 2
"""Lines of the terminal that are left to the title and to what follows."""


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """How somebody wants to watch."""

    form: Literal["text", "json"] = "text"
    events: bool = False
    """One JSON document per event on standard output."""
    quiet: bool = False


class View(Protocol):
    """Shows a run while it goes on."""

    def take(self, event: WatchedEvent, changed: TaskLine | None, /) -> None:
        """Something happened."""
        ...

    def say(self, text: str) -> None:
        """Tell people something."""
        ...


class Lines:
    """A line on standard error for each change of a task, for logs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def take(self, event: WatchedEvent, changed: TaskLine | None, /) -> None:
        """Write what changed."""
        if event.workflow_started is not None:
            note(f"{_clock(event.time_ms)} run {self._progress.run_id} of {self._progress.name}")
        elif event.task_retried is not None:
            told = event.task_retried
            note(f"{_clock(event.time_ms)} {told.position}: retry {told.retry} in {seconds(told.delay_ms)}")
        elif changed is not None:
            note(f"{_clock(event.time_ms)} {one_line(changed.position)}: {_change(event, changed)}")

    def say(self, text: str) -> None:
        """Write it."""
        note(text)


class Tree:
    """The tasks as a tree that changes in place."""

    def __init__(self, progress: Progress, title: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - on terminals only
        from rich.live import Live  # noqa: PLC0415

        self._progress = progress
        self._title = title
        self._offset_ms = 0
        self._unicode = (sys.stderr.encoding or "").lower().startswith("utf")
        self._more = "…" if self._unicode else "..."
        self._console = Console(stderr=True, no_color=not coloured(sys.stderr), highlight=False)
        self.live = Live(
            console=self._console,
            get_renderable=self._picture,
            refresh_per_second=_PER_SECOND,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="ellipsis",
        )

    def take(self, event: WatchedEvent, _changed: TaskLine | None, /) -> None:
        """Note how the server's clock stands to ours; the picture is drawn in time."""
        self._offset_ms = event.time_ms - int(time.time() * 1000)

    def say(self, text: str) -> None:
        """Write it above the tree."""
        with suppress(OSError):  # the terminal may have gone
            self._console.print(printable(text), markup=False)

    def _picture(self) -> RenderableType:
        from rich.table import Table  # noqa: PLC0415 - on terminals only
        from rich.text import Text  # noqa: PLC0415

        progress, now = self._progress, int(time.time() * 1000) + self._offset_ms
        end = progress.now_ms if progress.ended else now
        took = seconds(max(0, end - progress.started_ms)) if progress.started_ms else ""
        lines, hidden = list(progress.lines()), 0
        if not progress.closed:
            lines, hidden = in_view(lines, self._console.size.height - _AROUND)
        rows = [(Text(one_line(self._title), style="bold"), took, "", Text())]
        if hidden:
            rows.append((Text(f"  {self._more} {hidden} more", style="bright_black"), "", "", Text()))
        rows += [self._row(line, now) for line in lines]
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_column(justify="right", no_wrap=True, min_width=max(len(row[1]) for row in rows))
        table.add_column(no_wrap=True, style="bright_black", min_width=max(len(row[2]) for row in rows))
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for row in rows:
            table.add_row(*row)
        return table

    def _row(self, line: TaskLine, now_ms: int) -> tuple[Text, str, str, Text]:
        from rich.text import Text  # noqa: PLC0415 - on terminals only

        mark, style = _MARKS[line.state]
        name = Text("  " * (line.depth + 1))
        name.append(f"{_SIGNS[mark] if self._unicode else mark} ", style=style)
        name.append(one_line(line.name))
        took = "" if line.state is TaskState.SKIPPED else seconds(line.took_ms(now_ms))
        failed = line.state is TaskState.FAULTED
        said = Text(line.reason if failed else line.output, style="red" if failed else "bright_black")
        return name, took, times(line), said


class Events:
    """One JSON document per event, on standard output."""

    def take(self, event: WatchedEvent, _changed: TaskLine | None, /) -> None:
        """Write it."""
        emit(as_json(event_json(event), compact=True))

    def say(self, text: str) -> None:
        """Tell people; never on standard output."""
        note(text)


class Silent:
    """Nothing but what people must be told."""

    def take(self, _event: WatchedEvent, _changed: TaskLine | None, /) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Write it."""
        note(text)


def view_for(options: ViewOptions, progress: Progress, title: str) -> View:
    """Return the way to watch that fits the options and where standard error goes."""
    if options.events:
        return Events()
    if options.quiet:
        return Silent()
    terminal = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    return Tree(progress, title) if terminal else Lines(progress)


@contextmanager
def watched(view: View) -> Iterator[View]:
    """Show a run for as long as this is entered."""
    if not isinstance(view, Tree):
        yield view
        return
    view.live.start()
    try:
        yield view
    finally:
        with suppress(OSError):  # the terminal may have gone
            view.live.stop()


def in_view(lines: Sequence[TaskLine], room: int) -> tuple[list[TaskLine], int]:
    """Return as many tasks as there is room for, up to the last one that runs, and how many are left out."""
    if len(lines) <= room:
        return list(lines), 0
    running = (number for number in range(len(lines), 0, -1) if not lines[number - 1].state.over)
    room = max(1, room - 1)  # a line says how many are left out
    end = max(next(running, len(lines)), room)
    return list(lines[end - room : end]), len(lines) - room


def event_json(event: WatchedEvent) -> dict[str, Any]:
    """Return an event as proto3 JSON has it (ids are texts), except that number and time are numbers; kind in front."""
    fields: dict[str, Any] = event.to_dict()
    numbers: dict[str, Any] = {"sequence": event.sequence, "timeMs": event.time_ms}
    what = {key: value for key, value in fields.items() if key not in numbers}
    what |= what.pop("event", {})
    last = {"lastLine": what.pop("lastLine")} if "lastLine" in what else {}
    kind = next(iter(what), "")
    return {**numbers, "kind": kind, **what.get(kind, {}), **last}


def run_json(run: WorkflowRun) -> dict[str, Any]:
    """Return how a run ended, as JSON."""
    job_id = str(run.job_id) if run.job_id else ""
    told = {"status": str(run.state), "id": run.id, "jobId": job_id, "output": run.output, "position": run.position}
    if run.state not in (State.COMPLETED, State.WAITING):
        told["error"] = run.error or {"title": run.text}
    return told


def task_json(line: TaskLine, now_ms: int) -> dict[str, Any]:
    """Return a task as JSON."""
    told: dict[str, Any] = {"name": line.name, "kind": line.kind, "position": line.position, "state": str(line.state)}
    told |= {"startedMs": line.started_ms, "durationMs": line.took_ms(now_ms), "runs": line.runs}
    if line.retries:
        told["attempts"] = line.retries + 1
    if line.output:
        told["lastLine"] = line.output
    if line.error:
        told["error"] = line.error
    return told


def seconds(ms: int) -> str:
    """Return a duration for people."""
    if ms < 1000:  # noqa: PLR2004 - of a second
        return f"{ms} ms"
    if ms < 60_000:  # noqa: PLR2004 - of a minute
        return f"{ms / 1000:.1f} s"
    minutes, rest = divmod(ms // 1000, 60)
    return f"{minutes} min {rest:02d} s"


def times(line: TaskLine) -> str:
    """Return how often a task ran, where that is worth a word."""
    if line.retries:
        return f"attempt {line.retries + 1}"
    return f"x{line.runs}" if line.runs > 1 else ""


def _change(event: WatchedEvent, line: TaskLine) -> str:
    told = event.event
    if event.task_faulted is not None:
        return f"FAULTED{_after(line)}: {line.reason}"
    if told is not None and told.task_completed is not None:
        if told.task_completed.task_type in ("skip_if", "skip"):
            return "skipped"
        said = f": {one_line(event.last_line)}" if event.last_line else ""
        return f"completed{_after(line)}{said}"
    return f"{line.kind.removesuffix('Task')} started"


def _after(line: TaskLine) -> str:
    """Return how long the run of a task took that is over, as far as that is known, and the how manieth it was."""
    took = f" after {seconds(line.last_took_ms)}" if line.last_took_ms is not None else ""
    again = times(line) if line.retries else f"x{line.ends}" * (line.ends > 1)
    return f"{took} ({again})" if again else took


def _clock(ms: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(ms / 1000)) + f".{ms % 1000:03d}"
