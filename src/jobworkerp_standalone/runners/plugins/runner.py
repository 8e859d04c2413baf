"""A runner that works in a process of its own: it may crash, block and leak."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import suppress

from jobworkerp_standalone.jobs.errors import Fatal, JobError, Retryable
from jobworkerp_standalone.plugin import channel as frames
from jobworkerp_standalone.runners.base import Call, Runner, Send
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.plugins.kind import PluginKind, failure
from jobworkerp_standalone.runners.plugins.process import ProcessGone, WorkerProcess
from jobworkerp_standalone.runners.redaction import hide_named

_log = logging.getLogger(__name__)


class ProcessRunner(Runner):
    """One instance of a plugin, in one process. A process that ended between two jobs is replaced."""

    def __init__(self, host: Host, kind: PluginKind) -> None:
        self._host = host
        self._kind = kind
        self._settings = b""
        self._process: WorkerProcess | None = None
        self._jobs = 0

    async def load(self, settings: bytes) -> None:
        """Start the process and hand it the worker's settings."""
        self._settings = settings
        self._process = await self._start()

    async def run(self, call: Call) -> bytes:
        """Have the process run it."""
        return await self._work(call, None)

    async def stream(self, call: Call, send: Send) -> None:
        """Have the process run it, and hand on each item."""
        await self._work(call, send)

    @property
    def reusable(self) -> bool:
        """Whether the process is alive, not too old and not too large."""
        process = self._process
        return (
            process is not None
            and process.alive
            and self._jobs < self._kind.max_jobs
            and process.rss <= self._kind.max_rss
        )

    async def aclose(self) -> None:
        """Let the process close what it has."""
        if self._process is not None:
            await self._process.aclose()

    async def _start(self) -> WorkerProcess:
        kind = self._kind
        process = await WorkerProcess.start(self._host, kind.source, kind.name, kind.max_rss)
        try:
            wanted = {"source": kind.source.where, "only": kind.source.only, "class": kind.class_name}
            await process.send_json(frames.LOAD, wanted)
            self._check_unchanged(json.loads(await answer_of(process, frames.DESCRIBED)))
            await process.send(frames.SETTINGS, self._settings)
            await answer_of(process, frames.READY)
        except ProcessGone as gone:
            raise Retryable(f"the process of plugin {kind.name} ended while it was loaded: {gone}") from gone
        except BaseException:
            await process.stop()
            raise
        return process

    def _check_unchanged(self, classes: list[dict[str, object]]) -> None:
        if self._kind.described not in classes:
            raise Fatal(
                f"plugin {self._kind.source} has changed since it was loaded, and takes or gives something else now: "
                "start the daemon again, or set PLUGINS_RELOAD=true"
            )

    async def _work(self, call: Call, send: Send | None) -> bytes:
        if self._process is None or not self._process.alive:
            self._process = await self._start()
        process = self._process
        self._jobs += 1
        ended = False
        try:
            head = {
                "id": call.job_id,
                "method": call.method,
                "metadata": dict(call.metadata),
                "streaming": send is not None,
            }
            await process.send_json(frames.JOB, head)
            await process.send(frames.ARGS, call.args)
            result = await self._converse(process, call, send)
            ended = True
            return result
        except ProcessGone as gone:
            raise Retryable(f"the process of plugin {self._kind.name} ended in the middle of the job: {gone}") from gone
        except _Answered as answer:
            ended = True
            raise answer.error from None
        finally:
            if not ended:
                await process.stop()
                call.last_words = process.last_words

    async def _converse(self, process: WorkerProcess, call: Call, send: Send | None) -> bytes:
        while True:
            kind, data = await process.receive()
            if kind == frames.ITEM and send is not None:
                await send(data)
            elif kind == frames.WANT:
                await _feed(process, call.feed)
            elif kind == frames.TRAILER:
                call.trailer.update(json.loads(data))
            elif kind == frames.DONE:
                return data
            elif kind == frames.FAILED:
                raise _Answered(_failure_of(self._kind.name, data))


class _Answered(Exception):
    """The process lives on; the job failed."""

    def __init__(self, error: JobError) -> None:
        super().__init__(str(error))
        self.error = error


async def _feed(process: WorkerProcess, feed: AsyncIterator[bytes] | None) -> None:
    item = await anext(feed, None) if feed is not None else None
    with suppress(ProcessGone):  # which the next frame shows
        await process.send(frames.FEED_END if item is None else frames.FED, item or b"")


async def answer_of(process: WorkerProcess, wanted: bytes) -> bytes:
    """Return the data of the next frame, which is the wanted one.

    Raises:
        JobError: the plugin failed instead.
    """
    kind, data = await process.receive()
    if kind == frames.FAILED:
        raise _failure_of("", data)
    if kind != wanted:
        raise Fatal(f"the process of the plugin answered {kind!r} instead of {wanted!r}")
    return data


def _failure_of(name: str, data: bytes) -> JobError:
    told = json.loads(data)
    if told["traceback"]:
        _log.warning("plugin %s: %s", name, hide_named(told["traceback"].rstrip()))
    return failure(told["kind"], told["text"])
