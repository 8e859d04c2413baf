"""``jobworkerp run`` and ``workflow resume`` as real processes, without a server."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest

from tests.support.patience import PATIENCE_SEC
from tests.support.program import PROGRAM, Program, document, gone, interrupt, until
from tests.support.terminal import on_terminal

SEED = Path(__file__).parents[1] / "workflow" / "ls-test.yaml"
FINE = document("- add: {set: {sum: '${ .a + 1 }'}}")
FAULTS = document(
    """
- careful:
    try:
      - bad: {raise: {error: {type: "https://serverlessworkflow.io/spec/1.0.0/errors/runtime", status: 500, title: Oh}}}
    catch:
      do:
        - calm: {set: {a: 1}}
- left: {if: "${ false }", set: {a: 2}}
- bad:
    raise:
      error:
        {type: "https://serverlessworkflow.io/spec/1.0.0/errors/validation", status: 400, title: No way, detail: "\\na"}
"""
)
WAITS = document("- ask: {set: {question: '?'}, then: wait}\n- use: {set: {got: '${ .answer }'}}")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def sleeper(pid: Path, before: str = "") -> str:
    script = f"{before} echo $$ > {pid}.new; mv {pid}.new {pid}; while :; do sleep 0.1; done"
    return document(f"- sleep: {{run: {{shell: {{command: {json.dumps(script)}}}}}}}")


# ---------------------------------------------------------------- exit codes and forms


def test_a_working_directory_that_was_deleted_is_told(tmp_path: Path) -> None:
    (tmp_path / "flow.yml").write_text(FINE)
    inside = Program(tmp_path / "gone")
    inside.folder.mkdir()
    script = f'rmdir "$PWD" && exec {PROGRAM} run {tmp_path}/flow.yml'
    shell = ["sh", "-c", script]
    done = subprocess.run(
        shell,
        cwd=inside.folder,
        env=inside.variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SEC,
    )
    assert (done.returncode, "the working directory was deleted: change to one" in done.stderr) == (2, True), done
    assert len(done.stderr.splitlines()) == 1


def test_a_run_that_completes(program: Program) -> None:
    program.write("flow.yml", FINE)
    code, out, err = program.run("run", "flow.yml", "-i", '{"a": 1}')
    assert (code, json.loads(out)) == (0, {"sum": 2})
    lines = [line.split(" ", 1)[1] for line in err.splitlines()]
    assert lines[0].endswith("of test/flow:0.1.0")
    assert lines[1] == "/ROOT/do/0/add: set started"
    assert lines[2].startswith("/ROOT/do/0/add: completed after ")
    assert "\x1b" not in err + out
    assert not list(program.folder.glob("state/**/*")), "nothing is kept of a run that cannot wait"


@pytest.mark.parametrize(
    ("option", "stdin"),
    [('{"a": 41}', ""), ("@in.json", ""), ("-", '{"a": 41}')],
)
def test_where_the_input_comes_from(program: Program, option: str, stdin: str) -> None:
    program.write("flow.yml", FINE)
    program.write("in.json", '{"a": 41}')
    assert program.run("run", "flow.yml", "-q", "-i", option, stdin=stdin) == (0, '{\n  "sum": 42\n}\n', "")


def test_a_line_of_the_env_file_that_is_none_is_told_with_its_place(program: Program) -> None:
    program.write(".env", "A=1\nnonsense here\nB=2\n")
    program.write("flow.yml", FINE)
    code, _, err = program.run("run", "flow.yml", "-q", "-i", '{"a":1}')
    assert code == 0
    assert err == f"warning: {program.folder}/.env:2 is not NAME=VALUE and left out\n"


def test_file_from_standard_input_variables_and_text(program: Program) -> None:
    text = document("- say: {set: {said: '${ $greeting + .}'}, output: {as: '${ .said }'}}")
    code, out, err = program.run("run", "-", "-q", "-i", "Ada", "--context", '{"greeting": "hello "}', stdin=text)
    assert (code, out, err) == (0, "hello Ada\n", "")


def test_a_run_that_faults(program: Program) -> None:
    program.write("flow.yml", FAULTS)
    code, out, err = program.run("run", "flow.yml", "--junit", "report.xml")
    assert (code, out) == (1, "")
    assert err.splitlines()[-2:] == ["error: No way: a (validation, 400 at /do/2/bad)", "  at flow.yml:10:5"]
    assert re.search(r"/ROOT/do/2/bad: FAULTED after \d+ ms: No way: a \(validation, 400\)$", err, re.MULTILINE)
    top = fromstring((program.folder / "report.xml").read_text())
    assert set(top.attrib) == {"name", "tests", "failures", "errors", "time"}
    (suite,) = top
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "2", "1")
    cases = {case.get("name"): case for case in suite}
    assert list(cases) == [
        "do/0/careful",
        "do/0/careful/try/0/bad",
        "do/0/careful/catch/do/0/calm",
        "do/1/left",
        "do/2/bad",
        "flow.yml as a whole",
    ]
    caught = cases["do/0/careful/try/0/bad"].find("system-out")
    assert caught is not None
    assert "was caught: Oh" in (caught.text or "")
    failure = cases["do/2/bad"].find("failure")
    assert failure is not None
    assert failure.get("message") == "No way: a (validation, 400)"
    assert {case.get("classname") for case in suite} == {"test.flow"}


def test_what_xml_cannot_hold_is_left_out_of_a_report(program: Program) -> None:
    title = r'${ "a\u0000b\u001b[31mc & <d>" }'
    error = {"type": "https://x.org/e", "status": 400, "title": title, "detail": title}
    program.write("flow.yml", document(f"- bad: {{raise: {{error: {json.dumps(error)}}}}}"))
    assert program.run("run", "flow.yml", "-q", "--junit", "report.xml")[0] == 1
    failure = next(fromstring((program.folder / "report.xml").read_text()).iter("failure"))
    assert (failure.get("message") or "").startswith(r"a\x00b\x1b[31mc & <d>")
    assert failure.text == "a?b?[31mc & <d>"


@pytest.mark.parametrize("option", ["-i", "--context"])
def test_standard_input_is_one_thing_only(program: Program, option: str) -> None:
    code, out, err = program.run("run", "-", option, "-", stdin=FINE)
    assert (code, out, "only one of FILE, --input and --context" in err) == (2, "", True)


def test_json_tells_status_output_and_tasks(program: Program) -> None:
    program.write("fine.yml", FINE)
    program.write("faults.yml", FAULTS)
    fine = program.json("run", "fine.yml", "-i", '{"a": 1}')
    assert (fine["status"], fine["output"], [each["state"] for each in fine["tasks"]]) == (
        "completed",
        {"sum": 2},
        ["completed"],
    )
    faulted = program.json("run", "faults.yml", code=1)
    assert faulted["position"] == f"/ROOT{faulted['error']['instance']}"
    assert (faulted["status"], faulted["error"]["title"], faulted["error"]["instance"]) == (
        "faulted",
        "No way",
        "/do/2/bad",
    )
    states = {each["name"]: each["state"] for each in faulted["tasks"]}
    assert states == {"careful": "completed", "calm": "completed", "left": "skipped", "bad": "faulted"}


def test_attempts_and_last_lines_are_told(program: Program) -> None:
    catch = "{retry: {delay: {milliseconds: 1}, limit: {attempt: {count: 2}}}, do: [{stop: {set: {a: 1}}}]}"
    fault = '{type: "https://serverlessworkflow.io/spec/1.0.0/errors/timeout", status: 408, title: Slow}'
    tasks = f"""
