"""The program itself against a daemon, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import longer_and_longer
from tests.support.processes import DaemonProcess, daemon_process

PROGRAM = str(Path(sys.executable).with_name("jobworkerp"))
SHELL = "sh"
ECHO = '{"command":"echo","args":["Hello","World"]}'


class Shell:
    """Calls the program; the variables say which daemon it talks to."""

    def __init__(self, folder: Path, daemon: DaemonProcess, **variables: str) -> None:
        self._folder = folder
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("JOBWORKERP_", "USER_ID"))}
        self.variables = {**plain, "JOBWORKERP_ADDR": f"{daemon.host}:{daemon.port}", **variables}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=self._folder,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=60)
        assert "Traceback" not in err
        return process.returncode, out, err

    def json(self, *arguments: str) -> Any:
        code, out, err = self.run(*arguments, "--format", "json")
        assert code == 0, err
        return json.loads(out)

    def worker(self, name: str, *options: str) -> int:
        return self.json("worker", "create", "--name", name, "--runner-id", "1", *options)["id"]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    with daemon_process(tmp_path_factory.mktemp("daemon")) as process:
        yield process


@pytest.fixture(scope="module")
def shell(daemon: DaemonProcess, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A daemon with two workers: Direct and Later."""
    shell = Shell(tmp_path_factory.mktemp("shell"), daemon)
    stored = ("--broadcast-results", "--store-success", "--store-failure")
    shell.worker("Direct", "--settings", "", "--response-type", "DIRECT", "--max-retry", "0", *stored)
    shell.worker("Later", "--settings", "", "--response-type", "NO_RESULT", *stored)
    return shell


def command(script: str) -> str:
    return json.dumps({"command": SHELL, "args": ["-c", script]})


def test_runner_list(shell: Shell) -> None:
    code, out, err = shell.run("runner", "list")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.split() == ["id", "name", "description", "runner_type", "method_count"]
    names = {line.split()[0]: line.split()[1] for line in lines}
    assert (names["1"], names["2"], names["65535"], names["-1"]) == (
        "COMMAND",
        "HTTP_REQUEST",
        "INLINE_WORKFLOW",
        "REUSABLE_WORKFLOW",
    )


def test_runner_find(shell: Shell) -> None:
    runner = shell.json("runner", "find-by-name", "--name", "COMMAND")
    assert (runner["id"], runner["methods"]) == ("1", ["run"])
    assert "message CommandArgs" in runner["method_schemas"]["run"]["args_proto"]
    assert shell.run("runner", "find", "-i", "999")[0] == 4


def test_a_worker_from_its_creation_to_its_end(shell: Shell) -> None:
    created = shell.json(
        *("worker", "create", "--name", "Request", "--description", "", "--runner-id", "2"),
        *("--settings", '{"base_url":"https://www.example.com/search"}', "--response-type", "DIRECT"),
    )
    key = str(created["id"])
    worker = shell.json("worker", "find", "-i", key)
    assert worker["runner_settings"] == {"baseUrl": "https://www.example.com/search"}
    assert worker["retry_policy"] == {
        "type": "EXPONENTIAL",
        "interval": 800,
        "max_interval": 60_000,
        "max_retry": 1,
        "basis": 2.0,
    }

    changes = ("-q", "with_backup", "--store-success", "true", "--max-retry", "5", "--settings", '{"base_url":"x"}')
    assert shell.run("worker", "update", "-i", key, "-c", *changes)[0] == 0
    changed = shell.json("worker", "find-by-name", "-n", "Request")
    assert changed["retry_policy"] == {**worker["retry_policy"], "max_retry": 5}
    assert changed == {
        **worker,
        "queue_type": "WITH_BACKUP",
        "store_success": True,
        "runner_settings": {"baseUrl": "x"},
        "retry_policy": changed["retry_policy"],
    }

    assert "Request" in [each["name"] for each in shell.json("worker", "list")]
    assert shell.run("worker", "delete", "-i", key)[:2] == (0, "is_success: true\n")
    assert shell.run("worker", "delete", "-i", key)[0] == 1
    assert shell.run("worker", "find", "-i", key)[0] == 4
    assert shell.run("worker", "update", "-i", key, "-n", "x")[0] == 4


