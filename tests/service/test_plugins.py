"""Plugins in a real daemon: real files, real worker processes."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest
from grpclib.const import Status

from jobworkerp_standalone.schema.convert import bytes_to_json, json_to_bytes
from jobworkerp_standalone.schema.text import root_message
from tests.support.house import STATUS, House, eventually, open_house, refused
from tests.support.patience import longer_and_longer
from tests.support.processes import daemon_process, descriptors, is_guard
from tests.support.wire_client import connect

HEAD = """
from __future__ import annotations
import asyncio, os, time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from jobworkerp_standalone.plugin import Aborted, BadInput, Fatal, Retryable, Runner, method

@dataclass
class Settings:
    greeting: str = "Hello"
    fail: bool = False

@dataclass
class Args:
    verb: str
    count: int = 3
    note: str = ""

@dataclass
class Result:
    text: str
    pid: int = 0

def note(args: Args, word: str) -> None:
    if args.note:
        with open(args.note, "a") as file:
            print(word, file=file)
"""

PLAIN = """
class Zoo(Runner):
    "Does as it is told."
    isolation = "ISOLATION"

    def load(self, settings: Settings) -> None:
        if settings.fail:
            raise Fatal("these settings are broken")
        self.greeting = settings.greeting
        self.ran = 0

    def run(self, args: Args) -> Result:
        self.ran += 1
        try:
            note(args, "entered")
            return self.act(args)
        finally:
            note(args, "left")

    def act(self, args: Args) -> Result:
        if args.verb == "wait":
            while True:
                time.sleep(0.01)
        if args.verb == "value error":
            raise ValueError("no such verb")
        failures = {"retryable": Retryable, "fatal": Fatal, "bad": BadInput, "aborted": Aborted}
        if args.verb in failures:
            raise failures[args.verb](f"told to be {args.verb}")
        if args.verb == "wrong type":
            return "text"
        if args.verb == "quit":
            raise SystemExit(3)
        if args.verb == "interrupt":
            raise KeyboardInterrupt
        self.job.trailer["ran"] = str(self.ran)
        meta = self.job.metadata.get("colour", "")
        return Result(f"{self.greeting} {args.verb} {self.ran} {meta}".strip(), os.getpid())

    def stream(self, args: Args) -> Iterator[Result]:
        try:
            note(args, "entered")
            for n in range(args.count):
                yield Result(f"{args.verb} {n}")
            if args.verb == "wait":
                while True:
                    time.sleep(0.01)
            if args.verb == "break":
                raise Retryable("the stream broke")
            self.job.trailer["sum"] = str(args.count)
        finally:
            note(args, "left")

    @method
    def total(self, args: Args, feed: Iterator[Args]) -> Iterator[Result]:
        "Adds up."
        so_far = args.count
        for item in feed:
            so_far += item.count
            yield Result(str(so_far))
"""


def zoo(isolation: str, name: str = "Zoo") -> str:
    """Return the same runner for each isolation."""
    body = PLAIN.replace("ISOLATION", isolation).replace("Zoo", name)
    if isolation == "async":
        body = body.replace("def run", "async def run").replace("def act", "async def act")
        body = body.replace("self.act(", "await self.act(").replace("time.sleep", "await asyncio.sleep")
        body = body.replace("def stream", "async def stream").replace("def total", "async def total")
        body = body.replace("-> Iterator", "-> AsyncIterator").replace("feed: Iterator", "feed: AsyncIterator")
        body = body.replace("for item in feed", "async for item in feed").replace("def load", "async def load")
    return HEAD + body


ISOLATIONS = ("process", "thread", "async")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "plugins"
    made.mkdir()
    return made


def write(folder: Path, name: str, text: str) -> Path:
    """Write as editors do: the file is there at once."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(dedent(text))
    draft.replace(path)
    return path


@asynccontextmanager
async def house_with(folder: Path, **environment: Any) -> AsyncIterator[House]:
    async with open_house(folder.parent, PLUGINS_RELOAD="false", **environment) as house:
        yield house
    await eventually(lambda: not children())


def children() -> list[psutil.Process]:
    return [each for each in psutil.Process().children(recursive=True) if not is_guard(each)]