- flaky: {{try: [{{slow: {{raise: {{error: {fault}}}}}}}], catch: {catch}}}
- say: {{run: {{shell: {{command: 'printf "one\\ntwo\\n"'}}}}}}
"""
    program.write("flow.yml", document(tasks))
    code, out, err = program.run("run", "flow.yml", "--format", "json")
    assert code == 0, err
    flaky, slow, stop, say = json.loads(out)["tasks"]
    assert (flaky["state"], flaky["attempts"], slow["runs"], stop["state"]) == ("completed", 3, 3, "completed")
    assert (slow["state"], slow["error"]["title"], say["lastLine"]) == ("faulted", "Slow", "two")
    assert re.search(r"/ROOT/do/0/flaky: retry 2 in \d+ ms", err)
    assert re.search(r"/ROOT/do/1/say: completed after .*: two$", err, re.MULTILINE)


def test_an_exit_code_that_is_no_fault_is_told(program: Program) -> None:
    tasks = """
- tests: {run: {shell: {command: 'echo passed 3; echo failed 1 >&2; exit 3'}}}
- killed: {run: {shell: {command: 'kill -9 $$'}}}
- fine: {run: {shell: {command: 'echo done; echo note >&2'}}}
"""
    program.write("flow.yml", document(tasks))
    code, out, err = program.run("run", "flow.yml", "--format", "json")
    assert code == 0, err
    told = [each["lastLine"] for each in json.loads(out)["tasks"]]
    assert told == ["exit code 3: failed 1", "killed by a signal", "done"]
    assert re.search(r"/ROOT/do/0/tests: completed after .*: exit code 3: failed 1$", err, re.MULTILINE)


def test_events_are_lines_of_json(program: Program) -> None:
    program.write("flow.yml", FINE)
    code, out, err = program.run("run", "flow.yml", "-i", '{"a": 1}', "--events", "ndjson")
    events = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [each["kind"] for each in events] == [
        "workflowStarted",
        "taskStarted",
        "taskStarted",
        "taskCompleted",
        "workflowEnded",
        "result",
    ]
    assert [each["sequence"] for each in events[:-1]] == [1, 2, 3, 4, 5]
    assert events[3]["position"] == "/ROOT/do/0/add"
    assert (events[-1]["status"], events[-1]["output"]) == ("completed", {"sum": 2})


@pytest.mark.parametrize(
    ("text", "arguments", "complaint"),
    [
        (document("- a: {sett: {}}"), (), "flow.yml:3:8: error: the task has no kind"),
        (": :", (), "flow.yml"),
        (FINE, ("--context", "[1]"), "error: --context is not a JSON object"),
        (FINE, ("--context", "{"), "error: --context is not JSON"),
        (FINE, ("--context", '{"a": NaN}'), "error: --context is not JSON: NaN"),
        (FINE, ("--context", "[" * 5_000), "error: --context is not JSON: it is nested too deeply"),
        (FINE, ("-i", "@missing.json"), "error: --input: 'missing.json' cannot be read"),
        (FINE, ("--server", "http://127.0.0.1:1", "--db", "x"), "error: give --server or --db, not both"),
        (FINE, ("-i", "@broken.json"), "error: --input: broken.json is not JSON: "),
        (FINE, ("--server", ""), "error: --server is empty: give it a value, or leave it out"),
        (FINE, ("--db", ""), "error: --db is empty"),
        (FINE, ("--junit", ""), "error: --junit is empty"),
        (FINE, ("--junit", "."), "error: --junit: . cannot be written: Is a directory"),
        (FINE, ("--junit", "flow.yml/r.xml"), "error: --junit: flow.yml/r.xml cannot be written: Not a directory"),
        (FINE, ("--format", "json", "--events", "ndjson"), "error: give --format json or --events, not both"),
        (
            document("- a: {set: {b: 1}}", {"input": {"schema": {"document": {"type": "object", "required": ["x"]}}}}),
            ("-i", "{}"),
            "'x' is a required property",
        ),
        (
            document("- a: {set: {b: 1}}", {"input": {"schema": {"document": {"type": ["object", "string"]}}}}),
            ("-i", "[null, true]"),
            "error: the input is not what its schema allows: [null, true] is not of type 'object', 'string' (",
        ),
    ],
)
def test_what_cannot_be_right(program: Program, text: str, arguments: tuple[str, ...], complaint: str) -> None:
    program.write("flow.yml", text)
    program.write("broken.json", '{"a": ')
    code, out, err = program.run("run", "flow.yml", *arguments)
    assert (code, out) == (2, ""), err
    assert complaint in err


def test_an_input_that_is_missing_is_named_with_its_option(program: Program) -> None:
    program.write("flow.yml", document("- a: {set: {b: 1}}", {"input": {"schema": {"document": {"type": "object"}}}}))
    code, _, err = program.run("run", "flow.yml")
    assert (code, err.splitlines()[-2:]) == (
        2,
        [
            "error: the input is not what its schema allows: null is not of type 'object' (validation, 400 at /input)",
            "hint: no input was given; -i gives one",
        ],
    )
    assert "hint" not in program.run("run", "flow.yml", "-i", "1")[2]


INVALID = document("- a: {sett: {}}\n- b: {set: {c: '${ . | }'}}")


def test_a_document_that_is_invalid_is_told_to_machines_as_well(program: Program) -> None:
    program.write("flow.yml", INVALID)
    told = program.json("run", "flow.yml", "--junit", "out/report.xml", code=2)
    assert (told["status"], told["tasks"], told["error"]) == ("invalid", [], {"title": "flow.yml has 2 errors"})
    assert told["findings"] == program.json("workflow", "check", "flow.yml", code=2)
    assert [(each["line"], each["pointer"]) for each in told["findings"]] == [(3, "/do/0/a"), (4, "/do/1/b/set/c")]
    (suite,) = fromstring((program.folder / "out/report.xml").read_text())
    assert (suite.get("tests"), suite.get("errors"), suite.get("failures")) == ("2", "2", "0")
    assert [case.get("name") for case in suite] == ["flow.yml:3:8", "flow.yml:4:18"]
    errors = [case.find("error") for case in suite]
    assert [each.get("message") for each in errors if each is not None] == [
        "the task has no kind",
        told["findings"][1]["message"],
    ]

    code, out, err = program.run("run", "flow.yml", "--events", "ndjson")
    assert (code, json.loads(out)) == (2, {"kind": "result", **{key: told[key] for key in told if key != "tasks"}})
    assert err.splitlines()[-1] == "error: flow.yml has 2 errors"

    gone = program.json("run", "none.yml", code=2)
    assert gone["findings"][0]["message"] == "cannot be read: No such file or directory"
    code, _, err = program.run("run", "flow.yml", "--junit", "flow.yml/x")
    assert (code, err) == (2, "error: --junit: flow.yml/x cannot be written: Not a directory\n")


def test_events_speak_as_the_result_does(program: Program) -> None:
    """Ids are texts, statuses words, values no JSON within JSON; of a fault the output is nothing."""
    raised = '{type: "https://example.com/x", status: 400, title: No}'
    program.write("flow.yml", document(f"- list: {{run: {{shell: 'true'}}}}\n- bad: {{raise: {{error: {raised}}}}}"))
    code, out, _ = program.run("run", "flow.yml", "--events", "ndjson")
    events = {each["kind"]: each for each in map(json.loads, out.splitlines())}
    assert code == 1
    assert events["jobStarted"]["jobId"].isdecimal()
    ended, result = events["workflowEnded"], events["result"]
    assert {key: ended[key] for key in ("status", "output", "error")} == {
        key: result[key] for key in ("status", "output", "error")
    }
    assert (ended["status"], ended["output"], ended["error"]["title"]) == ("faulted", None, "No")
    program.write("fine.yml", FINE)
    code, out, _ = program.run("run", "fine.yml", "-i", '{"a": 1}', "--events", "ndjson")
    last = json.loads(out.splitlines()[-2])
    assert (last["kind"], last["status"], last["output"]) == ("workflowEnded", "completed", {"sum": 2})
    code, out, err = program.run("run", "fine.yml", "--events", "ndjson", "--format", "json")
    assert (code, out, "--format json or --events" in err) == (2, "", True)


def test_what_ended_a_run_from_outside_has_a_type(program: Program) -> None:
    pid = program.folder / "pid"
    program.write("flow.yml", sleeper(pid))
    with program.started("run", "flow.yml", "--format", "json") as process:
        until(pid.exists, "the task runs")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE_SEC)
    error = json.loads(out)["error"]
    assert (error["type"], error["title"], "SIGTERM" in error["detail"]) == ("cancelled", "the run was cancelled", True)
    error = program.json("run", "flow.yml", "--timeout", "1500", code=1)["error"]
    assert error["type"] == "https://serverlessworkflow.io/spec/1.0.0/errors/timeout"
    assert (error["status"], error["title"], "1500 ms" in error["detail"]) == (408, "timeout", True)


def test_run_is_no_command_of_the_group_workflow(program: Program) -> None:
    code, out, err = program.run("workflow", "run", "x.yml", "-q")
    assert (code, out, err) == (2, "", "error: a workflow is run by 'jobworkerp run FILE'\n")


def test_who_cannot_reach_a_server_reads_of_the_option_of_run(program: Program) -> None:
    program.write("flow.yml", FINE)
    code, _, err = program.run("run", "flow.yml", "--server", "http://127.0.0.1:9")
    assert (code, err.splitlines()[-1].endswith("or name another with --server")) == (5, True), err


def test_a_file_that_is_not_there(program: Program) -> None:
    code, out, err = program.run("run", "none.yml")
    assert (code, out) == (2, "")
    assert err.startswith("error: none.yml cannot be read")
    assert program.run("run", "-", "-i", "-")[0] == 2
    code, _, err = program.run("run", "https://example.com/flow.yml")
    assert (code, "curl -fsSL https://example.com/flow.yml | jobworkerp run -" in err) == (2, True)


@pytest.mark.parametrize("arguments", [("run",), ("workflow", "check"), ("workflow", "graph"), ("worker", "apply")])
def test_a_document_without_an_end_is_not_read_to_its_end(program: Program, arguments: tuple[str, ...]) -> None:
    code, out, err = program.run(*arguments, "/dev/zero")
    assert code == 2
    assert "/dev/zero" in out + err
    assert "cannot be read: it is larger than 10 MiB" in out + err


@pytest.mark.parametrize("option", ["--input", "--context"])
def test_a_value_without_an_end_is_not_read_to_its_end(program: Program, option: str) -> None:
    code, out, err = program.run("run", program.write("flow.yml", FINE), option, "@/dev/zero")
    assert (code, out) == (2, "")
    assert err == f"error: {option}: '/dev/zero' cannot be read: it is larger than 64 MiB\n"


def test_nothing_from_outside_acts_on_the_terminal(program: Program) -> None:
    text = document(
        """
