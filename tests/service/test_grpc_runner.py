"""GRPC and GRPC_UNARY against a server of another make, and against this one's reflection."""

from __future__ import annotations

import asyncio
import json
import sys
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest
from grpclib.reflection.v1alpha import reflection_pb2 as v1alpha

from jobworkerp_standalone.runners.grpc import connections
from jobworkerp_standalone.runners.grpc.connections import Connection, Connections
from jobworkerp_standalone.schema.messages import descriptor_pool, message_class
from tests.support.certificates import Authority
from tests.support.grpc_peer import COUNT, PROTO, SAY, Answer, Ask, Peer, credentials, open_peer
from tests.support.house import STATUS, House, eventually, open_house
from tests.support.patience import longer_and_longer
from tests.support.processes import descriptors
from tests.support.web import open_web, text
from tests.support.wire_client import build

GRPC, GRPC_UNARY = 32_770, 3
UNARY_RESULT: Any = message_class("jobworkerp.runner.grpc.GrpcUnaryResult")
STREAMING_RESULT: Any = message_class("jobworkerp.runner.grpc.GrpcStreamingResult")
OLD_RESULT: Any = message_class("jobworkerp.runner.GrpcUnaryResult")
ITEM: Any = message_class("jobworkerp.data.ResultOutputItem")


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    async with open_peer() as opened:
        yield opened


def settings(peer: Peer, **fields: Any) -> bytes:
    return build(
        "jobworkerp.runner.grpc.GrpcRunnerSettings", **{"host": "127.0.0.1", "port": peer.port, **fields}
    ).SerializeToString()


def args(method: str = SAY, request: Any = None, **fields: Any) -> bytes:
    if request is not None:
        fields["body"] = request.SerializeToString()
    return build("jobworkerp.runner.grpc.GrpcArgs", method=method, **fields).SerializeToString()


async def worker(house: House, settings: bytes, name: str = "w", runner: int = GRPC, **fields: Any) -> None:
    await house.worker(name, runner, **{"runner_settings": settings, "response_type": 1, **fields})


async def answer(house: House, args: bytes, **fields: Any) -> Any:
    """Run a job and return its result data."""
    return (await house.enqueue(args, **fields)).result.data


async def unary(house: House, args: bytes, **fields: Any) -> Any:
    """Run a job that must succeed and return the decoded result."""
    data = await answer(house, args, **fields)
    assert data.status == STATUS["SUCCESS"], data.output.items
    return UNARY_RESULT.FromString(data.output.items)


async def failure(house: House, args: bytes, status: str, *words: str, **fields: Any) -> None:
    data = await answer(house, args, **fields)
    said = data.output.items.decode()
    assert data.status == STATUS[status], said
    for word in words:
        assert word in said, said


