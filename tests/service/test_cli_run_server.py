"""Running workflows on a server from the command line, and ``workflow dev``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.patience import PATIENCE_SEC
from tests.support.processes import DaemonProcess, daemon_process
from tests.support.program import PROGRAM, Program, document, gone, interrupt, until

SEED = Path(__file__).parents[1] / "workflow" / "ls-test.yaml"
FINE = document("- add: {set: {sum: '${ .a + 1 }'}}")
FAULT = "{type: 'https://serverlessworkflow.io/spec/1.0.0/errors/validation', status: 400, title: No}"
WAITS = document("- ask: {set: {question: '?'}, then: wait}\n- use: {set: {got: '${ .answer }'}}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the daemon."""
    return tmp_path_factory.mktemp("daemon")


@pytest.fixture(scope="module")
def daemon(home: Path) -> Iterator[DaemonProcess]:
    with daemon_process(home) as process:
        yield process


@pytest.fixture
def program(tmp_path: Path, daemon: DaemonProcess) -> Program:
    return Program(tmp_path, JOBWORKERP_ADDR=f"{daemon.host}:{daemon.port}")


def server(daemon: DaemonProcess) -> tuple[str, str]:
    return "--server", f"{daemon.host}:{daemon.port}"


# ---------------------------------------------------------------- run --server


def test_a_run_on_a_server(program: Program, daemon: DaemonProcess) -> None:
    program.write("flow.yml", FINE)
    before = program.run("worker", "count")
    done = program.json("run", "flow.yml", "-i", '{"a": 1}', *server(daemon))
    assert (done["status"], done["output"], len(done["tasks"])) == ("completed", {"sum": 2}, 1)
    assert program.run("worker", "count") == before, "its worker ends with it"


def test_the_general_option_names_the_server_too(program: Program, daemon: DaemonProcess) -> None:
    """Its name in the environment does not: what is run without a server stays without one."""
    program.write("flow.yml", document("- who: {run: {shell: 'ps -o args= -p $PPID'}}"))
    address = f"{daemon.host}:{daemon.port}"
    assert "all-in-one" in program.json("-a", address, "run", "flow.yml")["output"]
    assert "all-in-one" not in program.json("run", "flow.yml")["output"]
    done = program.json("-a", "127.0.0.1:1", "run", "flow.yml", *server(daemon))
    assert "all-in-one" in done["output"], "the option of the command comes first"


def test_a_run_that_waits_on_a_server(program: Program, daemon: DaemonProcess) -> None:
    code, _, err = program.run("run", program.write("flow.yml", WAITS), *server(daemon))
    assert code == 3
    (told,) = program.json("workflow", "waiting", *server(daemon))
    assert (told["workflow"], told["resumesAt"]) == ("test/flow:0.1.0", "/ROOT/do/1/use")
    command = err.splitlines()[-1].partition("go on with: jobworkerp ")[2].split()
    assert told["jobId"] in command
    assert command[-2:] == ["--server", f"{daemon.host}:{daemon.port}"]
    assert program.run(*command, "-q", "--payload", '{"answer": 5}')[:2] == (0, '{\n  "got": 5\n}\n')
    assert program.json("workflow", "waiting", *server(daemon)) == []


def test_going_on_with_a_run_that_began_as_a_stream(program: Program, daemon: DaemonProcess) -> None:
    program.write("flow.yml", WAITS)
    code, _, err = program.run("job", "enqueue-workflow", "-i", "", "-w", "flow.yml", "--local")
    (told,) = program.json("workflow", "waiting", *server(daemon))
    line = f"jobworkerp workflow resume {told['jobId']} {' '.join(server(daemon))}"
    assert (code, err.splitlines()[-1]) == (3, f"the run waits; go on with: {line}")
    done = program.json(*line.split()[1:], "--payload", '{"answer": 6}')
    assert (done["status"], done["output"], done["id"]) == ("completed", {"got": 6}, told["id"])


def test_an_interrupt_ends_the_jobs_on_the_server(program: Program, daemon: DaemonProcess) -> None:
    pid = program.folder / "pid"
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000"
    program.write("flow.yml", document(f"- sleep: {{run: {{shell: {{command: {json.dumps(script)}}}}}}}"))
    with program.started("run", "flow.yml", *server(daemon)) as process:
        until(pid.exists, "the task runs")
        interrupt(process)
        process.communicate(timeout=PATIENCE_SEC)
    assert process.returncode == 130
    assert gone(pid)
    assert program.run("job-status", "list", "--format", "json")[1].strip() == "[]"


