"""Runs inside a worker's environment, not in the daemon: takes scripts from the daemon and runs one after another.

The daemon hands the text of this file to the environment's interpreter (``-c``), so it may use nothing but the standard
library, of any Python from 3.8 on. Descriptor 3 leads to the daemon (`interpreter` is the other end).

Each script finds what a new interpreter would have: a module ``__main__`` of its own, arguments, environment,
directory, standard streams, signal handlers, import path. Modules that it imported stay for those after it, with
whatever state they have. A script that leaves threads or children behind, or many open files, ends this interpreter in
the ordinary way (threads are waited for, exit functions run), so that its exit code is the script's.
"""

from __future__ import annotations

import array
import atexit
import builtins
import contextvars
import fcntl
import functools
import gc
import io
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import types
from importlib.machinery import SourceFileLoader
from typing import Any, Callable, TextIO  # noqa: UP035 - as Python 3.8 has it

_CONTROL = 3
_PRIVATE_FROM = 200
_HEADER = struct.Struct("!III")
_WORD = struct.Struct("!ci")
_CHUNK = 1 << 20
_KEPT_CODES = 16
_FILES_MORE = 64
_THREAD_ENDS_SEC = 0.05
_SCRIPT = "script.py"
_INPUT = "input.bin"
_HOOKS = ("excepthook", "displayhook", "unraisablehook", "breakpointhook")
_MODULE_TYPE = types.ModuleType


class Control:
    """The connection to the daemon. It keeps a number that scripts are unlikely to meet."""

    def __init__(self) -> None:
        try:
            private = fcntl.fcntl(_CONTROL, fcntl.F_DUPFD_CLOEXEC, _PRIVATE_FROM)
        except OSError:  # so many files may not be open
            private = fcntl.fcntl(_CONTROL, fcntl.F_DUPFD_CLOEXEC, _CONTROL + 1)
        os.close(_CONTROL)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=private)

    def send(self, kind: bytes, number: int = 0) -> None:
        """Tell the daemon."""
        self._socket.sendall(_WORD.pack(kind, number))

    def order(self) -> tuple[dict[str, Any], bytes, bytes, list[int]] | None:
        """Wait for a script: what is asked, script, data, and the two outputs; None at the end."""
        fds = array.array("i")
        room = socket.CMSG_LEN(2 * fds.itemsize)
        head, ancillary, _flags, _address = self._socket.recvmsg(_HEADER.size, room)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if not head:
            return None
        head += self._exactly(_HEADER.size - len(head))
        asked, script, data = (self._exactly(size) for size in _HEADER.unpack(head))
        return json.loads(asked), script, data, list(fds)

    def _exactly(self, size: int) -> bytes:
        taken = bytearray()
        while len(taken) < size:
            piece = self._socket.recv(min(size - len(taken), _CHUNK))
            if not piece:
                raise EOFError("the daemon is gone")
            taken += piece
        return bytes(taken)


class ExitFunctions:
    """What scripts register with ``atexit`` runs when they end; what modules register, at the end of the process."""

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
        if getattr(inner, "__module__", None) != "__main__":
            return self._register(func, *args, **kwargs)
        self._functions.append((func, args, kwargs))
        return func

    def unregister(self, func: Callable[..., object]) -> None:
        """Stand in for ``atexit.unregister``."""
        self._functions = [each for each in self._functions if each[0] != func]
        self._unregister(func)

    def run(self) -> None:
        """Run what the script registered, the latest first."""
        while self._functions:
            func, args, kwargs = self._functions.pop()
            try:
                func(*args, **kwargs)
            except BaseException as error:
                _show(error)

    def leave_to_the_end(self) -> None:
        """Have them run when the process ends."""
        for func, args, kwargs in self._functions:
            self._register(func, *args, **kwargs)
        self._functions = []


class Baseline:
    """How a new interpreter looks, as far as scripts change it in passing."""

    def __init__(self) -> None:
        self._directory = os.getcwd()
        self._environment = dict(os.environ)
        self._path = [each for each in sys.path if each]
        self._hooks = {name: getattr(sys, name) for name in _HOOKS}
        self._thread_hook = threading.excepthook
        self._builtins = dict(vars(builtins))
        self._signals = {number: signal.getsignal(number) for number in _changeable_signals()}
        self._recursion = sys.getrecursionlimit()
        self._umask = os.umask(0o77)
        os.umask(self._umask)
        self._streams = {name: getattr(sys, name) for name in ("stdin", "stdout", "stderr")}
        self._modes = {
            name: (stream.encoding, stream.errors, stream.line_buffering) for name, stream in self._streams.items()
        }
        self._open_files = _open_files()

    def restore(self, folder: str, arguments: list[str], variables: dict[str, str]) -> None:
        """Make it look new for a script in ``folder``."""
        os.chdir(self._directory)
        os.umask(self._umask)
        wanted = dict(self._environment, **variables) if variables else self._environment
        if os.environ != wanted:
            os.environ.clear()
            os.environ.update(wanted)
        sys.argv = arguments
        sys.path = [folder, *self._path]
        for name, hook in self._hooks.items():
            setattr(sys, name, hook)
        threading.excepthook = self._thread_hook
        sys.settrace(None)
        sys.setprofile(None)
        sys.setrecursionlimit(self._recursion)
        gc.enable()
        self._restore_builtins()
        self._restore_signals()
        for name in self._streams:
            self._restore_stream(name)

    def grown(self) -> bool:
        """Tell whether scripts left more files open than imported modules would."""
        return _open_files() > self._open_files + _FILES_MORE

    def _restore_builtins(self) -> None:
        now = builtins.__dict__
        if now != self._builtins:
            now.clear()
            now.update(self._builtins)

    def _restore_signals(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.set_wakeup_fd(-1)
        for number, handler in self._signals.items():
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)

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


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