class TestUnary:
    async def test_bytes_go_out_and_come_back_with_headers_and_trailers(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer))
        result = await unary(house, args(request=Ask(text="hi", number=2**60)))
        assert result.code == 0
        assert Answer.FromString(result.body) == Answer(text="hi", number=2**60)
        assert dict(result.metadata) == {"head": "first", "tail": "last", "raw-bin": b64encode(b"\x00\xff").decode()}

    async def test_an_absent_request_is_an_empty_message(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer))
        assert (await unary(house, args("/" + SAY))).body == b""

    async def test_an_error_of_the_server_is_a_success_with_its_code(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer))
        result = await unary(house, args(request=Ask(text="fail")))
        assert (result.code, result.message) == (5, "no such thing: 100 % gone")
        assert result.body == b"\x08\x05"
        assert result.metadata["tail"] == "last"

    @pytest.mark.parametrize(("said", "status"), [("unavailable", "MAX_RETRY"), ("fail", "FATAL_ERROR")])
    async def test_an_error_is_a_failure_where_the_job_says_so(
        self, house: House, peer: Peer, said: str, status: str
    ) -> None:
        await worker(house, settings(peer))
        await failure(
            house, args(request=Ask(text=said), treat_error_status_as_error=True), status, "the server answered"
        )

    async def test_unavailable_is_tried_again_as_the_policy_says(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer), retry_policy={"type": 3, "interval": 1, "max_retry": 2})
        await failure(house, args(request=Ask(text="unavailable"), treat_error_status_as_error=True), "MAX_RETRY")
        assert len(peer.heard) == 3

    async def test_settings_count_before_args(self, house: House, peer: Peer) -> None:
        own = {"method": SAY, "metadata": {"who": "settings", "key-bin": "AAE"}, "auth_token": "secret"}
        await worker(house, settings(peer, **own))
        await unary(house, args("nowhere.At/All", metadata={"who": "args", "also": "this", "Authorization": "no"}))
        (heard,) = peer.heard
        assert heard["who"] == "settings"
        assert heard["also"] == "this"
        assert heard["key-bin"] == b"\x00\x01"
        assert heard["authorization"] == "Bearer secret"

    async def test_jobs_of_all_workers_with_one_target_share_a_connection(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer))
        await worker(house, settings(peer, metadata={"a": "b"}), name="other", use_static=True)
        for name in ("w", "other", "w", "other"):
            await unary(house, args(request=Ask(text="hi")), worker=name)
        assert len(peer.connections) == 1

    async def test_a_static_worker_serves_one_job_after_the_other_also_after_a_cancel(
        self, house: House, peer: Peer
    ) -> None:
        await worker(house, settings(peer), use_static=True, channel="narrow")
        for number in range(3):
            assert Answer.FromString((await unary(house, args(request=Ask(number=number)))).body).number == number
            for limit in longer_and_longer(50):
                await failure(house, args(request=Ask(text="hang")), "MAX_RETRY", "timeout", timeout=limit)
                if peer.hung > number:
                    break
        assert len(peer.connections) == 1

    async def test_a_connection_that_broke_is_made_anew(self, house: House) -> None:
        async with open_peer() as first:
            await worker(house, settings(first))
            await unary(house, args(request=Ask(text="hi")))
            port = first.port
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        await failure(house, args(), "MAX_RETRY", f"127.0.0.1:{port}")
        await server.stop(0)


class TestJson:
    async def test_json_goes_out_and_comes_back_by_a_proto_text(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer, proto={"source": PROTO}, as_json=True))
        body = json.dumps({"text": "hi", "number": str(2**60), "colour": "darkBlue"})
        result = await unary(house, args(json_body=body))
        assert json.loads(result.json_body) == {"text": "hi", "number": str(2**60), "colour": "DARK_BLUE"}

    @pytest.mark.parametrize(
        ("body", "said"),
        [('{"texts": 1}', "texts"), ("{", "not JSON"), ('{"number": "x"}', "number"), ("[]", "object")],
    )
    async def test_json_that_does_not_fit_is_bad_input(self, house: House, peer: Peer, body: str, said: str) -> None:
        await worker(house, settings(peer, proto={"source": PROTO}))
        await failure(house, args(json_body=body), "OTHER_ERROR", "json_body", said)
        assert peer.heard == []

    async def test_json_without_a_description_says_what_is_missing(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer))
        await failure(house, args(json_body="{}"), "OTHER_ERROR", "use_reflection")
        assert (await unary(house, args(request=Ask(text="hi"), as_json=True))).body

    async def test_a_server_describes_itself_by_reflection(self, house: House, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        async with open_house(tmp_path / "other") as other:
            own = {"host": "127.0.0.1", "port": other.port, "use_reflection": True, "as_json": True}
            await worker(house, build("jobworkerp.runner.grpc.GrpcRunnerSettings", **own).SerializeToString())
            by_name = args("jobworkerp.service.RunnerService/FindByName", json_body='{"name": "COMMAND"}')
            for _ in range(2):
                result = await unary(house, by_name)
                assert json.loads(result.json_body)["data"]["id"] == {"value": "1"}
            unknown = args("jobworkerp.service.RunnerService/Nothing", json_body="{}")
            await failure(house, unknown, "OTHER_ERROR", "no method 'Nothing'", "FindByName")
            await failure(house, args("a.B/C", json_body="{}"), "OTHER_ERROR", "a.B")

    async def test_reflection_of_the_older_version_will_do(self, house: House) -> None:
        async with reflecting_server() as port:
            own = {"host": "127.0.0.1", "port": port, "use_reflection": True, "as_json": True}
            await worker(house, build("jobworkerp.runner.grpc.GrpcRunnerSettings", **own).SerializeToString())
            result = await unary(house, args("jobworkerp.service.RunnerService/Find", json_body='{"value": 7}'))
            assert result.code == 12

    async def test_a_server_without_reflection_is_named(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer, use_reflection=True))
        await failure(house, args(json_body="{}"), "OTHER_ERROR", "no server reflection", "proto")


