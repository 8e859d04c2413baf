"""An audit of a database that no daemon uses: whether every schedule, attempt and follow-up in it adds up.

The times that a result must lead to are worked out here once more, without the product's own arithmetic.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.fault.scene import CONSTANT, ERROR_AND_RETRY, MAX_RETRY, OTHER_ERROR, SUCCESS

EXPONENTIAL, LINEAR = 1, 2
SKIP = 1
_LATE_MS = 1000
"""How long after its time a schedule's row may still stand there on a busy machine."""
_ID_TIME_SHIFT = 22


# ---------------------------------------------------------------- what was agreed


@dataclass(frozen=True, slots=True)
class Retry:
    """A retry policy."""

    type: int = CONSTANT
    interval: int = 50
    max_interval: int = 0
    max_retry: int = 1000
    basis: float = 2.0

    def delay_ms(self, retried: int) -> int:
        factor = {CONSTANT: 1, LINEAR: retried + 1, EXPONENTIAL: self.basis**retried}[self.type]
        delay = round(self.interval * factor)
        return min(delay, self.max_interval) if self.max_interval else delay

    def fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("type", "interval", "max_interval", "max_retry", "basis")}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a worker was made with."""

    queue_type: int
    retry: Retry | None = None
    followed_by: tuple[str, ...] = ()
    period_ms: int = 0
    every_sec: int = 0
    """A cron schedule at all seconds that this divides."""
    overlapping: bool = False
    skipping: bool = False

    @property
    def recurring(self) -> bool:
        return bool(self.period_ms or self.every_sec)

    def fields(self, ids: Mapping[str, int]) -> dict[str, Any]:
        """Return the fields of the worker, given the ids of those that were made before."""
        policy = {"retry_policy": self.retry.fields()} if self.retry else {}
        cron = f"* * * * * */{self.every_sec}" if self.every_sec > 1 else "* * * * * *"
        recurrence = {
            "periodic_interval": self.period_ms,
            "cron": cron if self.every_sec else "",
            "cron_misfire": SKIP if self.skipping else 0,
            "allow_overlap": self.overlapping,
        }
        return {
            "queue_type": self.queue_type,
            "store_success": True,
            "store_failure": True,
            "next_workers": [{"value": ids[name]} for name in self.followed_by],
            **policy,
            **recurrence,
        }

    def next_run_ms(self, due_ms: int, end_ms: int) -> int:
        """Return when a schedule runs next after a run that was due and one that ended at these times."""
        if self.every_sec:
            step = self.every_sec * 1000
            return (end_ms // step + 1) * step
        following = due_ms + self.period_ms
        if end_ms <= following:
            return following
        return end_ms + self.period_ms - (end_ms - due_ms) % self.period_ms


@dataclass(frozen=True, slots=True)
class Order:
    """A job that a client wanted."""

    number: int
    worker: str
    at_ms: int = 0
    """When in its round it is enqueued."""
    delay_ms: int = 0
    nap: str = "0"
    failures: int = 0
    """It succeeds once so many of its failures are stored."""
    hopeless: bool = False

    @property
    def key(self) -> str:
        return f"order {self.number}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order whose id was answered."""

    job_id: int
    run_after_ms: int


@dataclass
class Agreed:
    """All that clients know, and when the last daemon began and was stopped."""

    terms: Mapping[str, Terms]
    orders: dict[int, Order] = field(default_factory=dict[int, Order])
    accepted: dict[int, Accepted] = field(default_factory=dict[int, Accepted])
    kills: int = 0
    quiet_ms: int = 0
    stopped_ms: int = 0


# ---------------------------------------------------------------- what is there


@dataclass(frozen=True, slots=True)
class Result:
    """A stored attempt."""

    id: int
    job_id: int
    worker: str
    status: int
    retried: int
    due_ms: int
    enqueue_ms: int
    start_ms: int
    end_ms: int
    args: bytes
    output: bytes
    key: str | None
    parent: int
    schedule: int


@dataclass(frozen=True, slots=True)
class Row:
    """A job that has not ended."""

    id: int
    worker: str
    retried: int
    due_ms: int
    recurring: bool
    owner_id: int | None
    running: bool
    args: bytes
    key: str | None
    parent: int
    schedule: int


_RESULTS = """
SELECT id, job_id, worker_name, status, retried, run_after_ms, enqueue_time_ms, start_time_ms, end_time_ms, args,
       coalesce(output, x''), uniq_key, metadata
FROM job_result ORDER BY id
"""
_ROWS = """
SELECT job.id, name, retried, due_ms, recurring, owner_id, running, args, uniq_key, metadata
FROM job JOIN worker ON worker.id = worker_id ORDER BY job.id
"""


