"""The commands ``worker apply``, ``job enqueue-workflow`` and ``job create-workflow`` against a daemon."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.test_cli import Shell
from tests.support.processes import daemon_process

MANIFEST = """\
defaults: {response_type: DIRECT, store_failure: true, retry_policy: {type: CONSTANT, max_retry: 2}}
workers:
  - {name: Zed, runner: COMMAND, description: "%{WHO:-nobody}"}
  - name: Ask
    runner: HTTP_REQUEST
    settings: {base_url: "https://www.example.com"}
    queue_type: WITH_BACKUP
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    with daemon_process(tmp_path_factory.mktemp("daemon")) as daemon:
        yield Shell(tmp_path_factory.mktemp("shell"), daemon)


def test_a_manifest_can_be_applied_again(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "workers.yaml"
    file.write_text(MANIFEST)
    first = shell.json("worker", "apply", str(file))
    assert [each["name"] for each in first] == ["Ask", "Zed"]
    ask = shell.json("worker", "find-by-name", "-n", "Ask")
    assert (ask["id"], ask["queue_type"], ask["response_type"]) == (first[0]["worker_id"], "WITH_BACKUP", "DIRECT")
    assert ask["runner_settings"] == {"baseUrl": "https://www.example.com"}
    assert (ask["retry_policy"]["type"], ask["retry_policy"]["max_retry"]) == ("CONSTANT", 2)
    assert shell.json("worker", "find-by-name", "-n", "Zed")["description"] == "nobody"

    assert shell.json("worker", "apply", str(file)) == first
    assert shell.json("worker", "find-by-name", "-n", "Ask") == ask


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ("{name: B, runner: Nothing}", "workers[2] (B): runner 'Nothing' does not exist"),
        ("{name: B, runner: HTTP_REQUEST, settings: {nope: 1}}", "workers[2] (B): settings: "),
        ("{name: B, runner: COMMAND, settings: {a: 1}}", "workers[2] (B): settings: "),
        ("{name: B, runner: COMMAND, colour: red}", "workers[2] (B): unknown key 'colour'"),
    ],
)
def test_nothing_of_a_wrong_manifest_is_written(entry: str, complaint: str, shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "workers.yaml"
    file.write_text(f"workers:\n  - {{name: Fine, runner: COMMAND}}\n  - {entry}\n")
    before = shell.run("worker", "count")
    code, out, err = shell.run("worker", "apply", str(file))
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert complaint in err
    assert shell.run("worker", "count") == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("enqueue-workflow", "-i", "/tmp", "-w", "./ls.yml"),
        (
            "enqueue-workflow",
            "-i",
            "/tmp",
            "--workflow-data",
            "{}",
            "--context",
            "{}",
            "-c",
            "",
            "--execution-id",
            "e",
        ),
        ("create-workflow", "-n", "Flow", "-w", "./ls.yml", "--queue-type", "DB_ONLY", "--store-success", "true"),
    ],
)
def test_a_workflow_that_cannot_be_run_leaves_no_worker(arguments: tuple[str, ...], shell: Shell) -> None:
    before = shell.run("worker", "count")
    code, out, err = shell.run("job", *arguments)
    assert (code, out) == (2 if "enqueue-workflow" in arguments else 1, ""), err
    assert "error: " in err
    assert shell.run("worker", "count") == before


def test_create_workflow_says_that_an_answer_and_a_row_exclude_each_other(shell: Shell) -> None:
    text = '{"do": [{"a": {"set": {"x": 1}}}]}'
    create = ("job", "create-workflow", "--workflow-data", text, "--queue-type", "WITH_BACKUP", "-n")
    code, _, err = shell.run(*create, "Answers")
    assert (code, "lost if the server dies" in err, "--response-type NO_RESULT" in err) == (0, True, True), err
    assert shell.run(*create, "Durable", "--response-type", "NO_RESULT")[::2] == (0, "")
