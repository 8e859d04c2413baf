"""A store for each test, in a file and in memory: what is promised of one holds for the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from jobworkerp_standalone.backends.stores import open_store
from jobworkerp_standalone.ports import Store
from jobworkerp_standalone.settings import MEMORY, Settings
from tests.contract.scene import LEASE_MS, HandClock, instance


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, path: Path, clock: HandClock) -> AsyncGenerator[Store, None]:
    """A store as the daemon opens it; registered as owner 1."""
    where = str(path) if request.param == "file" else MEMORY
    async with open_store(Settings(sqlite_path=where, job_lease_sec=LEASE_MS // 1000), clock) as store:
        await store.register(instance(1))
        yield store
