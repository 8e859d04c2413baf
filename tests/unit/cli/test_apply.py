from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobworkerp_standalone.cli.calls.workflow import check_end, worker_id_in
from jobworkerp_standalone.cli.exits import Stop
from jobworkerp_standalone.cli.manifest import BadManifest, parse, read_workers
from jobworkerp_standalone.schema.convert import bytes_to_json, json_to_bytes
from jobworkerp_standalone.schema.messages import message_class
from tests.unit.cli.conftest import Run

ARGS = message_class("jobworkerp.runner.WorkflowRunArgs")


def workers(tmp_path: Path, entry: str, **variables: str) -> Any:
    file = tmp_path / "m.yaml"
    file.write_text(f"workers:\n  - {entry}\n")
    return read_workers(file, variables)


def test_the_name_of_a_oneof_stands_for_its_member() -> None:
    data = json_to_bytes({"workflow_source": "x", "nope": 1}, ARGS, ignore_unknown=True, oneof_groups=True)
    assert bytes_to_json(data, ARGS) == {"workflowUrl": "x"}
    assert json_to_bytes({"workflow_source": None}, ARGS, oneof_groups=True) == b""


@pytest.mark.parametrize(
    ("document", "options"),
    [
        ({"nope": 1}, {}),
        ({"nope": 1}, {"oneof_groups": True}),
        ({"workflow_source": "x"}, {}),
        ({"workflow_source": 1}, {"oneof_groups": True}),
        ({"workflow_source": "x", "workflowUrl": "y"}, {"oneof_groups": True}),
        ({"workflow_url": "x", "workflow_data": "y"}, {"ignore_unknown": True}),
    ],
)
def test_what_does_not_fit_is_refused(document: dict[str, Any], options: dict[str, bool]) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_to_bytes(document, ARGS, **options)


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "[yes, true, 010, 10, 1e3, 2026-01-02, 12:30, null, '', 0x10]"
    assert parse(text) == ["yes", True, "010", 10, 1000.0, "2026-01-02", "12:30", None, "", 16]


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("{name: A, name: B, runner: R}", "line 2: key 'name' stands twice"),
        ("{name: A}", r"workers\[1\] \(A\).runner: is missing"),
        ("{name: A, runner: R, queue_type: normal}", r"\(A\).queue_type: must be one of"),
        ("{name: A, runner: R, store_success: yes}", r"\(A\).store_success: must be true or false"),
        ("{name: A, runner: R, periodic_interval: -1}", r"\(A\).periodic_interval: must be a whole number"),
        ("{name: A, runner: R, periodic_interval: 5, response_type: DIRECT}", r"\(A\).periodic_interval: a DIRECT"),
        ("{name: A, runner: R, retry_policy: {}}", r"\(A\).retry_policy: type is missing"),
        ("{name: A, runner: R, retry_policy: {type: NONE, x: 1}}", r"\(A\).retry_policy: unknown key 'x'"),
        ("{name: A, runner: R, settings: {$file: ../m}}", r"\(A\).settings.\$file: '../m' is not inside"),
        ("{name: A, runner: R, settings: {$file: none}}", r"\(A\).settings.\$file: 'none' cannot be read"),
        ("{name: A, runner: '%{NOT_SET}'}", "line 2: variable NOT_SET is not set"),
        ("{name: A, runner: '%{TABBED}'}", "line 2: the value of TABBED holds"),
        ("[", "line 3: not YAML"),
        ("{name: A, runner: R}\n  - {name: A, runner: R}", r"workers\[2\] \(A\).name: workers\[1\] \(A\) has"),
        ("&a [*a]", "."),
    ],
)
def test_a_wrong_manifest_says_where(entry: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(BadManifest, match=complaint) as caught:
        workers(tmp_path, entry, TABBED="a\tb")
    assert "\n" not in str(caught.value)


def test_files_are_put_in(tmp_path: Path) -> None:
    (tmp_path / "inner").write_text("hello %{WHO} ${no}")
    (worker,) = workers(tmp_path, "{name: A, runner: R, settings: {text: [{$file: inner}]}}", WHO="you")
    assert worker.settings == {"text": ["hello you ${no}"]}
    assert (worker.queue_type, worker.response_type, worker.retry_policy) == ("NORMAL", "NO_RESULT", None)


@pytest.mark.parametrize(
    "arguments",
    [
        ("enqueue-workflow", "-i", "x"),
        ("enqueue-workflow", "-i", "x", "-w", "x", "--workflow-data", "y"),
        ("enqueue-workflow", "-i", "x", "-w", "x", "--context", "{}", "--context-file", "y"),
        ("create-workflow", "-n", "x"),
        ("create-workflow", "-n", "x", "-w", "x", "--workflow-data", "y"),
    ],
)
def test_options_that_exclude_each_other(arguments: tuple[str, ...], run: Run) -> None:
    assert run("job", *arguments)[0] == 2


def test_how_a_workflow_ended() -> None:
    for good in ({}, {"status": "Completed"}, {"status": "Cancelled"}, "text"):
        check_end(good)
    for bad in ({"status": "Running"}, {"status": "Faulted", "errorMessage": "oh"}):
        with pytest.raises(Stop):
            check_end(bad)


@pytest.mark.parametrize("output", [{"workerId": {"value": "7"}}, {"worker_id": 7}, {"id": "7"}])
def test_the_id_of_a_new_worker(output: dict[str, Any]) -> None:
    assert worker_id_in(output) == 7
    assert worker_id_in("text") is None
