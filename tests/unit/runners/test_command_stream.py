"""COMMAND with streaming: output as it comes, held back when nobody takes it."""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from jobworkerp_standalone.jobs.errors import Retryable
from jobworkerp_standalone.runners.base import Call
from jobworkerp_standalone.runners.command import EXIT_ERROR_KEY, CommandRunner
from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.runners.process import Child
from jobworkerp_standalone.schema.messages import message_class
from tests.support.patience import PATIENCE_SEC

pytestmark = pytest.mark.anyio
CLOSING = {"exit_code", "execution_time_ms", "started_at"}


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


def runner() -> CommandRunner:
    return CommandRunner(ChildEnvironment(os.environ), 1024)


def call_for(script: str, *args: str | Path, **fields: Any) -> Call:
    message: Any = message_class("jobworkerp.runner.CommandArgs")
    return Call(1, message(command="sh", args=["-c", script, *map(str, args)], **fields).SerializeToString())


def parsed(item: bytes) -> Any:
    message: Any = message_class("jobworkerp.runner.CommandResult")
    return message.FromString(item)


def names(item: Any) -> set[str]:
    return {field.name for field, _value in item.ListFields()}


async def items_of(call: Call) -> list[bytes]:
    items: list[bytes] = []

    async def send(item: bytes) -> None:
        items.append(item)

    await runner().stream(call, send)
    return items


def folded(items: list[bytes]) -> Any:
    collector = runner().collector("run")
    for item in items:
        collector.add(item)
    return parsed(collector.result())


async def test_output_comes_first_and_the_end_last() -> None:
    items = [parsed(item) for item in await items_of(call_for("printf 'a\\n\\nb'; echo err >&2; exit 3"))]
    assert all(names(item) in ({"stdout"}, {"stderr"}) for item in items[:-1])
    assert "".join(item.stdout for item in items) == "a\n\nb"
    assert "".join(item.stderr for item in items) == "err\n"
    assert names(items[-1]) == CLOSING
    assert items[-1].exit_code == 3


async def test_memory_is_in_the_last_item() -> None:
    items = [parsed(item) for item in await items_of(call_for("echo a", with_memory_monitoring=True))]
    assert names(items[0]) == {"stdout"}
    assert names(items[-1]) == CLOSING | {"max_memory_usage_kb"}
    assert items[-1].max_memory_usage_kb > 0


async def test_killed_by_a_signal_has_no_exit_code() -> None:
    (last,) = await items_of(call_for("kill -9 $$"))
    assert names(parsed(last)) == CLOSING - {"exit_code"}


class Gate:
    """A named pipe that a command waits at."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def release(self) -> None:
        os.write(self._fd, b"go\n")

    def close(self) -> None:
        os.close(self._fd)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


async def test_a_line_is_there_at_once(gate: Gate) -> None:
    got: list[str] = []

    async def send(item: bytes) -> None:
        got.append(parsed(item).stdout)
        gate.release()

    with anyio.fail_after(PATIENCE_SEC):
        await runner().stream(call_for("for i in 1 2 3; do echo $i; read go < $0; done", gate.path), send)
    assert got == ["1\n", "2\n", "3\n", ""]


async def test_a_sequence_that_arrives_in_parts_is_one_character(gate: Gate) -> None:
    got: list[Any] = []

    async def send(item: bytes) -> None:
        got.append(parsed(item))
        if got[-1].stderr:
            gate.release()

    script = "printf 'a\\303'; echo x >&2; read go < $0; printf '\\274\\377\\303'"
    with anyio.fail_after(PATIENCE_SEC):
        await runner().stream(call_for(script, gate.path), send)
    outputs = [(item.stdout, item.stdout_bytes) for item in got if item.stdout]
    assert outputs == [("a", b""), ("ü\ufffd", b"\xc3\xbc\xff"), ("\ufffd", b"\xc3")]


async def test_bad_exit_fails_after_the_last_item() -> None:
    call = call_for("echo out; exit 3", treat_nonzero_as_error=True)
    items: list[Any] = []

    async def send(item: bytes) -> None:
        items.append(parsed(item))

    with pytest.raises(Retryable, match=r"exit code 3\nstdout: out$") as caught:
        await runner().stream(call, send)
    assert items[-1].exit_code == 3
    assert call.trailer == {EXIT_ERROR_KEY: str(caught.value)}


async def test_program_that_cannot_be_started_fails() -> None:
    message: Any = message_class("jobworkerp.runner.CommandArgs")
    with pytest.raises(Retryable, match="program 'no-such' was not found"):
        await items_of(Call(1, message(command="no-such").SerializeToString()))


async def test_folding_gives_what_a_run_gives() -> None:
    call = call_for("printf 'a\\n\\nb\\r\\n'; printf '\\377\\n' >&2; exit 4")
    once, together = parsed(await runner().run(call)), folded(await items_of(call))
    for result in (once, together):
        assert result.started_at > 0
        result.ClearField("started_at")
        result.ClearField("execution_time_ms")
    assert together == once
    assert (once.exit_code, once.stdout, once.stderr_bytes) == (4, "a\n\nb", b"\xff")


async def test_nothing_is_read_while_nobody_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wakeups = 0
    readable = Child._readable

    def counted(self: Child, *args: Any) -> None:
        nonlocal wakeups
        wakeups += 1
        readable(self, *args)

    monkeypatch.setattr(Child, "_readable", counted)
    total = 0

    async def send(item: bytes) -> None:
        nonlocal total
        total += len(parsed(item).stdout)
        if total and not await anyio.Path(tmp_path / "other").exists():
            before = wakeups
            await items_of(call_for("sleep 0.05; touch $0", tmp_path / "other"))
            for _ in range(100):
                await anyio.lowlevel.checkpoint()
            assert wakeups - before < 10
            assert not await anyio.Path(tmp_path / "written").exists()

    await runner().stream(call_for("head -c 1000000 /dev/zero; touch $0", tmp_path / "written"), send)
    assert total == 1_000_000
    assert (tmp_path / "written").exists()


async def test_memory_stays_constant_however_much_is_written() -> None:
    total = 0

    async def send(item: bytes) -> None:
        nonlocal total
        total += len(parsed(item).stdout)

    await items_of(call_for("echo warm"))
    tracemalloc.start()
    try:
        await runner().stream(call_for("head -c 67108864 /dev/zero"), send)
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == 64 * 1024 * 1024
    assert peak < 2_000_000


async def test_reader_that_fails_stops_the_command() -> None:
    pids: list[int] = []

    async def send(item: bytes) -> None:
        pids.append(int(parsed(item).stdout))
        raise RuntimeError("the reader is gone")

    with pytest.raises(RuntimeError, match="the reader is gone"):
        await runner().stream(call_for("echo $$; sleep 1000"), send)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


async def test_cancelled_stream_leaves_its_last_words() -> None:
    call = call_for("echo out; echo err >&2; sleep 1000")
    seen: list[bytes] = []

    async def send(item: bytes) -> None:
        seen.append(item)
        if len(seen) == 2:
            scope.cancel()

    with anyio.CancelScope() as scope:
        await runner().stream(call, send)
    assert call.last_words == "killed by SIGTERM\nstderr: err\nstdout: out"
