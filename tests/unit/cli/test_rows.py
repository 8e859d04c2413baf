from __future__ import annotations

from jobworkerp_standalone.cli.rows import channel_name, instance_row, job_row, result_row, runner_row, worker_row
from jobworkerp_standalone.pb.jobworkerp.data import (
    ChannelConfig,
    Job,
    JobData,
    JobId,
    JobProcessingStatus,
    JobResult,
    JobResultData,
    JobResultId,
    MethodProtoMap,
    MethodSchema,
    Priority,
    QueueType,
    RetryPolicy,
    RetryType,
    Runner,
    RunnerData,
    RunnerId,
    RunnerType,
    StreamingOutputType,
    Worker,
    WorkerData,
    WorkerId,
    WorkerInstance,
    WorkerInstanceData,
    WorkerInstanceId,
)


def a_runner(*methods: str) -> Runner:
    schemas = {
        name: MethodSchema(args_proto="A", result_proto="R", output_type=StreamingOutputType.BOTH) for name in methods
    }
    data = RunnerData(name="R", runner_type=RunnerType.LLM, method_proto_map=MethodProtoMap(schemas=schemas))
    return Runner(id=RunnerId(value=7), data=data)


def test_runner_in_each_form() -> None:
    runner = a_runner("run", "chat")
    assert runner_row(runner, "table") == {
        "id": 7,
        "name": "R",
        "description": "",
        "runner_type": "LLM",
        "method_count": 2,
    }
    assert runner_row(runner, "card")["methods"] == {"chat": "BOTH", "run": "BOTH"}
    shown = runner_row(runner, "json")
    assert shown["methods"] == ["chat", "run"]
    assert shown["method_schemas"]["run"] == {
        "args_proto": "A",
        "result_proto": "R",
        "description": None,
        "output_type": "BOTH",
    }
    assert runner_row(a_runner("run"), "card")["method"] == "run"


def test_worker_shows_real_booleans_and_its_retry_policy() -> None:
    data = WorkerData(
        name="w",
        runner_id=RunnerId(value=1),
        queue_type=QueueType.DB_ONLY,
        store_success=True,
        retry_policy=RetryPolicy(type=RetryType.LINEAR, interval=5),
    )
    row = worker_row(Worker(id=WorkerId(value=3), data=data), {"a": 1}, "json")
    assert (row["id"], row["queue_type"], row["store_success"], row["channel"]) == (3, "DB_ONLY", True, "[default]")
    assert row["runner_settings"] == {"a": 1}
    assert row["retry_policy"]["type"] == "LINEAR"
    assert "retry_policy" not in worker_row(Worker(id=WorkerId(value=3), data=data), None, "table")


def test_job_shows_when_it_runs_and_its_state() -> None:
    data = JobData(worker_id=WorkerId(value=1), run_after_time=1_700_000_000_123, timeout=1500, priority=Priority.HIGH)
    row = job_row(Job(id=JobId(value=9), data=data), {"command": "ls"}, JobProcessingStatus.WAIT_RESULT)
    assert row == {
        "id": 9,
        "worker_id": 1,
        "run_after": "2023-11-14T22:13:20.123Z",
        "timeout_seconds": 1.5,
        "unique_key": None,
        "priority": "HIGH",
        "status": "WAIT_RESULT",
        "arguments": {"command": "ls"},
    }
    assert job_row(Job(id=JobId(value=9), data=JobData()), None)["run_after"] == ""


def test_result_shows_numbers_in_json() -> None:
    data = JobResultData(job_id=JobId(value=2**60 + 1), worker_name="w", start_time=1000, end_time=1500)
    row = result_row(JobResult(id=JobResultId(value=5), data=data), "text")
    assert row["job_id"] == 2**60 + 1
    assert (row["status"], row["duration"], row["start_time"], row["output"]) == ("SUCCESS", "500ms", 1000, "text")


def test_an_unknown_number_of_an_enum_is_shown_as_it_is() -> None:
    data = WorkerData(name="w", queue_type=QueueType(99))
    assert worker_row(Worker(data=data), None, "table")["queue_type"] == "99"


def test_the_default_channel_has_one_name() -> None:
    data = WorkerInstanceData(channels=[ChannelConfig(name="__default_job_channel__", concurrency=4)])
    row = instance_row(WorkerInstance(id=WorkerInstanceId(value=1), data=data))
    assert row["channels"] == [{"name": "[default]", "concurrency": 4}]
    assert [channel_name(each) for each in (None, "", "gpu")] == ["[default]", "[default]", "gpu"]
