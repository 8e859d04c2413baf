"""A report that continuous integration shows: a test case for each task that had its turn."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from jobworkerp_standalone.cli.progress import Progress, TaskLine, TaskState
from jobworkerp_standalone.client.workflows import State, WorkflowRun


def cannot_be_written(path: str) -> str | None:
    """Return why no report can be written there, as far as that shows before a run; None where it may be."""
    file = Path(path)
    try:
        if file.is_dir():
            why = errno.EISDIR
        elif file.exists():
            why = 0 if os.access(file, os.W_OK) else errno.EACCES
        else:
            around = next(each for each in file.absolute().parents if each.exists())
            may_make = os.access(around, os.W_OK | os.X_OK)
            why = errno.ENOTDIR if not around.is_dir() else 0 if may_make else errno.EACCES
    except OSError as error:
        why = error.errno or errno.EIO
    return _complaint(path, os.strerror(why)) if why else None


def write_report(path: str, report: ElementTree[Element]) -> str | None:
    """Write a report, in a directory that is made for it; return why that was not possible."""
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("wb") as target:
            report.write(target, encoding="utf-8", xml_declaration=True)
            target.write(b"\n")
    except OSError as error:
        return _complaint(path, error.strerror or str(error))
    return None


def _complaint(path: str, why: str) -> str:
    return f"--junit: {path} cannot be written: {why}"


def report_of(file: str, progress: Progress, run: WorkflowRun) -> ElementTree[Element]:
    """Return the report.

    A task whose fault something around it caught has passed. The run itself is the last case: it fails where the run
    did, also where that was not a task's fault.
    """
    lines = list(progress.lines())
    took = sum(line.took_ms(progress.now_ms) for line in lines if line.depth == 0)
    suite = Element("testsuite", name=progress.name or file)
    if progress.started_ms:
        suite.set("timestamp", datetime.fromtimestamp(progress.started_ms / 1000, UTC).isoformat(timespec="seconds"))
    for line in lines:
        _task(suite, progress, line, run)
    _whole(suite, progress, file, run)
    return _totalled(suite, file, took)


def report_of_findings(file: str, findings: Sequence[Mapping[str, Any]]) -> ElementTree[Element]:
    """Return the report of a document that is not valid: an error for each finding, as rows of ``workflow check``."""
    suite = Element("testsuite", name=_text(file))
    for each in findings:
        if each["severity"] != "error":
            continue
        place = f"{file}:{each['line']}:{each['column']}" if each["line"] else file
        case = SubElement(suite, "testcase", classname=_text(file), name=_text(place), time=_seconds(0))
        error = SubElement(case, "error", message=_text(each["message"]), type="invalid")
        error.text = _text("\n".join(str(each[key]) for key in ("pointer", "text", "suggestion") if each[key]))
    return _totalled(suite, file, 0)


def _totalled(suite: Element, file: str, took_ms: int) -> ElementTree[Element]:
    cases = list(suite.iter("testcase"))
    counts = {"failure": "failures", "error": "errors", "skipped": "skipped"}
    totals = {name: str(sum(case.find(tag) is not None for case in cases)) for tag, name in counts.items()}
    suite.attrib.update(tests=str(len(cases)), **totals, time=_seconds(took_ms))
    # Strict schemas of this form know no other attributes here.
    top = Element(
        "testsuites", {name: suite.attrib[name] for name in ("tests", "failures", "errors", "time")} | {"name": file}
    )
    top.append(suite)
    indent(top)
    return ElementTree(top)


def _task(suite: Element, progress: Progress, line: TaskLine, run: WorkflowRun) -> None:
    case = _case(suite, progress, line.position.removeprefix("/ROOT/"), line.took_ms(progress.now_ms))
    if line.state is TaskState.SKIPPED:
        SubElement(case, "skipped", message="its condition did not hold")
    elif line.state is TaskState.CANCELLED:
        SubElement(case, "skipped", message=line.ending)
    elif line.state is TaskState.WAITING:
        SubElement(case, "skipped", message="the run is waiting")
    elif line.state is TaskState.FAULTED and run.state is State.FAULTED and _uncaught(line, progress):
        failure = SubElement(case, "failure", message=_text(line.reason), type=_text(str(line.error.get("type", ""))))
        failure.text = _text(str(line.error.get("detail") or line.reason))
    elif line.faults:
        SubElement(case, "system-out").text = _text(f"failed {line.faults} times, and was caught: {line.reason}")


def _whole(suite: Element, progress: Progress, file: str, run: WorkflowRun) -> None:
    case = _case(suite, progress, f"{file} as a whole", 0)
    if run.state in (State.FAULTED, State.INVALID):
        kind = str((run.error or {}).get("type", run.state))
        failure = SubElement(case, "failure", message=_text(run.text), type=_text(kind))
        failure.text = _text(run.text)
    elif run.state is State.CANCELLED:
        SubElement(case, "error", message="the run was cancelled", type="cancelled")
    elif run.state is State.WAITING:
        SubElement(case, "skipped", message="the run waits")


def _case(suite: Element, progress: Progress, name: str, took_ms: int) -> Element:
    where = progress.name.partition(":")[0].replace("/", ".")
    return SubElement(suite, "testcase", classname=_text(where), name=_text(name), time=_seconds(took_ms))


def _uncaught(line: TaskLine, progress: Progress) -> bool:
    """Whether everything around a task failed as well."""
    return all(each.state is TaskState.FAULTED for each in progress.around(line.position))


def _seconds(ms: int) -> str:
    return f"{ms / 1000:.3f}"


def _text(text: str) -> str:
    """Leave out what XML cannot hold."""
    return "".join(each if each in "\t\n" or each.isprintable() else "?" for each in text)