- "na\\x1b[31mme":
    raise:
      error: {type: "https://serverlessworkflow.io/spec/1.0.0/errors/runtime", status: 500, title: "\\x1b]0;owned\\x07"}
"""
    )
    program.write("flow.yml", text)
    code, _, err = program.run("run", "flow.yml")
    assert (code, "\x1b" in err, "\x07" in err) == (1, False, False)
    assert re.search(r"/ROOT/do/0/na\\x1b\[31mme: FAULTED after \d+ ms: \\x1b\]0;owned\\x07 \(runtime, 500\)", err)
    for form in ("mermaid", "svg"):
        code, out, _ = program.run("workflow", "graph", "flow.yml", "--format", form)
        assert (code, "\x1b" in out) == (0, False)
    assert "na\\x1b[31mme" in "".join(fromstring(out).itertext())
    shown = on_terminal(program, "run", "flow.yml", code=1)
    assert "\x1b]0;" not in shown
    assert "\\x1b]0;owned" in shown


def test_warnings_of_the_check_are_told(program: Program) -> None:
    program.write("flow.yml", FINE.replace("document:", "documnt: {}\ndocument:"))
    warning = next(line for line in program.run("workflow", "check", "flow.yml")[1].splitlines() if "warning" in line)
    for form in ("text", "json"):
        code, out, err = program.run("run", "flow.yml", "--format", form)
        assert (code, warning in err.splitlines(), warning in out) == (0, True, False)
    assert program.run("run", "flow.yml", "-q")[2] == ""


def test_a_report_that_cannot_be_written_costs_no_output(program: Program) -> None:
    program.write("fine.yml", FINE)
    program.write("faults.yml", FAULTS)
    code, out, err = program.run("run", "fine.yml", "-q", "--junit", "/dev/full", "-i", '{"a":1}')
    assert (code, json.loads(out)) == (2, {"sum": 2})
    assert err == "error: --junit: /dev/full cannot be written: No space left on device\n"
    code, _, err = program.run("run", "faults.yml", "-q", "--junit", "/dev/full")
    assert (code, len(err.splitlines())) == (1, 3), "the fault says more"
    assert program.run("run", "fine.yml", "-q", "--junit", "new/folder/r.xml", "-i", '{"a":1}')[0] == 0
    assert fromstring((program.folder / "new/folder/r.xml").read_text()).get("failures") == "0"


def test_paths_in_a_document_are_looked_for_beside_it(program: Program) -> None:
    folder = program.folder / "flows"
    folder.mkdir()
    (folder / "kid.yml").write_text(FINE)
    (folder / "hello.py").write_text("print('beside')")
    kid = "{run: {workflow: {workflowUrl: ./kid.yml, input: {a: 1}}}}"
    script = "{run: {script: {language: python, source: {endpoint: ./hello.py}}}}"
    program.write("flows/flow.yml", document(f"- kid: {kid}\n- hello: {script}"))
    told = program.json("run", "flows/flow.yml")
    assert (told["output"].strip(), [each["state"] for each in told["tasks"]]) == ("beside", ["completed"] * 2)
    (program.folder / "hello.py").write_text("print('here')")
    assert program.run("run", "flows/flow.yml", "-q")[1].strip() == "here", "the working directory comes first"
    (folder / "kid.yml").unlink()
    code, _, err = program.run("run", "flows/flow.yml", "-q")
    assert code == 1
    assert f"(looked for at {program.folder}/kid.yml and {folder}/kid.yml)" in err


def test_who_runs_a_document_here_may_name_hidden_files(program: Program) -> None:
    program.write(".hello.py", "print('hidden')")
    program.write(".flow", document("- a: {run: {script: {language: python, source: {endpoint: ./.hello.py}}}}"))
    assert program.json("run", ".flow")["output"].strip() == "hidden"


def test_variables_that_no_expression_sees_are_told(program: Program) -> None:
    program.write("flow.yml", document("- a: {set: {x: '${ $input }', y: '${ $mine }'}}"))
    code, out, err = program.run("run", "flow.yml", "-q", "-i", "1", "--context", '{"input": 5, "mine": 6}')
    assert (code, json.loads(out)) == (0, {"x": 1, "y": 6})
    assert err == "warning: no expression sees 'input' of --context: $input is what the engine gives; rename it\n"


def test_an_address_that_is_empty_is_not_the_default(program: Program) -> None:
    """It is a variable of a script that nobody has set."""
    for arguments in (("-a", "", "runner", "list"), ("-a", "", "run", "flow.yml")):
        assert program.run(*arguments)[::2] == (2, "error: --address is empty: give it a value, or leave it out\n")


def test_input_that_looks_like_broken_json_is_told(program: Program) -> None:
    program.write("flow.yml", document("- a: {set: {got: '${ . }'}}"))
    code, out, err = program.run("run", "flow.yml", "-q", "-i", "{a: 1}")
    assert (code, json.loads(out)) == (0, {"got": "{a: 1}"})
    assert err.startswith("warning: --input begins like JSON but is none (")
    code, out, err = program.run("run", "flow.yml", "-q", "-i", "NaN")
    assert (code, json.loads(out)) == (0, {"got": "NaN"})
    assert err == "warning: --input is NaN, which JSON does not have; the workflow gets it as text\n"


def test_where_a_run_that_waits_cannot_be_kept(program: Program) -> None:
    program.write("flow.yml", WAITS)
    for arguments in (["--db", "flow.yml/x.sqlite3"], ["--db", "flow.yml"]):
        code, out, err = program.run("run", "flow.yml", *arguments)
        assert (code, out, err.splitlines()[-1]) == (2, "", "hint: --db names another file"), err


@pytest.mark.parametrize("option", ["--input", "--context"])
def test_standard_input_that_is_closed(program: Program, option: str) -> None:
    program.write("flow.yml", FINE)
    line = f"{PROGRAM} run flow.yml {option} - <&-"
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=program.folder,
        env=program.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, f"error: {option}: standard input is closed\n")


@pytest.mark.parametrize("line", ["workflow check -", "workflow check bad.yml", "run - -q", "run bad.yml"])
def test_standard_output_that_is_closed(program: Program, line: str) -> None:
    program.write("bad.yml", INVALID)
    done = subprocess.run(
        ["bash", "-c", f"{PROGRAM} {line} >&-"],
        cwd=program.folder,
        env=program.variables,
        input=document("- a: {set: {b: 1}}"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=False,
    )
    wrong = line == "run bad.yml"  # what is wrong with a file goes to standard error
    assert (done.returncode, "2 errors" in done.stderr) == (2 if wrong else 141, wrong), done
    assert wrong or not done.stderr


INTERRUPTED = """
import os, signal, sys

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["INTERRUPTED_AT"]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
from jobworkerp_standalone.cli.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "module",
    [
        "jobworkerp_standalone.cli.exits",
        "json",
        "jobworkerp_standalone.cli.show",
        "typer",
        "jobworkerp_standalone.cli.app",
        "jobworkerp_standalone.cli.run",
        "jobworkerp_standalone.cli.calls.running",
        "asyncio",
        "jobworkerp_standalone.workflow.load",
        "jobworkerp_standalone.daemon",
    ],
)
def test_an_interrupt_while_modules_are_loaded(program: Program, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "run", program.write("flow.yml", WAITS)],
        cwd=program.folder,
        env={**program.variables, "INTERRUPTED_AT": module},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SEC,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_a_schedule_is_run_once(program: Program) -> None:
    program.write("flow.yml", document("- a: {set: {b: 1}}", {"schedule": {"every": {"minutes": 1}}}))
    code, out, err = program.run("run", "flow.yml")
    assert (code, json.loads(out)) == (0, {"b": 1})
    assert "has a schedule; it is run once" in err


