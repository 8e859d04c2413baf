"""The two ways to run a script: with an interpreter of its own, or with a warm one (`interpreter`)."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import anyio.to_thread

from jobworkerp_standalone.jobs.errors import Retryable
from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.runners.process import Child, Exit, Program, launch
from jobworkerp_standalone.runners.python.order import Task

SCRIPT_NAME: Final = "script.py"
INPUT_NAME: Final = "input.bin"


@dataclass(slots=True)
class Running:
    """A script that runs. Its output is read from ``child``; ``end`` waits for its end, once all is read."""

    child: Child
    end: Callable[[], Awaitable[Exit]]
    began_ns: int = field(default_factory=time.monotonic_ns)

    @property
    def elapsed_ms(self) -> int:
        """How long it has been running."""
        return (time.monotonic_ns() - self.began_ns) // 1_000_000


class Way(Protocol):
    """Runs scripts."""

    def start(self, task: Task) -> AbstractAsyncContextManager[Running]:
        """Start a script; leaving by an exception stops it and all that it started."""
        ...


class JobFolders(Protocol):
    """Where jobs may make folders."""

    async def next(self) -> str:
        """Return the path of a folder for one job, which is not there yet."""
        ...

    def remove(self, folder: str) -> None:
        """Have a folder removed soon. Nobody waits for it: on some file systems it takes milliseconds."""
        ...


@dataclass(frozen=True, slots=True)
class OneShot:
    """Starts a new interpreter for each script."""

    python: str
    environment: ChildEnvironment
    jobs: JobFolders

    @asynccontextmanager
    async def start(self, task: Task) -> AsyncIterator[Running]:
        """Lay script and data out in a new folder, which is removed at the end, and run it there."""
        folder = await self.jobs.next()
        try:
            try:
                paths = await anyio.to_thread.run_sync(_lay_out, folder, task)
            except OSError as error:
                raise Retryable(f"the folder of the job could not be made: {error.strerror}") from error
            argv = tuple(os.fsencode(word) for word in (self.python, "-u", *paths))
            program = Program(argv, self.environment.with_variables(task.variables))
            async with await launch(program) as child:
                yield Running(child, child.wait)
        finally:
            self.jobs.remove(folder)


def _lay_out(folder: str, task: Task) -> list[str]:
    os.mkdir(folder, 0o700)
    files = {SCRIPT_NAME: task.script}
    if task.data is not None:
        files[INPUT_NAME] = task.data
    for name, content in files.items():
        with open(f"{folder}/{name}", "xb", buffering=0) as file:
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
    return [f"{folder}/{name}" for name in files]
