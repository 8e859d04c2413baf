"""The workers and runners of a server."""

from __future__ import annotations

from jobworkerp_standalone.client.errors import NoSuch
from jobworkerp_standalone.pb.jobworkerp.data import Runner, RunnerId, Worker, WorkerId
from jobworkerp_standalone.pb.jobworkerp.service import (
    RunnerNameRequest,
    RunnerServiceStub,
    WorkerNameRequest,
    WorkerServiceStub,
)


class Schemas:
    """Looks up workers and runners, each once."""

    def __init__(self, runners: RunnerServiceStub, workers: WorkerServiceStub) -> None:
        self._runners = runners
        self._workers = workers
        self._known_runners: dict[int | str, Runner | None] = {}
        self._known_workers: dict[int | str, Worker | None] = {}

    async def find_worker(self, worker: int | str) -> Worker | None:
        """Return a worker by id or name."""
        if worker not in self._known_workers:
            if isinstance(worker, int):
                reply = await self._workers.find(WorkerId(value=worker))
            else:
                reply = await self._workers.find_by_name(WorkerNameRequest(name=worker))
            self._known_workers[worker] = reply.data
        return self._known_workers[worker]

    async def find_runner(self, runner: int | str) -> Runner | None:
        """Return a runner by id or name."""
        if runner not in self._known_runners:
            if isinstance(runner, int):
                reply = await self._runners.find(RunnerId(value=runner))
            else:
                reply = await self._runners.find_by_name(RunnerNameRequest(name=runner))
            self._known_runners[runner] = reply.data
        return self._known_runners[runner]

    async def worker(self, worker: int | str) -> Worker:
        """Return a worker by id or name.

        Raises:
            NoSuch: there is none.
        """
        found = await self.find_worker(worker)
        if found is None:
            raise NoSuch(f"worker {_shown(worker)} does not exist; 'worker list' shows those that do")
        return found

    async def runner(self, runner: int | str) -> Runner:
        """Return a runner by id or name.

        Raises:
            NoSuch: there is none.
        """
        found = await self.find_runner(runner)
        if found is None:
            raise NoSuch(f"runner {_shown(runner)} does not exist; 'runner list' shows those that do")
        return found

    async def runner_of(self, worker: Worker | None) -> Runner | None:
        """Return the runner of a worker, where both are still there."""
        if worker is None or worker.data is None or worker.data.runner_id is None:
            return None
        return await self.find_runner(worker.data.runner_id.value)


def _shown(key: int | str) -> str:
    return str(key) if isinstance(key, int) else repr(key)