async def runner_of(house: House, name: str) -> Any:
    reply = await house.client.call("RunnerService.FindByName", name=name)
    return reply.data if reply.HasField("data") else None


async def use(house: House, runner: str = "Zoo", worker: str = "w", settings: Any = None, **fields: Any) -> None:
    """Make a worker of a plugin."""
    found = await runner_of(house, runner)
    text = found.data.runner_settings_proto
    data = json_to_bytes(settings, root_message(text)) if settings is not None else b""
    fields.setdefault("response_type", 1)
    await house.worker(worker, found.id.value, runner_settings=data, **fields)


async def schema(house: House, method: str = "run", runner: str = "Zoo") -> Any:
    return (await runner_of(house, runner)).data.method_proto_map.schemas[method]


async def args(house: House, verb: str, **fields: Any) -> bytes:
    return json_to_bytes({"verb": verb, **fields}, root_message((await schema(house)).args_proto))


async def ask(house: House, verb: str, worker: str = "w", fields: Any = None, **call: Any) -> Any:
    """Run one job; its result's data."""
    return (await house.enqueue(await args(house, verb, **(fields or {})), worker, **call)).result.data


async def text(house: House, data: Any) -> str:
    assert data.status == STATUS["SUCCESS"], data.output.items
    return bytes_to_json(data.output.items, root_message((await schema(house)).result_proto))["text"]


async def streamed(house: House, verb: str, fields: Any = None, **call: Any) -> tuple[list[str], dict[str, str]]:
    """Return the items of a stream and the metadata of its end."""
    sent = await args(house, verb, **(fields or {}))
    answer = await house.client.items("JobService.EnqueueForStream", worker_name="w", args=sent, **call)
    result = root_message((await schema(house)).result_proto)
    items = [bytes_to_json(each.data, result)["text"] for each in answer.items if each.HasField("data")]
    ends = [dict(each.end.metadata) for each in answer.items if each.HasField("end")]
    return items, (ends or [{}])[0]


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_run_stream_feed_and_metadata(folder: Path, isolation: str) -> None:
    write(folder, "zoo.py", zoo(isolation))
    async with house_with(folder) as house:
        found = await runner_of(house, "Zoo")
        assert (found.data.description, found.data.definition) == ("Does as it is told.", str(folder / "zoo.py"))
        assert (await schema(house)).output_type == 2
        await use(house, settings={"greeting": "Hi"})
        reply = await house.client.call(
            "JobService.Enqueue", worker_name="w", args=await args(house, "bob"), metadata={"colour": "red"}
        )
        assert await text(house, reply.result.data) == "Hi bob 1 red"
        assert (await streamed(house, "x", {"count": 2})) == (["x 0", "x 1"], {"sum": "2"})
        assert (await schema(house, "total")).require_client_stream
        await use(house, worker="kept", use_static=True)
        for worker in ("w", "kept", "kept"):
            assert await fed(house, [1, 2, 10], worker) == ["4", "6", "16"]


async def fed(house: House, numbers: Sequence[int], worker: str) -> list[str]:
    """Run ``total``, starting from 3, and return what it says to each number."""
    described = await schema(house, "total")
    item = root_message(described.client_stream_data_proto)
    job = {"worker_name": worker, "using": "total", "args": await args(house, "sum", count=3)}
    said: list[str] = []
    async with house.client.open("JobService.EnqueueWithClientStream") as stream:
        await stream.send_message(
            house.client.request("JobService.EnqueueWithClientStream", None, {"job_request": job})
        )
        for number in numbers:
            data = json_to_bytes({"verb": "add", "count": number}, item)
            feed = {"feed_data": {"data": data}}
            await stream.send_message(house.client.request("JobService.EnqueueWithClientStream", None, feed))
            answer = house.client.reply("JobService.EnqueueWithClientStream", await stream.recv_message())
            said.append(bytes_to_json(answer.data, root_message(described.result_proto))["text"])
        await stream.end()
        while await stream.recv_message() is not None:
            continue
    return said


