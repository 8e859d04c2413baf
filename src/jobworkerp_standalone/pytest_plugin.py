"""The pytest fixture ``jobworkerp``: a daemon inside of the test's process. ``docs/embedding.md`` shows its use.

Loaded by every run of pytest where this package is installed, so that nothing is imported before it is used. Async
fixtures belong to the plugin that runs the test, in whose event loop they live; so that there is one for each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobworkerp_standalone.embedded import JobWorkerp


def pytest_configure(config: pytest.Config) -> None:
    """Add the fixture for tests that pytest-asyncio runs, where it is active."""
    if config.pluginmanager.hasplugin("asyncio"):
        asyncio_fixture: Any = import_module("pytest_asyncio").fixture
        fixtures = ModuleType("jobworkerp_asyncio")
        vars(fixtures)["_jobworkerp_asyncio"] = asyncio_fixture(_running)
        config.pluginmanager.register(fixtures, fixtures.__name__)


@pytest.fixture(scope="session")
def jobworkerp_settings() -> dict[str, Any]:
    """Return the settings of the daemons that tests get; define it anew to change them."""
    return {}


@pytest.fixture
def jobworkerp(request: pytest.FixtureRequest) -> JobWorkerp:
    """Return a daemon of this test alone: in memory, on no port, gone after the test."""
    if "anyio_backend" in request.fixturenames:
        return request.getfixturevalue("_jobworkerp_anyio")
    if request.config.pluginmanager.hasplugin("asyncio"):
        return request.getfixturevalue("_jobworkerp_asyncio")
    return pytest.fail(
        "the fixture jobworkerp is for async tests: mark this one with pytest.mark.anyio (or install pytest-asyncio)",
        pytrace=False,
    )


async def _running(jobworkerp_settings: dict[str, Any]) -> AsyncIterator[JobWorkerp]:
    from jobworkerp_standalone.embedded import JobWorkerp  # noqa: PLC0415 - the whole engine, for tests that use it

    async with JobWorkerp(jobworkerp_settings) as running:
        yield running


_jobworkerp_anyio = pytest.fixture(_running)
