"""A backlog of due rows leaves slots to the jobs that come in."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from jobworkerp_standalone.backends.memory.queue import MemoryQueue
from jobworkerp_standalone.engine.pace import Pace
from jobworkerp_standalone.jobs.model import Job, Rules

RULES = Rules()


def due(number: int) -> Job:
    return Job(number, 1, b"", RULES, 1, channel="c", run_after_ms=1, stored=True)


def immediate(number: int) -> Job:
    return Job(number, 1, b"", RULES, 1, channel="c")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue(10)


@pytest.mark.parametrize(("slots", "writing"), [(1, 1), (2, 1), (4, 3), (8, 6), (100, 75)])
async def test_some_slots_never_wait_for_the_database(queue: MemoryQueue, slots: int, writing: int) -> None:
    pace = Pace(queue, {"c": slots})
    for number in range(1, 2 * slots + 1):
        queue.put_due(due(number))
    with ExitStack() as papers:
        for _ in range(writing):
            job = await queue.take("c")
            assert job is not None
            papers.enter_context(pace.paperwork(job))
        taking = asyncio.ensure_future(queue.take("c"))
        await asyncio.sleep(0)
        assert not taking.done()
        comes_in = immediate(1000)
        assert queue.reserve_now(comes_in)
        queue.put(comes_in)
        assert await taking is comes_in, "an immediate job waits although a slot is free"
    assert await queue.take("c") == due(writing + 1), "the due rows go on once something is written"


async def test_rows_that_run_do_not_count(queue: MemoryQueue) -> None:
    pace = Pace(queue, {"c": 4})
    for number in range(1, 9):
        queue.put_due(due(number))
    for number in range(1, 9):
        assert await queue.take("c") == due(number)
        with pace.paperwork(due(number)):
            pass


async def test_every_free_slot_goes_on_when_due_rows_do(queue: MemoryQueue) -> None:
    queue.rest_due("c")
    slots = [asyncio.ensure_future(queue.take("c")) for _ in range(3)]
    for number in range(1, 4):
        queue.put_due(due(number))
    await asyncio.sleep(0)
    assert not any(slot.done() for slot in slots)
    queue.resume_due("c")
    assert await asyncio.gather(*slots) == [due(1), due(2), due(3)]
