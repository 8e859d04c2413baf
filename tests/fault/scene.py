"""A stage for faults: a real daemon that is stopped and killed, and commands that leave a trace of every run."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from tests.support.patience import PATIENCE_SEC
from tests.support.processes import DaemonProcess
from tests.support.wire_client import WITHIN_SEC, WireClient, build, connect

COMMAND = 1
NORMAL, WITH_BACKUP, DB_ONLY = range(3)
NO_RESULT, DIRECT = range(2)
SUCCESS, ERROR_AND_RETRY, FATAL_ERROR, MAX_RETRY, OTHER_ERROR, CANCELLED = 0, 1, 2, 4, 5, 6
CONSTANT = 3
PENDING, RUNNING = 1, 2
DURABLE = {"backup": WITH_BACKUP, "row": DB_ONLY}
QUEUE_TYPES = {"normal": NORMAL, **DURABLE}


async def until(condition: Callable[[], Any], what: str = "what the test waits for") -> None:
    """Wait until other processes have got somewhere."""
    with anyio.move_on_after(PATIENCE_SEC):
        while not condition():  # noqa: ASYNC110 - other processes set no events here
            await anyio.sleep(0.01)
        return
    raise AssertionError(f"{what} did not come true")


def command(script: str) -> bytes:
    """Return the args of a COMMAND job that runs a shell script."""
    words = {"command": "sh", "args": ["-c", script], "treat_nonzero_as_error": True}
    return build("jobworkerp.runner.CommandArgs", **words).SerializeToString()


class Traces:
    """Files in which commands append a line for each run: whatever process dies, what was written stays."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def mark(self, number: int) -> str:
        """Return a script that leaves its number."""
        return f"echo {number} >> {self.folder}/ran"

    def hold(self, number: int, then: str = "") -> str:
        """Return a script that leaves its number when it starts, and again when it may end (``gate``)."""
        return (
            f"echo {number} >> {self.folder}/started; [ -e {self.folder}/open ] || read line < {self.folder}/gate; "
            f"{then or self.mark(number)}"
        )

    @property
    def ran(self) -> Counter[int]:
        """How often each number was left at an end."""
        return self._read("ran")

    @property
    def started(self) -> Counter[int]:
        """How often each number was left at a start."""
        return self._read("started")

    @contextmanager
    def gate(self) -> Iterator[Callable[[], None]]:
        """Keep all who hold; hand out what lets them go, now and from now on."""
        os.mkfifo(self.folder / "gate")
        keeping = os.open(self.folder / "gate", os.O_RDWR | os.O_CLOEXEC)
        open_now = [keeping]

        def let_go() -> None:
            (self.folder / "open").touch()
            while open_now:
                os.close(open_now.pop())

        try:
            yield let_go
        finally:
            let_go()

    def processes(self) -> list[psutil.Process]:
        """Return the processes whose command line names this folder: commands that are still there."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                if any(str(self.folder) in word for word in process.cmdline()) and process.pid != os.getpid():
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def text(self, name: str) -> str:
        """Return what was written into a file of that name so far."""
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def _read(self, name: str) -> Counter[int]:
        return Counter(map(int, self.text(name).split()))


class Client:
    """The few calls that these tests make."""

    def __init__(self, wire: WireClient) -> None:
        self.wire = wire

    async def worker(self, name: str, **fields: Any) -> int:
        """Create a COMMAND worker."""
        return (
            await self.wire.call("WorkerService.Create", name=name, runner_id={"value": COMMAND}, **fields)
        ).id.value

    async def workers(self, **fields: Any) -> None:
        """Create a COMMAND worker for each queue type: normal, backup, row."""
        for name, queue_type in QUEUE_TYPES.items():
            await self.worker(name, queue_type=queue_type, **fields)

    async def enqueue(self, worker: str, script: str, **fields: Any) -> Any:
        """Enqueue a shell script, which fails with its exit code; the whole reply."""
        fields = {"worker_name": worker, "args": command(script), **fields}
        return await self.wire.call("JobService.Enqueue", within=WITHIN_SEC, **fields)

    async def direct(self, worker: str, script: str, **fields: Any) -> Any:
        """Enqueue a shell script and wait for its result; the status of the call where there is none."""
        try:
            reply = await self.enqueue(worker, script, overrides={"response_type": DIRECT}, **fields)
        except GRPCError as error:
            return error.status
        return reply.result.data

    async def stream(self, worker: str, script: str) -> Any:
        """Enqueue a shell script and read its output to the end; how the call ended."""
        fields = {"worker_name": worker, "args": command(script), "overrides": {"response_type": DIRECT}}
        try:
            await self.wire.items("JobService.EnqueueForStream", within=WITHIN_SEC, **fields)
        except GRPCError as error:
            return error.status
        return Status.OK

    async def live(self, status: int = 0) -> int:
        """Return how many jobs are in a state, or in any."""
        return (await self.wire.call("JobProcessingStatusService.CountByCondition", status=status)).total

    async def until_live(self, status: int, count: int) -> None:
        """Wait until as many jobs are in a state."""
        with anyio.fail_after(PATIENCE_SEC):
            while await self.live(status) != count:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.01)

    async def until_idle(self, within: float = PATIENCE_SEC) -> None:
        """Wait until no job is left, in memory or in a row."""
        with anyio.fail_after(within):
            while await self.live() > 0:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.01)

    async def results(self, job_id: int) -> list[Any]:
        """Return the stored results of a job, newest first."""
        return (await self.wire.items("JobResultService.FindListByJobId", job_id={"value": job_id})).items


class NotStarted(Exception):
    """The daemon was dead before it was ready."""


@asynccontextmanager
async def daemon(folder: Path, **settings: str) -> AsyncIterator[tuple[DaemonProcess, Client]]:
    """Start a daemon on the database of ``folder`` and connect to it; killed at the end if it still runs."""
    try:
        process = DaemonProcess(folder, **settings)
    except AssertionError as error:
        raise NotStarted(str(error)) from error
    try:
        async with connect(process.host, process.port) as wire:
            yield process, Client(wire)
    finally:
        process.kill()


async def until_logged(process: DaemonProcess, text: str, times: int = 1) -> None:
    """Wait until the daemon has said something."""
    await until(lambda: sum(text in line for line in process.lines) >= times, f"{text!r} in the log")


async def ended(process: DaemonProcess) -> int:
    """Wait for the end of a daemon; its exit code."""
    return await anyio.to_thread.run_sync(process.wait)


def query(folder: Path, statement: str) -> list[Any]:
    """Ask the database itself for one column."""
    with closing(sqlite3.connect(folder / "jobs.sqlite3")) as connection:
        return [value for (value,) in connection.execute(statement)]


def rows(folder: Path, columns: str) -> list[Any]:
    """Read the job table of a database that no daemon uses."""
    with closing(sqlite3.connect(folder / "jobs.sqlite3")) as connection:
        return connection.execute(f"SELECT {columns} FROM job ORDER BY id").fetchall()