@asynccontextmanager
async def reflecting_server() -> AsyncIterator[int]:
    """Serve reflection v1alpha and nothing else."""

    async def info(requests: Any, _context: Any) -> AsyncIterator[Any]:
        async for request in requests:
            wanted = request.file_containing_symbol
            pool = descriptor_pool()
            file = pool.FindFileContainingSymbol(wanted) if wanted else pool.FindFileByName(request.file_by_filename)
            response = v1alpha.ServerReflectionResponse()
            response.file_descriptor_response.file_descriptor_proto.append(file.serialized_pb)
            yield response

    handler = grpc.stream_stream_rpc_method_handler(
        info, v1alpha.ServerReflectionRequest.FromString, v1alpha.ServerReflectionResponse.SerializeToString
    )
    server = grpc.aio.server()
    name = "grpc.reflection.v1alpha.ServerReflection"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


class TestProtoSources:
    async def test_a_file_in_an_allowed_directory(self, tmp_path: Path, peer: Peer) -> None:
        (tmp_path / "protos").mkdir()
        (tmp_path / "protos" / "peer.proto").write_text(PROTO)
        (tmp_path / "outside.proto").write_text(PROTO)
        (tmp_path / "protos" / "link.proto").symlink_to(tmp_path / "outside.proto")
        async with open_house(tmp_path, GRPC_PROTO_ALLOWED_DIR=f"/nowhere:{tmp_path}/protos") as house:
            await worker(house, settings(peer, as_json=True))
            inside = {"source": f"file://{tmp_path}/protos/peer.proto"}
            assert (await unary(house, args(json_body="{}", proto=inside))).json_body
            for name in ("outside.proto", "protos/link.proto", "protos/../outside.proto"):
                await failure(
                    house,
                    args(json_body="{}", proto={"source": f"file://{tmp_path}/{name}"}),
                    "OTHER_ERROR",
                    "lies in no",
                )

    async def test_no_file_without_an_allowed_directory(self, house: House, tmp_path: Path, peer: Peer) -> None:
        await worker(house, settings(peer))
        source = {"source": f"file://{tmp_path}/peer.proto"}
        await failure(house, args(json_body="{}", proto=source), "OTHER_ERROR", "GRPC_PROTO_ALLOWED_DIR")

    async def test_a_url_is_fetched_with_its_headers_and_kept(self, house: House, peer: Peer) -> None:
        async with open_web({"/peer.proto": text(PROTO)}) as web:
            source = {"source": f"{web.url}/peer.proto", "fetch_headers": {"X-Key": "k"}, "allow_insecure_http": True}
            await worker(house, settings(peer, as_json=True, proto=source))
            for _ in range(2):
                assert (await unary(house, args(json_body='{"text": "hi"}'))).json_body
            (seen,) = web.seen
            assert seen.one("X-Key") == "k"

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ({"source": "http://127.0.0.1:1/x.proto"}, "allow_insecure_http"),
            ({"source": "ftp://127.0.0.1/x.proto"}, "ftp://"),
            ({"source": "message {"}, "does not compile"),
            ({"source": 'syntax = "proto3"; message M {}'}, "no service 'peer.Peer'"),
            ({"source": PROTO.replace("rpc Say", "rpc Tell")}, "no method 'Say'"),
        ],
    )
    async def test_sources_that_will_not_do(self, house: House, peer: Peer, source: Any, said: str) -> None:
        await worker(house, settings(peer))
        await failure(house, args(json_body="{}", proto=source), "OTHER_ERROR", said)


