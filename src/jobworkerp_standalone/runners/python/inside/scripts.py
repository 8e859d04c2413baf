"""Running scripts in one folder, which is empty before and after each."""

from __future__ import annotations

import builtins
import contextlib
import contextvars
import gc
import os
import sys
import types
from importlib.machinery import SourceFileLoader
from typing import Any

from jobworkerp_standalone.runners.python.inside.baseline import Baseline
from jobworkerp_standalone.runners.python.inside.exits import ExitFunctions, Threads, exit_code, has_children

_KEPT_CODES = 16
_KEPT_CODE_BYTES = 1 << 20
_SCRIPT = "script.py"
_INPUT = "input.bin"
_MODULE_TYPE = types.ModuleType
_ANYTHING = BaseException
"""Known also where a script took the name away."""


class Scripts:
    """Runs scripts in one folder. It stays, because making and removing it can take longer than all the rest."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, _SCRIPT)
        self._input = os.path.join(folder, _INPUT)
        self._has_data = False
        self._baseline = Baseline()
        self._exits = ExitFunctions()
        self._threads = Threads()
        self._codes: dict[bytes, types.CodeType] = {}
        self._namespace: dict[str, Any] = {}

    def prepare(self, asked: dict[str, Any], script: bytes, data: bytes) -> None:
        """Lay out what one works with.

        Raises:
            OSError: that is not possible.
        """
        arguments = [self._path]
        self._has_data = asked["has_data"]
        self._make_folder()
        _write(self._path, script)
        if self._has_data:
            arguments.append(self._input)
            _write(self._input, data)
        self._baseline.restore(self._folder, arguments, asked["variables"])
        module = sys.modules["__main__"] = _MODULE_TYPE("__main__")
        self._namespace = vars(module)
        self._namespace.update(
            __file__=self._path,
            __cached__=None,
            __builtins__=builtins,
            __loader__=SourceFileLoader("__main__", self._path),
            __annotations__={},
        )

    def run(self, script: bytes) -> int:
        """Run it; its exit code is the answer."""
        error = contextvars.Context().run(self._execute, script)
        self._baseline.restore_builtins()
        return exit_code(error)

    def tidy(self) -> bool:
        """End a script as an exit would; tell whether nothing of it is left that could reach the next one."""
        if self._threads.others() or has_children():
            return False
        more_ran = self._exits.run()
        self._namespace.clear()
        gc.collect(0)
        self._flush()
        self._baseline.disarm()
        self._forget_modules()
        if more_ran and (self._threads.others() or has_children()):
            return False
        return not self._baseline.lost and self._empty_folder()

    def leave(self, code: int) -> None:
        """End this interpreter in the ordinary way, as the script that it ran last would have ended alone."""
        self._exits.leave_to_the_end()
        if code < 0:
            sys.excepthook = _show_nothing  # it was shown before
            raise KeyboardInterrupt
        raise SystemExit(code)

    def _execute(self, script: bytes) -> BaseException | None:
        try:
            exec(self._compiled(script), self._namespace)  # noqa: S102 - this is what it is for
        except _ANYTHING as error:
            return error
        return None

    def _compiled(self, script: bytes) -> types.CodeType:
        code = self._codes.pop(script, None)
        if code is None:
            code = compile(script, self._path, "exec", dont_inherit=True)
        if len(script) <= _KEPT_CODE_BYTES:
            self._codes[script] = code
        if len(self._codes) > _KEPT_CODES:
            del self._codes[next(iter(self._codes))]
        return code

    def _flush(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                continue

    def _forget_modules(self) -> None:
        """Forget what was imported from the folder: the next script's may have the same names."""
        if "linecache" in sys.modules:
            sys.modules["linecache"].cache.pop(self._path, None)
        if sys.path_importer_cache.pop(self._folder, None) is None:
            return  # nothing was looked for there
        inside = self._folder + os.sep
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(inside):
                del sys.modules[name]

    def _make_folder(self) -> None:
        try:
            if os.listdir(self._folder):
                self._empty_folder()
        except FileNotFoundError:
            os.mkdir(self._folder, 0o700)

    def _empty_folder(self) -> bool:
        """Remove all that is in the folder; tell whether that was possible."""
        with contextlib.suppress(OSError):
            os.unlink(self._path)
            if self._has_data:
                os.unlink(self._input)
        try:
            if os.listdir(self._folder):
                import shutil  # noqa: PLC0415 - few scripts leave files

                shutil.rmtree(self._folder)
        except OSError:
            return not os.path.exists(self._folder)
        return True


def _show_nothing(*_error: object) -> None:
    """Stand in for ``sys.excepthook``."""


def _write(path: str, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(fd, left) :]
    finally:
        os.close(fd)
