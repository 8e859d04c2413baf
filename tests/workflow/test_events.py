"""``emit`` and ``listen``: events within the daemon, and from and to the outside."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib import GRPCError, Status

from jobworkerp_standalone.jobs.cloud_events import problem_of
from tests.support.patience import PATIENCE_SEC, turns
from tests.workflow.stage import Ended, Stage, open_stage

EVENT = {"specversion": "1.0", "id": "1", "source": "urn:test", "type": "t.a"}


def event(type_: str, data: Any = None, **attributes: Any) -> dict[str, Any]:
    """Return an event."""
    return {**EVENT, "type": type_, "data": data, **attributes}


def nested(levels: int) -> Any:
    """Return a value of so many lists inside each other."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


async def publish(stage: Stage, *events: Any) -> None:
    """Publish events from the outside."""
    texts = [each if isinstance(each, str) else json.dumps(each) for each in events]
    await stage.house.client.call("EventService.Publish", events=texts)


async def listened(stage: Stage, document: Any, given: Any, *events: Any) -> Ended:
    """Start a document, publish events once it listens, and return how it ended."""
    bus, before = stage.house.daemon.engine.bus, stage.house.daemon.engine.bus.listeners
    job_id = await stage.start(document, given)
    await until(lambda: bus.listeners > before)
    for each in events:
        await publish(stage, each)
    with anyio.fail_after(PATIENCE_SEC):
        return await stage.result(job_id)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nothing tells."""
    with anyio.fail_after(PATIENCE_SEC):
        while not condition():  # noqa: ASYNC110 - the bus tells nobody who listens
            await anyio.sleep(0.005)


@pytest.fixture(autouse=True)
async def _nobody_listens(stage: Stage) -> None:
    """Wait for the leave of who listened in the last test: the daemon hears a moment later that a client has gone."""
    await until(lambda: stage.house.daemon.engine.bus.listeners == 0)


def listen(to: Any, **members: Any) -> dict[str, Any]:
    """Return a document that listens once."""
    read = {"read": members.pop("read")} if "read" in members else {}
    return {"do": [{"hear": {"listen": {"to": to, **read}, **members}}]}


# ------------------------------------------------------------ emit


async def test_ctk_emit(stage: Stage) -> None:
    document = """
    do:
      - emitEvent:
          emit:
            event:
              with:
                source: https://fake-source.com
                type: com.fake-source.user.greeted.v1
                data: {greetings: '${ "Hello \\(.user.firstName) \\(.user.lastName)!" }'}
    """
    end = await stage.run(document, {"user": {"firstName": "John", "lastName": "Doe"}})
    assert end.output.keys() == {"id", "specversion", "time", "source", "type", "data"}
    assert end.output["source"] == "https://fake-source.com"
    assert end.output["type"] == "com.fake-source.user.greeted.v1"
    assert end.output["data"] == {"greetings": "Hello John Doe!"}


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"source": "urn:x", "type": 5}, "type"),
        ({"source": "urn:x", "type": "a", "Upper": 1}, "Upper"),
        ({"source": "urn:x", "type": "a", "extra": {"a": 1}}, "extra"),
        ({"source": "urn:x", "type": "a", "specversion": "0.3"}, "specversion"),
        ({"source": None, "type": "a"}, "source"),
        ({"source": "two words", "type": "a"}, "source"),
        ({"source": "urn:x", "type": "a", "time": "yesterday"}, "time"),
        ({"source": "urn:x", "type": "a", "dataschema": "no schema"}, "dataschema"),
        ({"source": "urn:x", "type": "a", "datacontenttype": "json"}, "datacontenttype"),
        ({"source": "urn:x", "type": "a", "big": 2147483648}, "32 bits"),
        ({"source": "urn:x", "type": "a", "data_base64": "?"}, "base64"),
    ],
)
async def test_what_is_no_event_is_refused(stage: Stage, attributes: Any, word: str) -> None:
    given = {"event": attributes}
    end = await stage.run({"do": [{"e": {"emit": {"event": {"with": "${ .event }"}}}}]}, given)
    assert (end.error["status"], end.error["instance"]) == (400, "/do/0/e/emit/event/with")
    assert word in end.error["detail"]


@pytest.mark.parametrize(
    ("data", "status", "word"),
    [
        (["x" * 40_000] * 2, 500, "larger than 65,536 bytes (WORKFLOW_EXPRESSION_MAX_BYTES)"),
        ("\ud83d", 400, "half of a surrogate pair, '\\ud83d'"),
        (nested(129), 400, "deeper than 128 levels"),
    ],
    ids=["large", "half a pair", "deep"],
)
async def test_an_event_that_others_could_not_have_is_an_error_of_its_task(
    tmp_path: Path, data: Any, status: int, word: str
) -> None:
    emit = {"emit": {"event": {"with": {"source": "urn:x", "type": "t.a", "data": "${ .data }"}}}}
    caught = {"set": {"error": "${ $lost }"}}
    document = {"do": [{"t": {"try": [{"e": emit}], "catch": {"as": "lost", "do": [{"h": caught}]}}}]}
    async with open_stage(tmp_path, keep=False, WORKFLOW_EXPRESSION_MAX_BYTES="65536") as stage:
        error = (await stage.run(document, {"data": data})).output["error"]
    assert (error["status"], error["instance"]) == (status, "/do/0/t/try/0/e/emit/event/with")
    assert word in error["detail"]


async def test_data_of_events_may_be_nested(stage: Stage) -> None:
    document = listen({"one": {"with": {"type": "t.a"}}})
    assert (await listened(stage, document, {}, event("t.a", nested(128)))).output == [nested(128)]


# ------------------------------------------------------------ listen


async def test_one(stage: Stage) -> None:
    end = await listened(stage, listen({"one": {"with": {"type": "t.a"}}}), {}, event("t.b", 1), event("t.a", 2))
    assert end.output == [2]


@pytest.mark.parametrize(
    ("read", "given", "expected"),
    [
        ("data", {"data": {"x": 1}}, {"x": 1}),
        ("data", {"data_base64": "eyJ4IjoxfQ==", "datacontenttype": "application/json"}, {"x": 1}),
        ("data", {"data_base64": "aGk=", "datacontenttype": "text/plain"}, "hi"),
        ("raw", {"data_base64": "aGk="}, "aGk="),
        ("raw", {"data_base64": "aGk=", "datacontenttype": "text/plain"}, "aGk="),
        ("raw", {"data": {"x": 1}}, {"x": 1}),
        ("data", {}, None),
    ],
)
async def test_read(stage: Stage, read: str, given: Any, expected: Any) -> None:
    end = await listened(stage, listen({"one": {"with": {"type": "t.a"}}}, read=read), {}, {**EVENT, **given})
    assert end.output == [expected]


async def test_read_envelope(stage: Stage) -> None:
    sent = event("t.a", 1, subject="s", extra=True)
    end = await listened(stage, listen({"one": {"with": {"type": "t.a"}}}, read="envelope"), {}, sent)
    assert end.output == [sent]


HOT = {"with": {"type": "t.temperature", "data": "${ .temperature > 38 }"}}
FAST = {"with": {"type": "t.bpm", "data": "${ .bpm < 60 or .bpm > 100 }"}}


async def test_any_with_conditions_on_data(stage: Stage) -> None:
    events = (event("t.temperature", {"temperature": 37}), event("t.bpm", {"bpm": 70}), event("t.bpm", {"bpm": 110}))
    end = await listened(stage, listen({"any": [HOT, FAST]}), {}, *events)
    assert end.output == [{"bpm": 110}]


async def test_any_of_everything(stage: Stage) -> None:
    assert (await listened(stage, listen({"any": []}), {}, event("whatever", 7))).output == [7]


async def test_all_in_the_order_in_which_they_come(stage: Stage) -> None:
    filters = [{"with": {"type": "t.a"}}, {"with": {"type": "t.b"}}]
    end = await listened(stage, listen({"all": filters}), {}, event("t.b", 1), event("t.b", 2), event("t.a", 3))
    assert end.output == [1, 3]


@pytest.mark.parametrize(
    ("meant", "come"),
    [
        ([{"type": r"t\..*"}, {"type": "t.a"}], ["t.a", "t.b"]),
        ([{"type": r"t\..*"}, {"type": "t.a|t.b"}, {"type": "t.a"}], ["t.a", "t.b", "t.c"]),
        (
            [{"type": "t.a|t.b"}, {"type": "t.b|t.c"}, {"type": "t.c|t.d"}, {"type": "t.a"}],
            ["t.a", "t.b", "t.c", "t.a"],
        ),
        ([{"type": r"t\..*"}, {"type": "t.a", "data": "${ .n > 0 }"}], ["t.b", "t.a"]),
    ],
)
async def test_all_finds_a_filter_for_each_event_whatever_came_first(
    stage: Stage, meant: list[Any], come: list[str]
) -> None:
    events = [event(type_, {"n": number + 1}) for number, type_ in enumerate(come)]
    document = listen({"all": [{"with": each} for each in meant]}, read="envelope")
    end = await listened(stage, document, {}, event("other"), *events)
    assert [each["type"] for each in end.output] == come


async def test_all_takes_no_event_for_which_there_is_no_place(stage: Stage) -> None:
    filters = [{"with": {"type": r"t\..*"}}, {"with": {"type": "t.a"}}]
    end = await listened(stage, listen({"all": filters}), {}, *(event("t.b", n) for n in range(3)), event("t.a", 3))
    assert end.output == [0, 3]


async def test_an_event_that_moves_on_keeps_to_what_it_is_correlated_by(stage: Stage) -> None:
    same = {"order": {"from": "${ .data.order }"}}
    filters: list[Any] = [
        {"with": {"type": r"t\..*"}},
        *({"with": {"type": each}, "correlate": same} for each in ("t.a", "t.b")),
    ]
    events = [event("t.a", {"order": 1}), event("t.b", {"order": 2}), event("t.c", {}), event("t.a", {"order": 2})]
    end = await listened(stage, listen({"all": filters}), {}, *events)
    assert end.output == [{"order": 1}, {"order": 2}, {"order": 2}]


@pytest.mark.parametrize(
    "meant",
    [
        {"type": "t.*"},
        {"subject": "order-[0-9]+"},
        {"subject": "${ $workflow.input.subject }"},
        {"subject": '${ startswith("order") }'},
        {"data": {"deep": {"n": "${ . != null and .deep.n > 1 }"}}},
        {"data": {"deep": {"n": 2}}},
        {"source": "urn:test", "type": "t.a"},
        {"subject": "bill-18|order-17"},
        {"data": "${ .deep.n + 0 > 1 }", "subject": "order-17"},
    ],
)
async def test_filters_of_attributes(stage: Stage, meant: Any) -> None:
    wrong = {**EVENT, "type": "other", "source": "urn:other", "subject": "bill-17", "data": {"deep": {"n": 1}}}
    right = event("t.a", {"deep": {"n": 2}, "more": 1}, subject="order-17")
    document = listen({"one": {"with": meant}}, read="envelope")
    assert (await listened(stage, document, {"subject": "order-17"}, wrong, right)).output == [right]


async def test_until_a_condition(stage: Stage) -> None:
    document = listen({"any": [{"with": {"type": "t.a"}}], "until": "( . | length ) == 3"})
    end = await listened(stage, document, {}, *(event("t.a", number) for number in range(5)))
    assert end.output == [0, 1, 2]


async def test_until_an_event_which_is_not_part_of_the_output(stage: Stage) -> None:
    document = listen({"any": [{"with": {"type": "t.a"}}], "until": {"one": {"with": {"type": "t.stop"}}}})
    end = await listened(stage, document, {}, event("t.a", 1), event("t.a", 2), event("t.stop", 3))
    assert end.output == [1, 2]


async def test_correlation_with_the_first_event(stage: Stage) -> None:
    same = {"order": {"from": "${ .data.order }"}}
    filters = [{"with": {"type": "t.a"}, "correlate": same}, {"with": {"type": "t.b"}, "correlate": same}]
    events = [event("t.a", {"order": 1}), event("t.b", {"order": 2}), event("t.b", {}), event("t.b", {"order": 1})]
    end = await listened(stage, listen({"all": filters}), {}, *events)
    assert end.output == [{"order": 1}, {"order": 1}]


async def test_correlation_with_what_is_expected(stage: Stage) -> None:
    meant = {"with": {"type": "t.a"}, "correlate": {"order": {"from": ".data.order", "expect": "${ .wanted }"}}}
    end = await listened(
        stage, listen({"one": meant}), {"wanted": 7}, event("t.a", {"order": 1}), event("t.a", {"order": 7})
    )
    assert end.output == [{"order": 7}]


@pytest.mark.parametrize(("first", "other"), [(1, True), ({"a": [0]}, {"a": [False]})])
async def test_true_does_not_belong_to_1(stage: Stage, first: Any, other: Any) -> None:
    same = {"order": {"from": "${ .data.order }"}}
    filters = [{"with": {"type": "t.a"}, "correlate": same}, {"with": {"type": "t.b"}, "correlate": same}]
    events = [event("t.a", {"order": first}), event("t.b", {"order": other}), event("t.b", {"order": first})]
    end = await listened(stage, listen({"all": filters}), {}, *events)
    assert json.dumps(end.output) == json.dumps([{"order": first}, {"order": first}])


async def test_foreach(stage: Stage) -> None:
    document = listen(
        {"any": [{"with": {"type": "t.a"}}], "until": "( . | length ) == 2"},
        foreach={
            "item": "heard",
            "at": "number",
            "do": [{"double": {"set": {"n": "${ $heard.n * 2 }", "at": "${ $number }"}}}],
            "output": {"as": "${ .n }"},
            "export": {"as": "${ {last: .} }"},
        },
    )
    document["do"].append({"after": {"set": {"list": "${ . }", "last": "${ $last }"}}})
    end = await listened(stage, document, {}, event("t.a", {"n": 1}), event("t.a", {"n": 2}))
    assert end.output == {"list": [2, 4], "last": 4}


async def test_end_in_foreach_ends_a_listener_that_would_go_on_for_ever(stage: Stage) -> None:
    document = listen(
        {"any": [], "until": False}, foreach={"do": [{"last": {"set": {"got": "${ $item }"}, "then": "end"}}]}
    )
    assert (await listened(stage, document, {}, event("t.a", 5))).output == {"got": 5}


async def test_a_listener_that_goes_on_for_ever_counts_and_keeps_nothing(stage: Stage) -> None:
    seen = {"seen": {"set": {"seen": "${ $seen + [$index] }"}}}
    over = {"over": {"switch": [{"last": {"when": "$item == 9", "then": "end"}}, {"go": {"then": "continue"}}]}}
    document = listen({"any": [{"with": {"type": "t.a"}}], "until": False}, foreach={"do": [seen, over]})
    document["do"].insert(0, {"init": {"set": {"seen": []}}})
    end = await listened(stage, document, {}, *(event("t.a", number) for number in range(10)))
    assert end.output == {"seen": list(range(10))}


async def test_nothing_is_lost_between_two_listeners(stage: Stage) -> None:
    document = {
        "do": [
            {"first": {"listen": {"to": {"one": {"with": {"type": "t.a"}}}}}},
            {"pause": {"wait": {"milliseconds": 50}}},
            {"second": {"listen": {"to": {"one": {"with": {"type": "t.b"}}}}}},
            {"third": {"listen": {"to": {"one": {"with": {"type": "t.a"}}}}}},
        ]
    }
    events = [event("t.b", 1), event("t.a", 2), event("t.a", 3)]
    assert (await listened(stage, document, {}, *events)).output == [3]


async def test_branches_hear_the_same_event(stage: Stage) -> None:
    hear = {"listen": {"to": {"one": {"with": {"type": "t.a"}}}}}
    document = {"do": [{"both": {"fork": {"branches": [{"x": hear}, {"y": hear}]}}}]}
    assert (await listened(stage, document, {}, event("t.a", 1), event("t.a", 2))).output == [[1], [1]]


async def test_what_one_listener_took_a_later_one_does_not_hear_though_another_has_it_still_before_it(
    stage: Stage,
) -> None:
    hear = {"listen": {"to": {"one": {"with": {"type": "t.a"}}}}}
    hold = {"hold": {"listen": {"to": {"one": {"with": {"type": "t.go"}}}}}}
    three = {"any": [{"with": {"type": "t.a"}}], "until": "length == 3"}
    slow = {"listen": {"to": three}, "foreach": {"do": [hold], "output": {"as": "${ $item }"}}}
    quick = [{name: {**hear, "export": {"as": "${ [$context[]?, .[0]] }"}}} for name in ("one", "two", "three")]
    all_of_them = {"tell": {"set": {"all": "${ $context }"}}}
    document = {"do": [{"both": {"fork": {"branches": [{"x": {"do": [*quick, all_of_them]}}, {"y": slow}]}}}]}
    events = [*(event("t.a", number) for number in (1, 2, 3)), *(event("t.go", None) for _ in range(3))]
    assert (await listened(stage, document, [], *events)).output == [{"all": [1, 2, 3]}, [1, 2, 3]]


async def test_a_filter_of_all_that_fails_over_an_event_which_has_its_place_ends_nothing(stage: Stage) -> None:
    meant = {"all": [{"with": {"type": "t.a"}}, {"with": {"data": "${ .deep.x }"}}]}
    end = await listened(stage, listen(meant), {}, event("t.a", 5), event("t.b", {"deep": {"x": True}}))
    assert end.output == [5, {"deep": {"x": True}}]
    end = await listened(stage, listen(meant), {}, event("t.b", 5))
    assert end.error["instance"] == "/do/0/hear/listen/to/all/1/with/data", "there is no place for this one"


async def test_a_run_hears_what_it_emits(stage: Stage) -> None:
    document = {
        "do": [
            {"say": {"emit": {"event": {"with": {"source": "urn:me", "type": "t.own", "data": 9}}}}},
            {"hear": {"listen": {"to": {"one": {"with": {"type": "t.own"}}}}}},
        ]
    }
    assert (await stage.run(document, {})).output == [9]


async def test_workflows_talk_to_each_other(stage: Stage) -> None:
    job_id = await stage.start(listen({"one": {"with": {"type": "t.talk"}}}), {})
    await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
    await stage.run({"do": [{"e": {"emit": {"event": {"with": {"source": "urn:x", "type": "t.talk"}}}}}]}, {})
    assert (await stage.result(job_id)).output == [None]


async def test_a_listener_runs_out_of_time(stage: Stage) -> None:
    document = listen({"one": {"with": {"type": "t.never"}}}, timeout={"after": {"milliseconds": 100}})
    assert (await stage.run(document, {})).error["status"] == 408


async def test_a_listener_can_be_cancelled(stage: Stage) -> None:
    job_id = await stage.start(listen({"one": {"with": {"type": "t.never"}}}), {})
    await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
    await stage.house.client.call("JobService.Delete", value=job_id)
    assert (await stage.result(job_id)).status == "Cancelled"
    assert stage.house.daemon.engine.bus.listeners == 0


BAD, FAIL = "${ .x.y }", "${ error }"


@pytest.mark.parametrize(
    ("place", "meant"),
    [
        ("one/with/data", {"one": {"with": {"data": BAD}}}),
        ("one/with/data", {"one": {"with": {"data": {"a/b": BAD}}}}),
        ("any/1/with/subject", {"any": [{"with": {"type": "t.b"}}, {"with": {"type": "t.a", "subject": FAIL}}]}),
        ("all/0/correlate/a~1b/from", {"all": [{"with": {"type": "t.a"}, "correlate": {"a/b": {"from": ".data.x"}}}]}),
        (
            "one/correlate/o/expect",
            {"one": {"with": {"type": "t.a"}, "correlate": {"o": {"from": ".id", "expect": FAIL}}}},
        ),
        ("until", {"any": [], "until": ".[0].x"}),
        ("until/one/with/data", {"any": [], "until": {"one": {"with": {"data": BAD}}}}),
    ],
)
async def test_an_expression_of_a_filter_that_fails(stage: Stage, place: str, meant: dict[str, Any]) -> None:
    end = await listened(stage, listen(meant), {}, event("t.a", 5))
    assert (end.error["status"], end.error["instance"]) == (400, f"/do/0/hear/listen/to/{place}")


async def test_a_pattern_is_for_the_whole_attribute(stage: Stage) -> None:
    meant = {"one": {"with": {"type": "t.a", "subject": "order-[0-9]+"}}}
    wrong = [event("t.a", 1, subject=text) for text in ("order-1\nx", "x\norder-1", "order-1\n", "xorder-1")]
    assert (await listened(stage, listen(meant), {}, *wrong, event("t.a", 2, subject="order-1"))).output == [2]


async def test_a_pattern_that_takes_for_ever_ends_its_listener_and_holds_up_nothing(tmp_path: Path) -> None:
    async with open_stage(tmp_path) as stage:
        document = listen({"one": {"with": {"subject": "(x+x+)+y"}}})
        job_id = await stage.start(document, {})
        await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await publish(stage, event("t.a", subject="x" * 50))
        async with turns() as seen:
            end = await stage.result(job_id)
        assert (end.error["status"], end.error["instance"]) == (400, "/do/0/hear/listen/to/one/with/subject")
        assert seen.longest_sec < 0.3  # half a second in the daemon itself


async def test_an_unrelated_event_does_not_reach_the_expressions_of_a_filter(stage: Stage) -> None:
    document = listen({"one": {"with": {"data": "${ .x > 1 }", "subject": "s.*", "type": "t.a"}}})
    events = [event("t.b", 5, subject="s"), event("t.a", 5, subject="x"), event("t.a", {"x": 2}, subject="sub")]
    assert (await listened(stage, document, {}, *events)).output == [{"x": 2}]


async def test_a_listener_inside_foreach_hears_another_event(stage: Stage) -> None:
    inner = {"inner": {"listen": {"to": {"one": {"with": {"type": "t.a"}}}}}}
    document = listen({"one": {"with": {"type": "t.a"}}}, foreach={"do": [inner]})
    assert (await listened(stage, document, {}, event("t.a", 1), event("t.a", 2))).output == [[2]]


async def test_events_for_another_listener_do_not_make_one_too_slow(tmp_path: Path) -> None:
    async with open_stage(tmp_path, WORKFLOW_EVENTS_KEPT="3") as small:
        slow = {"do": [{"w": {"listen": {"to": {"one": {"with": {"type": "t.go"}}}}}}]}
        branches = [
            listen({"any": [{"with": {"type": "t.a"}}], "until": "length == 2"}, foreach=slow)["do"][0],
            {"b": {"listen": {"to": {"any": [{"with": {"type": "t.b"}}], "until": "length == 9"}}}},
        ]
        job_id = await small.start({"do": [{"f": {"fork": {"branches": branches}}}]}, {})
        await until(lambda: small.house.daemon.engine.bus.listeners > 0)
        await publish(small, event("t.a", 1))
        for number in range(9):
            await publish(small, event("t.b", number))
        await publish(small, event("t.a", 2), event("t.go", "x"))
        await publish(small, event("t.go", "y"))
        with anyio.fail_after(PATIENCE_SEC):
            assert (await small.result(job_id)).output == [[["x"], ["y"]], list(range(9))]


async def test_large_events_and_many_listeners(stage: Stage) -> None:
    document = listen({"one": {"with": {"type": "t.large"}}}, output={"as": "${ .[0] | length }"})
    before = stage.house.daemon.engine.bus.listeners
    jobs = [await stage.start(document, {}) for _ in range(3)]
    await until(lambda: stage.house.daemon.engine.bus.listeners == before + len(jobs))
    await publish(stage, event("t.large", "x" * 1_000_000))
    assert [(await stage.result(job_id)).output for job_id in jobs] == [1_000_000] * 3


# ------------------------------------------------------------ what listeners take is written down


async def test_a_durable_listener_goes_on_with_what_it_has_taken(tmp_path: Path) -> None:
    document = listen({"all": [{"with": {"type": t}} for t in ("t.a", "t.b", "t.c")]})
    async with open_stage(tmp_path, SHUTDOWN_GRACE_SEC="0") as stage:
        job_id = await stage.start(document, {}, worker="kept")
        bus = stage.house.daemon.engine.bus
        await until(lambda: bus.listeners > 0)
        await publish(stage, event("t.b", 1), event("t.a", 2))
        await until(lambda: _notes(tmp_path) >= 4)  # how to run it, what it began with, two events
    async with open_stage(tmp_path, keep=True) as stage:
        await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await publish(stage, event("t.b", 3), event("t.c", 4))
        with anyio.fail_after(PATIENCE_SEC):
            assert (await stage.result(job_id, "kept")).output == [1, 2, 4]


async def test_a_durable_listener_still_finds_a_filter_for_each_event(tmp_path: Path) -> None:
    document = listen({"all": [{"with": {"type": r"t\..*"}}, {"with": {"type": "t.a"}}]})
    async with open_stage(tmp_path, SHUTDOWN_GRACE_SEC="0") as stage:
        job_id = await stage.start(document, {}, worker="kept")
        await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await publish(stage, event("t.a", 1))
        await until(lambda: _notes(tmp_path) >= 3)
    async with open_stage(tmp_path, keep=True) as stage:
        await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await publish(stage, event("t.b", 2))
        with anyio.fail_after(PATIENCE_SEC):
            assert (await stage.result(job_id, "kept")).output == [1, 2]


TWO = [
    {"first": {"listen": {"to": {"one": {"with": {"type": "t.go"}}}}}},
    {"second": {"listen": {"to": {"one": {"with": {"type": "t.a"}}}}}},
]


async def test_a_durable_run_keeps_what_it_has_heard_for_a_later_listener(tmp_path: Path) -> None:
    async with open_stage(tmp_path, SHUTDOWN_GRACE_SEC="0") as stage:
        job_id = await stage.start({"do": TWO}, {}, worker="kept")
        await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await publish(stage, event("t.a", 1), event("t.a", 2))
        assert _notes(tmp_path) >= 2  # before the answer
    async with open_stage(tmp_path, keep=True) as stage:
        await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
        await publish(stage, event("t.go"))
        with anyio.fail_after(PATIENCE_SEC):
            assert (await stage.result(job_id, "kept")).output == [1]
    assert _notes(tmp_path) == 0


async def test_a_run_that_waits_keeps_what_it_has_heard(stage: Stage) -> None:
    ask = {"ask": {"set": {"q": 1}, "then": "wait"}}
    job_id = await stage.start({"do": [TWO[0], ask, TWO[1]]}, {})
    await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
    await publish(stage, event("t.a", 1), event("t.go"))
    assert (await stage.result(job_id)).status == "Waiting"
    with anyio.fail_after(PATIENCE_SEC):
        assert (await stage.result(await stage.resume(job_id))).output == [1]


def _notes(folder: Path) -> int:
    with contextlib.closing(sqlite3.connect(next(folder.glob("*.sqlite3")))) as database:
        return database.execute("select count(*) from job_note").fetchone()[0]


# ------------------------------------------------------------ how workflows are doing

PHASES = "io.serverlessworkflow."


@contextlib.asynccontextmanager
async def overheard(stage: Stage, *types: str) -> AsyncIterator[list[dict[str, Any]]]:
    """Subscribe to events; the list grows."""
    client, method = stage.house.client, "EventService.Subscribe"
    heard: list[dict[str, Any]] = []
    async with client.open(method) as stream, anyio.create_task_group() as tasks:
        before = stage.house.daemon.engine.bus.listeners
        await stream.send_message(client.request(method, None, {"types": list(types)}), end=True)
        await until(lambda: stage.house.daemon.engine.bus.listeners > before)

        async def read() -> None:
            while True:
                heard.append(json.loads(client.reply(method, await stream.recv_message()).event))

        tasks.start_soon(read)
        yield heard
        tasks.cancel_scope.cancel()
        await stream.cancel()


def phases(heard: list[dict[str, Any]]) -> list[str]:
    """Return what events say, in short."""
    return [f"{each['type'].removeprefix(PHASES)} {each['data'].get('task', '')}".strip() for each in heard]


async def test_how_a_workflow_is_doing(stage: Stage) -> None:
    async with overheard(stage, *(f"{PHASES}{of}.{what}.v1" for of in ("workflow", "task") for what in WHAT)) as heard:
        document = """
        do:
          - a: {set: {x: 1}}
          - left-out: {if: .x == 2, set: {x: 2}}
          - t:
              try: [{bad: {raise: {error: {type: https://x.org/e, status: 500}}}}]
              catch: {retry: {limit: {attempt: {count: 1}}}, then: continue}
        """
        end = await stage.run(document, {"n": 1})
        await until(lambda: heard[-1:] != [] and heard[-1]["type"] == f"{PHASES}workflow.completed.v1")
    assert phases(heard) == [
        "workflow.started.v1",
        "task.created.v1 /do/0/a",
        "task.started.v1 /do/0/a",
        "task.completed.v1 /do/0/a",
        "task.created.v1 /do/2/t",
        "task.started.v1 /do/2/t",
        "task.created.v1 /do/2/t/try/0/bad",
        "task.started.v1 /do/2/t/try/0/bad",
        "task.faulted.v1 /do/2/t/try/0/bad",
        "task.retried.v1 /do/2/t",
        "task.created.v1 /do/2/t/try/0/bad",
        "task.started.v1 /do/2/t/try/0/bad",
        "task.faulted.v1 /do/2/t/try/0/bad",
        "task.completed.v1 /do/2/t",
        "workflow.completed.v1",
    ]
    first, last, name = heard[0], heard[-1], f"flow-{end.id}.t"
    assert all(problem_of(each) is None and each["subject"] == end.id for each in heard)
    assert {each["source"] for each in heard} == {"/t/flow/1.0.0"}
    assert first["data"]["name"] == last["data"]["name"] == name
    assert first["data"]["definition"] == {"namespace": "t", "name": "flow", "version": "1.0.0"}
    assert heard[3]["data"].keys() == {"workflow", "task", "completedAt", "output"}
    assert (heard[3]["data"]["workflow"], heard[3]["data"]["output"]) == (name, {"x": 1})
    assert heard[8]["data"]["error"]["status"] == 500
    assert last["data"].keys() == {"name", "completedAt", "output"}


WHAT = ("created", "started", "suspended", "resumed", "retried", "cancelled", "faulted", "completed")


async def test_how_a_run_ends_badly_or_waits(stage: Stage) -> None:
    async with overheard(stage, f"{PHASES}workflow.status-changed.v1", f"{PHASES}task.cancelled.v1") as heard:
        await stage.run("do: [{bad: {raise: {error: {type: https://x.org/e, status: 500}}}}]", {})
        waits = await stage.start("do: [{ask: {set: {q: 1}, then: wait}}, {z: {set: {z: 1}}}]", {})
        await stage.result(waits)
        await stage.result(await stage.resume(waits))
        slow = await stage.start("do: [{w: {wait: {hours: 1}}}]", {})
        await until(lambda: len(heard) == 7)
        await stage.house.client.call("JobService.Delete", value=slow)
        await until(lambda: len(heard) == 9)
    said = [each["data"].get("status") or each["data"]["task"] for each in heard]
    assert said == [
        *("running", "faulted"),
        *("running", "suspended", "running", "completed"),
        *("running", "/do/0/w", "cancelled"),
    ]


async def test_tasks_around_the_one_that_waits_are_resumed_with_the_run(stage: Stage) -> None:
    text = "do: [{outer: {do: [{ask: {set: {q: 1}, then: wait}}, {z: {set: {z: 1}}}]}}]"
    async with overheard(stage, f"{PHASES}*") as heard:
        waits = await stage.start(text, {})
        await stage.result(waits)
        await stage.result(await stage.resume(waits))
        await until(lambda: "workflow.completed.v1" in phases(heard))
    ask, last = "/do/0/outer/do/0/ask", "/do/0/outer/do/1/z"
    assert [each for each in phases(heard) if "status-changed" not in each] == [
        "workflow.started.v1",
        *("task.created.v1 /do/0/outer", "task.started.v1 /do/0/outer"),
        *(f"task.created.v1 {ask}", f"task.started.v1 {ask}", f"task.completed.v1 {ask}"),
        *("task.suspended.v1 /do/0/outer", "workflow.suspended.v1"),
        *("workflow.resumed.v1", "task.resumed.v1 /do/0/outer"),
        *(f"task.created.v1 {last}", f"task.started.v1 {last}", f"task.completed.v1 {last}"),
        *("task.completed.v1 /do/0/outer", "workflow.completed.v1"),
    ]
    assert next(each["data"] for each in heard if each["type"].endswith("task.resumed.v1"))["resumedAt"]


async def test_what_listeners_correlate_is_told(stage: Stage) -> None:
    async with overheard(stage, f"{PHASES}*") as heard:
        same = {"order": {"from": ".data.order"}}
        await listened(
            stage, listen({"one": {"with": {"type": "t.a"}, "correlate": same}}), {}, event("t.a", {"order": 7})
        )
        await until(lambda: heard[-1:] != [] and heard[-1]["data"].get("status") == "completed")
    told = [each for each in heard if "correlation" in each["type"]]
    assert phases(told) == ["workflow.correlation-started.v1", "workflow.correlation-completed.v1"]
    assert told[1]["data"]["correlationKeys"] == {"order": 7}


async def test_who_listens_for_everything_is_not_told_how_workflows_are_doing(stage: Stage) -> None:
    bus = stage.house.daemon.engine.bus
    async with overheard(stage) as heard:
        assert not bus.watched
        job_id = await stage.start(listen({"any": []}), {})
        await until(lambda: bus.listeners == 2)
        await stage.run({"do": [{"a": {"set": {"x": 1}}}]}, {})
        await publish(stage, event("t.a", 1))
        assert (await stage.result(job_id)).output == [1]
        await until(lambda: bool(heard))
    assert [each["type"] for each in heard] == ["t.a"]


async def test_a_workflow_listens_for_the_end_of_another_but_hears_nothing_of_itself(stage: Stage) -> None:
    meant = {"type": f"{PHASES}task.completed.v1", "source": "/t/flow/.*"}
    document = {"do": [{"a": {"set": {"x": 1}}}, *listen({"one": {"with": meant}})["do"]]}
    job_id = await stage.start(document, {})
    await until(lambda: stage.house.daemon.engine.bus.watched)
    await stage.run({"do": [{"b": {"set": {"y": 2}}}]}, {})
    (heard,) = (await stage.result(job_id)).output
    assert (heard["task"], heard["output"]) == ("/do/0/b", {"y": 2})


# ------------------------------------------------------------ the outside


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "events[0] is not JSON"),
        ("[]", "no object"),
        ('{"specversion": "1.0", "id": "1", "type": "a"}', "source is missing"),
        (json.dumps({**EVENT, "data": 1, "data_base64": ""}), "both"),
        (json.dumps(EVENT)[:-1] + ', "data": NaN}', "NaN is no JSON"),
        (json.dumps(EVENT)[:-1] + ', "data": 1e999}', "1e999 is too large"),
        (json.dumps(EVENT)[:-1] + ', "data": ["\\ud800"]}', "half a surrogate pair"),
        (json.dumps(EVENT)[:-1] + ', "data": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        (json.dumps({**EVENT, "data": nested(129)}), "data is nested deeper than 128 levels"),
        (json.dumps({**EVENT, "data": ["x" * 70_000, nested(900)]}), "data is nested deeper than 128 levels"),
        (json.dumps({**EVENT, "id": 5}), "id is 5"),
        (json.dumps({**EVENT, "source": None}), "source is missing"),
    ],
)
async def test_publish_refuses_what_is_no_event(stage: Stage, text: str, words: str) -> None:
    with pytest.raises(GRPCError) as refused:
        await publish(stage, text)
    assert refused.value.status is Status.INVALID_ARGUMENT
    assert words in str(refused.value.message)


async def test_attributes_that_are_null_are_not_there(stage: Stage) -> None:
    sent = {**event("t.a", None), "subject": None}
    end = await listened(stage, listen({"one": {"with": {"type": "t.a"}}}, read="envelope"), {}, sent)
    assert end.output == [event("t.a", None)]


async def test_publish_hands_on_all_or_nothing(stage: Stage) -> None:
    job_id = await stage.start(listen({"one": {"with": {"type": "t.a"}}}), {})
    await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
    with pytest.raises(GRPCError):
        await publish(stage, event("t.a", 1), {})
    await publish(stage, event("t.b", 2), event("t.a", 3))
    assert (await stage.result(job_id)).output == [3]


async def test_the_outside_hears_what_workflows_emit(stage: Stage) -> None:
    client, method = stage.house.client, "EventService.Subscribe"
    async with client.open(method) as stream:
        await stream.send_message(client.request(method, None, {"types": ["t.out"]}), end=True)
        await until(lambda: stage.house.daemon.engine.bus.listeners > 0)
        for type_ in ("t.in", "t.out"):
            await stage.run({"do": [{"e": {"emit": {"event": {"with": {"source": "urn:x", "type": type_}}}}}]}, {})
        heard = json.loads(client.reply(method, await stream.recv_message()).event)
        assert (heard["type"], heard["source"]) == ("t.out", "urn:x")
        await stream.cancel()
    await until(lambda: stage.house.daemon.engine.bus.listeners == 0)


async def test_a_listener_that_is_too_slow_fails_and_loses_nothing_in_silence(tmp_path: Path) -> None:
    async with open_stage(tmp_path, WORKFLOW_EVENTS_KEPT="3") as small:
        slow = {"do": [{"w": {"wait": {"milliseconds": 300}}}]}
        job_id = await small.start(listen({"any": [], "until": False}, foreach=slow), {})
        await until(lambda: small.house.daemon.engine.bus.listeners > 0)
        await publish(small, *(event("t.a", number) for number in range(10)))
        with anyio.fail_after(PATIENCE_SEC):
            end = await small.result(job_id)
        assert end.error["type"].endswith("/runtime")
        assert "WORKFLOW_EVENTS_KEPT" in end.error["detail"]


async def test_events_nobody_takes_are_forgotten_in_time(tmp_path: Path) -> None:
    async with open_stage(tmp_path, WORKFLOW_EVENTS_KEPT="3") as small:
        document = listen({"one": {"with": {"type": "t.a"}}})
        document["do"].insert(0, {"go": {"listen": {"to": {"one": {"with": {"type": "t.go"}}}}}})
        job_id = await small.start(document, {})
        await until(lambda: small.house.daemon.engine.bus.listeners > 0)
        await publish(small, event("t.go"))
        await publish(small, event("t.other"), event("t.a", 1))
        assert (await small.result(job_id)).output == [1]
