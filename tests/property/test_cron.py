"""Cron times: the right wall times, once each, through every change of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobworkerp_standalone.jobs.cron import BadCron, cron_schedule
from jobworkerp_standalone.jobs.model import Misfire, Worker
from jobworkerp_standalone.jobs.periods import first_run_ms, is_missed, next_run_ms, upcoming_ms

BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"
NEW_YORK, SAO_PAULO = "America/New_York", "America/Sao_Paulo"
WHOLE_HOURS = ["", BERLIN, NEW_YORK, "Asia/Tokyo", SAO_PAULO]
ZONES = st.sampled_from([*WHOLE_HOURS, LORD_HOWE])
MOMENTS = st.datetimes(datetime(2001, 1, 1), datetime(2037, 1, 1)).map(
    lambda each: int(each.replace(tzinfo=UTC).timestamp() * 1000)
)


def times(expression: str, zone: str, after: str, count: int) -> list[str]:
    schedule = cron_schedule(expression, zone)
    at_ms = int(datetime.fromisoformat(after).timestamp() * 1000)
    found: list[str] = []
    for _ in range(count):
        at_ms = schedule.next_after_ms(at_ms)
        found.append(datetime.fromtimestamp(at_ms / 1000, ZoneInfo(zone or "UTC")).strftime("%d %H:%M:%S%z"))
    return found


def test_a_wildcard_hour_goes_through_the_hour_that_comes_twice() -> None:
    assert times("*/30 * * * *", BERLIN, "2026-10-25T02:00+02:00", 4) == [
        "25 02:30:00+0200",
        "25 02:00:00+0100",
        "25 02:30:00+0100",
        "25 03:00:00+0100",
    ]


def test_a_wildcard_hour_jumps_with_the_clock() -> None:
    assert times("*/30 * * * *", BERLIN, "2026-03-29T01:00+01:00", 2) == ["29 01:30:00+0100", "29 03:00:00+0200"]


@pytest.mark.parametrize(
    ("zone", "expression", "after", "expected"),
    [
        # the clock jumps over the time: it runs that day all the same, as much later as the jump is wide
        (BERLIN, "30 2 * * *", "2026-03-28T12:00Z", ["29 03:30:00+0200", "30 02:30:00+0200"]),
        (NEW_YORK, "30 2 * * *", "2026-03-07T12:00Z", ["08 03:30:00-0400", "09 02:30:00-0400"]),
        (LORD_HOWE, "15 2 * * *", "2026-10-03T12:00Z", ["04 02:45:00+1100", "05 02:15:00+1100"]),
        (SAO_PAULO, "0 0 * * *", "2018-11-03T12:00Z", ["04 01:00:00-0200", "05 00:00:00-0200"]),
        # the time comes twice: it runs the first time
        (BERLIN, "30 2 * * *", "2026-10-24T12:00Z", ["25 02:30:00+0200", "26 02:30:00+0100"]),
        (NEW_YORK, "30 1 * * *", "2026-10-31T12:00Z", ["01 01:30:00-0400", "02 01:30:00-0500"]),
        (LORD_HOWE, "45 1 * * *", "2026-04-04T12:00Z", ["05 01:45:00+1100", "06 01:45:00+1030"]),
        (SAO_PAULO, "30 23 * * *", "2018-02-17T12:00Z", ["17 23:30:00-0200", "18 23:30:00-0300"]),
        # every so often: no elapsed hour without a run, none with two
        (BERLIN, "0 * * * *", "2026-10-24T23:30Z", ["25 02:00:00+0200", "25 02:00:00+0100", "25 03:00:00+0100"]),
        (NEW_YORK, "0 * * * *", "2026-03-08T06:30Z", ["08 03:00:00-0400", "08 04:00:00-0400"]),
        (LORD_HOWE, "15 * * * *", "2026-04-04T14:15Z", ["05 02:15:00+1030", "05 03:15:00+1030"]),
        (LORD_HOWE, "*/30 * * * *", "2026-10-03T15:10Z", ["04 02:30:00+1100", "04 03:00:00+1100"]),
        (SAO_PAULO, "0 * * * *", "2018-02-18T01:30Z", ["17 23:00:00-0300", "18 00:00:00-0300"]),
        # a year without any change
        ("Asia/Tokyo", "30 2 * * *", "2026-03-28T12:00Z", ["29 02:30:00+0900", "30 02:30:00+0900"]),
    ],
)
def test_changes_of_the_clock(zone: str, expression: str, after: str, expected: list[str]) -> None:
    assert times(expression, zone, after, len(expected)) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 9 * * mon-fri", ["05 09:00:00+0000", "06 09:00:00+0000", "07 09:00:00+0000", "08 09:00:00+0000"]),
        ("@daily", ["02 00:00:00+0000", "03 00:00:00+0000", "04 00:00:00+0000", "05 00:00:00+0000"]),
        ("0 0 29 2 *", ["29 00:00:00+0000"] * 4),
        ("* * * * * */20", ["01 00:00:20+0000", "01 00:00:40+0000", "01 00:01:00+0000", "01 00:01:20+0000"]),
    ],
)
def test_expressions(expression: str, expected: list[str]) -> None:
    assert (
        times(expression, "", "2026-01-01T00:00+00:00" if "mon" not in expression else "2026-01-02T10:00+00:00", 4)
        == expected
    )


@pytest.mark.parametrize(
    ("expression", "zone", "word"),
    [
        ("", "", "0 fields"),
        ("* * * *", "", "4 fields"),
        ("0 0 1 1 * 0 2030", "", "7 fields"),
        ("61 * * * *", "", "61"),
        ("*/0 * * * *", "", "0"),
        ("0 0 30 2 *", "", "never"),
        ("R * * * *", "", "random"),
        ("* * * * *", "Mars/Phobos", "Mars/Phobos"),
        ("* * * * *", "../../etc/passwd", "time zone"),
    ],
)
def test_what_cannot_be_used_says_why(expression: str, zone: str, word: str) -> None:
    with pytest.raises(BadCron, match=word):
        cron_schedule(expression, zone)


@settings(deadline=None)
@given(st.integers(0, 59), st.integers(0, 23), ZONES, MOMENTS)
def test_a_time_of_day_comes_once_a_day(minute: int, hour: int, zone: str, start_ms: int) -> None:
    schedule = cron_schedule(f"{minute} {hour} * * *", zone)
    at_ms, days = start_ms, []
    for _ in range(5):
        following = schedule.next_after_ms(at_ms)
        assert following > at_ms
        days.append(datetime.fromtimestamp(following / 1000, ZoneInfo(zone or "UTC")).date())
        at_ms = following
    assert [later - earlier for earlier, later in pairwise(days)] == [timedelta(days=1)] * 4


@settings(deadline=None)
@given(st.sampled_from([5, 10, 15, 20, 30]), st.sampled_from(WHOLE_HOURS), MOMENTS)
def test_every_so_often_follows_elapsed_time(minutes: int, zone: str, start_ms: int) -> None:
    schedule = cron_schedule(f"*/{minutes} * * * *", zone)
    at_ms = schedule.next_after_ms(start_ms)
    assert 0 < at_ms - start_ms <= minutes * 60_000
    for _ in range(10):
        following = schedule.next_after_ms(at_ms)
        assert following - at_ms == minutes * 60_000
        at_ms = following


@settings(deadline=None)
@given(ZONES, MOMENTS, st.integers(1, 3_600_000))
def test_a_clock_set_back_a_little_repeats_no_run(zone: str, due_ms: int, step_ms: int) -> None:
    worker = Worker(1, "w", 1, cron="17 3 * * *", cron_timezone=zone)
    due_ms = cron_schedule(worker.cron, zone).next_after_ms(due_ms)
    following = next_run_ms(worker, due_ms, due_ms - step_ms)
    assert following is not None
    assert following > due_ms


def test_a_clock_that_was_a_year_ahead_does_not_stop_a_schedule_for_a_year() -> None:
    worker = Worker(1, "w", 1, cron="17 3 * * *")
    year_ms = 365 * 86_400_000
    following = next_run_ms(worker, 1_800_000_000_000 + year_ms, 1_800_000_000_000)
    assert following is not None
    assert following <= 1_800_000_000_000 + 86_400_000


def test_the_first_cron_run_is_the_first_time_from_when_the_client_says() -> None:
    worker = Worker(1, "w", 1, cron="0 * * * *")
    hour = 3_600_000
    assert first_run_ms(worker, 0, 10 * hour + 1) == 11 * hour
    assert first_run_ms(worker, 20 * hour, 10 * hour + 1) == 20 * hour
    assert first_run_ms(worker, 5 * hour, 10 * hour + 1) == 11 * hour


def test_what_is_missed_and_what_comes() -> None:
    worker = Worker(1, "w", 1, cron="0 * * * *", cron_misfire=Misfire.SKIP)
    assert is_missed(worker, 0, 1001, 1000)
    assert not is_missed(worker, 0, 1000, 1000)
    assert not is_missed(Worker(1, "w", 1, cron="0 * * * *"), 0, 10**9, 1000)
    assert upcoming_ms(Worker(1, "w", 1, periodic_interval_ms=5), 100, 3) == [100, 105, 110]
    assert upcoming_ms(Worker(1, "w", 1), 100, 3) == [100]
    assert upcoming_ms(worker, 3_600_000, 2) == [3_600_000, 7_200_000]
