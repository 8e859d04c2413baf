"""Results on standard output as table, card or JSON; everything else on standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO, cast

from jobworkerp_standalone.cli.exits import Exit, Stop
from jobworkerp_standalone.cli.fitting import cut, is_unicode, padded, width_of
from jobworkerp_standalone.jobs.visible import printable

Format = Literal["table", "card", "json"]
Row = Mapping[str, Any]
_IDS: Final = ("_id", "next_workers")
_CELL: Final = 50
_LONG: Final = 200
_KEY, _GOOD, _BAD, _PLAIN = "\x1b[36m", "\x1b[32m", "\x1b[31m", "\x1b[0m"
_GOOD_WORDS: Final = ("SUCCESS",)
_BAD_WORDS: Final = ("ERROR_AND_RETRY", "FATAL_ERROR", "ABORT", "MAX_RETRY", "OTHER_ERROR", "CANCELLED")


class Moment(int):
    """Unix milliseconds: a number in JSON, a time for people."""

    def __str__(self) -> str:
        try:
            return datetime.fromtimestamp(self / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        except (ValueError, OverflowError, OSError):
            return int.__str__(self)


class Long(str):
    """A text that a card cuts: a schema, a definition."""

    __slots__ = ()


def duration(start_ms: int, end_ms: int) -> str:
    """Return how long something took, for example ``123ms`` or ``1.23s``; ``-`` where it did not take place."""
    took = end_ms - start_ms
    if start_ms <= 0 or end_ms <= 0 or took < 0:
        return "-"
    return f"{took}ms" if took < 1000 else f"{took / 1000:.2f}s"  # noqa: PLR2004 - milliseconds of a second


# ---------------------------------------------------------------- output


def emit(text: str, *, end: str = "\n") -> None:
    """Write to standard output.

    Raises:
        Stop: nobody reads it any longer, or it cannot be written.
    """
    if sys.stdout is None:  # the program was started with it closed
        raise Stop(Exit.NO_READER)
    try:
        sys.stdout.write(text + end)
        sys.stdout.flush()
    except BrokenPipeError as error:
        drop_output()
        raise Stop(Exit.NO_READER) from error
    except OSError as error:
        drop_output()
        raise Stop(Exit.FAILED, f"standard output cannot be written: {error.strerror or error}") from error


def buffer_output() -> None:
    """Let a long text be written whole, or fail: under PYTHONUNBUFFERED its rest is lost without a word."""
    out: Any = sys.stdout
    if isinstance(getattr(out, "buffer", None), io.RawIOBase):
        sys.stdout = open(out.fileno(), "w", encoding=out.encoding, closefd=False)  # noqa: SIM115 - open until the end


def note(text: str, *, end: str = "\n", raw: bool = False) -> None:
    """Write a message for people to standard error, where there is one.

    Args:
        text: what it says; control characters in it are written out, wherever they come from.
        end: what follows it.
        raw: write it as it is: it has colours of ours, or somebody wants what a program printed.
    """
    with suppress(OSError, AttributeError):
        sys.stderr.write((text if raw else printable(text)) + end)
        sys.stderr.flush()


def drop_output() -> None:
    """Make what is still to be written harmless, the interpreter's own flush at its end included."""
    _drop(sys.stdout)


