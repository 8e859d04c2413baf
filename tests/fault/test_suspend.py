"""A daemon that was halted for longer than its leases live: others take its rows over, and it goes on in order."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

from tests.fault.scene import DURABLE, SUCCESS, Client, Traces, daemon, query, rows, until, until_logged

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
