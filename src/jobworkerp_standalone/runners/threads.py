"""Threads for calls that block: bounded in number, and left behind where they do not end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future as Outcome
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import anyio

from jobworkerp_standalone.runners.host import Host

T = TypeVar("T")
Release = Callable[[], Awaitable[None]]
Undo = Callable[[T], Awaitable[None]]
_here: Final = threading.local()


class Threads:
    """Runs calls that block in threads of their own.

    A thread counts until its call is over, so that no more than ``most`` can be stuck. None keeps the process from
    ending.
    """

    def __init__(self, host: Host, name: str, most: float) -> None:
        self._start_soon = host.start_soon
        self._name = name
        self._free = anyio.CapacityLimiter(most)

    async def run(
        self, call: Callable[[], T], *, patience_sec: float, release: Release | None = None, undo: Undo[T] | None = None
    ) -> T:
        """Return what ``call`` returns, or raise what it raises.

        Args:
            call: runs in the thread.
            patience_sec: how long a cancelled run waits for its thread before it is left behind.
            release: called when the run is cancelled: ends what the thread waits for.
            undo: gets what was returned to a run that was cancelled, also if that comes late.
        """
        errand = _Errand(call)
        await self._free.acquire_on_behalf_of(errand)
        try:
            threading.Thread(target=errand.work, args=(self._free,), name=self._name, daemon=True).start()
        except RuntimeError:  # the system has no more threads
            self._free.release_on_behalf_of(errand)
            raise
        try:
            return await errand.served()
        except asyncio.CancelledError:
            errand.give_up()
            with anyio.CancelScope(shield=True):
                if release is not None:
                    await release()
                await errand.wait(patience_sec)
                if undo is not None:
                    await self._undone(errand, undo)
            raise

    async def _undone(self, errand: _Errand[T], undo: Undo[T]) -> None:
        """Undo what a call did, or see to it that it is undone as soon as it is known."""
        ended = errand.ended
        if ended.done():
            if ended.exception() is None:
                await undo(ended.result())
            return

        def late(ended: asyncio.Future[T]) -> None:
            if not ended.cancelled() and ended.exception() is None:
                self._start_soon(undo, ended.result())

        ended.add_done_callback(late)


def on_loop(step: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Have the run that started this thread do ``step``, and wait for it.

    Raises:
        concurrent.futures.CancelledError: that run was cancelled.
    """
    errand: _Errand[Any] = _here.errand
    return errand.ask(lambda: step(*args))


class _Errand(Generic[T]):
    """One call in its thread, and the task that waits for it and does meanwhile what the thread asks for."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._asked: asyncio.Queue[_Question | None] = asyncio.Queue()
        self._open: Outcome[Any] | None = None
        self._given_up = False
        self.ended: asyncio.Future[T] = self._loop.create_future()

    def work(self, free: anyio.CapacityLimiter) -> None:
        """Make the call; what the thread does."""
        _here.errand = self
        outcome: Outcome[T] = Outcome()
        try:
            outcome.set_result(self._call())
        except BaseException as error:
            outcome.set_exception(error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, outcome, free)

    def ask(self, step: Callable[[], Awaitable[Any]]) -> Any:
        """Return what ``step`` returns on the loop. Called in the thread."""
        question = (step, Outcome[Any]())
        self._loop.call_soon_threadsafe(self._heard, question)
        return question[1].result()

    async def served(self) -> T:
        """Do what the thread asks for; return what its call returns."""
        while (question := await self._asked.get()) is not None:
            step, self._open = question
            try:
                self._open.set_result(await step())
            except Exception as error:
                self._open.set_exception(error)
        return self.ended.result()

    def give_up(self) -> None:
        """Answer no more questions."""
        self._given_up = True
        if self._open is not None:
            self._open.cancel()
        while not self._asked.empty():
            if (question := self._asked.get_nowait()) is not None:
                question[1].cancel()

    async def wait(self, patience_sec: float) -> None:
        """Wait for the end of the thread, but not for long."""
        await asyncio.wait([self.ended], timeout=patience_sec)

    def _heard(self, question: _Question) -> None:
        if self._given_up:
            question[1].cancel()
        else:
            self._asked.put_nowait(question)

    def _settle(self, outcome: Outcome[T], free: anyio.CapacityLimiter) -> None:
        free.release_on_behalf_of(self)
        failure = outcome.exception()
        if failure is None:
            self.ended.set_result(outcome.result())
        else:
            self.ended.set_exception(failure)
            self.ended.exception()  # seen, also if nobody waits any more
        self._asked.put_nowait(None)


_Question = tuple[Callable[[], Awaitable[Any]], Outcome[Any]]