def test_the_limit_of_the_run(program: Program) -> None:
    program.write("flow.yml", document("- a: {wait: {hours: 1}}"))
    code, _, err = program.run("run", "flow.yml", "--timeout", "200")
    assert code == 1
    assert "took longer than 200 ms" in err


def test_a_run_that_waits_goes_on_in_another_process(program: Program) -> None:
    program.write("flow.yml", WAITS)
    waiting = program.json("run", "flow.yml", code=3)
    assert (waiting["status"], waiting["output"]) == ("waiting", {"question": "?"})
    code, out, err = program.run("run", "flow.yml", "-q", "--db", "mine.sqlite3")
    assert (code, json.loads(out)) == (3, {"question": "?"})
    command = err.splitlines()[-1].partition("go on with: jobworkerp ")[2].split()
    assert command[-2:] == ["--db", "mine.sqlite3"]
    assert program.run(*command, "-q", "--payload", '{"answer": 1}')[:2] == (0, '{\n  "got": 1\n}\n')
    done = program.json("workflow", "resume", waiting["jobId"], "--payload", '{"answer": [2]}')
    assert (done["status"], done["output"], done["id"]) == ("completed", {"got": [2]}, waiting["id"])


def test_runs_that_wait_are_listed(program: Program) -> None:
    assert program.json("workflow", "waiting") == []
    text = document(
        "- ask: {set: {q: 1}, then: wait}\n- again: {set: {q: 2}, then: wait}\n- end: {set: {got: '${ . }'}}"
    )
    program.write("flow.yml", text)
    first, second = (program.json("run", "flow.yml", code=3) for _ in range(2))
    listed = program.json("workflow", "waiting")
    assert [each["jobId"] for each in listed] == [second["jobId"], first["jobId"]]
    told = listed[0]
    assert (told["workflow"], told["resumesAt"], told["output"], told["id"]) == (
        "test/flow:0.1.0",
        "/ROOT/do/1/again",
        {"q": 1},
        second["id"],
    )
    assert abs(told["sinceMs"] - time.time() * 1000) < 600_000
    third = program.json("workflow", "resume", first["jobId"], code=3)
    listed = program.json("workflow", "waiting")
    assert [(each["jobId"], each["output"]) for each in listed] == [
        (third["jobId"], {"q": 2}),
        (second["jobId"], {"q": 1}),
    ], "a run that waits again is there once"
    assert program.json("workflow", "resume", third["jobId"])["status"] == "completed"
    assert [each["jobId"] for each in program.json("workflow", "waiting")] == [second["jobId"]]
    assert program.json("workflow", "waiting", "--db", "other.sqlite3") == []


