"""PYTHON_COMMAND with use_static: one warm interpreter runs scripts one after another, and none sees another."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.house import eventually
from tests.support.patience import longer_and_longer
from tests.support.python_jobs import PythonHouse, alive, descendants, open_python_house, written

PID = "import os; print(os.getpid())"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def warm(python: PythonHouse) -> PythonHouse:
    """A daemon with a worker that keeps its interpreter."""
    await python.worker(static=True)
    return python


async def test_one_interpreter_runs_all_scripts_and_keeps_what_they_imported(warm: PythonHouse) -> None:
    first = await warm.printed(f"import sys; print('wave' in sys.modules, end=' '); import wave; {PID}")
    second = await warm.printed(f"import sys; print('wave' in sys.modules, end=' '); {PID}")
    assert first.split() == ["False", second.split()[1]]
    assert second.split()[0] == "True"


async def test_a_loaded_worker_has_its_interpreter_before_the_first_job(warm: PythonHouse) -> None:
    assert descendants() == set()
    await warm.house.client.call("WorkerService.Load", name="py", timeout_ms=20_000)
    (pid,) = descendants()
    assert await warm.printed(PID) == f"{pid}\n"


DIRTY_AND_SHOWN: dict[str, tuple[str, str, str]] = {
    "namespace": ("secret = 1; __name__ = 'x'", "print('secret' in globals(), __name__)", "False __main__"),
    "main module": (
        "import sys; sys.modules['__main__'] = None",
        "import __main__; print(__main__.__file__ == __file__)",
        "True",
    ),
    "directory": ("import os; os.chdir('/')", "import os; print(os.getcwd())", "{cwd}"),
    "environment": (
        "import os; os.environ['LEFT'] = 'x'; del os.environ['PATH']",
        "import os; print('LEFT' in os.environ, 'PATH' in os.environ)",
        "False True",
    ),
    "arguments": ("import sys; sys.argv.append('x'); sys.argv = 1", "import sys; print(len(sys.argv))", "1"),
    "import path": (
        "import sys; sys.path.insert(0, '/nowhere'); sys.path = []",
        "import sys, os; print(sys.path[0] == os.path.dirname(__file__), '/nowhere' in sys.path, len(sys.path) > 2)",
        "True False True",
    ),
    "closed outputs": (
        "import os, sys; sys.stdout.close(); os.close(1); os.close(0); os.close(2)",
        "import sys; print(1, sys.stdin.read())",
        "1 ",
    ),
    "replaced outputs": ("import io, sys; sys.stdout = sys.stderr = io.StringIO()", "print('seen')", "seen"),
    "encodings": ("import sys; sys.stdout.reconfigure(encoding='latin-1')", "print('é')", "é"),
    "detached outputs": ("import sys; sys.stdout.detach()", "print('seen')", "seen"),
    "builtins": (
        "import builtins; builtins.print = None; builtins.more = 1",
        "print('more' in dir(__builtins__))",
        "False",
    ),
    "hooks": (
        "import sys; sys.excepthook = None; sys.settrace(lambda *a: None)",
        "import sys; print(sys.excepthook is sys.__excepthook__, sys.gettrace())",
        "True None",
    ),
    "signals": (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.alarm(600)",
        "import signal; print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, signal.alarm(0))",
        "True 0",
    ),
    "umask": ("import os; os.umask(0o777)", "import os; print(os.umask(0) == {umask})", "True"),
    "context variables": (
        "import decimal; decimal.getcontext().prec = 3",
        "import decimal; print(decimal.getcontext().prec)",
        "28",
    ),
    "recursion limit": ("import sys; sys.setrecursionlimit(150)", "import sys; print(sys.getrecursionlimit())", "1000"),
    "module of the folder": (
        "import os; open(os.path.dirname(__file__) + '/mine.py', 'w').write('a = 1'); import mine",
        "import sys; print('mine' in sys.modules)",
        "False",
    ),
    "future of the runner": ("pass", "def f(a: int): pass\nprint(f.__annotations__['a'])", "<class 'int'>"),
}


async def test_what_a_script_changes_is_as_new_for_the_next(warm: PythonHouse) -> None:
    umask = os.umask(0)
    os.umask(umask)
    pid = int(await warm.printed(PID))
    printed: dict[str, str] = {}
    for name, (dirty, script, _shown) in DIRTY_AND_SHOWN.items():
        (await warm.run(dirty)).ok()
        printed[name] = await warm.printed(script.replace("{umask}", str(umask)))
    expected = {name: shown.replace("{cwd}", os.getcwd()) + "\n" for name, (_, _, shown) in DIRTY_AND_SHOWN.items()}
    assert printed == expected
    assert int(await warm.printed(PID)) == pid


BROKEN = {
    "descriptors": "import os; os.closerange(3, 4096)",
    "connection": "import os, socket as s\na = s.socketpair()\nfor n in range(200, 212): os.dup2(a[n % 2].fileno(), n)",
    "a builtin": "import builtins; builtins.len = None",
    "all builtins": "import builtins; vars(builtins).clear()",
    "builtins that raise": "import builtins as b\ndef bad(*a): 1 / 0\nb.getattr = b.isinstance = b.str = b.list = bad",
    "functions": "import gc, json, os; os.listdir = json.loads = gc.collect = None",
    "sockets": "import socket; socket.socket.sendall = None",
    "time that stands still": "import threading, time; time.monotonic = lambda: 0; time.sleep = threading.Event",
    "modules": "import sys; sys.modules.clear()",
    "the import system": "import sys; sys.meta_path.clear()",
    "variables": "import os; os.environ = {}",
    "open files": "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, (40, 40))",
    "file sizes": "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (0, 0))",
    "priority": "import os; os.nice(1)",
    "blocked signals": "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})",
    "streams": "import io, sys; io.TextIOWrapper = None; sys.stdin.close()",
}
STATE = (
    "import os, resource, signal, sys, ctypes; print(resource.getrlimit(resource.RLIMIT_NOFILE), os.nice(0), "
    "resource.getrlimit(resource.RLIMIT_FSIZE), signal.pthread_sigmask(0, []), len(sys.meta_path), len(os.environ))"
)


async def test_a_script_that_breaks_its_interpreter_spoils_neither_its_result_nor_the_next(warm: PythonHouse) -> None:
    state = await warm.printed(STATE)
    for name, breaking in BROKEN.items():
        script = f"import os; write, end = os.write, SystemExit(3)\n{breaking}\nwrite(1, b'done'); raise end"
        result = (await warm.run(script, with_stderr=True)).ok()
        assert (result.exit_code, result.output, result.output_stderr) == (3, "done", ""), name
        assert await warm.printed(STATE) == state, name


async def test_variables_arguments_and_data_are_those_of_the_job(warm: PythonHouse) -> None:
    script = "import os, sys; print(os.environ.get('MINE'), [open(each).read() for each in sys.argv[1:]])"
    assert await warm.printed(script, env_vars={"MINE": "a"}, data_body="x" * 300_000) == f"a ['{'x' * 300_000}']\n"
    assert await warm.printed(script) == "None []\n"


ENDINGS = [
    "raise SystemExit",
    "raise SystemExit(7)",
    "raise SystemExit('a text')",
    "import sys; sys.exit(300)",
    "1 / 0",
    "def f():\n    raise ValueError('x') from KeyError('y')\nf()",
    "x = (",
    "import sys; sys.excepthook = lambda *a: print('hooked', a[0].__name__, file=sys.stderr); 1 / 0",
    "import atexit, functools\natexit.register(print, 'no')\natexit.unregister(print)\n"
    "@atexit.register\ndef last(): print('last')\n"
    "def arg(x): print(x)\natexit.register(functools.partial(arg, 'first'))\nprint('body')",
    "import sys; sys.stderr.write('no newline'); sys.stdout.write('neither')",
    "f = open(__file__ + '.txt', 'w'); f.write('x'); print(f.name == __file__ + '.txt')",
    "import os; os._exit(9)",
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import os\nif os.fork() == 0: raise SystemExit(3)\nprint(os.waitstatus_to_exitcode(os.wait()[1]))",
    "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()",
    "import concurrent.futures as c\np = c.ThreadPoolExecutor()\nprint(p.submit(int).result())\nexit(2)",
    "import atexit, threading, time\natexit.register(lambda: print('after'))\n"
    "threading.Thread(target=lambda: (time.sleep(0.05), print('before'))).start()",
    "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A)",
    "import inspect\ndef f(): return 1\nprint(inspect.getsource(f))",
    "# coding: latin-1\nprint(1)",
    "import multiprocessing as m\ndef f(x): return x + 1\n"
    "if __name__ == '__main__':\n    with m.get_context('fork').Pool(1) as p: print(p.map(f, [1]))",
    "import sys; sys.exit(2**70)",
    "import sys; sys.exit([1, 2])",
    "import sys; sys.stderr = None; sys.exit('a text')",
    "import sys; sys.excepthook = lambda *a: sys.exit(5); 1 / 0",
    "raise KeyboardInterrupt",
    "import atexit, os, signal\natexit.register(print, 'last')\nos.kill(os.getpid(), signal.SIGINT)",
    "import atexit, sys; atexit.register(print, 'bye'); atexit.register(sys.stdout.write, 'first')",
    "import os, sys; sys.stdout.flush(); os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(5)'])",
    "import ctypes; ctypes.string_at(0)",
    "import weakref, builtins\nclass A: pass\nbuiltins.a = A(); weakref.finalize(builtins.a, print, 'gone')",
    "import os; os.closerange(0, 4096)",
]


async def test_a_script_ends_as_it_would_alone(warm: PythonHouse) -> None:
    await warm.worker("alone")
    ends = {worker: {script: await _end(warm, script, worker) for script in ENDINGS} for worker in ("alone", "py")}
    assert ends["py"] == ends["alone"]
    assert await warm.printed("print('next')") == "next\n"
    await eventually(lambda: len(descendants()) == 1)


async def _end(warm: PythonHouse, script: str, worker: str) -> tuple[int, str, list[str]]:
    """Return exit code and outputs; a traceback does not name the folder of the job."""
    result = (await warm.run(script, worker, with_stderr=True)).ok()
    errors = [
        line.partition('"')[0] + "FOLDER" + line.rpartition('"')[2] if "script.py" in line else line
        for line in result.output_stderr.splitlines()
    ]
    return result.exit_code, result.output, errors


async def test_an_interpreter_whose_script_leaves_something_behind_is_replaced(
    warm: PythonHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobworkerp_standalone.runners.process.child.DRAIN_SEC", 0.1)
    leaving = {
        "a thread": f"import threading as t, time; t.Thread(target=time.sleep, args=[600], daemon=True).start(); {PID}",
        "a raw thread": f"import _thread, time; _thread.start_new_thread(time.sleep, (600,)); {PID}",
        "many files": f"import os; x = [os.open('/dev/null', 0) for _ in range(200)]; {PID}",
    }
    for name, script in leaving.items():
        first = int(await warm.printed(script))
        assert int(await warm.printed(PID)) != first, name
        assert not alive(first), name


async def test_a_process_that_a_script_left_cannot_write_into_the_next_result(
    warm: PythonHouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that was left directly is seen; one that was orphaned at once is noticed by the output it holds."""
    monkeypatch.setattr("jobworkerp_standalone.runners.process.child.DRAIN_SEC", 0.1)
    mark, go_on, said = (tmp_path / name for name in ("pid", "go on", "said"))
    orphan = f"trap '' PIPE; echo $$ > {mark}; until [ -e '{go_on}' ]; do sleep 0.01; done; echo NOISE; touch {said}"
    for command in (["sh", "-c", orphan], ["sh", "-c", 'sh -c "$0" & ', orphan]):
        for path in (mark, go_on, said):
            path.unlink(missing_ok=True)
        script = (
            f"import os, subprocess, time; subprocess.Popen({command!r})\n"
            f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)\n{PID}"
        )
        first = int(await warm.printed(script))
        left = int(await written(mark))
        try:
            shown = await warm.printed(
                f"import os, time; open({str(go_on)!r}, 'w').close()\n"
                f"while os.path.exists('/proc/{left}') and not os.path.exists({str(said)!r}): time.sleep(0.01)\n{PID}"
            )
            assert shown.strip().isdigit()
            assert int(shown) != first
        finally:  # its output was closed, so it may be gone
            with suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)


