"""The environments of PYTHON_COMMAND: built once by uv, shared, kept within limits, whole or not there."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status

from tests.support.house import eventually, refused
from tests.support.patience import longer_and_longer
from tests.support.processes import daemon_process, descriptors
from tests.support.python_jobs import (
    UNREACHABLE,
    CountingUv,
    PythonHouse,
    alive,
    arguments,
    descendants,
    ended,
    open_python_house,
)
from tests.support.web import Reply, Seen, open_web
from tests.support.wire_client import build, connect


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def uv(tmp_path: Path) -> CountingUv:
    """A uv that tells how often it was started."""
    return CountingUv(tmp_path / "counting").make()


@pytest.fixture(scope="module")
async def empty_house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PythonHouse]:
    """A daemon with a cache of its own."""
    folder = tmp_path_factory.mktemp("house")
    async with open_python_house(folder, folder / "cache") as opened:
        yield opened


@pytest.fixture
async def fresh(empty_house: PythonHouse) -> AsyncIterator[PythonHouse]:
    """A daemon that has no environment yet. What a test leaves behind fails it."""
    yield empty_house
    await empty_house.clear()
    for environment in empty_house.environments():
        shutil.rmtree(environment)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A package that needs no registry."""
    path = tmp_path_factory.mktemp("wheels") / "demo_thing-1.0-py3-none-any.whl"
    about = "demo_thing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("demo_thing.py", "def main(): print('demo')\n")
        file.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: demo-thing\nVersion: 1.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/entry_points.txt", "[console_scripts]\ndemo-thing = demo_thing:main\n")
        file.writestr(f"{about}/RECORD", "")
    return f"demo-thing @ {path.as_uri()}"


async def test_the_second_job_starts_without_uv(fresh: PythonHouse, uv: CountingUv, wheel: str) -> None:
    await fresh.worker(uv_path=uv.path, packages=[wheel])
    script = "import demo_thing, subprocess, sys; sys.stdout.flush(); subprocess.run(['demo-thing'])"
    assert await fresh.printed(script) == "demo\n"
    assert len(uv.starts("venv")) == len(uv.starts("pip")) == 1
    await fresh.worker(
        "other", uv_path=uv.path, packages=[f"  {wheel}  ", wheel.replace("demo-thing @", "Demo_Thing@")]
    )
    assert await fresh.printed(script) == "demo\n"
    assert await fresh.printed(script, "other") == "demo\n"
    assert len(uv.starts()) == 2
    assert len(fresh.environments()) == 1


async def test_environments_outlive_the_daemon(tmp_path: Path, uv: CountingUv) -> None:
    for _ in range(2):
        async with open_python_house(tmp_path, tmp_path / "cache") as python:
            name = f"py{len(uv.starts())}"
            await python.worker(name, uv_path=uv.path)
            await python.printed("pass", name)
    assert len(uv.starts()) == 1


async def test_concurrent_jobs_share_one_build(fresh: PythonHouse, uv: CountingUv) -> None:
    await fresh.worker(uv_path=uv.path)
    await fresh.worker("other", uv_path=uv.path, static=True)
    uv.hold.touch()
    jobs = [asyncio.create_task(fresh.printed(f"print({n})", "other" if n % 2 else "py")) for n in range(4)]
    await eventually(lambda: len(uv.starts()) == 1)
    await eventually(lambda: all(live.status == 2 for live in fresh.house.daemon.engine.live.all()))
    uv.hold.unlink()
    assert await asyncio.gather(*jobs) == ["0\n", "1\n", "2\n", "3\n"]
    assert len(uv.starts()) == 1


async def test_two_daemons_share_one_build(tmp_path: Path, uv: CountingUv) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    cache = tmp_path / "cache"
    async with open_python_house(tmp_path / "a", cache) as first, open_python_house(tmp_path / "b", cache) as second:
        await first.worker(uv_path=uv.path)
        await second.worker(uv_path=uv.path)
        uv.hold.touch()
        one = asyncio.create_task(first.printed("print(1)"))
        await eventually(lambda: len(uv.starts()) == 1)
        lines = [item.progress async for item in _releasing(second, uv)]
        assert any("another process builds" in line for line in lines)
        assert await one == "1\n"
        assert len(uv.starts()) == 1


async def _releasing(python: PythonHouse, uv: CountingUv) -> AsyncIterator[Any]:
    async for item in python.items("print(2)"):
        uv.hold.unlink(missing_ok=True)
        yield item