def test_workers_of_the_older_generation(shell: Shell) -> None:
    shell.json(
        *("worker", "create", "--name", "OneTimeFlow", "--description", "", "--runner-id", "65535"),
        *("--response-type", "DIRECT", "--settings", ""),
    )
    reusable = shell.json(
        "worker", "create", "--name", "ReusableFlow", "--runner-id", "-1", "--settings", '{"json_data":"{}"}'
    )
    assert shell.json("worker", "find", "-i", str(reusable["id"]))["runner_settings"] == {"jsonData": "{}"}


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (("-r", "1"), 5, "ALREADY_EXISTS"),
        (("-r", "nowhere"), 4, "runner 'nowhere' does not exist"),
        (("-r", "2", "-s", '{"base":1}'), 2, "known: base_url"),
        (("-r", "2", "-s", "{"), 2, "settings: not JSON"),
        (("-r", "1", "-c", "nowhere"), 5, "INVALID_ARGUMENT: channel 'nowhere'"),
    ],
)
def test_a_worker_that_cannot_be_made(options: tuple[str, ...], code: int, complaint: str, shell: Shell) -> None:
    ended, out, err = shell.run("worker", "create", "-n", "Direct", *options)
    assert (ended, out) == (code, "")
    assert err.startswith("error: ")
    assert complaint in err
    assert len(err.splitlines()) == 1


def test_settings_of_a_runner_that_takes_none_are_told(shell: Shell) -> None:
    code, _, err = shell.run("worker", "create", "-n", "Unread", "-r", "1", "-s", '{"working_dir":"/tmp"}')
    assert code == 0
    assert err == "warning: settings: runner 'COMMAND' takes none; they are kept, and nobody reads them\n"


def test_enqueue_direct(shell: Shell) -> None:
    code, out, err = shell.run("job", "enqueue", "--worker", "Direct", "--args", ECHO)
    assert (code, err) == (0, "")
    assert out.startswith("job_id: ")
    assert "status: SUCCESS\n" in out
    assert "  stdout: Hello World\n" in out

    done = shell.json("job", "enqueue", "-w", "Direct", "-a", command("printf 'a\\nb\\n'; exit 3"), "-p", "middle")
    assert (done["status"], done["output"]["stdout"], done["output"]["exitCode"]) == ("SUCCESS", "a\nb", 3)
    assert shell.json("job-result", "find", "-i", str(done["result_id"]))["output"] == done["output"]


def test_enqueue_direct_of_a_job_that_fails(shell: Shell) -> None:
    code, out, err = shell.run("job", "enqueue", "-w", "Direct", "-a", '{"command":"no-such-program"}')
    assert code == 1
    assert "status: MAX_RETRY\n" in out
    assert "no-such-program" in out
    assert err.startswith("error: job ")


@pytest.mark.parametrize(
    ("worker", "args", "code", "complaint"),
    [
        ("Nobody", ECHO, 4, "worker 'Nobody' does not exist"),
        ("999", ECHO, 4, "worker 999 does not exist"),
        ("Direct", '{"comand":"echo"}', 2, 'has no field named "comand"'),
        ("Direct", "echo", 2, "args: not JSON"),
        ("Direct", "[]", 2, "expected a JSON object"),
    ],
)
def test_a_job_that_cannot_be_enqueued(worker: str, args: str, code: int, complaint: str, shell: Shell) -> None:
    ended, out, err = shell.run("job", "enqueue", "-w", worker, "-a", args)
    assert (ended, out) == (code, "")
    assert complaint in err


def test_enqueue_later_and_listen(shell: Shell) -> None:
    job_id = str(shell.json("job", "enqueue", "-w", "Later", "-a", command("sleep 0.2; echo done"))["job_id"])
    first = shell.json("job-result", "listen", "--job-id", job_id, "--timeout", "70000", "--worker", "Later")
    again = shell.json("job-result", "listen", "--job-id", job_id, "--worker", "Later")
    assert first == again
    assert first["output"]["stdout"] == "done"
    assert [first] == shell.json("job-result", "list-by-job-id", "-j", job_id)
    assert first["result_id"] in [each["result_id"] for each in shell.json("job-result", "list", "-l", "50")]
    assert shell.run("job-result", "delete", "-i", str(first["result_id"]))[0] == 0
    assert shell.json("job-result", "list-by-job-id", "-j", job_id) == []
    assert shell.run("job-result", "find", "-i", str(first["result_id"]))[0] == 4


def test_a_stream_is_shown_while_it_runs(shell: Shell, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"echo first; while [ ! -e {gate} ]; do sleep 0.05; done; echo warning >&2; echo last"
    process = shell.start("job", "enqueue-for-stream", "-w", "Direct", "-a", command(script))
    assert process.stdout is not None
    assert process.stdout.readline() == "first\n"
    gate.touch()
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "last\n")
    assert err.startswith("job_id: ")
    assert "warning\n" in err
    assert "exitCode: 0" in err


def test_a_stream_as_json(shell: Shell) -> None:
    arguments = ("job", "enqueue-for-stream", "-w", "Direct", "-a", command("echo out; exit 5"), "--format", "json")
    code, out, _ = shell.run(*arguments)
    items = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert "".join(item.get("stdout", "") for item in items) == "out\n"
    assert items[-1]["exitCode"] == 5