async def test_a_cancelled_script_takes_its_interpreter_along(warm: PythonHouse, tmp_path: Path) -> None:
    mark = tmp_path / "pids"
    script = (
        "import os, subprocess, time\nchild = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(mark)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\ntime.sleep(600)"
    )
    job = await warm.start(script)
    pids = [int(pid) for pid in (await written(mark)).split()]
    assert await warm.house.delete(job)
    await eventually(lambda: not any(map(alive, pids)))
    assert int(await warm.printed(PID)) not in pids
    assert warm.leftovers() == []


async def test_a_time_out_keeps_last_words_and_costs_no_more(warm: PythonHouse) -> None:
    await warm.run("pass")
    for limit in longer_and_longer(200):
        failed = await warm.run("import time; print('begun'); time.sleep(600)", timeout=limit)
        failed.failed("MAX_RETRY", f"{limit} ms")
        if "begun" in failed.text:
            failed.failed("MAX_RETRY", "SIGTERM")
            break
    failed = await warm.run("print('so far'); raise SystemExit(4)", treat_nonzero_as_error=True)
    failed.failed("MAX_RETRY", "exit code 4", "so far")
    assert await warm.printed("print('next')") == "next\n"


async def test_an_interpreter_that_died_meanwhile_is_replaced(warm: PythonHouse) -> None:
    pid = int(await warm.printed(PID))
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not alive(pid))
    assert int(await warm.printed(PID)) != pid