class TestStreaming:
    async def test_all_answers_in_one_result(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer))
        data = await answer(house, args(COUNT, Ask(number=3)), using="streaming")
        result = STREAMING_RESULT.FromString(data.output.items)
        assert [Answer.FromString(each).number for each in result.bodies.items] == [0, 1, 2]
        assert (result.code, dict(result.metadata)) == (0, {"head": "first", "tail": "last"})

    async def test_all_answers_as_json(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer, proto={"source": PROTO}, as_json=True))
        data = await answer(house, args(COUNT, json_body='{"number": 2}'), using="streaming")
        result = STREAMING_RESULT.FromString(data.output.items)
        assert json.loads(result.json_body) == [{"text": "item"}, {"text": "item", "number": "1"}]

    async def test_each_answer_as_it_comes_then_the_metadata(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer), store_success=True)
        got = await house.client.items(
            "JobService.EnqueueForStream", worker_name="w", args=args(COUNT, Ask(number=2)), using="streaming"
        )
        *items, end = got.items
        assert [Answer.FromString(item.data).number for item in items] == [0, 1]
        assert dict(end.end.metadata) == {"head": "first", "tail": "last"}

    async def test_an_error_in_the_middle_is_in_the_trailer_and_in_the_folded_result(
        self, house: House, peer: Peer
    ) -> None:
        await worker(house, settings(peer), store_success=True)
        got = await house.client.items(
            "JobService.EnqueueForStream",
            worker_name="w",
            args=args(COUNT, Ask(number=1, text="fail")),
            using="streaming",
        )
        end = dict(got.items[-1].end.metadata)
        assert (end["grpc-status"], end["grpc-message"]) == ("10", "half-way")
        job_id = message_class("jobworkerp.data.JobId").FromString(got.headers["x-job-id-bin"])
        (stored,) = await house.results(job_id.value)  # pyright: ignore[reportAttributeAccessIssue]
        folded = STREAMING_RESULT.FromString(stored.data.output.items)
        assert (folded.code, folded.message, len(folded.bodies.items)) == (10, "half-way", 1)

    async def test_a_collected_stream_has_a_limit(self, tmp_path: Path, peer: Peer) -> None:
        async with open_house(tmp_path, GRPC_COLLECT_MAX_BYTES="1024") as house:
            await worker(house, settings(peer))
            await failure(
                house, args(COUNT, Ask(number=500)), "OTHER_ERROR", "GRPC_COLLECT_MAX_BYTES", using="streaming"
            )

    async def test_the_time_limit_of_the_call_ends_when_the_server_begins_to_answer(
        self, house: House, peer: Peer
    ) -> None:
        asked = args(COUNT, Ask(number=1, text="pause"))
        for limit in longer_and_longer(200):
            await worker(house, settings(peer, timeout=limit), name=f"w{limit}")
            call = asyncio.create_task(answer(house, asked, worker=f"w{limit}", using="streaming"))
            await eventually(lambda call=call: peer.pausing or call.done())
            if peer.pausing:
                await asyncio.sleep(limit / 1000 + 0.1)
                peer.go_on.set()
            if (ended := await call).status == STATUS["SUCCESS"]:
                assert len(STREAMING_RESULT.FromString(ended.output.items).bodies.items) == 2
                break
            peer.pausing, peer.go_on = False, asyncio.Event()  # the beginning of the answer came too late


