"""Group H: what `run` tasks run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from jobworkerp_standalone.jobs.model import JobStatus, RetryPolicy, RetryType
from tests.support.house import COMMAND, eventually
from tests.support.patience import PATIENCE_SEC
from tests.workflow.cases import Case, Fault, table
from tests.workflow.stage import Stage, document, open_stage

CHILD = json.dumps({"do": [{"c": {"set": {"c": "${ .v + 1 }"}}}]})


@table(
    Case(
        "C81 shell, output as text",
        'do: [{a: {run: {shell: {command: echo, args: ["${ .w }"]}}}}]',
        {"w": "hi"},
        "hi",
    ),
    Case(
        "C82 shell, all",
        'do: [{a: {run: {return: all, shell: {command: sh, args: ["-c", "echo o; echo e >&2; exit 3"]}}}}]',
        {},
        {"code": 3, "stdout": "o", "stderr": "e"},
    ),
    Case(
        "C83 another exit code is an error where that is asked for",
        'do: [{a: {run: {return: code, shell: {command: sh, args: ["-c", "exit 3"], treatNonzeroAsError: true}}}}]',
        {},
        fault=Fault(503, "communication", "/do/0/a/run/shell"),
    ),
    Case(
        "C83 unless it is listed",
        """
        do:
          - a:
              run:
                return: code
                shell: {command: sh, args: ["-c", "exit 3"], treatNonzeroAsError: true, successExitCodes: [3]}
        """,
        {},
        3,
    ),
    Case(
        "0 is a good exit code whatever is listed",
        "do: [{a: {run: {shell: {command: 'true', args: [], treatNonzeroAsError: true, successExitCodes: [3]}, "
        "return: code}}}]",
        {},
        0,
    ),
    Case(
        "who was killed has no exit code",
        "do: [{a: {run: {shell: 'kill -9 $$', return: code}}}]",
        {},
        fault=Fault(400, "runtime", "/do/0/a/run/shell", ("killed by a signal",)),
    ),
    Case(
        "C85 result of the COMMAND runner",
        """
        do:
          - a:
              run: {runner: {name: COMMAND, arguments: {command: echo, args: [hi]}}}
              output: {as: {o: "${ .stdout }", c: "${ .exitCode }", t: "${ .executionTimeMs | type }"}}
        """,
        {},
        {"o": "hi", "c": 0, "t": "string"},
    ),
    Case(
        "C85 through run.function",
        """
        do:
          - a: {run: {function: {runnerName: COMMAND, arguments: {command: echo, args: [hi]}}}, output: {as: .stdout}}
        """,
        {},
        "hi",
    ),
    Case(
        "C86 unknown runner",
        "do: [{a: {run: {runner: {name: NO_SUCH, arguments: {}}}}}]",
        {},
        fault=Fault(503, "configuration", "/do/0/a/run/runner", ("NO_SUCH",)),
    ),
    Case(
        "unknown worker",
        "do: [{a: {run: {worker: {name: nobody, arguments: {}}}}}]",
        {},
        fault=Fault(503, "configuration", "/do/0/a/run/worker", ("nobody",)),
    ),
    Case(
        "the reference's name for what could not be done means it too",
        """
        do:
          - t:
              try: [{a: {run: {runner: {name: NO_SUCH, arguments: {}}}}}]
              catch: {errors: {with: {type: ServiceUnavailable}}, do: [{h: {set: {caught: "${ $error.status }"}}}]}
        """,
        {},
        {"caught": 503},
    ),
    Case(
        "an environment that cannot be made",
        "do: [{a: {run: {script: {language: python, code: '1'}}, metadata: {python.version: three}}}]",
        {},
        fault=Fault(503, "configuration", "/do/0/a/run/script", ("python_version 'three'",)),
    ),
    Case(
        "a script that is not there",
        "do: [{a: {run: {script: {language: python, source: {endpoint: none.py}}}}}]",
        {},
        fault=Fault(400, "configuration", "/do/0/a/run/script", ("no such file",)),
    ),
    Case(
        "a script that cannot be fetched",
        "do: [{a: {run: {script: {language: python, source: {endpoint: 'http://127.0.0.1:9/x.py'}}}}}]",
        {},
        fault=Fault(500, "communication", "/do/0/a/run/script"),
    ),
    Case(
        "unknown method",
        "do: [{a: {run: {runner: {name: LLM, using: fly, arguments: {}}}}}]",
        {},
        fault=Fault(400, "configuration", "/do/0/a/run/runner", ("fly", "chat")),
    ),
    Case(
        "arguments that do not fit",
        "do: [{a: {run: {runner: {name: COMMAND, arguments: {command: '${ [1] }'}}}}}]",
        {},
        fault=Fault(400, "validation", None, ("command",)),
    ),
    Case(
        "a script for sh, with arguments, stdin and environment",
        """
        do:
          - a:
              run:
                shell:
                  command: 'cat; echo "$1 $WHO"'
                  arguments: ["${ .w }"]
                  stdin: "in "
                  environment: {WHO: "${ .w }"}
        """,
        {"w": "x"},
        "in x x",
    ),
    Case("a plain text is a script", "do: [{a: {run: {shell: 'echo one; echo two'}}}]", {}, "one\ntwo"),
    Case(
        "a map of arguments, as the DSL has it",
        """
        do:
          - a:
              run:
                shell:
                  command: 'printf "%s;" "$@"'
                  arguments: {--name: "${ .w }", --many: 2, -v: null}
        """,
        {"w": "a b"},
        "--name=a b;--many=2;-v;",
    ),
    Case(
        "a program without arguments is one word",
        "do: [{a: {run: {shell: {command: 'no such program', args: []}}}}]",
        {},
        fault=Fault(503, "configuration", "/do/0/a/run/shell", ("no such program",)),
    ),
    Case(
        "a directory that is not there",
        "do: [{a: {run: {shell: {command: 'true', workingDir: /no/such}}}}]",
        {},
        fault=Fault(503, "configuration", "/do/0/a/run/shell", ("working_dir '/no/such'",)),
    ),
    Case(
        "a child that is not there",
        "do: [{a: {run: {workflow: {workflowUrl: none.yml}}}}]",
        {},
        fault=Fault(400, "configuration", "/do/0/a/run/workflow", ("no such file",)),
    ),
    Case(
        "a child that cannot be fetched",
        "do: [{a: {run: {workflow: {workflowUrl: 'http://127.0.0.1:9/x.yml'}}}}]",
        {},
        fault=Fault(503, "communication", "/do/0/a/run/workflow"),
    ),
    Case(
        "a child that is not valid",
        "do: [{a: {run: {workflow: {workflowData: '${ .child }'}}}}]",
        {"child": "do: []"},
        fault=Fault(400, "configuration", "/do/0/a/run/workflow", ("'do' is empty",)),
    ),
    Case(
        "what is set up wrong is not tried again as if a connection was lost",
        """
        do:
          - t:
              try: [{a: {run: {workflow: {workflowUrl: none.yml}}}}]
              catch:
                errors: {with: {type: https://serverlessworkflow.io/spec/1.0.0/errors/communication}}
                retry: {delay: {hours: 1}}
        """,
        {},
        fault=Fault(400, "configuration", "/do/0/t/try/0/a/run/workflow"),
    ),
    Case("return none", "do: [{a: {run: {return: none, shell: 'echo x'}}}]", {"k": 1}, {"k": 1}),
    Case(
        "expressions in name and method",
        'do: [{a: {run: {runner: {name: "${ .r }", arguments: {command: echo, args: ["1"]}}}, output: {as: .stdout}}}]',
        {"r": "COMMAND"},
        "1",
    ),
    Case(
        "C90 other languages are refused",
        "do: [{a: {run: {script: {language: ruby, code: '1'}}}}]",
        {},
        fault=None,
        output=None,
        status="refused",
    ),
)
async def test_runs(stage: Stage, case: Case) -> None:
    if case.status == "refused":
        end = await stage.run(case.document, case.given)
        assert end.job_status == "OTHER_ERROR"
        assert "ruby" in end.text
        return
    await case.holds(stage)


async def test_c84_not_waiting(stage: Stage) -> None:
    end = await stage.run('do: [{a: {run: {await: false, shell: {command: sleep, args: ["3600"]}}}}]', {"k": 1})
    assert end.output == {"k": 1}
    (loose,) = stage.house.daemon.engine.live.all()
    assert await stage.house.delete(loose.job.id)
    await eventually(lambda: len(stage.house.daemon.engine.live) == 0)


async def test_c87_a_static_task_has_one_stored_worker(stage: Stage) -> None:
    text = """
    do:
      - keepme:
          run: {function: {runnerName: COMMAND, arguments: {command: "true"}, options: {useStatic: %s}}}
    """
    for _ in range(2):
        assert (await stage.run(text % "true", {})).status == "Completed"
    names = [each.data.name for each in (await stage.house.client.items("WorkerService.FindList")).items]
    assert names.count("keepme") == 1
    await stage.run(text.replace("keepme", "gone") % "false", {})
    names = [each.data.name for each in (await stage.house.client.items("WorkerService.FindList")).items]
    assert not [name for name in names if name.startswith("gone")]


async def test_the_worker_of_a_task_is_named_after_it(stage: Stage) -> None:
    job_id = await stage.start("do: [{named: {run: {shell: sleep 3600}}}]", {})
    await eventually(lambda: len(stage.house.daemon.engine.live) == 2)
    child = next(live.job for live in stage.house.daemon.engine.live.all() if live.job.id != job_id)
    worker = stage.house.daemon.engine.catalog.find(child.worker_id)
    assert worker is not None
    assert worker.worker.name.startswith("named_")
    assert child.metadata["jobworkerp-parent-job-id"] == str(job_id)
    await stage.house.delete(job_id)
    await stage.result(job_id)


@pytest.mark.parametrize(
    ("limit", "most_ms"),
    [("timeout: {after: PT1.2S}, ", 2_000), ("timeout: {after: PT40S}, ", 40_000), ("", 3_600_000)],
)
async def test_a_job_has_the_limit_of_its_task_in_whole_seconds(stage: Stage, limit: str, most_ms: int) -> None:
    job_id = await stage.start(f"do: [{{a: {{{limit}run: {{shell: sleep 3600}}}}}}]", {})
    await eventually(lambda: len(stage.house.daemon.engine.live) == 2)
    child = next(live.job for live in stage.house.daemon.engine.live.all() if live.job.id != job_id)
    assert child.timeout_ms == most_ms
    await stage.house.delete(job_id)
    await stage.result(job_id)


async def test_options_say_how_the_job_is_run(stage: Stage) -> None:
    text = """
    do:
      - a:
          metadata: {from-task: "yes"}
          run:
            runner:
              name: COMMAND
              arguments: {command: sleep, args: ["3600"]}
              options: {channel: fresh, queueType: WITH_BACKUP, storeSuccess: true, retry: {delay: {seconds: 1}}}
    """
    job_id = await stage.start(text, {})
    await eventually(lambda: len(stage.house.daemon.engine.live) == 2)
    child = next(live.job for live in stage.house.daemon.engine.live.all() if live.job.id != job_id)
    assert (child.channel, child.stored) == ("fresh", True)
    assert child.metadata["from-task"] == "yes"
    assert (child.rules.store_success, child.rules.store_failure) == (True, True)
    await stage.house.delete(job_id)
    await stage.result(job_id)


@pytest.mark.parametrize(
    ("options", "stored", "broadcast", "store_failure"),
    [
        ("withBackup: true", True, True, True),
        ("withBackup: false", False, True, True),
        ("withBackup: true, queueType: NORMAL", False, True, True),
        ("queueType: DB_ONLY", True, True, True),
        ("broadcastResults: false", False, False, True),
        ("broadcastResultsToListener: false", False, False, True),
        ("broadcastResultsToListener: false, broadcastResults: true", False, True, True),
        ("storeFailure: false", False, True, False),
    ],
)
async def test_options_have_the_names_of_both_generations(
    stage: Stage, options: str, stored: bool, broadcast: bool, store_failure: bool
) -> None:
    runner = f"{{name: COMMAND, arguments: {{command: sleep, args: ['3600']}}, options: {{{options}}}}}"
    job_id = await stage.start(f"do: [{{a: {{run: {{runner: {runner}}}}}}}]", {})
    await eventually(lambda: len(stage.house.daemon.engine.live) == 2)
    child = next(live.job for live in stage.house.daemon.engine.live.all() if live.job.id != job_id)
    rules = child.rules
    assert (child.stored, rules.broadcast_results, rules.store_failure) == (stored, broadcast, store_failure)
    await stage.house.delete(job_id)
    await stage.result(job_id)


@pytest.mark.parametrize(
    ("retry", "policy"),
    [
        ("delay: PT2S, limit: {attempt: {count: 3}}", RetryPolicy(RetryType.CONSTANT, 2_000, 0, 3)),
        ("delay: PT2S, backoff: {linear: {}}", RetryPolicy(RetryType.LINEAR, 2_000, 0, 10)),
        ("limit: {attempt: {count: 0}}", RetryPolicy(RetryType.CONSTANT, 0, 0, 0)),
        (
            "delay: PT1S, backoff: {exponential: {}}, limit: {attempt: {count: 5, duration: PT1M}}",
            RetryPolicy(RetryType.EXPONENTIAL, 1_000, 60_000, 5, 2.0),
        ),
    ],
)
async def test_retry_in_options_is_the_policy_of_the_job(stage: Stage, retry: str, policy: RetryPolicy) -> None:
    options = f"options: {{retry: {{{retry}}}}}"
    runner = f"{{name: COMMAND, arguments: {{command: sleep, args: ['3600']}}, {options}}}"
    job_id = await stage.start(f"do: [{{a: {{run: {{runner: {runner}}}}}}}]", {})
    await eventually(lambda: len(stage.house.daemon.engine.live) == 2)
    child = next(live.job for live in stage.house.daemon.engine.live.all() if live.job.id != job_id)
    assert child.rules.retry_policy == policy
    await stage.house.delete(job_id)
    await stage.result(job_id)


async def test_retry_in_options_needs_no_backoff(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "tries"
    text = f"""
    do:
      - a:
          run:
            runner:
              name: COMMAND
              arguments: {{command: sh, args: ["-c", "echo x >> {file}; exit 1"], treat_nonzero_as_error: true}}
              options: {{retry: {{delay: {{milliseconds: 10}}, limit: {{attempt: {{count: 2}}}}}}}}
    """
    assert (await stage.run(text, {})).error["status"] == 503
    assert len(file.read_text().split()) == 3


async def test_c92_a_child_workflow(stage: Stage) -> None:
    end = await stage.run(
        {
            "do": [
                {
                    "a": {
                        "run": {"workflow": {"workflowData": document(CHILD), "input": {"v": "${ .n }"}}},
                        "output": {"as": {"r": "${ .output | fromjson | .c }", "status": "${ .status }"}},
                    }
                }
            ]
        },
        {"n": 2},
    )
    assert end.output == {"r": 3, "status": "Completed"}


@pytest.mark.parametrize(
    "arguments",
    [{"v": 2}, {"input": {"v": 2}}, {"input": '{"v": 2}'}, {"workflow_data": CHILD, "input": {"v": 2}}],
    ids=["the input as a whole", "an object", "a text", "with a document"],
)
async def test_arguments_of_the_workflow_runner(stage: Stage, arguments: dict[str, Any]) -> None:
    runner = {"name": "WORKFLOW", "settings": {"workflowData": document(CHILD)}, "arguments": arguments}
    task = {"run": {"runner": runner}, "output": {"as": "${ .output | fromjson }"}}
    assert (await stage.run({"do": [{"a": task}]}, {})).output == {"c": 3}


async def test_a_child_workflow_sees_what_its_parent_sees(stage: Stage) -> None:
    child = document('do: [{c: {set: {seen: "${ $x }", item: "${ $item }"}}}]')
    end = await stage.run(
        {
            "do": [
                {"s": {"set": {"x": 1}}},
                {
                    "loop": {
                        "for": {"in": "${ [7] }"},
                        "do": [{"a": {"run": {"workflow": {"workflowData": child}}, "output": {"as": ".output"}}}],
                    }
                },
            ]
        },
        {},
    )
    assert json.loads(end.output) == {"seen": 1, "item": 7}


async def test_a_workflow_known_by_its_name(stage: Stage) -> None:
    await stage.worker("registered", document(CHILD, name="known", version="1.2.0"))
    text = """
    do: [{a: {run: {workflow: {namespace: t, name: known, version: %s, input: {v: "${ .n }"}}}}}]
    """
    for version in ("1.2.0", "latest"):
        assert (await stage.run(text % version, {"n": 2})).output == {"c": 3}
    missing = await stage.run(text % "9.9.9", {"n": 2})
    assert missing.error["status"] == 404
    without = "do: [{a: {run: {workflow: {namespace: t, name: known, version: 1.2.0}}}}]"
    assert (await stage.run(without, {"v": 4})).output == {"c": 5}, "its input is that of the task"


TEAPOT = "do: [{r: {raise: {error: {type: 'https://x.org/e', status: 418, title: Teapot, detail: short and stout}}}}]"
SHORT = {"type": "https://x.org/e", "status": 418, "title": "Teapot", "detail": "short and stout"}
FAULTING: dict[str, dict[str, Any]] = {
    "workflow": {"workflow": {"workflowData": document(TEAPOT), "input": {}}},
    "known": {"workflow": {"namespace": "t", "name": "teapot", "version": "1.0.0"}},
    "worker": {"worker": {"name": "teapot", "arguments": {"input": "{}"}}},
    "function": {"function": {"workerName": "teapot", "arguments": {"input": "{}"}}},
    "runner": {"runner": {"name": "WORKFLOW", "arguments": {"workflow_data": document(TEAPOT), "input": "{}"}}},
}


@pytest.fixture(scope="module")
async def _teapot(stage: Stage) -> None:
    await stage.worker("teapot", document(TEAPOT, name="teapot"))


@pytest.mark.usefixtures("_teapot")
@pytest.mark.parametrize("name", FAULTING)
async def test_a_fault_of_a_child_is_a_fault_of_its_task(stage: Stage, name: str) -> None:
    run = FAULTING[name]
    where = f"/do/0/t/try/0/a/run/{next(iter(run))}"
    text = {
        "do": [
            {
                "t": {
                    "try": [{"a": {"run": run}}],
                    "catch": {"errors": {"with": {"status": 418}}, "do": [{"h": {"set": {"caught": "${ $error }"}}}]},
                }
            }
        ]
    }
    assert (await stage.run(text, {})).output == {"caught": {**SHORT, "instance": where}}
    end = await stage.run({"do": [{"a": {"run": run}}]}, {})
    assert end.job_status == "MAX_RETRY"
    assert end.error == {**SHORT, "instance": where.replace("/t/try/0/a", "/a")}


async def test_a_child_that_cannot_run_is_a_job_that_failed(stage: Stage) -> None:
    end = await stage.run("do: [{a: {run: {workflow: {workflowData: '${ \"do: []\" }'}}}}]", {})
    assert (end.error["status"], end.error["title"]) == (400, "A job failed")
    assert "'do' is empty" in end.error["detail"]


async def test_parents_on_all_slots_run_their_children(stage: Stage) -> None:
    """Each holds its slot while it waits, and its children run on that very slot."""
    text = "do: [{a: {run: {shell: echo 1}}}, {b: {run: {shell: echo 2}}}, {c: {run: {shell: echo 3}}}]"
    with anyio.fail_after(PATIENCE_SEC):
        ends = await asyncio.gather(*(stage.run(text, {}) for _ in range(8)))
    assert [end.output for end in ends] == ["3"] * 8


async def test_jobs_that_nobody_waits_for_end_with_the_job_and_not_with_a_limit_of_the_document(stage: Stage) -> None:
    text = """
    do: [{a: {run: {await: false, shell: {command: sleep, args: ["3600"]}}}}, {b: {wait: PT1H, timeout: {after: %s}}}]
    """
    live = stage.house.daemon.engine.live
    end = await stage.run(text % "PT0.2S", {})
    assert end.error["status"] == 408
    assert len(live) == 1, "the sleep goes on"
    (left,) = live.all()
    assert await stage.house.delete(left.job.id)
    await eventually(lambda: len(live) == 0)
    args = stage.args(text % "PT30M", {}).SerializeToString()
    reply = await stage.house.enqueue(args, worker="flow", using="run", timeout=700)
    assert b"took longer than 700 ms" in reply.result.data.output.items
    await eventually(lambda: len(live) == 0)


SLEEP: dict[str, Any] = {"run": {"shell": {"command": "sleep", "args": ["3600"]}}}
ENDLESS: dict[str, tuple[dict[str, Any], int]] = {
    "shell": (SLEEP, 1),
    "script": ({"run": {"script": {"language": "python", "code": "import time; time.sleep(3600)"}}}, 1),
    "workflow": ({"run": {"workflow": {"workflowData": {"do": [{"inner": SLEEP}]}}}}, 2),
    "side by side": ({"fork": {"branches": [{"x": SLEEP}, {"y": SLEEP}]}}, 2),
    "not waited for": ({"do": [{"loose": {"run": {**SLEEP["run"], "await": False}}}, {"w": {"wait": "PT1H"}}]}, 1),
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_c113_cancellation(stage: Stage, kind: str) -> None:
    task, jobs = ENDLESS[kind]
    job_id = await stage.start({"do": [{"a": task}, {"b": {"set": {"x": 1}}}]}, {})
    live = stage.house.daemon.engine.live
    await eventually(lambda: [each.status for each in live.all()] == [JobStatus.RUNNING] * (jobs + 1))
    with anyio.fail_after(PATIENCE_SEC):
        assert await stage.house.delete(job_id)
        end = await stage.result(job_id)
    assert end.job_status == "CANCELLED"
    if kind == "not waited for":
        await eventually(lambda: len(live) == 0)
    assert len(live) == 0


async def test_the_job_of_a_task_is_told_of(stage: Stage) -> None:
    await stage.house.worker("teller", COMMAND)
    tasks = [
        {"a": {"run": {"shell": "echo hi"}}},
        {"b": {"run": {"worker": {"name": "teller", "arguments": {"command": "true"}}}}},
    ]
    job_id = await stage.start({"do": tasks})
    assert (await stage.result(job_id)).status == "Completed"
    events = [each.event for each in await stage.events(job_id)]
    started = [each.job_started for each in events if each.HasField("job_started")]
    told = [(each.position, each.runner_name, each.worker_name) for each in started]
    assert told == [("/ROOT/do/0/a", "COMMAND", ""), ("/ROOT/do/1/b", "COMMAND", "teller")]
    ended = [each.job_completed for each in events if each.HasField("job_completed")]
    assert [(each.position, each.job_id) for each in ended] == [(each.position, each.job_id) for each in started]


async def test_pieces_of_a_streaming_task_are_events(stage: Stage) -> None:
    job_id = await stage.start("do: [{a: {useStreaming: true, run: {shell: 'echo one; echo two'}}}]", {})
    end = await stage.result(job_id)
    assert end.output == "one\ntwo"
    events = await stage.events(job_id)
    pieces = b"".join(each.event.streaming_data.data for each in events if each.event.HasField("streaming_data"))
    assert b"one" in pieces


@pytest.mark.parametrize("form", ["workflow", "runner"])
async def test_a_workflow_that_runs_itself_ends_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.chdir(tmp_path)
    source = {"workflowUrl": "self.json"}
    call = source if form == "workflow" else {"name": "WORKFLOW", "using": "run", "arguments": source}
    (tmp_path / "self.json").write_text(document({"do": [{"again": {"run": {form: call}}}]}))
    (tmp_path / "home").mkdir()
    async with open_stage(tmp_path / "home") as here:
        end = await here.run("", {}, workflow_url="self.json")
    assert "look for a workflow that runs itself without end" in end.error["detail"]
    assert len(end.text) < 1_000, "errors inside of errors grow"
