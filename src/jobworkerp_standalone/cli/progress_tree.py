"""The tasks of a run as a tree that changes in place, for terminals."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from jobworkerp_standalone.cli.fitting import cut, encoding_of, is_unicode, padded, shortened, width_of, written_out
from jobworkerp_standalone.cli.progress import Progress, TaskLine, TaskState, seconds, times
from jobworkerp_standalone.cli.show import coloured
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
_QUIET: Final = "bright_black"
_PER_SECOND: Final = 8
_AROUND: Final = 2
"""Lines of the terminal that are left to the title and to what follows."""
_BESIDE: Final = 4
"""Columns that are left free: terminals write ^C there, and what wraps would move the lines that are drawn anew."""
_GAP: Final = "  "
_NARROW: Final = 40
"""Columns below which names come first: what was said, and how often, gets what they leave."""
_SAID_PART: Final = 4
"""What was said gets this part of a line at least, where names are long."""


class _Row(NamedTuple):
    indent: int
    mark: str
    style: str
    name: str
    took: str = ""
    often: str = ""
    said: str = ""
    said_style: str = _QUIET


class Tree:
    """Draws them on standard error."""

    def __init__(self, progress: Progress, title: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - on terminals only
        from rich.live import Live  # noqa: PLC0415

        self._progress = progress
        self._title = title
        self._offset_ms = 0
        self._encoding = encoding_of(sys.stderr)
        self._unicode = is_unicode(self._encoding)
        self._more = "…" if self._unicode else "..."
        colours = "auto" if coloured(sys.stderr) else None
        self._console = Console(stderr=True, color_system=colours, highlight=False)
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
            self._console.print(written_out(printable(text), self._encoding), markup=False)

    def _picture(self) -> RenderableType:
        from rich.text import Text  # noqa: PLC0415 - on terminals only

        return Text("\n", no_wrap=True, overflow="crop").join(self._lines(list(self._rows())))

    def _rows(self) -> Iterator[_Row]:
        progress, now = self._progress, int(time.time() * 1000) + self._offset_ms
        end = progress.now_ms if progress.ended else now
        took = seconds(max(0, end - progress.started_ms)) if progress.started_ms else ""
        yield _Row(0, "", "bold", self._shown(self._title), took)
        lines, hidden = list(progress.lines()), 0
        if not progress.closed:
            lines, hidden = in_view(lines, self._console.size.height - _AROUND)
        if hidden:
            yield _Row(2, "", _QUIET, f"{self._more} {hidden} more")
        for line in lines:
            yield self._row(line, now)

    def _row(self, line: TaskLine, now_ms: int) -> _Row:
        mark, style = _MARKS[line.state]
        took = "" if line.state is TaskState.SKIPPED else seconds(line.took_ms(now_ms))
        failed = line.state is TaskState.FAULTED
        said = self._shown(line.ending or line.output)
        sign = f"{_SIGNS[mark] if self._unicode else mark} "
        said_style = "red" if failed or line.failed_items else _QUIET
        return _Row(2 * (line.depth + 1), sign, style, self._shown(line.name), took, times(line), said, said_style)

    def _shown(self, text: str) -> str:
        return written_out(one_line(text), self._encoding)

    def _lines(self, rows: Sequence[_Row]) -> Iterator[Text]:
        from rich.text import Text  # noqa: PLC0415 - on terminals only

        room = max(1, self._console.size.width - _BESIDE)
        narrow = room < _NARROW
        if narrow:
            rows = [row._replace(often="", said=_GAP.join(filter(None, (row.often, row.said)))) for row in rows]
        took, often = max(len(row.took) for row in rows), max(len(row.often) for row in rows)
        between = f"{'':{took}}{_GAP}{'':{often}}{_GAP if often else ''}"
        names = max(row.indent + len(row.mark) + width_of(row.name) for row in rows)
        said = min(max(width_of(row.said) for row in rows), 0 if narrow else room // _SAID_PART)
        names = min(names, max(room - len(_GAP) - len(between) - said, room // _SAID_PART))
        for row in rows:
            indent = min(row.indent, names // 2)
            name = shortened(row.name, names - indent - len(row.mark), self._more)
            line = Text(" " * indent).append(row.mark, style=row.style)
            line.append(padded(name, names - line.cell_len), style="" if row.mark else row.style)
            line.append(f"{_GAP}{row.took:>{took}}{_GAP}")
            line.append(f"{row.often:<{often}}{_GAP}" if often else "", style=_QUIET)
            line.append(cut(row.said, room - line.cell_len, self._more), style=row.said_style)
            line.rstrip()
            line.truncate(room)
            yield line


def in_view(lines: Sequence[TaskLine], room: int) -> tuple[list[TaskLine], int]:
    """Return as many tasks as there is room for, up to the last one that runs, and how many are left out."""
    if len(lines) <= room:
        return list(lines), 0
    running = (number for number in range(len(lines), 0, -1) if not lines[number - 1].state.over)
    room = max(1, room - 1)  # a line says how many are left out
    end = max(next(running, len(lines)), room)
    return list(lines[end - room : end]), len(lines) - room