class Scripts:
    """Runs scripts in one folder, which is there while one runs."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = os.path.join(folder, _SCRIPT)
        self._baseline = Baseline()
        self._exits = ExitFunctions()
        self._codes: dict[bytes, types.CodeType] = {}

    def run(self, asked: dict[str, Any], script: bytes, data: bytes) -> int:
        """Run one; its exit code is the answer."""
        arguments = [self._path]
        os.mkdir(self._folder, 0o700)
        _write(self._path, script)
        if asked["has_data"]:
            arguments.append(os.path.join(self._folder, _INPUT))
            _write(arguments[1], data)
        self._baseline.restore(self._folder, arguments, asked["variables"])
        module = _MODULE_TYPE("__main__")
        namespace = vars(module)
        loader = SourceFileLoader("__main__", self._path)
        namespace.update(
            __file__=self._path, __cached__=None, __builtins__=builtins, __loader__=loader, __annotations__={}
        )
        sys.modules["__main__"] = module
        return contextvars.Context().run(self._execute, script, namespace)

    def tidy(self) -> bool:
        """End a script as an exit would; tell whether nothing of it is left that could reach the next one."""
        if _has_threads() or _has_children():
            self._exits.leave_to_the_end()
            return False
        self._exits.run()
        vars(sys.modules["__main__"]).clear()
        gc.collect(0)
        self._flush()
        self._forget_modules()
        return not (_has_threads() or _has_children() or self._baseline.grown()) and self._remove_folder()

    def _execute(self, script: bytes, namespace: dict[str, Any]) -> int:
        try:
            exec(self._compiled(script), namespace)  # noqa: S102 - this is what it is for
        except SystemExit as error:
            return _exit_code(error)
        except KeyboardInterrupt as error:
            _show(error)
            return 128 + signal.SIGINT
        except BaseException as error:
            _show(error)
            return 1
        return 0

    def _compiled(self, script: bytes) -> types.CodeType:
        code = self._codes.pop(script, None)
        if code is None:
            code = compile(script, self._path, "exec", dont_inherit=True)
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
        inside = self._folder + os.sep
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None) or "").startswith(inside):
                del sys.modules[name]
        sys.path_importer_cache.pop(self._folder, None)
        if "linecache" in sys.modules:
            sys.modules["linecache"].cache.pop(self._path, None)

    def _remove_folder(self) -> bool:
        try:
            for name in os.listdir(self._folder):
                os.unlink(os.path.join(self._folder, name))
            os.rmdir(self._folder)
        except OSError:
            import shutil  # noqa: PLC0415 - few scripts make folders

            shutil.rmtree(self._folder, ignore_errors=True)
        return not os.path.exists(self._folder)


def _write(path: str, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)


def _exit_code(error: SystemExit) -> int:
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)  # noqa: T201 - as the interpreter does
    return 1


def _show(error: BaseException) -> None:
    """Print an exception as the interpreter would, without the frames of this file."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals is globals():
        trace = trace.tb_next
    error.__traceback__ = trace
    try:
        sys.excepthook(type(error), error, trace)
    except Exception:
        sys.__excepthook__(type(error), error, trace)


def _has_threads() -> bool:
    if threading.active_count() > 1:
        return True
    until = time.monotonic() + _THREAD_ENDS_SEC
    while sys.modules["_thread"]._count() > 0:  # one that has just ended is counted a moment longer
        if time.monotonic() > until:
            return True
        time.sleep(0.0005)
    return False


def _has_children() -> bool:
    try:
        while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) is not None:
            continue  # one that nobody waited for
    except ChildProcessError:
        return False
    return True


def _set_outputs(out: int, err: int) -> None:
    for number, fd in ((1, out), (2, err)):
        os.dup2(fd, number)
    os.close(out)
    os.close(err)


def _close_outputs() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if null > 2:  # noqa: PLR2004 - the last of the standard descriptors
        os.close(null)


def main() -> None:
    """Run scripts until the daemon hangs up, or one ends this interpreter."""
    owner = os.getpid()
    control = Control()
    scripts = Scripts(sys.argv[1])
    _close_outputs()
    control.send(b"r")
    while True:
        order = control.order()
        if order is None:
            return
        asked, script, data, outputs = order
        _set_outputs(*outputs)
        code = scripts.run(asked, script, data)
        if os.getpid() != owner or not scripts.tidy():
            sys.exit(code)
        _close_outputs()
        control.send(b"d", code)


main()