class TestEnds:
    async def test_cancelling_a_job_reaches_the_server(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer), response_type=0, broadcast_results=True)
        for using, method in (("unary", SAY), ("streaming", COUNT)):
            job = (await house.enqueue(args(method, Ask(text="hang")), using=using)).id.value
            await eventually(lambda: peer.waiting == 1)
            assert await house.delete(job)
            assert (await house.listen(job)).data.status == STATUS["CANCELLED"]
            await eventually(lambda: peer.waiting == 0)
        assert peer.cancelled == 2

    async def test_a_time_out_may_be_tried_again(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer))
        await failure(house, args(request=Ask(text="hang"), timeout=50), "MAX_RETRY", "within 50 ms")
        await eventually(lambda: peer.waiting == 0)

    async def test_the_limit_of_the_job_ends_the_call(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer))
        await failure(house, args(request=Ask(text="hang")), "MAX_RETRY", "timeout", timeout=50)
        await eventually(lambda: peer.waiting == 0)

    async def test_after_many_cancelled_jobs_nothing_is_left(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer), response_type=0)
        tasks, before = len(asyncio.all_tasks()), descriptors() + 2  # both ends of the one connection
        for _ in range(50):
            jobs = [(await house.enqueue(args(request=Ask(text="hang")))).id.value for _ in range(4)]
            await eventually(lambda: peer.waiting == 4)
            for job in jobs:
                await house.delete(job)
            await eventually(lambda: peer.waiting == 0)
        assert peer.cancelled == 200
        await eventually(lambda: len(asyncio.all_tasks()) <= tasks + 2)
        assert len(peer.connections) == 1
        await eventually(lambda: descriptors() <= before)

    async def test_a_server_that_dies_in_the_middle(self, house: House) -> None:
        for using, request in (("unary", args(SAY, Ask(text="die"))), ("streaming", args(COUNT, Ask(text="die")))):
            async with peer_process() as (port, _):
                own = build("jobworkerp.runner.grpc.GrpcRunnerSettings", host="127.0.0.1", port=port)
                await worker(house, own.SerializeToString(), name=using)
                await failure(house, request, "MAX_RETRY", "broke off", worker=using, using=using)

    async def test_a_frozen_server_loses_its_connection(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its machine still takes whatever is sent, so nothing but its silence tells."""
        monkeypatch.setattr(connections, "PING_SEC", 0.2)
        monkeypatch.setattr(connections, "PONG_SEC", 0.2)
        async with peer_process() as (port, process):
            own = build("jobworkerp.runner.grpc.GrpcRunnerSettings", host="127.0.0.1", port=port)
            await worker(house, own.SerializeToString())
            await unary(house, args(request=Ask(text="hi")))
            process.suspend()
            try:
                await failure(house, args(request=Ask(text="hi")), "MAX_RETRY", "broke off")
            finally:
                process.resume()
            await unary(house, args(request=Ask(text="hi")))

    async def test_a_server_that_is_not_there(self, house: House) -> None:
        own = build("jobworkerp.runner.grpc.GrpcRunnerSettings", host="127.0.0.1", port=1)
        await worker(house, own.SerializeToString())
        await failure(house, args(), "MAX_RETRY", "no connection to 127.0.0.1:1", "nothing listens there")

    async def test_something_that_is_no_grpc_server(self, house: House) -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10)
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            own = build("jobworkerp.runner.grpc.GrpcRunnerSettings", host="127.0.0.1", port=port)
            await worker(house, own.SerializeToString())
            await failure(house, args(timeout=60_000), "MAX_RETRY", f"127.0.0.1:{port}", "broke off")


@asynccontextmanager
async def peer_process() -> AsyncIterator[tuple[int, psutil.Process]]:
    """Serve in a process of its own; give its port, and the process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.grpc_peer", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline()), psutil.Process(process.pid)
    finally:
        if process.returncode is None and psutil.pid_exists(process.pid):
            process.kill()
        await process.wait()


class TestLimitsAndInput:
    async def test_an_answer_over_the_limit_ends_the_call_with_its_code(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer, max_message_size=1000))
        result = await unary(house, args(request=Ask(text="big", number=5000)))
        assert result.code == 8
        assert "max_message_size" in result.message
        assert (await unary(house, args(request=Ask(text="hi")))).code == 0

    async def test_no_limit_named_is_four_mebibytes(self, house: House, peer: Peer) -> None:
        await worker(house, settings(peer, max_message_size=0))
        assert len((await unary(house, args(request=Ask(text="big", number=3_000_000)))).body) > 3_000_000
        assert (await unary(house, args(request=Ask(text="big", number=5_000_000)))).code == 8

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            (args(""), "package.Service/Method"),
            (args("Say"), "package.Service/Method"),
            (args(metadata={"grpc-timeout": "1S"}), "grpc-timeout"),
            (args(metadata={"k": "ü"}), "printable"),
            (args(metadata={"k-bin": "%"}), "base64"),
            (b"\xff", "GrpcArgs"),
        ],
    )
    async def test_bad_args_name_what_is_wrong(self, house: House, peer: Peer, bad: bytes, said: str) -> None:
        await worker(house, settings(peer))
        await failure(house, bad, "OTHER_ERROR", said)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"host": ""}, "host"),
            ({"host": "ftp://x"}, "ftp"),
            ({"host": "x", "port": 70_000}, "port"),
            ({"host": "x", "method": "no"}, "package.Service/Method"),
            ({"host": "x", "metadata": {"te": "x"}}, "'te'"),
            ({"host": "x", "tls_config": {"client_cert_path": "/x"}}, "client_key_path"),
            ({"host": "x", "proto": {"source": "message {"}, "method": SAY}, "does not compile"),
        ],
    )
    async def test_bad_settings_end_the_job(self, house: House, bad: dict[str, Any], said: str) -> None:
        await worker(house, build("jobworkerp.runner.grpc.GrpcRunnerSettings", **bad).SerializeToString())
        await failure(house, args(), "FATAL_ERROR", said)


