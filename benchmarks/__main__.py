"""Measures, prints the report, writes it down as JSON. The exit code says whether it could measure, never how fast."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.commands import measure_commands
from benchmarks.expressions import measure_expressions
from benchmarks.figures import Report
from benchmarks.hostile import measure_hostile
from benchmarks.memory import JOBS, measure_memory
from benchmarks.processes import SLOTS, Load, Server, Spawner
from benchmarks.ratios import figures, official_floor, timings
from benchmarks.rounds import CASES, Bench, run_rounds
from benchmarks.schedule import measure_schedule
from benchmarks.small_mcp import write_settings
from benchmarks.starts import measure_starts
from benchmarks.tables import lines
from benchmarks.web import Web
from benchmarks.workflow import measure_workflow

_RESULTS = Path(__file__).parent / "results"
_ALL = (*CASES, "start", "memory", "schedule", "expressions", "hostile", "workflow")
_SYNCS = 50
_BUSY = 0.7


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the arguments say."""
    options = _options(arguments)
    _RESULTS.mkdir(exist_ok=True)
    report = Report(machine=_machine())
    # beside the results, not in /tmp, which may be kept in memory: durable writes are part of what is measured
    with tempfile.TemporaryDirectory(dir=_RESULTS) as name:
        folder = Path(name)
        report.machine["fdatasync_us"] = _sync_us(folder)
        if any(case in CASES for case in options.only):
            _measure_calls(report, folder, options)
        if "start" in options.only:
            times = 1 if options.quick else 7
            report.figures += measure_starts(folder, times, _say) + measure_commands(folder, times, _say)
        if "memory" in options.only:
            report.figures += measure_memory(folder, options.jobs or (1_200 if options.quick else JOBS), _say)
        if "schedule" in options.only:
            jobs, backlog = (50, 300) if options.quick else (1_000, 10_000)
            report.figures += measure_schedule(folder, jobs, backlog, _say)
    if "expressions" in options.only:
        report.figures += measure_expressions(*((2, 100) if options.quick else (7, 1_000)), _say)
    if "hostile" in options.only:
        with tempfile.TemporaryDirectory(dir=_RESULTS) as name:
            report.figures += measure_hostile(Path(name), *((1, 0.5) if options.quick else (9, 3.0)), _say)
    if "workflow" in options.only:
        with tempfile.TemporaryDirectory(dir=_RESULTS) as name:
            report.figures += measure_workflow(Path(name), *((1, 100) if options.quick else (5, 1_000)), _say)
    print("\n".join(lines(report)), flush=True)
    target = options.json or _RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    target.write_text(json.dumps(report.told(), indent=2) + "\n")
    _say(f"written to {target}")


def _measure_calls(report: Report, folder: Path, options: argparse.Namespace) -> None:
    rounds, seconds = (2, 0.1) if options.quick else (7, 1.0)
    tools = write_settings(folder) if "mcp" in options.only else None
    with Server(folder, mcp_config=tools) as server, Load() as load, Spawner() as spawner, Web(folder) as web:
        report.machine["loop"] = server.loop
        report.machine["web"] = web.name
        bench = Bench(server, load, spawner, web, seconds)
        run_rounds(bench, options.only, rounds, _say)
    report.timings += timings(bench)
    report.figures += figures(bench)
    report.notes += [
        f"Medians of {rounds} rounds of {seconds} s each, lowest and highest round beside them; {SLOTS} slots.",
        f"The floor that counts is the {official_floor(bench)}: the slower one of the two at 32 in flight.",
        "/edge, /bare: time per call against an empty call, of each round. done: until every job has run.",
        "CPU: what the measured process spent per call. load CPU: how busy the load generator was.",
    ]
    if any(timing.load_cpu_share.median > _BUSY for timing in report.timings):
        report.notes.append("The load generator was nearly as busy as the server: its limit may be what was measured.")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see in seconds that it runs; figures mean little")
    parser.add_argument("--only", type=_cases, default=_ALL, metavar="NAME,...", help=f"some of {', '.join(_ALL)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the report goes (default: benchmarks/results)")
    parser.add_argument("--jobs", type=int, metavar="N", help=f"jobs of the memory case (default: {JOBS:,})")
    return parser.parse_args(arguments)


def _cases(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in _ALL]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or 'nothing'}: choose from {', '.join(_ALL)}")
    return names


def _machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "cpus": len(os.sched_getaffinity(0)),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _sync_us(folder: Path) -> int:
    """Return what a durable write of 4 KiB costs where the databases are."""
    taken: list[float] = []
    with (folder / "sync").open("wb", buffering=0) as file:
        for _ in range(_SYNCS):
            file.write(bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return round(sorted(taken)[_SYNCS // 2] * 1e6)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
