"""Every test here starts real processes in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.scene import Traces


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def traces(tmp_path: Path) -> Iterator[Traces]:
    traces = Traces(tmp_path)
    yield traces
    for process in traces.processes():
        process.kill()
