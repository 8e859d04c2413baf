"""Runners that work inside the daemon: coroutines on its loop, plain functions in a thread."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread

from jobworkerp_standalone.jobs.errors import BadInput, Fatal, JobError
from jobworkerp_standalone.plugin.base import Job
from jobworkerp_standalone.plugin.calls import Instance
from jobworkerp_standalone.plugin.errors import Failure, JobCancelled, PluginMistake
from jobworkerp_standalone.plugin.source import complaint, forget, import_source, runners_of
from jobworkerp_standalone.runners.base import Call, Runner, Send
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.plugins.kind import PluginKind, failure
from jobworkerp_standalone.runners.redaction import hide_named

_log = logging.getLogger(__name__)
_GRACE_SEC: Final = 5.0
"""How long a cancelled thread is waited for before it is left alone."""
T = TypeVar("T")


class Modules:
    """Imported plugins, each version once, under a name of its own."""

    def __init__(self, _host: Host) -> None:
        self._classes: dict[tuple[str, str], tuple[int, type]] = {}
        self._names: dict[str, tuple[int, str]] = {}
        self._importing = anyio.Lock()

    async def instance(self, kind: PluginKind) -> Instance:
        """Return a new instance; the module is imported in a thread if it was not yet.

        Raises:
            Fatal: it cannot be imported.
        """
        key = (kind.source.where, kind.class_name)
        async with self._importing:
            version, found = self._classes.get(key, (0, None))
            if found is None or version != kind.version:
                found = await anyio.to_thread.run_sync(self._import, kind)
                self._classes[key] = (kind.version, found)
        return Instance(found)

    def _import(self, kind: PluginKind) -> Any:
        where = kind.source.where
        version, name = self._names.get(where, (0, ""))
        if version != kind.version:
            if name:
                forget(name)
            name = f"_jobworkerp_plugin_{kind.version}"
        try:
            module = import_source(where, name) if version != kind.version else sys.modules[name]
            self._names[where] = (kind.version, name)
            return next(each for each in runners_of(module, kind.source.only) if each.__name__ == kind.class_name)
        except (PluginMistake, StopIteration) as error:
            raise Fatal(str(error) or f"{kind.source} has no class {kind.class_name} any more") from error


class AsyncRunner(Runner):
    """One instance of a plugin, on the daemon's loop."""

    def __init__(self, host: Host, kind: PluginKind) -> None:
        self._modules = host.shared(Modules)
        self._kind = kind
        self._instance: Instance | None = None

    async def load(self, settings: bytes) -> None:
        """Make the instance and hand it the worker's settings."""
        instance = self._instance = await self._modules.instance(self._kind)
        await self._guarded(_finished(instance.load(settings)))

    async def run(self, call: Call) -> bytes:
        """Run the coroutine."""
        return await self._work(call, _nothing, streaming=False)

    async def stream(self, call: Call, send: Send) -> None:
        """Run the generator and hand on each item."""
        await self._work(call, send, streaming=True)

    async def aclose(self) -> None:
        """Close the instance."""
        if self._instance is not None:
            await self._guarded(_finished(self._instance.close()))

    async def _work(self, call: Call, send: Send, *, streaming: bool) -> bytes:
        assert self._instance is not None, "it was loaded"
        job = Job(call.job_id, call.method, call.metadata)
        feed = call.feed if call.feed is not None else _empty()
        try:
            return await self._guarded(self._instance.acall(job, call.args, streaming=streaming, send=send, feed=feed))
        except asyncio.CancelledError:
            job.cancelled = True
            raise
        finally:
            call.trailer.update({str(key): str(value) for key, value in job.trailer.items()})

    async def _guarded(self, step: Awaitable[T]) -> T:
        try:
            return await step
        except JobError:
            raise
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # the last two would end the loop
            raise _translated(self._kind, error) from error


