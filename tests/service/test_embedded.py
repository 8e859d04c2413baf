"""``JobWorkerp``: a daemon inside of this process that leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from anyio.from_thread import start_blocking_portal

from jobworkerp_standalone import JobFailed, JobWorkerp, State, WorkflowFaulted, WorkflowInvalid
from jobworkerp_standalone.client import CallFailed, ClientError, DoesNotFit, NoSuch, Unreachable, connect
from jobworkerp_standalone.client import running as client_running
from jobworkerp_standalone.client.running import enqueue, listen
from jobworkerp_standalone.jobs.errors import SettingsError, StorageError
from jobworkerp_standalone.pb.jobworkerp.data import Empty, JobId, RunnerId, WorkerData
from jobworkerp_standalone.pb.jobworkerp.service import CountCondition, JobRequest
from tests.support.house import eventually

HEAD = {"dsl": "1.0.0", "namespace": "test", "name": "flow", "version": "0.1.0"}


@pytest.fixture
async def jw() -> AsyncIterator[JobWorkerp]:
    async with JobWorkerp({"WORKER_DEFAULT_CONCURRENCY": 4}) as running:
        yield running


def flow(*tasks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"document": HEAD, "do": list(tasks), **more}


def own_threads() -> set[threading.Thread]:
    """Return all threads but those that anyio keeps for the loop."""
    return {each for each in threading.enumerate() if not each.name.startswith("AnyIO")}


def shell(script: str) -> dict[str, Any]:
    return {"command": "sh", "args": ["-c", script]}


# ---------------------------------------------------------------- jobs


async def test_a_job_takes_and_returns_json(jw: JobWorkerp) -> None:
    result = await jw.run("COMMAND", {"command": "cat", "stdin": "räksmörgås"})
    assert (result["exitCode"], result["stdout"]) == (0, "räksmörgås")


async def test_many_jobs_run_at_once(jw: JobWorkerp) -> None:
    done = await asyncio.gather(*(jw.run("COMMAND", {"command": "echo", "args": [str(n)]}) for n in range(50)))
    assert [each["stdout"] for each in done] == [str(n) for n in range(50)]


async def test_settings_and_static_runners(jw: JobWorkerp) -> None:
    with pytest.raises(JobFailed) as failed:
        await jw.run("HTTP_REQUEST", {"method": "GET", "path": "/"}, settings={"base_url": "http://127.0.0.1:1"})
    assert "127.0.0.1" in failed.value.text
    script = {"script_content": "import itertools; print(next(globals().setdefault('n', itertools.count())))"}
    assert (await jw.run("PYTHON_COMMAND", script, use_static=True))["output"].strip() == "0"


@pytest.mark.parametrize("plain", [True, False])
async def test_items_arrive_while_the_job_runs(jw: JobWorkerp, tmp_path: Path, plain: bool) -> None:
    seen: list[Any] = []
    go = tmp_path / "go"

    def take(item: Any) -> None:
        seen.append(item)
        go.touch()

    async def take_slowly(item: Any) -> None:
        await asyncio.sleep(0)
        take(item)

    script = shell(f"echo first; while ! test -e {go}; do sleep 0.01; done; echo second")
    last = await jw.run("COMMAND", script, stream=take if plain else take_slowly)
    assert "".join(each.get("stdout", "") for each in seen) == "first\nsecond\n"
    assert last["exitCode"] == 0


async def test_failures_have_types(jw: JobWorkerp) -> None:
    with pytest.raises(JobFailed, match="was not found") as failed:
        await jw.run("COMMAND", {"command": "no-such-program"})
    assert failed.value.job_id > 0
    failing = {**shell("echo out; echo why >&2; exit 3"), "treat_nonzero_as_error": True}
    for stream in (None, print):
        with pytest.raises(JobFailed, match="exit code 3") as failed:
            await jw.run("COMMAND", failing, stream=stream)
        assert failed.value.status == "MAX_RETRY"
    with pytest.raises(DoesNotFit, match='no field named "cmd"'):
        await jw.run("COMMAND", {"cmd": "x"})
    with pytest.raises(NoSuch, match="'NOTHING' does not exist"):
        await jw.run("NOTHING")
    with pytest.raises(CallFailed, match="INVALID_ARGUMENT"):
        await jw.client.job.enqueue(JobRequest())


async def test_the_time_limit_of_a_job(jw: JobWorkerp) -> None:
    with pytest.raises(JobFailed, match="longer than 100 ms"):
        await jw.run("COMMAND", {"command": "sleep", "args": ["100"]}, timeout=0.1)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_cancelled_call_ends_its_job(jw: JobWorkerp, tmp_path: Path, streamed: bool) -> None:
    pid = tmp_path / "pid"
    script = shell(f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000")
    call = asyncio.create_task(jw.run("COMMAND", script, stream=print if streamed else None))
    await eventually(pid.exists)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not psutil.pid_exists(int(pid.read_text()))


async def test_a_reader_that_fails_ends_its_job(jw: JobWorkerp, tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def fail(_item: Any) -> None:
        raise LookupError("the reader is broken")

    with pytest.raises(LookupError, match="the reader is broken"):
        await jw.run("COMMAND", shell(f"echo $$ > {pid}; echo x; exec sleep 1000"), stream=fail)
    assert not psutil.pid_exists(int(pid.read_text()))


async def test_a_result_that_nobody_keeps_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each result is too large to be kept, so that it is there only for who waits already."""
    monkeypatch.setattr(client_running, "_LOOK_MS", 50)
    async with JobWorkerp({"RESULT_RETENTION_MAX_BYTES": 1}) as jw:
        request = JobRequest(worker_name="w", args=b"\x0a\x04true")
        await jw.client.worker.create(WorkerData(name="w", runner_id=RunnerId(value=1), broadcast_results=True))
        worker_id = (await jw.client.schemas.worker("w")).id
        assert worker_id is not None
        job_id = await enqueue(jw.client, request)
        while (await jw.client.job.find(JobId(value=job_id))).data is not None:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        with pytest.raises(ClientError, match="its result is not kept"):
            await listen(jw.client, worker_id, job_id)


