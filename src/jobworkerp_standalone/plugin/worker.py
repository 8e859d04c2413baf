"""The program of a worker process: imports one plugin and runs its jobs one after another.

It is started by path, with any interpreter, and speaks over descriptor 3; what the plugin prints goes to the daemon's
log. The end of the channel ends it. SIGTERM breaks the job off that is running.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final


def _find_package() -> None:
    """Make this package importable, without what lies beside it."""
    folder = Path(__file__).resolve().parents[1]
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None, "a file that is there"
    assert spec.loader is not None, "a Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[folder.name] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    _find_package()

from jobworkerp_standalone.plugin import channel as frames  # noqa: E402 - found only now
from jobworkerp_standalone.plugin.base import Job  # noqa: E402
from jobworkerp_standalone.plugin.calls import Instance  # noqa: E402
from jobworkerp_standalone.plugin.describe import plan_of  # noqa: E402
from jobworkerp_standalone.plugin.errors import Failure, JobCancelled, PluginMistake  # noqa: E402
from jobworkerp_standalone.plugin.source import complaint, import_source, runners_of  # noqa: E402

if TYPE_CHECKING:
    import asyncio

    from jobworkerp_standalone.plugin.base import Runner

_CHANNEL_FD: Final = 3
_CANCELLED: Final = 143
_GRACE_SEC: Final = 2.0
"""How long a plugin may clean up once nobody is there any more. The daemon's guard waits no longer either."""


