"""Streaming jobs: items as they come, the end that the job had, and those who listen late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from jobworkerp_standalone.schema.messages import message_class
from tests.support.house import STATUS, House, open_house, refused
from tests.support.patience import longer_and_longer
from tests.support.wire_client import build

ITEM: Any = message_class("jobworkerp.data.ResultOutputItem")
JOB_ID: Any = message_class("jobworkerp.data.JobId")
RESULT: Any = message_class("jobworkerp.data.JobResult")
BOTH_STORED: dict[str, Any] = {"broadcast_results": True, "store_success": True, "store_failure": True}


@asynccontextmanager
async def streaming(house: House, args: bytes, **fields: Any) -> AsyncIterator[Any]:
    """Open EnqueueForStream and hand out the call after its headers came."""
    async with house.client.open("JobService.EnqueueForStream") as stream:
        request = build("jobworkerp.service.JobRequest", worker_name="w", args=args, **fields)
        await stream.send_message(request.SerializeToString(), end=True)
        await stream.recv_initial_metadata()
        yield stream


def job_id(stream: Any) -> int:
    return JOB_ID.FromString(stream.initial_metadata["x-job-id-bin"]).value


async def next_item(stream: Any) -> Any:
    data = await stream.recv_message()
    if data is None:
        await stream.recv_trailing_metadata()
        return None
    return ITEM.FromString(data)


def data_of(items: list[Any]) -> list[bytes]:
    return [each.data for each in items if each.HasField("data")]


async def test_items_come_as_they_are_made_then_the_end_with_the_runners_metadata(house: House) -> None:
    await house.worker(response_type=1)
    async with streaming(house, b"one wait two") as stream:
        assert (await next_item(stream)).data == b"one"
        house.strings.release.set()
        assert (await next_item(stream)).data == b"two"
        assert dict((await next_item(stream)).end.metadata) == {"puppet": "bowed"}
        assert await next_item(stream) is None


async def test_the_header_with_the_job_id_comes_before_the_job_ran(house: House) -> None:
    await house.worker(response_type=1, channel="narrow")
    async with streaming(house, b"wait") as first, streaming(house, b"x") as second:
        assert 0 < job_id(first) < job_id(second)
        assert await house.status(job_id(second)) == 1
        house.strings.release.set()


async def test_no_result_answers_with_a_header_and_an_empty_stream(house: House) -> None:
    await house.worker(**BOTH_STORED)
    answer = await house.client.items("JobService.EnqueueForStream", worker_name="w", args=b"one two")
    assert answer.items == []
    started = JOB_ID.FromString(answer.headers["x-job-id-bin"]).value
    listened = await listen_stream(house, started)
    assert data_of(listened.items) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("word", "code", "status"),
    [
        (b"fatal", Status.FAILED_PRECONDITION, "FATAL_ERROR"),
        (b"abort", Status.ABORTED, "ABORT"),
        (b"retryable", Status.ABORTED, "MAX_RETRY"),
        (b"bad", Status.INTERNAL, "OTHER_ERROR"),
    ],
)
async def test_a_stream_that_breaks_ends_with_the_jobs_status(
    house: House, word: bytes, code: Status, status: str
) -> None:
    await house.worker(response_type=1, **BOTH_STORED)
    async with streaming(house, b"one " + word) as stream:
        assert (await next_item(stream)).data == b"one"
        with pytest.raises(GRPCError) as caught:
            await next_item(stream)
        started = job_id(stream)
        trailer = RESULT.FromString(stream.trailing_metadata["x-job-result-bin"])
        assert JOB_ID.FromString(stream.trailing_metadata["x-job-id-bin"]).value == started
    assert caught.value.status is code
    assert f"job_id={started}" in (caught.value.message or "")
    assert (trailer.id.value, trailer.data.status) == (0, STATUS[status])
    assert trailer.data.output.items == b"the stream broke"
    stored = await house.results(started)
    assert [each.data.status for each in stored] == [STATUS[status]]


async def test_a_failure_before_the_first_item_is_retried_and_one_after_it_is_not(house: House) -> None:
    policy = {"type": 3, "interval": 1, "max_retry": 2, "basis": 2}
    await house.worker(response_type=1, retry_policy=policy)
    async with streaming(house, b"retryable") as stream:
        with pytest.raises(GRPCError):
            await next_item(stream)
    assert len(house.strings.ran) == 3
    async with streaming(house, b"one retryable") as stream:
        await next_item(stream)
        with pytest.raises(GRPCError):
            await next_item(stream)
    assert len(house.strings.ran) == 4


async def test_a_timeout_bounds_the_first_item_and_the_gaps_between_items(house: House) -> None:
    await house.worker(response_type=1)
    for args in (b"wait", b"one wait"):
        wanted = args.split()[:-1]
        for limit in longer_and_longer(40):
            items: list[bytes] = []
            async with streaming(house, args, timeout=limit) as stream, refused(Status.ABORTED, f"{limit} ms"):
                while (item := await next_item(stream)) is not None:
                    items.append(item.data)
            if items == wanted:
                break


async def test_methods_that_cannot_stream_are_refused(house: House) -> None:
    await house.worker()
    async with refused(Status.INVALID_ARGUMENT, "plain", "streaming", "Enqueue"):
        await house.client.items("JobService.EnqueueForStream", worker_name="w", using="plain")


async def test_a_slow_reader_slows_the_job_and_loses_nothing(house: House) -> None:
    await house.worker(response_type=1)
    words = b" ".join(b"%05d" % n for n in range(5000))
    async with streaming(house, words) as stream:
        items = []
        while (item := await next_item(stream)) is not None:
            items.append(item)
            if len(items) == 1:
                await house.client.call("WorkerService.Count")
    assert data_of(items) == words.split()


async def listen_stream(house: House, started: int, **fields: Any) -> Any:
    request = build(
        "jobworkerp.service.ListenRequest",
        **{"job_id": {"value": started}, "worker_name": "w", "timeout": 20_000, **fields},
    )
    return await house.client.items("JobResultService.ListenStream", request)


async def test_a_listener_gets_header_items_end_and_the_final_result(house: House) -> None:
    worker_id = await house.worker(**BOTH_STORED)
    answer = await house.client.items("JobService.EnqueueForStream", worker_name="w", args=b"one wait two")
    started = JOB_ID.FromString(answer.headers["x-job-id-bin"]).value
    async with asyncio.TaskGroup() as tasks:
        listeners = [tasks.create_task(listen_stream(house, started)) for _ in range(3)]
        await house.strings.until(lambda: len(house.strings.ran) == 1)
        house.strings.release.set()
    for listener in listeners:
        heard = listener.result()
        assert data_of(heard.items) == [b"one", b"two"]
        assert dict(heard.items[-1].end.metadata) == {"puppet": "bowed"}
        header = RESULT.FromString(heard.headers["x-job-result-bin"])
        assert (header.data.job_id.value, header.data.worker_id.value) == (started, worker_id)
        assert (header.data.args, header.data.output.items, header.data.end_time) == (b"", b"", 0)
        final = RESULT.FromString(heard.trailers["x-job-result-bin"])
        assert final.id == header.id
        assert final.data.end_time >= final.data.start_time > 0


async def test_a_late_listener_gets_the_kept_stream_from_its_beginning(house: House) -> None:
    await house.worker(response_type=1, **BOTH_STORED)
    async with streaming(house, b"one two") as stream:
        started = job_id(stream)
        while await next_item(stream) is not None:
            pass
    heard = await listen_stream(house, started)
    assert data_of(heard.items) == [b"one", b"two"]
    assert heard.items[-1].HasField("end")


async def test_listening_for_a_stream_that_never_comes_times_out(house: House) -> None:
    await house.worker(**BOTH_STORED)
    async with refused(Status.DEADLINE_EXCEEDED, "50 ms"):
        await listen_stream(house, 12_345, timeout=50)


async def test_the_folded_output_of_a_stream_is_stored_up_to_its_limit(tmp_path: Any) -> None:
    async with open_house(tmp_path, STREAM_STORE_MAX_BYTES="6") as house:
        await house.worker(response_type=1, **BOTH_STORED)
        outputs = []
        for args in (b"one two", b"one two three"):
            async with streaming(house, args) as stream:
                started = job_id(stream)
                while await next_item(stream) is not None:
                    pass
            (stored,) = await house.results(started)
            outputs.append((stored.data.output.items, dict(stored.metadata)))
    assert outputs == [(b"two", {}), (b"two", {"jobworkerp-stream-cut": "true"})]


@asynccontextmanager
async def feeding(house: House, *messages: dict[str, Any]) -> AsyncIterator[Any]:
    async with house.client.open("JobService.EnqueueWithClientStream") as stream:
        for message in messages:
            request = build("jobworkerp.service.ClientStreamRequest", **message)
            await stream.send_message(request.SerializeToString())
        yield stream


FIRST: dict[str, Any] = {"job_request": {"worker_name": "w", "using": "fed"}}


def feed(data: bytes, *, final: bool = False) -> dict[str, Any]:
    return {"feed_data": {"data": data, "is_final": final}}


async def test_what_a_client_streams_reaches_the_runner_in_order(house: House) -> None:
    await house.worker(response_type=1)
    async with feeding(house, FIRST, feed(b"1"), feed(b""), feed(b"2"), feed(b"3", final=True)) as stream:
        await stream.end()
        items = []
        while (item := await next_item(stream)) is not None:
            items.append(item)
    assert data_of(items) == [b"fed:1", b"fed:2", b"fed:3"]


async def test_half_closing_ends_the_input_without_cancelling(house: House) -> None:
    await house.worker(response_type=1)
    async with feeding(house, FIRST, feed(b"1")) as stream:
        await stream.end()
        items = []
        while (item := await next_item(stream)) is not None:
            items.append(item)
    assert data_of(items) == [b"fed:1"]
    assert items[-1].HasField("end")


async def test_client_streams_need_a_job_first_and_a_method_that_wants_them(house: House) -> None:
    await house.worker(response_type=1)
    for first, words in (
        (feed(b"1"), ["job_request"]),
        ({"job_request": {"worker_name": "w", "using": "flow"}}, ["flow", "EnqueueForStream"]),
    ):
        async with feeding(house, first) as stream:
            await stream.end()
            async with refused(Status.INVALID_ARGUMENT, *words):
                await next_item(stream)
    async with refused(Status.INVALID_ARGUMENT, "fed", "EnqueueWithClientStream"):
        await house.client.items("JobService.EnqueueForStream", worker_name="w", using="fed")