@pytest.mark.parametrize(
    "arguments", [("run", "flow.yml"), ("job", "enqueue-workflow", "-i", "", "-w", "flow.yml", "--local")]
)
def test_a_client_that_is_killed_leaves_no_worker_behind(program: Program, arguments: tuple[str, ...]) -> None:
    pid, go = program.folder / "pid", program.folder / "go"
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; until [ -e {go} ]; do sleep 0.05; done"
    program.write("flow.yml", document(f"- work: {{run: {{shell: {json.dumps(script)}}}}}"))
    before = program.json("worker", "list")
    to_server = ("--server", program.variables["JOBWORKERP_ADDR"]) if arguments[0] == "run" else ()
    with program.started(*arguments, *to_server) as process:
        until(pid.exists, "the task runs")
        process.kill()
        process.wait(PATIENCE_SEC)
    go.touch()
    until(lambda: program.json("job-status", "list") == [], "the job ends")
    assert program.json("worker", "list") == before


def test_a_run_whose_result_is_not_kept_is_told_to_be_over(tmp_path: Path) -> None:
    """Its worker has gone with it, and nobody knows the job any more."""
    go = tmp_path / "go"
    program = Program(tmp_path)
    program.write("flow.yml", document(f"- work: {{run: {{shell: 'until [ -e {go} ]; do sleep 0.05; done'}}}}"))
    small = daemon_process(tmp_path, RESULT_RETENTION_MAX_BYTES="1")
    with small as daemon, program.started("run", "flow.yml", *server(daemon)) as process:
        assert process.stderr is not None
        while "work: run started" not in process.stderr.readline():
            pass
        go.touch()
        _, err = process.communicate(timeout=PATIENCE_SEC)
    assert (process.returncode, "error" in err) in ((0, False), (5, True)), err
    assert process.returncode == 0 or "raise RESULT_RETENTION_MAX_BYTES" in err


def test_a_server_that_stops_lets_a_run_end_and_its_result_is_told(tmp_path: Path) -> None:
    pid, go = tmp_path / "pid", tmp_path / "go"
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; until [ -e {go} ]; do sleep 0.05; done; echo done"
    program = Program(tmp_path)
    program.write("flow.yml", document(f"- work: {{run: {{shell: {json.dumps(script)}}}}}"))
    with daemon_process(tmp_path) as daemon, program.started("run", "flow.yml", *server(daemon)) as process:
        until(pid.exists, "the task runs")
        daemon.signal(signal.SIGTERM)
        until(lambda: any("stopping" in line for line in daemon.lines), "the daemon stops")
        go.touch()
        out, err = process.communicate(timeout=PATIENCE_SEC)
    assert (process.returncode, out) == (0, "done\n"), err
    assert "error" not in err


def test_a_server_that_is_not_there(program: Program) -> None:
    code, out, err = program.run("run", program.write("flow.yml", FINE), "--server", "127.0.0.1:1")
    assert (code, out) == (5, "")
    assert err.startswith("error: no server listens at http://127.0.0.1:1")
    assert program.run("-a", "127.0.0.1:1", "job", "enqueue-workflow", "-i", "", "-w", "flow.yml")[0] == 5
    assert program.run("-a", "127.0.0.1:1", "job", "create-workflow", "-n", "a", "-w", "flow.yml")[0] == 3
    assert program.run("workflow", "waiting", "--server", "127.0.0.1:1")[0] == 3


# ---------------------------------------------------------------- job enqueue-workflow, job create-workflow


def test_enqueue_workflow_reads_the_file_in_the_directory_of_the_server(program: Program, home: Path) -> None:
    shutil.copy(SEED, home / "ls.yml")
    folder = program.folder / "made up"
    (folder / "data").mkdir(parents=True)
    code, out, err = program.run("job", "enqueue-workflow", "-i", str(folder), "-w", "./ls.yml", "--format", "json")
    assert code == 0, err
    states = [json.loads(line) for line in out.splitlines()]
    assert (states[0]["position"], states[0]["status"]) == ("/ROOT/do/0/ListWorker", "Running")
    assert (states[-1]["position"], states[-1]["status"]) == ("/ROOT/do/1/EachFileIteration", "Completed")


