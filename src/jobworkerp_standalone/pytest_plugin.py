"""The pytest fixture ``jobworkerp``: a daemon inside of the test's process. ``docs/embedding.md`` shows its use.

Loaded by every run of pytest where this package is installed, so that nothing is imported before it is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from jobworkerp_standalone.embedded import JobWorkerp


@pytest.fixture(scope="session")
def jobworkerp_settings() -> dict[str, Any]:
    """Return the settings of the daemons that tests get; define it anew to change them."""
    return {}


@pytest.fixture
async def jobworkerp(jobworkerp_settings: dict[str, Any]) -> AsyncIterator[JobWorkerp]:
    """Return a daemon of this test alone: in memory, on no port, gone after the test."""
    from jobworkerp_standalone.embedded import JobWorkerp  # noqa: PLC0415 - the whole engine, for tests that use it

    async with JobWorkerp(jobworkerp_settings) as running:
        yield running
