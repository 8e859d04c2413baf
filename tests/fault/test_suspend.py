"""A daemon that was halted for longer than its leases live: others take its rows over, and it goes on in order."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

import anyio

from jobworkerp_standalone.backends.sql.store import open_store
from jobworkerp_standalone.engine.clock import SystemClock
from jobworkerp_standalone.settings import Settings
from tests.fault.scene import DURABLE, SUCCESS, Client, Traces, daemon, query, rows, until, until_logged
from tests.support.house import eventually, open_house
from tests.support.patience import PATIENCE_SEC

SHORT_LEASES = {"JOB_LEASE_SEC": "1", "JOB_QUEUE_FETCH_INTERVAL": "100", "WORKER_DEFAULT_CONCURRENCY": "4"}
JOBS = 20
TAKEN_FOR_DEAD = "others took this process for dead"


async def with_workers(folder: Path) -> None:
    async with daemon(folder) as (process, client):
        for name, queue_type in DURABLE.items():
            await client.worker(name, queue_type=queue_type, store_success=True, store_failure=True)
        assert process.stop() == 0


async def enqueue(client: Client, traces: Traces) -> list[int]:
    """Enqueue jobs of which the first four start and wait."""
    return [(await client.enqueue([*DURABLE][number % 2], traces.hold(number))).id.value for number in range(JOBS)]


async def test_another_daemon_takes_over_and_every_job_ends_once(tmp_path: Path, traces: Traces) -> None:
    await with_workers(tmp_path)
    with traces.gate() as let_go:
        async with daemon(tmp_path, **SHORT_LEASES) as (halted, one):
            ids = await enqueue(one, traces)
            await until(lambda: len(traces.started) == 4, "the start of the first jobs")
            halted.signal(signal.SIGSTOP)
            (tmp_path / "open").touch()  # for those who start from now on
            async with daemon(tmp_path, **SHORT_LEASES) as (heir, other):
                await until(lambda: traces.ran.keys() == {*range(JOBS)}, "a run of all jobs by the other daemon")
                await other.until_idle()
                halted.signal(signal.SIGCONT)
                let_go()
                await until_logged(halted, TAKEN_FOR_DEAD)
                await one.until_idle()
                for job_id in ids:
                    assert [each.data.status for each in await other.results(job_id)] == [SUCCESS]
                await one.enqueue("row", traces.mark(99), uniq_key="k")
                await until(lambda: traces.ran[99] == 1, "a job after the halt")
                await one.until_idle()
                assert heir.stop() == 0
            assert halted.stop() == 0
    assert rows(tmp_path, "id") == []


async def test_a_halt_alone_changes_nothing(tmp_path: Path, traces: Traces) -> None:
    """Nobody else is there who could take it for dead."""
    await with_workers(tmp_path)
    with traces.gate() as let_go:
        async with daemon(tmp_path, **SHORT_LEASES) as (process, client):
            ids = await enqueue(client, traces)
            await until(lambda: len(traces.started) == 4, "the start of the first jobs")
            process.signal(signal.SIGSTOP)
            (lease_until_ms,) = query(tmp_path, "SELECT max(lease_until_ms) FROM worker_instance")
            await until(lambda: time.time_ns() // 1_000_000 > lease_until_ms, "the end of the lease")
            process.signal(signal.SIGCONT)
            let_go()
            await client.until_idle()
            for job_id in ids:
                assert [each.data.status for each in await client.results(job_id)] == [SUCCESS]
            assert process.stop() == 0
    assert traces.ran == Counter(range(JOBS))


async def test_a_run_whose_lease_was_lost_does_not_take_the_next_one_along(tmp_path: Path) -> None:
    """The row of a running job is freed by somebody who is gone again: the same process leases it a second time."""
    async with open_house(tmp_path, JOB_LEASE_SEC="1", JOB_QUEUE_FETCH_INTERVAL="20") as house:
        await house.worker(queue_type=DURABLE["backup"], channel="narrow", store_success=True)
        job_id = (await house.enqueue(b"wait")).id.value
        await house.strings.until(lambda: house.strings.running == 1)
        settings, clock = Settings(sqlite_path=str(tmp_path / "jobs.sqlite3")), FutureClock()
        async with open_store(settings, clock) as stranger:
            assert await stranger.reclaim_dead_owners() == 1
        store, engine = house.daemon.engine.store, house.daemon.engine
        await house.worker("other")
        await house.enqueue(b"later", "other", run_after_time=engine.clock.now_ms() + 100)
        await house.strings.until(lambda: b"later" in house.strings.ran)  # so free rows have been leased meanwhile
        house.strings.release.set()
        with anyio.fail_after(PATIENCE_SEC):
            while await store.count():  # noqa: ASYNC110 - a database sets no events
                await anyio.sleep(0.01)
        assert [each.data.status for each in await house.results(job_id)] == [SUCCESS]
        await eventually(lambda: len(engine.live) == 0)


class FutureClock(SystemClock):
    """The clock of somebody for whom all leases have run out."""

    def now_ms(self) -> int:
        return super().now_ms() + 3_600_000