# ---------------------------------------------------------------- workflows


async def test_a_workflow_from_a_dictionary_a_text_and_a_file(jw: JobWorkerp, tmp_path: Path) -> None:
    document = flow({"add": {"set": {"sum": "${ .a + $b }"}}})
    text = (
        'document: {dsl: "1.0.0", namespace: t, name: n, version: "1.0.0"}\ndo: [{add: {set: {sum: "${ .a + $b }"}}}]\n'
    )
    file = tmp_path / "flow.yml"
    file.write_text(text)
    for source in (document, text, file, str(file)):
        run = await jw.run_workflow(source, {"a": 1}, context={"b": 2})
        assert (run.state, run.output, run.position) == (State.COMPLETED, {"sum": 3}, "/ROOT/do/0/add")


async def test_a_workflow_that_faults(jw: JobWorkerp) -> None:
    error = {"type": "https://serverlessworkflow.io/spec/1.0.0/errors/validation", "status": 400, "title": "Not so"}
    with pytest.raises(WorkflowFaulted, match="Not so") as failed:
        await jw.run_workflow(flow({"stop": {"raise": {"error": error}}}))
    assert failed.value.error == {**error, "instance": "/do/0/stop"}


async def test_a_workflow_that_is_wrong(jw: JobWorkerp) -> None:
    with pytest.raises(WorkflowInvalid, match="did you mean 'set'"):
        await jw.run_workflow(flow({"stop": {"sett": {}}}))
    needs = flow({"go": {"set": {"a": 1}}}, input={"schema": {"document": {"type": "object", "required": ["x"]}}})
    with pytest.raises(WorkflowInvalid, match="x"):
        await jw.run_workflow(needs, {})


async def test_a_workflow_tells_what_happens(jw: JobWorkerp) -> None:
    seen: list[str] = []
    document = flow({"say": {"run": {"shell": {"command": "echo hello"}}}}, output={"as": "${ . }"})
    run = await jw.run_workflow(document, on_event=lambda event: seen.append(str(event.to_dict())))
    assert run.output == "hello"
    for word in ("workflowStarted", "taskStarted", "jobStarted", "jobCompleted", "taskCompleted", "workflowEnded"):
        assert any(word in each for each in seen), f"{word} is not in {seen}"