class ThreadRunner(Runner):
    """One instance of a plugin, whose functions run in threads of the daemon, one at a time."""

    def __init__(self, host: Host, kind: PluginKind) -> None:
        self._modules = host.shared(Modules)
        self._kind = kind
        self._instance: Instance | None = None
        self._stuck = False

    async def load(self, settings: bytes) -> None:
        """Make the instance and hand it the worker's settings."""
        instance = self._instance = await self._modules.instance(self._kind)
        await self._in_thread(lambda _bridge: instance.load(settings), None)

    async def run(self, call: Call) -> bytes:
        """Run the function."""
        return await self._work(call, _nothing, streaming=False)

    async def stream(self, call: Call, send: Send) -> None:
        """Run the generator and hand on each item."""
        await self._work(call, send, streaming=True)

    @property
    def reusable(self) -> bool:
        """Whether no thread still works on an earlier job."""
        return not self._stuck

    async def aclose(self) -> None:
        """Close the instance."""
        instance = self._instance
        if instance is not None and not self._stuck:
            await self._in_thread(lambda _bridge: instance.close(), None)

    async def _work(self, call: Call, send: Send, *, streaming: bool) -> bytes:
        instance = self._instance
        assert instance is not None, "it was loaded"
        job = Job(call.job_id, call.method, call.metadata)

        def work(bridge: _Bridge) -> bytes:
            return instance.call(
                job,
                call.args,
                streaming=streaming,
                send=lambda item: bridge.wait(_sent(send, item)),
                feed=bridge.items(call.feed),
            )

        try:
            return await self._in_thread(work, job)
        finally:
            call.trailer.update({str(key): str(value) for key, value in job.trailer.items()})

    async def _in_thread(self, work: Callable[[_Bridge], T], job: Job | None) -> T:
        bridge = _Bridge(asyncio.get_running_loop())
        outcome: Future[T] = Future()
        thread = threading.Thread(target=_run, args=(work, bridge, outcome), name=f"plugin {self._kind.name}")
        thread.daemon = True
        thread.start()
        waiting = asyncio.wrap_future(outcome)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if job is not None:
                job.cancelled = True
            await self._break_off(thread, bridge, waiting)
            raise
        except JobError:
            raise
        except Exception as error:
            raise _translated(self._kind, error) from error

    async def _break_off(self, thread: threading.Thread, bridge: _Bridge, waiting: asyncio.Future[Any]) -> None:
        """Have the thread raise, and wait for its end."""
        self._stuck = True
        with anyio.CancelScope(shield=True):
            bridge.cancel()
            _raise_in(thread)
            await asyncio.wait([waiting], timeout=_GRACE_SEC)
            if waiting.done():
                self._stuck = False
                if not waiting.cancelled():
                    waiting.exception()  # nobody else reads it
                return
        _log.error(
            "a thread of plugin %s does not end although its job was cancelled: it stays until the daemon ends "
            "(a plugin that blocks belongs into a process)",
            self._kind.name,
        )


class _Bridge:
    """What a thread needs of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: Future[Any] | None = None
        self._cancelled = False

    def wait(self, step: Coroutine[Any, Any, T]) -> T:
        """Run ``step`` on the loop and wait for it, in the thread."""
        if self._cancelled:
            step.close()
            raise JobCancelled
        self._pending = asyncio.run_coroutine_threadsafe(step, self._loop)
        try:
            return self._pending.result()
        except FutureCancelled:
            raise JobCancelled from None
        finally:
            self._pending = None

    def items(self, feed: AsyncIterator[bytes] | None) -> Iterator[bytes]:
        """Iterate over what the client streams in."""
        while feed is not None and (item := self.wait(_next(feed))) is not None:
            yield item

    def cancel(self) -> None:
        """Wait no longer."""
        self._cancelled = True
        if self._pending is not None:
            self._pending.cancel()


def _run(work: Callable[[_Bridge], T], bridge: _Bridge, outcome: Future[T]) -> None:
    try:
        try:
            outcome.set_result(work(bridge))
        except Exception as error:
            outcome.set_exception(error)
    except BaseException as error:  # also when the exception that was thrown in comes late
        if not outcome.done():
            outcome.set_exception(RuntimeError(f"the plugin raised {type(error).__name__}"))


def _raise_in(thread: threading.Thread) -> None:
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(JobCancelled))


def _translated(kind: PluginKind, error: BaseException) -> JobError:
    if isinstance(error, Failure):
        return failure(error.kind, str(error))
    _log.warning("plugin %s: %s", kind.name, hide_named("".join(traceback.format_exception(error)).rstrip()))
    return BadInput(complaint(error, kind.source.where))


async def _finished(step: Awaitable[Any] | None) -> None:
    if step is not None:
        await step


async def _sent(send: Send, item: bytes) -> None:
    await send(item)


async def _next(feed: AsyncIterator[bytes]) -> bytes | None:
    return await anext(feed, None)


async def _nothing(item: bytes) -> None:
    """Nobody wants items."""


async def _empty() -> AsyncIterator[bytes]:
    return
    yield b""