class TestTls:
    @pytest.fixture
    def authority(self, tmp_path: Path) -> Authority:
        return Authority(tmp_path)

    async def test_both_sides_show_who_they_are(self, house: House, authority: Authority) -> None:
        server, client = authority.sign("peer.test"), authority.sign("client.test")
        tls = credentials(server.key.read_bytes(), server.certificate.read_bytes(), authority.certificate.read_bytes())
        files = {
            "ca_cert_path": str(authority.certificate),
            "client_cert_path": str(client.certificate),
            "client_key_path": str(client.key),
            "server_name_override": "peer.test",
        }
        async with open_peer(tls) as peer:
            await worker(house, settings(peer, tls=True, tls_config=files))
            assert (await unary(house, args(request=Ask(text="hi")))).code == 0
            await worker(
                house,
                settings(peer, host="https://127.0.0.1", tls_config={"ca_cert_path": str(authority.certificate)}),
                name="stranger",
            )
            await failure(house, args(), "MAX_RETRY", "127.0.0.1", worker="stranger")

    async def test_a_server_that_nobody_vouches_for_is_refused(self, house: House, authority: Authority) -> None:
        server = authority.sign("127.0.0.1")
        tls = credentials(server.key.read_bytes(), server.certificate.read_bytes(), None)
        async with open_peer(tls) as peer:
            await worker(house, settings(peer, tls=True))
            await failure(house, args(), "MAX_RETRY", "no TLS connection", "unable to get local issuer")
            await worker(house, settings(peer, tls=True, tls_config={"ca_cert_path": "/no/such.pem"}), name="lost")
            await failure(house, args(), "FATAL_ERROR", "/no/such.pem", worker="lost")


