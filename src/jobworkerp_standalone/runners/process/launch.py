"""Starting a program: looked up as execvp does, with pipes, guarded from the first moment.

posix_spawn knows no working directory: a program that asks for one is started through ``env --chdir``.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

import anyio.to_thread

from jobworkerp_standalone.jobs.errors import BadInput, NotStartable, Retryable
from jobworkerp_standalone.runners.guard.guard import guard_of
from jobworkerp_standalone.runners.process.child import Began, Child
from jobworkerp_standalone.runners.process.pipes import InputPipe
from jobworkerp_standalone.runners.spawn import Action, inherited_descriptors, spawn

CHILDS_EXTRA_FD: Final = 3
"""The number that an extra descriptor has in the child."""
_NOT_STARTABLE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ENOEXEC})
"""Reasons that lie with what is to be started, not with the machine at that moment."""
_ENV: Final = b"/usr/bin/env"
_NO_INPUT: Final[Action] = (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)


@dataclass(frozen=True, slots=True)
class Program:
    """What is started: a program with its arguments, environment and working directory (empty: the daemon's)."""

    argv: tuple[bytes, ...]
    environment: Mapping[bytes, bytes]
    working_dir: str = ""
    file: bytes = b""
    """Where it is; empty: where PATH says."""

    @property
    def name(self) -> str:
        """The program as it was given."""
        return self.argv[0].decode(errors="replace")

    def places(self) -> Iterator[bytes]:
        """Yield where the program may be, as seen from the working directory, in the order of execvp."""
        name = self.argv[0]
        if b"/" in name:
            yield name
            return
        path = self.environment.get(b"PATH", os.fsencode(os.defpath))
        for folder in path.split(b":"):
            yield os.path.join(folder or b".", name)


async def launch(
    program: Program, stdin: bytes = b"", *, input_stays_open: bool = False, extra_fd: int | None = None
) -> Child:
    """Start ``program`` with ``stdin`` as its input; without any it reads from ``/dev/null``.

    With ``input_stays_open`` more may be written to `Child.input` until it is closed. ``extra_fd`` is handed on as
    `CHILDS_EXTRA_FD`; the caller keeps its own.

    Raises:
        Retryable: it could not be started; the text says why. `NotStartable` where that is how it is set up.
        BadInput: no process can have such arguments or such an environment.
    """
    if not program.argv or not program.argv[0]:
        raise BadInput("the command is empty: name a program")
    try:
        if _needs_lookup(program):
            program = await anyio.to_thread.run_sync(_looked_up, program, abandon_on_cancel=True)
        return _start(program, stdin, input_stays_open, extra_fd)
    except OSError as error:
        why = await anyio.to_thread.run_sync(_why_not, program, error, abandon_on_cancel=True)
        raise (NotStartable if error.errno in _NOT_STARTABLE else Retryable)(why) from error
    except ValueError as error:
        raise BadInput(f"program {program.name!r} cannot have these arguments or variables: {error}") from error


def _needs_lookup(program: Program) -> bool:
    """Whether the program cannot be found by the C library, which looks at this process's own PATH."""
    if program.working_dir:
        return True
    return b"/" not in program.argv[0] and program.environment.get(b"PATH") != os.environb.get(b"PATH")


def _start(program: Program, stdin: bytes, stays_open: bool, extra_fd: int | None) -> Child:
    loop = asyncio.get_running_loop()
    closing = inherited_descriptors()
    ours: list[int] = []
    theirs: list[int] = []
    pipe: InputPipe | None = None
    try:
        _open_pipes(ours, theirs, with_input=bool(stdin) or stays_open)
        if ours[2:]:
            pipe = InputPipe(loop, ours[2], stdin, stays_open=stays_open)
            ours.pop()
        extra = () if extra_fd is None else ((os.POSIX_SPAWN_DUP2, extra_fd, CHILDS_EXTRA_FD),)
        actions = [*_standard_descriptors(theirs), *closing, *extra]
        guard = guard_of(loop)
        if guard:
            guard.expect(theirs[0])
        began = Began()
        pid, pidfd = spawn(program.argv, program.environment, actions, program.file)
    except BaseException:
        _close(ours)
        if pipe is not None:
            pipe.close()
        raise
    finally:
        _close(theirs)
    if guard:
        guard.note(pid)
    return Child(pid, pidfd, began, ours, pipe)


def _open_pipes(ours: list[int], theirs: list[int], *, with_input: bool) -> None:
    """Append our and the child's ends of stdout, stderr and, if wanted, stdin."""
    for _ in range(2):
        reading, writing = os.pipe()
        ours.append(reading)
        theirs.append(writing)
    if with_input:
        reading, writing = os.pipe()
        ours.append(writing)
        theirs.append(reading)


def _close(descriptors: list[int]) -> None:
    while descriptors:
        os.close(descriptors.pop())


def _standard_descriptors(theirs: list[int]) -> list[Action]:
    """Say what the child's first three descriptors are."""
    stdout, stderr, *stdin = theirs
    return [
        (os.POSIX_SPAWN_DUP2, stdin[0], 0) if stdin else _NO_INPUT,
        (os.POSIX_SPAWN_DUP2, stdout, 1),
        (os.POSIX_SPAWN_DUP2, stderr, 2),
    ]


def _looked_up(program: Program) -> Program:
    """Look, in a thread, that directory and program are there, and say what to start."""
    if program.working_dir:
        _check_directory(program.working_dir)
    file = _find(program)
    if not program.working_dir:
        return replace(program, file=file)
    start = (_ENV, b"--chdir=" + os.fsencode(program.working_dir), b"--")
    if b"=" in program.argv[0]:
        start += (b"nice", b"-n", b"0", b"--")  # env would take the program for a variable
    return Program((*start, *program.argv), program.environment, file=_ENV)


def _check_directory(folder: str) -> None:
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise NotStartable(f"working_dir {folder!r} is not a directory")
    except OSError as error:
        raise NotStartable(f"working_dir {folder!r} cannot be used: {error.strerror}") from error
    if not os.access(folder, os.X_OK):
        raise NotStartable(f"working_dir {folder!r} may not be entered: {os.strerror(errno.EACCES)}")


def _find(program: Program) -> bytes:
    """Return the first place where there is a program that may be run."""
    reason = errno.ENOENT
    for place in program.places():
        full = os.path.join(os.fsencode(program.working_dir), place)
        if os.access(full, os.X_OK) and os.path.isfile(full):
            return place
        if os.access(full, os.F_OK):
            reason = errno.EACCES
    raise OSError(reason, os.strerror(reason))


def _why_not(program: Program, error: OSError) -> str:
    """Say why a program cannot be started."""
    name = program.name
    if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
        folder = os.fsencode(program.working_dir)
        full = next((at for place in program.places() if os.access(at := os.path.join(folder, place), os.F_OK)), None)
        if full is None:
            where = "there is no such file" if "/" in name else "it is in no directory of PATH"
            return f"program {name!r} was not found: {where}"
        if os.path.isdir(full):
            return f"program {name!r} is a directory"
        if error.errno != errno.EACCES:
            return f"program {name!r} cannot be started: the interpreter that it names does not exist"
    if error.errno == errno.ENOEXEC:
        return f"program {name!r} is in no executable format; a script needs a first line such as #!/bin/sh"
    more = ", 128 KiB for each of arguments and variables" if error.errno == errno.E2BIG else ""
    return f"program {name!r} cannot be started: {error.strerror}{more}"
