"""How much memory a child and its descendants take."""

from __future__ import annotations

import os
import resource

import anyio.to_thread
import pytest

from jobworkerp_standalone.runners.process import Exit, MemoryWatch, Program, launch
from jobworkerp_standalone.runners.process.memory import tree_kb

pytestmark = pytest.mark.anyio
ENVIRONMENT = {b"PATH": b"/usr/bin:/bin"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_whole_tree_is_counted() -> None:
    grow = b"import time; held = bytearray(b'x') * 50_000_000; print('up', flush=True); time.sleep(1000)"
    running = await launch(Program((b"sh", b"-c", b'python3 -c "$0"; :', grow), ENVIRONMENT))
    async with running:
        await running.read()
        held = await anyio.to_thread.run_sync(tree_kb, running.pid)
        assert 50_000_000 / 1024 < held < 150_000_000 / 1024
        await running.stop()
    assert await anyio.to_thread.run_sync(tree_kb, running.pid) == 0


async def test_a_child_gone_before_the_first_look_is_never_nothing() -> None:
    own_peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with await launch(Program((b"true",), ENVIRONMENT)) as running:
        await running.wait()
    watch = MemoryWatch(running.pid)
    watch.close()
    page_kb = os.sysconf("SC_PAGE_SIZE") // 1024
    assert watch.peak_kb(Exit(0, None, own_peak_kb, 100)) == 100 * page_kb
    assert watch.peak_kb(Exit(0, None, own_peak_kb, 10**9)) == own_peak_kb
    assert watch.peak_kb(Exit(0, None, own_peak_kb + 1, 100)) == own_peak_kb + 1
