"""SIGTERM and SIGINT: everybody is answered, nothing is lost, nothing runs twice, nothing is left behind."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import anyio
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from tests.fault.scene import (
    CANCELLED,
    CONSTANT,
    DIRECT,
    DURABLE,
    ERROR_AND_RETRY,
    MAX_RETRY,
    PENDING,
    QUEUE_TYPES,
    SUCCESS,
    Client,
    Traces,
    daemon,
    ended,
    rows,
    until,
    until_logged,
)

STOPPING = "stopping: running jobs get up to"
HURRY = "second signal"
SLOTS = 50
RUNNING_OF_A_KIND, QUEUED_OF_A_KIND = 10, 100
DIRECT_KINDS = {"normal, direct": "normal", "backup, direct": "backup"}
"""Kinds of jobs whose callers wait for the result, with their workers."""


class Crowd:
    """Jobs of every kind, and what their callers heard."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = count(1)
        self.answers: dict[int, Any] = {}
        self.waiting: set[int] = set()
        """Numbers of the DIRECT calls."""
        self.ids: dict[int, int] = {}
        """Job ids of the others."""

    async def one_of_each(
        self, client: Client, tasks: anyio.abc.TaskGroup, script: Callable[[int], str]
    ) -> dict[str, int]:
        """Enqueue one job of every kind; their numbers."""
        numbers = {name: next(self._numbers) for name in (*QUEUE_TYPES, *DIRECT_KINDS)}
        for name in QUEUE_TYPES:
            self.ids[numbers[name]] = (await client.enqueue(name, script(numbers[name]))).id.value
        for name, worker in DIRECT_KINDS.items():
            self.waiting.add(numbers[name])
            tasks.start_soon(self._wait, client, numbers[name], worker, script)
        return numbers

    async def _wait(self, client: Client, number: int, worker: str, script: Callable[[int], str]) -> None:
        self.answers[number] = await client.direct(worker, script(number))


async def test_everybody_is_answered_and_what_waits_runs_after_the_restart(tmp_path: Path, traces: Traces) -> None:
    crowd = Crowd()
    running: set[int] = set()
    queued: set[int] = set()
    with traces.gate() as let_go:
        async with (
            daemon(tmp_path, WORKER_DEFAULT_CONCURRENCY=str(SLOTS)) as (process, client),
            anyio.create_task_group() as tasks,
        ):
            await client.workers()
            for _ in range(RUNNING_OF_A_KIND):
                running.update((await crowd.one_of_each(client, tasks, traces.hold)).values())
            await until(lambda: traces.started == Counter(running), "the start of all running jobs")
            for _ in range(QUEUED_OF_A_KIND):
                queued.update((await crowd.one_of_each(client, tasks, traces.mark)).values())
            await client.until_live(PENDING, len(queued))
            process.signal(signal.SIGTERM)
            await until_logged(process, STOPPING)
            with pytest.raises(GRPCError) as refusal:
                await client.enqueue("backup", traces.mark(9999))
            assert refusal.value.status is Status.UNAVAILABLE
            await until(lambda: queued & crowd.waiting <= crowd.answers.keys(), "an answer to all queued calls")
            assert {crowd.answers[number] for number in queued & crowd.waiting} == {Status.UNAVAILABLE}
            assert traces.ran == Counter()
            let_go()
            assert await ended(process) == 0
    assert traces.ran == Counter(running)
    assert {crowd.answers[number].status for number in running & crowd.waiting} == {SUCCESS}
    assert traces.processes() == []
    async with daemon(tmp_path) as (process, client):
        await client.until_idle()
        assert process.stop() == 0
    assert traces.ran == Counter((running | queued) - (queued & crowd.waiting))
    assert traces.started == Counter(running)