async def test_a_stream_tells_how_far_the_build_is(fresh: PythonHouse, wheel: str) -> None:
    await fresh.worker(packages=[wheel])
    items = [item async for item in fresh.items("print('out')")]
    lines = [item.progress for item in items if item.HasField("progress")]
    assert any("demo-thing==1.0" in line for line in lines)
    assert not any(str(fresh.cache) in line for line in lines)
    assert "".join(item.output for item in items) == "out\n"
    again = [item async for item in fresh.items("print('out')")]
    assert not any(item.HasField("progress") for item in again)


async def test_requirements_come_from_a_url(fresh: PythonHouse, uv: CountingUv, wheel: str) -> None:
    text = f"# what we need\n{wheel.replace('demo-thing', 'demo_thing')}  # this\n\n"

    async def requirements(_seen: Seen, reply: Reply) -> None:
        await reply.answer(body=text.encode())

    async with open_web({"/r.txt": requirements}) as web:
        await fresh.worker(uv_path=uv.path, requirements_url=f"{web.url}/r.txt")
        await fresh.printed("import demo_thing")
        await fresh.printed("import demo_thing")
        assert len(uv.starts("venv")) == 1
        text = "\n"
        assert (await fresh.run("import demo_thing")).ok().exit_code == 1  # what is there now counts
        text = "demo\n-r more.txt\n"
        (await fresh.run("pass")).failed("FATAL_ERROR", "requirements_url", "line 2", "more.txt")
        await fresh.worker("missing", requirements_url=f"{web.url}/none")
        (await fresh.run("pass", "missing")).failed("FATAL_ERROR", "requirements_url", "404")
    (await fresh.run("pass")).failed("MAX_RETRY", "requirements_url")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"python_version": "--help"}, ("python_version", "--help")),
        ({"uv_path": "/no/such/uv"}, ("uv_path '/no/such/uv'", "no such file")),
        ({"uv_path": "/bin/false", "python_version": "3"}, ("could not be built",)),
        ({"uv_path": "/bin/true"}, ("uv_path '/bin/true'", "no environment")),
        ({"packages": ["--extra-index-url=http://me:s3cret@x"]}, ("packages.list[0]", "http://***@x")),
        ({"packages": ["a" * 200_000 + "=="]}, ("could not be built", "aaa...")),
        ({"packages": [""]}, ("packages.list[0]", "empty")),
        ({"packages": ["six", "--index-url=http://x"]}, ("packages.list[1]", "--index-url")),
        ({"packages": ["six\nseven"]}, ("packages.list[0]", "more than one line")),
        ({"packages": ["six=="]}, ("could not be built", "six==")),
        ({"packages": ["/no/such.whl"]}, ("could not be built", "such.whl")),
        ({"requirements_url": ""}, ("requirements_url is empty",)),
        ({"requirements_url": "file:///etc/passwd"}, ("requirements_url", "http")),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_bad_settings_are_told_by_field(
    fresh: PythonHouse, settings: dict[str, object], words: tuple[str, ...]
) -> None:
    await fresh.worker(**settings)  # type: ignore[arg-type]
    failed = await fresh.run("print(1)")
    failed.failed("FATAL_ERROR", *words)
    assert "Traceback" not in failed.text
    assert "s3cret" not in failed.text
    assert str(fresh.cache) not in failed.text
    assert fresh.environments() == fresh.leftovers() == []


async def test_a_registry_that_cannot_be_reached_may_be_back_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", UNREACHABLE.replace("://", "://user:s3cret@"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.delenv("UV_INDEX_URL", raising=False)
    async with open_python_house(tmp_path, tmp_path / "cache") as python:
        await python.worker(packages=["six"])
        failed = await python.run("import six")
        failed.failed("MAX_RETRY", "package index could not be reached", "127.0.0.1:9")
        assert "s3cret" not in failed.text
        assert python.leftovers() == python.environments() == []


async def test_a_folder_that_cannot_be_used_is_told_with_its_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with open_python_house(tmp_path, tmp_path / "file" / "cache") as python:
        await python.worker()
        (await python.run("pass")).failed("FATAL_ERROR", "PYTHON_CACHE_DIR", str(tmp_path))


async def test_a_python_that_is_not_there_is_told_with_those_that_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{os.path.dirname(sys._base_executable)}:/usr/bin:/bin")  # type: ignore[attr-defined]
    async with open_python_house(tmp_path, tmp_path / "cache") as python:
        await python.worker(python_version="3.99")
        words = ("python_version '3.99'", "not on this machine", platform.python_version())
        (await python.run("pass")).failed("FATAL_ERROR", *words)
        async with refused(Status.INTERNAL, *words):
            await python.house.client.call("WorkerService.Load", name="py")


