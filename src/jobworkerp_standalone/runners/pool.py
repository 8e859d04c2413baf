"""Instances of runners: a fresh one per job, or warm ones that stay loaded for a static worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from jobworkerp_standalone.jobs.errors import Fatal, JobError
from jobworkerp_standalone.jobs.model import Worker
from jobworkerp_standalone.runners.base import Runner
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.spec import RunnerSpec

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Warm:
    """Idle instances of one worker definition. ``worker`` and ``spec`` are the values they were loaded for."""

    worker: Worker
    spec: RunnerSpec
    idle: list[Runner] = field(default_factory=list[Runner])

    def fits(self, worker: Worker, spec: RunnerSpec) -> bool:
        """Whether they may serve this very definition of the worker and of its runner."""
        return self.worker is worker and self.spec is spec


class RunnerPool:
    """Lends runners. The slots of a worker's channel bound how many are lent at once."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._warm: dict[int, _Warm] = {}
        self._prepared: set[Callable[[], object]] = set()

    @asynccontextmanager
    async def lend(self, worker: Worker, spec: RunnerSpec) -> AsyncIterator[Runner]:
        """Lend a loaded runner for one job.

        Raises:
            Fatal: it could not be made or loaded.
        """
        runner = self._take_idle(worker, spec) or await self._fresh(worker, spec)
        try:
            yield runner
        finally:
            await self._give_back(worker, spec, runner)

    def tidy(self, specs: Iterable[RunnerSpec]) -> None:
        """Begin to remove what a daemon that died left behind, of the kinds that are used here."""
        for spec in specs:
            if spec.tidy is not None:
                self.host.start_soon(spec.tidy, self.host)

    async def release(self, worker_id: int) -> None:
        """Close a worker's idle instances; those lent out are closed when their job ends."""
        warm = self._warm.pop(worker_id, None)
        if warm is not None:
            await _close_all(warm.idle)

    async def aclose(self) -> None:
        """Close everything that is idle, then what runners shared."""
        for worker_id in list(self._warm):
            await self.release(worker_id)
        await self.host.aclose()

    def _take_idle(self, worker: Worker, spec: RunnerSpec) -> Runner | None:
        if not worker.use_static:
            return None
        warm = self._warm.get(worker.id)
        if warm is None or not warm.fits(worker, spec):
            self._warm[worker.id] = _Warm(worker, spec)
            return None
        return warm.idle.pop() if warm.idle else None

    async def _fresh(self, worker: Worker, spec: RunnerSpec) -> Runner:
        if spec.make is None:
            raise Fatal(f"runner {spec.name} is {spec.not_built or 'not available in this version'}")
        runner: Runner | None = None
        try:
            if spec.prepare is not None and spec.prepare not in self._prepared:
                await anyio.to_thread.run_sync(spec.prepare)
                self._prepared.add(spec.prepare)
            runner = spec.make(self.host)
            runner.kept = worker.use_static
            await runner.load(worker.runner_settings)
        except JobError as error:
            await _close(runner)
            raise Fatal(f"runner {spec.name} of worker {worker.name!r} could not be loaded: {error}") from error
        except Exception as error:
            await _close(runner)
            _log.exception("runner %s of worker %r could not be loaded", spec.name, worker.name)
            raise Fatal(
                f"runner {spec.name} of worker {worker.name!r} could not be loaded: {type(error).__name__}: {error}"
            ) from error
        except BaseException:
            await _close(runner)
            raise
        return runner

    async def _give_back(self, worker: Worker, spec: RunnerSpec, runner: Runner) -> None:
        warm = self._warm.get(worker.id)
        if worker.use_static and warm is not None and warm.fits(worker, spec) and runner.reusable:
            warm.idle.append(runner)
        else:
            await _close(runner)


async def _close_all(runners: list[Runner]) -> None:
    for runner in runners:
        await _close(runner)


async def _close(runner: Runner | None) -> None:
    if runner is None:
        return
    with anyio.CancelScope(shield=True):
        try:
            await runner.aclose()
        except Exception:
            _log.exception("closing %s failed", type(runner).__name__)
