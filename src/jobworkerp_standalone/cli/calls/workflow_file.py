"""What the commands about workflow files do."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from jobworkerp_standalone.cli.exits import Exit, Stop
from jobworkerp_standalone.cli.fitting import cut, encoding_of, is_unicode, width_of
from jobworkerp_standalone.cli.reading import DOCUMENT, TooLarge, bytes_of, standard_input
from jobworkerp_standalone.cli.session import environment
from jobworkerp_standalone.cli.show import coloured, emit, note
from jobworkerp_standalone.workflow.load import Loaded, load_text, parse
from jobworkerp_standalone.workflow.nodes import Unreadable
from jobworkerp_standalone.workflow.problems import InvalidDocument, Problem

_RED, _YELLOW, _BOLD, _CYAN, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[1m", "\x1b[36m", "\x1b[0m"
_WIDEST: Final = 110
_NARROWEST: Final = 10
_LONGEST: Final = 1_000
"""Characters of a line that are looked at on either side."""
_TAB: Final = " " * 8
_WORDS: Final = frozenset({"document", "do"})
_ANYWHERE: Final = re.compile(r"""\b(?:document|do)["']?\s*:""")
_TOP: Final = re.compile(rf"""^["']?{_ANYWHERE.pattern}""", re.MULTILINE)
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


@dataclass(frozen=True, slots=True)
class Chosen:
    """Files to look at, and how many files of directories are no workflows."""

    files: Sequence[str]
    skipped: int


def files_of(named: Iterable[str]) -> Chosen:
    """Return the files to look at: those that are named, and the workflows in directories, at any depth."""
    files: list[str] = []
    skipped = 0
    for each in named:
        if each == "-" or not Path(each).is_dir():
            files.append(each)
            continue
        inside = _inside(Path(each))
        found = [file for file in inside if _is_meant_as_workflow(file)]
        files += found or [each]
        skipped += len(inside) - len(found)
    return Chosen(files, skipped)


def note_skipped(count: int) -> None:
    """Say how many files of directories were left out."""
    if count:
        note(f"{_number(count, 'YAML file')} left out: without 'document' or 'do' at the top it is no workflow")


def _is_meant_as_workflow(file: str) -> bool:
    """Tell whether a file is to be looked at; one that cannot be read is, so that this is told."""
    try:
        text = _text_of(file)
    except InvalidDocument:
        return True
    if _TOP.search(text):
        return True
    try:
        found = parse(text).members
    except Unreadable:
        return text.lstrip().startswith("{") and _ANYWHERE.search(text) is not None
    return found is not None and not _WORDS.isdisjoint(found)


def _inside(folder: Path) -> list[str]:
    found = (path for pattern in ("*.yml", "*.yaml") for path in folder.rglob(pattern) if path.is_file())
    return sorted(str(path) for path in found if not any(part[0] == "." for part in path.relative_to(folder).parts))


def look_at(file: str, *, bare: bool) -> Report:
    """Check one file; one that cannot be read is a mistake like others, so that the rest is looked at as well."""
    name = _STDIN if file == "-" else file
    if file != "-" and Path(file).is_dir():  # as ``files_of`` leaves it
        return Report(name, [Problem(0, 0, "", "has no file in it that ends in .yml or .yaml and is a workflow")], ())
    try:
        loaded = load_text(_text_of(file), bare=bare)
        missing = (told for child, told in loaded.children if _is_missing(child, file))
        return Report(name, (), (*loaded.warnings, *missing))
    except InvalidDocument as error:
        return Report(name, error.problems, error.warnings)


