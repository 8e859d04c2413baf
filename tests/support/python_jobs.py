"""PYTHON_COMMAND as tests use it: a daemon with a cache of environments, workers and scripts."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uv

from tests.support.house import STATUS, House, eventually, open_house
from tests.support.patience import PATIENCE_SEC
from tests.support.processes import guards
from tests.support.wire_client import build

PYTHON = 6
UNREACHABLE = "http://127.0.0.1:9/simple"


@dataclass
class Ended:
    """How a job ended; ``result`` where it succeeded, ``text`` where it failed."""

    status: int
    result: Any
    text: str

    def ok(self) -> Any:
        assert self.status == STATUS["SUCCESS"], self.text
        return self.result

    def failed(self, status: str, *words: str) -> str:
        assert self.status == STATUS[status], self.text or self.result
        for word in words:
            assert word in self.text, f"{word!r} is not in {self.text!r}"
        return self.text


@dataclass
class PythonHouse:
    """A daemon, and where its environments are."""

    house: House
    cache: Path
    made: list[int] = field(default_factory=list[int])

    async def worker(
        self, name: str = "py", *, static: bool = False, packages: list[str] | None = None, **settings: Any
    ) -> int:
        """Create a DIRECT worker and return its id."""
        if packages is not None:
            settings["packages"] = {"list": packages}
        data = build("jobworkerp.runner.PythonCommandRunnerSettings", **settings).SerializeToString()
        worker = await self.house.worker(name, runner=PYTHON, response_type=1, use_static=static, runner_settings=data)
        self.made.append(worker)
        return worker

    async def clear(self) -> None:
        """Delete the workers that were made, and see that no process and no file is left of their jobs."""
        while self.made:
            await self.house.client.call("WorkerService.Delete", value=self.made.pop())
        await eventually(lambda: descendants() == set())
        await eventually(lambda: self.leftovers() == [])

    async def run(self, script: str = "", worker: str = "py", *, timeout: int = 0, **args: Any) -> Ended:
        """Run a script to its end."""
        reply = await self.house.enqueue(arguments(script, **args), worker=worker, timeout=timeout)
        return ended(reply.result.data)

    async def printed(self, script: str, worker: str = "py", **args: Any) -> str:
        """Return what a script that must succeed prints."""
        result = (await self.run(script, worker, with_stderr=True, **args)).ok()
        assert result.exit_code == 0, result.output_stderr
        return result.output

    async def start(self, script: str, worker: str = "py", **args: Any) -> int:
        """Enqueue a job without waiting for it; return its id."""
        reply = await self.house.enqueue(arguments(script, **args), worker=worker, overrides={"response_type": 0})
        return reply.id.value

    async def items(self, script: str, worker: str = "py", **args: Any) -> AsyncIterator[Any]:
        """Yield the items of a stream as they come."""
        async with self.house.client.open("JobService.EnqueueForStream") as stream:
            request = build("jobworkerp.service.JobRequest", worker_name=worker, args=arguments(script, **args))
            await stream.send_message(request.SerializeToString(), end=True)
            while (data := await stream.recv_message()) is not None:
                item = self.house.client.reply("JobService.EnqueueForStream", data)
                if item.HasField("data"):
                    result = build("jobworkerp.runner.PythonCommandResult")
                    result.ParseFromString(item.data)
                    yield result

    def environments(self) -> list[Path]:
        """Return the environments that are there."""
        return sorted((self.cache / "environments").glob("*"))

    def leftovers(self) -> list[Path]:
        """Return what building and running jobs have on disk; a warm interpreter keeps an empty folder."""
        jobs = [path for path in self.cache.glob("jobs/*/*") if path.is_dir() and any(path.iterdir())]
        return [*self.cache.glob("building/*"), *jobs]


@dataclass
class CountingUv:
    """A uv that writes down each start, and waits as long as ``hold``, or ``hold-`` with its verb, is there."""

    folder: Path

    @property
    def path(self) -> str:
        return str(self.folder / "uv")

    @property
    def hold(self) -> Path:
        return self.folder / "hold"

    def make(self) -> CountingUv:
        self.folder.mkdir()
        (self.folder / "uv").write_text(
            f'#!/bin/sh\necho "$1 $$" >> {self.folder}/starts\n'
            f'while [ -e {self.hold} ] || [ -e {self.hold}-$1 ]; do sleep 0.02; done\nexec {uv.find_uv_bin()} "$@"\n'
        )
        (self.folder / "uv").chmod(0o755)
        return self

    def holds(self, verb: str) -> Path:
        """Return the file that has it wait before one of the things it does."""
        return self.folder / f"hold-{verb}"

    def starts(self, verb: str = "") -> list[int]:
        """Return the process ids of the starts so far, of those with ``verb``."""
        log = self.folder / "starts"
        lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
        return [int(line[1]) for line in lines if len(line) == 2 and line[0].startswith(verb)]


def arguments(script: str, **args: Any) -> bytes:
    """Return the args of a job."""
    if "script_url" not in args:
        args["script_content"] = script
    return build("jobworkerp.runner.PythonCommandArgs", **args).SerializeToString()


def ended(data: Any) -> Ended:
    """Read the result data of a job."""
    if data.status != STATUS["SUCCESS"]:
        return Ended(data.status, None, data.output.items.decode())
    result = build("jobworkerp.runner.PythonCommandResult")
    result.ParseFromString(data.output.items)
    return Ended(data.status, result, "")


@asynccontextmanager
async def open_python_house(folder: Path, cache: Path, **environment: Any) -> AsyncIterator[PythonHouse]:
    """Start a daemon whose environments are in ``cache``."""
    async with open_house(folder, PYTHON_CACHE_DIR=str(cache), **environment) as house:
        yield PythonHouse(house, cache)


def need_registry(folder: Path) -> None:
    """Skip, loudly, where no package can be had."""
    made = subprocess.run(
        [uv.find_uv_bin(), "pip", "install", "--target", str(folder), "--no-deps", "six==1.17.0"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        pytest.skip(f"NO PACKAGE REGISTRY CAN BE REACHED, environments with packages are not tested: {made.stderr}")


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def descendants() -> set[int]:
    """Return all processes below this one but its guard."""
    found: set[int] = set()
    pending = [os.getpid()]
    while pending:
        for task in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            try:
                children = {int(pid) for pid in task.read_text().split()} - found
            except OSError:
                continue
            found |= children
            pending.extend(children)
    guarding = {each.pid for each in guards(os.getpid())}
    return {pid for pid in found - guarding if alive(pid)}


async def written(path: Path, seconds: float = PATIENCE_SEC) -> str:
    """Wait until a file is there and not empty; return what is in it."""
    async with asyncio.timeout(seconds):
        while not (text := content(path)):  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.002)
    return text


def content(path: Path) -> str:
    """Return what is in a file; nothing if there is none."""
    return path.read_text() if path.exists() else ""