async def test_a_cancelled_job_breaks_its_build_off(fresh: PythonHouse, uv: CountingUv) -> None:
    await fresh.worker(uv_path=uv.path)
    uv.hold.touch()
    job = await fresh.start("print(1)")
    await eventually(lambda: len(uv.starts()) == 1)
    (pid,) = uv.starts()
    assert await fresh.house.delete(job)
    await eventually(lambda: not alive(pid) and descendants() == set())
    await eventually(lambda: fresh.leftovers() == [])
    uv.hold.unlink()
    assert await fresh.printed("print(2)") == "2\n"


async def test_a_build_goes_on_for_whoever_still_waits(fresh: PythonHouse, uv: CountingUv) -> None:
    await fresh.worker(uv_path=uv.path)
    uv.hold.touch()
    job = await fresh.start("print(1)")
    await eventually(lambda: len(uv.starts()) == 1)
    items: list[Any] = []
    async for item in fresh.items("print(2)"):
        items.append(item)
        if len(items) == 1:  # it waits for the build
            assert item.progress
            assert await fresh.house.delete(job)
            await eventually(lambda: len(fresh.house.daemon.engine.live) == 1)
            uv.hold.unlink()
    assert "".join(item.output for item in items) == "2\n"
    assert len(uv.starts()) == 1


async def test_a_time_out_counts_the_build(fresh: PythonHouse, uv: CountingUv) -> None:
    await fresh.worker(uv_path=uv.path)
    uv.hold.touch()
    for limit in longer_and_longer(300):
        text = (await fresh.run("print(1)", timeout=limit)).failed("MAX_RETRY", f"{limit} ms")
        if "still being built: building Python 3." in text:
            break
    assert descendants() == set()
    assert fresh.leftovers() == []


async def test_what_was_not_used_for_longest_is_evicted(tmp_path: Path, wheel: str) -> None:
    async with open_python_house(tmp_path, tmp_path / "cache", PYTHON_CACHE_MAX_ENVIRONMENTS="2") as python:
        await python.worker("held", static=True)
        await python.printed("pass", "held")  # in use as long as its interpreter is warm
        (held,) = python.environments()
        for number in range(3):
            name = f"w{number}"
            await python.worker(name, packages=[f"{wheel} ; python_version > '2.{number}'"])
            await python.printed("import demo_thing", name)
            newest = {path for path in python.environments() if path != held}
            assert len(newest) == 1
        assert held in python.environments()
        await eventually(lambda: python.leftovers() == [])
        assert await python.printed("print(1)", "held") == "1\n"


async def test_the_size_of_all_environments_has_a_limit(tmp_path: Path, wheel: str) -> None:
    async with open_python_house(tmp_path, tmp_path / "cache", PYTHON_CACHE_MAX_BYTES="1") as python:
        await python.worker()
        await python.worker("more", packages=[wheel])
        for name in ("py", "more", "py"):
            assert await python.printed("print(1)", name) == "1\n"
            assert len(python.environments()) == 1


async def test_an_environment_whose_python_is_gone_is_built_again(fresh: PythonHouse, uv: CountingUv) -> None:
    await fresh.worker(uv_path=uv.path)
    await fresh.printed("pass")
    (environment,) = fresh.environments()
    (environment / "bin" / "python").unlink()
    assert await fresh.printed("print(1)") == "1\n"
    assert len(uv.starts()) == 2


def _is_removed(path: Path) -> bool:
    if path.is_file():
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    return not path.exists()


@pytest.mark.parametrize("static", [False, True], ids=["one-shot", "static"])
@pytest.mark.parametrize("what", ["environments/*", "environments/*/.in-use", "environments", "jobs", "."])
async def test_what_is_removed_while_in_use_is_made_again(fresh: PythonHouse, what: str, static: bool) -> None:
    await fresh.worker(static=static)
    assert await fresh.printed("print(1)") == "1\n"
    for path in list(fresh.cache.glob(what)) if what != "." else [fresh.cache]:
        await eventually(lambda path=path: _is_removed(path))  # the job that ended may still tidy up there
    if what == "jobs" and static:  # a folder that is gone is seen by the script that needs it
        (await fresh.run("pass")).failed("MAX_RETRY", "folder of the job")
    script = "import os, sys; print(os.path.exists(sys.executable), os.path.exists(__file__))"
    for _ in range(2):
        assert await fresh.printed(script) == "True True\n"
    assert len(fresh.environments()) == 1


