"""DOCKER with a real daemon and a real registry."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from jobworkerp_standalone.runners.docker.owner import JOB_LABEL, OWNER_LABEL, is_gone, this_process
from jobworkerp_standalone.schema.messages import message_class
from tests.support.docker_peer import IMAGE, Docker
from tests.support.house import STATUS, House, eventually, open_house
from tests.support.patience import PATIENCE_SEC, longer_and_longer
from tests.support.processes import DaemonProcess, descriptors
from tests.support.web import answering, open_web
from tests.support.wire_client import build, connect

DOCKER = 4
pytestmark = pytest.mark.usefixtures("docker_reached")
RESULT: Any = message_class("jobworkerp.runner.DockerResult")
WAITS = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done"
"""A shell script that goes on until it is asked to stop."""


@pytest.fixture
async def docks(tmp_path: Path) -> AsyncIterator[House]:
    """A house with a worker that has the image in its settings."""
    async with open_house(tmp_path) as house:
        await worker(house, from_image=IMAGE)
        yield house


async def worker(house: House, name: str = "w", *, fields: dict[str, Any] | None = None, **settings: Any) -> None:
    own = build("jobworkerp.runner.DockerRunnerSettings", **settings).SerializeToString()
    await house.worker(name, DOCKER, **{"runner_settings": own, "response_type": 1, **(fields or {})})


def args(script: str = "", **fields: Any) -> bytes:
    command = {"cmd": ["sh", "-c", script]} if script else {}
    return build("jobworkerp.runner.DockerArgs", **command, **fields).SerializeToString()


async def outcome(house: House, args: bytes, **fields: Any) -> Any:
    return (await house.enqueue(args, **fields)).result.data


async def ran(house: House, args: bytes, **fields: Any) -> Any:
    data = await outcome(house, args, **fields)
    assert data.status == STATUS["SUCCESS"], data.output.items
    return RESULT.FromString(data.output.items)


async def failed(house: House, args: bytes, status: str, *words: str, **fields: Any) -> str:
    data = await outcome(house, args, **fields)
    said = data.output.items.decode()
    assert data.status == STATUS[status], said
    for word in words:
        assert word in said, said
    return said


def docker_threads() -> int:
    return sum(each.name.startswith("docker") for each in threading.enumerate())


async def running(docker_daemon: Docker, count: int) -> None:
    async with asyncio.timeout(PATIENCE_SEC):
        while True:  # Docker has events, but a busy loop is simpler and ends at once
            listed = await asyncio.to_thread(docker_daemon.containers)
            if sum(each["State"] == "running" for each in listed) == count:
                return


async def out_of_time(house: House, data: bytes) -> None:
    """Run a job whose time is over when its container says that it is up."""
    for limit in longer_and_longer(700):
        if "stdout: up" in await failed(house, data, "MAX_RETRY", "timeout", timeout=limit):
            return


class TestRuns:
    async def test_both_outputs_and_the_exit_code_come_back(self, docks: House) -> None:
        result = await ran(docks, args("echo out; echo err >&2; exit 3"))
        assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3)
        assert len(result.container_id) == 64
        assert 0 <= result.execution_time_ms < 30_000
        assert result.started_at > 1_700_000_000

    async def test_the_args_say_how_it_runs(self, docks: House, tmp_path: Path) -> None:
        await asyncio.to_thread(tmp_path.chmod, 0o755)
        (tmp_path / "seen").write_text("mounted")
        result = await ran(
            docks,
            args(
                "pwd; id -u; echo $WHAT; cat /in/seen; ls -d /volume",
                user="user",
                env=["WHAT=that"],
                working_dir="/etc",
                volumes=[f"{tmp_path}:/in:ro", "/volume"],
                network_disabled=True,
            ),
        )
        assert result.stdout == "/etc\n1000\nthat\nmounted/volume\n"

    async def test_the_entrypoint_takes_the_command(self, docks: House) -> None:
        result = await ran(docks, args(entrypoint=["echo", "a"], cmd=["b"]))
        assert result.stdout == "a b\n"

    async def test_output_that_is_not_text_keeps_its_bytes(self, docks: House) -> None:
        result = await ran(docks, args(r"printf 'a\377b'"))
        assert result.stdout == "a\ufffdb"
        assert result.stdout_bytes == b"a\xffb"

    async def test_much_output_has_a_limit_in_a_result(self, tmp_path: Path) -> None:
        async with open_house(tmp_path, COMMAND_OUTPUT_MAX_BYTES="1024") as house:
            await worker(house, from_image=IMAGE)
            await failed(house, args("yes"), "OTHER_ERROR", "stdout", "COMMAND_OUTPUT_MAX_BYTES")

    async def test_any_exit_is_a_success_unless_the_job_says_otherwise(self, docks: House) -> None:
        assert (await ran(docks, args("exit 7"))).exit_code == 7
        strict = {"treat_nonzero_as_error": True}
        assert (await ran(docks, args("exit 7", **strict, success_exit_codes=[0, 7]))).exit_code == 7
        said = await failed(docks, args("echo why >&2; exit 7", **strict), "MAX_RETRY", "exit code 7", "stderr: why")
        assert "traceback" not in said.lower()

    async def test_jobs_run_side_by_side(self, docks: House, docker_daemon: Docker) -> None:
        jobs = [asyncio.ensure_future(ran(docks, args(WAITS + f" # {number}"))) for number in range(3)]
        await running(docker_daemon, 3)
        client = docker_daemon.client()
        for each in client.containers():
            await asyncio.to_thread(client.stop, each["Id"])
        client.close()
        assert [result.stdout for result in await asyncio.gather(*jobs)] == ["up\n"] * 3


def listed(docker_daemon: Docker) -> dict[str, Any]:
    """Return what Docker knows of all containers, by name, and remove them."""
    client = docker_daemon.client()
    try:
        found = [client.inspect_container(each["Id"]) for each in client.containers(all=True)]
        for each in found:
            client.remove_container(each["Id"], force=True)
    finally:
        client.close()
    return {each["Name"].lstrip("/"): each for each in found}


class TestStdin:
    async def test_it_is_read_to_its_end(self, docks: House) -> None:
        assert (await ran(docks, args("cat; echo over", stdin="first\nlast\n"))).stdout == "first\nlast\nover\n"

    async def test_more_of_it_than_any_buffer_holds(self, docks: House) -> None:
        """The container writes while it reads: whoever wrote all of the input first would wait for ever."""
        given = "x" * 3_000_000
        assert (await ran(docks, args("cat", stdin=given))).stdout == given

    async def test_a_container_need_not_read_it(self, docks: House) -> None:
        before = descriptors()
        for _ in range(3):
            assert (await ran(docks, args("echo no", stdin="y" * 3_000_000))).stdout == "no\n"
        await eventually(lambda: docker_threads() == 0)
        await eventually(lambda: descriptors() <= before)

    async def test_a_cancelled_job_stops_one_that_does_not_read(self, docks: House, docker_daemon: Docker) -> None:
        await out_of_time(docks, args(WAITS, stdin="z" * 3_000_000))
        assert docker_daemon.containers() == []
        await eventually(lambda: docker_threads() == 0)

    async def test_as_a_stream(self, docks: House) -> None:
        got = await docks.client.items("JobService.EnqueueForStream", worker_name="w", args=args("cat", stdin="in"))
        items = [RESULT.FromString(each.data) for each in got.items if each.HasField("data")]
        assert "".join(each.stdout for each in items) == "in"


class TestLifetimes:
    async def test_one_that_is_kept_has_its_name_and_can_be_looked_at(
        self, docks: House, docker_daemon: Docker
    ) -> None:
        result = await ran(docks, args("echo hi; exit 3", name="mine", cleanup="never"))
        said = await failed(docks, args("echo hi", name="mine"), "OTHER_ERROR", "named 'mine' already")
        assert "HTTP" not in said
        kept = listed(docker_daemon)["mine"]
        assert (kept["Id"], kept["State"]["ExitCode"]) == (result.container_id, 3)

    async def test_eventually_is_after_a_while(self, docks: House, docker_daemon: Docker) -> None:
        await ran(docks, args("true", name="later", cleanup="eventually", cleanup_after_ms=600_000))
        await ran(docks, args("true", name="soon", cleanup="eventually", cleanup_after_ms=1))
        await eventually(lambda: len(docker_daemon.containers()) == 1)
        assert list(listed(docker_daemon)) == ["later"]

    async def test_one_that_is_kept_is_stopped_with_its_job(self, docks: House, docker_daemon: Docker) -> None:
        for limit in longer_and_longer(700):
            await failed(docks, args(WAITS, name="stopped", cleanup="never"), "MAX_RETRY", "timeout", timeout=limit)
            if found := listed(docker_daemon):  # one that never ran is not kept
                assert not found["stopped"]["State"]["Running"]
                break

    async def test_one_that_never_ran_is_not_kept(self, docks: House, docker_daemon: Docker) -> None:
        for _ in range(2):
            await failed(docks, args(cmd=["no-such"], name="broken", cleanup="never"), "OTHER_ERROR", "no-such")
        assert docker_daemon.containers() == []

    async def test_the_next_process_takes_over_where_one_was_killed(
        self, tmp_path: Path, docker_daemon: Docker
    ) -> None:
        orders = {
            "kept": {"cleanup": "never"},
            "due": {"cleanup": "eventually", "cleanup_after_ms": 1},
            "later": {"cleanup": "eventually", "cleanup_after_ms": 600_000},
            "plain": {},
        }
        ended = {"over": {"cleanup": "never"}, "old": {"cleanup": "eventually", "cleanup_after_ms": 2_000}}
        first = DaemonProcess(tmp_path, DOCKER_HOST=docker_daemon.url)
        own = build("jobworkerp.runner.DockerRunnerSettings", from_image=IMAGE).SerializeToString()
        async with connect(first.host, first.port) as client:
            for channel in ("w", "ended"):
                await client.call(
                    "WorkerService.Create", name=channel, runner_id={"value": DOCKER}, runner_settings=own
                )
            for name, fields in ended.items():
                await client.call("JobService.Enqueue", worker_name="ended", args=args("true", name=name, **fields))
                await asyncio.to_thread(_until_exited, docker_daemon, name)
            for name, fields in orders.items():
                await client.call("JobService.Enqueue", worker_name="w", args=args(WAITS, name=name, **fields))
            await running(docker_daemon, len(orders))
        first.signal(signal.SIGKILL)
        first.wait()
        second = DaemonProcess(tmp_path, DOCKER_HOST=docker_daemon.url)
        left = dict.fromkeys(("kept", "later", "over"), "exited")
        await eventually(lambda: {each["Names"][0][1:]: each["State"] for each in docker_daemon.containers()} == left)
        second.stop()
        listed(docker_daemon)

    async def test_the_first_job_takes_over_too(self, tmp_path: Path, docker_daemon: Docker) -> None:
        """A process with no worker of this kind has not asked Docker at its start."""
        client = docker_daemon.client()
        made = client.create_container(IMAGE, ["true"], labels={OWNER_LABEL: _gone()})
        client.close()
        async with open_house(tmp_path) as house:
            assert [each["Id"] for each in docker_daemon.containers()] == [made["Id"]]
            await worker(house, from_image=IMAGE)
            await ran(house, args("true"))
            await eventually(lambda: docker_daemon.containers() == [])

    async def test_bad_wishes(self, docks: House) -> None:
        await failed(docks, args("true", cleanup="sometimes"), "OTHER_ERROR", "always, never, eventually")
        await failed(docks, args("true", cleanup_after_ms=5), "OTHER_ERROR", "cleanup_after_ms", "eventually")
        await failed(docks, args("true", published_ports=["80"]), "OTHER_ERROR", "published_ports", "container_port")


def _until_exited(docker_daemon: Docker, name: str) -> None:
    client = docker_daemon.client()
    try:
        while not client.containers(all=True, filters={"name": name, "status": "exited"}):
            pass
    finally:
        client.close()


def _gone() -> str:
    """Return the mark of a process of this machine that has ended."""
    host, boot, pid, start = this_process().split(" ")
    return f"{host} {boot} {pid} {int(start) + 1}"


async def test_ports_are_published_on_loopback_unless_an_address_is_given(docks: House, docker_daemon: Docker) -> None:
    ports = ["8080:80", "0.0.0.0:53:53/udp", "[::1]:8081:80"]
    await ran(docks, args("true", name="ports", cleanup="never", published_ports=ports))
    made = listed(docker_daemon)["ports"]
    assert made["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "8081"}],
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "53"}],
    }
    assert set(made["Config"]["ExposedPorts"]) == {"80/tcp", "53/udp"}


class TestStreams:
    async def test_output_comes_while_it_runs_then_how_it_ended(self, docks: House, docker_daemon: Docker) -> None:
        async with docks.client.open("JobService.EnqueueForStream") as stream:
            script = "echo first; trap 'echo last; exit 5' TERM; while :; do sleep 0.05; done"
            request = build("jobworkerp.service.JobRequest", worker_name="w", args=args(script))
            await stream.send_message(request.SerializeToString(), end=True)
            first = RESULT.FromString(await item(stream))
            assert first.stdout == "first\n"
            (container,) = docker_daemon.containers()
            client = docker_daemon.client()
            await asyncio.to_thread(client.kill, container["Id"], "TERM")
            client.close()
            assert RESULT.FromString(await item(stream)).stdout == "last\n"
            assert RESULT.FromString(await item(stream)).exit_code == 5
            assert await item(stream) is None

    async def test_a_stored_stream_is_what_a_run_returns(self, tmp_path: Path) -> None:
        async with open_house(tmp_path) as house:
            await worker(house, from_image=IMAGE, fields={"store_success": True})
            got = await house.client.items(
                "JobService.EnqueueForStream", worker_name="w", args=args("echo a; echo b >&2; printf c")
            )
            job = message_class("jobworkerp.data.JobId").FromString(got.headers["x-job-id-bin"])
            (stored,) = await house.results(job.value)  # pyright: ignore[reportAttributeAccessIssue]
            result = RESULT.FromString(stored.data.output.items)
            assert (result.stdout, result.stderr, result.exit_code) == ("a\nc", "b\n", 0)


async def item(stream: Any) -> bytes | None:
    data = await stream.recv_message()
    read: Any = message_class("jobworkerp.data.ResultOutputItem").FromString(data)
    return read.data if read.HasField("data") else None


class TestImages:
    async def test_a_missing_image_is_pulled_once_for_all_who_wait(self, tmp_path: Path, docker_daemon: Docker) -> None:
        name = f"{docker_daemon.registry}/shelf/busybox:1"
        async with open_house(tmp_path) as house:
            await worker(house)
            jobs = [ran(house, args("echo hi", image=name)) for _ in range(3)]
            assert [result.stdout for result in await asyncio.gather(*jobs)] == ["hi\n"] * 3
        docker_daemon.forget_image(name)

    async def test_progress_of_a_pull_is_in_the_stream(self, tmp_path: Path, docker_daemon: Docker) -> None:
        name = f"{docker_daemon.registry}/shelf/busybox:1"
        async with open_house(tmp_path) as house:
            await worker(house)
            got = await house.client.items(
                "JobService.EnqueueForStream", worker_name="w", args=args("echo hi", image=name)
            )
        items = [RESULT.FromString(each.data) for each in got.items if each.HasField("data")]
        assert any("Pull" in each.progress for each in items)
        assert "".join(each.stdout for each in items) == "hi\n"
        docker_daemon.forget_image(name)

    async def test_an_image_that_is_nowhere_is_bad_input(self, docks: House, docker_daemon: Docker) -> None:
        name = f"{docker_daemon.registry}/shelf/nothing:1"
        await failed(docks, args(image=name), "OTHER_ERROR", name)

    async def test_a_registry_that_is_not_there_may_be_there_later(self, docks: House) -> None:
        await failed(docks, args(image="127.0.0.1:1/shelf/busybox:1"), "MAX_RETRY", "127.0.0.1:1")

    async def test_never_pulls_where_the_settings_say_so(self, tmp_path: Path) -> None:
        async with open_house(tmp_path) as house:
            await worker(house, from_image="busybox", tag="none", pull="never")
            await failed(house, args("echo"), "OTHER_ERROR", "busybox:none", "never")

    async def test_always_pulls_where_the_settings_say_so(self, tmp_path: Path, docker_daemon: Docker) -> None:
        name = f"{docker_daemon.registry}/shelf/busybox"
        async with open_house(tmp_path) as house:
            await worker(house, from_image=name, tag="1", pull="always")
            for _ in range(2):
                got = await house.client.items("JobService.EnqueueForStream", worker_name="w", args=args("echo hi"))
                items = [RESULT.FromString(each.data) for each in got.items if each.HasField("data")]
                assert any(each.progress for each in items)
        docker_daemon.forget_image(f"{name}:1")

    async def test_an_image_is_imported_from_a_url(self, tmp_path: Path, docker_daemon: Docker) -> None:
        client = docker_daemon.client()
        made = client.create_container(IMAGE, "true")["Id"]
        exported = b"".join(client.export(made))
        client.remove_container(made)
        client.close()
        async with open_web({"/root.tar": answering(200, exported)}) as web, open_house(tmp_path) as house:
            await worker(house, from_src=f"{web.url}/root.tar", repo="imported", tag="x")
            assert (await ran(house, args("echo hi"))).stdout == "hi\n"
            assert (await ran(house, args("echo ho"))).stdout == "ho\n"
            assert len(web.seen) == 1
        docker_daemon.forget_image("imported:x")


class TestEnds:
    async def test_cancelling_stops_and_removes_the_container(self, docks: House, docker_daemon: Docker) -> None:
        await worker(docks, "n", from_image=IMAGE, fields={"response_type": 0, "broadcast_results": True})
        job = (await docks.enqueue(args(WAITS), worker="n")).id.value
        await running(docker_daemon, 1)
        assert await docks.delete(job)
        result = (await docks.listen(job, "n")).data
        assert result.status == STATUS["CANCELLED"]
        assert "stdout: up" in result.output.items.decode()
        assert docker_daemon.containers() == []

    async def test_a_time_out_does_too(self, docks: House, docker_daemon: Docker) -> None:
        await out_of_time(docks, args(WAITS))
        assert docker_daemon.containers() == []

    @pytest.mark.parametrize("rounds", [5, pytest.param(50, marks=[pytest.mark.long, pytest.mark.timeout(600)])])
    async def test_after_many_cancelled_jobs_nothing_is_left(
        self, docks: House, docker_daemon: Docker, rounds: int
    ) -> None:
        await worker(docks, "n", from_image=IMAGE, fields={"response_type": 0})
        await ran(docks, args("echo warm"))
        before = descriptors()
        for _ in range(rounds):
            jobs = [(await docks.enqueue(args(WAITS), worker="n")).id.value for _ in range(4)]
            await running(docker_daemon, 4)
            for job in jobs:
                await docks.delete(job)
            await running(docker_daemon, 0)
        await eventually(lambda: not len(docks.daemon.engine.live))
        assert docker_daemon.containers() == []
        await eventually(lambda: docker_threads() == 0)
        await eventually(lambda: descriptors() <= before)

    async def test_a_docker_daemon_that_hangs_holds_up_neither_a_cancel_nor_the_end(
        self, tmp_path: Path, docker_daemon: Docker
    ) -> None:
        daemon = DaemonProcess(tmp_path, DOCKER_HOST=docker_daemon.url, SHUTDOWN_GRACE_SEC="0")
        own = build("jobworkerp.runner.DockerRunnerSettings", from_image=IMAGE).SerializeToString()
        async with connect(daemon.host, daemon.port) as client:
            await client.call("WorkerService.Create", name="w", runner_id={"value": DOCKER}, runner_settings=own)
            await client.call("JobService.Enqueue", worker_name="w", args=args(WAITS))
            await running(docker_daemon, 1)
            os.kill(docker_daemon.pid, signal.SIGSTOP)
            try:
                await client.call("JobService.Enqueue", worker_name="w", args=args(WAITS))
                daemon.signal(signal.SIGTERM)
                await asyncio.to_thread(daemon.wait, 2 * PATIENCE_SEC)
            finally:
                os.kill(docker_daemon.pid, signal.SIGCONT)
        again = DaemonProcess(tmp_path, DOCKER_HOST=docker_daemon.url)
        await eventually(lambda: docker_daemon.containers() == [])
        again.stop()

    async def test_a_container_killed_from_outside_is_an_exit_code(self, docks: House, docker_daemon: Docker) -> None:
        job = asyncio.ensure_future(ran(docks, args(WAITS)))
        await running(docker_daemon, 1)
        client = docker_daemon.client()
        await asyncio.to_thread(client.kill, docker_daemon.containers()[0]["Id"])
        client.close()
        assert (await job).exit_code == 137

    async def test_no_daemon_says_where_it_was_looked_for(
        self, docks: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
        await failed(docks, args("echo"), "MAX_RETRY", f"{tmp_path}/none.sock", "DOCKER_HOST")
        monkeypatch.setenv("DOCKER_HOST", "nonsense")
        await failed(docks, args("echo"), "FATAL_ERROR", "DOCKER_HOST='nonsense'")

    async def test_what_a_killed_daemon_left_is_removed_at_its_next_start(
        self, tmp_path: Path, docker_daemon: Docker
    ) -> None:
        first = DaemonProcess(tmp_path, DOCKER_HOST=docker_daemon.url)
        own = build("jobworkerp.runner.DockerRunnerSettings", from_image=IMAGE).SerializeToString()
        async with connect(first.host, first.port) as client:
            await client.call("WorkerService.Create", name="w", runner_id={"value": DOCKER}, runner_settings=own)
            await client.call("JobService.Enqueue", worker_name="w", args=args(WAITS))
            await running(docker_daemon, 1)
        (left,) = docker_daemon.containers()
        assert left["Labels"][JOB_LABEL]
        first.signal(signal.SIGKILL)
        first.wait()
        assert len(docker_daemon.containers()) == 1
        second = DaemonProcess(tmp_path, DOCKER_HOST=docker_daemon.url)
        await running(docker_daemon, 0)
        second.stop()

    def test_a_container_of_a_living_process_is_left_alone(self) -> None:
        mark = this_process()
        assert not is_gone(mark)
        host, boot, pid, start = mark.split(" ")
        assert is_gone(f"{host} {boot} {pid} {int(start) + 1}")
        assert is_gone(f"{host} another-boot {pid} {start}")
        assert not is_gone(f"elsewhere {boot} {pid} {start}")
        assert not is_gone("nonsense")


class TestKept:
    """Workers with ``use_static`` keep a container."""

    @pytest.fixture
    async def keeps(self, tmp_path: Path) -> AsyncIterator[House]:
        async with open_house(tmp_path) as house:
            await worker(
                house,
                fields={"use_static": True, "channel": "narrow"},
                from_image=IMAGE,
                entrypoint=["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.05; done"],
                env=["OF=settings"],
                working_dir="/etc",
            )
            yield house

    async def test_each_job_is_a_command_in_it(self, keeps: House, docker_daemon: Docker) -> None:
        first = await ran(keeps, args("pwd; echo $OF; echo err >&2; echo x > /left; exit 4"))
        assert (first.stdout, first.stderr, first.exit_code) == ("/etc\nsettings\n", "err\n", 4)
        second = await ran(
            keeps, args("cat /left; echo $OF; id -u; pwd", env=["OF=args"], user="user", working_dir="/")
        )
        assert second.stdout == "x\nargs\n1000\n/\n"
        assert first.container_id == second.container_id
        assert len(docker_daemon.containers()) == 1

    async def test_a_cancelled_command_takes_the_container_along(self, keeps: House, docker_daemon: Docker) -> None:
        first = (await ran(keeps, args("echo 1"))).container_id
        await out_of_time(keeps, args(WAITS))
        assert docker_daemon.containers() == []
        assert (await ran(keeps, args("echo 2"))).container_id != first

    async def test_every_second_job_works_too(self, keeps: House) -> None:
        for number in range(4):
            assert (await ran(keeps, args(f"echo {number}"))).stdout == f"{number}\n"

    async def test_a_kept_container_that_died_is_made_anew(self, keeps: House, docker_daemon: Docker) -> None:
        await ran(keeps, args("echo 1"))
        client = docker_daemon.client()
        await asyncio.to_thread(client.kill, docker_daemon.containers()[0]["Id"])
        client.close()
        await outcome(keeps, args("echo 2"))
        assert (await ran(keeps, args("echo 3"))).stdout == "3\n"

    async def test_without_a_command_there_is_nothing_to_run(self, keeps: House) -> None:
        await failed(keeps, args(), "OTHER_ERROR", "cmd")

    async def test_what_goes_with_a_container_of_its_own_is_refused(self, keeps: House) -> None:
        await failed(keeps, args("cat", stdin="in", name="n"), "OTHER_ERROR", "stdin, name", "use_static")


class TestBadInput:
    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"pull": "sometimes"}, "missing, always, never"),
            ({"from_src": "http://127.0.0.1/x.tar"}, "repo"),
        ],
    )
    async def test_settings(self, tmp_path: Path, bad: dict[str, Any], said: str) -> None:
        async with open_house(tmp_path) as house:
            await worker(house, **bad)
            await failed(house, args("echo"), "FATAL_ERROR", said)

    async def test_args(self, docks: House) -> None:
        await failed(docks, b"\xff", "OTHER_ERROR", "DockerArgs")
        await failed(docks, args(cmd=["no-such-program"]), "OTHER_ERROR", "no-such-program")
        await failed(docks, args("echo", user="nobody-here"), "OTHER_ERROR", "nobody-here")
        await failed(docks, args("echo", volumes=["relative:/x:bad"]), "OTHER_ERROR", "Docker daemon refused")

    async def test_no_image_at_all(self, tmp_path: Path) -> None:
        async with open_house(tmp_path) as house:
            await worker(house)
            await failed(house, args("echo"), "OTHER_ERROR", "image")


def test_the_address_follows_dockers_variables(tmp_path: Path) -> None:
    from jobworkerp_standalone.runners.docker.address import docker_address

    assert str(docker_address({})) == "unix:///var/run/docker.sock"
    (tmp_path / "docker.sock").touch()
    assert str(docker_address({"XDG_RUNTIME_DIR": str(tmp_path)})) == f"unix://{tmp_path}/docker.sock"
    assert docker_address({"DOCKER_HOST": "tcp://127.0.0.1:2375"}).certificates is None
    tls = docker_address({"DOCKER_HOST": "tcp://127.0.0.1:2376", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": "/c"})
    assert tls.certificates == Path("/c")
