"""The benchmark runs and tells what it should; how fast things are is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

CALLS = {"empty call (edge)", "empty call (bare grpclib)", "no-op NO_RESULT", "no-op DIRECT"}


def test_report(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "enqueue,direct", "--json", str(report)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(report.read_text())
    assert {timing["name"] for timing in told["timings"]} == CALLS
    for timing in told["timings"]:
        assert timing["calls"] > 0
        assert 0 < timing["p50_ms"]["median"] <= timing["p99_ms"]["median"]
    assert len(told["figures"]) == 2
    for figure in told["figures"]:
        assert figure["value"]["low"] <= figure["value"]["median"] <= figure["value"]["high"]
        assert figure["verdict"] in {"ok", "miss"}
        assert figure["name"].split(",")[0] in run.stdout