async def test_a_uv_that_is_killed_fails_its_job_and_may_be_tried_again(fresh: PythonHouse, uv: CountingUv) -> None:
    await fresh.worker(uv_path=uv.path)
    uv.hold.touch()
    job = asyncio.create_task(fresh.run("pass"))
    await eventually(lambda: len(uv.starts()) == 1)
    os.kill(uv.starts()[0], signal.SIGKILL)
    (await job).failed("MAX_RETRY", "uv was killed by SIGKILL")
    assert fresh.environments() == []
    uv.hold.unlink()
    assert await fresh.printed("print(1)") == "1\n"


async def test_being_offline_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    async with open_python_house(tmp_path, tmp_path / "cache") as python:
        await python.worker(packages=["six"])
        (await python.run("import six")).failed("FATAL_ERROR", "network was disabled")


async def test_private_addresses_are_refused_if_the_daemon_says_so(tmp_path: Path, python_cache: Path) -> None:
    async with open_web({}) as web, open_python_house(tmp_path, python_cache, URL_FETCH_DENY_PRIVATE="true") as python:
        await python.worker()
        await python.worker("listed", requirements_url=f"{web.url}/r")
        words = ("127.0.0.1 is not a public address",)
        (await python.run(script_url=f"{web.url}/s")).failed("OTHER_ERROR", "script_url", *words)
        (await python.run("pass", data_url=f"{web.url}/d")).failed("OTHER_ERROR", "data_url", *words)
        (await python.run("pass", "listed")).failed("FATAL_ERROR", "requirements_url", *words)


@pytest.mark.parametrize("moment", ["venv", "pip"])
async def test_a_daemon_killed_while_it_builds_leaves_no_half_environment(
    tmp_path: Path, uv: CountingUv, wheel: str, moment: str
) -> None:
    cache = tmp_path / "cache"
    settings = {"packages": {"list": [wheel]}, "uv_path": uv.path}
    data = build("jobworkerp.runner.PythonCommandRunnerSettings", **settings).SerializeToString()
    if moment == "venv":
        uv.hold.touch()
    else:
        uv.holds("pip").touch()
    with daemon_process(tmp_path, PYTHON_CACHE_DIR=str(cache)) as daemon:
        async with connect(daemon.host, daemon.port) as client:
            await client.call(
                "WorkerService.Create", name="py", runner_id={"value": 6}, runner_settings=data, response_type=0
            )
            await client.call("JobService.Enqueue", worker_name="py", args=arguments("print(1)"))
            await eventually(lambda: len(uv.starts(moment)) == 1)
        daemon.kill()
    assert list((cache / "environments").iterdir()) == []
    (orphan,) = uv.starts(moment)
    await eventually(lambda: not alive(orphan))
    async with open_python_house(tmp_path / "counting", cache) as python:
        await python.worker(uv_path=uv.path)
        uv.hold.unlink(missing_ok=True)
        uv.holds("pip").unlink(missing_ok=True)
        assert await python.printed("print(1)") == "1\n"
    async with open_python_house(tmp_path / "counting", cache, SQLITE_URL="sqlite::memory:") as python:
        await python.worker(packages=[wheel])
        assert await python.printed("import demo_thing; print(1)") == "1\n"
        await eventually(lambda: python.leftovers() == [])


async def test_a_killed_daemon_takes_its_idle_interpreters_along(tmp_path: Path, python_cache: Path) -> None:
    with daemon_process(tmp_path, PYTHON_CACHE_DIR=str(python_cache)) as daemon:
        async with connect(daemon.host, daemon.port) as client:
            await client.call(
                "WorkerService.Create", name="py", runner_id={"value": 6}, response_type=1, use_static=True
            )
            script = arguments("import os; print(os.getpid())")
            reply = await client.call("JobService.Enqueue", worker_name="py", args=script)
            pid = int(ended(reply.result.data).ok().output)
        assert alive(pid)
        daemon.kill()
    await eventually(lambda: not alive(pid))


async def test_cancelled_builds_leave_nothing(fresh: PythonHouse, uv: CountingUv) -> None:
    await fresh.worker(uv_path=uv.path)
    uv.hold.touch()
    before = descriptors()
    for number in range(1, 11):
        job = await fresh.start("pass")
        await eventually(lambda number=number: len(uv.starts()) == number)
        assert await fresh.house.delete(job)
        await eventually(lambda: len(fresh.house.daemon.engine.live) == 0)
    assert descendants() == set()
    assert fresh.leftovers() == []
    await eventually(lambda: descriptors() <= before)
