"""What expressions see of the program and of when a run and its tasks began."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from jobworkerp_standalone import __version__
from tests.workflow.stage import HEAD, Stage


async def test_runtime_and_the_times_of_a_run(stage: Stage) -> None:
    before = time.time()
    end = await stage.run(
        {
            "document": {**HEAD, "metadata": {"team": {"name": "garden"}}},
            "do": [
                {"a": {"set": {"early": "${ [$workflow.startedAt, $task.startedAt] }"}}},
                {"w": {"wait": {"milliseconds": 20}}},
                {
                    "b": {
                        "set": {
                            "early": "${ .early }",
                            "late": "${ [$workflow.startedAt, $task.startedAt] }",
                            "reference": "${ [$workflow.started_at, $task.started_at] }",
                            "runtime": "${ $runtime }",
                        }
                    }
                },
            ],
        },
        {},
    )
    assert end.output["runtime"] == {"name": "flow", "version": __version__, "metadata": {"team": {"name": "garden"}}}
    early, late = end.output["early"], end.output["late"]
    assert early[0] == late[0], "the run began once"
    assert [each["iso8601"] for each in late] == end.output["reference"]
    for at in (*early, *late):
        assert set(at) == {"iso8601", "epoch"}
        moment = datetime.fromisoformat(at["iso8601"])
        assert moment.utcoffset() == timedelta(0)
        assert at["epoch"] == {
            "seconds": round(moment.timestamp() * 1000) // 1000,
            "milliseconds": round(moment.timestamp() * 1000),
        }
    told = [at["epoch"]["milliseconds"] for at in (*early, late[1])]
    assert told == sorted(told)
    assert before * 1000 - 1 <= told[0]
    assert told[2] - told[1] >= 19, "each task has its own time"


async def test_the_context_has_the_record_of_the_run_until_something_is_exported(stage: Stage) -> None:
    tasks = [
        {"a": {"set": {"x": 1}}},
        {"b": {"set": {"seen": "${ $context }"}, "export": {"as": "${ {kept: .seen} }"}}},
        {"c": {"set": {"exported": "${ $context }"}}},
    ]
    end = await stage.run({"do": tasks}, {"given": 1})
    seen = end.output["exported"]["kept"]
    assert end.output == {"exported": {"kept": seen}}, "what is exported is all of it"
    assert (seen["id"], seen["name"], seen["input"], seen["given"]) == (end.id, "flow", {"given": 1}, 1)
    assert (seen["status"], seen["output"]) == ("Running", {"x": 1})
    assert seen["position"] == {"path": ["ROOT", "do", "0", "a"]}
    assert datetime.fromisoformat(seen["started_at"]).utcoffset() == timedelta(0)
    assert (await stage.run({"do": tasks}, {"id": "mine"})).output["exported"]["kept"]["id"] == "mine"
