"""`run.container` with a real Docker daemon."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.support.docker_peer import IMAGE, Docker
from tests.support.house import eventually
from tests.support.patience import PATIENCE_SEC, longer_and_longer
from tests.workflow.stage import Ended, Stage

pytestmark = pytest.mark.usefixtures("docker_reached")
WAITS = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


def document(run: Mapping[str, Any] | None = None, **container: Any) -> dict[str, Any]:
    return {"do": [{"a": {"run": {**(run or {}), "container": {"image": IMAGE, **container}}}}]}


async def ran(stage: Stage, given: Any = None, *, run: Mapping[str, Any] | None = None, **container: Any) -> Any:
    end = await stage.run(document(run, **container), given)
    assert end.status == "Completed", end
    return end.output


def only(docker_daemon: Docker) -> Any:
    """Return what Docker knows of the one container there is, and remove it."""
    client = docker_daemon.client()
    try:
        (found,) = client.containers(all=True)
        inspected = client.inspect_container(found["Id"])
        client.remove_container(found["Id"], force=True)
    finally:
        client.close()
    return inspected


async def test_a_text_is_a_script_and_arguments_are_its_own(stage: Stage) -> None:
    """The example of the DSL: what comes in, what it was called with."""
    command = 'input=$(cat)\necho "STDIN was: $input"\necho "ARGS are $1 $2"\n'
    output = await ran(stage, {"m": "hello"}, stdin="${ .m }", command=command, arguments=["Foo", "${ .m }"])
    assert output == "STDIN was: hello\nARGS are Foo hello\n"


async def test_words_need_no_shell(stage: Stage) -> None:
    assert await ran(stage, command=["echo", "$HOME"], arguments=["more"]) == "$HOME more\n"
    assert await ran(stage, arguments=["echo", "hi"]) == "hi\n"
    assert await ran(stage, {"c": ["echo", 1]}, command="${ .c }") == "1\n"


async def test_beside_an_entry_point_a_text_is_one_word(stage: Stage) -> None:
    assert await ran(stage, entrypoint=["echo", "a"], command="b c", arguments=["d"]) == "a b c d\n"
    assert await ran(stage, entrypoint=["sh", "-c"], command="echo $((1+1))") == "2\n"


async def test_environment_volumes_user_and_directory(stage: Stage, tmp_path: Path) -> None:
    await asyncio.to_thread(tmp_path.chmod, 0o755)
    (tmp_path / "seen").write_text("mounted")
    output = await ran(
        stage,
        {"who": "me", "from": str(tmp_path)},
        command="pwd; id -u; echo $WHO $N; cat /in/seen",
        environment={"WHO": "${ .who }", "N": 1},
        volumes={str(tmp_path): "/in:ro"},
        user="user",
        workingDir="/etc",
    )
    assert output == "/etc\n1000\nme 1\nmounted"


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        ("stdout", "o\n"),
        ("stderr", "e\n"),
        ("code", 3),
        ("all", {"code": 3, "stdout": "o\n", "stderr": "e\n"}),
        ("none", {"k": 1}),
    ],
)
async def test_what_is_returned(stage: Stage, returned: str, expected: Any) -> None:
    assert await ran(stage, {"k": 1}, run={"return": returned}, command="echo o; echo e >&2; exit 3") == expected


async def test_a_bad_exit_is_a_fault_where_that_is_asked_for(stage: Stage) -> None:
    strict: dict[str, Any] = {"command": "echo why >&2; exit 3", "treatNonzeroAsError": True}
    end = await stage.run(document(**strict))
    assert (end.error["status"], end.error["instance"]) == (503, "/do/0/a/run/container")
    assert "exit code 3" in end.error["detail"]
    assert "why" in end.error["detail"]
    assert await ran(stage, run={"return": "code"}, **strict, successExitCodes=[3]) == 3


async def test_its_name_may_be_given_and_is_its_own(stage: Stage, docker_daemon: Docker) -> None:
    wish: dict[str, Any] = {"name": "${ .n }", "lifetime": {"cleanup": "never"}, "command": "true"}
    await ran(stage, {"n": "build-7"}, **wish)
    end = await stage.run(document(**wish), {"n": "build-7"})
    assert "named 'build-7' already" in end.error["detail"]
    kept = only(docker_daemon)
    assert (kept["Name"], kept["State"]["Status"]) == ("/build-7", "exited")


async def test_without_a_name_it_has_the_usual_one(stage: Stage, docker_daemon: Docker) -> None:
    text = document(lifetime={"cleanup": "never"}, command="true")
    text["do"][0] = {"build it": text["do"][0]["a"]}
    assert (await stage.run(text)).status == "Completed"
    assert re.fullmatch(r"/flow-[0-9a-f-]{36}\.t-build_it", only(docker_daemon)["Name"])


async def test_ports_are_published(stage: Stage, docker_daemon: Docker) -> None:
    await ran(stage, command="true", ports={"8080": 80, "0.0.0.0:8053": "53/udp"}, lifetime={"cleanup": "never"})
    assert only(docker_daemon)["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "0.0.0.0", "HostPort": "8053"}],
    }


async def test_eventually_it_is_removed(stage: Stage, docker_daemon: Docker) -> None:
    lifetime: dict[str, Any] = {"cleanup": "eventually", "after": {"milliseconds": 1}}
    await ran(stage, command="true", lifetime=lifetime)
    await eventually(lambda: docker_daemon.containers() == [])
    await ran(stage, command="true", lifetime={**lifetime, "after": "PT1H"})
    assert only(docker_daemon)["Config"]["Labels"]["jobworkerp.lifetime"] == "eventually 3600000"


async def test_pull_policies(stage: Stage, docker_daemon: Docker) -> None:
    name = f"{docker_daemon.registry}/shelf/busybox:1"
    end = await stage.run(document(image=name, command="true", pullPolicy="never"))
    assert "pull is never" in end.error["detail"]
    assert await ran(stage, image=name, command="echo hi", pullPolicy="always") == "hi\n"
    assert await ran(stage, image=name, command="echo hi") == "hi\n"
    docker_daemon.forget_image(name)


async def test_nobody_need_wait_for_it(stage: Stage, docker_daemon: Docker) -> None:
    assert await ran(stage, {"k": 1}, run={"await": False}, command=WAITS) == {"k": 1}
    (loose,) = stage.house.daemon.engine.live.all()
    await eventually(lambda: any(each["State"] == "running" for each in docker_daemon.containers()))
    assert await stage.house.delete(loose.job.id)
    await eventually(lambda: docker_daemon.containers() == [])


async def test_a_cancelled_run_stops_it(stage: Stage, docker_daemon: Docker) -> None:
    job_id = await stage.start(document(command=WAITS))
    await eventually(lambda: any(each["State"] == "running" for each in docker_daemon.containers()))
    with anyio.fail_after(PATIENCE_SEC):
        assert await stage.house.delete(job_id)
        end: Ended = await stage.result(job_id)
    assert end.job_status == "CANCELLED"


async def test_a_time_out_stops_it_and_keeps_what_is_to_be_kept(stage: Stage, docker_daemon: Docker) -> None:
    text = document(command=WAITS, lifetime={"cleanup": "never"})
    for limit in longer_and_longer(700):
        text["do"][0]["a"]["timeout"] = {"after": {"milliseconds": limit}}
        assert (await stage.run(text)).error["status"] == 408
        if docker_daemon.containers():  # one that never ran is not kept
            assert only(docker_daemon)["State"]["Status"] == "exited"
            break
