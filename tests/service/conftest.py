from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.docker_peer import docker_daemon, docker_reached
from tests.support.house import House, open_house
from tests.support.python_jobs import PythonHouse, need_registry, open_python_house

__all__ = ["docker_daemon", "docker_reached"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A daemon in this process, on a real socket and a real file, with runners that obey the test."""
    async with open_house(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def python_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Environments that all tests share, also those of other test processes."""
    return tmp_path_factory.getbasetemp().parent / "python-cache"


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Packages can be had."""
    need_registry(tmp_path_factory.mktemp("registry"))


@pytest.fixture(scope="module")
async def python_house(tmp_path_factory: pytest.TempPathFactory, python_cache: Path) -> AsyncIterator[PythonHouse]:
    """A daemon that runs scripts in environments shared by all tests."""
    async with open_python_house(tmp_path_factory.mktemp("house"), python_cache) as opened:
        yield opened


@pytest.fixture
async def python(python_house: PythonHouse) -> AsyncIterator[PythonHouse]:
    """The daemon of all tests of a module, without workers. What a test leaves behind fails it."""
    yield python_house
    await python_house.clear()
