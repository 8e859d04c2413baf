"""COMMAND without streaming: what a job gets back."""

from __future__ import annotations

import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from jobworkerp_standalone.jobs.errors import BadInput, JobError, Retryable
from jobworkerp_standalone.jobs.model import ResultStatus
from jobworkerp_standalone.runners.base import Call
from jobworkerp_standalone.runners.command import CommandRunner
from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.runners.process.child import DRAIN_SEC
from jobworkerp_standalone.schema.messages import message_class
from tests.unit.runners.traces import has_children, leaves_nothing

pytestmark = pytest.mark.anyio
LIMIT = 1_000_000


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


def call_for(command: str, *args: str, **fields: Any) -> Call:
    message: Any = message_class("jobworkerp.runner.CommandArgs")
    return Call(1, message(command=command, args=args, **fields).SerializeToString())


def runner() -> CommandRunner:
    return CommandRunner(ChildEnvironment(os.environ), LIMIT)


async def run(command: str, *args: str, **fields: Any) -> Any:
    message: Any = message_class("jobworkerp.runner.CommandResult")
    return message.FromString(await runner().run(call_for(command, *args, **fields)))


async def sh(script: str, **fields: Any) -> Any:
    return await run("sh", "-c", script, **fields)


@pytest.mark.parametrize(
    ("script", "fields", "exit_code", "stdout", "stderr"),
    [
        ("printf 'a\\n\\nb\\n'", {}, 0, "a\n\nb", ""),
        ("pwd", {"working_dir": "/tmp"}, 0, "/tmp", ""),
        ("echo out; echo err >&2; exit 3", {}, 3, "out", "err"),
        ("exit 3", {"treat_nonzero_as_error": True, "success_exit_codes": [3]}, 3, "", ""),
        ("exit 0", {"treat_nonzero_as_error": True}, 0, "", ""),
        ("exit 3", {"success_exit_codes": [4]}, 3, "", ""),
        ("printf x", {}, 0, "x", ""),
        ("cat", {}, 0, "", ""),
        ("cat", {"stdin": "some input"}, 0, "some input", ""),
        ("printf 'a\\r\\nb\\r\\n'", {}, 0, "a\r\nb", ""),
        ("printf ' x \\n\\n'", {}, 0, " x \n", ""),
        ("echo $NAME", {"environment": {"NAME": "välue"}}, 0, "välue", ""),
    ],
)
async def test_result(script: str, fields: dict[str, Any], exit_code: int, stdout: str, stderr: str) -> None:
    result = await sh(script, **fields)
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, stdout, stderr)
    assert result.HasField("stdout")
    assert result.HasField("stderr")
    assert not result.HasField("stdout_bytes")
    assert not result.HasField("max_memory_usage_kb")


async def test_killed_by_a_signal_has_no_exit_code() -> None:
    result = await sh("kill -9 $$")
    assert not result.HasField("exit_code")
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("command", "stdout"),
    [
        ("echo $HOME;ls", "$HOME;ls"),
        ("  echo\t'a  b'\n", "a  b"),
        ('echo "a\\"b" c\\ d', 'a"b c d'),
        ("echo # no comment", "# no comment"),
        ("echo \u00a0", "\u00a0"),
    ],
)
async def test_command_is_split_by_quoting_and_not_by_a_shell(command: str, stdout: str) -> None:
    assert (await run(command)).stdout == stdout


async def test_command_beside_args_is_the_program(tmp_path: Path) -> None:
    assert (await run("echo", "a  b", "")).stdout == "a  b "
    with pytest.raises(Retryable, match="program 'echo x' was not found"):
        await run("echo x", "y")
    odd = tmp_path / "it's"
    odd.symlink_to("/bin/echo")
    assert (await run(str(odd))).stdout == ""


@pytest.mark.parametrize("command", ["", "  \n", "''"])
async def test_empty_command(command: str) -> None:
    with pytest.raises(BadInput, match="command is empty"):
        await run(command)


async def test_what_cannot_be_started_may_be_tried_again() -> None:
    with pytest.raises(Retryable, match="program 'no-such' was not found"):
        await run("no-such")
    with pytest.raises(Retryable, match="working_dir '/no/such' cannot be used"):
        await run("true", working_dir="/no/such")


async def test_args_that_do_not_decode() -> None:
    with pytest.raises(BadInput, match=r"jobworkerp\.runner\.CommandArgs"):
        await runner().run(Call(1, b"\x0a\xff"))