def test_one_process_at_a_time_goes_on_with_a_run(program: Program) -> None:
    mark, go = program.folder / "pid", program.folder / "go"
    script = f"echo $PPID >> log; echo $$ > {mark}.new; mv {mark}.new {mark}; until [ -e {go} ]; do sleep 0.05; done"
    text = document(f"- ask: {{set: {{q: 1}}, then: wait}}\n- deploy: {{run: {{shell: {json.dumps(script)}}}}}")
    program.write("flow.yml", text)
    waiting = program.json("run", "flow.yml", code=3)["jobId"]
    again = ("workflow", "resume", waiting, "-q")
    with program.started(*again) as first:
        until(mark.exists, "the first goes on")
        code, out, err = program.run(*again)
        assert (code, out) == (5, "")
        assert f"another process goes on with job {waiting} already" in err
        assert program.json("workflow", "waiting") == []
        first.kill()
        first.wait(PATIENCE_SEC)
    go.touch()
    assert [each["jobId"] for each in program.json("workflow", "waiting")] == [waiting]
    assert program.run(*again)[0] == 0
    assert len((program.folder / "log").read_text().splitlines()) == 2, "the one that was killed, and the last"
    code, out, err = program.run(*again)
    assert (code, out) == (4, "")
    assert f"the run of job {waiting} has completed: job " in err