def test_a_stream_that_fails(shell: Shell) -> None:
    code, out, err = shell.run("job", "enqueue-for-stream", "-w", "Direct", "-a", '{"command":"no-such-program"}')
    assert (code, out) == (1, "")
    assert "ended with MAX_RETRY: program 'no-such-program' was not found" in err


def test_listen_stream(shell: Shell) -> None:
    worker = shell.worker("Streamed", "--response-type", "NO_RESULT", "--broadcast-results")
    code, out, err = shell.run("job", "enqueue-for-stream", "-w", str(worker), "-a", command("sleep 0.3; echo heard"))
    assert (code, out) == (0, "")
    job_id = err.splitlines()[0].removeprefix("job_id: ")
    code, out, err = shell.run("job-result", "listen-stream", "-j", job_id, "-w", "Streamed", "--timeout", "20000")
    assert (code, out) == (0, "heard\n"), err


def test_jobs_that_wait_and_run(shell: Shell) -> None:
    later = str(int(time.time() * 1000) + 3_600_000)
    job_id = shell.json("job", "enqueue", "-w", "Later", "-a", ECHO, "-r", later, "-u", "once", "-t", "1500")["job_id"]
    key = str(job_id)
    job = shell.json("job", "find", "-i", key)
    assert (job["unique_key"], job["timeout_seconds"], job["arguments"]["command"]) == ("once", 1.5, "echo")
    assert shell.json("job-status", "find", "-i", key) == {"id": job_id, "status": "PENDING"}
    assert job_id in [each["id"] for each in shell.json("job", "list")]
    assert job_id in [each["id"] for each in shell.json("job-status", "search", "-s", "pending")]
    assert job_id in [each["id"] for each in shell.json("job", "list-with-processing-status", "-s", "pending")]
    assert job_id not in [each["id"] for each in shell.json("job-status", "search", "-s", "RUNNING")]
    code, _, err = shell.run("job", "enqueue", "-w", "Later", "-a", ECHO, "-u", "once")
    assert code == 5
    assert key in err
    assert shell.run("job", "delete", "-i", key)[0] == 0
    assert shell.run("job", "find", "-i", key)[0] == 4
    assert shell.run("job", "delete", "-i", key)[0] == 1


def test_a_periodic_worker_is_heard_until_interrupted(shell: Shell) -> None:
    shell.worker("Tick", "--periodic", "2000", "--response-type", "NO_RESULT", "--broadcast-results")
    process = shell.start("job-result", "listen-by-worker", "--worker", "Tick", "--format", "json")
    job_id = shell.json("job", "enqueue", "--worker", "Tick", "--args", ECHO, "--run-after-time", "1000")["job_id"]
    assert process.stdout is not None
    heard = json.loads(process.stdout.readline())
    assert (heard["job_id"], heard["output"]["stdout"]) == (job_id, "Hello World")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert shell.run("job", "delete", "--id", str(job_id))[:2] == (0, "is_success: true\n")
    assert {json.loads(line)["job_id"] for line in out.splitlines()} <= {job_id}


def test_other_groups(shell: Shell) -> None:
    (instance,) = shell.json("worker-instance", "list")
    assert shell.json("worker-instance", "find", "-i", str(instance["id"]))["channels"] == instance["channels"]
    assert shell.run("worker-instance", "find", "-i", "1")[0] == 4
    (channel,) = shell.json("worker-instance", "channels")
    assert (channel["name"], channel["active_instances"]) == ("[default]", 1)
    assert shell.json("worker-instance", "count") == {"total": 1, "active": 1}
    assert shell.json("job-status", "cleanup", "-r", "1")["deleted_count"] == 0
    assert int(shell.run("worker", "count")[1]) >= 2


def test_doctor_knows_the_daemon(shell: Shell, daemon: DaemonProcess) -> None:
    shell.variables["GRPC_ADDR"] = f"{daemon.host}:{daemon.port}"
    try:
        checks = {each["name"]: each for each in shell.json("doctor")}
    finally:
        del shell.variables["GRPC_ADDR"]
    assert "a healthy daemon is serving here" in checks["port"]["text"]


