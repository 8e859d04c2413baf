"""How commands end that do not come as far as a server: usage, help, no server, defects, interrupts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status

from jobworkerp_standalone import __version__
from jobworkerp_standalone.cli.app import app
from jobworkerp_standalone.cli.session import Session, call_failed
from jobworkerp_standalone.client import CallFailed
from tests.unit.cli.conftest import Run

GROUPS = ("runner", "worker", "job", "job-result", "job-status", "worker-instance")
NOBODY = "http://127.0.0.1:1"


@pytest.mark.parametrize("arguments", [("version",), ("--version",), ("-V",), ("-t", "5", "version")])
def test_version(arguments: tuple[str, ...], run: Run) -> None:
    assert run(*arguments) == (0, f"jobworkerp {__version__}\n", "")


def test_help_names_every_group_and_the_exit_codes(run: Run) -> None:
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    for word in (*GROUPS, "all-in-one", "doctor", "version", "JOBWORKERP_ADDR", "Exit codes:", "  130  interrupted"):
        assert word in out


def test_every_command_has_help_and_most_have_examples(run: Run) -> None:
    for group in GROUPS:
        code, out, _ = run(group, "--help")
        assert code == 0
        names = [line.split()[0] for line in out.partition("Commands:\n")[2].splitlines() if line.strip()]
        assert names
        for name in names:
            code, out, _ = run(group, name, "--help")
            assert code == 0
            assert "Examples:\n    jobworkerp " in out or name in ("count", "list", "channels")


@pytest.mark.parametrize("command", [(), ("run",), ("workflow", "dev")])
def test_help_has_a_short_option(command: tuple[str, ...], run: Run) -> None:
    assert run(*command, "-h") == run(*command, "--help")


@pytest.mark.parametrize("arguments", [(), *((group,) for group in GROUPS)])
def test_without_a_command_the_help_is_shown_and_the_code_is_2(arguments: tuple[str, ...], run: Run) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: jobworkerp")


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("nope", "No such command 'nope'"),
        ("runner nope", "No such command 'nope'"),
        ("runner list --nope", "No such option: --nope"),
        ("runner list extra", "extra"),
        ("runner new class", "NAME 'class': no file class.py can be imported"),
        ("runner list --format yaml", "'yaml' is not one of 'table', 'card', 'json'"),
        ("runner find -i x", "Invalid value for '--id' / '-i': 'x' is not a whole number."),
        ("runner find", "Missing option '--id'"),
        ("runner create -n a -d b -r HTTP --definition x", "'MCP_SERVER', 'PLUGIN'"),
        ("worker create -n w", "missing option --runner-id"),
        ("worker create -n w -r 1 --runner-name COMMAND", "not both"),
        ("worker create -n w -r 1 -q NOWHERE", "--queue-type"),
        ("worker create -n w -r 1 --periodic -5", "--periodic"),
        ("worker update -i 1 --store-success maybe", "--store-success"),
        ("job enqueue -w 1", "Missing option '--args'"),
        ("job enqueue -w 1 -a {} -p urgent", "--priority"),
        ("job list-with-processing-status -s sleeping", "--status"),
        ("-a ftp://x runner list", "is not the address of a server"),
        ("-t -1 runner list", "--timeout"),
        ("all-in-one --channel gpu", "--channel gpu=1"),
        ("all-in-one --db a --sqlite-url sqlite://b", "not both"),
    ],
)
def test_usage_errors_are_one_line_and_code_2(command: str, complaint: str, run: Run) -> None:
    code, out, err = run(*command.split())
    assert (code, out) == (2, "")
    lines = err.splitlines()
    assert lines[0].startswith("error: ")
    assert complaint in lines[0]
    assert all(line.startswith("hint: ") for line in lines[1:])


def test_an_empty_worker_name_is_a_usage_error(run: Run) -> None:
    assert run("job", "enqueue", "-w", "", "-a", "{}") == (2, "", "error: the id or name is empty\n")


def test_no_server(run: Run) -> None:
    code, out, err = run("-a", NOBODY, "runner", "list", "--format", "json")
    assert (code, out) == (3, "")
    assert err.startswith(f"error: no server listens at {NOBODY}\nhint: start one with 'jobworkerp all-in-one'")


def test_the_address_comes_from_the_environment_or_a_dotenv_file(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("JOBWORKERP_ADDR=127.0.0.1:1\n")
    assert "http://127.0.0.1:1" in run("runner", "list")[2]
    from jobworkerp_standalone.cli.session import environment

    environment.cache_clear()
    monkeypatch.setenv("JOBWORKERP_ADDR", "localhost:2")
    assert "http://localhost:2" in run("runner", "list")[2]
    assert "http://[::1]:3" in run("-a", "[::1]:3", "runner", "list")[2]


def test_a_token_that_cannot_be_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWORKERP_AUTH_TOKEN", "gehëim")
    code, _, err = run("-a", NOBODY, "runner", "list")
    assert code == 5
    assert "the token holds characters that cannot be sent" in err


@pytest.mark.parametrize(
    ("status", "code", "hint"),
    [
        (Status.NOT_FOUND, 4, None),
        (Status.INVALID_ARGUMENT, 5, None),
        (Status.UNAUTHENTICATED, 5, "JOBWORKERP_AUTH_TOKEN"),
        (Status.DEADLINE_EXCEEDED, 5, "--timeout"),
    ],
)
def test_refusals_of_the_server(status: Status, code: int, hint: str | None) -> None:
    stop = call_failed(CallFailed(status, "first\nsecond"))
    assert (stop.code, stop.message) == (code, f"{status.name}: first second")
    assert stop.hint is None if hint is None else hint in (stop.hint or "")


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (KeyboardInterrupt(), 130, ""),
        (RuntimeError("boom"), 70, "error: defect in jobworkerp"),
        (OSError(28, "No space left on device"), 1, "error: [Errno 28] No space left on device"),
    ],
)
def test_nothing_ends_in_a_traceback(
    error: BaseException, code: int, shown: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Session, "call", fail)
    ended, out, err = run("runner", "list")
    assert (ended, out) == (code, "")
    assert "Traceback" not in err
    assert err.startswith(shown)


def test_shell_completion_knows_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_JOBWORKERP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "jobworkerp job enq")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit):
        app([], prog_name="jobworkerp")
    assert capsys.readouterr().out.split() == ["enqueue", "enqueue-for-stream", "enqueue-workflow"]


def test_all_in_one_options_become_settings(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    monkeypatch.setattr("jobworkerp_standalone.cli.all_in_one.run", seen.update)
    code, _, _ = run(
        *("all-in-one", "--grpc-addr", "127.0.0.1:0", "--db", "data/j.sqlite3", "--concurrency", "2", "--log-json"),
        *("--channel", "gpu=1", "--channel", "a=b=3", "--plugins-dir", "p", "--mcp-config", "m"),
        *("--shutdown-grace", "5", "--log-level", "DEBUG"),
    )
    assert code == 0
    assert seen == {
        "GRPC_ADDR": "127.0.0.1:0",
        "SQLITE_URL": "sqlite://data/j.sqlite3",
        "WORKER_DEFAULT_CONCURRENCY": "2",
        "WORKER_CHANNELS": "gpu,a=b",
        "WORKER_CHANNEL_CONCURRENCIES": "1,3",
        "PLUGINS_RUNNER_DIR": "p",
        "MCP_CONFIG": "m",
        "SHUTDOWN_GRACE_SEC": "5",
        "LOG_LEVEL": "debug",
        "LOG_USE_JSON": "true",
    }
    seen.clear()
    run("all-in-one")
    assert seen == {}


@pytest.mark.parametrize("form", ["card", "table"])
def test_doctor_shows_one_line_per_check(form: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_ADDR", "127.0.0.1:0")
    code, out, _ = run("doctor", "--format", form)
    assert code == 0
    assert all(name in out for name in ("settings", "port", "storage", "token", "docker", "uv", "plugins", "mcp"))


def test_doctor_fails_where_the_daemon_would_not_start(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_ADDR", "127.0.0.1:0")
    monkeypatch.setenv("MCP_CONFIG", "nowhere.toml")
    code, out, _ = run("doctor", "--format", "json")
    assert code == 1
    assert [each["state"] for each in json.loads(out) if each["name"] == "mcp"] == ["fail"]