def test_resuming_what_is_not_there(program: Program) -> None:
    code, _, err = program.run("workflow", "resume", "1")
    assert code == 2
    assert "no run waits here" in err
    program.run("run", program.write("flow.yml", WAITS))
    code, _, err = program.run("workflow", "resume", "1")
    assert code == 4
    assert "NOT_FOUND" in err
    code, _, err = program.run("workflow", "resume", "1", "--payload", "yes please")
    assert (code, err.startswith("error: --payload is not JSON")) == (2, True)


# ---------------------------------------------------------------- Ctrl-C


def test_an_interrupt_ends_the_jobs(program: Program) -> None:
    pid = program.folder / "pid"
    program.write("flow.yml", sleeper(pid))
    with program.started("run", "flow.yml", "--format", "json") as process:
        until(pid.exists, "the task runs")
        interrupt(process)
        out, err = process.communicate(timeout=PATIENCE_SEC)
    assert process.returncode == 130
    assert gone(pid)
    told = json.loads(out)
    assert (told["status"], told["tasks"][0]["state"]) == ("cancelled", "cancelled")
    assert err.splitlines()[-1] == "error: the run was cancelled"


PATIENT = """
import sys
from jobworkerp_standalone.cli.main import main
from jobworkerp_standalone.runners.process import child
child.GRACE_SEC = 3600
sys.exit(main(sys.argv[2:]))
"""