def test_a_result_is_read_by_the_schema_of_its_runner_where_its_worker_is_gone(program: Program) -> None:
    arguments = "{command: sh, args: [-c, 'printf out; exit 3']}"
    kept = f"{{name: COMMAND, arguments: {arguments}, options: {{storeSuccess: true}}}}"
    program.write("flow.yml", document(f"- list: {{run: {{runner: {kept}}}}}"))
    assert program.run("job", "enqueue-workflow", "-w", "flow.yml", "--local")[0] == 0
    row = program.json("job-result", "list", "--limit", "1")[0]
    assert row["worker_name"].startswith("list")
    assert (row["output"]["exitCode"], row["output"]["stdout"]) == (3, "out")
    assert program.json("job-result", "find", "--id", str(row["result_id"])) == row
    assert program.json("job-result", "list-by-job-id", "--job-id", str(row["job_id"])) == [row]


def test_enqueue_workflow_sends_a_file_of_this_machine(program: Program) -> None:
    program.write("mine.yml", FINE)
    code, out, err = program.run("job", "enqueue-workflow", "-i", '{"a": 1}', "-w", "mine.yml")
    assert (code, out) == (2, ""), err
    assert "mine.yml" in err
    assert "--local" in err.splitlines()[-1]
    last = program.run("job", "enqueue-workflow", "-i", '{"a": 1}', "-w", "mine.yml", "--local", "--format", "json")
    assert last[0] == 0, last[2]
    assert json.loads(json.loads(last[1].splitlines()[-1])["output"]) == {"sum": 2}


@pytest.mark.parametrize(
    ("text", "code", "last_line"),
    [
        (document(f"- bad: {{raise: {{error: {FAULT}}}}}"), 1, "error: No (validation, 400 at /do/0/bad)"),
        (document("- bad: {sett: {a: 1}}"), 2, "did you mean 'set'?"),
        (document("- a: {set: {a: 1}}", {"input": {"schema": {"document": {"type": "object"}}}}), 2, "-i gives one"),
    ],
)
def test_enqueue_workflow_ends_as_run_does(program: Program, text: str, code: int, last_line: str) -> None:
    """With the same code and one line that people can read, however the document is wrong; no input is needed."""
    before = program.run("worker", "count")
    told = program.run("job", "enqueue-workflow", "--workflow-data", text)
    assert (told[0], last_line in told[2].splitlines()[-1]) == (code, True), told
    ran = program.run("run", "-q", program.write("flow.yml", text), "--server", program.variables["JOBWORKERP_ADDR"])
    assert (ran[0], last_line in ran[2]) == (code, True), ran
    assert program.run("worker", "count") == before


def test_enqueue_workflow_says_which_files_the_server_may_not_read(program: Program) -> None:
    outside = program.run("job", "enqueue-workflow", "-w", "/etc/hostname")
    assert outside[0] == 2
    assert "WORKFLOW_ALLOWED_ROOTS" in outside[2]


@pytest.mark.parametrize("later_ms", [0, 500, 3_000])
def test_enqueue_workflow_runs_one_later(program: Program, later_ms: int) -> None:
    """Later than the server looks ahead as well, so that the job is a row when it begins."""
    program.write("flow.yml", FINE)
    before = program.json("worker", "list")
    at_ms = round(time.time() * 1000) + later_ms
    last = ("--run-after-time", str(at_ms), "--format", "json")
    code, out, err = program.run("job", "enqueue-workflow", "-i", '{"a": 1}', "-w", "flow.yml", "--local", *last)
    assert (code, json.loads(json.loads(out.splitlines()[-1])["output"])) == (0, {"sum": 2}), err
    assert time.time() * 1000 >= at_ms
    assert program.json("worker", "list") == before