async def test_output_over_the_limit_ends_the_interpreter(tmp_path: Path, python_cache: Path) -> None:
    async with open_python_house(tmp_path, python_cache, COMMAND_OUTPUT_MAX_BYTES="2048") as python:
        await python.worker(static=True)
        (await python.run("while True: print('x' * 1000)")).failed("OTHER_ERROR", "COMMAND_OUTPUT_MAX_BYTES")
        assert await python.printed("print(1)") == "1\n"


async def test_streams_come_from_a_warm_interpreter_too(warm: PythonHouse) -> None:
    items = [item async for item in warm.items("print('a'); print('b', end='')")]
    assert "".join(item.output for item in items) == "a\nb"
    assert items[-1].HasField("execution_time_ms")


async def test_interpreters_end_with_their_worker(python: PythonHouse) -> None:
    worker = await python.worker(static=True)
    await python.run("pass")
    assert len(descendants()) == 1
    await python.house.client.call("WorkerService.Delete", value=worker)
    await eventually(lambda: descendants() == set())


async def test_a_folder_that_cannot_be_made_fails_the_job(warm: PythonHouse) -> None:
    await warm.run("pass")
    script = "import os; d = os.path.dirname(os.path.dirname(__file__)); print(d); os.rename(d, d + '-moved')"
    folder = (await warm.printed(script)).strip()
    try:
        (await warm.run("pass")).failed("MAX_RETRY", "folder of the job", "No such file")
        await warm.worker("alone")
        (await warm.run("pass", "alone")).failed("MAX_RETRY", "folder of the job", "No such file")
    finally:
        os.rename(f"{folder}-moved", folder)


async def test_files_of_a_script_are_gone_for_the_next(warm: PythonHouse) -> None:
    leaving = (
        "import os, sys; d = os.path.dirname(__file__)\nos.mkdir(d + '/x'); open(d + '/x/y', 'w').close()\n"
        "os.remove(__file__); print(sorted(os.listdir(d)))"
    )
    assert await warm.printed(leaving, data_body="x") == "['input.bin', 'x']\n"
    shown = "import os; print(os.listdir(os.path.dirname(__file__)), os.path.exists(__file__))"
    assert await warm.printed(shown) == "['script.py'] True\n"
    await warm.printed("import os, shutil; shutil.rmtree(os.path.dirname(__file__))")
    assert await warm.printed(shown) == "['script.py'] True\n"
