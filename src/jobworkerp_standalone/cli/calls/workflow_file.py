"""What the commands about workflow files do."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from jobworkerp_standalone.cli.exits import Exit, Stop
from jobworkerp_standalone.cli.reading import DOCUMENT, TooLarge, bytes_of, standard_input
from jobworkerp_standalone.cli.show import coloured, emit, note
from jobworkerp_standalone.workflow.load import Loaded, load_text
from jobworkerp_standalone.workflow.problems import InvalidDocument, Problem

_RED, _YELLOW, _BOLD, _CYAN, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[36m", "\x1b[0m"
_WIDEST: Final = 110
_BEFORE: Final = 60
_STDIN: Final = "<standard input>"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one file."""

    file: str
    problems: Sequence[Problem]
    warnings: Sequence[Problem]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield everything that was found, for JSON."""
        for severity, found in (("error", self.problems), ("warning", self.warnings)):
            for each in found:
                yield {
                    "file": self.file,
                    "line": each.line,
                    "column": each.column,
                    "severity": severity,
                    "pointer": each.pointer,
                    "message": each.message,
                    "suggestion": each.suggestion,
                    "text": each.text,
                }


class Refused(Stop):
    """Ends a command whose document is not valid; what was found is on standard error by then."""

    def __init__(self, message: str, found: Report) -> None:
        super().__init__(Exit.USAGE, message)
        self.found = found


class _NotRead(InvalidDocument):
    """A file whose text could not be had."""


def files_of(named: Iterable[str]) -> Iterator[str]:
    """Yield the files to look at: those that are named, and the YAML files of directories, at any depth."""
    for each in named:
        yield from (_inside(Path(each)) or [each]) if each != "-" and Path(each).is_dir() else [each]


def _inside(folder: Path) -> list[str]:
    found = (path for pattern in ("*.yml", "*.yaml") for path in folder.rglob(pattern) if path.is_file())
    return sorted(str(path) for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def look_at(file: str, *, bare: bool) -> Report:
    """Check one file; one that cannot be read is a mistake like others, so that the rest is looked at as well."""
    name = _STDIN if file == "-" else file
    if file != "-" and Path(file).is_dir():  # as ``files_of`` leaves it
        return Report(name, [Problem(0, 0, "", "has no file in it that ends in .yml or .yaml")], ())
    try:
        return Report(name, (), load_text(_text_of(file), bare=bare).warnings)
    except InvalidDocument as error:
        return Report(name, error.problems, error.warnings)


def drawn(file: str, form: Literal["mermaid", "svg"], *, bare: bool) -> str:
    """Return the picture of a file.

    Raises:
        Stop: it cannot be read, or is not valid.
    """
    loaded = load_file(file, bare=bare)
    if form == "svg":
        from jobworkerp_standalone.workflow.graph.svg import svg  # noqa: PLC0415 - one of both is needed

        return svg(loaded.document)
    from jobworkerp_standalone.workflow.graph.mermaid import mermaid  # noqa: PLC0415 - one of both is needed

    return mermaid(loaded.document)


def load_file(file: str, *, bare: bool = False, warn: bool = False) -> Loaded:
    """Return the document in a file; its problems go to standard error, with ``warn`` also what might be meant wrong.

    Raises:
        Refused: it cannot be read, or is not valid.
    """
    name = _STDIN if file == "-" else file
    try:
        loaded = load_text(_text_of(file), bare=bare)
    except _NotRead as error:
        raise Refused(f"{name} {error.problems[0].message}", Report(name, error.problems, ())) from error
    except InvalidDocument as error:
        for problem in error.problems:
            note(_shown(name, problem, "error", colours=coloured(sys.stderr)), raw=True)
        _note_warnings(name, error.warnings if warn else ())
        count = len(error.problems)
        raise Refused(f"{name} has {_number(count, 'error')}", Report(name, error.problems, error.warnings)) from error
    _note_warnings(name, loaded.warnings if warn else ())
    return loaded


def _note_warnings(name: str, warnings: Iterable[Problem]) -> None:
    for warning in warnings:
        note(_shown(name, warning, "warning", colours=coloured(sys.stderr)), raw=True)


def write(path: Path, text: str) -> None:
    """Write a picture to a file.

    Raises:
        Stop: that is not possible.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Stop(Exit.USAGE, f"{path} cannot be written: {error.strerror or error}") from error


def show_reports(reports: Sequence[Report]) -> None:
    """Show what was found, as a compiler does."""
    colours = coloured(sys.stdout)
    for report in reports:
        for problem in report.problems:
            emit(_shown(report.file, problem, "error", colours=colours))
        for warning in report.warnings:
            emit(_shown(report.file, warning, "warning", colours=colours))
        if not report.problems:
            emit(f"{report.file}: ok")
    problems = sum(len(report.problems) for report in reports)
    if problems:
        bad = sum(1 for report in reports if report.problems)
        emit(f"{_number(problems, 'error')} in {bad} of {_number(len(reports), 'file')}")


def _shown(file: str, problem: Problem, severity: Literal["error", "warning"], *, colours: bool) -> str:
    paint = {"error": _RED, "warning": _YELLOW}[severity] if colours else ""
    bold, cyan, plain = (_BOLD, _CYAN, _PLAIN) if colours else ("", "", "")
    place = f"{file}:{problem.line}:{problem.column}" if problem.line else file
    inside = f" [{problem.pointer}]" if problem.pointer else ""
    lines = [f"{bold}{_visible(place)}:{plain} {paint}{severity}:{plain} {_visible(problem.message + inside)}"]
    if problem.line and problem.text.strip():
        text, column = _window(problem.text, problem.column)
        gutter = " " * len(str(problem.line))
        lines.append(f"  {problem.line} | {text}")
        lines.append(f"  {gutter} | {_indent(text[: column - 1])}{paint}^{plain}")
    if problem.suggestion:
        lines.append(f"  {cyan}help:{plain} {_visible(problem.suggestion)}")
    return "\n".join(lines)


def _window(text: str, column: int) -> tuple[str, int]:
    """Return a part of a long line, around a column, and the column in it."""
    text = _visible(text)
    if len(text) <= _WIDEST:
        return text, column
    start = max(0, min(column - _BEFORE, len(text) - _WIDEST))
    return text[start : start + _WIDEST], column - start


def _visible(text: str) -> str:
    """Return a text that cannot move the cursor: what a document says is shown, not obeyed."""
    return "".join(each if each == "\t" or each.isprintable() else "?" for each in text)


def _indent(text: str) -> str:
    from unicodedata import east_asian_width  # noqa: PLC0415 - for mistakes only

    return "".join("\t" if each == "\t" else " " * (2 if east_asian_width(each) in "WF" else 1) for each in text)


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _text_of(file: str) -> str:
    """Return the text of a file.

    Raises:
        InvalidDocument: it cannot be read, or is no text.
    """
    try:
        content = standard_input(DOCUMENT) if file == "-" else bytes_of(Path(file), DOCUMENT)
    except (OSError, TooLarge) as error:
        raise _NotRead([Problem(0, 0, "", f"cannot be read: {getattr(error, 'strerror', None) or error}")]) from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidDocument([_not_utf8(content, error.start)]) from error


def _not_utf8(content: bytes, place: int) -> Problem:
    before = content[:place].decode("utf-8-sig", "replace")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    text = content.split(b"\n")[line - 1].decode("utf-8", "replace").rstrip("\r")
    return Problem(line, column, "", f"the byte 0x{content[place]:02x} is no UTF-8", "save the file as UTF-8", text)
