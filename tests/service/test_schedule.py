"""Jobs with a time: scheduled, periodic, kept over a restart."""

from __future__ import annotations

import time
from typing import Any

from tests.support.house import STATUS, House, eventually, open_house


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_a_scheduled_job_runs_at_its_time_and_not_before(house: House) -> None:
    await house.worker(broadcast_results=True)
    for delay in (150, 1500):
        due = now_ms() + delay
        job_id = (await house.enqueue(b"x", run_after_time=due)).id.value
        result = await house.listen(job_id)
        assert result.data.run_after_time == due
        assert due <= result.data.start_time


async def test_a_past_time_runs_at_once(house: House) -> None:
    await house.worker(broadcast_results=True)
    job_id = (await house.enqueue(b"x", run_after_time=1000)).id.value
    assert (await house.listen(job_id)).data.status == STATUS["SUCCESS"]


async def test_a_near_job_is_not_left_to_the_next_look_at_the_table(tmp_path: Any) -> None:
    async with open_house(tmp_path, JOB_QUEUE_FETCH_INTERVAL="3600000") as house:
        await house.worker()
        await house.enqueue(b"later", run_after_time=now_ms() + 1_800_000)
        await house.enqueue(b"first", run_after_time=now_ms() + 300)
        await house.strings.until(lambda: house.strings.ran == [b"first"])


async def test_a_waiting_job_holds_no_slot(house: House) -> None:
    await house.worker(channel="narrow", broadcast_results=True)
    later = (await house.enqueue(b"later", run_after_time=now_ms() + 600)).id.value
    first = await house.enqueue(b"first", overrides={"response_type": 1})
    assert first.result.data.output.items == b"did first"
    assert (await house.listen(later)).data.output.items == b"did later"


async def test_a_periodic_job_keeps_its_phase_and_its_id(house: House) -> None:
    await house.worker(periodic_interval=1001, store_success=True)
    phase = now_ms() - 100
    job_id = (await house.enqueue(b"tick", run_after_time=phase)).id.value
    await house.strings.until(lambda: len(house.strings.ran) >= 3)
    results = sorted(await house.results(job_id), key=lambda each: each.data.run_after_time)
    due = [each.data.run_after_time for each in results]
    assert due[0] == phase
    assert due == sorted({*due})
    assert {(each - phase) % 1001 for each in due} == {0}
    assert all(each.data.start_time >= each.data.run_after_time for each in results)
    assert len({each.id.value for each in results}) == len(results)
    assert await house.delete(job_id)


async def test_a_failing_or_slow_run_does_not_end_a_schedule(house: House) -> None:
    await house.worker(periodic_interval=1001, store_failure=True)
    job_id = (await house.enqueue(b"fail bad", uniq_key="k")).id.value
    await house.strings.until(lambda: len(house.strings.ran) >= 2)
    assert (await house.client.call("JobService.Find", value=job_id)).data.data.uniq_key == "k"
    assert await house.delete(job_id)


async def test_waiting_jobs_and_schedules_survive_a_restart(tmp_path: Any) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(broadcast_results=True, store_success=True)
        await house.worker("tick", periodic_interval=1001)
        late = (await house.enqueue(b"late", run_after_time=now_ms() + 1200, uniq_key="k")).id.value
        await house.enqueue(b"tick", worker="tick", run_after_time=now_ms() + 1200)
    async with open_house(tmp_path) as house:
        assert (await house.listen(late)).data.output.items == b"did late"
        await house.strings.until(lambda: house.strings.ran.count(b"tick") >= 2)


async def test_queued_jobs_of_every_kind_survive_a_graceful_stop_and_run_once(tmp_path: Any) -> None:
    async with open_house(tmp_path) as house:
        for number in range(3):
            await house.worker(f"q{number}", queue_type=number, channel="narrow")
        await house.enqueue(b"wait", worker="q0")
        await house.strings.until(lambda: house.strings.running == 1)
        for number in range(3):
            await house.client.call(
                "JobService.Enqueue", worker_name=f"q{number}", args=b"q%d" % number, metadata={"x-mine": "v"}
            )
    async with open_house(tmp_path) as house:
        await house.strings.until(lambda: len(house.strings.ran) == 3)
        assert sorted(house.strings.ran) == [b"q0", b"q1", b"q2"]
        assert [dict(call.metadata) for call in house.strings.calls] == [{"x-mine": "v"}] * 3
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        assert (await house.client.call("JobService.Count")).total == 0