def test_create_workflow_makes_a_worker(program: Program) -> None:
    program.write("flow.yml", FINE)
    made = program.json(
        "job", "create-workflow", "-n", "Adder", "--workflow-data", "@flow.yml", "--store-success", "true"
    )
    worker = program.json("worker", "find-by-name", "-n", "Adder")
    assert (worker["id"], worker["store_success"]) == (made["worker_id"], True)
    code, out, err = program.run("job", "enqueue", "-w", "Adder", "--using", "run", "-a", '{"input": "{\\"a\\": 1}"}')
    assert code == 0, err
    assert '{"sum":2}' in out
    code, _, err = program.run("job", "create-workflow", "-n", "Adder", "--workflow-data", "@flow.yml")
    assert code == 1
    assert "Adder" in err


def test_create_workflow_keeps_the_schedule(program: Program) -> None:
    program.write("flow.yml", document("- a: {set: {b: 1}}", {"schedule": {"every": {"hours": 1}}}))
    program.json("job", "create-workflow", "-n", "Hourly", "-w", "flow.yml", "--local")
    assert program.json("worker", "find-by-name", "-n", "Hourly")["periodic_interval"] == 3_600_000


# ---------------------------------------------------------------- workflow dev


def test_dev_runs_again_from_the_first_changed_task(tmp_path: Path) -> None:
    program = Program(tmp_path)
    ran = tmp_path / "ran"

    def version(second: str, third: str) -> str:
        first = f"{{command: 'echo first >> {ran}; printf 1'}}"
        tasks = [
            f"- first: {{run: {{shell: {first}}}, export: {{as: '${{ {{seen: .}} }}'}}}}",
            f"- second: {{run: {{shell: {{command: 'echo second >> {ran}; {second}'}}}}}}",
            f"- third: {third}",
        ]
        return document("\n".join(tasks))

    def save(text: str) -> None:
        program.write("flow.new", text)
        os.replace(tmp_path / "flow.new", tmp_path / "flow.yml")

    shows = "{{set: {{from: '${{ $context.seen }}', {}: 1}}}}"
    save(version("printf 2", shows.format("a")))
    with program.started("workflow", "dev", "flow.yml") as process:
        until_it_waits(process)
        assert ran.read_text().split() == ["first", "second"]
        save(version("printf 2", shows.format("b")))
        assert "going on after /do/1/second" in until_it_waits(process)
        assert ran.read_text().split() == ["first", "second"], "nothing of it ran again"
        save(version("printf 3", f"{{raise: {{error: {FAULT}}}}}"))
        told = until_it_waits(process)
        assert "going on after /do/0/first" in told
        assert "error: No (validation, 400 at /do/2/third)" in told
        assert ran.read_text().split() == ["first", "second", "second"]
        save(version("printf 3", shows.format("c")))
        assert "going on after /do/1/second" in until_it_waits(process)
        assert ran.read_text().split() == ["first", "second", "second"]
        save("do: [")
        assert "error" in until_it_waits(process)
        interrupt(process)
        out, _ = process.communicate(timeout=PATIENCE_SEC)
    assert process.returncode == 0
    assert [line.strip() for line in out.splitlines() if '"from"' in line] == ['"from": "1",'] * 3


def test_dev_looks_at_the_files_that_the_document_and_the_options_name(tmp_path: Path) -> None:
    program = Program(tmp_path)
    ran = tmp_path / "ran"

    def save(name: str, text: str) -> None:
        program.write(f"{name}.new", text)
        os.replace(tmp_path / f"{name}.new", tmp_path / name)

    save("kid.yml", document("- k: {set: {v: 1}}"))
    save("in.json", "1")
    save(
        "flow.yml",
        document(
            f"- first: {{run: {{shell: {{command: 'echo ran >> {ran}'}}}}}}\n"
            "- kid: {run: {workflow: {workflowUrl: ./kid.yml}}}\n"
            "- last: {set: {kid: '${ .output | fromjson | .v }', in: '${ $workflow.input }'}}"
        ),
    )
    with program.started("workflow", "dev", "flow.yml", "-i", "@in.json") as process:
        until_it_waits(process)
        save("kid.yml", document("- k: {set: {v: 2}}"))
        assert "going on after /do/0/first" in until_it_waits(process)
        assert ran.read_text().split() == ["ran"]
        save("in.json", "5")
        assert "going on" not in until_it_waits(process)
        (tmp_path / "kid.yml").unlink()
        save("kid.yml", document("- k: {set: {v: 3}}"))
        assert "going on after /do/0/first" in until_it_waits(process)
        interrupt(process)
        out, _ = process.communicate(timeout=PATIENCE_SEC)
    shown = [
        json.loads(f"{{{part}}}") for part in out.replace("\n", "").replace("}{", "}\0{").strip("{}").split("}\0{")
    ]
    assert [(each["kid"], each["in"]) for each in shown] == [(1, 1), (2, 1), (2, 5), (3, 5)]
    assert ran.read_text().split() == ["ran", "ran"]


