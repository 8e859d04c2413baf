"""What the rounds say: times of calls as multiples of floors that were taken in the same round."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.figures import Figure, Spread, Target, Timing
from benchmarks.rounds import (
    BACKUP,
    BARE,
    COMMAND,
    DIRECT,
    EDGE,
    FETCH,
    HTTP,
    INTERPRETER,
    MCP,
    NO_RESULT,
    PYTHON,
    SPAWN,
    STATIC,
    STORE,
    TOOL,
    Bench,
    Sample,
)

_WANTED = {NO_RESULT: Target(2.0), DIRECT: Target(2.0), BACKUP: Target(2.5)}
_COMMAND_TIME = Target(1.5)
_PYTHON_TIME = Target(1.3)
_STATIC_MS = Target(1.0)
_HTTP_RATE = Target(0.75, at_least=True)
_HTTP_PER_SEC = Target(623, at_least=True)
_COMMAND_RATE = Target(0.75, at_least=True)
_MCP_RATE = Target(0.75, at_least=True)
_MANY = 32
Value = Callable[[Sample], float]


def timings(bench: Bench) -> list[Timing]:
    """Sum up every kind of call."""
    return [_timing(bench, name, in_flight) for name, in_flight in bench.samples]


def official_floor(bench: Bench) -> str:
    """Return the floor that counts: the edge's, unless the bare server is slower at 32 in flight."""
    edge, bare = (Spread.of([sample.each for sample in bench.samples[name, _MANY]]).median for name in (EDGE, BARE))
    return BARE if bare > edge else EDGE


def figures(bench: Bench) -> list[Figure]:
    """Return what is asked for, as far as there are rounds for it."""
    floor = official_floor(bench)
    found = [
        Figure(f"{name}, {_MANY} in flight / {floor}", "x", _quotient(bench, name, floor, _MANY), target)
        for name, target in _WANTED.items()
        if (name, _MANY) in bench.samples
    ]
    if (COMMAND, 1) in bench.samples:
        found += _command(bench, floor)
    if (PYTHON, 1) in bench.samples:
        found += _python(bench, floor)
    if (HTTP, _MANY) in bench.samples:
        found += _http(bench)
    if (MCP, _MANY) in bench.samples:
        found.append(
            Figure(
                f"{MCP}, {_MANY} in flight: rate / rate of the bare call",
                "x",
                _quotient(bench, TOOL, MCP, _MANY),
                _MCP_RATE,
            )
        )
    if (STORE, _MANY) in bench.samples:
        rates = [1 / sample.each_done for sample in bench.samples[STORE, _MANY]]
        found.append(Figure(f"results stored, {_MANY} in flight", "rows/s", Spread.of(rates)))
    return found


def _timing(bench: Bench, name: str, in_flight: int) -> Timing:
    samples = bench.samples[name, in_flight]
    found = Timing(
        name,
        in_flight,
        Spread.of([sample.each * 1e6 for sample in samples]),
        Spread.of([sample.p50 * 1e3 for sample in samples]),
        Spread.of([sample.p99 * 1e3 for sample in samples]),
        Spread.of([sample.each_cpu * 1e6 for sample in samples]),
        Spread.of([sample.load_cpu_share for sample in samples]),
        sum(sample.calls for sample in samples),
    )
    if name not in (SPAWN, INTERPRETER):
        found.to_edge = _quotient(bench, name, EDGE, in_flight)
        found.to_bare = _quotient(bench, name, BARE, in_flight)
        found.cpu_to_edge = _quotient(bench, name, EDGE, in_flight, _cpu)
    if name in (NO_RESULT, BACKUP, STORE):
        found.done_to_edge = _quotient(bench, name, EDGE, in_flight, _done)
    return found


def _command(bench: Bench, floor: str) -> list[Figure]:
    one = [
        command.each / (empty.each + spawn.each)
        for command, empty, spawn in zip(*(bench.samples[name, 1] for name in (COMMAND, floor, SPAWN)), strict=True)
    ]
    many = _quotient(bench, SPAWN, COMMAND, _MANY)
    return [
        Figure(f"{COMMAND}, 1 in flight / ({floor} + bare spawn)", "x", Spread.of(one), _COMMAND_TIME),
        Figure(f"{COMMAND}, {_MANY} in flight: rate / rate of 8 bare loops", "x", many, _COMMAND_RATE),
    ]


def _python(bench: Bench, floor: str) -> list[Figure]:
    names = (PYTHON, floor, INTERPRETER, STATIC, DIRECT)
    rounds = list(zip(*(bench.samples[name, 1] for name in names), strict=True))
    cold = [python.each / (empty.each + bare.each) for python, empty, bare, _static, _direct in rounds]
    above = [(static.each - direct.each) * 1e3 for _python, _empty, _bare, static, direct in rounds]
    return [
        Figure(f"{PYTHON}, 1 in flight / ({floor} + bare interpreter)", "x", Spread.of(cold), _PYTHON_TIME),
        Figure(f"{STATIC}, 1 in flight, above {DIRECT}", "ms", Spread.of(above), _STATIC_MS),
    ]


def _http(bench: Bench) -> list[Figure]:
    rates = Spread.of([1 / sample.each for sample in bench.samples[HTTP, _MANY]])
    return [
        Figure(
            f"{HTTP}, {_MANY} in flight: rate / rate of the bare call",
            "x",
            _quotient(bench, FETCH, HTTP, _MANY),
            _HTTP_RATE,
        ),
        Figure(f"{HTTP}, {_MANY} in flight", "jobs/s", rates, _HTTP_PER_SEC, "the reference, answering status queries"),
    ]


def _quotient(bench: Bench, upper: str, lower: str, in_flight: int, value: Value | None = None) -> Spread:
    """Return a ratio of every round. ``value`` is what is compared, if not the time per call."""
    below = _cpu if value is _cpu else _each
    above = value or _each
    rounds = zip(bench.samples[upper, in_flight], bench.samples[lower, in_flight], strict=True)
    return Spread.of([above(first) / below(second) for first, second in rounds])


def _each(sample: Sample) -> float:
    return sample.each


def _done(sample: Sample) -> float:
    return sample.each_done


def _cpu(sample: Sample) -> float:
    return sample.each_cpu