def test_no_server_and_no_reader(shell: Shell) -> None:
    code, out, err = shell.run("-a", "http://127.0.0.1:1", "job", "count")
    assert (code, out) == (3, "")
    assert err.startswith("error: no server listens at")
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as nobody:
        done = subprocess.run(
            [PROGRAM, "runner", "list"], env=shell.variables, stdout=nobody, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_call_that_takes_too_long(shell: Shell) -> None:
    for limit in longer_and_longer(300):
        code, out, err = shell.run("-t", str(limit), "job", "enqueue", "-w", "Direct", "-a", command("sleep 60"))
        if code != 3:  # it had not even heard that this is a server
            assert (code, out) == (5, "")
            assert err.startswith("error: DEADLINE_EXCEEDED")
            break


def test_the_token(tmp_path: Path) -> None:
    with daemon_process(tmp_path, AUTH_TOKEN="secret") as guarded:
        for variables, code in (({}, 5), ({"JOBWORKERP_AUTH_TOKEN": "wrong"}, 5)):
            ended, out, err = Shell(tmp_path, guarded, **variables).run("runner", "list")
            assert (ended, out) == (code, "")
            assert err.startswith("error: UNAUTHENTICATED: ")
            assert "hint: set JOBWORKERP_AUTH_TOKEN" in err
        assert Shell(tmp_path, guarded, JOBWORKERP_AUTH_TOKEN="secret").run("runner", "list")[0] == 0
        (tmp_path / ".env").write_text("JOBWORKERP_AUTH_TOKEN=secret\n")
        assert Shell(tmp_path, guarded).run("runner", "list")[0] == 0


def test_a_daemon_that_cannot_start_says_why(shell: Shell, daemon: DaemonProcess, tmp_path: Path) -> None:
    database = str(tmp_path / "jobs.sqlite3")
    taken = f"{daemon.host}:{daemon.port}"
    code, out, err = shell.run("all-in-one", "--grpc-addr", taken, "--db", database)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: GRPC_ADDR: {taken} is in use")
    code, _, err = shell.run("all-in-one", "--grpc-addr", "127.0.0.1:0", "--db", str(tmp_path / "none" / "x.sqlite3"))
    assert code == 1
    assert err.startswith("error: ")


def test_a_daemon_stops_when_interrupted(shell: Shell, tmp_path: Path) -> None:
    process = shell.start("all-in-one", "--grpc-addr", "127.0.0.1:0", "--db", str(tmp_path / "jobs.sqlite3"))
    assert process.stderr is not None
    assert "is ready" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in err


TOO_LARGE = str(2**64 + 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("job", "delete", "--id", TOO_LARGE),
        ("worker", "find", "-i", TOO_LARGE),
        ("job", "enqueue", "-w", TOO_LARGE, "-a", "{}"),
        ("job", "enqueue", "-w", "Later", "-a", "{}", "-r", TOO_LARGE),
        ("job", "enqueue", "-w", "Later", "-a", "{}", "-t", TOO_LARGE),
        ("job", "list", "-l", TOO_LARGE),
        ("job-result", "find", "-i", TOO_LARGE),
        ("worker", "create", "-n", "x", "-r", "1", "--next-workers", TOO_LARGE),
        ("worker", "create", "-n", "bad\udcff", "-r", "1"),
    ],
    ids=" ".join,
)
def test_numbers_and_texts_that_do_not_fit_are_bad_usage(shell: Shell, arguments: tuple[str, ...]) -> None:
    code, out, err = shell.run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "defect" not in err


def test_a_port_where_something_else_listens_is_no_server(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        code, _, err = shell.run("-a", f"127.0.0.1:{silent.getsockname()[1]}", "-t", "500", "runner", "list")
    assert code == 3
    assert "no answer" in err


def test_schedules_and_chains(shell: Shell) -> None:
    first = shell.worker("Last", "--response-type", "NO_RESULT")
    options = ("--cron", "30 2 * * *", "--cron-timezone", "Europe/Berlin", "--cron-misfire", "skip")
    nightly = shell.worker("Nightly", *options, "--response-type", "NO_RESULT", "--next-workers", str(first))
    worker = shell.json("worker", "find", "-i", str(nightly))
    assert (worker["cron"], worker["cron_timezone"], worker["cron_misfire"]) == ("30 2 * * *", "Europe/Berlin", "SKIP")
    assert worker["next_workers"] == [first]
    job = shell.json("job", "enqueue", "-w", "Nightly", "-a", command("true"))
    (scheduled,) = [each for each in shell.json("job", "schedule") if each["id"] == job["job_id"]]
    assert (scheduled["worker"], scheduled["schedule"]) == ("Nightly", "cron 30 2 * * * Europe/Berlin")
    assert len(scheduled["then"]) == 9
    assert [scheduled["next"], *scheduled["then"]] == sorted({scheduled["next"], *scheduled["then"]})
    assert shell.run("job", "schedule")[0] == 0
    code, _, err = shell.run(
        "worker", "create", "-n", "Bad", "-r", "1", "--cron", "61 * * * *", "--response-type", "NO_RESULT"
    )
    assert (code, "61" in err) == (5, True)
    assert shell.run("job", "delete", "-i", str(job["job_id"]))[0] == 0
