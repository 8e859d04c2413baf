"""One instance of PYTHON_COMMAND: environment, script, output, result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from jobworkerp_standalone.jobs.errors import BadInput, Fatal, JobError, Retryable
from jobworkerp_standalone.net.fetch import Fetched, FetchError, FetchRules, fetch
from jobworkerp_standalone.runners.base import Call, Collector, Runner, Send
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.process import Output, Utf8Pieces
from jobworkerp_standalone.runners.python.interpreter import Interpreter, NotBegun
from jobworkerp_standalone.runners.python.order import Order, Task
from jobworkerp_standalone.runners.python.plan import Plan, Recipe, read_plan
from jobworkerp_standalone.runners.python.results import (
    PythonCollector,
    closing_fields,
    encode,
    output_fields,
    piece,
    progress,
)
from jobworkerp_standalone.runners.python.shared_build import Report
from jobworkerp_standalone.runners.python.shelf import Held
from jobworkerp_standalone.runners.python.store import EnvironmentStore
from jobworkerp_standalone.runners.python.ways import OneShot, Running, Way

_PATIENCE_SEC: Final = 0.005
"""A script that ends within this time is read once, afterwards, without watching its pipes."""
Take = Callable[[Running, Output, bytes], Awaitable[None]]
"""Takes a piece of output."""


def make(host: Host) -> Runner:
    """Return a new instance."""
    return PythonRunner(host)


class PythonRunner(Runner):
    """Runs a script for each job. What stays between jobs is the environment and, if it is kept, an interpreter."""

    def __init__(self, host: Host) -> None:
        self._store = host.shared(EnvironmentStore)
        self._rules = FetchRules.of(host.settings)
        self._output_limit = host.settings.command_output_max_bytes
        self._plan = Plan()
        self._recipe: Recipe | None = None
        self._held: Held | None = None
        self._interpreter: Interpreter | None = None

    async def load(self, settings: bytes) -> None:
        """Read the settings. The environment is built by the first run, where a stream can tell of it."""
        self._plan = read_plan(settings)

    async def warm_up(self) -> None:
        """Have the environment built and, if it is to be kept, the interpreter started."""
        await self._way(_to_nobody)

    async def run(self, call: Call) -> bytes:
        """Run the script and return its ``PythonCommandResult``."""
        order = Order.read(call.args)
        outputs = (bytearray(), bytearray())

        async def keep(running: Running, source: Output, data: bytes) -> None:
            if source is Output.STDOUT or order.with_stderr:
                self._keep(outputs[source], data, running, source)

        ended = await self._perform(call, order, _to_nobody, keep)
        ended.check()
        return encode(output_fields(*map(bytes, outputs)) | ended.fields)

    async def stream(self, call: Call, send: Send) -> None:
        """Send progress, then output as it arrives, then one item that says how the script ended."""
        order = Order.read(call.args)
        decoders = (Utf8Pieces(), Utf8Pieces())

        async def report(line: str) -> None:
            await send(progress(line))

        async def pass_on(source: Output, data: bytes, *, final: bool = False) -> None:
            text, raw = decoders[source].decode(data, final=final)
            if text and (source is Output.STDOUT or order.with_stderr):
                await send(piece(source, text, raw))

        async def take(_running: Running, source: Output, data: bytes) -> None:
            await pass_on(source, data)

        ended = await self._perform(call, order, report, take)
        for source in Output:
            await pass_on(source, b"", final=True)
        await send(encode(ended.fields))
        ended.check()

    def collector(self, method: str) -> Collector:  # noqa: ARG002 - others have several methods
        """Return what puts the items of a stream together again."""
        return PythonCollector()

    async def aclose(self) -> None:
        """End the interpreter and let the environment go."""
        try:
            await self._end_interpreter()
        finally:
            self._let_go()

    async def _perform(self, call: Call, order: Order, report: Report, take: Take) -> _Ended:
        """Run the script of ``order``."""

        async def noted(line: str) -> None:
            call.last_words = f"the environment was still being built: {line}"
            await report(line)

        way = await self._way(noted)
        call.last_words = ""
        task = await self._task(order)
        try:
            return await _follow(call, order, way.start(task), take)
        except NotBegun:
            way = await self._way(noted)
            return await _follow(call, order, way.start(task), take)

    async def _way(self, report: Report) -> Way:
        """Return what runs the next script."""
        if self._interpreter is not None and self._interpreter.alive and self._held is not None and self._held.there:
            return self._interpreter
        await self._end_interpreter()
        held = await self._environment(report)
        environment = self._store.seen_by_scripts(held)
        if not self.kept:
            return OneShot(held.python, environment, self._store)
        try:
            folder = await self._store.next()
            self._interpreter = await Interpreter.launch(held.python, environment.with_variables({}), folder)
        except JobError:
            self._let_go()  # it is looked at again before the next job
            raise
        return self._interpreter

    async def _environment(self, report: Report) -> Held:
        """Return the environment, also where somebody removed the one that was in use."""
        if self._held is not None and not self._held.there:
            self._let_go()
        if self._recipe is None:
            self._recipe = await self._read_recipe()
        if self._held is None:
            self._held = await self._store.acquire(self._recipe, report)
        return self._held

    async def _read_recipe(self) -> Recipe:
        url = self._plan.requirements_url
        if not url:
            return self._plan.recipe()
        try:
            return self._plan.recipe((await fetch(url, self._rules)).text)
        except FetchError as error:
            raise _refusal("requirements_url", error, Fatal) from error

    async def _end_interpreter(self) -> None:
        if self._interpreter is not None:
            await self._interpreter.aclose()
            self._interpreter = None

    def _let_go(self) -> None:
        if self._held is not None:
            self._held.release()
            self._held = None

    async def _task(self, order: Order) -> Task:
        """Fetch what the args only point to."""
        script = order.script
        if script is None:
            script = (await self._fetched("script_url", order.script_url)).content
        data = order.data
        if order.data_url:
            data = (await self._fetched("data_url", order.data_url)).content
        return Task(script, data, order.variables)

    async def _fetched(self, field: str, url: str) -> Fetched:
        try:
            return await fetch(url, self._rules)
        except FetchError as error:
            raise _refusal(field, error, BadInput) from error

    def _keep(self, kept: bytearray, data: bytes, running: Running, source: Output) -> None:
        if len(kept) + len(data) > self._output_limit:
            running.child.kill()
            raise BadInput(
                f"the script wrote more than {self._output_limit} bytes to {source.name.lower()}: "
                "raise COMMAND_OUTPUT_MAX_BYTES, or read it as a stream, which has no limit"
            )
        kept += data


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a script ended: the last fields of its result, and what is wrong with it."""

    fields: dict[str, object]
    complaint: str

    def check(self) -> None:
        if self.complaint:
            raise Retryable(self.complaint)


async def _follow(call: Call, order: Order, script: AbstractAsyncContextManager[Running], take: Take) -> _Ended:
    """Start a script, take its output and wait for its end."""
    running: Running | None = None
    try:
        async with script as running:
            child = running.child
            await child.rest(_PATIENCE_SEC)
            while pieces := await child.read():
                for source, data in pieces:
                    await take(running, source, data)
            end = await running.end()
            elapsed_ms = running.elapsed_ms
    except BaseException:
        if running is not None:
            call.last_words = running.child.last_words
        raise
    complaint = f"the script failed: {child.words_after(end)}" if order.strict and end.code != 0 else ""
    return _Ended(closing_fields(end, elapsed_ms), complaint)


async def _to_nobody(line: str) -> None:
    """Take a line of progress where nobody listens; the log has it."""


def _refusal(field: str, error: FetchError, final: type[JobError]) -> JobError:
    kind = Retryable if error.may_pass else final
    return kind(f"{field}: {error}")