async def test_a_second_signal_ends_the_grace_at_once(tmp_path: Path, traces: Traces) -> None:
    crowd = Crowd()
    running: dict[str, int] = {}
    with traces.gate() as let_go:
        async with (
            daemon(tmp_path, WORKER_DEFAULT_CONCURRENCY="5", SHUTDOWN_GRACE_SEC="100000") as (process, client),
            anyio.create_task_group() as tasks,
        ):
            await client.workers(store_success=True, store_failure=True)
            running.update(await crowd.one_of_each(client, tasks, traces.hold))
            await until(lambda: traces.started == Counter(running.values()), "the start of all running jobs")
            process.signal(signal.SIGTERM)
            await until_logged(process, STOPPING)
            assert not crowd.answers
            process.signal(signal.SIGINT)
            await until_logged(process, HURRY)
            assert await ended(process) == 0
        assert {crowd.answers[number].status for number in crowd.waiting} == {CANCELLED}
        assert all(b"server stopped" in crowd.answers[number].output.items for number in crowd.waiting)
        assert traces.ran == Counter()
        assert traces.processes() == []
        assert rows(tmp_path, "retried, deliveries, running, owner_id") == [(0, 0, 0, None)] * len(DURABLE)
        let_go()
    async with daemon(tmp_path) as (process, client):
        await client.until_idle()
        for name in QUEUE_TYPES:
            (only,) = await client.results(crowd.ids[running[name]])
            wanted = SUCCESS if name in DURABLE else CANCELLED
            assert (only.data.status, only.data.retried) == (wanted, 0)
        assert process.stop() == 0
    assert traces.ran == Counter(running[name] for name in DURABLE)


@pytest.mark.parametrize("deaf", [False, True], ids=["obedient", "deaf"])
async def test_a_durable_job_past_the_grace_runs_again_as_if_it_had_not(
    tmp_path: Path, traces: Traces, deaf: bool
) -> None:
    def script(number: int) -> str:
        children = f"trap '' TERM; (trap '' TERM; read line < {tmp_path}/gate) & " if deaf else ""
        return children + traces.hold(number)

    with traces.gate() as let_go:
        async with daemon(tmp_path, SHUTDOWN_GRACE_SEC="0") as (process, client):
            await client.workers(store_success=True, store_failure=True)
            jobs = {name: (await client.enqueue(name, script(number))).id.value for number, name in enumerate(DURABLE)}
            await until(lambda: traces.started == Counter([0, 1]), "the start of both jobs")
            assert await anyio.to_thread.run_sync(process.stop) == 0
        assert traces.processes() == []
        assert traces.ran == Counter()
        assert rows(tmp_path, "retried, deliveries, running, owner_id") == [(0, 0, 0, None)] * 2
        let_go()
    async with daemon(tmp_path) as (process, client):
        await client.until_idle()
        for job_id in jobs.values():
            (only,) = await client.results(job_id)
            assert (only.data.status, only.data.retried) == (SUCCESS, 0)
        assert process.stop() == 0
    assert traces.ran == Counter([0, 1])


async def test_a_running_job_that_a_client_deleted_does_not_come_back(tmp_path: Path, traces: Traces) -> None:
    """The delete is answered while the command still dies; a stop in between must not undo it."""
    script = f"trap '' TERM; {traces.hold(1)}"
    with traces.gate() as let_go:
        async with daemon(tmp_path, SHUTDOWN_GRACE_SEC="0") as (process, client):
            await client.workers(store_failure=True)
            job_id = (await client.enqueue("backup", script)).id
            await until(lambda: traces.started[1] == 1, "the start of the job")
            assert (await client.wire.call("JobService.Delete", job_id)).is_success
            assert await anyio.to_thread.run_sync(process.stop) == 0
        assert rows(tmp_path, "id") == []
        let_go()
    async with daemon(tmp_path) as (process, client):
        (only,) = await client.results(job_id.value)
        assert only.data.status == CANCELLED
        assert process.stop() == 0
    assert traces.ran == Counter()


