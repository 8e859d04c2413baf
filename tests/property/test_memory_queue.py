"""The in-memory queue against a model: order, turns of the two lanes, room, and no job lost whoever gives up."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from jobworkerp_standalone.backends.memory.queue import MemoryQueue
from jobworkerp_standalone.jobs.model import Job, Priority, Rules

CHANNELS = ("a", "b")
channels = st.sampled_from("aaab")
priorities = st.sampled_from(Priority)
RULES = Rules()


@dataclass
class Lanes:
    """What waits in one channel, as the promise says."""

    immediate: dict[Priority, list[Job]] = field(default_factory=lambda: {each: [] for each in Priority})
    due: list[Job] = field(default_factory=list[Job])
    resting: bool = False
    """No due job is handed out."""
    passed_over: Counter[str] = field(default_factory=Counter[str])
    """How often in a row a lane with jobs was not the one that was served."""

    def heads(self) -> dict[str, Job]:
        """Return the job that each lane has to hand out next."""
        heads: dict[str, Job] = {}
        for priority in sorted(Priority, reverse=True):
            if self.immediate[priority] and "immediate" not in heads:
                heads["immediate"] = self.immediate[priority][0]
        if self.due and not self.resting:
            heads["due"] = min(self.due, key=lambda job: (-job.priority, job.run_after_ms, job.id))
        return heads

    def discard(self, job: Job) -> None:
        for lane in (self.due, *self.immediate.values()):
            if job in lane:
                lane.remove(job)

    def waiting(self) -> set[int]:
        return {job.id for lane in (self.due, *self.immediate.values()) for job in lane}


class QueueMachine(RuleBasedStateMachine):
    """Clients put and remove, slots take, callers wait for room; anyone may give up at any moment."""

    present: Bundle[Job] = Bundle("present")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.open(1)
        self.lanes = {name: Lanes() for name in CHANNELS}
        self.load: Counter[tuple[str, Priority]] = Counter()
        self.takers: list[tuple[str, asyncio.Task[Job | None]]] = []
        self.reservers: list[tuple[Job, asyncio.Task[None]]] = []
        self.ids = 0

    def teardown(self) -> None:
        try:
            self.at_the_end()
        finally:
            for _, task in [*self.takers, *self.reservers]:
                task.cancel()
            self.spin()
            self.loop.close()

    def at_the_end(self) -> None:
        """Check what must hold when all is over."""

    @initialize(capacity=st.integers(1, 2))
    def open(self, capacity: int) -> None:
        self.capacity = capacity
        self.queue = MemoryQueue(capacity)

    # ---- clients

    @rule(target=present, channel=channels, priority=priorities)
    def put(self, channel: str, priority: Priority) -> Any:
        job = self.job(channel, priority)
        room = self.load[channel, priority] < self.capacity
        assert self.queue.reserve_now(job) == room
        if room:
            self.enter(job)
        self.settle()
        return job if room else multiple()

    @rule(target=present, channel=channels, priority=priorities, run_after_ms=st.integers(1, 5))
    def put_due(self, channel: str, priority: Priority, run_after_ms: int) -> Job:
        job = self.job(channel, priority, run_after_ms)
        self.queue.put_due(job)
        self.lanes[channel].due.append(job)
        self.settle()
        return job

    @rule(channel=channels, priority=priorities)
    def reserve_and_give_back(self, channel: str, priority: Priority) -> None:
        job = self.job(channel, priority)
        if self.queue.reserve_now(job):
            self.queue.unreserve(job)
        self.settle()

    @rule(job=consumes(present))
    def remove(self, job: Job) -> None:
        waiting = job.id in self.lanes[job.channel].waiting()
        assert self.queue.remove(job) == waiting
        self.forget(job)
        assert not self.queue.remove(job)
        self.settle()

    @rule(channel=channels, priority=priorities)
    def wait_for_room(self, channel: str, priority: Priority) -> None:
        job = self.job(channel, priority)
        self.reservers.append((job, self.loop.create_task(self.queue.reserve(job))))
        self.settle()

    @precondition(lambda self: self.reservers)
    @rule(data=st.data())
    def give_up_waiting_for_room(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.reservers))[1].cancel()
        self.settle()

    @precondition(lambda self: self.reservers)
    @rule(data=st.data(), job=consumes(present))
    def give_up_as_room_comes(self, data: st.DataObject, job: Job) -> None:
        self.queue.remove(job)
        self.forget(job)
        data.draw(st.sampled_from(self.reservers))[1].cancel()
        self.settle()

    # ---- slots

    @rule(channel=channels)
    def take(self, channel: str) -> None:
        self.takers.append((channel, self.loop.create_task(self.queue.take(channel))))
        self.settle()

    @precondition(lambda self: self.takers)
    @rule(data=st.data())
    def give_up_taking(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.takers))[1].cancel()
        self.settle()

    @precondition(lambda self: self.takers)
    @rule(target=present, data=st.data(), priority=priorities)
    def give_up_taking_as_a_job_comes(self, data: st.DataObject, priority: Priority) -> Any:
        channel, task = data.draw(st.sampled_from(self.takers))
        job = self.job(channel, priority, 1)
        self.queue.put_due(job)
        self.lanes[channel].due.append(job)
        task.cancel()
        self.settle()
        return job

    @rule(channel=channels)
    def rest_due(self, channel: str) -> None:
        self.queue.rest_due(channel)
        self.lanes[channel].resting = True
        self.lanes[channel].passed_over.pop("due", None)

    @rule(channel=channels)
    def resume_due(self, channel: str) -> None:
        self.queue.resume_due(channel)
        self.lanes[channel].resting = False
        self.settle()

    # ---- what must hold

    @invariant()
    def listing_is_the_order_of_each_lane(self) -> None:
        for name, lanes in self.lanes.items():
            due = sorted(lanes.due, key=lambda job: (-job.priority, job.run_after_ms, job.id))
            immediate = [job for each in sorted(Priority, reverse=True) for job in lanes.immediate[each]]
            assert self.queue.listing(name) == [*due, *immediate]

    @invariant()
    def no_slot_is_idle_while_a_job_waits(self) -> None:
        for channel, _ in self.takers:
            assert not self.lanes[channel].heads()

    @invariant()
    def nobody_waits_for_room_that_is_there(self) -> None:
        for job, _ in self.reservers:
            assert self.load[job.channel, job.priority] >= self.capacity

    # ---- bookkeeping

    def job(self, channel: str, priority: Priority, run_after_ms: int = 0) -> Job:
        self.ids += 1
        return Job(self.ids, 1, b"", RULES, 1, channel=channel, priority=priority, run_after_ms=run_after_ms)

    def enter(self, job: Job) -> None:
        """Put a job for which room was just reserved."""
        self.load[job.channel, job.priority] += 1
        assert self.load[job.channel, job.priority] <= self.capacity
        self.queue.put(job)
        self.lanes[job.channel].immediate[job.priority].append(job)

    def forget(self, job: Job) -> None:
        if job in self.lanes[job.channel].immediate[job.priority]:
            self.load[job.channel, job.priority] -= 1
        lanes = self.lanes[job.channel]
        lanes.discard(job)
        for name in {*lanes.passed_over} - {*lanes.heads()}:
            del lanes.passed_over[name]

    def settle(self) -> None:
        """Let everything happen that can, and enter into the model who got what."""
        self.spin()
        for channel, task in [each for each in self.takers if each[1].done()]:
            self.takers.remove((channel, task))
            if not task.cancelled():
                job = task.result()
                assert job is not None, "take answered None although the queue is open"
                self.taken(channel, job)
        done = next((each for each in self.reservers if each[1].done()), None)
        if done is not None:
            self.reservers.remove(done)
            job, reserving = done
            if not reserving.cancelled():
                reserving.result()
                self.enter(job)
            self.settle()

    def spin(self) -> None:
        async def many_turns() -> None:
            for _ in range(10):
                await asyncio.sleep(0)

        self.loop.run_until_complete(many_turns())

    def taken(self, channel: str, job: Job) -> None:
        lanes = self.lanes[channel]
        heads = lanes.heads()
        assert job in heads.values(), "out of order, or handed out twice"
        for name, head in heads.items():
            lanes.passed_over[name] = 0 if head is job else lanes.passed_over[name] + 1
            assert lanes.passed_over[name] <= 1, f"the {name} lane starves"
        self.forget(job)


class ClosingMachine(QueueMachine):
    """The same, closed at the end: what was waiting comes back, each job once, and nobody waits any longer."""

    def at_the_end(self) -> None:
        waiting = set[int]().union(*(lanes.waiting() for lanes in self.lanes.values()))
        left = [job.id for job in self.queue.close()]
        assert sorted(left) == sorted(waiting)
        self.spin()
        assert all(task.done() and task.result() is None for _, task in self.takers)
        assert all(task.done() for _, task in self.reservers), "somebody waits for room in a closed queue"
        assert not self.queue.close()


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=200, stateful_step_count=40)
TestClosedQueue = ClosingMachine.TestCase
TestClosedQueue.settings = settings(max_examples=50, stateful_step_count=15)
