"""Group J: the three runners, what they take and what they answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from grpclib.exceptions import GRPCError

from jobworkerp_standalone.runners.builtin import proto_text
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.schema.text import root_message
from tests.support.house import STATUS
from tests.workflow.stage import INLINE, REUSABLE, WORKFLOW, Stage, document, open_stage

SET = 'do: [{a: {set: {x: "${ .n }"}}}]'
PLACE = {"name": "x", "host": "localhost", "port": 1}
BROKEN = 'do: [{a: {set: {x: "${ .n.x }"}}}]'
_INLINE: Any = message_class("jobworkerp.runner.InlineWorkflowArgs")
_REUSABLE: Any = message_class("jobworkerp.runner.ReusableWorkflowArgs")
_REUSABLE_SETTINGS: Any = message_class("jobworkerp.runner.ReusableWorkflowRunnerSettings")
_CREATE: Any = message_class("jobworkerp.runner.CreateWorkflowArgs")
_CREATED: Any = message_class("jobworkerp.runner.CreateWorkflowResult")
_RESULT: Any = message_class("jobworkerp.runner.WorkflowResult")
_SETTINGS: Any = message_class("jobworkerp.runner.WorkflowRunnerSettings")


def seed(data: bytes) -> Any:
    """Read a result as a client of the older runners does: by the schema that they publish."""
    return root_message(proto_text("seed_workflow_result")).FromString(data)


async def test_c105_no_source(stage: Stage) -> None:
    end = await stage.run("", {})
    assert end.job_status == "OTHER_ERROR"
    assert "workflow_data" in end.text


async def test_c106_unknown_method(stage: Stage) -> None:
    with pytest.raises(Exception, match=r"frobnicate.*create, run"):
        await stage.house.enqueue(b"", worker="flow", using="frobnicate")


async def test_c107_contexts_are_objects(stage: Stage) -> None:
    end = await stage.run(SET, {}, workflow_context="[1]")
    assert (end.job_status, "workflow_context" in end.text) == ("OTHER_ERROR", True)
    await stage.worker("broken", document(SET), "[1]")
    end = await stage.run("", {}, "broken")
    assert (end.job_status, "workflow_context" in end.text) == ("FATAL_ERROR", True)


async def test_a_document_that_is_not_valid_names_every_mistake(stage: Stage) -> None:
    end = await stage.run({"do": [{"a": {"set": {"x": "${ .[ }"}, "then": "nowhere", "colour": 1}}]}, {})
    assert end.job_status == "OTHER_ERROR"
    assert all(word in end.text for word in ("nowhere", "colour", "not closed")), end.text


async def test_settings_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the runner is made: a static worker keeps the document that a file held then."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "flow.json"
    file.write_text(document(SET))
    settings = _SETTINGS(workflow_url="flow.json").SerializeToString()
    async with open_stage(tmp_path) as stage:
        for name, static in (("static", True), ("fresh", False)):
            await stage.house.worker(name, WORKFLOW, runner_settings=settings, use_static=static, response_type=1)
            assert (await stage.run("", {"n": 1}, name)).output == {"x": 1}
        file.write_text(document("do: [{b: {set: {y: 1}}}]"))
        assert (await stage.run("", {"n": 2}, "static")).output == {"x": 2}
        assert (await stage.run("", {"n": 2}, "fresh")).output == {"y": 1}


async def test_variables_of_settings_and_args_are_merged_and_those_of_the_settings_count(stage: Stage) -> None:
    await stage.worker(
        "given", 'do: [{a: {set: {seen: "${ [$one, $both, $two] }"}}}]', '{"one": 1, "both": "settings"}'
    )
    end = await stage.run("", {}, "given", workflow_context={"two": 2, "both": "args"})
    assert end.output == {"seen": [1, "settings", 2]}


async def test_args_count_before_settings(stage: Stage) -> None:
    await stage.worker("both", document(SET))
    assert (await stage.run("do: [{b: {set: {y: 1}}}]", {}, "both")).output == {"y": 1}


async def test_a_fault_fails_the_job_with_the_error_as_json(stage: Stage) -> None:
    end = await stage.run(BROKEN, {"n": 1})
    assert end.job_status == "MAX_RETRY"
    assert end.error == {**end.error, "status": 400, "instance": "/do/0/a/set"}


async def test_a_fault_is_tried_again_as_the_worker_says(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "tries"
    text = f"do: [{{a: {{run: {{shell: 'echo x >> {file}; test $(wc -l < {file}) -ge 3 || exit 1'}}}}}}]"
    text = text.replace("run: {", "run: {return: code, ").replace("]", ", {b: {if: '${ . != 0 }', raise: {error: e}}}]")
    text = "use: {errors: {e: {type: 'https://x.org/e', status: 500}}}\n" + text
    policy = {"type": 3, "interval": 10, "max_retry": 5}
    await stage.worker("again", document(text), retry_policy=policy)
    end = await stage.run("", {}, "again")
    assert end.status == "Completed", end
    assert len(file.read_text().split()) == 3


async def test_c108_create(stage: Stage) -> None:
    async def create(**fields: Any) -> Any:
        args = _CREATE(workflow_data=document(SET, summary="sets"), **fields).SerializeToString()
        return (await stage.house.enqueue(args, worker="flow", using="create")).result.data

    blank = await create(name=" ")
    assert (blank.status, b"name" in blank.output.items) == (STATUS["OTHER_ERROR"], True)
    options = {"channel": "made", "store_success": True, "retry_policy": {"type": 3, "interval": 5, "max_retry": 2}}
    made = await create(name="made", worker_options=options)
    assert made.status == STATUS["SUCCESS"], made.output.items
    worker_id = _CREATED.FromString(made.output.items).worker_id.value
    found = (await stage.house.client.call("WorkerService.Find", value=worker_id)).data.data
    assert (found.name, found.description, found.runner_id.value) == ("made", "sets", WORKFLOW)
    assert (found.response_type, found.channel, found.store_success) == (1, "made", True)
    assert found.retry_policy.max_retry == 2
    assert (await stage.run("", {"n": 4}, "made")).output == {"x": 4}
    context = json.dumps({"n": 5})
    plain = _CREATED.FromString((await create(name="plain", workflow_context=context)).output.items).worker_id.value
    found = (await stage.house.client.call("WorkerService.Find", value=plain)).data.data
    assert (found.response_type, found.channel, found.queue_type, found.store_failure) == (1, "", 0, False)
    assert _SETTINGS.FromString(found.runner_settings).workflow_context == '{"n":5}'
    twice = await create(name="made")
    assert (twice.status, b"made" in twice.output.items) == (STATUS["OTHER_ERROR"], True)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"queue_type": 77}, "worker_options.queue_type"),
        ({"response_type": 77}, "worker_options.response_type"),
        ({"retry_policy": {"type": 77}}, "worker_options.retry_policy.type"),
    ],
)
async def test_create_names_an_enum_number_that_does_not_exist(stage: Stage, options: Any, field: str) -> None:
    args = _CREATE(workflow_data=document(SET), name="odd", worker_options=options).SerializeToString()
    made = (await stage.house.enqueue(args, worker="flow", using="create")).result.data
    text = made.output.items.decode()
    assert made.status == STATUS["OTHER_ERROR"]
    assert text.startswith(f"{field}: 77 is not a number of"), text
    found = await stage.house.client.call("WorkerService.FindByName", name="odd")
    assert not found.HasField("data")


@pytest.mark.parametrize(
    ("schedule", "field", "value"),
    [({"every": {"hours": 1}}, "periodic_interval", 3_600_000), ({"cron": "0 3 * * *"}, "cron", "0 3 * * *")],
)
async def test_create_takes_over_the_schedule(stage: Stage, schedule: Any, field: str, value: Any) -> None:
    text = document({"schedule": schedule, "do": [{"a": {"set": {"x": 1}}}]})
    args = _CREATE(workflow_data=text, name=f"planned-{field}").SerializeToString()
    made = (await stage.house.enqueue(args, worker="flow", using="create")).result.data
    assert made.status == STATUS["SUCCESS"], made.output.items
    found = await stage.house.client.call("WorkerService.FindByName", name=f"planned-{field}")
    assert getattr(found.data.data, field) == value
    assert found.data.data.response_type == 0


async def test_c109_a_stream_has_one_item_for_each_task_and_the_end(stage: Stage) -> None:
    items = await stage.stream("do: [{a: {set: {x: 1}}}, {b: {set: {y: 2}}}]", {})
    assert [(item.status, item.position, item.output) for item in items] == [
        (4, "/ROOT/do/0/a", '{"x":1}'),
        (4, "/ROOT/do/1/b", '{"y":2}'),
        (0, "/ROOT/do/1/b", '{"y":2}'),
    ]
    assert len({item.id for item in items}) == 1


async def test_a_stream_has_an_item_for_each_failure_that_a_loop_goes_on_after(stage: Stage) -> None:
    task = {"t": {"set": {"v": '${ if $item == 2 then error("bad") else $item end }'}}}
    loop = {"for": {"in": "${ [1, 2, 3] }"}, "onError": "continue", "do": [task]}
    items = await stage.stream({"do": [{"loop": loop}]})
    told = [(item.status, item.position, json.loads(item.output)) for item in items]
    failed = told.pop(1)
    assert told == [
        (4, "/ROOT/do/0/loop/do/0/t", {"v": 1}),
        (4, "/ROOT/do/0/loop/do/0/t", {"v": 3}),
        (4, "/ROOT/do/0/loop", {"v": 3}),
        (0, "/ROOT/do/0/loop", {"v": 3}),
    ]
    assert failed[:2] == (4, "/ROOT/do/0/loop")
    assert (failed[2]["index"], failed[2]["item"], failed[2]["error"]["status"]) == (1, 2, 400)


async def test_a_stream_of_a_faulted_run_ends_faulted(stage: Stage) -> None:
    job_id = await stage.start(BROKEN, {"n": 1})
    assert (await stage.result(job_id)).job_status == "MAX_RETRY"
    message = stage.args(BROKEN, {"n": 1}).SerializeToString()
    items: list[Any] = []
    with pytest.raises(GRPCError, match="expression"):
        await _collect(stage, {"worker_name": "flow", "args": message, "using": "run"}, items)
    last: Any = _RESULT.FromString(items[-1].data)
    assert last.status == 1
    assert json.loads(last.output)["error"]
    assert last.error_message == last.output
    assert not any(_RESULT.FromString(each.data).HasField("error_message") for each in items[:-1] if each.data)


async def _collect(stage: Stage, request: dict[str, Any], items: list[Any]) -> None:
    method, client = "JobService.EnqueueForStream", stage.house.client
    async with client.open(method) as stream:
        await stream.send_message(client.request(method, None, request), end=True)
        while (data := await stream.recv_message()) is not None:
            items.append(client.reply(method, data))
        await stream.recv_trailing_metadata()


async def test_inline_workflow(stage: Stage) -> None:
    await stage.house.worker("inline", INLINE, response_type=1)
    args = _INLINE(workflow_data="do: [{a: {set: {x: '${ .n }'}}}]", input='{"n":3}', workflow_context="no json")
    reply = (await stage.house.enqueue(args.SerializeToString(), worker="inline")).result.data
    result = seed(reply.output.items)
    assert (reply.status, result.status, json.loads(result.output)) == (STATUS["SUCCESS"], 0, {"x": 3})
    assert result.HasField("status")


@pytest.mark.parametrize("runner", [INLINE, REUSABLE], ids=["inline", "reusable"])
@pytest.mark.parametrize(
    ("text", "given", "words", "at"),
    [
        (
            "input: {schema: {document: {type: object, required: [id]}}}\n" + SET,
            "{}",
            "'id' is a required property",
            "/input",
        ),
        (BROKEN, '{"n":1}', "expression '${ .n.x }' at /x failed", "/do/0/a/set"),
    ],
    ids=["input", "expression"],
)
async def test_c29_a_fault_of_the_older_runners_is_a_faulted_result(
    stage: Stage, runner: int, text: str, given: str, words: str, at: str
) -> None:
    name = f"faulty-{runner}-{at}"
    if runner == INLINE:
        await stage.house.worker(name, INLINE, response_type=1)
        args = _INLINE(workflow_data=document(text), input=given)
    else:
        settings = _REUSABLE_SETTINGS(json_data=document(text)).SerializeToString()
        await stage.house.worker(name, REUSABLE, runner_settings=settings, response_type=1)
        args = _REUSABLE(input=given)
    reply = (await stage.house.enqueue(args.SerializeToString(), worker=name)).result.data
    assert reply.status == STATUS["SUCCESS"], reply.output.items
    result = seed(reply.output.items)
    error = json.loads(result.output)["error"]
    assert (result.status, result.error_message) == (1, result.output)
    assert words in error
    assert error.endswith(f": at {at}")


async def test_reusable_workflow(stage: Stage) -> None:
    settings = _REUSABLE_SETTINGS(json_data=document(SET)).SerializeToString()
    await stage.house.worker("reusable", REUSABLE, runner_settings=settings, response_type=1)
    args = _REUSABLE(input='{"n":5}').SerializeToString()
    reply = (await stage.house.enqueue(args, worker="reusable")).result.data
    assert json.loads(seed(reply.output.items).output) == {"x": 5}
    wrong = _REUSABLE(input="{}", workflow_context="[").SerializeToString()
    assert (await stage.house.enqueue(wrong, worker="reusable")).result.data.status == STATUS["OTHER_ERROR"]


async def test_a_path_outside_of_the_roots_is_refused(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "w.yaml").write_text(document(SET))
    for place in (str(tmp_path / "w.yaml"), f"file://{tmp_path}/w.yaml", "http://127.0.0.1:9/w.yaml"):
        message = stage.args("", {"n": 1}, workflow_url=place)
        reply = (await stage.house.enqueue(message.SerializeToString(), worker="flow", using="run")).result.data
        assert reply.status == STATUS["OTHER_ERROR"]
        assert b"WORKFLOW_ALLOWED" in reply.output.items or b"public" in reply.output.items


async def test_files_that_are_no_workflows_are_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = (".env", "keys.txt", "words.yml", "other.json", ".hidden/flow.yml")
    (tmp_path / ".hidden").mkdir()
    for name in names:
        (tmp_path / name).write_text('{"document": "hunter2"}' if name == "other.json" else "PASSWORD=hunter2")
    async with open_stage(tmp_path / "home", SQLITE_URL=f"sqlite://{tmp_path}/jobs.json") as stage:
        for name in (*names, "jobs.json"):
            end = await stage.run("", {}, workflow_url=name)
            assert (end.job_status, "hunter2" in end.text) == ("OTHER_ERROR", False), end.text
            assert f"{name} may not be read" in end.text or f"{name} is no workflow" in end.text
        script = {"run": {"script": {"language": "python", "source": {"endpoint": ".env"}}}}
        function = {"call": f"file://{tmp_path}/keys.txt"}
        schema = {"set": {"x": 1}, "output": {"schema": {"resource": {"endpoint": "keys.txt"}}}}
        openapi = {"call": "openapi", "with": {"document": {"endpoint": "keys.txt"}, "operationId": "x"}}
        grpc = {"call": "grpc", "with": {"proto": {"endpoint": "keys.txt"}, "method": "x", "service": PLACE}}
        for task in (script, function, schema, openapi, grpc):
            end = await stage.run({"do": [{"a": task}]}, {})
            assert ("may not be read" in end.text, "hunter2" in end.text) == (True, False), end.text


async def test_what_is_nested_too_deeply_is_refused_in_words(stage: Stage) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    end = await stage.run(SET, deep)
    assert (end.job_status, "nested too deeply" in end.text) == ("OTHER_ERROR", True), end.text
    end = await stage.run(SET, {}, workflow_context=f'{{"a": {deep}}}')
    assert (end.job_status, "workflow_context" in end.text) == ("OTHER_ERROR", True), end.text
    end = await stage.run(SET, {}, workflow_context='{"a": NaN}')
    assert (end.job_status, "NaN is no JSON" in end.text) == ("OTHER_ERROR", True), end.text