FAILURES = (
    ("retryable", "MAX_RETRY", "told to be retryable"),
    ("fatal", "FATAL_ERROR", "told to be fatal"),
    ("bad", "OTHER_ERROR", "told to be bad"),
    ("aborted", "ABORT", "told to be aborted"),
    ("value error", "OTHER_ERROR", "zoo.py, line "),
    ("value error", "OTHER_ERROR", "ValueError: no such verb"),
    ("wrong type", "OTHER_ERROR", "expected Result, got str"),
    ("quit", "OTHER_ERROR", "SystemExit"),
    ("interrupt", "OTHER_ERROR", "KeyboardInterrupt"),
)


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_failures_say_what_happened_and_leave_the_instance_in_service(folder: Path, isolation: str) -> None:
    write(folder, "zoo.py", zoo(isolation))
    async with house_with(folder) as house:
        await use(house, use_static=True)
        for ran, (verb, status, words) in enumerate(FAILURES):
            failed = await ask(house, verb)
            assert (failed.status, words in failed.output.items.decode()) == (STATUS[status], True), failed.output.items
            assert await text(house, await ask(house, "bob")) == f"Hello bob {2 * ran + 2}"
        bad = await house.enqueue(b"\xff\xff")
        assert (bad.result.data.status, b"Args" in bad.result.data.output.items) == (STATUS["OTHER_ERROR"], True)


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_a_stream_that_breaks_fails_after_its_items(folder: Path, isolation: str) -> None:
    write(folder, "zoo.py", zoo(isolation))
    async with house_with(folder) as house:
        await use(house, use_static=True, store_failure=True)
        sent = await args(house, "break", count=2)
        items: list[bytes] = []
        async with (
            refused(Status.ABORTED, "the stream broke"),
            house.client.open("JobService.EnqueueForStream") as stream,
        ):
            request = house.client.request("JobService.EnqueueForStream", None, {"worker_name": "w", "args": sent})
            await stream.send_message(request, end=True)
            while (each := await stream.recv_message()) is not None:
                items.append(house.client.reply("JobService.EnqueueForStream", each).data)
        result = root_message((await schema(house)).result_proto)
        assert [bytes_to_json(each, result)["text"] for each in items if each] == ["break 0", "break 1"]
        assert await text(house, await ask(house, "bob")) == "Hello bob 1"


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_a_cancelled_job_cleans_up_and_leaves_nothing(folder: Path, tmp_path: Path, isolation: str) -> None:
    write(folder, "zoo.py", zoo(isolation))
    note = tmp_path / "note"
    async with house_with(folder) as house:
        await use(house, response_type=0, store_failure=True)
        for method in ("Enqueue", "EnqueueForStream"):
            note.write_text("")
            sent = await args(house, "wait", note=str(note), count=0)
            await house.client.items(f"JobService.{method}", worker_name="w", args=sent)
            await eventually(lambda: note.read_text() == "entered\n")
            (live,) = house.daemon.engine.live.all()
            assert await house.delete(live.job.id)
            await eventually(lambda: len(house.daemon.engine.live) == 0)
            assert note.read_text() == "entered\nleft\n"
            (result,) = await house.results(live.job.id)
            assert result.data.status == STATUS["CANCELLED"]
        assert not [each for each in threading.enumerate() if each.name.startswith("plugin ")]
        assert not children()


@pytest.mark.parametrize("static", [False, True])
async def test_settings_that_cannot_be_loaded(folder: Path, static: bool) -> None:
    write(folder, "zoo.py", zoo("process"))
    async with house_with(folder) as house:
        await use(house, settings={"fail": True}, use_static=static)
        failed = await ask(house, "bob")
        assert failed.status == STATUS["FATAL_ERROR"]
        assert b"these settings are broken" in failed.output.items
        async with refused(Status.INVALID_ARGUMENT, "runner_settings"):
            await house.worker("x", (await runner_of(house, "Zoo")).id.value, runner_settings=b"\xff\xff")
    assert not children()


