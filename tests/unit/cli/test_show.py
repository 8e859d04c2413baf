from __future__ import annotations

import io
import json
from typing import Any

import pytest

from jobworkerp_standalone.cli.exits import Exit, Stop
from jobworkerp_standalone.cli.show import (
    Long,
    Moment,
    as_card,
    as_cards,
    as_table,
    coloured,
    duration,
    emit,
    show_answer,
    show_row,
    show_rows,
)

ROWS = [
    {"id": 1, "name": "a", "tags": [1, 2], "settings": {"x": 1}, "at": Moment(1_700_000_000_123), "on": True},
    {"id": 22, "name": "bb", "tags": [], "settings": None},
]


def test_table_has_a_column_for_every_key_of_any_row() -> None:
    assert as_table(ROWS).split("\n") == [
        "id  name  tags       settings    at                       on",
        "1   a     [2 items]  {1 fields}  2023-11-14 22:13:20 UTC  true",
        "22  bb    [0 items]  null        null                     null",
    ]


def test_table_without_truncation_spreads_arguments_and_writes_nested_values_out() -> None:
    rows = [{"id": 1, "arguments": {"command": "ls", "args": ["-l", "é"]}}]
    assert as_table(rows, no_truncate=True).split("\n") == ["id  arg_command  arg_args", '1   ls           ["-l", "é"]']
    assert as_table(rows).split("\n") == ["id  arguments", "1   {2 fields}"]


@pytest.mark.parametrize("letter", ["x", "é", "日", "👩"])
def test_table_cuts_at_the_width_of_a_cell_and_never_inside_a_character(letter: str) -> None:
    line = as_table([{"text": letter * 200, "end": "|"}]).split("\n")[1]
    assert line.endswith(("…  |", "…   |"))
    assert set(line) == {letter, "…", " ", "|"}
    assert letter * 200 in as_table([{"text": letter * 200}], no_truncate=True)


def test_wide_characters_keep_columns_aligned() -> None:
    first, second = as_table([{"a": "日本", "b": 1}, {"a": "abcd", "b": 2}]).split("\n")[1:]
    assert (first, second) == ("日本  1", "abcd  2")


def test_table_stays_one_line_per_row_and_lets_no_escape_through() -> None:
    table = as_table([{"text": "a\nb\tc\x1b[31m"}])
    assert table == "text\na b c\\x1b[31m"


def test_card_indents_and_shows_long_texts_in_lines() -> None:
    row = {"id": 1, "at": Moment(0), "out": "x\n\ny", "nested": {"list": [1, {"a": 1, "b": 2}], "none": None}, "e": {}}
    assert as_card(row).split("\n") == [
        "id: 1",
        "at: 1970-01-01 00:00:00 UTC",
        "out:",
        "  x",
        "",
        "  y",
        "nested:",
        "  list:",
        "    - 1",
        "    - a: 1",
        "      b: 2",
        "  none: null",
        "e: {}",
    ]


def test_card_cuts_schemas_only() -> None:
    text = "é" * 300
    assert "300 characters" in as_card({"proto": Long(text)})
    assert text in as_card({"proto": Long(text)}, no_truncate=True)
    assert text in as_card({"output": text})


def test_cards_are_numbered() -> None:
    assert as_cards([{"a": 1}, {"a": 2}]) == "[1]\na: 1\n\n[2]\na: 2"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_json_is_an_array_for_every_list(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    show_rows(ROWS[:count], "json")
    shown: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert shown == [{**row, "id": str(row["id"])} for row in ROWS[:count]]
    assert not count or shown[0]["at"] == 1_700_000_000_123


def test_json_of_one_thing_is_an_object(capsys: pytest.CaptureFixture[str]) -> None:
    show_row(ROWS[1], "json")
    assert json.loads(capsys.readouterr().out) == {**ROWS[1], "id": str(ROWS[1]["id"])}


@pytest.mark.parametrize("form", ["table", "card"])
def test_nothing_to_list_leaves_standard_output_empty(form: Any, capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], form)
    assert capsys.readouterr() == ("", "No data\n")


def test_an_answer_that_nothing_was_done_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    show_answer(is_success=True, form="json", what="")
    with pytest.raises(Stop) as stop:
        show_answer(is_success=False, form="json", what="no such worker")
    assert stop.value.code is Exit.FAILED
    assert capsys.readouterr().out.count("is_success") == 2


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [(1000, 1123, "123ms"), (1000, 2000, "1.00s"), (1000, 62_345, "61.34s"), (0, 10, "-"), (10, 0, "-"), (10, 9, "-")],
)
def test_duration(start: int, end: int, shown: str) -> None:
    assert duration(start, end) == shown


def test_a_time_that_no_calendar_has_is_a_number() -> None:
    assert str(Moment(2**62)) == str(2**62)


def test_colours_only_in_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert coloured(Terminal())
    assert not coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured(Terminal())


def test_a_reader_that_left_ends_the_command_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(Stop) as stop:
        emit("x")
    assert (stop.value.code, stop.value.message) == (Exit.NO_READER, None)


def test_ids_are_texts_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Readers of JSON round numbers of 64 bits: jq 1.6 makes 7531738994413928000 of this one."""
    show_rows([{"id": 7531738994413927999, "job_id": None, "next_workers": [1], "duration": 3}], "json")
    assert json.loads(capsys.readouterr().out) == [
        {"id": "7531738994413927999", "job_id": None, "next_workers": ["1"], "duration": 3}
    ]
