"""Child processes: how they start, what they inherit, how they end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from jobworkerp_standalone.jobs.errors import BadInput, Retryable
from jobworkerp_standalone.runners.guard.guard import guard_of, guarded
from jobworkerp_standalone.runners.process import Child, Exit, Program, child, launch
from jobworkerp_standalone.runners.spawn import inherited_descriptors
from tests.unit.runners.traces import has_children, leaves_nothing

pytestmark = pytest.mark.anyio
_OF_THE_C_LIBRARY = 0x1_8000_0000
"""Signals 32 and 33, which glibc keeps to itself and sets up again in every program that needs them."""
ENVIRONMENT = {b"PATH": b"/usr/bin:/bin"}


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    if request.param:
        pytest.importorskip("uvloop")
    return "asyncio", {"use_uvloop": request.param}


def program(*argv: str | bytes, working_dir: str | Path = "", environment: dict[bytes, bytes] = ENVIRONMENT) -> Program:
    return Program(tuple(os.fsencode(word) for word in argv), environment, str(working_dir))


def shell(script: str, *args: str | Path) -> Program:
    return program("sh", "-c", script, "sh", *map(str, args))


async def finish(child: Child) -> tuple[bytes, Exit]:
    """Return everything that a child wrote, and its exit."""
    written = b""
    async with child:
        while pieces := await child.read():
            written += b"".join(data for _output, data in pieces)
        return written, await child.wait()


async def output_of(what: Program, stdin: bytes = b"") -> bytes:
    return (await finish(await launch(what, stdin)))[0]


async def cancel(running: Child) -> None:
    """Do what a cancelled job does."""
    with anyio.CancelScope() as scope:
        async with running:
            scope.cancel()
            await running.wait()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def line_from(fifo: Path) -> str:
    """Wait for what a child says through a named pipe."""
    fd = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        await anyio.wait_readable(fd)
        return os.read(fd, 100).decode().strip()
    finally:
        os.close(fd)


@contextmanager
def line_to(fifo: Path) -> Generator[None]:
    """Say something to a child through a named pipe."""
    fd = os.open(fifo, os.O_RDWR)
    try:
        os.write(fd, b"go\n")
        yield
    finally:
        os.close(fd)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str, int], Path]:
    def write(text: str, mode: int = 0o755) -> Path:
        path = tmp_path / "script"
        path.write_text(text)
        path.chmod(mode)
        return path

    return write


@pytest.mark.parametrize("registers", ["add_reader", "add_writer"])
async def test_a_child_that_cannot_be_watched_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, registers: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    more_than_a_pipe_holds = b"x" * 1_000_000
    async with guarded():
        guard = guard_of(asyncio.get_running_loop())
        assert guard is not None
        await finish(await launch(shell("exit 0")))
        before = set(os.listdir("/proc/self/fd"))
        with monkeypatch.context() as patch:
            patch.setattr(asyncio.get_running_loop(), registers, refuse)
            with pytest.raises(Retryable, match="cannot be started: No space left"):
                await launch(shell("exec sleep 1000"), more_than_a_pipe_holds)
        assert set(os.listdir("/proc/self/fd")) == before
        assert not guard._leaders
    assert not has_children()


async def test_exit_code_and_signal() -> None:
    assert str((await finish(await launch(shell("exit 7"))))[1]) == "exit code 7"
    _, end = await finish(await launch(shell("kill -9 $$")))
    assert (end.code, end.signal, str(end)) == (None, 9, "killed by SIGKILL")


async def test_leads_a_session_of_its_own_with_default_signals_and_no_more_descriptors() -> None:
    numbers = await output_of(shell("cut -d' ' -f5,6 /proc/$$/stat; echo $$"))
    assert len(set(numbers.split())) == 1
    _, blocked, _, ignored = (await output_of(program("grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"))).split()
    assert int(blocked, 16) == 0
    assert int(ignored, 16) & ~_OF_THE_C_LIBRARY == 0
    assert await output_of(program("ls", "/proc/self/fd")) == b"0\n1\n2\n3\n"  # 3: the directory itself


async def test_descriptors_that_the_daemon_inherited_are_not_handed_on(tmp_path: Path) -> None:
    with (tmp_path / "held").open("w") as held:
        os.set_inheritable(held.fileno(), True)
        inherited_descriptors.cache_clear()
        try:
            shown = await output_of(shell("ls -l /proc/self/fd"))
        finally:
            os.set_inheritable(held.fileno(), False)
            inherited_descriptors.cache_clear()
    assert b"held" not in shown


async def test_without_input_reads_nothing() -> None:
    assert await output_of(shell("readlink /proc/self/fd/0; cat")) == b"/dev/null\n"


async def test_large_input_comes_back() -> None:
    data = os.urandom(10_000_000)
    assert await output_of(program("cat"), data) == data


async def test_child_that_closes_its_input_is_no_error() -> None:
    assert await output_of(shell("exec <&-; echo done"), b"x" * 1_000_000) == b"done\n"


async def test_child_that_never_reads_its_input_is_no_error() -> None:
    written, end = await finish(await launch(program("true"), b"x" * 1_000_000))
    assert (written, end.code) == (b"", 0)


async def test_program_is_looked_up_in_the_path_of_the_child(tmp_path: Path, script: Callable[..., Path]) -> None:
    script("#!/bin/sh\necho mine\n")
    path = os.fsencode(tmp_path)
    assert await output_of(program("script", environment={b"PATH": b"/none:/etc/passwd:" + path})) == b"mine\n"
    assert await output_of(program("true", environment={})) == b""


async def test_program_is_looked_up_in_the_path_of_the_daemon() -> None:
    path = {b"PATH": os.environb[b"PATH"]}
    assert await output_of(program("echo", "found", environment=path)) == b"found\n"
    with pytest.raises(Retryable, match="program 'no-such-program' was not found: it is in no directory of PATH"):
        await launch(program("no-such-program", environment=path))


async def test_relative_program_and_path_start_at_the_working_directory(
    tmp_path: Path, script: Callable[..., Path]
) -> None:
    script("#!/bin/sh\npwd\n")
    expected = os.fsencode(tmp_path) + b"\n"
    assert await output_of(program("./script", working_dir=tmp_path)) == expected
    assert await output_of(program("script", working_dir=tmp_path, environment={b"PATH": b":/bin"})) == expected


async def test_working_directory_keeps_arguments_and_environment(tmp_path: Path) -> None:
    (tmp_path / "-odd dir=").mkdir()
    (tmp_path / "-odd dir=" / "a=b").symlink_to("/bin/echo")
    inside = program("./a=b", "-n", "x=y", working_dir=tmp_path / "-odd dir=")
    assert await output_of(inside) == b"x=y"
    odd = {**ENVIRONMENT, b"a.b": b"1"}
    assert b"a.b=1" in (await output_of(program("env", working_dir="/", environment=odd))).split()


async def test_working_directory_adds_no_process_between(tmp_path: Path) -> None:
    child = await launch(Program((b"sh", b"-c", b"echo $$"), ENVIRONMENT, str(tmp_path)))
    assert (await finish(child))[0] == b"%d\n" % child.pid


@pytest.mark.parametrize("working_dir", ["", "/"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("no-such-program", "program 'no-such-program' was not found: it is in no directory of PATH"),
        ("/no/such/program", "program '/no/such/program' was not found: there is no such file"),
        ("/etc/passwd/x", "program '/etc/passwd/x' was not found: there is no such file"),
        ("/etc", "program '/etc' is a directory"),
        ("/etc/passwd", "program '/etc/passwd' cannot be started: Permission denied"),
    ],
)
async def test_program_that_cannot_be_started(name: str, text: str, working_dir: str) -> None:
    with pytest.raises(Retryable) as caught:
        await launch(program(name, working_dir=working_dir))
    assert str(caught.value) == text


async def test_script_without_interpreter(script: Callable[..., Path]) -> None:
    with pytest.raises(Retryable, match="a script needs a first line such as #!/bin/sh"):
        await launch(program(str(script("echo hi\n"))))
    with pytest.raises(Retryable, match="the interpreter that it names does not exist"):
        await launch(program(str(script("#!/no/such/sh\n"))))


async def test_working_directory_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(Retryable, match=r"working_dir '.*none' cannot be used: No such file"):
        await launch(program("true", working_dir=tmp_path / "none"))
    with pytest.raises(Retryable, match="working_dir '/etc/passwd' is not a directory"):
        await launch(program("true", working_dir="/etc/passwd"))


@pytest.mark.parametrize(
    "what",
    [
        program("true", b"a\0b"),
        program(b"tr\0ue"),
        program("true", working_dir="/\0"),
        program("true", environment={b"A=B": b""}),
        program("true", environment={b"A": b"\0"}),
    ],
)
async def test_what_no_process_can_have(what: Program) -> None:
    with pytest.raises(BadInput):
        await launch(what)


async def test_no_program_is_named() -> None:
    for nothing in (program(), program("")):
        with pytest.raises(BadInput, match="the command is empty"):
            await launch(nothing)


async def test_arguments_too_long() -> None:
    with pytest.raises(Retryable, match="Argument list too long"):
        await launch(program("true", "x" * 3_000_000))


async def test_process_left_behind_by_a_normal_end_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "DRAIN_SEC", 0.05)
    written, end = await finish(await launch(shell("sleep 1000 & echo $!")))
    assert end.code == 0
    left = int(written)
    assert alive(left)
    os.kill(left, signal.SIGKILL)


async def test_output_of_a_process_left_behind_is_read_while_it_comes(fifo: Path) -> None:
    running = await launch(shell("(read line < $1; echo late) & echo early", fifo))
    async with running:
        assert (await running.read())[0][1] == b"early\n"
        await running.wait()
        with line_to(fifo):
            assert (await running.read())[0][1] == b"late\n"
        assert await running.read() == []


async def test_whole_tree_is_stopped(fifo: Path) -> None:
    tree = shell("(sleep 1000 & sleep 1000 & echo $! > $1; wait)", fifo)
    running = await launch(tree)
    grandchild = int(await line_from(fifo))
    await cancel(running)
    assert running.exit is not None
    assert running.exit.signal == signal.SIGTERM
    assert not alive(grandchild)


async def test_tree_that_ignores_the_request_is_killed(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert child.GRACE_SEC == 5
    monkeypatch.setattr(child, "GRACE_SEC", 0.05)
    stubborn = shell("trap '' TERM; sh -c 'echo $$ > $0; while :; do sleep 1000; done' $1; :", fifo)
    running = await launch(stubborn)
    inner = int(await line_from(fifo))
    await cancel(running)
    assert running.exit is not None
    assert running.exit.signal == signal.SIGKILL
    assert not alive(inner)


async def test_process_in_another_group_of_the_session_is_killed(fifo: Path) -> None:
    other_group = (
        "import os, sys, time; os.setpgid(0, 0); open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(1000)"
    )
    running = await launch(shell('(python3 -c "$1" $2 &) ; sleep 1000', other_group, fifo))
    escaped = int(await line_from(fifo))
    await cancel(running)
    assert not alive(escaped)


async def test_child_may_clean_up_and_what_it_says_is_read(fifo: Path) -> None:
    polite = shell("trap 'head -c 200000 /dev/zero; echo bye; exit 3' TERM; echo up > $1; sleep 1000 & wait", fifo)
    running = await launch(polite)
    await line_from(fifo)
    await cancel(running)
    assert running.last_words.startswith("exit code 3\nstdout: ")
    assert running.last_words.endswith("bye")


async def test_stopped_child_is_woken_to_end(fifo: Path) -> None:
    running = await launch(shell("echo up > $1; kill -STOP $$; :", fifo))
    await line_from(fifo)
    await cancel(running)
    assert running.exit is not None
    assert running.exit.signal == signal.SIGTERM


async def test_second_cancellation_ends_the_grace_and_leaks_nothing(fifo: Path) -> None:
    stubborn = await launch(shell("trap '' TERM; echo up > $1; while :; do sleep 1000; done", fifo))

    async def hold() -> None:
        async with stubborn:
            await stubborn.wait()

    task = asyncio.create_task(hold())
    await line_from(fifo)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stubborn.exit is not None
    assert stubborn.exit.signal == signal.SIGKILL


async def test_cancellation_while_stopping_after_an_error_is_not_swallowed(fifo: Path) -> None:
    stubborn = await launch(shell("trap '' TERM; echo up > $1; while :; do sleep 1000; done", fifo))
    failing = asyncio.Event()

    async def fail() -> None:
        async with stubborn:
            await line_from(fifo)
            failing.set()
            raise RuntimeError

    task = asyncio.create_task(fail())
    await failing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(stubborn.pid)


async def test_child_given_up_is_killed_and_reaped_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    buried = asyncio.Event()
    bury = Child._bury

    def noted(self: Child) -> None:
        bury(self)
        buried.set()

    monkeypatch.setattr(Child, "_bury", noted)
    abandoned = await launch(shell("sleep 1000"))
    abandoned.close()
    await buried.wait()
    assert abandoned.exit is not None
    assert abandoned.exit.signal == signal.SIGKILL
    assert not has_children()


async def test_no_descriptors_left_by_a_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")

    def no_more(pid: int) -> int:
        raise OSError(24, "Too many open files")

    for what in (program("no-such-program"), program("/etc"), program("true", b"\0")):
        with pytest.raises((Retryable, BadInput)):
            await launch(what, b"input")
    monkeypatch.setattr(os, "pidfd_open", no_more)
    with pytest.raises(Retryable, match="Too many open files"):
        await launch(program("sleep", "1000"), b"input")
    assert os.listdir("/proc/self/fd") == before


async def test_two_hundred_stopped_children_leave_nothing() -> None:
    async def stopped() -> None:
        with anyio.CancelScope() as scope:
            async with await launch(shell("sleep 1000 & echo up; wait"), b"never read") as running:
                await running.read()
                scope.cancel()
                await running.wait()

    await leaves_nothing(stopped)
