"""Runner kinds by id and name: those that are there, and those that are away for the moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from jobworkerp_standalone.jobs.errors import InvalidRequest, NotBuilt, RequestError, Unavailable
from jobworkerp_standalone.jobs.model import Worker
from jobworkerp_standalone.runners.spec import RunnerSpec


class Kinds:
    """What this process can run.

    A kind that came at run time is **away** while its file cannot be loaded or its server cannot be reached: its id
    and its workers stay, and its jobs may be tried again later.
    """

    def __init__(self, built_in: Sequence[RunnerSpec]) -> None:
        self._specs = {spec.id: spec for spec in built_in}
        self._names = {spec.name: spec for spec in built_in}
        self._away: dict[int, str] = {}
        self._settled = False
        self._changed = asyncio.Event()

    def get(self, runner_id: int) -> RunnerSpec | None:
        """Return the kind with this id, if it is there."""
        return self._specs.get(runner_id)

    def by_name(self, name: str) -> RunnerSpec | None:
        """Return the kind of this name, if it is there."""
        return self._names.get(name)

    def all(self) -> list[RunnerSpec]:
        """Return every kind that is there."""
        return list(self._specs.values())

    async def when_there(self, runner_id: int) -> RunnerSpec | None:
        """Return the kind with this id; while the daemon still starts, wait for one that is away."""
        while (spec := self.get(runner_id)) is None and self.is_away(runner_id) and not self._settled:
            await self._changed.wait()
        return spec

    def settle(self) -> None:
        """What is still away now is not waited for any longer."""
        self._settled = True
        self._wake()

    def put(self, spec: RunnerSpec) -> None:
        """Make a kind known, or replace the one with this id."""
        self._away.pop(spec.id, None)
        self._specs[spec.id] = self._names[spec.name] = spec
        self._wake()

    def set_away(self, runner_id: int, name: str) -> None:
        """Note that a kind exists which cannot be run now."""
        self._drop(runner_id)
        self._away[runner_id] = name

    def remove(self, runner_id: int) -> None:
        """Forget a kind for good."""
        self._drop(runner_id)
        self._away.pop(runner_id, None)
        self._wake()

    def is_away(self, runner_id: int) -> bool:
        """Whether the kind exists and cannot be run now."""
        return runner_id in self._away

    def why_not(self, worker: Worker) -> RequestError:
        """Say why a worker cannot run: its runner is away, or gone."""
        name = self._away.get(worker.runner_id)
        if name is not None:
            return Unavailable(
                f"runner {name!r} of worker {worker.name!r} is not available at the moment: its file could not be "
                "loaded or its server could not be reached, see the daemon's log; try again later"
            )
        return InvalidRequest(
            f"runner {worker.runner_id} of worker {worker.name!r} does not exist any more; update the worker"
        )

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _drop(self, runner_id: int) -> None:
        spec = self._specs.pop(runner_id, None)
        if spec is not None:
            del self._names[spec.name]


def not_built(spec: RunnerSpec) -> NotBuilt:
    """Say that a kind is only listed."""
    return NotBuilt(f"runner {spec.name} is listed but {spec.not_built or 'not available in this version'}")
