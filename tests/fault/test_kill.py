"""SIGKILL at any moment: an accepted durable job has run or is still there, and runs soon after the restart."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.fault.scene import (
    DURABLE,
    FATAL_ERROR,
    MAX_RETRY,
    NORMAL,
    PENDING,
    RUNNING,
    SUCCESS,
    Client,
    NotStarted,
    Traces,
    daemon,
    ended,
    query,
    rows,
    until,
)

CONNECTION_LOST = (GRPCError, StreamTerminatedError, OSError)
NEVER_BY_ITSELF = {"JOB_LEASE_SEC": "86400"}
"""Leases that do not run out during a test: rows come back because the death of their owner is seen."""
KILLED_OFTEN = {"JOB_MAX_DELIVERIES": "1000000", **NEVER_BY_ITSELF}


async def every(number_of: int, do: Callable[[int], Coroutine[Any, Any, object]]) -> None:
    """Do something many times at once."""
    async with anyio.create_task_group() as tasks:
        for number in range(number_of):
            tasks.start_soon(do, number)


# ---------------------------------------------------------------- killed again and again


class Chaos:
    """Clients that enqueue all the time, and a daemon that is killed all the time."""

    def __init__(self, folder: Path, traces: Traces, seed: int) -> None:
        self._folder = folder
        self._traces = traces
        self._random = random.Random(seed)
        self._numbers = count(1)
        self.accepted: dict[int, int] = {}
        """Number of every job whose id was answered, with that id."""
        self._most = 0
        """So many may be accepted in this round."""

    async def round(self) -> None:
        """Start a daemon, keep it busy, kill it at a random point."""
        accepted = len(self.accepted) + self._random.randint(0, 60)
        ran = len(self._traces.ran) + self._random.randint(0, 30)
        self._most = accepted + self._random.randint(0, 60)
        last_breath = self._random.uniform(0, 0.05)
        async with daemon(self._folder, WORKER_DEFAULT_CONCURRENCY="8", **KILLED_OFTEN) as (process, client):
            async with anyio.create_task_group() as tasks:
                for worker in [*DURABLE] * 4:
                    tasks.start_soon(self._enqueue, client, worker)
                await until(lambda: len(self.accepted) >= accepted, "enough accepted jobs")
                await until(lambda: len(self._traces.ran) >= ran, "enough jobs that ran")
                await anyio.sleep(last_breath)
                process.signal(signal.SIGKILL)
            assert await ended(process) == -signal.SIGKILL

    async def _enqueue(self, client: Client, worker: str) -> None:
        while len(self.accepted) < self._most:
            number = next(self._numbers)
            script = f"sleep {self._random.choice(('0', '0', '0.02', '0.2'))}; {self._traces.mark(number)}"
            try:
                answer = await client.enqueue(worker, script)
            except CONNECTION_LOST:
                return
            self.accepted[number] = answer.id.value


async def rounds_of_chaos(folder: Path, traces: Traces, *, rounds: int, seed: int) -> None:
    chaos = Chaos(folder, traces, seed)
    async with daemon(folder) as (process, client):
        for name, queue_type in DURABLE.items():
            await client.worker(name, queue_type=queue_type, store_success=True, store_failure=True)
        assert process.stop() == 0
    for _ in range(rounds):
        await chaos.round()
        waiting = {job_id for (job_id,) in rows(folder, "id")}
        ran = traces.ran
        lost = [number for number, job_id in chaos.accepted.items() if job_id not in waiting and not ran[number]]
        # A command that outlives its daemon leaves its number a moment later, but then its row is still there.
        assert lost == []
    async with daemon(folder, WORKER_DEFAULT_CONCURRENCY="16", **KILLED_OFTEN) as (process, client):
        await client.until_idle(within=600)
        for number, job_id in chaos.accepted.items():
            ends = [each.data.status for each in await client.results(job_id)]
            assert ends == [SUCCESS], f"job {job_id}"
            assert traces.ran[number] >= 1
        assert process.stop() == 0
    assert len(chaos.accepted) > rounds


async def test_no_accepted_job_is_lost(tmp_path: Path, traces: Traces) -> None:
    await rounds_of_chaos(tmp_path, traces, rounds=6, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_no_accepted_job_is_lost_in_a_hundred_rounds(tmp_path: Path, traces: Traces) -> None:
    await rounds_of_chaos(tmp_path, traces, rounds=100, seed=2)


# ---------------------------------------------------------------- what a restart finds


async def test_rows_run_soon_after_a_restart(tmp_path: Path, traces: Traces) -> None:
    """Running and waiting ones alike; the commands of the dead daemon are gone, and do not come to their end.

    No lease runs out and nobody looks a second time: the start itself finds them.
    """
    with traces.gate():
        async with daemon(tmp_path, WORKER_DEFAULT_CONCURRENCY="4", **NEVER_BY_ITSELF) as (process, client):
            for name, queue_type in DURABLE.items():
                await client.worker(name, queue_type=queue_type, store_success=True)

            async def enqueue(number: int) -> None:
                ids[number] = (await client.enqueue([*DURABLE][number % 2], traces.hold(number))).id.value

            ids: dict[int, int] = {}
            (dead,) = (await client.wire.items("WorkerInstanceService.FindList")).items
            await every(40, enqueue)
            await until(lambda: len(traces.started) == 4, "the start of the first jobs")
            process.signal(signal.SIGKILL)
            assert await ended(process) == -signal.SIGKILL
        await until(lambda: traces.processes() == [], "the end of the commands")
        (tmp_path / "open").touch()
        async with daemon(tmp_path, JOB_QUEUE_FETCH_INTERVAL="3600000", **NEVER_BY_ITSELF) as (process, client):
            assert query(tmp_path, f"SELECT count(*) FROM job WHERE owner_id = {dead.id.value}") == [0]
            await client.until_idle()
            for job_id in ids.values():
                (only,) = await client.results(job_id)
                assert only.data.status == SUCCESS
            assert process.stop() == 0
        assert traces.ran == Counter(range(40))


async def test_a_finished_job_does_not_run_again(tmp_path: Path, traces: Traces) -> None:
    """Its result was answered or stored before the kill, so the end of its row was on disk."""
    finished: list[int] = []
    async with daemon(tmp_path) as (process, client):
        for name, queue_type in DURABLE.items():
            await client.worker(name, queue_type=queue_type, store_success=True, broadcast_results=True)

        async def run(number: int) -> None:
            name = [*DURABLE][number % 2]
            job_id = (await client.enqueue(name, traces.mark(number))).id
            await client.wire.call("JobResultService.Listen", job_id={"value": job_id.value}, worker_name=name)
            finished.append(number)

        await every(60, run)
        process.signal(signal.SIGKILL)
        assert await ended(process) == -signal.SIGKILL
    assert rows(tmp_path, "id") == []
    async with daemon(tmp_path) as (process, client):
        await client.until_idle()
        assert (await client.wire.call("JobResultService.Count")).total == 60
        assert process.stop() == 0
    assert traces.ran == Counter(finished) == Counter(range(60))


async def test_volatile_jobs_leave_nothing_behind(tmp_path: Path, traces: Traces) -> None:
    """NORMAL jobs end with the process that is killed; that is documented, and nothing half-done of them is left."""
    with traces.gate():
        async with daemon(tmp_path, WORKER_DEFAULT_CONCURRENCY="1") as (process, client):
            await client.worker("normal", queue_type=NORMAL)
            for number in range(5):
                await client.enqueue("normal", traces.hold(number), uniq_key=f"key {number}")
            await client.until_live(RUNNING, 1)
            process.kill()
        async with daemon(tmp_path) as (process, client):
            assert await client.live(PENDING) == 0
            await client.enqueue("normal", traces.mark(9), uniq_key="key 3")
            await client.until_idle()
            assert process.stop() == 0
        assert traces.ran == Counter([9])


async def test_a_schedule_survives(tmp_path: Path, traces: Traces) -> None:
    settings = {"JOB_QUEUE_FETCH_INTERVAL": "20", **NEVER_BY_ITSELF}
    job_id = 0
    for number in range(4):
        async with daemon(tmp_path, **settings) as (process, client):
            if not job_id:
                await client.worker("ticking", periodic_interval=50)
                job_id = (await client.enqueue("ticking", traces.mark(1))).id.value
            wanted = traces.ran[1] + 2 + number
            await until(lambda wanted=wanted: traces.ran[1] >= wanted, "a few runs")
            process.kill()
        assert [each for (each,) in rows(tmp_path, "id")] == [job_id]


async def test_retries_survive_with_their_count(tmp_path: Path, traces: Traces) -> None:
    policy = {"type": 3, "interval": 50, "max_retry": 30}
    async with daemon(tmp_path) as (process, client):
        await client.worker("backup", queue_type=DURABLE["backup"], retry_policy=policy, store_failure=True)
        job_id = (await client.enqueue("backup", f"{traces.mark(1)}; exit 1")).id.value
        await until(lambda: traces.ran[1] >= 5, "some attempts")
        process.kill()
    async with daemon(tmp_path) as (process, client):
        await client.until_idle()
        results = [each.data for each in await client.results(job_id)]
        assert process.stop() == 0
    assert [each.retried for each in results] == [*range(30, -1, -1)]
    assert results[0].status == MAX_RETRY
    assert 31 <= traces.ran[1] <= 32


# ---------------------------------------------------------------- poison


async def test_a_job_that_kills_the_daemon_is_set_aside(tmp_path: Path, traces: Traces) -> None:
    deliveries = 3
    settings = {"JOB_MAX_DELIVERIES": str(deliveries), "WORKER_DEFAULT_CONCURRENCY": "1", **NEVER_BY_ITSELF}
    poison = traces.hold(1, then=f"{traces.mark(1)}; kill -9 $PPID")
    with traces.gate() as let_go:
        async with daemon(tmp_path, **settings) as (process, client):
            for name, queue_type in DURABLE.items():
                await client.worker(name, queue_type=queue_type, store_success=True, store_failure=True)
            killer = (await client.enqueue("row", poison, priority=1)).id.value
            await until(lambda: traces.started[1] == 1, "the start of the job")
            innocent = (await client.enqueue("backup", traces.mark(2), priority=-1)).id.value
            let_go()
            assert await ended(process) == -signal.SIGKILL
    for _ in range(1, deliveries):
        assert rows(tmp_path, "id, deliveries, running")[0][0] == killer
        with suppress(NotStarted):  # it may be dead before it is ready
            async with daemon(tmp_path, **settings) as (process, client):
                assert await ended(process) == -signal.SIGKILL
    async with daemon(tmp_path, **settings) as (process, client):
        await client.until_idle()
        (end,) = await client.results(killer)
        assert end.data.status == FATAL_ERROR
        assert f"set aside: {deliveries} runs".encode() in end.data.output.items
        assert b"JOB_MAX_DELIVERIES" in end.data.output.items
        assert [each.data.status for each in await client.results(innocent)] == [SUCCESS]
        assert process.stop() == 0
    assert traces.ran == Counter({1: deliveries, 2: 1})


# ---------------------------------------------------------------- two daemons, one database


async def with_workers(folder: Path) -> None:
    """Make the workers before the daemons start that share them."""
    async with daemon(folder) as (process, client):
        for name, queue_type in DURABLE.items():
            await client.worker(name, queue_type=queue_type, store_success=True)
        assert process.stop() == 0


async def enqueue_for_both(client: Client, traces: Traces, numbers: range) -> None:
    """Enqueue rows that are due soon after the start, and that nobody holds until then."""
    (host, *_) = (await client.wire.items("WorkerInstanceService.FindList")).items
    soon = host.data.last_heartbeat + 2000

    async def enqueue(number: int) -> None:
        script = f"sleep 0.05; echo $PPID >> {traces.folder}/by; {traces.mark(number)}"
        await client.enqueue([*DURABLE][number % 2], script, run_after_time=soon + number % 10)

    await every(len(numbers), lambda index: enqueue(numbers[index]))


SHARED = {"JOB_QUEUE_FETCH_INTERVAL": "100", **NEVER_BY_ITSELF}


async def test_two_daemons_run_no_row_twice(tmp_path: Path, traces: Traces) -> None:
    await with_workers(tmp_path)
    async with daemon(tmp_path, **SHARED) as (first, one), daemon(tmp_path, **SHARED) as (second, other):
        await enqueue_for_both(one, traces, range(200))
        await one.until_idle()
        await other.until_idle()
        assert first.stop() == 0
        assert second.stop() == 0
    assert traces.ran == Counter(range(200))
    assert {int(pid) for pid in (tmp_path / "by").read_text().split()} <= {first.pid, second.pid}


async def test_a_daemon_takes_over_from_one_that_was_killed(tmp_path: Path, traces: Traces) -> None:
    await with_workers(tmp_path)
    async with daemon(tmp_path, **SHARED) as (first, one), daemon(tmp_path, **SHARED) as (second, other):
        total = 0
        while f"{first.pid}\n" not in traces.text("by"):  # whoever looks first gets the rows
            assert total < 1000, "the first daemon ran none of them"
            await enqueue_for_both(one, traces, range(total, total + 100))
            total += 100
            await until(
                lambda: f"{first.pid}\n" in traces.text("by") or len(traces.ran) == total,  # noqa: B023
                "a job that the first daemon ran, or all of them",
            )
        first.kill()
        await other.until_idle()
        assert (await other.wire.call("JobResultService.Count")).total == total
        assert second.stop() == 0
    assert traces.ran.keys() == {*range(total)}
    assert max(traces.ran.values()) <= 2