WILD = (
    HEAD
    + """
import ctypes

class Wild(Runner):
    max_rss_mb = 150
    def run(self, args: Args) -> Result:
        open(__file__.replace("wild.py", f"began {args.verb}"), "w").close()
        if args.verb == "exit":
            os._exit(7)
        if args.verb == "segfault":
            ctypes.string_at(0)
        if args.verb == "spin":
            while True:
                pass
        if args.verb == "deaf":
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            while True:
                pass
        if args.verb == "block":
            time.sleep(1000)
        if args.verb == "leak":
            hoard = []
            while True:
                hoard.append(bytearray(1 << 20))
                time.sleep(0.001)
        if args.verb == "children":
            os.system("sleep 1000 &")
            time.sleep(1000)
        if args.verb == "quit":
            raise SystemExit(3)
        if args.verb == "close":
            os.close(3)
        if "heir" in args.verb and os.fork():
            os._exit(8)
        while "heir" in args.verb:
            time.sleep(0.05)
            if "noisy" in args.verb:
                print("I have the channel, and the output", flush=True)
        if args.verb == "leave":
            import subprocess
            left = subprocess.Popen(["sleep", "1000"])
            with open(__file__.replace("wild.py", "left"), "w") as file:
                file.write(str(left.pid))
        print("hello from", args.verb, flush=True)
        return Result("fine", os.getpid())
"""
)


@pytest.fixture
def wild(folder: Path) -> Path:
    write(folder, "wild.py", WILD)
    return folder


async def wild_args(house: House, verb: str) -> bytes:
    return json_to_bytes({"verb": verb}, root_message((await schema(house, runner="Wild")).args_proto))


async def test_a_process_that_dies_takes_only_its_job_along(wild: Path) -> None:
    async with house_with(wild) as house:
        await use(house, "Wild", use_static=True)
        for verb, status, words in (
            ("exit", "MAX_RETRY", b"exit code 7"),
            ("segfault", "MAX_RETRY", b"SIGSEGV"),
            ("quit", "OTHER_ERROR", b"SystemExit: 3"),
            ("close", "MAX_RETRY", b"ended in the middle of the job"),
            ("leak", "MAX_RETRY", b"max_rss_mb"),
            ("heir", "MAX_RETRY", b"exit code 8"),
            ("noisy heir", "MAX_RETRY", b"exit code 8"),
        ):
            failed = (await house.enqueue(await wild_args(house, verb))).result.data
            assert (failed.status, words in failed.output.items) == (STATUS[status], True), failed.output.items
            assert (await house.enqueue(await wild_args(house, "x"))).result.data.status == STATUS["SUCCESS"]


@pytest.mark.parametrize("static", [False, True])
async def test_what_a_plugin_started_ends_with_its_process(wild: Path, tmp_path: Path, static: bool) -> None:
    async with house_with(wild) as house:
        await use(house, "Wild", use_static=static)
        assert (await house.enqueue(await wild_args(house, "leave"))).result.data.status == STATUS["SUCCESS"]
    left = int((tmp_path / "plugins" / "left").read_text())
    await eventually(lambda: not lives(left))


def began(folder: Path) -> int:
    """Return how many verbs a wild plugin has begun."""
    return len(list(folder.glob("began *")))


