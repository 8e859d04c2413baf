"""Cron times in a time zone.

What happens when clocks change is decided by the hour field. With a wildcard in it (``*/15 * * * *``) a schedule
means "every so often" and follows elapsed time: it runs through the hour that comes twice, and jumps over the one that
is missing. Without one (``30 2 * * *``) it means a time of day: once a day, on the first of two equal times; a time
that the clock jumps over runs as much later as the jump is wide.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_FIELDS: Final = (5, 6)
_HOUR: Final = 1
_RANDOM: Final = ("r", "h")
_SECOND: Final = timedelta(seconds=1)


class BadCron(ValueError):
    """The expression or the zone cannot be used; the text says why."""


@lru_cache(maxsize=1024)
def cron_schedule(expression: str, zone: str) -> CronSchedule:
    """Return the schedule of an expression in an IANA zone; an empty zone is UTC.

    Raises:
        BadCron: the expression or the zone is wrong, or the expression never matches.
    """
    return CronSchedule(expression, zone)


class CronSchedule:
    """The times of one cron expression."""

    def __init__(self, expression: str, zone: str) -> None:
        self._zone = _find_zone(zone)
        self._expression = _expanded(expression)
        hours = self._expression.split()[_HOUR]
        self._by_elapsed_time = "*" in hours
        self._next_wall(datetime(2024, 1, 1))  # says whether it ever matches

    def next_after_ms(self, after_ms: int) -> int:
        """Return the first time after ``after_ms``, in Unix milliseconds."""
        after = datetime.fromtimestamp(after_ms // 1000, UTC)
        found = self._next_elapsed(after) if self._by_elapsed_time else self._next_wall_time(after)
        return int(found.timestamp()) * 1000

    def _next_wall_time(self, after: datetime) -> datetime:
        wall = after.astimezone(self._zone).replace(tzinfo=None)
        while True:
            wall = self._next_wall(wall)
            instant = wall.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
            if instant > after:
                return instant

    def _next_elapsed(self, after: datetime) -> datetime:
        since, offset = after, _offset(after, self._zone)
        wall = _wall(since, offset)
        while True:
            instant = (self._next_wall(wall) - offset).replace(tzinfo=UTC)
            if _offset(instant, self._zone) == offset:
                return instant
            since = _change_between(since, instant, self._zone)
            offset = _offset(since, self._zone)
            wall = _wall(since, offset) - _SECOND

    def _next_wall(self, wall: datetime) -> datetime:
        croniter = _library()
        try:
            return croniter.croniter(self._expression, wall).get_next(datetime)
        except croniter.CroniterError as error:
            raise BadCron(f"cron {self._expression!r} never matches any date; name one that comes") from error


def _expanded(expression: str) -> str:
    """Check the form of an expression and return it without shorthand."""
    croniter = _library()
    text = " ".join(expression.split())
    text = _SHORTHANDS.get(text.lower(), text)
    fields = text.split()
    if len(fields) not in _FIELDS:
        raise BadCron(
            f"cron {expression!r} has {len(fields)} fields; write minute, hour, day of month, month, day of week "
            "(and seconds as a sixth), for example '*/5 * * * *'"
        )
    if any(field.lower().startswith(_RANDOM) for field in fields):
        raise BadCron(f"cron {expression!r} asks for a random time, which is not supported; name the time")
    try:
        croniter.croniter.expand(text)
    except croniter.CroniterError as error:
        raise BadCron(f"cron {expression!r} cannot be used: {error}; {_RANGES}") from error
    return text


_RANGES: Final = (
    "minutes and seconds go from 0 to 59, hours to 23, days from 1 to 31, months to 12, days of week from 0 to 7"
)
_SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}


def _find_zone(name: str) -> tzinfo:
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadCron(
            f"cron_timezone {name!r} is not a time zone; use an IANA name, for example Europe/Berlin"
        ) from error


def _offset(instant: datetime, zone: tzinfo) -> timedelta:
    return instant.astimezone(zone).utcoffset() or timedelta()


def _wall(instant: datetime, offset: timedelta) -> datetime:
    return (instant + offset).replace(tzinfo=None)


def _change_between(early: datetime, late: datetime, zone: tzinfo) -> datetime:
    """Return the first whole second with another offset than ``early`` has."""
    offset = _offset(early, zone)
    low, high = int(early.timestamp()), int(late.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(datetime.fromtimestamp(middle, UTC), zone) == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _library() -> Any:
    import croniter  # noqa: PLC0415 - a tenth of a second, only for those who use cron

    return croniter