def test_dev_says_what_a_first_interrupt_does_to_a_run_that_ends_as_its_file_was_saved(tmp_path: Path) -> None:
    program = Program(tmp_path)
    busy = "{command: \"trap '' TERM; touch began; while :; do sleep 1; done\"}"
    program.write("flow.yml", document(f"- busy: {{run: {{shell: {busy}}}}}"))
    with program.started("workflow", "dev", "flow.yml") as process:
        until((tmp_path / "began").exists, "the shell that ends slowly runs")
        program.write("new.yml", FINE)
        os.replace(tmp_path / "new.yml", tmp_path / "flow.yml")
        until_it_says(process, "saved: the run begins again")
        interrupt(process)
        until_it_says(process, "cancelling: the jobs of the run are ended; once more does not wait for them")
        interrupt(process)
        process.communicate(timeout=PATIENCE_SEC)
    assert process.returncode == 130


def until_it_waits(process: subprocess.Popen[str]) -> str:
    """Return what ``workflow dev`` says up to where it waits for the file."""
    return until_it_says(process, "to be saved")


def until_it_says(process: subprocess.Popen[str], wanted: str) -> str:
    """Return what a command says up to a line with certain words."""
    assert process.stderr is not None
    lines: list[str] = []
    while not (lines and wanted in lines[-1]):
        lines.append(process.stderr.readline())
        assert lines[-1], "".join(lines)
    return "".join(lines)


def test_dev_goes_on_with_a_run_that_waits_when_somebody_types(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.write("flow.yml", WAITS)
    process = subprocess.Popen(
        [PROGRAM, "workflow", "dev", "flow.yml"],
        cwd=tmp_path,
        env=program.variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    try:
        said = until_it_waits(process)
        assert "the run waits before /ROOT/do/1/use" in said
        assert "resume" not in said
        process.stdin.write("{oh\n")
        process.stdin.write('{"answer": 42}\n')
        process.stdin.flush()
        assert process.stdout is not None
        shown = "".join(process.stdout.readline() for _ in range(6))
        assert shown == '{\n  "question": "?"\n}\n{\n  "got": 42\n}\n'
        assert process.stderr is not None
        while "what was typed is not JSON" not in (line := process.stderr.readline()):
            assert line, "what is no JSON is told"
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_SEC)


def test_dev_says_once_that_the_file_is_gone_and_goes_on_when_it_is_back(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program.write("flow.yml", FINE)
    with program.started("workflow", "dev", "flow.yml", "-i", '{"a": 1}') as process:
        until_it_waits(process)
        os.rename(tmp_path / "flow.yml", tmp_path / "aside.yml")
        assert process.stderr is not None
        assert process.stderr.readline() == "flow.yml is gone; it is run again when it is back\n"
        os.rename(tmp_path / "aside.yml", tmp_path / "flow.yml")
        assert "gone" not in until_it_waits(process)
        interrupt(process)
        out, _ = process.communicate(timeout=PATIENCE_SEC)
    assert out.count('"sum": 2') == 2


def test_dev_begins_again_when_the_file_is_saved_meanwhile(tmp_path: Path) -> None:
    program = Program(tmp_path)
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000"
    program.write("flow.yml", document(f"- sleep: {{run: {{shell: {{command: '{script}'}}}}}}"))
    with program.started("workflow", "dev", "flow.yml") as process:
        until(pid.exists, "the task runs")
        program.write("flow.yml", document("- a: {set: {done: true}}"))
        assert "saved: the run begins again" in until_it_waits(process)
        assert gone(pid)
        interrupt(process)
        out, _ = process.communicate(timeout=PATIENCE_SEC)
    assert (process.returncode, json.loads(out)) == (0, {"done": True})
