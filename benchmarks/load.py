"""The load generator, a process of its own: reads what to call, one JSON object per line, answers with what it took."""

from __future__ import annotations

import gc
import json
import sys
from base64 import b64decode
from collections.abc import Sequence
from typing import Any

from benchmarks.http2 import Caller, Run


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of ``ordered`` lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def serve() -> None:
    """Answer orders until standard input ends."""
    callers: dict[tuple[int, str, str], Caller] = {}
    gc.disable()
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        key = (order["port"], order["path"], order["message"])
        if key not in callers:
            callers[key] = Caller(key[0], key[1], b64decode(key[2]))
        run = callers[key].run(order["in_flight"], calls=order.get("calls"), seconds=order.get("seconds"))
        print(json.dumps(_told(run)), flush=True)
        del run
        gc.collect()


def _told(run: Run) -> dict[str, float]:
    ordered = sorted(run.latencies)
    return {
        "calls": run.calls,
        "began": run.began,
        "ended": run.ended,
        "cpu_seconds": run.cpu_seconds,
        "p50": percentile(ordered, 0.50),
        "p99": percentile(ordered, 0.99),
    }


if __name__ == "__main__":
    serve()