def finish_notes() -> None:
    """Write what is left of messages, or drop it: the interpreter would end with a code of its own."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        _drop(sys.stderr)


def _drop(stream: TextIO | None) -> None:
    if stream is None:
        return
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def show_rows(rows: Sequence[Row], form: Format, *, no_truncate: bool = False) -> None:
    """Show a list: for JSON an array, also for one or no row."""
    if form == "json":
        emit(as_json([machine_row(row) for row in rows]))
    elif not rows:
        note("No data")
    else:
        emit(as_table(rows, no_truncate=no_truncate) if form == "table" else as_cards(rows, no_truncate=no_truncate))


def show_row(row: Row, form: Format, *, no_truncate: bool = False) -> None:
    """Show one thing: for JSON an object."""
    if form == "json":
        emit(as_json(machine_row(row)))
    elif form == "table":
        emit(as_table([row], no_truncate=no_truncate))
    else:
        emit(as_card(row, no_truncate=no_truncate))


def show_answer(*, is_success: bool, form: Format, what: str) -> None:
    """Show the answer to a change.

    Raises:
        Stop: the server answered that it did nothing.
    """
    show_row({"is_success": is_success}, form)
    if not is_success:
        raise Stop(Exit.FAILED, f"nothing was done: {what}")


def coloured(stream: TextIO | None) -> bool:
    """Tell whether people look at this stream, in a terminal that knows colours."""
    if stream is None or not stream.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


# ---------------------------------------------------------------- forms


def value_of(text: str) -> Any:
    """Return what JSON stands for, or the text itself; None where there is none."""
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


def machine_row(row: Row) -> dict[str, Any]:
    """Return a row for JSON: ids are texts, because many readers round numbers of 64 bits."""
    return {key: _id_text(value) if key == "id" or key.endswith(_IDS) else value for key, value in row.items()}


def _id_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_id_text(each) for each in cast("list[Any]", value)]
    return str(value) if isinstance(value, int) else value


def as_json(value: Any, *, compact: bool = False) -> str:
    """Return JSON: pretty, or on one line; in ASCII where standard output knows nothing else."""
    return json.dumps(value, ensure_ascii=not _knows_unicode(), indent=None if compact else 2)


def _knows_unicode() -> bool:
    return sys.stdout is None or is_unicode(sys.stdout.encoding or "")


def as_table(rows: Sequence[Row], *, no_truncate: bool = False) -> str:
    """Return lines with aligned columns, one for each key of any row."""
    flat = [dict(_spread_arguments(row)) if no_truncate else row for row in rows]
    keys = list(dict.fromkeys(key for row in flat for key in row))
    lines = [keys, *([_cell(row.get(key), no_truncate=no_truncate) for key in keys] for row in flat)]
    widths = [max(map(width_of, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(padded(text, width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def as_cards(rows: Sequence[Row], *, no_truncate: bool = False) -> str:
    """Return numbered cards."""
    return "\n\n".join(
        f"[{number}]\n{as_card(row, no_truncate=no_truncate)}" for number, row in enumerate(rows, start=1)
    )


def as_card(row: Row, *, no_truncate: bool = False) -> str:
    """Return one indented ``key: value`` line for each value, more for nested ones."""
    return "\n".join(_card_lines(row, "", no_truncate=no_truncate))


def _card_lines(row: Row, indent: str, *, no_truncate: bool) -> Iterator[str]:
    key_on, key_off = (_KEY, _PLAIN) if coloured(sys.stdout) else ("", "")
    for key, value in row.items():
        start = f"{indent}{key_on}{key}{key_off}:"
        if isinstance(value, Mapping) and value:
            yield start
            yield from _card_lines(value, indent + "  ", no_truncate=no_truncate)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list) and value:
            yield start
            yield from _item_lines(value, indent + "  ", no_truncate=no_truncate)  # pyright: ignore[reportUnknownArgumentType]
        else:
            text = _word(value, no_truncate=no_truncate)
            lines = text.split("\n")
            if len(lines) == 1:
                yield f"{start} {text}".rstrip()
            else:
                yield start
                yield from (f"{indent}  {line}".rstrip() for line in lines)


def _item_lines(items: Sequence[Any], indent: str, *, no_truncate: bool) -> Iterator[str]:
    for item in items:
        if isinstance(item, Mapping) and item:
            lines = _card_lines(item, "", no_truncate=no_truncate)  # pyright: ignore[reportUnknownArgumentType]
            yield f"{indent}- {next(lines)}"
            yield from (f"{indent}  {line}" for line in lines)
        else:
            yield f"{indent}- {_word(item, no_truncate=no_truncate)}"


def _word(value: Any, *, no_truncate: bool) -> str:
    if isinstance(value, str):
        if isinstance(value, Long) and len(value) > _LONG and not no_truncate:
            value = f"{value[:_LONG].rstrip()}... ({len(value)} characters, --no-truncate shows all)"
        return _painted(printable(value))
    if isinstance(value, Moment):
        return str(value)
    return json.dumps(value, ensure_ascii=False)


def _painted(text: str) -> str:
    if coloured(sys.stdout) and text in (*_GOOD_WORDS, *_BAD_WORDS):
        return f"{_GOOD if text in _GOOD_WORDS else _BAD}{text}{_PLAIN}"
    return text


def _spread_arguments(row: Row) -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        if key == "arguments" and isinstance(value, Mapping):
            yield from ((f"arg_{name}", each) for name, each in value.items())  # pyright: ignore[reportUnknownVariableType]
        else:
            yield key, value


def _cell(value: Any, *, no_truncate: bool) -> str:
    if isinstance(value, Mapping | list):
        if no_truncate:
            return json.dumps(value, ensure_ascii=False)
        kind = "{%d fields}" if isinstance(value, Mapping) else "[%d items]"
        return kind % len(value)  # pyright: ignore[reportUnknownArgumentType]
    text = printable(value) if isinstance(value, str) else _word(value, no_truncate=True)
    text = " ".join(text.split())
    return text if no_truncate else cut(text, _CELL, "…" if _knows_unicode() else "...")
