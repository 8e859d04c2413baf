"""Slots of jobs that wait take in what others wait for, so that nothing waits in a circle."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup

from jobworkerp_standalone.engine.attempt import Attempt
from tests.support.family import PARENT, open_family
from tests.support.house import STATUS, House, eventually
from tests.support.patience import PATIENCE_SEC, longer_and_longer

CHANNELS = ["a", "b", "c"]
QUEUES = ["NORMAL", "WITH_BACKUP", "DB_ONLY"]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """Give a daemon with three channels of one slot each, and a parent ``p-CHANNEL`` for each."""
    async with open_family(
        tmp_path,
        WORKER_CHANNELS=",".join(CHANNELS),
        WORKER_CHANNEL_CONCURRENCIES="1,1,1",
        JOB_QUEUE_FETCH_INTERVAL="50",
    ) as opened:
        for channel in CHANNELS:
            await opened.worker(f"p-{channel}", PARENT, channel=channel, response_type=1)
            await opened.worker(f"root-{channel}", channel=channel)
        await opened.worker("p", PARENT, response_type=1)
        yield opened


def child(channel: str, do: str = "x", **fields: Any) -> dict[str, Any]:
    return {"do": do, "channel": channel, **fields}


def parent(channel: str, *children: dict[str, Any], together: bool = False, **fields: Any) -> dict[str, Any]:
    return {"children": list(children), "together": together, "channel": channel, **fields}


class Replies:
    """What parents answered."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.tasks: TaskGroup
        self.of: dict[str, Any] = {}

    def run(self, worker: str, *children: dict[str, Any], together: bool = False, **fields: Any) -> None:
        """Enqueue a parent and go on."""
        args = json.dumps({"children": children, "together": together}).encode()

        async def call() -> None:
            self.of[worker] = (await self._house.enqueue(args, worker, **fields)).result.data

        self.tasks.start_soon(call)


@asynccontextmanager
async def families(house: House) -> AsyncIterator[Replies]:
    """Run parents, until each has succeeded."""
    replies = Replies(house)
    with anyio.fail_after(2 * PATIENCE_SEC):
        async with anyio.create_task_group() as replies.tasks:
            yield replies
    assert [each.status for each in replies.of.values()] == [STATUS["SUCCESS"]] * len(replies.of)


async def circle(house: House, replies: Replies, *after: tuple[str, list[dict[str, Any]]]) -> None:
    """Have parents hold the slots of their channels, then let each go on with its children."""
    for channel, children in after:
        replies.run(f"p-{channel}", child(channel, "wait"), parent("default", *children, together=True))
    await house.strings.until(lambda: house.strings.running == len(after))
    house.strings.release.set()


@pytest.mark.parametrize("queue", QUEUES)
async def test_parents_of_two_channels_that_wait_for_each_others_slot_end(house: House, queue: str) -> None:
    async with families(house) as replies:
        replies.run("p-a", child("a", "wait"), child("b", queue=queue))
        replies.run("p-b", child("b", "wait"), child("a", queue=queue))
        await house.strings.until(lambda: house.strings.running == 2)
        house.strings.release.set()


@pytest.mark.parametrize("queue", QUEUES)
async def test_a_circle_through_three_channels_ends(house: House, queue: str) -> None:
    async with families(house) as replies:
        await circle(
            house,
            replies,
            ("a", [child("b", queue=queue)]),
            ("b", [child("c", queue=queue)]),
            ("c", [child("a", queue=queue)]),
        )


async def test_branches_with_children_in_several_channels_end(house: House) -> None:
    async with families(house) as replies:
        branches = [child(each) for each in [*CHANNELS, *CHANNELS]]
        nested = [parent(each, *branches, together=True) for each in CHANNELS]
        await circle(house, replies, ("a", nested), ("b", nested), ("c", nested))
    assert house.strings.most_running <= len(CHANNELS)


async def test_a_slot_that_is_held_takes_in_no_job_that_nobody_waits_for(house: House) -> None:
    async with families(house) as replies:
        replies.run("p-a", child("b", "wait"))
        await house.strings.until(lambda: house.strings.running == 1)
        await house.enqueue(b"root", "root-a")
        await eventually(lambda: house.waiting("a") == [b"root"])
        replies.run("p", child("a", "loose", loose=True), child("a", "inner"))
        await eventually(lambda: "p" in replies.of)
        assert house.strings.ran == [b"wait", b"inner"]
        assert house.waiting("a") == [b"root", b"loose"]
        house.strings.release.set()
    await house.strings.until(lambda: house.strings.ran[2:] == [b"root", b"loose"])


async def test_children_are_taken_in_in_the_order_in_which_they_came(house: House) -> None:
    async with families(house) as replies:
        replies.run("p-a", child("b", "wait"))
        await house.strings.until(lambda: house.strings.running == 1)
        for number, do in enumerate(["wait", "1", "2", "3"]):
            replies.run("p", child("a", do))
            await eventually(lambda: house.strings.running + len(house.waiting("a")) == 2 + number)  # noqa: B023
        house.strings.release.set()
    assert house.strings.ran == [b"wait", b"wait", b"1", b"2", b"3"]


async def test_a_job_takes_in_its_own_child_before_those_of_others(house: House) -> None:
    async with families(house) as replies:
        await house.enqueue(b"wait", "root-a")
        await house.strings.until(lambda: house.strings.running == 1)
        replies.run("p-a", child("a", "own"))
        await eventually(lambda: len(house.waiting("a")) == 1)
        for number, do in enumerate(["1", "2"]):
            replies.run("p", child("a", do))
            await eventually(lambda: len(house.waiting("a")) == 2 + number)  # noqa: B023
        house.strings.release.set()
    assert house.strings.ran == [b"wait", b"own", b"1", b"2"]


