"""The report as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.figures import Figure, Report, Spread, Timing


def lines(report: Report) -> Iterator[str]:
    """Yield the report line by line."""
    yield "  ".join(f"{name}: {value}" for name, value in report.machine.items())
    if report.timings:
        yield ""
        yield from _table(_TIMING_HEAD, [_timing_row(timing) for timing in report.timings])
    if report.figures:
        yield ""
        yield from _table(_FIGURE_HEAD, [_figure_row(figure) for figure in report.figures])
    yield ""
    yield from report.notes


_TIMING_HEAD = (
    "calls",
    "in flight",
    "us/call",
    "lowest..highest",
    "calls/s",
    "p50 ms",
    "p99 ms",
    "/edge",
    "/bare",
    "done/edge",
    "CPU us",
    "CPU/edge",
    "load CPU",
)
_FIGURE_HEAD = ("figure", "value", "lowest..highest", "unit", "target", "")


def _timing_row(timing: Timing) -> tuple[str, ...]:
    return (
        timing.name,
        str(timing.in_flight),
        f"{timing.per_call_us.median:.0f}",
        _range(timing.per_call_us),
        f"{timing.per_second:,.0f}",
        f"{timing.p50_ms.median:.2f}",
        f"{timing.p99_ms.median:.2f}",
        _times(timing.to_edge),
        _times(timing.to_bare),
        _times(timing.done_to_edge),
        f"{timing.server_cpu_us.median:.0f}",
        _times(timing.cpu_to_edge),
        f"{timing.load_cpu_share.median:.0%}",
    )


def _figure_row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        _short(figure.value.median),
        _range(figure.value),
        figure.unit,
        str(figure.target or ""),
        figure.verdict,
    )


def _range(value: Spread) -> str:
    return "" if value.low == value.high else f"{_short(value.low)}..{_short(value.high)}"


def _times(ratio: Spread | None) -> str:
    return "" if ratio is None else f"{ratio.median:.2f}"


def _short(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for row in (head, *rows):
        first, *others = (
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
