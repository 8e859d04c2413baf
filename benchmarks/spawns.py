"""What starting a program costs without any server, by asyncio's own subprocess, output captured.

A process of its own, on asyncio's own loop whatever else is installed: uvloop starts programs much slower.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from typing import Any

from benchmarks.load import percentile


async def spawn_for(program: Sequence[str], parallel: int, seconds: float) -> dict[str, float]:
    """Start ``program`` in ``parallel`` loops until the time is over."""
    began = time.monotonic()
    until = began + seconds
    loops = await asyncio.gather(*(_one_after_another(program, until) for _ in range(parallel)))
    ended = time.monotonic()
    ordered = sorted(taken for loop in loops for taken in loop)
    return {
        "calls": len(ordered),
        "began": began,
        "ended": ended,
        "p50": percentile(ordered, 0.50),
        "p99": percentile(ordered, 0.99),
    }


async def _one_after_another(program: Sequence[str], until: float) -> list[float]:
    taken: list[float] = []
    while (now := time.monotonic()) < until:
        process = await asyncio.create_subprocess_exec(*program, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        await process.communicate()
        taken.append(time.monotonic() - now)
    return taken


def serve() -> None:
    """Answer orders, one JSON object per line, until standard input ends."""
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            order: dict[str, Any] = json.loads(line)
            print(json.dumps(runner.run(spawn_for(order["program"], order["parallel"], order["seconds"]))), flush=True)


if __name__ == "__main__":
    serve()