async def test_a_listener_that_fails_ends_the_run(jw: JobWorkerp) -> None:
    def fail(_event: Any) -> None:
        raise LookupError("the listener is broken")

    with pytest.raises(LookupError, match="the listener is broken"):
        await jw.run_workflow(flow({"wait": {"wait": {"hours": 1}}}), on_event=fail)
    assert [each async for each in jw.client.status.find_all(Empty())] == []


async def test_a_workflow_that_waits_goes_on(jw: JobWorkerp) -> None:
    asking = flow({"ask": {"set": {"question": "?"}, "then": "wait"}}, {"use": {"set": {"got": "${ .answer }"}}})
    waiting = await jw.run_workflow(asking)
    assert (waiting.state, waiting.output) == (State.WAITING, {"question": "?"})
    done = await jw.resume(waiting, {"answer": 42})
    assert (done.state, done.output, done.id) == (State.COMPLETED, {"got": 42}, waiting.id)
    with pytest.raises(CallFailed, match="NOT_FOUND"):
        await jw.resume(123)


async def test_a_cancelled_workflow_ends_its_jobs(jw: JobWorkerp, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"echo $$ > {pid}.new; mv {pid}.new {pid}; exec sleep 1000"
    run = asyncio.create_task(jw.run_workflow(flow({"sleep": {"run": {"shell": {"command": script}}}})))
    await eventually(pid.exists)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert not psutil.pid_exists(int(pid.read_text()))


# ---------------------------------------------------------------- the house


async def test_nothing_listens_and_nothing_is_left_behind() -> None:
    process, tasks, threads = psutil.Process(), asyncio.all_tasks(), own_threads()
    descriptors = 0
    ports = {each.laddr for each in process.net_connections(kind="inet")}
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
    for _ in range(2):  # what is loaded once stays
        async with JobWorkerp() as jw:
            await jw.run("COMMAND", shell("true"))
            await jw.run_workflow(flow({"go": {"set": {"a": "${ [range(3)] }"}}}))
            assert {each.laddr for each in process.net_connections(kind="inet")} == ports
            assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)] == handlers
            assert not jw.addresses
        descriptors = process.num_fds()
    for _ in range(3):
        async with JobWorkerp() as jw:
            await jw.run("COMMAND", shell("true"))
    assert asyncio.all_tasks() == tasks
    assert process.num_fds() <= descriptors
    await eventually(lambda: own_threads() == threads)
    assert not process.children(recursive=True)


async def test_jobs_that_still_run_are_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    async with JobWorkerp() as jw:
        call = asyncio.create_task(jw.run("COMMAND", shell(f"echo $$ > {pid}.n; mv {pid}.n {pid}; exec sleep 1000")))
        await eventually(pid.exists)
    assert not psutil.pid_exists(int(pid.read_text()))
    with pytest.raises((JobFailed, Unreachable, CallFailed)):
        await call


async def test_calls_that_are_under_way_hear_that_the_block_was_left(tmp_path: Path) -> None:
    started = tmp_path / "started"
    async with JobWorkerp() as jw:
        call = asyncio.create_task(jw.run("COMMAND", shell(f"touch {started}; exec sleep 1000")))
        run = asyncio.create_task(jw.run_workflow(flow({"go": {"wait": {"hours": 1}}})))
        await eventually(started.exists)
        while sum([1 async for _ in jw.client.status.find_all(Empty())]) < 2:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    for each in (call, run):
        with pytest.raises(JobFailed, match="CANCELLED: the job was cancelled because the server stopped"):
            await each


async def test_another_loop_is_refused_in_words(jw: JobWorkerp) -> None:
    def elsewhere() -> None:
        asyncio.run(jw.run("COMMAND", {"command": "true"}))

    with pytest.raises(RuntimeError, match="entered in another event loop"):
        await asyncio.to_thread(elsewhere)


def test_programs_without_async_use_a_portal() -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(JobWorkerp()) as jw:
        assert portal.call(jw.run, "COMMAND", {"command": "echo", "args": ["x"]})["stdout"] == "x"


