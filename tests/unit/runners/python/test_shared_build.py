"""One build for all who wait: what they hear, and what becomes of it when they leave."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from jobworkerp_standalone.jobs.errors import BadInput, Fatal, Retryable
from jobworkerp_standalone.runners.python.shared_build import SharedBuild, Tell

pytestmark = pytest.mark.anyio


class Site:
    """A build that does as it is told."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.told: Tell = lambda _line: None
        self.started = anyio.Event()
        self.go_on = anyio.Event()
        self.runs = 0
        self.broken_off = False

    async def work(self, tell: Tell) -> None:
        self.runs += 1
        self.told = tell
        tell("first")
        self.started.set()
        try:
            await self.go_on.wait()
        except BaseException:
            self.broken_off = True
            raise
        tell("last")
        if self.error is not None:
            raise self.error


async def hear(build: SharedBuild, lines: list[str]) -> None:
    async def report(line: str) -> None:
        await anyio.lowlevel.checkpoint()
        lines.append(line)

    await build.wait(report)


async def test_everybody_hears_every_line_whenever_they_came() -> None:
    site = Site()
    build = SharedBuild(site.work)
    early: list[str] = []
    late: list[str] = []
    after: list[str] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(build.run)
        tasks.start_soon(hear, build, early)
        await site.started.wait()
        site.told("second")
        tasks.start_soon(hear, build, late)
        assert build.open
        site.go_on.set()
    await hear(build, after)
    assert early == late == after == ["first", "second", "last"]
    assert site.runs == 1
    assert not build.open


async def test_it_goes_on_while_one_waits_and_is_broken_off_with_the_last() -> None:
    site = Site()
    build = SharedBuild(site.work)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(build.run)
        async with anyio.create_task_group() as waiting:
            one, other = anyio.CancelScope(), anyio.CancelScope()
            waiting.start_soon(_wait_within, one, build)
            waiting.start_soon(_wait_within, other, build)
            await site.started.wait()
            one.cancel()
            await anyio.wait_all_tasks_blocked()
            assert build.open
            assert not site.broken_off
            other.cancel()
        assert site.broken_off
        assert not build.open
    with pytest.raises(Retryable, match="broken off"):
        await hear(build, [])


async def _wait_within(scope: anyio.CancelScope, build: SharedBuild) -> None:
    with scope:
        await hear(build, [])


async def test_a_slow_listener_does_not_hold_the_build() -> None:
    site = Site()
    build = SharedBuild(site.work)
    listening = anyio.Event()

    async def never(_line: str) -> None:
        listening.set()
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(build.run)
        async with anyio.create_task_group() as waiting:
            waiting.start_soon(build.wait, never)
            await listening.wait()
            site.go_on.set()
            lines: list[str] = []
            await hear(build, lines)
            assert lines == ["first", "last"]
            waiting.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (BadInput("no such thing"), BadInput, "no such thing"),
        (OSError(28, "No space left on device"), Retryable, "No space left"),
        (ZeroDivisionError("oh"), Fatal, "ZeroDivisionError: oh"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_everybody_gets_the_failure_as_an_error_of_their_own(
    error: Exception, kind: type[Exception], word: str
) -> None:
    site = Site(error)
    build = SharedBuild(site.work)
    caught: list[Exception] = []

    async def fail() -> None:
        with pytest.raises(kind, match=word) as info:
            await hear(build, [])
        caught.append(info.value)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(build.run)
        tasks.start_soon(fail)
        tasks.start_soon(fail)
        site.go_on.set()
    assert len({id(each) for each in caught}) == 2
