"""Every combination has a way, or a refusal that names what to change."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobworkerp_standalone.jobs.errors import InvalidRequest, Status
from jobworkerp_standalone.jobs.model import QueueType, ResponseType, Rules, Worker
from jobworkerp_standalone.jobs.routing import Route, route
from tests.property import values

NOW = 1_700_000_000_000
TIMES = {"at once": 0, "past": NOW - 1, "now": NOW, "future": NOW + 1}
RECURRENCES = {
    "once": Worker(1, "w", 1),
    "periodic": Worker(1, "w", 1, periodic_interval_ms=1),
    "cron": Worker(1, "w", 1, cron="* * * * *"),
}


def expected(queue_type: QueueType, response: ResponseType, time: str, recurrence: str) -> Route | None:
    """Say the rules in words; None is a refusal."""
    waits_for_its_time = time == "future" or recurrence != "once"
    if response is ResponseType.DIRECT:
        servable = time == "at once" and recurrence == "once" and queue_type is not QueueType.DB_ONLY
        return Route.QUEUE if servable else None
    if waits_for_its_time or queue_type is QueueType.DB_ONLY:
        return Route.ROW
    return Route.ROW_AND_QUEUE if queue_type is QueueType.WITH_BACKUP else Route.QUEUE


@pytest.mark.parametrize(
    ("queue_type", "response", "time", "recurrence"),
    list(product(QueueType, ResponseType, TIMES, RECURRENCES)),
    ids=lambda each: getattr(each, "name", each),
)
def test_every_combination(queue_type: QueueType, response: ResponseType, time: str, recurrence: str) -> None:
    worker = replace(RECURRENCES[recurrence], queue_type=queue_type)
    wanted = expected(queue_type, response, time, recurrence)
    if wanted is not None:
        assert route(worker, Rules(response), TIMES[time], NOW) is wanted
        return
    with pytest.raises(InvalidRequest, match="DIRECT") as refusal:
        route(worker, Rules(response), TIMES[time], NOW)
    assert refusal.value.code is Status.INVALID_ARGUMENT
    assert "NO_RESULT" in refusal.value.message


@given(values.workers, values.rules, st.integers(0, values.MAX_INT64), values.moments)
def test_there_is_a_way_or_a_refusal(worker: Worker, rules: Rules, run_after_ms: int, now_ms: int) -> None:
    try:
        way = route(worker, rules, run_after_ms, now_ms)
    except InvalidRequest:
        assert rules.direct
        return
    durable = not rules.direct and (worker.queue_type is not QueueType.NORMAL or run_after_ms > now_ms)
    assert (way is not Route.QUEUE) == (durable or worker.recurring)
    assert (way is Route.ROW) or run_after_ms <= now_ms
