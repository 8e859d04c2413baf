from __future__ import annotations

import json
from typing import Any

import pytest

from jobworkerp_standalone.cli.exits import Exit, Stop
from jobworkerp_standalone.cli.streaming import StreamView

ITEMS: list[Any] = [{"stdout": "a\n"}, {"stderr": "oh"}, {"stdout": "b"}, {"exitCode": 0, "executionTimeMs": "3"}]


def play(form: Any, items: list[Any]) -> None:
    with StreamView(form, no_truncate=False) as view:
        view.started(9)
        for item in items:
            view.item(item)
        view.ended("SUCCESS", "")


def test_card_shows_what_a_command_prints_as_it_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    play("card", ITEMS)
    out, err = capsys.readouterr()
    assert out == "a\nb"
    assert err == "job_id: 9\nohexitCode: 0\nexecutionTimeMs: 3\ndone\n"


def test_card_shows_other_items_as_blocks(capsys: pytest.CaptureFixture[str]) -> None:
    play("card", [{"text": "x", "usage": {"n": 1}}, "plain"])
    assert capsys.readouterr().out == "text: x\nusage:\n  n: 1\nplain\n"


def test_json_is_one_document_per_line_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    play("json", [*ITEMS, "plain"])
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [*ITEMS, "plain"]


def test_table_shows_one_table_per_item(capsys: pytest.CaptureFixture[str]) -> None:
    play("table", ["plain", {"a": 1}])
    assert capsys.readouterr().out == "item\nplain\na\n1\n"


def test_a_failed_job_fails_the_command() -> None:
    view = StreamView("json", no_truncate=False)
    view.started(9)
    with pytest.raises(Stop) as stop:
        view.ended("MAX_RETRY", "no such program")
    assert stop.value.code is Exit.FAILED
    assert stop.value.message == "job 9 ended with MAX_RETRY: no such program"


def test_who_stops_watching_hears_how_to_end_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    def watch() -> None:
        with StreamView("card", no_truncate=False) as view:
            view.started(9)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch()
    assert "job delete -i 9" in capsys.readouterr().err
