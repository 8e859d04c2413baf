"""The store that keeps nothing beyond the life of this process."""

from __future__ import annotations

from jobworkerp_standalone.backends.memory.contents import Contents
from jobworkerp_standalone.backends.memory.job_store import MemoryJobStore
from jobworkerp_standalone.backends.memory.records import (
    MemoryInstanceStore,
    MemoryNoteStore,
    MemoryResultStore,
    MemoryRunnerStore,
    MemoryWorkerStore,
)
from jobworkerp_standalone.ports import Clock


class MemoryStore(
    MemoryJobStore, MemoryResultStore, MemoryWorkerStore, MemoryRunnerStore, MemoryNoteStore, MemoryInstanceStore
):
    """``ports.Store`` in this process's memory: no thread, no disk, and nothing to import."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(Contents(clock))

    @property
    def node(self) -> int:
        """Nobody shares it, so any number does."""
        return 0