async def test_mistakes_name_the_file_and_the_line(jw: JobWorkerp, tmp_path: Path) -> None:
    text = 'document: {dsl: "1.0.0", namespace: t, name: n, version: "1.0.0"}\ndo: [{a: {sett: {}}, b: 1}]\n'
    file = tmp_path / "flow.yml"
    file.write_text(text)
    with pytest.raises(WorkflowInvalid) as failed:
        await jw.run_workflow(file)
    head, first, *_ = failed.value.text.splitlines()
    assert head == f"{file} has 1 error"
    assert first.startswith(f"{file}, line 2, column ")
    with pytest.raises(WorkflowInvalid) as failed:
        await jw.run_workflow(flow({"a": {"sett": {}}}))
    assert failed.value.text.splitlines()[1].startswith("/do/0/a: the task has no kind"), "nobody saw its lines"
    file.write_bytes(text.encode() + b"\xe4")
    with pytest.raises(ValueError, match=r"flow\.yml is not text in UTF-8"):
        await jw.run_workflow(file)
    assert (await jw.run_workflow(json.dumps(flow({"a": {"set": {"x": 1}}})))).output == {"x": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        await jw.run_workflow(flow({"a": {"set": {"x": 1}}}), math.nan)


@pytest.mark.parametrize("limit", [math.inf, 1e30, 60])
async def test_limits_of_any_length(jw: JobWorkerp, limit: float) -> None:
    assert (await jw.run("COMMAND", {"command": "echo", "args": ["x"]}, timeout=limit))["stdout"] == "x"


async def test_it_may_be_entered_and_left_in_different_tasks() -> None:
    jw = JobWorkerp()
    await asyncio.create_task(jw.__aenter__())
    assert (await asyncio.create_task(jw.run("COMMAND", {"command": "echo", "args": ["x"]})))["stdout"] == "x"
    await asyncio.create_task(jw.__aexit__(None, None, None))
    with pytest.raises(RuntimeError, match="not running"):
        await jw.run("COMMAND", {"command": "true"})
    with pytest.raises(RuntimeError, match="entered once"):
        await jw.__aenter__()


async def test_storage_is_kept_and_it_listens_where_it_is_told(tmp_path: Path) -> None:
    waits = flow({"ask": {"set": {"a": 1}, "then": "wait"}}, {"go": {"set": {"b": "${ .a }"}}})
    async with JobWorkerp(storage=tmp_path / "j?%41 #.sqlite3", listen="127.0.0.1:0") as jw:
        (address,) = jw.addresses
        async with connect(address) as client:
            assert await client.is_serving()
        waiting = await jw.run_workflow(waits)
    assert (tmp_path / "j?%41 #.sqlite3").exists()
    async with JobWorkerp(storage=tmp_path / "j?%41 #.sqlite3") as jw:
        assert (await jw.resume(waiting.job_id, {"a": 2})).output == {"b": 2}
        assert (await jw.client.worker.count(CountCondition())).total == 1, "workers end with the block"


async def test_wrong_settings_are_told(tmp_path: Path) -> None:
    tasks = asyncio.all_tasks()
    with pytest.raises(SettingsError, match="did you mean WORKER_DEFAULT_CONCURRENCY"):
        JobWorkerp({"WORKER_DEFAULT_CONCURENCY": 1})
    with pytest.raises(SettingsError, match="GRPC_ADDR is a list"):
        JobWorkerp({"GRPC_ADDR": ["127.0.0.1:0"], "AUTH_TOKEN": None})
    with pytest.raises(SettingsError, match="JOB_LEASE_SEC"):
        async with JobWorkerp({"JOB_LEASE_SEC": "soon"}):
            pass
    with pytest.raises(StorageError, match=r"j\.sqlite3"):
        async with JobWorkerp(storage=tmp_path / "no" / "such" / "folder" / "j.sqlite3"):
            pass
    assert asyncio.all_tasks() == tasks


async def test_a_token_is_used() -> None:
    async with JobWorkerp({"AUTH_TOKEN": "secret"}) as jw:
        assert (await jw.run("COMMAND", {"command": "echo", "args": ["x"]}))["stdout"] == "x"


def test_the_package_is_imported_without_the_engine() -> None:
    script = (
        "import sys, jobworkerp_standalone as j; assert 'JobWorkerp' in dir(j);"
        "assert not {'grpclib', 'anyio', 'asyncio'} & set(sys.modules); j.JobWorkerp; assert 'grpclib' in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)
