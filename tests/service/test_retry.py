"""Retries: when they follow, what a client sees of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status

from tests.support.clocks import SteppedClock
from tests.support.house import STATUS, House, open_house, refused
from tests.support.patience import PATIENCE_SEC

CONSTANT, LINEAR, EXPONENTIAL, NONE = 3, 2, 1, 0
BOTH_STORED: dict[str, Any] = {"broadcast_results": True, "store_success": True, "store_failure": True}


@pytest.mark.parametrize("queue_type", [0, 1, 2])
@pytest.mark.parametrize("policy_type", [CONSTANT, LINEAR, EXPONENTIAL])
async def test_a_flaky_job_succeeds_at_last_and_every_attempt_is_stored(
    house: House, policy_type: int, queue_type: int
) -> None:
    policy = {"type": policy_type, "interval": 1, "max_retry": 3, "basis": 2}
    await house.worker(retry_policy=policy, queue_type=queue_type, **BOTH_STORED)
    job_id = (await house.enqueue(b"flaky 2", uniq_key="k")).id.value
    result = await house.listen(job_id)
    assert (result.data.status, result.data.retried, result.data.max_retry) == (STATUS["SUCCESS"], 2, 3)
    stored = sorted(await house.results(job_id), key=lambda each: each.data.retried)
    assert [each.data.status for each in stored] == [1, 1, 0]
    assert [each.data.output.items for each in stored] == [
        b"flaky, attempt 1",
        b"flaky, attempt 2",
        b"did flaky 2",
    ]
    assert len({each.id.value for each in stored}) == 3
    assert {each.data.uniq_key for each in stored} == {"k"}
    assert (await house.client.call("JobService.Count")).total == 0


@pytest.mark.parametrize(
    ("policy", "runs"),
    [
        (None, 1),
        ({"type": NONE, "max_retry": 3, "basis": 2}, 1),
        ({"type": CONSTANT, "max_retry": 0, "basis": 2}, 1),
        ({"type": CONSTANT, "max_retry": 2, "interval": 1, "basis": 2}, 3),
    ],
)
async def test_a_job_that_keeps_failing_ends_as_max_retry(
    house: House, policy: dict[str, int] | None, runs: int
) -> None:
    fields: dict[str, Any] = {"retry_policy": policy} if policy else {}
    await house.worker(response_type=1, **fields)
    data = (await house.enqueue(b"fail retryable")).result.data
    assert (data.status, data.retried) == (STATUS["MAX_RETRY"], runs - 1)
    assert len(house.strings.ran) == runs


@pytest.mark.parametrize("kind", ["fatal", "abort", "bad"])
async def test_only_retryable_failures_are_retried(house: House, kind: str) -> None:
    await house.worker(response_type=1, retry_policy={"type": CONSTANT, "max_retry": 2, "basis": 2})
    await house.enqueue(f"fail {kind}".encode())
    assert len(house.strings.ran) == 1


async def test_a_waiting_retry_holds_no_slot_and_shows_as_pending(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with open_house(tmp_path, clock=clock, JOB_QUEUE_FETCH_INTERVAL="3600000") as house:
        policy = {"type": CONSTANT, "interval": 3_600_000, "max_retry": 1, "basis": 2}
        await house.worker(channel="narrow", broadcast_results=True, retry_policy=policy)
        job_id = (await house.enqueue(b"flaky 1")).id.value
        await house.strings.until(lambda: len(house.strings.ran) == 1)
        await house.enqueue(b"other", overrides={"response_type": 1})
        assert await house.status(job_id) == 1
        clock.step_ms += 3_600_000
        house.look_at_the_clock()
        assert (await house.listen(job_id)).data.retried == 1


async def test_a_distant_retry_waits_in_a_row_and_can_be_deleted(house: House) -> None:
    policy = {"type": CONSTANT, "interval": 3_600_000, "max_retry": 1, "basis": 2}
    await house.worker(retry_policy=policy, **BOTH_STORED)
    job_id = (await house.enqueue(b"fail retryable", uniq_key="k")).id.value
    async with asyncio.timeout(PATIENCE_SEC):
        while len(await house.results(job_id)) < 1:
            pass
    found = (await house.client.call("JobService.Find", value=job_id)).data.data
    assert found.retried == 1
    async with refused(Status.ALREADY_EXISTS, "k"):
        await house.enqueue(b"x", uniq_key="k")
    assert await house.delete(job_id)
    assert (await house.listen(job_id)).data.status == STATUS["CANCELLED"]


async def test_metadata_goes_along_with_every_attempt(house: House) -> None:
    await house.worker(response_type=1, retry_policy={"type": CONSTANT, "interval": 1, "max_retry": 2, "basis": 2})
    reply = await house.client.call("JobService.Enqueue", worker_name="w", args=b"flaky 2", metadata={"x-mine": "v"})
    assert [dict(call.metadata) for call in house.strings.calls] == [{"x-mine": "v"}] * 3
    assert dict(reply.result.metadata) == {"x-mine": "v"}


async def test_edits_of_the_worker_do_not_reach_a_running_retry_chain(house: House) -> None:
    worker_id = await house.worker(
        broadcast_results=True, retry_policy={"type": CONSTANT, "interval": 300, "max_retry": 1, "basis": 2}
    )
    job_id = (await house.enqueue(b"flaky 1")).id.value
    await house.strings.until(lambda: len(house.strings.ran) == 1)
    data = {"name": "w", "runner_id": {"value": 70_001}, "broadcast_results": True}
    await house.client.call("WorkerService.Update", id={"value": worker_id}, data=data)
    assert (await house.listen(job_id)).data.status == STATUS["SUCCESS"]
