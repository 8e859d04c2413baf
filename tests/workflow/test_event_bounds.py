"""How many events wait, and how large they may be: what is beyond that is told, never lost in silence."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.const import Status

from jobworkerp_standalone.runners import bus
from tests.support.house import eventually, refused
from tests.support.patience import PATIENCE_SEC
from tests.support.wire_client import connect
from tests.workflow.stage import Stage, open_stage
from tests.workflow.test_between_lives import begun, gone_on, narrow
from tests.workflow.test_events import event, listen, publish
from tests.workflow.test_progress import noted
from tests.workflow.test_schedules import create_on, started
from tests.workflow.test_schedules import publish as publish_on

KIB = "x" * 1024
SMALL = {"WORKFLOW_EVENTS_KEPT_BYTES": "4000"}
"""Room for three events of a KiB."""


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    """Return the lines of the log that have some words."""
    return [each.getMessage() for each in caplog.records if words in each.getMessage()]


@asynccontextmanager
async def listening(folder: Path, document: Any, worker: str = "loose") -> AsyncIterator[tuple[Stage, int]]:
    """Give a daemon with little room, and a job that listens there."""
    async with open_stage(folder, keep=False, **SMALL) as stage:
        job_id = await stage.start(document, {}, worker)
        await eventually(lambda: stage.house.daemon.engine.bus.listeners > 0)
        yield stage, job_id


def afterwards(to: Any) -> Any:
    """Return a document that listens after it has heard of t.go."""
    return {"do": [*listen({"one": {"with": {"type": "t.go"}}})["do"], {"then": listen(to)["do"][0]["hear"]}]}


@pytest.mark.parametrize("worker", ["loose", "kept"])
async def test_a_run_forgets_the_oldest_events_that_nobody_took(
    tmp_path: Path, worker: str, caplog: pytest.LogCaptureFixture
) -> None:
    document = afterwards({"any": [{"with": {"type": "t.a"}}], "until": "length == 3"})
    async with listening(tmp_path, document, worker) as (stage, job_id):
        await publish(stage, *(event("t.a", f"{number}{KIB}") for number in range(5)), event("t.go"))
        assert [each[0] for each in (await stage.result(job_id, worker)).output] == ["2", "3", "4"]
    first, last = said(caplog, "forg")
    assert "4,000 bytes waited (WORKFLOW_EVENTS_KEPT_BYTES)" in first
    assert "2 events in all" in last


async def test_an_event_that_a_listener_has_before_it_is_not_among_those_forgotten(tmp_path: Path) -> None:
    """Else a durable run that dies before its listener looks would miss it."""
    slow = {"do": [{"w": {"listen": {"to": {"one": {"with": {"type": "t.go"}}}}}}]}
    branches = [
        listen({"any": [{"with": {"type": "t.a"}}], "until": "length == 2"}, foreach=slow)["do"][0],
        {"b": {"listen": {"to": {"one": {"with": {"type": "t.never"}}}}}},
    ]
    document = {"do": [{"f": {"fork": {"branches": branches, "compete": True}}}, afterwards({"any": []})["do"][1]]}
    async with listening(tmp_path, document, "kept") as (stage, _):
        await publish(stage, event("t.a", 1), event("t.a", 2))
        await publish(stage, *(event("t.b", KIB) for _ in range(5)))
    async with open_stage(tmp_path, keep=True) as stage:
        await eventually(lambda: stage.house.daemon.engine.bus.listeners > 0)
        job_id = (await stage.house.client.items("JobService.FindList")).items[0].id.value
        await publish(stage, event("t.go"), event("t.go"), event("t.b", "end"))
        with anyio.fail_after(PATIENCE_SEC):
            assert (await stage.result(job_id, "kept")).status == "Completed"


async def test_a_single_event_may_be_larger(tmp_path: Path) -> None:
    async with listening(tmp_path, listen({"one": {"with": {"type": "t.a"}}})) as (stage, job_id):
        await publish(stage, event("t.a", KIB * 8))
        assert (await stage.result(job_id)).output == [KIB * 8]


async def test_a_listener_that_falls_behind_by_more_fails(tmp_path: Path) -> None:
    slow = {"do": [{"w": {"listen": {"to": {"one": {"with": {"type": "t.go"}}}}}}]}
    async with listening(tmp_path, listen({"any": [{"with": {"type": "t.a"}}], "until": False}, foreach=slow)) as (
        stage,
        job_id,
    ):
        await publish(stage, *(event("t.a", KIB) for _ in range(6)))
        for _ in range(4):
            await publish(stage, event("t.go"))
        with anyio.fail_after(PATIENCE_SEC):
            end = await stage.result(job_id)
        assert end.error["title"] == "The listener is too slow"
        assert "4,000 bytes waited (WORKFLOW_EVENTS_KEPT_BYTES)" in end.error["detail"]


@pytest.mark.parametrize("foreach", [None, {"do": [{"k": {"set": {"v": "${ $item }"}}}]}])
async def test_a_listener_that_gathers_more_fails(tmp_path: Path, foreach: Any) -> None:
    members = {} if foreach is None else {"foreach": foreach}
    async with listening(tmp_path, listen({"any": [{"with": {"type": "t.a"}}], "until": "length == 9"}, **members)) as (
        stage,
        job_id,
    ):
        for _ in range(4):
            await publish(stage, event("t.a", KIB))
        with anyio.fail_after(PATIENCE_SEC):
            end = await stage.result(job_id)
        assert (end.error["title"], end.error["instance"]) == ("The listener gathers too much", "/do/0/hear")
        assert "4,000 bytes (WORKFLOW_EVENTS_KEPT_BYTES)" in end.error["detail"]


async def test_what_is_kept_for_a_run_that_has_not_gone_on_has_the_same_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long, job_id = await begun(tmp_path, listen({"any": [{"with": {"type": "t.a"}}], "until": "length == 3"}))
    async with narrow(tmp_path, **SMALL) as stage:
        await publish(stage, *(event("t.a", f"{number}{KIB}") for number in range(5)))
        assert noted(tmp_path, "heard/%") == 3
        assert [each[0] for each in (await gone_on(stage, long, job_id)).output] == ["2", "3", "4"]
    assert ["WORKFLOW_EVENTS_KEPT_BYTES" in each for each in said(caplog, f"job {job_id} ")] == [True]


async def test_gathered_events_that_start_a_worker_have_the_same_bound(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    same = {"order": {"from": ".data[0:1]"}}
    filters = [{"with": {"type": each}, "correlate": same} for each in ("on.a", "on.b")]
    async with open_stage(tmp_path, keep=False, **SMALL) as stage:
        await create_on(stage, "on_all", {"all": filters})
        for number in range(4):
            await publish_on(stage, (str(number), "on.a", f"{number}{KIB}"))
        await publish_on(stage, ("x", "on.b", "0"), ("y", "on.b", "1"))
        assert await started(stage, "on_all", 1) == [[("1", f"1{KIB}"), ("y", "1")]]
    (line,) = said(caplog, "are forgotten")
    assert line.startswith("1 events that wait for others to start worker 'on_all' with are forgotten ('0' of 'urn:t')")
    assert line.endswith("4,000 bytes waited (WORKFLOW_EVENTS_KEPT_BYTES)")


async def test_the_log_is_not_filled_by_events_that_find_no_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filters = [{"with": {"type": each}, "correlate": {"order": {"from": ".data"}}} for each in ("on.a", "on.b")]
    async with open_stage(tmp_path, keep=False, WORKFLOW_EVENTS_KEPT="3") as stage:
        await create_on(stage, "on_all", {"all": filters})
        for number in range(11):
            await publish_on(stage, (str(number), "on.a", number))
        await publish_on(stage, ("x", "on.b", 10))
        assert await started(stage, "on_all", 1) == [[("10", 10), ("x", 10)]]
    lines = said(caplog, "are forgotten")
    assert [line.partition("the ")[2].partition(" time")[0] for line in lines] == ["1.", "2.", "4.", "8."]


async def test_an_event_is_written_once_for_all_its_subscribers(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    large, write, characters = event("t.large", ["x" * 1000] * 400), bus.compact, 0

    def noted(value: Any) -> str:
        nonlocal characters
        text = write(value)
        characters += len(text)
        return text

    monkeypatch.setattr(bus, "compact", noted)
    client, method, heard = stage.house.client, "EventService.Subscribe", list[Any]()

    async def subscribe() -> None:
        async with client.open(method) as stream:
            await stream.send_message(client.request(method, None, {"types": ["t.large"]}), end=True)
            heard.append(json.loads(client.reply(method, await stream.recv_message()).event))
            await stream.cancel()

    async with anyio.create_task_group() as tasks:
        for _ in range(30):
            tasks.start_soon(subscribe)
        await eventually(lambda: stage.house.daemon.engine.bus.listeners == 30)
        await publish(stage, large)
    assert heard == [large] * 30
    assert characters <= 2 * len(json.dumps(large))


async def test_a_subscriber_that_reads_too_slowly_is_told(stage: Stage) -> None:
    """Its connection takes some before the server has to keep any, and that keeps 64 MiB."""
    method, large = "EventService.Subscribe", event("t.large", "x" * 4_000_000)
    async with connect("127.0.0.1", stage.house.port) as client, client.open(method) as stream:
        await stream.send_message(client.request(method, None, {"types": ["t.large"]}), end=True)
        await eventually(lambda: stage.house.daemon.engine.bus.listeners > 0)
        for _ in range(24):
            await publish(stage, large)
        heard = 0
        async with refused(Status.RESOURCE_EXHAUSTED, "events of more than 67,108,864 bytes waited", "read faster"):
            while (reply := await stream.recv_message()) is not None:
                assert json.loads(client.reply(method, reply).event) == large
                heard += 1
            await stream.recv_trailing_metadata()
    assert 16 <= heard < 24