class Worker:
    """The process at work. Only a plugin with coroutines makes it import asyncio, the largest part of its start."""

    def __init__(self, channel: frames.Channel) -> None:
        self._channel = channel
        self._source = ""
        self._instance: Instance | None = None
        self._job: Job | None = None
        self._task: asyncio.Task[Any] | None = None
        self._alone = False
        self._daemon = os.getppid()
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=self._end_with_daemon, daemon=True).start()

    @cached_property
    def _loop(self) -> asyncio.Runner:
        from asyncio import Runner as Loop  # noqa: PLC0415 - see above

        return Loop()

    def run(self) -> None:
        """Do what the daemon asks until it hangs up."""
        actions: dict[bytes, Callable[[bytes], None]] = {
            frames.LOAD: self._load,
            frames.SETTINGS: self._set_up,
            frames.JOB: self._do,
        }
        try:
            while True:
                kind, data = self._channel.receive()
                self._guarded(actions[kind], data)
        except (EOFError, ConnectionError):
            self._close()

    def _guarded(self, action: Callable[[bytes], None], data: bytes) -> None:
        try:
            action(data)
        except Failure as error:
            self._fail(error.kind, str(error))
        except PluginMistake as error:
            self._fail("fatal", str(error))
        except BaseException as error:
            if not _is_cancellation(error):
                self._fail("bad_input", complaint(error, self._source), traceback.format_exc())
            elif self._job is None or not self._job.cancelled:
                self._fail("bad_input", "something that the runner waited for was cancelled")
            else:
                with contextlib.suppress(BaseException):
                    self._close()
                if self._alone:
                    os.killpg(0, signal.SIGKILL)
                os._exit(_CANCELLED)

    def _load(self, data: bytes) -> None:
        wanted = json.loads(data)
        self._source = wanted["source"]
        module = import_source(self._source)
        classes = runners_of(module, wanted["only"])
        if wanted["class"]:
            runner: type[Runner] = next(each for each in classes if each.__name__ == wanted["class"])
            self._instance = Instance(runner)
        described = [{"class": each.__name__, **_limits(each), **plan_of(each).public()} for each in classes]
        self._channel.send(frames.DESCRIBED, json.dumps(described).encode())

    def _set_up(self, settings: bytes) -> None:
        assert self._instance is not None, "SETTINGS comes after LOAD"
        self._await(self._instance.load(settings))
        self._channel.send(frames.READY)

    def _do(self, data: bytes) -> None:
        assert self._instance is not None, "JOB comes after LOAD"
        asked = json.loads(data)
        _, args = self._channel.receive()
        job = self._job = Job(asked["id"], asked["method"], asked["metadata"])
        streaming = asked["streaming"]
        if self._instance.on_loop(job.method, streaming=streaming):
            result = self._loop.run(self._on_loop(self._instance, job, args, streaming=streaming))
        else:
            result = self._instance.call(job, args, streaming=streaming, send=self._send_item, feed=self._feed())
        self._job = None
        if job.trailer:
            self._channel.send(frames.TRAILER, json.dumps({str(k): str(v) for k, v in job.trailer.items()}).encode())
        self._channel.send(frames.DONE, b"" if streaming else result)

    async def _on_loop(self, instance: Instance, job: Job, args: bytes, *, streaming: bool) -> bytes:
        from asyncio import CancelledError, current_task  # noqa: PLC0415 - there is a loop, so they are there

        self._task = current_task()
        if job.cancelled:
            raise CancelledError
        try:
            return await instance.acall(job, args, streaming=streaming, send=self._asend_item, feed=self._afeed())
        finally:
            self._task = None

    def _on_term(self, _number: int, _frame: object) -> None:
        job = self._job
        if job is None:
            if self._channel.hung_up() or os.getppid() != self._daemon:
                return  # it closes what it has, or is about to
            os._exit(_CANCELLED)
        if job.cancelled:
            return  # it cleans up
        job.cancelled = True
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)
        else:
            raise JobCancelled

    def _end_with_daemon(self) -> None:
        """Do not outlive the daemon, whatever the plugin does."""
        self._channel.wait_for_hang_up()
        self._alone = True
        if self._job is not None:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE_SEC)
        os.killpg(0, signal.SIGKILL)

    def _send_item(self, item: bytes) -> None:
        self._channel.send(frames.ITEM, item)

    async def _asend_item(self, item: bytes) -> None:
        rest = self._channel.begin(frames.ITEM, item)
        if rest:
            from asyncio import to_thread  # noqa: PLC0415 - there is a loop, so it is there

            await to_thread(self._channel.finish, rest)

    def _next_fed(self) -> bytes | None:
        self._channel.send(frames.WANT)
        kind, data = self._channel.receive()
        return data if kind == frames.FED else None

    def _feed(self) -> Iterator[bytes]:
        while (item := self._next_fed()) is not None:
            yield item

    async def _afeed(self) -> AsyncIterator[bytes]:
        from asyncio import to_thread  # noqa: PLC0415 - there is a loop, so it is there

        while (item := await to_thread(self._next_fed)) is not None:
            yield item

    def _await(self, step: Awaitable[Any] | None) -> None:
        if step is not None:
            self._loop.run(_finish(step))

    def _fail(self, kind: str, text: str, trace: str = "") -> None:
        self._job = None
        self._channel.send(frames.FAILED, json.dumps({"kind": kind, "text": text, "traceback": trace}).encode())

    def _close(self) -> None:
        if self._instance is not None:
            self._await(self._instance.close())
        if "_loop" in vars(self):
            self._loop.close()


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is what a cancelled job raises. Nobody raises asyncio's where that was not imported."""
    loops = sys.modules.get("asyncio")
    return isinstance(error, JobCancelled if loops is None else (JobCancelled, loops.CancelledError))


def _end_session(leader: int) -> None:
    """Leave no process behind that a plugin started: the daemon may not be there to end it."""
    if os.getpid() == leader:
        os.killpg(0, signal.SIGKILL)


async def _finish(step: Awaitable[Any]) -> Any:
    return await step


def _limits(runner: type[Runner]) -> dict[str, int]:
    return {"max_jobs": runner.max_jobs, "max_rss_mb": runner.max_rss_mb}


if __name__ == "__main__":
    os.set_inheritable(_CHANNEL_FD, False)
    atexit.register(_end_session, os.getpid())  # the first that is registered is the last that runs
    Worker(frames.Channel(_CHANNEL_FD)).run()