def test_a_second_interrupt_does_not_wait(program: Program) -> None:
    """The job takes no notice of being asked, and would be given an hour instead of five seconds."""
    pid = program.folder / "pid"
    program.write("flow.yml", sleeper(pid, before="trap '' TERM;"))
    with program.started("run", "flow.yml", before=(sys.executable, "-c", PATIENT)) as process:
        assert process.stderr is not None
        until(pid.exists, "the task runs")
        interrupt(process)
        while "cancelling" not in process.stderr.readline():
            pass
        interrupt(process)
        _, err = process.communicate(timeout=PATIENCE_SEC)
    assert process.returncode == 130
    assert gone(pid)
    killing, told, ended = err.splitlines()
    assert (killing, ended) == ("killing what still runs", "error: the run was cancelled")
    assert "/ROOT/do/0/sleep: cancelled after " in told


def test_a_terminal_that_is_closed_ends_the_jobs(program: Program) -> None:
    pid = program.folder / "pid"
    program.write("flow.yml", sleeper(pid))
    child, terminal = pty.fork()
    if not child:
        os.chdir(program.folder)
        os.execve(PROGRAM, [PROGRAM, "run", "flow.yml"], {**program.variables, "TERM": "xterm"})
    shown = b""
    while not pid.exists() or b"sleep" not in shown:
        shown += os.read(terminal, 65_536)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert gone(pid)