async def test_callers_that_wait_for_room_are_refused_at_once(tmp_path: Path, traces: Traces) -> None:
    settings = {"JOB_QUEUE_CHANNEL_CAPACITY": "1", "JOB_QUEUE_FULL_WAIT_MS": "100000000"}
    with traces.gate() as let_go:
        async with (
            daemon(tmp_path, WORKER_DEFAULT_CONCURRENCY="1", **settings) as (process, client),
            anyio.create_task_group() as tasks,
        ):
            await client.workers()
            await client.enqueue("normal", traces.hold(1))
            await until(lambda: traces.started[1] == 1, "the start of the job")
            await client.enqueue("normal", traces.mark(2))
            outcomes: list[Status] = []

            async def call(number: int, worker: str, response_type: int) -> None:
                with pytest.raises(GRPCError) as refusal:
                    await client.enqueue(worker, traces.mark(number), overrides={"response_type": response_type})
                outcomes.append(refusal.value.status)

            callers = [(worker, response) for worker in ("normal", "backup") for response in (0, DIRECT)] * 3
            for number, (worker, response_type) in enumerate(callers, 10):
                tasks.start_soon(call, number, worker, response_type)
            # Calls of one connection arrive in order: once this is answered, all of them wait.
            assert await client.live(PENDING) == 1
            process.signal(signal.SIGTERM)
            await until(lambda: len(outcomes) == len(callers), "an answer to all callers, although a job still runs")
            assert {*outcomes} == {Status.UNAVAILABLE}
            let_go()
            assert await ended(process) == 0
    async with daemon(tmp_path) as (process, client):
        await client.until_idle()
        assert process.stop() == 0
    assert traces.ran == Counter([1, 2])


async def test_a_stop_in_the_middle_of_a_storm_of_calls(tmp_path: Path, traces: Traces) -> None:
    accepted: set[int] = set()
    numbers = count(1)

    async def storm(client: Client, worker: str) -> None:
        while True:
            number = next(numbers)
            try:
                await client.enqueue(worker, traces.mark(number))
            except (GRPCError, OSError, StreamTerminatedError):  # the last: it was sent when the end was on its way
                return
            accepted.add(number)

    async with daemon(tmp_path) as (process, client):
        await client.workers()
        async with anyio.create_task_group() as tasks:
            for name in [*QUEUE_TYPES] * 5:
                tasks.start_soon(storm, client, name)
            await until(lambda: len(accepted) > 200, "many accepted jobs")
            process.signal(signal.SIGTERM)
        assert await ended(process) == 0
    async with daemon(tmp_path) as (process, client):
        await client.until_idle()
        assert process.stop() == 0
    ran = traces.ran
    assert accepted <= ran.keys()
    assert {*ran.values()} == {1}
    assert rows(tmp_path, "id") == []


@pytest.mark.parametrize("fetch_interval", ["10000", "100"], ids=["near", "far"])
async def test_retries_go_on_after_the_restart(tmp_path: Path, traces: Traces, fetch_interval: str) -> None:
    """Near ones wait in memory, far ones in their row; each is tried exactly as often as its policy says."""
    policy = {"type": CONSTANT, "interval": 300, "max_retry": 2}
    async with daemon(tmp_path, JOB_QUEUE_FETCH_INTERVAL=fetch_interval) as (process, client):
        await client.workers(retry_policy=policy, store_failure=True)
        ids = [
            (await client.enqueue(name, f"{traces.mark(number)}; exit 1", metadata={"x-mine": name})).id.value
            for number, name in enumerate(QUEUE_TYPES)
        ]
        await until(lambda: traces.ran.keys() == {0, 1, 2}, "the first attempts")
        assert await anyio.to_thread.run_sync(process.stop) == 0
    async with daemon(tmp_path, JOB_QUEUE_FETCH_INTERVAL=fetch_interval) as (process, client):
        await client.until_idle()
        assert traces.ran == Counter({0: 3, 1: 3, 2: 3})
        for job_id, name in zip(ids, QUEUE_TYPES, strict=True):
            results = await client.results(job_id)
            attempts = [(each.data.retried, each.data.status) for each in results]
            assert attempts == [(2, MAX_RETRY), (1, ERROR_AND_RETRY), (0, ERROR_AND_RETRY)]
            assert [dict(each.metadata) for each in results] == [{"x-mine": name}] * 3
        assert await anyio.to_thread.run_sync(process.stop) == 0