async def test_a_process_that_does_not_return_ends_at_its_time_limit(
    wild: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobworkerp_standalone.runners.process.child.GRACE_SEC", 0.5)
    async with house_with(wild) as house:
        await use(house, "Wild")
        jobs = [await wild_args(house, verb) for verb in ("spin", "block", "children", "deaf")]
        for limit in longer_and_longer(700):
            for reply in await asyncio.gather(*(house.enqueue(each, timeout=limit) for each in jobs)):
                ended = reply.result.data
                assert (ended.status, b"timeout" in ended.output.items) == (STATUS["MAX_RETRY"], True)
            assert not children()
            if began(wild) == len(jobs):
                break


async def test_a_daemon_that_is_killed_takes_its_plugins_along(wild: Path, tmp_path: Path) -> None:
    with daemon_process(tmp_path, PLUGINS_RUNNER_DIR=str(wild), PLUGINS_RELOAD="false") as daemon:
        async with connect(daemon.host, daemon.port) as client:
            found = (await client.call("RunnerService.FindByName", name="Wild")).data
            sent = root_message(found.data.method_proto_map.schemas["run"].args_proto)
            await client.call("WorkerService.Create", name="w", runner_id={"value": found.id.value})
            for verb in ("children", "spin", "deaf"):
                await client.call("JobService.Enqueue", worker_name="w", args=json_to_bytes({"verb": verb}, sent))
            await eventually(lambda: began(wild) == 3)
            plugins = [each.pid for each in psutil.Process(daemon.pid).children()]
            await eventually(lambda: len(sessions(plugins)) > len(plugins))
            family = sessions(plugins)
        daemon.kill()
        await eventually(lambda: not any(map(lives, family)))


TIDY = (
    HEAD
    + """
from jobworkerp_standalone.plugin import JobCancelled

class Tidy(Runner):
    def run(self, args: Args) -> Result:
        note(args, "entered")
        self.note = args.note
        try:
            while args.verb == "wait":
                time.sleep(0.01)
        except JobCancelled:
            time.sleep(0.3)
            note(args, "tidied")
            raise
        return Result("fine")

    def close(self) -> None:
        time.sleep(0.3)
        with open(self.note, "a") as file:
            print("closed", file=file)
"""
)


@pytest.mark.parametrize(("verb", "noted"), [("wait", "entered\ntidied\nclosed\n"), ("rest", "entered\nclosed\n")])
async def test_a_plugin_may_tidy_up_when_the_daemon_was_killed(
    folder: Path, tmp_path: Path, verb: str, noted: str
) -> None:
    write(folder, "tidy.py", TIDY)
    note = tmp_path / "note"
    with daemon_process(tmp_path, PLUGINS_RUNNER_DIR=str(folder), PLUGINS_RELOAD="false") as daemon:
        async with connect(daemon.host, daemon.port) as client:
            found = (await client.call("RunnerService.FindByName", name="Tidy")).data
            sent = root_message(found.data.method_proto_map.schemas["run"].args_proto)
            args = json_to_bytes({"verb": verb, "note": str(note)}, sent)
            await client.call("WorkerService.Create", name="w", runner_id={"value": found.id.value}, use_static=True)
            await client.call("JobService.Enqueue", worker_name="w", args=args)
            await eventually(lambda: note.exists() and note.read_text() == "entered\n")
            if verb == "rest":
                while (await client.call("JobProcessingStatusService.CountByCondition")).total:
                    pass
        daemon.kill()
    await eventually(lambda: note.read_text() == noted)


def sessions(leaders: list[int]) -> list[int]:
    """Return the processes of some sessions, also those whose parents are gone."""
    found: list[int] = []
    for pid in psutil.pids():
        with suppress(ProcessLookupError):
            found += [pid] if os.getsid(pid) in leaders else []
    return found


def lives(pid: int) -> bool:
    """Whether a process is there and has not exited."""
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


async def test_a_process_is_replaced_after_so_many_jobs(wild: Path) -> None:
    async with house_with(wild, PLUGINS_MAX_JOBS="2") as house:
        await use(house, "Wild", use_static=True)
        described = await schema(house, runner="Wild")
        sent = json_to_bytes({"verb": "x"}, root_message(described.args_proto))
        pids = [
            bytes_to_json((await house.enqueue(sent)).result.data.output.items, root_message(described.result_proto))[
                "pid"
            ]
            for _ in range(5)
        ]
        assert [pids.index(each) for each in pids] == [0, 0, 2, 2, 4]


async def test_what_a_plugin_prints_goes_to_the_log(wild: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with house_with(wild) as house:
        await use(house, "Wild")
        sent = json_to_bytes({"verb": "x"}, root_message((await schema(house, runner="Wild")).args_proto))
        await house.enqueue(sent)
    assert "plugin Wild: hello from x" in caplog.text


BROKEN = (
    ("broken.py", "import os\ndef f(:\n", "broken.py, line 2: SyntaxError"),
    ("missing.py", "import os\n\nimport nothing_like_this\n", "missing.py, line 3: ModuleNotFoundError"),
    ("zero.py", "def f():\n    return 1 / 0\nf()\n", "zero.py, line 2: ZeroDivisionError"),
    ("empty.py", "x = 1\n", "defines no subclass of jobworkerp_standalone.plugin.Runner"),
    ("json.py", HEAD, "a module of Python's own: rename it"),
    ("exits.py", "import os\nos._exit(9)\n", "exit code 9"),
    ("quits.py", "raise SystemExit(2)\n", "quits.py, line 1: SystemExit"),
    ("idle.py", HEAD + "class Idle(Runner):\n    pass\n", "Idle does nothing"),
    (
        "bare.py",
        HEAD + "class Bare(Runner):\n    def run(self, args) -> Result: ...\n",
        "Bare.run(args) is not annotated",
    ),
    (
        "odd.py",
        HEAD + "class Odd(Runner):\n    def run(self, args: Args) -> str: ...\n",
        "the result of Odd.run is str",
    ),
    (
        "field.py",
        HEAD + "@dataclass\nclass F:\n    x: object\nclass Fld(Runner):\n    def run(self, args: F) -> Result: ...\n",
        "F.x: object cannot be part of a message",
    ),
    (
        "text.py",
        HEAD + "class Text(Runner):\n    args = 'syntax = \"proto3\";\\nmessage A { strin x = 1; }'\n"
        "    def run(self, args: bytes) -> bytes: ...\n",
        "the args of method run of Text: the schema does not compile: line 2",
    ),
    (
        "sync.py",
        HEAD + "class Sync(Runner):\n    isolation = 'async'\n    def run(self, args: Args) -> Result: ...\n",
        "Sync.run must be async def",
    ),
    ("clash.py", zoo("process", "COMMAND"), "a built-in runner has the name"),
    ("zz.py", zoo("process"), "zoo.py has the name"),
)


async def test_plugins_that_cannot_be_loaded_are_named_with_file_and_line(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, content, _ in BROKEN:
        write(folder, name, content)
    write(folder, "zoo.py", zoo("process"))
    async with house_with(folder) as house:
        await eventually(lambda: all(words in caplog.text for _, _, words in BROKEN))
        assert (await runner_of(house, "Zoo")).data.definition == str(folder / "zoo.py")
        assert (await house.client.call("RunnerService.Find", value=1)).data.data.definition == "builtin1"
    assert not children()


async def test_a_slow_plugin_holds_up_no_other(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder, "slow.py", "import time\ntime.sleep(3600)\n")
    write(folder, "zoo.py", zoo("process"))
    async with house_with(folder, PLUGIN_LOAD_TIMEOUT_SECS="600") as house:
        await eventually(lambda: house.daemon.engine.catalog.kinds.by_name("Zoo") is not None)
        assert "slow.py" not in caplog.text
    (folder / "zoo.py").unlink()
    async with house_with(folder, PLUGIN_LOAD_TIMEOUT_SECS="1"):
        await eventually(lambda: "PLUGIN_LOAD_TIMEOUT_SECS" in caplog.text)


async def test_of_two_with_one_name_the_first_in_order_has_it_however_late(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        folder,
        "a.py",
        "import time\ntime.sleep(1)\n" + zoo("process").replace("from __future__ import annotations", ""),
    )
    write(folder, "b.py", zoo("process"))
    async with house_with(folder) as house:
        await eventually(lambda: "b.py is left out" in caplog.text)
        await eventually(lambda: house.daemon.engine.catalog.kinds.by_name("Zoo") is not None)
        assert (await runner_of(house, "Zoo")).data.definition == str(folder / "a.py")


async def test_a_changed_file_is_loaded_again_and_a_broken_one_is_not(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, "zoo.py", zoo("process"))
    async with open_house(folder.parent, PLUGINS_RELOAD="true") as house:
        await use(house, use_static=True)
        runner = (await runner_of(house, "Zoo")).id.value
        assert await text(house, await ask(house, "bob")) == "Hello bob 1"
        write(folder, "zoo.py", "def f(:\n")
        await eventually(lambda: "what was loaded before stays: Zoo" in caplog.text)
        assert await text(house, await ask(house, "bob")) == "Hello bob 2"
        write(folder, "zoo.py", zoo("process").replace('f"{self.greeting} ', 'f"New {self.greeting} '))
        await eventually(lambda: not children())
        assert await text(house, await ask(house, "bob")) == "New Hello bob 1"
        (folder / "zoo.py").unlink()
        await eventually(lambda: house.daemon.engine.catalog.kinds.by_name("Zoo") is None)
        async with refused(Status.UNAVAILABLE, "'Zoo'", "not available at the moment"):
            await house.enqueue()
        write(folder, "zoo.py", zoo("async"))
        await eventually(lambda: house.daemon.engine.catalog.kinds.by_name("Zoo") is not None)
        assert (await runner_of(house, "Zoo")).id.value == runner
        assert await text(house, await ask(house, "bob")) == "Hello bob 1"


async def test_a_file_that_changed_unnoticed_is_not_run_under_the_old_schema(folder: Path) -> None:
    write(folder, "zoo.py", zoo("process"))
    async with house_with(folder) as house:
        await use(house)
        write(folder, "zoo.py", zoo("process").replace("count: int = 3", "count: str = ''"))
        failed = await ask(house, "bob")
        assert failed.status == STATUS["FATAL_ERROR"]
        assert b"PLUGINS_RELOAD=true" in failed.output.items


async def test_a_folder_is_a_plugin_with_modules_of_its_own(folder: Path) -> None:
    write(folder, "park/__init__.py", "from .animals import Zoo\nfrom park import rules\n__all__ = ['Zoo']\n")
    write(folder, "park/animals.py", zoo("process"))
    write(folder, "park/rules.py", "OPEN = True\n")
    write(folder, "notes/readme.py", "not a plugin: no __init__.py\n")
    for left_alone in ("_private.py", "test_park.py", "conftest.py", "park_test.py"):
        write(folder, left_alone, "raise SystemExit\n")
    async with house_with(folder) as house:
        assert (await runner_of(house, "Zoo")).data.definition == str(folder / "park")
        await use(house)
        assert await text(house, await ask(house, "bob")) == "Hello bob 1"


async def test_create_and_delete(folder: Path, tmp_path: Path) -> None:
    path = write(tmp_path, "elsewhere.py", zoo("process"))
    write(tmp_path, "two.py", zoo("process") + PLAIN.replace("Zoo", "Other").replace("ISOLATION", "process"))

    async def create(name: str, definition: str) -> int:
        reply = await house.client.call("RunnerService.Create", name=name, description="d", definition=definition)
        return reply.id.value

    async with house_with(folder) as house:
        runner = await create("Zoo", str(path))
        await use(house, "Zoo")
        assert await text(house, await ask(house, "bob")) == "Hello bob 1"
        other = await create("mine", f"{tmp_path}/two.py:Other")
        assert (await runner_of(house, "mine")).data.description == "d"
        for wrong, words in (
            ("/nowhere.py", ["/nowhere.py", "no plugin on the server"]),
            (str(tmp_path), ["__init__.py"]),
            (f"{tmp_path}/two.py", ["Zoo, Other", "PATH:Class"]),
        ):
            async with refused(Status.INVALID_ARGUMENT, *words):
                await create("x", wrong)
        write(tmp_path, "bad.py", "import os\n1 / 0\n")
        async with refused(Status.INTERNAL, "bad.py, line 2: ZeroDivisionError"):
            await create("x", f"{tmp_path}/bad.py")
        async with refused(Status.INTERNAL, "no class Nope"):
            await create("x", f"{tmp_path}/two.py:Nope")
        async with refused(Status.ALREADY_EXISTS, "Zoo"):
            await create("Zoo", str(path))
        assert (await house.client.call("RunnerService.Delete", value=other)).is_success
    async with house_with(folder) as house:
        assert (await runner_of(house, "Zoo")).id.value == runner
        assert await runner_of(house, "mine") is None
        assert await text(house, await ask(house, "bob")) == "Hello bob 1"
        assert (await house.client.call("RunnerService.Delete", value=runner)).is_success
        async with refused(Status.INVALID_ARGUMENT, "does not exist any more"):
            await house.enqueue()


@pytest.mark.parametrize("isolation", ISOLATIONS)
async def test_many_cancelled_jobs_leave_nothing(folder: Path, isolation: str) -> None:
    write(folder, "zoo.py", zoo(isolation))
    async with house_with(folder) as house:
        await use(house, response_type=0)
        sent = await args(house, "wait")

        async def cancel_eight() -> None:
            jobs = [(await house.enqueue(sent)).id.value for _ in range(8)]
            await eventually(lambda: any(live.scope for live in house.daemon.engine.live.all()))
            await asyncio.gather(*(house.delete(job) for job in jobs))
            await eventually(lambda: len(house.daemon.engine.live) == 0 and not children())

        for _ in range(2):
            await cancel_eight()
        before = held()
        for _ in range(2 if isolation == "process" else 24):
            await cancel_eight()
        await eventually(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


def held() -> tuple[int, int, int]:
    """Return what could leak: descriptors, tasks, and threads of plugins."""
    threads = [each for each in threading.enumerate() if each.name.startswith("plugin ")]
    return descriptors(), len(asyncio.all_tasks()), len(threads)


async def test_a_stop_ends_every_process(folder: Path) -> None:
    write(folder, "zoo.py", zoo("process"))
    async with house_with(folder) as house:
        await use(house, response_type=0)
        await use(house, worker="warm", use_static=True)
        await ask(house, "bob", "warm")
        await house.enqueue(await args(house, "wait"))
        await eventually(lambda: len(children()) >= 2)
    assert not children()
    assert os.getpid()


NEEDY = """
# /// script
# dependencies = ["iniconfig==2.1.0"]
# ///
from __future__ import annotations
import sys
from dataclasses import dataclass
from importlib.metadata import version
from jobworkerp_standalone.plugin import Runner

@dataclass
class Result:
    text: str

class Needy(Runner):
    def run(self) -> Result:
        assert "grpclib" not in sys.modules
        try:
            import grpclib
        except ImportError:
            return Result(version("iniconfig"))
        return Result("the daemon's packages are in reach")
"""


async def test_a_plugin_has_packages_of_its_own(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder, "needy.py", NEEDY)
    inside = NEEDY.replace("Needy", "Inside").replace("def run", "isolation = 'async'\n    async def run")
    write(folder, "inside.py", inside)
    bare = NEEDY.replace("# dependencies", "# no dependencies").replace("# ///", "#")
    write(folder, "listed/__init__.py", bare.replace("Needy", "Listed"))
    write(folder, "listed/requirements.txt", "iniconfig==2.1.0  # of the same kind\n\n")
    write(folder, "project/__init__.py", bare.replace("Needy", "Project"))
    write(folder, "project/pyproject.toml", "[project]\nname = 'p'\ndependencies = ['iniconfig==2.1.0']\n")
    write(folder, "option/__init__.py", bare.replace("Needy", "Option"))
    write(folder, "option/requirements.txt", "-r other.txt\n")
    async with house_with(folder, PYTHON_CACHE_DIR=str(tmp_path / "cache")) as house:
        for name in ("Needy", "Listed", "Project"):
            await eventually(lambda name=name: house.daemon.engine.catalog.kinds.by_name(name) is not None, 60)
            await use(house, name, name)
            result = root_message((await schema(house, runner=name)).result_proto)
            data = (await house.enqueue(b"", name)).result.data
            assert data.status == STATUS["SUCCESS"], data.output.items
            assert bytes_to_json(data.output.items, result) == {"text": "2.1.0"}
        await eventually(lambda: 'use isolation "process"' in caplog.text)
        await eventually(lambda: "option/requirements.txt has the option '-r other.txt'" in caplog.text)


async def test_an_installed_package_brings_runners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    site.mkdir()
    write(site, "menagerie/__init__.py", "")
    write(site, "menagerie/animals.py", zoo("process") + PLAIN.replace("Zoo", "Other").replace("ISOLATION", "process"))
    write(site, "menagerie-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: menagerie\nVersion: 1.0\n")
    point = "[jobworkerp.runners]\nzoo = menagerie.animals:Zoo\n"
    write(site, "menagerie-1.0.dist-info/entry_points.txt", point)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PYTHONPATH", str(site))
    async with house_with(tmp_path / "none") as house:
        assert (await runner_of(house, "Zoo")).data.definition == "menagerie.animals:Zoo"
        assert await runner_of(house, "Other") is None
        await use(house)
        assert await text(house, await ask(house, "bob")) == "Hello bob 1"
