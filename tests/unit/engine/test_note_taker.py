"""Events for a job that has not gone on yet are written down in its place, however large they are."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from jobworkerp_standalone.backends.stores import open_store
from jobworkerp_standalone.engine.note_taker import NoteTakerParts, NoteTakers, attempt_name
from jobworkerp_standalone.jobs.ids import IdGenerator
from jobworkerp_standalone.jobs.json_fragments import LARGEST
from jobworkerp_standalone.ports import Store
from jobworkerp_standalone.ports.notes import Note
from jobworkerp_standalone.runners.bus import EventBus, Room
from jobworkerp_standalone.runners.interest import Interest
from jobworkerp_standalone.runners.journal import HEARD, HEARS
from jobworkerp_standalone.settings import MEMORY, Settings
from tests.contract.scene import HandClock, instance, job

JOB, RUN = 1, "job:1"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def bus() -> EventBus:
    return EventBus(None)  # pyright: ignore[reportArgumentType] - it asks its host for nothing


@pytest.fixture
async def store(bus: EventBus) -> AsyncGenerator[Store, None]:
    """A store with the row of a job that listens for ``t.a`` and that nobody runs, and somebody who hears for it."""
    clock = HandClock()
    async with open_store(Settings(sqlite_path=MEMORY), clock) as store:
        await store.register(instance(1))
        await store.add([job(JOB)], held=False)
        wanted = {**Interest(frozenset({"t.a"})).as_json(), "attempt": attempt_name(0, 0)}
        await store.change_notes(RUN, [Note(2, HEARS, json.dumps(wanted).encode())], [])
        new_id = IdGenerator(store.node, 2, clock.now_ms)
        await NoteTakers(NoteTakerParts(bus, store, new_id, Room(10, 10**9))).begin(["c"])
        yield store


def event(data: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "urn:x", "type": "t.a", "data": data}


async def heard(store: Store) -> list[Any]:
    notes = [note for note in await store.notes(RUN) if note.key.startswith(HEARD)]
    assert [note.key for note in notes] == [f"{HEARD}{note.id}" for note in notes]
    return [json.loads(note.data)["event"]["data"] for note in notes]


async def test_whoever_publishes_has_his_answer_when_it_is_written_down(store: Store, bus: EventBus) -> None:
    await bus.publish(event(1))
    await bus.publish(event("\ud83d"))
    assert await heard(store) == [1, "\ud83d"]


async def test_a_large_event_is_written_in_pieces_and_keeps_its_place(store: Store, bus: EventBus) -> None:
    large = ["x" * 100] * 10_000
    seen = 0

    async def look() -> None:
        nonlocal seen
        while True:
            await anyio.lowlevel.checkpoint()
            seen += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        async with anyio.create_task_group() as publishers:
            publishers.start_soon(bus.publish, event(large))
            publishers.start_soon(bus.publish, event("small"))
        tasks.cancel_scope.cancel()
    assert seen >= 1_000_000 / LARGEST, "others have had their turn after each piece"
    assert await heard(store) == [large, "small"]


async def test_an_event_that_cannot_be_written_is_missed_and_told_of(
    store: Store, bus: EventBus, caplog: pytest.LogCaptureFixture
) -> None:
    deep: Any = "x" * LARGEST
    for _ in range(2 * sys.getrecursionlimit()):
        deep = [deep]
    await bus.publish(event(deep))
    await bus.publish(event("fine"))
    assert await heard(store) == ["fine"]
    assert "job 1 misses an event of type t.a" in caplog.text
