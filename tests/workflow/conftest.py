"""One daemon for the cases of a file: they disturb each other as little as jobs do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.docker_peer import docker_daemon, docker_reached
from tests.workflow.stage import Stage, open_stage

__all__ = ["docker_daemon", "docker_reached"]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Run on asyncio."""
    return "asyncio"


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Give a running daemon."""
    async with open_stage(tmp_path_factory.mktemp("stage"), WORKFLOW_ENV_ALLOW="DEMO_*") as opened:
        yield opened