def test_who_is_not_to_be_hung_up_goes_on(program: Program) -> None:
    pid = program.folder / "pid"
    program.write("flow.yml", sleeper(pid))
    with program.started("run", "flow.yml", before=("nohup",)) as process:
        until(pid.exists, "the task runs")
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE_SEC)
    assert (process.returncode, err.count("killing"), gone(pid)) == (130, 0, True)


def test_it_does_not_matter_that_the_parent_ignores_ends_of_children(program: Program) -> None:
    program.write("flow.yml", document("- a: {run: {shell: {command: exit 3}, return: code}}"))
    ignoring = (
        "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    )
    with program.started("run", "flow.yml", before=(sys.executable, "-c", ignoring)) as process:
        out, err = process.communicate(timeout=PATIENCE_SEC)
    assert (process.returncode, out) == (0, "3\n"), err


def test_who_stops_reading_ends_the_run(program: Program) -> None:
    pid = program.folder / "pid"
    program.write("flow.yml", document("- each: {for: {in: '${ [range(2000)] }'}, do: [{a: {set: {b: 1}}}]}"))
    line = f"{PROGRAM} run flow.yml --events ndjson | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=program.folder, env=program.variables, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (141, b"")
    assert not pid.exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_who_stops_reading_a_long_output_is_told_that_it_was_not_all(
    program: Program, form: str, unbuffered: str
) -> None:
    """PYTHONUNBUFFERED is set in many images of containers."""
    program.write("flow.yml", document("- a: {set: {long: '${ \"x\" * 2000000 }'}}"))
    program.variables["PYTHONUNBUFFERED"] = unbuffered
    line = f"{PROGRAM} run flow.yml -q --format {form} | head -c 5; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=program.folder, env=program.variables, capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, len(done.stdout), done.stderr) == (141, 5, b"")


# ---------------------------------------------------------------- the first README


@pytest.mark.parametrize("made_up", [False, True])
def test_the_example_of_the_first_readme(program: Program, made_up: bool) -> None:
    shutil.copy(SEED, program.folder / "ls.yaml")
    folder = Path("/")
    if made_up:
        folder = program.folder / "made up"
        for name in ("data", "docs", "d", "other", "Dark"):
            (folder / name).mkdir(parents=True)
    asked = program.folder / "asked"
    spy = program.folder / "bin" / "ls"
    spy.parent.mkdir()
    spy.write_text(f'#!/bin/sh\necho "$1" >> {asked}\nexec {shutil.which("ls")} "$@"\n')
    spy.chmod(0o755)
    program.variables["PATH"] = f"{spy.parent}:{program.variables['PATH']}"
    code, out, err = program.run("run", "ls.yaml", "-i", str(folder), "--events", "ndjson")
    assert code == 0, err
    events = [json.loads(line) for line in out.splitlines()]
    jobs = [each["position"] for each in events if each["kind"] == "jobStarted"]
    wanted = [each for each in os.listdir(folder) if each.startswith("d")]
    assert jobs.count("/ROOT/do/0/ListWorker") == 1
    assert jobs.count("/ROOT/do/1/EachFileIteration/do/0/ListWorkerInner") == len(wanted) >= 1
    assert len(jobs) == 1 + len(wanted)
    first, *inner = asked.read_text().splitlines()
    assert (first, sorted(inner)) == (str(folder), sorted(f"/{each}" for each in wanted))
