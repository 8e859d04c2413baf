"""SIGKILL at any moment in a mix of everything that time decides: schedules, delays, retries, chains. All adds up."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import anyio
import pytest
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.fault.accounts import (
    EXPONENTIAL,
    LINEAR,
    Accepted,
    Agreed,
    Audit,
    Books,
    Order,
    Retry,
    Terms,
    born_before,
    look,
)
from tests.fault.scene import (
    DB_ONLY,
    NORMAL,
    SUCCESS,
    WITH_BACKUP,
    Client,
    Traces,
    daemon,
    ended,
    until,
)

CONNECTION_LOST = (GRPCError, StreamTerminatedError, OSError)
SETTINGS = {
    "JOB_MAX_DELIVERIES": "1000000",
    "JOB_LEASE_SEC": "86400",
    "WORKER_DEFAULT_CONCURRENCY": "8",
    "JOB_QUEUE_FETCH_INTERVAL": "100",
}
FETCH_INTERVALS = ("20", "100", "1000")
LIFE_MS = (20, 400)
ORDERS = 8
QUIET_SEC = 300
FAR_MS = 1000
"""A NORMAL job that is enqueued so far ahead gets a row."""

WORKERS = {
    # what follows; the result of a command makes no command, so these fail, and that is not retried
    "left": Terms(NORMAL, Retry(max_retry=1)),
    "right": Terms(DB_ONLY),
    # one run
    "normal": Terms(NORMAL),
    "backup": Terms(WITH_BACKUP),
    "row": Terms(DB_ONLY),
    # until it succeeds
    "constant": Terms(DB_ONLY, Retry(interval=60)),
    "linear": Terms(WITH_BACKUP, Retry(LINEAR, 40, max_interval=200)),
    "exponential": Terms(WITH_BACKUP, Retry(EXPONENTIAL, 30, max_interval=300, basis=1.5)),
    # with others after it
    "parent": Terms(WITH_BACKUP, followed_by=("left", "right")),
    "parent row": Terms(DB_ONLY, followed_by=("right", "left")),
    "late parent": Terms(WITH_BACKUP, Retry(interval=40), followed_by=("left",)),
    # again and again
    "pulse": Terms(NORMAL, period_ms=250),
    "work": Terms(DB_ONLY, period_ms=600, followed_by=("left",)),
    "flaky": Terms(NORMAL, Retry(interval=40, max_retry=2), period_ms=900),
    "calm": Terms(WITH_BACKUP, period_ms=1500),
    "second": Terms(NORMAL, every_sec=1),
    "third": Terms(DB_ONLY, every_sec=3),
    "skip": Terms(NORMAL, every_sec=1, skipping=True),
    "overlap": Terms(NORMAL, every_sec=1, overlapping=True),
}
ONCE = ("normal", "backup", "row")
STUBBORN = ("constant", "linear", "exponential", "late parent")
PARENTS = ("parent", "parent row")
SCHEDULES = [name for name, terms in WORKERS.items() if terms.recurring]
KINDS = {ONCE: 4, STUBBORN: 3, PARENTS: 3, ("calm",): 0.2}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def in_the_end(condition: Callable[[], bool], what: str) -> None:
    """Wait long: what was running at several deaths runs one at a time."""
    with anyio.move_on_after(QUIET_SEC):
        while not condition():  # noqa: ASYNC110 - another process sets no events here
            await anyio.sleep(0.05)
        return
    raise AssertionError(f"{what} did not come within {QUIET_SEC} s")


# ---------------------------------------------------------------- the plan


@dataclass(frozen=True)
class Round:
    """The life of one daemon."""

    orders: list[Order]
    life_ms: float
    fetch_interval: str


def plan(rounds: int, seed: int) -> Iterator[Round]:
    """Choose everything that is chosen; the same seed chooses the same."""
    chance = random.Random(seed)
    numbers = count(100)
    for _ in range(rounds):
        life_ms = chance.uniform(*LIFE_MS)
        orders = [order(chance, next(numbers), life_ms) for _ in range(ORDERS)]
        yield Round(orders, life_ms, chance.choice(FETCH_INTERVALS))


def order(chance: random.Random, number: int, life_ms: float) -> Order:
    (kind,) = chance.choices([*KINDS], [*KINDS.values()])
    worker = chance.choice(kind)
    delay_ms = chance.choice((0, chance.randint(1, 1500)))
    return Order(
        number,
        worker,
        at_ms=round(chance.uniform(0, life_ms + 5)),
        delay_ms=FAR_MS + delay_ms if worker == "normal" else delay_ms,
        nap=chance.choice(("0", "0", "0.03", "0.15")),
        failures=chance.randint(1, 3) if worker in STUBBORN else 0,
        hopeless=kind is PARENTS and chance.random() < 0.3,
    )


# ---------------------------------------------------------------- the chaos


class Chaos:
    """Clients that want everything at once, and a daemon that is killed all the time."""

    def __init__(self, folder: Path, traces: Traces) -> None:
        self.agreed = Agreed(WORKERS)
        self._folder = folder
        self._traces = traces
        self._killed = False
        self.log: list[str] = []
        """What the last daemon said."""

    async def set_up(self) -> None:
        """Make the workers and start the schedules."""
        ids: dict[str, int] = {}
        async with daemon(self._folder, **SETTINGS) as (process, client):
            for name, terms in WORKERS.items():
                ids[name] = await client.worker(name, **terms.fields(ids))
            for number, name in enumerate(SCHEDULES, 1):
                await self._enqueue(client, Order(number, name, delay_ms=number * 10, nap=_NAPS.get(name, "0")))
            for number, name in enumerate([*ONCE, *STUBBORN, *PARENTS], len(SCHEDULES) + 1):
                order = Order(number, name, delay_ms=FAR_MS * (name == "normal"), failures=int(name in STUBBORN))
                await self._enqueue(client, order)
            process.kill()
        self.agreed.kills += 1

    async def round(self, plan: Round) -> None:
        """Start a daemon, want something of it, kill it."""
        self.let_succeed()
        self._killed = False
        settings = {**SETTINGS, "JOB_QUEUE_FETCH_INTERVAL": plan.fetch_interval}
        async with daemon(self._folder, **settings) as (process, client), anyio.create_task_group() as tasks:
            self.log = process.lines
            for each in plan.orders:
                tasks.start_soon(self._try_to_enqueue, client, each)
            await anyio.sleep(plan.life_ms / 1000)
            self._killed = True
            process.signal(signal.SIGKILL)
            assert await ended(process) == -signal.SIGKILL
        self.agreed.kills += 1

    async def quiet(self) -> None:
        """Let everything come to its end, and the schedules go on for a while."""
        agreed = self.agreed
        (self._folder / "quiet").touch()
        agreed.quiet_ms = now_ms()
        async with daemon(self._folder, **SETTINGS) as (process, _):
            self.log = process.lines
            await in_the_end(self._is_settled, "the end of all jobs")
            await in_the_end(self._schedules_go_on, "two more runs of every schedule")
            agreed.stopped_ms = now_ms()
            assert process.stop() == 0
        await until(lambda: not self._traces.processes(), "the end of all commands")

    def let_succeed(self) -> None:
        """Open the way for jobs of which enough failures are stored."""
        stored = look(self._folder, "SELECT uniq_key, count(*) FROM job_result WHERE status = 1 GROUP BY uniq_key")
        failures = {key: number for key, number in stored if key}
        for each in self.agreed.orders.values():
            if 0 < each.failures <= failures.get(each.key, 0):
                (self._folder / f"go.{each.number}").touch()

    async def _try_to_enqueue(self, client: Client, order: Order) -> None:
        await anyio.sleep(order.at_ms / 1000)
        try:
            await self._enqueue(client, order)
        except CONNECTION_LOST:
            if not self._killed:
                raise

    async def _enqueue(self, client: Client, order: Order) -> None:
        run_after = now_ms() + order.delay_ms if order.delay_ms else 0
        self.agreed.orders[order.number] = order
        fields = {"uniq_key": order.key, "run_after_time": run_after}
        reply = await client.enqueue(order.worker, self._script(order), **fields)
        recurs_by_cron = bool(WORKERS[order.worker].every_sec)
        if order.worker != "normal" or now_ms() < run_after:  # else it came too late to be promised
            self.agreed.accepted[order.number] = Accepted(reply.id.value, 0 if recurs_by_cron else run_after)

    def _script(self, order: Order) -> str:
        folder = self._folder
        verdict = "true"
        if order.worker == "flaky":
            verdict = f"[ $(( $(grep -cx {order.number} {folder}/ran) % 2 )) = 0 ]"
        elif order.worker == "overlap":
            verdict = f"[ ! -e {folder}/quiet ] || sleep 1.2"
        elif order.hopeless:
            verdict = "exit 1"
        elif order.failures:
            verdict = f"[ -e {folder}/go.{order.number} ]"
        return f"sleep {order.nap}; {self._traces.mark(order.number)}; echo {order.number} $$; {verdict}"

    def _is_settled(self) -> bool:
        self.let_succeed()
        old = born_before(self.agreed.quiet_ms)
        return not look(self._folder, f"SELECT id FROM job WHERE recurring = 0 AND id < {old}")

    def _schedules_go_on(self) -> bool:
        since = self.agreed.quiet_ms
        statement = f"SELECT job_id, worker_name FROM job_result WHERE status = {SUCCESS} AND start_time_ms > {since}"
        runs = Counter(each for result in look(self._folder, statement) for each in result)
        schedules = look(
            self._folder, "SELECT job.id, name FROM job JOIN worker ON worker.id = worker_id WHERE recurring"
        )
        return all(runs[name if WORKERS[name].overlapping else job_id] >= 2 for job_id, name in schedules)


_NAPS = {"work": "0.2", "overlap": "0.05"}


async def rounds_of_chaos(folder: Path, traces: Traces, *, rounds: int, seed: int) -> Agreed:
    chaos, began = Chaos(folder, traces), time.monotonic()
    try:
        await chaos.set_up()
        for each in plan(rounds, seed):
            await chaos.round(each)
        killed = time.monotonic()
        await chaos.quiet()
    except BaseException as error:
        error.add_note(f"seed {seed}, {rounds} rounds, {chaos.agreed.kills} kills so far; the last daemon said:")
        error.add_note("".join(chaos.log[-50:]))
        raise
    books = Books.of(folder, traces.ran)
    settled = time.monotonic()
    print(f"\nseed {seed}: {killed - began:.1f} s of kills, {settled - killed:.1f} s of quiet")
    print("\n".join(report(chaos.agreed, books)))
    faults = Audit(chaos.agreed, books).faults()
    assert not faults, f"seed {seed}, {rounds} rounds, {len(faults)} faults:\n" + "\n".join(faults[:50])
    return chaos.agreed


def report(agreed: Agreed, books: Books) -> Iterator[str]:
    """Say how much there was to account for."""
    known = {order.key for order in agreed.orders.values()} & books.ids_by_key.keys()
    yield f"{agreed.kills} kills"
    yield f"{len(agreed.orders)} orders, {len(agreed.accepted)} answered, {len(known)} became jobs"
    yield f"{len(books.results)} results by status: {dict(sorted(Counter(r.status for r in books.results).items()))}"
    commands = sum(1 for each in books.results if not each.parent)
    yield f"{books.ran.total()} runs of commands for {commands} of these results"
    yield f"{len({each.job_id for each in books.results if each.parent})} follow-ups"
    runs = Counter(each.worker for each in books.results)
    yield ", ".join(f"{name}: {runs[name]}" for name in WORKERS)
    yield f"{len(books.schedules)} schedules go on, {len(books.rows) - len(books.schedules)} of their jobs wait"


# ---------------------------------------------------------------- the audit itself

_OF = "(SELECT id FROM worker WHERE name = '{}')"
_LAST = "(SELECT max(id) FROM job_result WHERE {})"
_AGAIN = """
CREATE TEMP TABLE again AS SELECT * FROM job_result WHERE id = {0};
UPDATE again SET id = id + 3000, job_id = {1};
INSERT INTO job_result SELECT * FROM again
"""
TAMPERINGS = {
    "a lost schedule": "DELETE FROM job WHERE recurring AND worker_id = " + _OF.format("calm"),
    "a schedule that stands still": "UPDATE job SET due_ms = due_ms - 60000 WHERE recurring",
    "a period out of phase": "UPDATE job SET due_ms = due_ms + 1 WHERE worker_id = " + _OF.format("pulse"),
    "a cron time out of phase": "UPDATE job SET due_ms = due_ms + 1 WHERE worker_id = " + _OF.format("skip"),
    "a row that is held": "UPDATE job SET owner_id = 1 WHERE id = (SELECT max(id) FROM job)",
    "a row that runs": "UPDATE job SET running = 1 WHERE id = (SELECT max(id) FROM job)",
    "a lost result of a schedule": "DELETE FROM job_result WHERE id = " + _LAST.format("worker_name = 'pulse'"),
    "a lost end": "DELETE FROM job_result WHERE id = " + _LAST.format("worker_name = 'backup'"),
    "a lost failure": "DELETE FROM job_result WHERE id = " + _LAST.format("worker_name = 'linear' AND status = 1"),
    "a failure in the end": "UPDATE job_result SET status = 4 WHERE id = " + _LAST.format("worker_name = 'constant'"),
    "an early start": "UPDATE job_result SET start_time_ms = run_after_ms - 1 WHERE id = "
    + _LAST.format("worker_name = 'row'"),
    "a success without its follow-ups": "DELETE FROM job_result WHERE worker_name = 'right'",
    "a follow-up of nothing": "DELETE FROM job_result WHERE worker_name = 'parent row'",
    "a time that was served twice": "UPDATE job_result SET run_after_ms = (SELECT min(run_after_ms) FROM job_result "
    "WHERE worker_name = 'overlap') WHERE id = " + _LAST.format("worker_name = 'overlap'"),
    "two ends": _AGAIN.format(_LAST.format("worker_name = 'backup'"), "job_id"),
    "two ends of a run": _AGAIN.format(_LAST.format("worker_name = 'second'"), "job_id"),
    "two follow-ups": _AGAIN.format(_LAST.format("worker_name = 'right'"), "job_id + 1"),
    "a retry too soon": "UPDATE job_result SET run_after_ms = run_after_ms - 1 WHERE id = "
    + _LAST.format("worker_name = 'exponential' AND retried > 0"),
    "a count that is wrong": "UPDATE job_result SET retried = retried + 1 WHERE id = "
    + _LAST.format("worker_name = 'exponential'"),
    "an instance that is gone": "INSERT INTO worker_instance VALUES (1, 1, '', '', '', 0, 0, 0)",
}
"""Each must be noticed."""


def tampered(folder: Path, statement: str, ran: Counter[int]) -> Books:
    """Change a copy of the database and read it."""
    copy = folder / "copy"
    copy.mkdir(exist_ok=True)
    shutil.copy(folder / "jobs.sqlite3", copy / "jobs.sqlite3")
    with closing(sqlite3.connect(copy / "jobs.sqlite3")) as connection:
        connection.executescript(statement)
        assert connection.total_changes > 0, statement
    return Books.of(copy, ran)


# ---------------------------------------------------------------- short and long


@pytest.mark.timeout(900)
async def test_all_adds_up(tmp_path: Path, traces: Traces) -> None:
    agreed = await rounds_of_chaos(tmp_path, traces, rounds=8, seed=1)
    for name, statement in TAMPERINGS.items():
        assert Audit(agreed, tampered(tmp_path, statement, traces.ran)).faults(), f"not noticed: {name}"
    too_often = traces.ran + Counter({len(SCHEDULES) + 1: agreed.kills + 1})
    assert Audit(agreed, Books.of(tmp_path, too_often)).faults(), "not noticed: too many runs"
    assert Audit(agreed, Books.of(tmp_path, Counter())).faults(), "not noticed: no runs"


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_all_adds_up_after_two_hundred_rounds(tmp_path: Path, traces: Traces) -> None:
    await rounds_of_chaos(tmp_path, traces, rounds=200, seed=2)
