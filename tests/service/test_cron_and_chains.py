"""Cron schedules, missed and overlapping runs, clock jumps, and what runs after a success."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status

from jobworkerp_standalone.ports import Settlement
from jobworkerp_standalone.runners.base import Runner
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.spec import RunnerSpec
from tests.support.clocks import HandClock, SteppedClock
from tests.support.house import COMMAND, PUPPET, STATUS, House, eventually, open_house, refused
from tests.support.patience import PATIENCE_SEC
from tests.support.wire_client import build

EVERY_SECOND = "* * * * * *"
RUN_ONCE_NOW, SKIP = 0, 1
HOUR_MS = 3_600_000
STORED: dict[str, Any] = {"broadcast_results": True, "store_success": True, "store_failure": True}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _unmade(host: Host) -> Runner:
    raise AssertionError("no job of it is run")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def by_hand(tmp_path: Path, clock: HandClock) -> AsyncIterator[House]:
    """A daemon for which time passes when the test says so."""
    async with open_house(tmp_path, clock=clock, JOB_QUEUE_FETCH_INTERVAL="10") as opened:
        yield opened


async def moved_on(house: House, job_id: int, clock: HandClock) -> None:
    """Wait until the next run of a schedule is written down."""
    async with asyncio.timeout(PATIENCE_SEC):
        while (await house.client.call("JobService.Find", value=job_id)).data.data.run_after_time <= clock.ms:
            pass


async def update(house: House, worker_id: int, **fields: Any) -> None:
    data = {"name": "w", "runner_id": {"value": PUPPET}, **fields}
    await house.client.call("WorkerService.Update", id={"value": worker_id}, data=data)


async def test_a_cron_job_runs_at_its_times_under_one_id(by_hand: House, clock: HandClock) -> None:
    house = by_hand
    await house.worker(cron=EVERY_SECOND, **STORED)
    job_id = (await house.enqueue(b"tick", uniq_key="k")).id.value
    for _ in range(3):
        clock.ms += 1000
        await moved_on(house, job_id, clock)
    results = sorted(await house.results(job_id), key=lambda each: each.data.run_after_time)
    due = [each.data.run_after_time for each in results]
    assert due == [clock.ms - 2500, clock.ms - 1500, clock.ms - 500]
    assert all(each % 1000 == 0 for each in due)
    assert [each.data.start_time for each in results] == [each + 500 for each in due]
    assert len(house.strings.ran) == 3
    assert await house.delete(job_id)
    await eventually(lambda: house.daemon.engine.live.get(job_id) is None)  # a run that was just ending ends first
    assert (await house.client.call("JobService.Count")).total == 0


async def test_a_cron_job_waits_for_its_first_time(house: House) -> None:
    await house.worker(cron="0 0 1 1 *", cron_timezone="Europe/Berlin")
    job_id = (await house.enqueue(b"new year")).id.value
    found = (await house.client.call("JobService.Find", value=job_id)).data.data
    assert time.strftime("%m-%d %H:%M", time.gmtime(found.run_after_time / 1000)) == "12-31 23:00"
    assert await house.status(job_id) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"cron": "61 * * * *"}, ["cron", "61"]),
        ({"cron": "* * *"}, ["cron", "3 fields"]),
        ({"cron": "0 0 30 2 *"}, ["cron", "never"]),
        ({"cron": "* * * * *", "cron_timezone": "Mars/Phobos"}, ["Mars/Phobos", "Europe/Berlin"]),
        ({"cron_timezone": "Europe/Berlin"}, ["cron_timezone", "cron"]),
        ({"cron": "* * * * *", "periodic_interval": 5000}, ["cron", "periodic_interval"]),
        ({"cron": "* * * * *", "response_type": 1}, ["cron", "DIRECT"]),
        ({"cron": "* * * * *", "cron_misfire": 7}, ["cron_misfire", "7"]),
    ],
)
async def test_a_schedule_that_cannot_work_is_refused(house: House, fields: dict[str, Any], words: list[str]) -> None:
    async with refused(Status.INVALID_ARGUMENT, *words):
        await house.worker(**fields)


async def test_direct_does_not_go_with_a_cron_worker(house: House) -> None:
    await house.worker(cron="0 0 1 1 *")
    async with refused(Status.INVALID_ARGUMENT, "schedule", "DIRECT"):
        await house.enqueue(overrides={"response_type": 1})


async def test_an_edit_of_the_expression_reaches_the_running_schedule(house: House) -> None:
    worker_id = await house.worker(cron=EVERY_SECOND)
    job_id = (await house.enqueue(b"tick")).id.value
    await house.strings.until(lambda: len(house.strings.ran) >= 1)
    await update(house, worker_id, cron="0 0 1 1 *")
    await house.strings.until(lambda: len(house.strings.ran) >= 2)
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    found = (await house.client.call("JobService.Find", value=job_id)).data.data
    assert time.strftime("%m-%d", time.gmtime(found.run_after_time / 1000)) == "01-01"


@pytest.mark.parametrize("before", [{"cron": "0 0 1 1 *"}, {"periodic_interval": HOUR_MS}])
@pytest.mark.parametrize("after", [{"cron": EVERY_SECOND}, {"periodic_interval": 1001}])
async def test_an_edit_brings_a_run_that_is_far_away_near(
    house: House, before: dict[str, Any], after: dict[str, Any]
) -> None:
    worker_id = await house.worker(**before)
    job_id = (await house.enqueue(b"tick")).id.value
    first = 1 if "periodic_interval" in before else 0
    await house.strings.until(lambda: len(house.strings.ran) == first)
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    await update(house, worker_id, **after)
    await house.strings.until(lambda: len(house.strings.ran) >= first + 2)
    assert await house.delete(job_id)


async def test_an_edit_moves_a_run_away_and_keeps_a_first_run_that_was_asked_for(house: House) -> None:
    far = 10 if time.gmtime().tm_mon < 7 else 4
    worker_id = await house.worker(cron=f"0 0 1 {far} *")
    moved = (await house.enqueue(b"moved")).id.value
    asked = (await house.enqueue(b"asked", run_after_time=now_ms() + 24 * HOUR_MS)).id.value
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    await update(house, worker_id, cron="0 0 1 1 *")
    times = [
        (await house.client.call("JobService.Find", value=each)).data.data.run_after_time for each in (moved, asked)
    ]
    assert [time.strftime("%m-%d", time.gmtime(each / 1000)) for each in times] == ["01-01", "01-01"]
    await update(house, worker_id, cron="0 0 1 1 *", description="nothing about time")
    again = (await house.client.call("JobService.Find", value=moved)).data.data.run_after_time
    assert again == times[0]
    assert house.strings.ran == []


async def test_a_schedule_ends_when_its_worker_no_longer_recurs(house: House) -> None:
    worker_id = await house.worker(cron=EVERY_SECOND)
    await house.enqueue(b"tick", uniq_key="k")
    await house.strings.until(lambda: len(house.strings.ran) >= 1)
    await update(house, worker_id)
    await house.strings.until(lambda: len(house.strings.ran) >= 2)
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    assert (await house.client.call("JobService.Count")).total == 0


@pytest.mark.parametrize("schedule", [{"cron": "0 0 1 1 *"}, {"periodic_interval": HOUR_MS}])
@pytest.mark.parametrize(("misfire", "runs"), [(RUN_ONCE_NOW, [b"tick"]), (SKIP, [])])
async def test_a_run_that_was_missed_is_made_up_for_once_or_left_out(
    tmp_path: Path, schedule: dict[str, Any], misfire: int, runs: list[bytes]
) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(cron_misfire=misfire, **schedule)
        job_id = (await house.enqueue(b"tick", run_after_time=now_ms() + 400 * HOUR_MS)).id.value
        due_ms = (await house.client.call("JobService.Find", value=job_id)).data.data.run_after_time
    clock = SteppedClock(due_ms - now_ms() + 5 * HOUR_MS + 1)
    async with open_house(tmp_path, clock=clock) as house:
        if runs:
            await house.strings.until(lambda: house.strings.ran == runs)
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        next_ms = due_ms
        while next_ms <= clock.now_ms():
            found = (await house.client.call("JobService.Find", value=job_id)).data.data
            next_ms = found.run_after_time
        assert house.strings.ran == runs
        if "periodic_interval" in schedule:
            assert (next_ms - due_ms) % HOUR_MS == 0
            assert next_ms - clock.now_ms() <= HOUR_MS


async def test_a_long_run_is_not_overtaken_by_the_next_one(by_hand: House, clock: HandClock) -> None:
    house = by_hand
    await house.worker(cron=EVERY_SECOND)
    await house.worker("other", channel="narrow")
    job_id = (await house.enqueue(b"wait")).id.value
    for number in range(3):
        await house.enqueue(b"%d" % number, worker="other", run_after_time=clock.ms + 1000)
        clock.ms += 1000
        await house.strings.until(lambda number=number: {b"wait", b"%d" % number} <= {*house.strings.ran})
    assert house.strings.ran.count(b"wait") == 1
    assert await house.delete(job_id)


async def test_runs_may_overlap_where_the_worker_says_so(by_hand: House, clock: HandClock) -> None:
    house = by_hand
    await house.worker(cron=EVERY_SECOND, allow_overlap=True, **STORED)
    job_id = (await house.enqueue(b"wait", uniq_key="k")).id.value
    for running in (1, 2):
        clock.ms += 1000
        await house.strings.until(lambda running=running: house.strings.running == running)
        await moved_on(house, job_id, clock)
    runs = [live.job for live in house.daemon.engine.live.all() if live.job.args == b"wait" and live.start_time_ms]
    assert {each.metadata["jobworkerp-schedule-job-id"] for each in runs} == {str(job_id)}
    assert len({each.id for each in runs} - {job_id}) == 2
    async with refused(Status.ALREADY_EXISTS, "k"):
        await house.enqueue(b"other", uniq_key="k")
    assert await house.delete(job_id)
    await house.strings.until(lambda: house.strings.running == 0)
    assert house.strings.cancelled == 2
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    assert (await house.client.call("JobService.Count")).total == 0


async def test_a_delete_while_a_run_beside_the_schedule_is_written_down_ends_that_too(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    settle = house.daemon.engine.store.settle

    async def settle_late(settlement: Settlement) -> None:
        begun.set()
        await go_on.wait()
        await settle(settlement)

    await house.worker(cron=EVERY_SECOND, allow_overlap=True, **STORED)
    monkeypatch.setattr(house.daemon.engine.store, "settle", settle_late)
    job_id = (await house.enqueue(b"wait")).id.value
    await begun.wait()
    assert await house.delete(job_id)
    monkeypatch.undo()
    go_on.set()
    async with asyncio.timeout(PATIENCE_SEC):
        while (await house.client.call("JobService.Count")).total:
            pass  # the run may have begun, but it ends: nobody ever releases it
        await house.strings.until(lambda: house.strings.running == 0)


async def test_a_clock_set_forward_fires_what_is_due_and_one_set_back_fires_nothing_early(tmp_path: Path) -> None:
    clock = SteppedClock()
    async with open_house(tmp_path, clock=clock) as house:
        await house.worker(broadcast_results=True)
        job_id = (await house.enqueue(b"far", run_after_time=clock.now_ms() + HOUR_MS)).id.value
        clock.step_ms += HOUR_MS
        assert (await house.listen(job_id)).data.args == b"far"
        near = clock.now_ms() + 900
        job_id = (await house.enqueue(b"near", run_after_time=near)).id.value
        clock.step_ms -= 600
        result = await house.listen(job_id)
        assert result.data.start_time >= near


async def test_a_backlog_drains_by_priority_and_then_by_time(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        await house.worker(channel="narrow")
        base = now_ms() + HOUR_MS
        wanted = [(-(number % 3 - 1), base + 7 * (number * 37 % 150)) for number in range(150)]
        for priority, due_ms in wanted:
            await house.enqueue(b"%d %d" % (-priority, due_ms), priority=-priority, run_after_time=due_ms)
    clock = SteppedClock(2 * HOUR_MS)
    async with open_house(tmp_path, clock=clock) as house:
        await house.strings.until(lambda: len(house.strings.ran) == 150)
        ran = [tuple(map(int, args.split())) for args in house.strings.ran]
    assert ran == sorted(ran, key=lambda each: (-each[0], each[1]))


async def test_a_success_starts_the_next_workers_with_its_result(house: House) -> None:
    last = await house.worker("last", **STORED)
    middle = await house.worker("middle", queue_type=1, next_workers=[{"value": last}])
    await house.worker("first", response_type=1, next_workers=[{"value": middle}, {"value": last}])
    reply = await house.client.call(
        "JobService.Enqueue", worker_name="first", args=b"go", priority=1, metadata={"x-mine": "v"}
    )
    await house.strings.until(lambda: len(house.strings.ran) == 4)
    assert house.strings.ran[0] == b"go"
    assert sorted(house.strings.ran[1:]) == [b"did did go", b"did go", b"did go"]
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    results = (await house.client.items("JobResultService.FindListBy")).items
    parents = {each.data.args: dict(each.metadata) for each in results}
    assert parents[b"did go"] == {"x-mine": "v", "jobworkerp-parent-job-id": str(reply.id.value)}
    assert parents[b"did did go"]["jobworkerp-parent-job-id"] != str(reply.id.value)
    assert {each.data.priority for each in results} == {1}


@pytest.mark.parametrize("args", [b"fail bad", b"fail retryable"])
async def test_a_failure_starts_nothing(house: House, args: bytes) -> None:
    last = await house.worker("last")
    await house.worker("first", response_type=1, next_workers=[{"value": last}])
    await house.enqueue(args, worker="first")
    assert house.strings.ran == [args]
    assert len(house.daemon.engine.live) == 0


async def test_a_durable_chain_survives_a_stop_between_its_links(tmp_path: Path) -> None:
    async with open_house(tmp_path) as house:
        last = await house.worker("last", channel="narrow", **STORED)
        await house.worker("first", queue_type=1, next_workers=[{"value": last}])
        await house.enqueue(b"wait", worker="last")
        await house.strings.until(lambda: house.strings.running == 1)
        await house.enqueue(b"go", worker="first")
        await eventually(lambda: [job.args for job in house.daemon.engine.queue.listing("narrow")] == [b"did go"])
        assert (await house.client.call("JobService.Count")).total == 1
    async with open_house(tmp_path) as house:
        await house.strings.until(lambda: house.strings.ran == [b"did go"])


async def test_a_scheduled_worker_starts_its_chain_at_every_run(house: House) -> None:
    last = await house.worker("last")
    await house.worker("tick", cron=EVERY_SECOND, next_workers=[{"value": last}])
    job_id = (await house.enqueue(b"tick", worker="tick")).id.value
    await house.strings.until(lambda: house.strings.ran.count(b"did tick") >= 2)
    assert await house.delete(job_id)


async def test_chains_are_checked_when_a_worker_is_saved(house: House) -> None:
    first = await house.worker("first")
    second = await house.worker("second", next_workers=[{"value": first}])
    periodic = await house.worker("periodic", periodic_interval=5000)
    base = {"name": "first", "runner_id": {"value": PUPPET}}
    for wanted, word in ((second, "leads back"), (first, "leads back"), (999, "999"), (periodic, "periodic")):
        async with refused(Status.INVALID_ARGUMENT, "next_workers", word):
            data = {**base, "next_workers": [{"value": wanted}]}
            await house.client.call("WorkerService.Update", id={"value": first}, data=data)


async def test_a_worker_that_needs_a_client_stream_cannot_follow(tmp_path: Path) -> None:
    fed = RunnerSpec(70_009, 0, "FED", "", "", methods={"run": Method(require_client_stream=True)}, make=_unmade)
    choosy = RunnerSpec(70_010, 0, "CHOOSY", "", "", methods={"one": Method("one"), "two": Method("two")}, make=_unmade)
    async with open_house(tmp_path, more=lambda _strings: [fed, choosy]) as house:
        for runner, word in ((fed, "client stream"), (choosy, "one, two")):
            follower = await house.worker(runner.name, runner=runner.id)
            async with refused(Status.INVALID_ARGUMENT, "next_workers", runner.name, word):
                await house.worker("first", next_workers=[{"value": follower}])


async def test_args_that_are_no_args_are_told_where_they_came_from(house: House) -> None:
    last = await house.worker("last", runner=COMMAND, **STORED)
    await house.worker("first", runner=COMMAND, response_type=1, next_workers=[{"value": last}])
    args = build("jobworkerp.runner.CommandArgs", command="echo", args=["hello"]).SerializeToString()
    first = (await house.enqueue(args, worker="first")).id.value
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    (result,) = (await house.client.items("JobResultService.FindListBy")).items
    assert result.data.status == STATUS["OTHER_ERROR"]
    text = result.data.output.items.decode()
    assert "command is empty" in text
    assert f"follows job {first} by next_workers" in text


async def test_a_stream_that_is_followed_is_folded_for_the_next_worker(house: House) -> None:
    last = await house.worker("last")
    await house.worker("first", response_type=1, next_workers=[{"value": last}])
    await house.client.items("JobService.EnqueueForStream", worker_name="first", args=b"one two")
    await house.strings.until(lambda: house.strings.ran == [b"one two", b"two"])


async def test_a_worker_that_is_gone_is_left_out_of_the_chain(house: House) -> None:
    gone, there = await house.worker("gone"), await house.worker("there")
    await house.worker("first", response_type=1, next_workers=[{"value": gone}, {"value": there}])
    await house.client.call("WorkerService.Delete", value=gone)
    assert (await house.enqueue(b"go", worker="first")).result.data.status == STATUS["SUCCESS"]
    await house.strings.until(lambda: house.strings.ran == [b"go", b"did go"])