class TestOlderGeneration:
    async def test_a_unary_call(self, house: House, peer: Peer) -> None:
        own = build(
            "jobworkerp.runner.GrpcUnaryRunnerSettings", host="http://127.0.0.1", port=peer.port, auth_token="t"
        )
        await worker(house, own.SerializeToString(), runner=GRPC_UNARY)
        asked = build(
            "jobworkerp.runner.GrpcUnaryArgs",
            method="/" + SAY,
            request=Ask(text="hi").SerializeToString(),
            metadata={"k": "v"},
        )
        data = await answer(house, asked.SerializeToString())
        result = OLD_RESULT.FromString(data.output.items)
        assert Answer.FromString(result.body).text == "hi"
        assert result.metadata["raw-bin"] == b64encode(b"\x00\xff").decode()
        assert peer.heard[0]["authorization"] == "Bearer t"
        assert peer.heard[0]["k"] == "v"

    async def test_errors_time_outs_and_cancelling(self, house: House, peer: Peer) -> None:
        own = build("jobworkerp.runner.GrpcUnaryRunnerSettings", host="127.0.0.1", port=peer.port)
        await worker(house, own.SerializeToString(), runner=GRPC_UNARY)

        def asking(said: str, **fields: Any) -> bytes:
            request = Ask(text=said).SerializeToString()
            return build("jobworkerp.runner.GrpcUnaryArgs", method=SAY, request=request, **fields).SerializeToString()

        result = OLD_RESULT.FromString((await answer(house, asking("fail"))).output.items)
        assert (result.code, result.body) == (5, b"\x08\x05")
        await failure(house, asking("hang", timeout=50), "MAX_RETRY", "within 50 ms")
        await failure(house, asking("fail", treat_error_status_as_error=True), "FATAL_ERROR", "NOT_FOUND")
        await failure(house, b"\xff", "OTHER_ERROR", "GrpcUnaryArgs")
        no_method = build("jobworkerp.runner.GrpcUnaryArgs", method="Say").SerializeToString()
        await failure(house, no_method, "OTHER_ERROR", "package.Service/Method")
        await eventually(lambda: peer.waiting == 0)

    @pytest.mark.parametrize(
        ("bad", "said"),
        [
            ({"host": ""}, "host"),
            ({"host": "ftp://x"}, "ftp"),
            ({"host": "x", "tls_config": {"client_key_path": "/x"}}, "client_cert_path"),
            ({"host": "x", "auth_token": "a\nb"}, "auth_token"),
        ],
    )
    async def test_bad_settings_end_the_job(self, house: House, bad: dict[str, Any], said: str) -> None:
        own = build("jobworkerp.runner.GrpcUnaryRunnerSettings", **bad).SerializeToString()
        await worker(house, own, runner=GRPC_UNARY)
        await failure(
            house, build("jobworkerp.runner.GrpcUnaryArgs", method=SAY).SerializeToString(), "FATAL_ERROR", said
        )


async def test_idle_connections_are_bounded_and_all_are_closed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from jobworkerp_standalone.runners.grpc import connections as module
    from jobworkerp_standalone.runners.grpc.target import Target

    monkeypatch.setattr(module, "_KEPT", 2)
    shared = Connections(None)  # pyright: ignore[reportArgumentType]
    opened: list[Connection] = []
    async with open_peer() as peer:
        for limit in range(4):
            target = Target("127.0.0.1", peer.port, False, max_message_bytes=1000 + limit)
            async with shared.lend(target) as connection:
                await connection.connected()
                opened.append(connection)
        await eventually(lambda: [each._connected for each in opened] == [False, False, True, True])
        await shared.aclose()
        await eventually(lambda: not any(each._connected for each in opened))
