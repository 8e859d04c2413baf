"""What starting a program costs without any server: ``/bin/true`` by asyncio's own subprocess, output captured.

A process of its own, on asyncio's own loop whatever else is installed: uvloop starts programs much slower.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any


async def spawn_for(parallel: int, seconds: float) -> dict[str, float]:
    """Start programs in ``parallel`` loops until the time is over."""
    began = time.monotonic()
    until = began + seconds
    counts = await asyncio.gather(*(_one_after_another(until) for _ in range(parallel)))
    return {"calls": sum(counts), "seconds": time.monotonic() - began}


async def _one_after_another(until: float) -> int:
    count = 0
    while time.monotonic() < until:
        process = await asyncio.create_subprocess_exec("/bin/true", stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        await process.communicate()
        count += 1
    return count


def serve() -> None:
    """Answer orders, one JSON object per line, until standard input ends."""
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            order: dict[str, Any] = json.loads(line)
            print(json.dumps(runner.run(spawn_for(order["parallel"], order["seconds"]))), flush=True)


if __name__ == "__main__":
    serve()
