"""Runner kinds that come at run time: ids, names, restarts, changes, Create and Delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status

from jobworkerp_standalone.jobs.errors import InvalidRequest, LoadFailed
from jobworkerp_standalone.jobs.model import OutputType
from jobworkerp_standalone.runners.base import Call, Runner
from jobworkerp_standalone.runners.builtin import BUILT_IN_MAX_ID
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.origin import Definition, Offer, OriginKind, Shelf
from tests.support.house import STATUS, House, eventually, open_house, refused


class Told(Runner):
    """Answers with what it was made of, once the origin lets it."""

    def __init__(self, origin: ToldOrigin, text: str) -> None:
        self._origin = origin
        self._text = text
        origin.loaded += 1

    async def run(self, call: Call) -> bytes:
        self._origin.running.set()
        if call.args == b"wait":
            await self._origin.release.wait()
        return self._text.encode()

    async def aclose(self) -> None:
        self._origin.closed += 1


@dataclass
class ToldOrigin:
    """An origin that does what the test says."""

    runner_type: int = 0
    configured: dict[str, str] = field(default_factory=dict[str, str])
    breaks: bool = False
    settles: asyncio.Event = field(default_factory=asyncio.Event)
    running: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    shelf: Shelf | None = None
    restored: list[Definition] = field(default_factory=list[Definition])
    forgotten: list[str] = field(default_factory=list[str])
    loaded: int = 0
    closed: int = 0

    async def run(self, shelf: Shelf) -> None:
        self.shelf = shelf
        if self.breaks:
            raise ZeroDivisionError("the origin broke")
        await self.settles.wait()
        for definition in self.restored:
            await shelf.offer(self, self.made(definition.name, definition.text, definition.description))
        for name, text in self.configured.items():
            await shelf.offer(self, self.made(name, text))
        shelf.settled(self)
        await asyncio.Event().wait()

    async def restore(self, shelf: Shelf, definition: Definition) -> None:
        self.restored.append(definition)

    async def create(self, definition: Definition) -> Offer:
        if definition.text == "nonsense":
            raise InvalidRequest("definition 'nonsense' says nothing")
        if definition.text == "broken":
            raise LoadFailed("it is broken: line 3 of mine.py")
        if definition.text == "slow":
            self.running.set()
            await self.release.wait()
        return self.made(definition.name, definition.text)

    async def forget(self, name: str) -> None:
        self.forgotten.append(name)

    def made(self, name: str, text: str, description: str = "") -> Offer:
        methods = {"run": Method(), "flow": Method("flow", output_type=OutputType.STREAMING)}
        return Offer(name, description, f"from {text}", lambda _host: Told(self, text), methods=methods)

    async def offer(self, name: str, text: str) -> bool:
        assert self.shelf is not None
        return await self.shelf.offer(self, self.made(name, text))

    async def withdraw(self, name: str) -> None:
        assert self.shelf is not None
        await self.shelf.withdraw(self, name)


def origin(*, settled: bool = True, **fields: Any) -> ToldOrigin:
    made = ToldOrigin(**fields)
    if settled:
        made.settles.set()
    return made


def opened(folder: Path, *origins: ToldOrigin) -> AbstractAsyncContextManager[House]:
    def kind(each: ToldOrigin) -> OriginKind:
        return OriginKind(each.runner_type, lambda _host: each, lambda _settings: bool(each.configured) or each.breaks)

    return open_house(folder, origins=[kind(each) for each in origins])


@asynccontextmanager
async def house_with(folder: Path, **configured: str) -> AsyncIterator[tuple[House, ToldOrigin]]:
    source = origin(configured=configured)
    async with opened(folder, source) as house:
        yield house, source


async def found(house: House, name: str) -> Any:
    reply = await house.client.call("RunnerService.FindByName", name=name)
    return reply.data if reply.HasField("data") else None


async def id_of(house: House, name: str) -> int:
    return (await found(house, name)).id.value


async def create(house: House, name: str = "mine", text: str = "text", **fields: Any) -> int:
    reply = await house.client.call("RunnerService.Create", name=name, definition=text, **fields)
    return reply.id.value


async def answer(house: House, worker: str = "w", args: bytes = b"x") -> Any:
    return (await house.enqueue(args, worker)).result.data


async def test_what_is_configured_is_there_when_the_daemon_is_ready(tmp_path: Path) -> None:
    async with house_with(tmp_path, hello="one") as (house, _):
        runner = await found(house, "hello")
        assert runner.id.value > BUILT_IN_MAX_ID
        assert (runner.data.definition, runner.data.runner_type) == ("from one", 0)
        assert set(runner.data.method_proto_map.schemas) == {"run", "flow"}
        listed = (await house.client.items("RunnerService.FindListBy", runner_types=[0], name_filter="hell")).items
        assert [each.id.value for each in listed] == [runner.id.value]
        await house.worker(runner=runner.id.value, response_type=1)
        assert (await answer(house)).output.items == b"one"


async def test_an_id_is_kept_over_restarts(tmp_path: Path) -> None:
    async with house_with(tmp_path, hello="one", other="x") as (house, _):
        first, other = await id_of(house, "hello"), await id_of(house, "other")
        await house.worker(runner=first, response_type=1)
    async with house_with(tmp_path, other="x", hello="two") as (house, _):
        assert (await id_of(house, "hello"), await id_of(house, "other")) == (first, other)
        assert (await answer(house)).output.items == b"two"


async def test_a_name_that_changes_its_type_is_another_runner(tmp_path: Path) -> None:
    async with house_with(tmp_path, hello="one") as (house, _):
        first = await id_of(house, "hello")
        await house.worker(runner=first, response_type=1)
    async with opened(tmp_path, origin(runner_type=7, configured={"hello": "mcp"})) as house:
        assert await id_of(house, "hello") > first
        async with refused(Status.INVALID_ARGUMENT, "does not exist any more", "update the worker"):
            await house.enqueue()


async def test_a_changed_runner_serves_the_next_job_and_its_warm_instances_go(tmp_path: Path) -> None:
    async with house_with(tmp_path, hello="one") as (house, source):
        await house.worker(runner=await id_of(house, "hello"), response_type=1, use_static=True)
        assert [(await answer(house)).output.items for _ in range(2)] == [b"one", b"one"]
        assert (source.loaded, source.closed) == (1, 0)
        source.running.clear()
        running = asyncio.create_task(answer(house, args=b"wait"))
        await source.running.wait()
        await source.offer("hello", "two")
        assert (await answer(house)).output.items == b"two"
        source.release.set()
        assert (await running).output.items == b"one"
        await eventually(lambda: source.closed == 1)
        assert (await answer(house)).output.items == b"two"
        assert source.loaded == 2


async def test_a_runner_that_is_away_is_a_matter_of_time(tmp_path: Path) -> None:
    async with house_with(tmp_path, hello="one") as (house, source):
        runner = await id_of(house, "hello")
        await house.worker(runner=runner, channel="narrow", store_failure=True)
        await house.worker("static", runner=runner, response_type=1, use_static=True)
        await answer(house, "static")
        blocked = (await house.enqueue(b"wait")).id.value
        waiting = (await house.enqueue()).id.value
        await source.running.wait()
        await source.withdraw("hello")
        assert source.closed == 1
        assert await found(house, "hello") is None
        async with refused(Status.UNAVAILABLE, "'hello'", "not available at the moment", "try again later"):
            await house.enqueue(worker="static")
        async with refused(Status.UNAVAILABLE, "'hello'"):
            await house.worker("new", runner=runner)
        source.release.set()
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        assert await house.results(blocked) == []
        (failure,) = await house.results(waiting)
        assert failure.data.status == STATUS["MAX_RETRY"]
        assert b"not available at the moment" in failure.data.output.items
        await source.offer("hello", "back")
        assert await id_of(house, "hello") == runner
        assert (await answer(house, "static")).output.items == b"back"


async def test_jobs_that_were_waiting_at_the_start_wait_for_their_runner(tmp_path: Path) -> None:
    async with house_with(tmp_path, hello="one") as (house, _):
        await house.worker(runner=await id_of(house, "hello"), channel="narrow", store_success=True, queue_type=1)
        blocking = (await house.enqueue(b"wait")).id.value
    late = origin(settled=False, configured={"hello": "late"})
    late.release.set()
    async with opened(tmp_path, late) as house:
        await eventually(lambda: late.shelf is not None and len(house.daemon.engine.live) == 1)
        late.settles.set()
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        (result,) = await house.results(blocking)
        assert result.data.output.items == b"late"


async def test_an_origin_that_breaks_takes_nothing_along(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path, origin(breaks=True), origin(runner_type=7, configured={"hello": "x"})) as house:
        assert await id_of(house, "hello")
    assert "the origin broke" in caplog.text


@pytest.mark.parametrize("name", ["COMMAND", "", "x" * 256])
async def test_names_that_cannot_be_had_are_left_out(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with house_with(tmp_path, good="x", **{name: "y"}) as (house, _):
        assert await found(house, "good")
        assert (await house.client.call("RunnerService.Find", value=1)).data.data.definition == "builtin1"
    assert "is left out" in caplog.text


async def test_a_name_belongs_to_the_origin_that_offered_it_first(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = origin(configured={"hello": "first"}), origin(runner_type=7, configured={"hello": "second"})
    second.settles.clear()
    async with opened(tmp_path, first, second) as house:
        second.settles.set()
        assert not await second.offer("hello", "second")
        assert (await found(house, "hello")).data.definition == "from first"
        await second.withdraw("hello")
        assert await found(house, "hello")
    assert "a runner of another origin has the name" in caplog.text


async def test_a_created_runner_runs_and_outlives_a_restart(tmp_path: Path) -> None:
    source = origin()
    async with opened(tmp_path, source) as house:
        assert source.shelf is None, "nothing is configured, so nothing was started"
        before = house.daemon.engine.clock.now_ms()
        runner = await create(house, text="secret", description="what it does")
        shown = await found(house, "mine")
        assert (shown.id.value, shown.data.description, shown.data.definition) == (
            runner,
            "what it does",
            "from secret",
        )
        assert before <= house.daemon.engine.catalog.kinds.all()[-1].created_at_ms
        await house.worker(runner=runner, response_type=1)
        assert (await answer(house)).output.items == b"secret"
    source = origin()
    async with opened(tmp_path, source) as house:
        assert source.restored == [Definition("mine", "what it does", "secret")]
        assert await id_of(house, "mine") == runner
        assert (await answer(house)).output.items == b"secret"


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"name": "COMMAND"}, Status.ALREADY_EXISTS, ["COMMAND", "built-in"]),
        ({"name": "hello"}, Status.ALREADY_EXISTS, ["hello"]),
        ({"text": "nonsense"}, Status.INVALID_ARGUMENT, ["nonsense"]),
        ({"text": "broken"}, Status.INTERNAL, ["it is broken: line 3 of mine.py"]),
        ({"runner_type": 7}, Status.UNIMPLEMENTED, ["7"]),
        ({"runner_type": 2}, Status.INVALID_ARGUMENT, ["runner_type"]),
    ],
)
async def test_a_runner_that_cannot_be_created_leaves_nothing_behind(
    tmp_path: Path, fields: dict[str, Any], status: Status, words: list[str]
) -> None:
    async with house_with(tmp_path, hello="x") as (house, _):
        listed = (await house.client.call("RunnerService.Count")).total
        async with refused(status, *words):
            await create(house, **fields)
        assert (await house.client.call("RunnerService.Count")).total == listed
        assert await create(house), "the name is free"


async def test_one_name_is_created_once_at_a_time(tmp_path: Path) -> None:
    source = origin()
    async with opened(tmp_path, source) as house:
        first = asyncio.create_task(create(house, text="slow"))
        await source.running.wait()
        async with refused(Status.ALREADY_EXISTS, "being created"):
            await create(house)
        assert not await source.offer("mine", "mine too")
        source.release.set()
        runner = await first
        async with refused(Status.ALREADY_EXISTS, f"delete {runner}"):
            await create(house)


async def test_a_caller_that_hangs_up_leaves_a_whole_runner(tmp_path: Path) -> None:
    source = origin()
    async with opened(tmp_path, source) as house:
        caller = asyncio.create_task(create(house, text="slow"))
        await source.running.wait()
        caller.cancel()
        await asyncio.wait([caller])
        source.release.set()
        await eventually(lambda: house.daemon.engine.catalog.kinds.by_name("mine") is not None)
        (row,) = await house.daemon.engine.store.all_runners()
        assert row.id == await id_of(house, "mine")


async def test_a_deleted_runner_is_gone_and_its_workers_say_so(tmp_path: Path) -> None:
    source = origin()
    async with opened(tmp_path, source) as house:
        runner = await create(house)
        await house.worker(runner=runner, channel="narrow", store_failure=True)
        await house.worker("static", runner=runner, response_type=1, use_static=True)
        await answer(house, "static")
        running = (await house.enqueue(b"wait")).id.value
        waiting = (await house.enqueue()).id.value
        await source.running.wait()
        assert (await house.client.call("RunnerService.Delete", value=runner)).is_success
        assert not (await house.client.call("RunnerService.Delete", value=runner)).is_success
        assert source.forgotten == ["mine"]
        assert source.closed == 1
        assert await found(house, "mine") is None
        async with refused(Status.INVALID_ARGUMENT, str(runner), "does not exist any more", "update the worker"):
            await house.enqueue()
        async with refused(Status.INVALID_ARGUMENT, f"runner_id {runner}"):
            await house.worker("new", runner=runner)
        source.release.set()
        await eventually(lambda: len(house.daemon.engine.live) == 0)
        (failure,) = await house.results(waiting)
        assert failure.data.status == STATUS["FATAL_ERROR"]
        assert b"does not exist any more" in failure.data.output.items
        assert await house.results(running) == []
        assert await create(house) > runner, "a new runner of that name is another one"
    source = origin()
    async with opened(tmp_path, source):
        assert [each.name for each in source.restored] == ["mine"]


async def test_a_deleted_configured_runner_stays_away_until_the_next_start(tmp_path: Path) -> None:
    async with house_with(tmp_path, hello="one") as (house, source):
        first = await id_of(house, "hello")
        assert (await house.client.call("RunnerService.Delete", value=first)).is_success
        assert not await source.offer("hello", "two")
        assert await found(house, "hello") is None
    async with house_with(tmp_path, hello="one") as (house, _):
        assert await id_of(house, "hello") > first


async def test_ids_are_never_used_twice(tmp_path: Path) -> None:
    seen: list[int] = []
    for _ in range(3):
        async with opened(tmp_path, origin()) as house:
            seen.append(await create(house, f"r{len(seen)}"))
    assert seen == sorted(set(seen))
    assert seen[0] > BUILT_IN_MAX_ID