@pytest.mark.parametrize(
    ("script", "codes", "how"),
    [
        ("exit 3", [], "good exit codes: 0): exit code 3"),
        ("exit 0", [7, 3], "good exit codes: 3, 7): exit code 0"),
        ("kill -15 $$", [], "good exit codes: 0): killed by SIGTERM"),
    ],
)
async def test_bad_exit_is_a_failure_that_keeps_what_was_said(script: str, codes: list[int], how: str) -> None:
    said = "head -c 9999 /dev/zero | tr '\\0' x; echo; echo out; echo err >&2; "
    with pytest.raises(Retryable) as caught:
        await sh(said + script, treat_nonzero_as_error=True, success_exit_codes=codes)
    text = str(caught.value)
    assert text.startswith(f"command 'sh' failed ({how}\nstderr: err\nstdout: xxx")
    assert text.endswith("xxx\nout")
    assert len(text) < 4096 + 200


async def test_output_that_is_not_utf8_is_replaced_and_kept_as_bytes() -> None:
    result = await sh("printf 'a\\377b\\n\\nlater\\r\\n'; printf '\\303' >&2; printf '\\274' >&2")
    assert result.stdout == "a\ufffdb\n\nlater"
    assert result.stdout_bytes == b"a\xffb\n\nlater"
    assert result.stderr == "ü"
    assert not result.HasField("stderr_bytes")


async def test_time_and_start() -> None:
    before = time.time_ns() // 1_000_000
    result = await sh("sleep 0.05")
    assert before <= result.started_at <= time.time_ns() // 1_000_000
    assert 50 <= result.execution_time_ms < 5_000


async def test_time_ends_with_the_exit_not_with_what_is_left_behind() -> None:
    result = await sh("sleep 1000 & echo $!")
    os.kill(int(result.stdout), signal.SIGKILL)
    assert result.execution_time_ms < DRAIN_SEC * 900


async def test_memory_of_a_short_command_is_its_own() -> None:
    ballast = bytearray(b"x") * 100_000_000
    result = await run("/bin/true", with_memory_monitoring=True)
    assert 0 < result.max_memory_usage_kb < len(ballast) / 1024 / 2


async def test_memory_of_a_large_command_is_exact() -> None:
    size_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss + 200_000  # more than this process ever had
    script = f"bytearray(b'x') * {size_kb * 1024}"
    result = await run("python3", "-c", script, with_memory_monitoring=True)
    assert size_kb < result.max_memory_usage_kb < size_kb + 100_000


async def test_output_beyond_the_limit_fails_and_kills() -> None:
    assert len((await run("head", "-c", str(LIMIT), "/dev/zero")).stdout) == LIMIT
    with pytest.raises(JobError) as caught:
        await sh("yes | cat >&2")
    assert caught.value.status is ResultStatus.OTHER_ERROR
    assert "wrote more than 1000000 bytes to stderr" in str(caught.value)
    assert "COMMAND_OUTPUT_MAX_BYTES" in str(caught.value)
    assert "stream" in str(caught.value)
    assert not has_children()


async def test_large_input_and_output_at_once() -> None:
    text = "0123456789" * (LIMIT // 10)
    assert (await run("cat", stdin=text)).stdout == text


async def test_input_that_is_not_read_is_no_error() -> None:
    assert (await sh("exec <&-; echo done", stdin="x" * LIMIT)).stdout == "done"


async def test_secrets_of_the_daemon_are_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTH_TOKEN", "hush")
    monkeypatch.setenv("PLAIN", "seen")
    assert (await sh("echo $AUTH_TOKEN$PLAIN")).stdout == "seen"


async def test_cancelled_run_leaves_its_last_words(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "up")
    up = os.open(tmp_path / "up", os.O_RDONLY | os.O_NONBLOCK)
    call = call_for("sh", "-c", "echo out; echo err >&2; echo up > $0; sleep 1000", str(tmp_path / "up"))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(runner().run, call)
            await anyio.wait_readable(up)
            scope.cancel()
    os.close(up)
    assert call.last_words == "killed by SIGTERM\nstderr: err\nstdout: out"


async def test_two_hundred_cancelled_runs_leave_nothing() -> None:
    async def cancelled() -> None:
        call = call_for("sh", "-c", "sleep 1000 & echo up; wait", stdin="x" * LIMIT, with_memory_monitoring=True)

        async def send(item: bytes) -> None:
            scope.cancel()
            await anyio.lowlevel.checkpoint()

        with anyio.CancelScope() as scope:
            await runner().stream(call, send)
        assert call.last_words.startswith("killed by SIGTERM")

    await leaves_nothing(cancelled)
