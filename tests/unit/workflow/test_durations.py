"""Durations of documents and of expressions."""

from __future__ import annotations

from typing import Any

import pytest

from jobworkerp_standalone.workflow.durations import milliseconds

_DAY = 86_400_000


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("PT0S", 0),
        ("PT1S", 1_000),
        ("PT0.5S", 500),
        ("PT0,5S", 500),
        ("PT1M30S", 90_000),
        ("PT1H", 3_600_000),
        ("P1D", _DAY),
        ("P2W", 14 * _DAY),
        ("P1M", 2_630_016_000),
        ("P1Y", 31_557_600_000),
        ("P1DT1H1M1.5S", _DAY + 3_661_500),
        ("P0.5D", _DAY // 2),
        ("PT36H", 36 * 3_600_000),
        ("  PT1S\n", 1_000),
        ("PT0.0009S", 0),
        ({"days": 1, "hours": 1, "minutes": 1, "seconds": 1, "milliseconds": 1}, _DAY + 3_661_001),
        ({"milliseconds": 0}, 0),
        ({"seconds": 90}, 90_000),
    ],
)
def test_both_forms(given: Any, expected: int) -> None:
    assert milliseconds(given) == expected


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "not an ISO 8601 duration"),
        ("P", "not an ISO 8601 duration"),
        ("PT", "not an ISO 8601 duration"),
        ("P1DT", "not an ISO 8601 duration"),
        ("1S", "not an ISO 8601 duration"),
        ("-PT1S", "not an ISO 8601 duration"),
        ("PT-1S", "not an ISO 8601 duration"),
        ("P1H", "not an ISO 8601 duration"),
        ("PT1D", "not an ISO 8601 duration"),
        ("pt1s", "not an ISO 8601 duration"),
        ("PT1S1M", "not an ISO 8601 duration"),
        ("PT\u0661S", "not an ISO 8601 duration"),
        ("PT1e3S", "not an ISO 8601 duration"),
        ("P999999999Y", "longer than"),
        ({"days": 10**400}, "longer than"),
        ({}, "empty"),
        ({"seconds": -1}, "negative"),
        ({"seconds": 1.5}, "whole number"),
        ({"seconds": True}, "whole number"),
        ({"seconds": "1"}, "whole number"),
        ({"weeks": 1}, "no unit of time"),
        (5, "an object such as"),
        (None, "an object such as"),
        ([], "an object such as"),
    ],
)
def test_what_is_no_duration(given: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        milliseconds(given)


def test_a_huge_text_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"not an ISO 8601 duration|longer than"):
        milliseconds("PT" + "9" * 200_000 + "S")