def look(folder: Path, statement: str) -> list[Any]:
    """Ask the database without changing anything: what a killed daemon left half done stays for the next."""
    with closing(sqlite3.connect(f"file:{folder}/jobs.sqlite3?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(statement).fetchall()


def born_before(time_ms: int) -> int:
    """Return what is above every id that was made before a time."""
    return time_ms << _ID_TIME_SHIFT


@dataclass(frozen=True)
class Books:
    """All results, all rows, and how often commands left their numbers."""

    results: Sequence[Result]
    rows: Sequence[Row]
    owners: int
    ran: Counter[int]

    @classmethod
    def of(cls, folder: Path, ran: Counter[int]) -> Books:
        return cls(
            [Result(*each, *_origin(metadata)) for *each, metadata in look(folder, _RESULTS)],
            [Row(*each, *_origin(metadata)) for *each, metadata in look(folder, _ROWS)],
            look(folder, "SELECT count(*) FROM worker_instance")[0][0],
            ran,
        )

    @cached_property
    def by_job(self) -> Mapping[int, list[Result]]:
        """Attempts of each job, in order."""
        found: defaultdict[int, list[Result]] = defaultdict(list)
        for result in self.results:
            found[result.job_id].append(result)
        return found

    @cached_property
    def schedules(self) -> Mapping[int, Row]:
        return {row.id: row for row in self.rows if row.recurring}

    @cached_property
    def ids_by_key(self) -> Mapping[str, set[int]]:
        found: defaultdict[str, set[int]] = defaultdict(set)
        for result in self.results:
            if result.key:
                found[result.key].add(result.job_id)
        for row in self.rows:
            if row.key:
                found[row.key].add(row.id)
        return found


def _origin(metadata: str | None) -> Sequence[int]:
    """Return the job that this one follows, and the schedule that it is a run of."""
    found = json.loads(metadata) if metadata else {}
    return int(found.get("jobworkerp-parent-job-id", 0)), int(found.get("jobworkerp-schedule-job-id", 0))


# ---------------------------------------------------------------- the audit


class Audit:
    """Holds what is there against what was agreed."""

    def __init__(self, agreed: Agreed, books: Books) -> None:
        self._agreed = agreed
        self._books = books

    def faults(self) -> list[str]:
        """Return everything that does not add up."""
        return [
            *self._left_over(),
            *self._orders(),
            *self._unordered(),
            *self._times(),
            *self._schedules(),
            *self._overlapping_runs(),
            *self._follow_ups(),
        ]

    def _left_over(self) -> Iterator[str]:
        """Nothing is held or running; what waits was born of a schedule after everything else had ended."""
        if self._books.owners:
            yield f"{self._books.owners} instances are registered although none is there"
        for row in self._books.rows:
            if row.owner_id is not None or row.running:
                yield f"held or running: {row}"
            born_of = {row.parent, row.schedule} & self._books.schedules.keys()
            young = row.id >= born_before(self._agreed.quiet_ms)
            if not row.recurring and not (born_of and young):
                yield f"still waiting: {row}"
            if row.recurring != (self._agreed.terms[row.worker].recurring and not row.schedule):
                yield f"a schedule where none was asked for, or none where one was: {row}"

    def _orders(self) -> Iterator[str]:
        """Every order became one job, at least if it was answered, and ended once, as it had to."""
        agreed, books = self._agreed, self._books
        for number, order in agreed.orders.items():
            ids = books.ids_by_key.get(order.key, set[int]())
            accepted = agreed.accepted.get(number)
            if accepted is not None and ids != {accepted.job_id}:
                yield f"{order.key} was accepted as {accepted.job_id}, there is {ids or 'nothing'}"
            if len(ids) > 1:
                yield f"{order.key} became several jobs: {ids}"
            for job_id in ids:
                attempts = books.by_job.get(job_id, [])
                yield from self._first_due(order, accepted, attempts)
                yield from self._runs(order, attempts)
                if agreed.terms[order.worker].recurring:
                    if job_id not in books.schedules:
                        yield f"the schedule of {order.key} ({order.worker}) is lost"
                else:
                    yield from self._one_end(job_id, MAX_RETRY if order.hopeless else SUCCESS)
                    if attempts and attempts[-1].retried < order.failures:
                        yield f"{order.key} ended after {attempts[-1].retried} retries, not {order.failures}"

    @staticmethod
    def _first_due(order: Order, accepted: Accepted | None, attempts: Sequence[Result]) -> Iterator[str]:
        if accepted and accepted.run_after_ms and attempts and attempts[0].due_ms != accepted.run_after_ms:
            yield f"{order.key} was due at {attempts[0].due_ms} instead of {accepted.run_after_ms}"

    def _runs(self, order: Order, attempts: Sequence[Result]) -> Iterator[str]:
        """Each stored attempt has run; only a kill makes a run that is not stored."""
        if self._agreed.terms[order.worker].overlapping:
            return
        ran, stored, kills = self._books.ran[order.number], len(attempts), self._agreed.kills
        if not stored <= ran <= stored + kills:
            yield f"{order.key} ({order.worker}) ran {ran} times in {stored} attempts and {kills} kills"

    def _one_end(self, job_id: int, status: int) -> Iterator[str]:
        statuses = [each.status for each in self._books.by_job.get(job_id, [])]
        if statuses != [*[ERROR_AND_RETRY] * (len(statuses) - 1), status]:
            yield f"job {job_id} did not end once, with status {status}: {statuses}"

    def _unordered(self) -> Iterator[str]:
        """Every job comes from an order, or was started by one that does."""
        keys = {order.key for order in self._agreed.orders.values()}
        for result in self._books.results:
            known = (
                result.key in keys
                if result.key
                else result.parent in self._books.by_job or result.schedule in self._books.schedules
            )
            if not known:
                yield f"nobody asked for {result}"

    def _times(self) -> Iterator[str]:
        """No attempt is early, and none begins before the one before it has ended."""
        for result in self._books.results:
            if not result.due_ms <= result.start_ms <= result.end_ms:
                yield f"early: {result}"
        for attempts in self._books.by_job.values():
            for before, after in pairwise(attempts):
                if after.start_ms < before.end_ms:
                    yield f"two at a time: {before} and {after}"
            for attempt, (retried, due_ms) in zip(attempts[1:], map(self._successor, attempts), strict=False):
                if attempt.retried != retried or (due_ms and attempt.due_ms != due_ms):
                    yield f"not due at {due_ms} with retried {retried}: {attempt}"
            if attempts and attempts[0].retried:
                yield f"the first attempt is lost: {attempts[0]}"

    def _successor(self, result: Result) -> tuple[int, int]:
        """Return the count and the time of what follows an attempt of the same job; time 0 where it is not fixed."""
        terms = self._agreed.terms[result.worker]
        if result.status == ERROR_AND_RETRY and terms.retry:
            return result.retried + 1, result.end_ms + terms.retry.delay_ms(result.retried)
        return 0, 0 if terms.skipping else terms.next_run_ms(result.due_ms, result.end_ms) if terms.recurring else 0

    def _schedules(self) -> Iterator[str]:
        """Each goes on, at a time that its last run leads to; no time was served twice."""
        for row in self._books.schedules.values():
            terms = self._agreed.terms[row.worker]
            attempts = self._books.by_job.get(row.id, [])
            if row.due_ms < self._agreed.stopped_ms - _LATE_MS:
                yield f"not due in the future of {self._agreed.stopped_ms}: {row}"
            if terms.every_sec and row.due_ms % (terms.every_sec * 1000):
                yield f"not a time of its cron: {row}"
            if attempts:
                retried, due_ms = self._successor(attempts[-1])
                if row.retried != retried or (due_ms and row.due_ms != due_ms):
                    yield f"not due at {due_ms} with retried {retried}: {row}"
            yield from self._served(f"schedule {row.id} ({row.worker})", terms, attempts)

    @staticmethod
    def _served(name: str, terms: Terms, attempts: Iterable[Result]) -> Iterator[str]:
        attempts = list(attempts)
        times = Counter(each.due_ms for each in attempts if each.status != ERROR_AND_RETRY)
        for due_ms, count in times.items():
            if count > 1:
                yield f"{name} was served {count} times for {due_ms}"
            if terms.every_sec and due_ms % (terms.every_sec * 1000):
                yield f"{name} ran for {due_ms}, which is not a time of its cron"
        if [*times] != sorted(times):
            yield f"{name} went back in time"

    def _overlapping_runs(self) -> Iterator[str]:
        """Runs of a schedule that may overlap are jobs of their own, each with one end."""
        runs: defaultdict[int, list[Result]] = defaultdict(list)
        for result in self._books.results:
            if result.schedule:
                runs[result.schedule].append(result)
        for schedule, results in runs.items():
            row = self._books.schedules.get(schedule)
            if row is None:
                yield f"the schedule {schedule} of {len(results)} runs is lost"
                continue
            by_time = sorted(results, key=lambda each: each.due_ms)
            yield from self._served(f"schedule {schedule} ({row.worker})", self._agreed.terms[row.worker], by_time)
            if by_time[-1].due_ms >= row.due_ms:
                yield f"a run for {by_time[-1].due_ms} does not lie before {row}"
            for result in results:
                yield from self._one_end(result.job_id, SUCCESS)

    def _follow_ups(self) -> Iterator[str]:
        """Each success is followed by one job of each worker that it names, with its output; nothing else is."""
        wanted: Counter[tuple[str, int, bytes]] = Counter()
        for result in self._books.results:
            if result.status == SUCCESS:
                wanted.update((name, result.job_id, result.output) for name in self._followers(result.worker))
        ended = {each.job_id: (each.worker, each.parent, each.args) for each in self._books.results if each.parent}
        waiting = {row.id: (row.worker, row.parent, row.args) for row in self._books.rows if row.parent}
        there = Counter((ended | waiting).values())
        for (name, job_id, _), count in (wanted - there).items():
            yield f"job {job_id} is not followed by {count} of {name}"
        for (name, job_id, _), count in (there - wanted).items():
            yield f"job {job_id} is followed by {count} too many of {name}"
        for job_id in ended.keys() - waiting.keys():
            yield from self._one_end(job_id, OTHER_ERROR)  # the result of a command makes no command

    def _followers(self, worker: str) -> Sequence[str]:
        return self._agreed.terms[worker].followed_by
