"""What scripts change in passing, as it was when the interpreter was new."""

from __future__ import annotations

import builtins
import gc
import io
import os
import resource
import signal
import sys
import threading
from typing import Any, TextIO

_SIGNAL: Any = sys.modules["_signal"]  # signal makes enums of what this returns, which takes longer than many a script
_HOOKS = ("excepthook", "displayhook", "unraisablehook", "breakpointhook")
_LIMITS = sorted({number for name, number in vars(resource).items() if name.startswith("RLIMIT_")})
_FILES_MORE = 64


class Baseline:
    """How a new interpreter looks, as far as scripts change it in passing."""

    def __init__(self) -> None:
        self._directory = _directory()
        self._environment = dict(os.environ)
        self._raw_environment = _raw_environment()
        self._path = [each for each in sys.path if each]
        self._hooks = {name: getattr(sys, name) for name in _HOOKS}
        self._thread_hook = threading.excepthook
        self._builtins = dict(vars(builtins))
        self._signals = {int(number): _SIGNAL.getsignal(number) for number in _changeable_signals()}
        self._recursion = sys.getrecursionlimit()
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        self._streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
        self._modes = {
            name: (stream.encoding, stream.errors, stream.line_buffering) for name, stream in self._streams.items()
        }
        self._state = _state()
        self._finders = (*sys.meta_path, *sys.path_hooks)
        self._open_files = _open_files()

    def restore(self, folder: str, arguments: list[str], variables: dict[str, str]) -> None:
        """Make it look new for a script in ``folder``."""
        os.chdir(self._directory)
        os.umask(self._umask)
        if variables or _raw_environment() != self._raw_environment:
            os.environ.clear()
            os.environ.update(self._environment)
            os.environ.update(variables)
        sys.argv = arguments
        sys.path = [folder, *self._path]
        for name, hook in self._hooks.items():
            setattr(sys, name, hook)
        threading.excepthook = self._thread_hook
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(self._recursion)
        gc.enable()
        for name in self._streams:
            self._restore_stream(name)

    @property
    def lost(self) -> bool:
        """Whether scripts changed what is not restored, or left more files open than imported modules would."""
        finders = (*sys.meta_path, *sys.path_hooks)
        return (
            _state() != self._state
            or any(finder not in finders for finder in self._finders)
            or _open_files() > self._open_files + _FILES_MORE
        )

    def restore_builtins(self) -> None:
        """Give the code of this package the functions that it knows, before it uses any."""
        now = builtins.__dict__
        if now != self._builtins:
            now.clear()
            now.update(self._builtins)

    def disarm(self) -> None:
        """Have no code of a script run after its end: timers and signal handlers are as they were."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(-1)
        for number, handler in self._signals.items():
            if handler is not None and _SIGNAL.getsignal(number) != handler:
                _SIGNAL.signal(number, handler)

    def _restore_stream(self, name: str) -> None:
        stream = self._streams[name]
        mode = encoding, errors, lines = self._modes[name]
        try:
            if stream.closed:
                raise ValueError("closed")
            if (stream.encoding, stream.errors, stream.line_buffering) != mode:
                stream.reconfigure(encoding=encoding, errors=errors, line_buffering=lines)
        except ValueError:  # closed, or its buffer was taken away
            stream = self._streams[name] = _new_stream(name, encoding, errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _new_stream(name: str, encoding: str, errors: str | None) -> TextIO:
    number = ("stdin", "stdout", "stderr").index(name)
    raw = io.FileIO(number, "rb" if number == 0 else "wb", closefd=False)
    binary = io.BufferedReader(raw) if number == 0 else raw
    stream = io.TextIOWrapper(binary, encoding, errors, write_through=number > 0)
    stream.mode = "r" if number == 0 else "w"  # type: ignore[reportAttributeAccessIssue]
    return stream


def _changeable_signals() -> list[signal.Signals]:
    return [number for number in signal.Signals if number not in (signal.SIGKILL, signal.SIGSTOP)]


def _state() -> tuple[object, ...]:
    """Return what a process cannot always undo: its user, limits, priority, processors, and signals that wait."""
    limits = [resource.getrlimit(number) for number in _LIMITS]
    blocked = _SIGNAL.pthread_sigmask(signal.SIG_BLOCK, ())
    return os.getresuid(), os.getresgid(), limits, os.getpriority(0, 0), os.sched_getaffinity(0), blocked


def _raw_environment() -> dict[bytes, bytes]:
    return dict(vars(os.environ)["_data"])


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return "/"
