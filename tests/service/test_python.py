"""PYTHON_COMMAND with an interpreter for each script, from a request on the wire to the bytes of its result."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status

from tests.support.house import eventually, refused
from tests.support.patience import longer_and_longer
from tests.support.processes import descriptors
from tests.support.python_jobs import (
    PythonHouse,
    alive,
    arguments,
    descendants,
    ended,
    open_python_house,
    written,
)
from tests.support.web import Reply, Seen, open_web
from tests.support.wire_client import build


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_a_script_runs_with_the_daemons_own_python(python: PythonHouse) -> None:
    await python.worker()
    script = "import sys; print(sys.version_info[:2]); print(sys.prefix != sys.base_prefix); sys.exit(3)"
    result = (await python.run(script)).ok()
    assert result.output == f"{sys.version_info[:2]}\nTrue\n"
    assert result.exit_code == 3
    assert not result.HasField("output_stderr")


async def test_packages_are_installed(python: PythonHouse, registry: None) -> None:
    await python.worker(packages=["six==1.17.0"])
    assert await python.printed("import six; print(six.__version__)") == "1.17.0\n"


async def test_stderr_is_there_if_asked_for(python: PythonHouse) -> None:
    await python.worker()
    script = "import sys; print('out'); print('err', file=sys.stderr)"
    assert not (await python.run(script)).ok().HasField("output_stderr")
    result = (await python.run(script, with_stderr=True)).ok()
    assert (result.output, result.output_stderr) == ("out\n", "err\n")


async def test_an_exit_code_is_a_failure_if_asked_for(python: PythonHouse) -> None:
    await python.worker()
    script = "print('so far'); raise LookupError('nowhere')"
    assert (await python.run(script)).ok().exit_code == 1
    failed = await python.run(script, treat_nonzero_as_error=True)
    failed.failed("MAX_RETRY", "exit code 1", "LookupError: nowhere", "so far")
    assert (await python.run("", treat_nonzero_as_error=True)).ok().exit_code == 0


async def test_a_killed_script_has_the_exit_code_minus_one(python: PythonHouse) -> None:
    await python.worker()
    assert (await python.run("import os; os.kill(os.getpid(), 9)")).ok().exit_code == -1


async def test_input_is_a_file_that_the_first_argument_names(python: PythonHouse) -> None:
    await python.worker()
    script = "import sys; print(len(sys.argv), *(open(path).read() for path in sys.argv[1:]))"
    assert await python.printed(script, data_body="the data") == "2 the data\n"
    assert await python.printed(script, data_body="") == "2 \n"
    assert await python.printed(script) == "1\n"


async def test_each_job_has_a_folder_that_is_removed(python: PythonHouse) -> None:
    await python.worker()
    script = (
        "import os; d = os.path.dirname(__file__); os.mkdir(d + '/x')\n"
        "open(d + '/x/y', 'w').close(); os.chmod(d + '/x', 0); print(d)"
    )
    first = (await python.printed(script)).strip()
    second = (await python.printed(script)).strip()
    assert first != second
    await eventually(lambda: not Path(first).exists() and not Path(second).exists())


async def test_a_script_sees_the_jobs_variables_and_no_secrets(
    tmp_path: Path, python_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTH_TOKEN", "s3cret")
    monkeypatch.setenv("PYTHONPATH", "/of/the/daemon")
    monkeypatch.setenv("HARMLESS", "seen")
    async with open_python_house(tmp_path, python_cache) as python:
        await python.worker()
        script = "import os, sys; print(dict(os.environ)); print(sys.path); print(os.getcwd())"
        shown = await python.printed(script, env_vars={"MINE": "käse"})
    assert "s3cret" not in shown
    assert "/of/the/daemon" not in shown
    assert "'HARMLESS': 'seen'" in shown
    assert "'MINE': 'käse'" in shown
    assert shown.endswith(f"\n{os.getcwd()}\n")


async def test_the_environments_commands_are_on_path(python: PythonHouse) -> None:
    await python.worker()
    shown = await python.printed("import shutil, sys; print(shutil.which('python') == sys.executable)")
    assert shown == "True\n"


async def test_bytes_that_are_not_text_are_not_lost(python: PythonHouse) -> None:
    await python.worker()
    result = (await python.run(r"import os; os.write(1, b'a\xff\n\n'); os.write(2, b'\xfe')", with_stderr=True)).ok()
    assert (result.output, result.output_bytes) == ("a\ufffd\n\n", b"a\xff\n\n")
    assert (result.output_stderr, result.output_stderr_bytes) == ("\ufffd", b"\xfe")


async def test_the_standard_input_is_empty(python: PythonHouse) -> None:
    await python.worker()
    assert await python.printed("import sys; print(repr(sys.stdin.read()))") == "''\n"


async def test_output_over_the_limit_fails_and_names_the_setting(tmp_path: Path, python_cache: Path) -> None:
    async with open_python_house(tmp_path, python_cache, COMMAND_OUTPUT_MAX_BYTES="2048") as python:
        await python.worker()
        failed = await python.run("while True: print('x' * 1000)")
        failed.failed("OTHER_ERROR", "2048 bytes to stdout", "COMMAND_OUTPUT_MAX_BYTES")
        quiet = await python.run("import sys; print('x' * 9000, file=sys.stderr)")
        assert quiet.ok().exit_code == 0  # nobody asked for it


async def test_script_and_data_come_from_urls_as_they_are(python: PythonHouse) -> None:
    async def script(_seen: Seen, reply: Reply) -> None:
        text = "# coding: latin-1\nimport sys; print('é', list(open(sys.argv[1], 'rb').read()))"
        await reply.answer(body=text.encode("latin-1"))

    async def data(_seen: Seen, reply: Reply) -> None:
        await reply.answer(body=b"\x00\xff\r\n", headers=[("content-type", "text/plain; charset=utf-8")])

    async with open_web({"/s": script, "/d": data}) as web:
        await python.worker()
        shown = await python.printed("", script_url=f"{web.url}/s", data_url=f"{web.url}/d")
        assert shown == "é [0, 255, 13, 10]\n"
        missing = await python.run("", script_url=f"{web.url}/none")
        missing.failed("OTHER_ERROR", "script_url", f"{web.url}/none", "404")
        missing = await python.run("pass", data_url=f"{web.url}/none")
        missing.failed("OTHER_ERROR", "data_url", "404")
        port = web.port
    gone = await python.run("", script_url=f"http://127.0.0.1:{port}/s")
    gone.failed("MAX_RETRY", "script_url", str(port))


@pytest.mark.parametrize(
    ("args", "word"),
    [
        ({}, "script_content"),
        ({"script_url": ""}, "script_url"),
        ({"script_content": "pass", "data_url": ""}, "data_url"),
        ({"script_content": "pass", "env_vars": {"A=B": "x"}}, "env_vars"),
        ({"script_content": "pass", "env_vars": {"": "x"}}, "env_vars"),
        ({"script_content": "pass", "env_vars": {"A": "x\0y"}}, "env_vars"),
        ({"script_url": "ftp://127.0.0.1/x"}, "script_url"),
    ],
    ids=str,
)
@pytest.mark.parametrize("static", [False, True], ids=["one-shot", "static"])
async def test_bad_args_are_told_by_field(
    python: PythonHouse, args: dict[str, object], word: str, static: bool
) -> None:
    await python.worker(static=static)

    data = build("jobworkerp.runner.PythonCommandArgs", **args).SerializeToString()
    failed = ended((await python.house.enqueue(data, worker="py")).result.data)
    failed.failed("OTHER_ERROR", word)
    assert "Traceback" not in failed.text


async def test_a_variable_that_is_too_long_is_told_with_the_limit(python: PythonHouse) -> None:
    await python.worker()
    failed = await python.run("pass", env_vars={"A": "x" * 200_000})
    failed.failed("MAX_RETRY", "Argument list too long", "128 KiB")


async def test_args_that_do_not_decode_are_a_result_that_names_the_message(python: PythonHouse) -> None:
    await python.worker()
    failed = ended((await python.house.enqueue(b"\xff\xff", worker="py")).result.data)
    failed.failed("OTHER_ERROR", "jobworkerp.runner.PythonCommandArgs")


async def test_a_time_out_ends_the_script_at_once_and_keeps_its_last_words(python: PythonHouse) -> None:
    await python.worker()
    await python.run("pass")
    for limit in longer_and_longer(200):
        failed = await python.run("import time; print('begun', flush=True); time.sleep(600)", timeout=limit)
        failed.failed("MAX_RETRY", f"{limit} ms")
        if "begun" in failed.text:
            failed.failed("MAX_RETRY", "killed by SIGTERM")
            break
    assert descendants() == set()
    await eventually(lambda: python.leftovers() == [])


async def test_a_cancelled_script_takes_what_it_started_along(python: PythonHouse, tmp_path: Path) -> None:
    await python.worker()
    mark = tmp_path / "pids"
    script = (
        "import os, subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(mark)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(600)"
    )
    job = await python.start(script)
    pids = [int(pid) for pid in (await written(mark)).split()]
    assert await python.house.delete(job)
    await eventually(lambda: not any(map(alive, pids)))
    await eventually(lambda: python.leftovers() == [])


async def test_a_script_that_ignores_the_signal_is_killed(
    python: PythonHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobworkerp_standalone.runners.process.child.GRACE_SEC", 0.2)
    await python.worker()
    mark = tmp_path / "pid"
    script = (
        "import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"open({str(mark)!r}, 'w').write(str(os.getpid()))\nwhile True: time.sleep(1)"
    )
    job = await python.start(script)
    pid = int(await written(mark))
    assert await python.house.delete(job)
    await eventually(lambda: not alive(pid))


async def test_a_stream_shows_output_while_it_is_printed(python: PythonHouse, tmp_path: Path) -> None:
    await python.worker()
    gate = tmp_path / "gate"
    script = (
        "import os, sys, time\nprint('one')\nos.write(1, 'é'.encode()[:1])\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.005)\n"
        "os.write(1, 'é'.encode()[1:]); print('two', end=''); print('err', file=sys.stderr); sys.exit(4)"
    )
    items = []
    async for item in python.items(script, with_stderr=True):
        items.append(item)
        if "".join(each.output for each in items) == "one\n":
            gate.touch()
    assert "".join(each.output for each in items) == "one\nétwo"
    assert "".join(each.output_stderr for each in items) == "err\n"
    assert items[-1].exit_code == 4
    assert items[-1].HasField("execution_time_ms")


async def test_a_stored_stream_is_the_result_of_a_run(python: PythonHouse) -> None:
    await python.worker()
    args = arguments(r"import os; os.write(1, b'x\xff'); print('y'); raise SystemExit(5)")
    reply = await python.house.client.items(
        "JobService.EnqueueForStream", worker_name="py", args=args, overrides={"store_success": True}
    )
    assert reply.items
    (stored,) = (await python.house.client.items("JobResultService.FindListBy", limit=10)).items
    result = ended(stored.data).ok()
    assert (result.output, result.output_bytes, result.exit_code) == ("x\ufffdy\n", b"x\xffy\n", 5)


async def test_a_streams_failure_ends_it_with_a_status(python: PythonHouse) -> None:
    await python.worker()
    items: list[Any] = []
    async with refused(Status.ABORTED, "exit code 9"):
        script = r"import os; os.write(1, b'x\xc3'); os._exit(9)"
        async for item in python.items(script, treat_nonzero_as_error=True):
            items.append(item)  # noqa: PERF401 - those before the error count
    assert "".join(item.output for item in items) == "x\ufffd"
    assert items[-1].exit_code == 9


async def test_what_a_script_leaves_in_the_background_does_not_hold_the_job(
    python: PythonHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobworkerp_standalone.runners.process.child.DRAIN_SEC", 0.1)
    await python.worker()
    script = "import subprocess; p = subprocess.Popen(['sleep', '600']); print(p.pid)"
    pid = int(await python.printed(script))
    try:
        assert alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


async def _cancelled(python: PythonHouse, tmp_path: Path, number: int, static: bool) -> None:
    mark = tmp_path / f"pid{number}"
    script = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(600)"
    job = await python.start(script)
    await written(mark)
    assert await python.house.delete(job)


@pytest.mark.parametrize("static", [False, True], ids=["one-shot", "static"])
@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.long)])
async def test_cancelled_jobs_leave_nothing(python: PythonHouse, tmp_path: Path, rounds: int, static: bool) -> None:
    """Four at a time: 12 in the short form, 200 in the long one."""
    worker = await python.worker(static=static)
    await python.run("pass")
    before = descriptors()
    for number in range(rounds):
        async with asyncio.TaskGroup() as group:
            for each in range(4):
                group.create_task(_cancelled(python, tmp_path, 4 * number + each, static))
    await eventually(lambda: len(python.house.daemon.engine.live) == 0)
    if not static:
        assert descendants() == set()
    await eventually(lambda: python.leftovers() == [])
    await python.house.client.call("WorkerService.Delete", value=worker)
    await eventually(lambda: descendants() == set())
    await eventually(lambda: descriptors() <= before)
