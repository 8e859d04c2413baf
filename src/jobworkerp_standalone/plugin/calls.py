"""One instance at work: bytes to values, the right function, values to bytes. The same in every isolation."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

from jobworkerp_standalone.plugin.base import Job, Runner
from jobworkerp_standalone.plugin.describe import MethodPlan, is_coroutine, is_generator, plan_of


class Instance:
    """A runner object."""

    def __init__(self, runner: type[Runner]) -> None:
        self.plan = plan_of(runner)
        self._runner = runner()

    def on_loop(self, method: str, *, streaming: bool) -> bool:
        """Whether a method needs an event loop."""
        return is_coroutine(self._function(method, streaming=streaming))

    def load(self, settings: bytes) -> Awaitable[Any] | None:
        """Hand over a worker's settings; what is returned is to be awaited."""
        load: Callable[..., Any] = self._runner.load
        outcome = load(self.plan.settings.read(settings)) if self.plan.takes_settings else self._load_bare(load)
        return outcome if inspect.isawaitable(outcome) else None

    def close(self) -> Awaitable[Any] | None:
        """Have it give everything back; what is returned is to be awaited."""
        outcome = self._runner.close()
        return outcome if inspect.isawaitable(outcome) else None

    def call(
        self, job: Job, args: bytes, *, streaming: bool, send: Callable[[bytes], None], feed: Iterator[bytes]
    ) -> bytes:
        """Run a plain function; the bytes of its result, nothing where it sent items."""
        plan = self.plan.methods[job.method]
        function = self._function(job.method, streaming=streaming)
        outcome = function(
            *self._inputs(job, plan, args, (plan.feed.read(each) for each in feed) if plan.feed else None)
        )
        if not is_generator(function):
            return self._given(plan, outcome, streaming=streaming, send=send)
        with closing(outcome):
            for item in outcome:
                send(plan.result.write(item, f"an item of {job.method}"))
        return b""

    async def acall(
        self,
        job: Job,
        args: bytes,
        *,
        streaming: bool,
        send: Callable[[bytes], Awaitable[None]],
        feed: AsyncIterator[bytes],
    ) -> bytes:
        """Run a coroutine; the bytes of its result, nothing where it sent items."""
        plan = self.plan.methods[job.method]
        function = self._function(job.method, streaming=streaming)
        items = _read(plan, feed) if plan.feed else None
        outcome = function(*self._inputs(job, plan, args, items))
        if not is_generator(function):
            data = plan.result.write(await outcome, f"the result of {job.method}")
            if streaming:
                await send(data)
            return data
        async with aclosing(outcome):
            async for item in outcome:
                await send(plan.result.write(item, f"an item of {job.method}"))
        return b""

    def _load_bare(self, load: Callable[..., Any]) -> Any:
        """Call a ``load`` that takes nothing, where the class has one of its own."""
        return None if type(self._runner).load is Runner.load else load()

    def _function(self, method: str, *, streaming: bool) -> Callable[..., Any]:
        return getattr(self._runner, self.plan.methods[method].function(streaming=streaming))

    def _inputs(self, job: Job, plan: MethodPlan, args: bytes, feed: Any) -> list[Any]:
        self._runner.job = job
        inputs = [plan.args.read(args)] if plan.takes_args else []
        return inputs if feed is None else [*inputs, feed]

    @staticmethod
    def _given(plan: MethodPlan, outcome: Any, *, streaming: bool, send: Callable[[bytes], None]) -> bytes:
        data = plan.result.write(outcome, f"the result of {plan.name}")
        if streaming:
            send(data)
        return data


async def _read(plan: MethodPlan, feed: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    assert plan.feed is not None, "only asked for then"
    async for item in feed:
        yield plan.feed.read(item)
