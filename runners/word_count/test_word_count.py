"""A plugin is an ordinary class: its tests need no daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobworkerp_standalone.plugin import BadInput
from jobworkerp_standalone.plugin.source import import_source

plugin = import_source(str(Path(__file__).resolve().parent), "word_count_under_test")


def loaded(**settings: object) -> object:
    runner = plugin.WordCount()
    runner.load(plugin.Settings(**settings))
    return runner


def test_words_are_counted() -> None:
    assert loaded().run(plugin.Text("a b A, c", 1)) == plugin.Counts(4, {"a": 2})
    assert loaded(ignore=["a"], min_length=2).run(plugin.Text("a bb ccc")) == plugin.Counts(2, {"bb": 1, "ccc": 1})


def test_a_stream_says_what_is_known_so_far() -> None:
    assert [each.total for each in loaded().stream(plugin.Text("a b\n\nc"))] == [2, 2, 3]


def test_a_feed_is_counted_as_it_comes() -> None:
    feed = iter([plugin.Text("b b"), plugin.Text("c")])
    assert [each.total for each in loaded().follow(plugin.Text("a"), feed)] == [3, 4]


def test_a_wrong_number_is_refused() -> None:
    with pytest.raises(BadInput, match="top is -1"):
        loaded().run(plugin.Text("a", -1))