async def test_a_schedule_goes_on_after_the_restart(tmp_path: Path, traces: Traces) -> None:
    settings = {"JOB_QUEUE_FETCH_INTERVAL": "50"}
    async with daemon(tmp_path, **settings) as (process, client):
        await client.worker("ticking", periodic_interval=100)
        job_id = (await client.enqueue("ticking", traces.mark(1))).id.value
        await until(lambda: traces.ran[1] >= 3, "a few runs")
        assert await anyio.to_thread.run_sync(process.stop) == 0
    so_far = traces.ran[1]
    ((only, due_ms, held_by),) = rows(tmp_path, "id, run_after_ms, owner_id")
    assert (only, held_by) == (job_id, None)
    async with daemon(tmp_path, **settings) as (process, client):
        await until(lambda: traces.ran[1] >= so_far + 3, "a few more runs")
        assert await anyio.to_thread.run_sync(process.stop) == 0
    ((only, later_ms),) = rows(tmp_path, "id, run_after_ms")
    assert only == job_id
    assert (later_ms - due_ms) % 100 == 0


async def test_nobody_loses_an_answer_to_the_end_of_the_connection(tmp_path: Path, traces: Traces) -> None:
    """The last answers leave right before the connection closes."""
    callers = 50
    answers: list[Any] = []

    async def call(client: Client, number: int) -> None:
        if number % 2:
            answers.append((await client.direct("normal", traces.hold(number))).status)
        else:
            answers.append(await client.stream("normal", traces.hold(number)))

    with traces.gate():
        async with daemon(tmp_path, WORKER_DEFAULT_CONCURRENCY=str(callers), SHUTDOWN_GRACE_SEC="0") as (
            process,
            client,
        ):
            await client.workers()
            async with anyio.create_task_group() as tasks:
                for number in range(callers):
                    tasks.start_soon(call, client, number)
                await until(lambda: len(traces.started) == callers, "the start of all jobs")
                process.signal(signal.SIGTERM)
                with suppress(TimeoutExpired):
                    process.wait(0.5)  # this client is busy meanwhile: it reads everything at once
            assert await ended(process) == 0
    assert Counter(answers) == {CANCELLED: callers // 2, Status.CANCELLED: callers // 2}


async def test_queued_streams_are_refused_and_running_ones_end(tmp_path: Path, traces: Traces) -> None:
    ends: dict[int, Status] = {}

    async def call(client: Client, number: int, script: str) -> None:
        ends[number] = await client.stream("normal", script)

    with traces.gate() as let_go:
        async with (
            daemon(tmp_path, WORKER_DEFAULT_CONCURRENCY="1") as (process, client),
            anyio.create_task_group() as tasks,
        ):
            await client.workers()
            tasks.start_soon(call, client, 0, traces.hold(0))
            await until(lambda: traces.started[0] == 1, "the start of the job")
            for number in range(1, 10):
                tasks.start_soon(call, client, number, traces.mark(number))
            await client.until_live(PENDING, 9)
            process.signal(signal.SIGTERM)
            await until(lambda: len(ends) == 9, "an answer to the queued calls")
            let_go()
            assert await ended(process) == 0
    assert ends == {0: Status.OK, **dict.fromkeys(range(1, 10), Status.UNAVAILABLE)}
    assert traces.ran == Counter([0])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_daemon_stops_and_tidies_up(tmp_path: Path, number: signal.Signals) -> None:
    async with daemon(tmp_path) as (process, client):
        await client.workers()
        process.signal(number)
        assert await ended(process) == 0
    assert [name for name in os.listdir(tmp_path) if name.startswith("jobs.")] == ["jobs.sqlite3"]