def _is_missing(named: str, by: str) -> bool:
    """Tell whether a document with a relative path is in none of the directories where runs look for it."""
    path = Path(named.strip())
    if "://" in named or "\0" in named or path.is_absolute() or named.strip().startswith("~"):
        return False
    roots = environment().get("WORKFLOW_ALLOWED_ROOTS", "").split(",")
    folders = [".", *(root.strip() for root in roots if root.strip()), *(() if by == "-" else (str(Path(by).parent),))]
    try:
        return not any((Path(folder).expanduser() / path).exists() for folder in folders)
    except OSError:  # a name that no file can have, or a directory that may not be entered
        return False


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
            note(_shown(name, problem, "error", sys.stderr), raw=True)
        _note_warnings(name, error.warnings if warn else ())
        count = len(error.problems)
        raise Refused(f"{name} has {_number(count, 'error')}", Report(name, error.problems, error.warnings)) from error
    _note_warnings(name, loaded.warnings if warn else ())
    return loaded


def _note_warnings(name: str, warnings: Iterable[Problem]) -> None:
    for warning in warnings:
        note(_shown(name, warning, "warning", sys.stderr), raw=True)


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
    for report in reports:
        for problem in report.problems:
            emit(_shown(report.file, problem, "error", sys.stdout))
        for warning in report.warnings:
            emit(_shown(report.file, warning, "warning", sys.stdout))
        if not report.problems:
            emit(f"{report.file}: ok")
    problems = sum(len(report.problems) for report in reports)
    if problems:
        bad = sum(1 for report in reports if report.problems)
        emit(f"{_number(problems, 'error')} in {bad} of {_number(len(reports), 'file')}")


def _shown(file: str, problem: Problem, severity: Literal["error", "warning"], stream: TextIO | None) -> str:
    colours = coloured(stream)
    paint = {"error": _RED, "warning": _YELLOW}[severity] if colours else ""
    bold, cyan, plain = (_BOLD, _CYAN, _PLAIN) if colours else ("", "", "")
    place = f"{file}:{problem.line}:{problem.column}" if problem.line else file
    inside = f" [{problem.pointer}]" if problem.pointer else ""
    lines = [f"{bold}{_visible(place)}:{plain} {paint}{severity}:{plain} {_visible(problem.message + inside)}"]
    if problem.line and problem.text.strip():
        gutter = " " * len(str(problem.line))
        width = max(_NARROWEST, _columns(stream) - len(f"  {gutter} | "))
        more = "…" if stream is None or is_unicode(encoding_of(stream)) else "..."
        text, column = _window(problem.text, problem.column, width, more)
        lines.append(f"  {problem.line} | {text}")
        lines.append(f"  {gutter} | {_indent(text[: column - 1])}{paint}^{plain}")
    if problem.suggestion:
        lines.append(f"  {cyan}help:{plain} {_visible(problem.suggestion)}")
    return "\n".join(lines)


def _window(text: str, column: int, width: int, more: str) -> tuple[str, int]:
    """Return as much of a line around a column as fits, and the column in it; ``more`` stands where it is cut."""
    text = _visible(text)
    if len(text) <= width and width_of(text.replace("\t", _TAB)) <= width:
        return text, column
    text = text.replace("\t", " ")
    before, after = text[max(0, column - 1 - _LONGEST) : column - 1], text[column - 1 : column - 1 + _LONGEST]
    room = max(width * 3 // 5, width - width_of(after))
    before = cut(before[::-1], room, more)[::-1]
    return before + cut(after, width - width_of(before), more), len(before) + 1


def _columns(stream: TextIO | None) -> int:
    """Return how wide a snippet may be; a stream that was closed at the start is None."""
    if stream is None:
        return _WIDEST
    try:
        return min(_WIDEST, os.get_terminal_size(stream.fileno()).columns or _WIDEST)
    except (OSError, ValueError):  # no terminal
        return _WIDEST


def _visible(text: str) -> str:
    """Return a text that cannot move the cursor: what a document says is shown, not obeyed."""
    return "".join(each if each == "\t" or each.isprintable() else "?" for each in text)


def _indent(text: str) -> str:
    return "".join("\t" if each == "\t" else " " * width_of(each) for each in text)


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
