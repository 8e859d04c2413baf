"""How a script ends: exit functions, exceptions, and what it leaves behind."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import signal
import sys
import threading
from time import monotonic, sleep  # those of the script may stand still
from typing import Any, Callable  # noqa: UP035 - as Python 3.8 has it

_MOMENT_SEC = 0.05
_LONG = 1 << 63
_OWN = __name__.rpartition(".")[0]


class ExitFunctions:
    """What a script registers with ``atexit`` runs at its end; what modules register, at the end of the process."""

    def __init__(self) -> None:
        self._functions: list[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = []
        self._register = atexit.register
        self._unregister = atexit.unregister
        atexit.register = self.register
        atexit.unregister = self.unregister

    def register(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Callable[..., Any]:
        """Stand in for ``atexit.register``."""
        inner: Any = func
        while isinstance(inner, functools.partial):
            inner = inner.func
        caller = sys._getframe(1).f_globals  # type: ignore[reportPrivateUsage]
        if "__main__" not in (getattr(inner, "__module__", None), caller.get("__name__")):
            return self._register(func, *args, **kwargs)
        self._functions.append((func, args, kwargs))
        return func

    def unregister(self, func: Callable[..., object]) -> None:
        """Stand in for ``atexit.unregister``."""
        self._functions = [each for each in self._functions if each[0] != func]
        self._unregister(func)

    def run(self) -> bool:
        """Run what the script registered, the latest first; tell whether there was anything."""
        if not self._functions:
            return False
        while self._functions:
            func, args, kwargs = self._functions.pop()
            try:
                func(*args, **kwargs)
            except BaseException as error:
                exit_code(error)
        return True

    def leave_to_the_end(self) -> None:
        """Have them run when the process ends."""
        for func, args, kwargs in self._functions:
            self._register(func, *args, **kwargs)
        self._functions = []


def exit_code(error: BaseException | None) -> int:
    """Return what a script that ended with ``error`` exits with; negative: a signal. Prints what there is to print."""
    if error is None:
        return 0
    try:
        if not isinstance(error, SystemExit):
            _show(error)
    except SystemExit as other:
        error = other
    if isinstance(error, SystemExit):
        return _asked(error.code)
    return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _asked(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -_LONG <= code < _LONG else 0xFF
    with contextlib.suppress(Exception):
        print(code, file=sys.stderr or sys.__stderr__)
    return 1


def _show(error: BaseException) -> None:
    """Print an exception as the interpreter would, without the frames of this package."""
    trace = error.__traceback__
    while trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith(_OWN):
        trace = trace.tb_next
    error.__traceback__ = trace
    try:
        sys.excepthook(type(error), error, trace)
    except Exception:
        with contextlib.suppress(Exception):
            sys.__excepthook__(type(error), error, trace)


class Threads:
    """The threads of this process, those of libraries included."""

    def __init__(self) -> None:
        self._known = _tasks()

    def others(self) -> bool:
        """Tell whether Python code runs in another thread; what libraries start for themselves does not count."""
        if threading.active_count() > 1:
            return True
        now = _tasks()
        if now > self._known:  # one that has just been started is not counted yet
            self._known = now
            return _becomes(True)
        return _count() > 0 and not _becomes(False)  # one that has just ended is counted a moment longer


def _tasks() -> int:
    return len(os.listdir("/proc/self/task"))


def _count() -> int:
    return sys.modules["_thread"]._count()


def _becomes(some: bool) -> bool:
    """Tell whether there are, or are no, other Python threads within a moment."""
    until = monotonic() + _MOMENT_SEC
    while (_count() > 0) is not some:
        if monotonic() > until:
            return False
        sleep(0.0005)
    return True


def has_children() -> bool:
    """Tell whether a child process lives, and reap those that nobody waited for."""
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            continue
    except ChildProcessError:
        return False
    return True
