"""The guard of this process: when it is there, who keeps it, what becomes of one that does not work."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import psutil
import pytest

from jobworkerp_standalone.runners.guard import guard as module
from jobworkerp_standalone.runners.guard import sessions
from jobworkerp_standalone.runners.guard.guard import Guard, guard_of, guarded
from jobworkerp_standalone.runners.process import Child, Program, launch
from tests.support.patience import PATIENCE_SEC
from tests.support.processes import guards
from tests.unit.runners.traces import has_children, leaves_nothing

pytestmark = pytest.mark.anyio
SLEEP = Program((b"sleep", b"1000"), {b"PATH": b"/usr/bin:/bin"})
TRUE = Program((b"true",), {b"PATH": b"/usr/bin:/bin"})


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


async def until(condition: Callable[[], object]) -> None:
    with anyio.fail_after(PATIENCE_SEC):
        while not condition():  # noqa: ASYNC110 - other processes set no events here
            await anyio.sleep(0.01)


async def until_guarded() -> psutil.Process:
    """Wait for the guard to have become its program; return it."""
    await until(lambda: len(guards(os.getpid())) == 1)
    return guards(os.getpid())[0]


@asynccontextmanager
async def sleeping() -> AsyncIterator[Child]:
    child = await launch(SLEEP)
    try:
        yield child
    finally:
        await child.stop()
        child.close()


def own_guard() -> Guard:
    guard = guard_of(asyncio.get_running_loop())
    assert guard is not None
    return guard


async def test_it_comes_with_the_first_program_and_leaves_with_the_last_context() -> None:
    async with guarded():
        assert not has_children()
        async with sleeping():
            first = await until_guarded()
        async with guarded(), sleeping():
            assert guards(os.getpid()) == [first]
        assert guards(os.getpid()) == [first], "the outer context wants it"
    assert not has_children()


async def test_it_holds_nothing_of_the_process_but_the_pipe() -> None:
    inherited, other = os.pipe()
    os.set_inheritable(inherited, True)
    module.inherited_descriptors.cache_clear()
    try:
        async with guarded(), sleeping():
            guard = await until_guarded()
            held = {number: os.readlink(f"/proc/{guard.pid}/fd/{number}") for number in (0, 1, 2)}
            assert held[0].startswith("pipe:")
            assert (held[1], held[2]) == (os.devnull, os.devnull)
            assert guard.num_fds() == len(held)
            assert os.getsid(guard.pid) == guard.pid
    finally:
        os.close(inherited)
        os.close(other)
        module.inherited_descriptors.cache_clear()


async def test_signals_that_end_everything_gently_leave_it_alone() -> None:
    async with guarded(), sleeping():
        guard = await until_guarded()
        gentle = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
        mask = sum(1 << number - 1 for number in gentle)

        def ignored() -> int:
            (line,) = (each for each in _status(guard.pid) if each.startswith("SigIgn:"))
            return int(line.split()[1], 16)

        await until(lambda: ignored() & mask == mask)
        for number in gentle:
            guard.send_signal(number)
        async with sleeping():
            assert guards(os.getpid()) == [guard]


def _status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text().splitlines()


async def test_contexts_and_programs_leave_nothing() -> None:
    async def once() -> None:
        async with guarded(), await launch(TRUE) as child:
            await child.wait()

    await leaves_nothing(once)


async def test_members_of_a_session_that_die_together_are_waited_for_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited_for: list[int] = []

    class Poll:
        """A real one that tells for how many each wait was."""

        def __init__(self) -> None:
            self._real, self._count = select.poll(), 0

        def register(self, number: int, events: int) -> None:
            self._count += 1
            self._real.register(number, events)

        def unregister(self, number: int) -> None:
            self._count -= 1
            self._real.unregister(number)

        def poll(self, limit_ms: int) -> list[tuple[int, int]]:
            waited_for.append(self._count)
            time.sleep(0.1)  # all of them die meanwhile
            return self._real.poll(limit_ms)

    script = "sleep 1000 & sleep 1000 & sleep 1000 & echo ready; exec sleep 1000"
    async with await launch(Program((b"sh", b"-c", script.encode()), {b"PATH": b"/usr/bin:/bin"})) as child:
        await child.read()
        monkeypatch.setattr(sessions, "select", SimpleNamespace(poll=Poll, POLLIN=select.POLLIN))
        sessions.kill_session(child.pid)
        await child.stop()
    assert waited_for
    assert 0 not in waited_for, "nobody is left to wait for"


async def test_one_that_does_not_read_is_replaced() -> None:
    async with guarded(), sleeping() as child:
        stopped = await until_guarded()
        stopped.suspend()
        await until(lambda: stopped.status() == psutil.STATUS_STOPPED)
        while stopped.is_running() and stopped.status() == psutil.STATUS_STOPPED:
            own_guard().note(child.pid)
        await until(lambda: guards(os.getpid()) not in ([], [stopped]))


async def test_one_that_is_stopped_is_replaced_while_programs_run() -> None:
    async with guarded(), sleeping():
        stopped = await until_guarded()
        stopped.suspend()
        await until(lambda: guards(os.getpid()) not in ([], [stopped]))


async def test_the_first_one_that_is_killed_is_replaced_at_once_and_those_after_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SEC", 100_000.0)
    async with guarded(), sleeping():
        first = await until_guarded()
        first.kill()
        await until(lambda: own_guard().pid not in (None, first.pid))
        second = await until_guarded()
        second.kill()
        await until(lambda: own_guard().pid is None)
        async with sleeping():
            assert own_guard().pid is None


async def test_nothing_looks_after_it_where_no_program_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Guard] = []
    look = Guard._look

    def counted(guard: Guard) -> None:
        looks.append(guard)
        look(guard)

    monkeypatch.setattr(module, "_LOOK_SEC", 0.01)
    monkeypatch.setattr(Guard, "_look", counted)
    async with guarded():
        async with sleeping():
            await until(lambda: len(looks) > 1)
        await until(lambda: own_guard()._next_look is None)


async def test_programs_run_where_none_can_be_started(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SEC", 0.05)
    async with guarded(), AsyncExitStack() as stack:
        with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
            broken.setattr(sys, "executable", "/nowhere/python")
            await stack.enter_async_context(sleeping())
            assert not guards(os.getpid())
            assert "no guard can be started: No such file or directory" in caplog.text
        await until_guarded()


async def test_one_that_cannot_be_watched_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_PAUSE_SEC", 0.05)
    loop = asyncio.get_running_loop()
    add_reader, refusals = loop.add_reader, iter([True])

    def add_or_refuse(*args: Any) -> None:
        if next(refusals, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add_reader(*args)

    async with guarded(), AsyncExitStack() as stack:
        with monkeypatch.context() as broken, caplog.at_level(logging.WARNING):
            broken.setattr(loop, "add_reader", add_or_refuse)
            await stack.enter_async_context(sleeping())
        assert "no guard can be started: No space left on device" in caplog.text
        await until_guarded()
    assert not has_children()


async def test_what_is_left_at_the_end_of_the_last_context_is_ended() -> None:
    async with guarded():
        child = await launch(SLEEP)
    try:
        assert await child.exits_within(PATIENCE_SEC)
    finally:
        await child.stop()
        child.close()
    assert child.exit is None or child.exit.signal == signal.SIGTERM
