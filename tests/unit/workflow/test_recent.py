"""What was made of texts is kept within a bound of memory."""

from __future__ import annotations

import pytest

from jobworkerp_standalone.workflow.expressions import jq_engine
from jobworkerp_standalone.workflow.expressions.recent import Recent


def test_what_was_asked_for_last_is_kept() -> None:
    made: list[str] = []
    recent = Recent(lambda text: made.append(text) or text.upper(), len, most=6)
    for text in ("aa", "bb", "cc", "aa", "dddd", "aa", "bb"):
        assert recent(text) == text.upper()
    assert made == ["aa", "bb", "cc", "dddd", "bb"]


def test_one_that_is_larger_than_all_may_be_is_kept_alone() -> None:
    made: list[str] = []
    recent = Recent(lambda text: made.append(text) or text, len, most=3)
    for text in ("a", "long", "long", "a"):
        recent(text)
    assert made == ["a", "long", "a"]


def test_what_fails_is_not_kept() -> None:
    recent = Recent(int, len, most=4)
    for _ in range(9):
        with pytest.raises(ValueError, match="invalid literal"):
            recent("none")
    assert recent("1") == 1


def test_the_programs_of_a_document_with_5000_conditions_stay_compiled() -> None:
    made: list[str] = []
    recent = Recent(made.append, jq_engine.cost, jq_engine.MOST_COMPILED)
    for _ in range(2):
        for number in range(5_000):
            recent(f"(\n.order.customer.number == {number} and .order.total > 100\n)")
    assert len(made) == 5_000


def test_the_longest_programs_are_few() -> None:
    """An expression may have 65,536 characters."""
    assert jq_engine.MOST_COMPILED // jq_engine.cost("x" * 65_536) < 50
