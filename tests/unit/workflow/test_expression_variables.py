"""The variables of expressions: which layer wins, when values are made, and how times are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.expressions.variables import (
    Variables,
    moment,
    secret_names,
    task_value,
    workflow_value,
)

AT = datetime(2025, 3, 1, 12, 30, 15, 250_000, tzinfo=UTC)


def test_a_built_in_name_hides_a_local_one_and_that_a_shared_one() -> None:
    seen = Variables({"input": lambda: "engine"}, {"input": "loop", "item": "loop"}, {"item": "set", "kept": "set"})

    assert dict(seen) == {"input": "engine", "item": "loop", "kept": "set"}
    assert len(seen) == 3


def test_a_local_null_hides_a_shared_value() -> None:
    seen = Variables({}, {"item": None}, {"item": "set"})

    assert seen["item"] is None


def test_a_built_in_value_is_made_once_and_only_when_it_is_asked_for() -> None:
    made: list[str] = []

    def value() -> JSON:
        made.append("input")
        return None

    seen = Variables({"input": value}, {}, {})
    assert "input" in seen
    assert list(seen) == ["input"]
    assert made == []

    assert seen["input"] is None
    assert seen["input"] is None
    assert made == ["input"]


def test_a_name_that_nobody_gave_is_missing() -> None:
    seen = Variables({}, {}, {})

    assert "nobody" not in seen
    with pytest.raises(KeyError, match="nobody"):
        seen["nobody"]


def test_secrets_are_told_from_other_names() -> None:
    assert secret_names(frozenset({"secrets", "secrets.a.b", "input"})) == {"a.b"}


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=9))])
def test_a_moment_is_written_in_utc_for_the_dsl_and_the_reference(zone: timezone) -> None:
    dsl, reference = moment(AT.astimezone(zone))

    assert reference == "2025-03-01T12:30:15.250000Z"
    assert dsl == {"iso8601": reference, "epoch": {"seconds": 1740832215, "milliseconds": 1740832215250}}


def test_workflow_and_task_have_their_times_in_both_spellings() -> None:
    dsl, reference = moment(AT)

    workflow = workflow_value("7", {"do": []}, {"a": 1}, AT)
    task = task_value("one", "/do/0/one", {"set": {}}, {"input": 2}, AT)

    times = {"startedAt": dsl, "started_at": reference}
    assert workflow == {"id": "7", "definition": {"do": []}, "input": {"a": 1}, **times}
    assert task == {"name": "one", "reference": "/do/0/one", "definition": {"set": {}}, "input": 2, **times}
