from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from jobworkerp_standalone.cli.exits import Stop
from jobworkerp_standalone.cli.values import id_or_name
from tests.unit.cli.conftest import Run

SETTINGS = '{"base_url":"https://www.example.com/search"}'
ARGS = '{"command":"sleep","args":["60"]}'


def test_worker_create_as_documented(run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = 5
    code, out, _ = run(
        *("worker", "create", "--name", "ExampleRequest", "--description", "", "--runner-id", "2"),
        *("--settings", SETTINGS, "--response-type", "DIRECT"),
    )
    assert (code, out) == (0, "id: 5\n")
    (changes,) = asked["arguments"]
    assert changes.what == ("ExampleRequest", "", 2, SETTINGS)
    assert changes.how == (0, None, "NORMAL", "DIRECT")
    assert changes.flags == (False, False, False, False)
    assert changes.retry == ("exponential", 800, 60_000, 1, 2.0)


def test_worker_create_with_flags_and_period(run: Run, asked: dict[str, Any]) -> None:
    run(
        *("worker", "create", "--name", "P", "--runner-id", "1", "--settings", "", "--periodic", "3000"),
        *("--response-type", "NO_RESULT", "--store-success", "--store-failure", "--broadcast-results", "--use-static"),
        *("--retry-type", "constant", "--retry-interval", "1", "--retry-max-interval", "2", "--max-retry", "3"),
        *("--retry-basis", "4", "-q", "with_backup", "-c", "gpu"),
    )
    (changes,) = asked["arguments"]
    assert changes.what == ("P", "", 1, "")
    assert changes.how == (3000, "gpu", "WITH_BACKUP", "NO_RESULT")
    assert changes.flags == (True, True, True, True)
    assert changes.retry == ("constant", 1, 2, 3, 4.0)


@pytest.mark.parametrize(
    ("option", "runner"),
    [
        (("--runner-id", "-1"), -1),
        (("-r", "65535"), 65_535),
        (("-r", "COMMAND"), "COMMAND"),
        (("--runner", "1"), 1),
        (("--runner-name", "WORKFLOW"), "WORKFLOW"),
        (("--runner-name", "17"), "17"),
    ],
)
def test_a_runner_is_named_by_id_or_name(
    option: tuple[str, str], runner: object, run: Run, asked: dict[str, Any]
) -> None:
    assert run("worker", "create", "-n", "w", *option)[0] == 0
    assert asked["arguments"][0].what.runner == runner


@pytest.mark.parametrize(
    ("written", "meant"),
    [("7", 7), ("-1", -1), (" 7 ", 7), ("1_000", "1_000"), ("\u0667", "\u0667"), ("\u00b2", "\u00b2"), ("--5", "--5")],
)
def test_a_whole_number_is_an_id_and_everything_else_a_name(written: str, meant: object) -> None:
    assert id_or_name(written) == meant


@pytest.mark.parametrize("written", [str(2**63), "9" * 5_000])
def test_an_id_that_no_server_has(written: str) -> None:
    with pytest.raises(Stop, match="is not between"):
        id_or_name(written)


def test_worker_update_leaves_out_what_is_not_named(run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = True
    assert run("worker", "update", "-i", "3", "--store-success", "true", "--use-static", "FALSE")[0] == 0
    worker_id, changes = asked["arguments"]
    assert worker_id == 3
    assert changes.flags == (True, None, False, None)
    assert set(changes.what + changes.how + changes.retry) == {None}


@pytest.mark.parametrize(
    ("arguments", "channel"),
    [(("-c",), ""), (("-c", "-n", "x"), ""), (("--channel", "gpu"), "gpu"), (("-c", "[default]"), "[default]")],
)
def test_worker_update_clears_the_channel(
    arguments: tuple[str, ...], channel: str, run: Run, asked: dict[str, Any]
) -> None:
    assert run("worker", "update", "-i", "3", *arguments)[0] == 0
    assert asked["arguments"][1].how.channel == channel


def test_job_enqueue_takes_every_option(run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = _Enqueued()
    code, out, _ = run(
        *("job", "enqueue", "-w", "1", "-a", ARGS, "-u", "key", "-r", "1000", "-p", "high", "-t", "5", "--using", "run")
    )
    assert (code, out) == (0, "job_id: 9\n")
    assert asked["arguments"] == ((1, ARGS, "key", 1000, "high", 5, "run"),)
    run("job", "enqueue", "--worker", "SleepWorker", "--args", ARGS)
    assert asked["arguments"] == (("SleepWorker", ARGS, None, None, None, 0, None),)


class _Enqueued:
    job_id, result = 9, None


@pytest.mark.parametrize("word", ["high", "middle", "medium", "low", "HIGH"])
def test_words_for_priorities(word: str, run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = _Enqueued()
    assert run("job", "enqueue", "-w", "1", "-a", "", "-p", word)[0] == 0
    assert asked["arguments"][0].priority == word.lower()


def test_texts_come_from_files_and_standard_input(
    run: Run, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked["answer"] = _Enqueued()
    (tmp_path / "args.json").write_text('{"a":"é"}', encoding="utf-8")
    run("job", "enqueue", "-w", "1", "-a", "@args.json")
    assert asked["arguments"][0].args == '{"a":"é"}'
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    run("job", "enqueue", "-w", "1", "-a", "-")
    assert asked["arguments"][0].args == "{}"
    code, _, err = run("job", "enqueue", "-w", "1", "-a", "@nowhere")
    assert (code, err) == (2, "error: --args: 'nowhere' cannot be read: No such file or directory\n")


def test_job_result_commands(run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = None
    run("job-result", "listen-stream", "--job-id", "9", "--timeout", "70000", "--worker", "W", "--using", "chat")
    assert asked["arguments"][:-1] == (9, "W", 70_000, "chat")
    asked["answer"] = []
    assert run("job-result", "list", "-o", "5", "-l", "10", "--format", "json") == (0, "[]\n", "")
    assert asked["arguments"] == (5, 10)
    assert run("job-result", "list-by-job-id", "-j", "9") == (0, "", "No data\n")


def test_job_status_search_takes_every_option(run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = []
    run(
        *("job-status", "search", "-s", "WAIT_RESULT", "-w", "1", "-c", "gpu", "-m", "60000", "-l", "10", "-o", "20"),
        *("-d", "true", "--format", "json"),
    )
    assert asked["arguments"] == (("wait_result", 1, "gpu", 60_000, 10, 20, True),)
    run("job-status", "search")
    assert set(asked["arguments"][0]) == {None}


def test_worker_instance_list_takes_every_option(run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = []
    run("worker-instance", "list", "-c", "gpu", "-a", "false")
    assert asked["arguments"] == ("gpu", False)


def test_options_of_the_program_stand_before_the_group(run: Run, asked: dict[str, Any]) -> None:
    assert run("-a", "https://jobs.example.com", "-t", "500", "runner", "count") == (0, "1\n", "")
    assert (asked["session"].address, asked["session"].timeout_ms) == ("https://jobs.example.com", 500)


@pytest.mark.parametrize(
    ("command", "action"),
    [
        ("runner find -i 1", "find"),
        ("runner find-by-name -n COMMAND", "find"),
        ("worker find -i 1", "find"),
        ("worker find-by-name -n w", "find"),
        ("job find -i 1", "find"),
        ("job-result find -i 1", "find"),
        ("job-status find -i 1", "find"),
    ],
)
def test_what_is_not_found_has_an_exit_code(command: str, action: str, run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = None
    code, out, err = run(*command.split())
    assert (code, out, asked["action"]) == (4, "", action)
    assert err.startswith("error: ")
    assert "does not exist" in err


@pytest.mark.parametrize(
    "command", ["runner delete -i 1", "worker delete -i 1", "job delete -i 1", "job-result delete -i 1"]
)
def test_a_delete_that_did_nothing_fails(command: str, run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = False
    code, out, err = run(*command.split(), "--format", "json")
    assert (code, out) == (1, '{\n  "is_success": false\n}\n')
    assert err.startswith("error: nothing was done")
    asked["answer"] = True
    assert run(*command.split()) == (0, "is_success: true\n", "")


@pytest.mark.parametrize("command", ["runner count", "worker count", "job count", "job-result count"])
def test_counts_are_bare_numbers(command: str, run: Run, asked: dict[str, Any]) -> None:
    asked["answer"] = 42
    assert run(*command.split()) == (0, "42\n", "")