async def test_a_job_goes_on_while_its_slot_is_lent_and_the_slot_is_free_after_both(house: House) -> None:
    async with families(house) as replies:
        await house.enqueue(b"wait", "root-b")
        await house.strings.until(lambda: house.strings.running == 1)
        replies.run("p-a", child("b", "quick"), child("c", "more"))
        await eventually(lambda: house.waiting("b") == [b"quick"])
        first, house.strings.release = house.strings.release, asyncio.Event()
        replies.run("p", child("a", "wait"))
        await house.strings.until(lambda: house.strings.running == 2)
        first.set()
        await eventually(lambda: "p-a" in replies.of)
        assert replies.of["p-a"].status == STATUS["SUCCESS"]
        await house.enqueue(b"next", "root-a")
        assert (await house.client.call("JobService.Count")).total == 0
        assert house.waiting("a") == [b"next"]
        assert "p" not in replies.of
        house.strings.release.set()
    await house.strings.until(lambda: house.strings.ran[-1] == b"next")


async def test_a_cancelled_lender_leaves_what_runs_on_its_slot_alone(house: House) -> None:
    async with families(house) as replies:
        await house.worker("kept", PARENT, channel="a", store_failure=True)
        args = json.dumps({"children": [child("b", "wait")]}).encode()
        lender = (await house.enqueue(args, "kept")).id.value
        await house.strings.until(lambda: house.strings.running == 1)
        replies.run("p", child("a", "wait"))
        await house.strings.until(lambda: house.strings.running == 2)
        assert await house.delete(lender)
        await eventually(lambda: house.daemon.engine.live.get(lender) is None)
        assert (house.strings.cancelled, house.strings.running) == (1, 1)
        house.strings.release.set()
    await house.enqueue(b"root", "root-a")
    await house.strings.until(lambda: house.strings.ran[-1] == b"root")


async def test_a_child_on_a_lent_slot_ends_with_its_parent(house: House) -> None:
    async with families(house) as replies:
        replies.run("p-a", child("b", "wait"))
        await house.strings.until(lambda: house.strings.running == 1)
        for limit in longer_and_longer(100):
            before = len(house.strings.ran)
            replies.run("p-c", child("a", "wait"), timeout=limit)
            await eventually(lambda: "p-c" in replies.of)
            assert replies.of.pop("p-c").status == STATUS["MAX_RETRY"]
            if len(house.strings.ran) > before:
                break
        assert (house.strings.cancelled, house.strings.running) == (1, 1)
        replies.run("p", child("a", "later"))  # the slot is lent again
        await eventually(lambda: "p" in replies.of)
        house.strings.release.set()


async def test_a_child_that_is_retried_finds_a_lent_slot_again(house: House) -> None:
    async with families(house) as replies:
        replies.run("p-a", child("b", "wait"))
        await house.strings.until(lambda: house.strings.running == 1)
        replies.run("p", child("a", "flaky 2 x", retry=20))
        await eventually(lambda: "p" in replies.of)
        house.strings.release.set()


@pytest.mark.parametrize("seed", range(3))
async def test_families_of_any_form_end_and_leave_all_slots_free(house: House, seed: int) -> None:
    chance = random.Random(seed)

    def member(depth: int) -> dict[str, Any]:
        channel, queue = chance.choice(CHANNELS), chance.choice(QUEUES)
        if depth == 0:
            do = chance.choice(["x", "y", f"flaky 1 {chance.random()}"])
            return child(channel, do, queue=queue, retry=chance.choice([1, 20]))
        members = [member(depth - 1) for _ in range(chance.randint(1, 3))]
        return parent(channel, *members, together=chance.random() < 0.5, queue=queue)

    replies: list[int] = []

    async def family() -> None:
        made = member(2)
        args = json.dumps({"children": made["children"], "together": made["together"]}).encode()
        reply = await house.enqueue(args, f"p-{made['channel']}")
        replies.append(reply.result.data.status)

    with anyio.fail_after(PATIENCE_SEC):
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(family)
    assert replies == [STATUS["SUCCESS"]] * 12
    assert house.strings.most_running <= len(CHANNELS)
    await eventually(lambda: len(house.daemon.engine.live) == 0)
    for channel in CHANNELS:
        await house.enqueue(channel.encode(), f"root-{channel}")
        await house.strings.until(lambda: house.strings.ran[-1] == channel.encode())  # noqa: B023


@pytest.mark.parametrize("broken", ["root", "child"])
async def test_a_job_whose_end_cannot_be_settled_at_all_takes_no_slot_along(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """A defect of the program, twice: in what ends jobs, and in what stands in for it."""
    completer = house.daemon.engine.completer
    settle, abandon = completer.settle, completer.abandon

    async def fail_to_settle(attempt: Attempt) -> None:
        if attempt.job.args == broken.encode():
            raise ZeroDivisionError("this is only a test")
        await settle(attempt)

    def fail_to_abandon(attempt: Attempt) -> None:
        abandon(attempt)
        raise ZeroDivisionError("this is only a test")

    monkeypatch.setattr(completer, "settle", fail_to_settle)
    monkeypatch.setattr(completer, "abandon", fail_to_abandon)
    await house.enqueue(b"root", "root-a")
    with anyio.fail_after(PATIENCE_SEC):
        await house.enqueue(json.dumps({"children": [child("a", "child"), child("a", "next")]}).encode(), "p-a")
    assert house.strings.ran == ([b"root", b"child", b"next"] if broken == "root" else [b"root", b"child"])
    await house.enqueue(b"last", "root-a")
    await house.strings.until(lambda: house.strings.ran[-1] == b"last")
    assert "could not be settled; the slot on which it ran goes on" in caplog.text
