"""``call`` of functions: of the document, of catalogs, of files."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobworkerp_standalone.workflow.load import load_text
from tests.support.web import Reply, WebServer, open_web, text
from tests.support.web_values import Seen
from tests.workflow.stage import Stage, document, open_stage

GREET = """
input:
  schema: {document: {type: object, required: [name]}}
set: {greeting: '${ "Hello, \\(.name)!" }'}
"""


@pytest.fixture(scope="module")
async def web() -> AsyncIterator[WebServer]:
    async with open_web() as opened:
        opened.routes["/catalog/functions/greet/1.0.0/function.yaml"] = text(GREET)
        yield opened


@pytest.fixture(scope="module")
async def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    folder = root / "functions" / "greet" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "function.yaml").write_text(GREET)
    return root


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory, root: Path) -> AsyncIterator[Stage]:
    async with open_stage(
        tmp_path_factory.mktemp("stage"), WORKFLOW_ALLOWED_ROOTS=str(root), WORKFLOW_ALLOWED_HOSTS="127.0.0.1"
    ) as opened:
        yield opened


OWN = """
use:
  functions:
    greet: {set: {greeting: '${ "Hello, \\(.name)!" }'}}
    strict:
      input: {schema: {document: {type: object, required: [name]}}}
      set: {ok: true}
    wrong: {set: {v: '${ error("boom") }'}}
    endless: {call: endless, with: {}}
    shell: {run: {shell: {command: 'echo "$1"', arguments: ["${ .word }"]}}}
do:
  - ask: {call: %s, with: %s, output: {as: '${ {r: .} }'}}
"""


async def test_a_function_runs_on_what_with_gives(stage: Stage) -> None:
    end = await stage.run(OWN % ("greet", '{name: "${ .who }"}'), {"who": "ann"})
    assert end.output == {"r": {"greeting": "Hello, ann!"}}


async def test_without_with_a_function_runs_on_the_input(stage: Stage) -> None:
    document = "use: {functions: {double: {set: {n: '${ .n * 2 }'}}}}\ndo: [{a: {call: double}}]"
    assert (await stage.run(document, {"n": 4})).output == {"n": 8}


async def test_a_function_is_any_task(stage: Stage) -> None:
    assert (await stage.run(OWN % ("shell", "{word: hi}"), {})).output == {"r": "hi"}


async def test_the_schema_of_a_function_is_enforced(stage: Stage) -> None:
    end = await stage.run(OWN % ("strict", "{}"), {})
    assert end.error["type"].endswith("/validation")
    assert end.error["instance"] == "/use/functions/strict/input"


async def test_an_error_says_where_in_the_function_it_was(stage: Stage) -> None:
    end = await stage.run(OWN % ("wrong", "{}"), {})
    assert end.error["instance"].startswith("/use/functions/wrong")


async def test_a_function_that_calls_itself_for_ever_ends(stage: Stage) -> None:
    end = await stage.run(OWN % ("endless", "{}"), {})
    assert end.error["type"].endswith("/configuration")


async def test_a_catalog_at_a_url(stage: Stage, web: WebServer) -> None:
    use = f"use: {{catalogs: {{ours: {{endpoint: '{web.url}/catalog'}}}}}}"
    end = await stage.run(f"{use}\ndo: [{{a: {{call: 'greet:1.0.0@ours', with: {{name: ann}}}}}}]", {})
    assert end.output == {"greeting": "Hello, ann!"}
    missing = await stage.run(f"{use}\ndo: [{{a: {{call: 'greet:2.0.0@ours', with: {{name: ann}}}}}}]", {})
    assert (missing.error["status"], missing.error["instance"]) == (500, "/do/0/a/with")


async def test_a_catalog_of_files(stage: Stage, root: Path) -> None:
    use = f"use: {{catalogs: {{ours: {{endpoint: 'file://{root}'}}}}}}"
    end = await stage.run(f"{use}\ndo: [{{a: {{call: 'greet:1.0.0@ours', with: {{name: ann}}}}}}]", {})
    assert end.output == {"greeting": "Hello, ann!"}


async def test_the_default_catalog_is_that_of_the_roots(stage: Stage) -> None:
    end = await stage.run("do: [{a: {call: 'greet:1.0.0@default', with: {name: ann}}}]", {})
    assert end.output == {"greeting": "Hello, ann!"}
    missing = await stage.run("do: [{a: {call: 'nothing:1.0.0@default'}}]", {})
    assert missing.error["status"] == 404


async def test_a_function_at_a_url(stage: Stage, web: WebServer) -> None:
    web.routes["/greet.yaml"] = text(GREET)
    end = await stage.run({"do": [{"a": {"call": f"{web.url}/greet.yaml", "with": {"name": "ann"}}}]}, {})
    assert end.output == {"greeting": "Hello, ann!"}


async def test_errors_of_a_function_elsewhere_are_placed_at_its_call(stage: Stage, web: WebServer) -> None:
    web.routes["/greet.yaml"] = text(GREET)
    end = await stage.run({"do": [{"a": {"call": f"{web.url}/greet.yaml", "with": {}}}]}, {})
    assert end.error["instance"] == "/do/0/a"
    assert "greet.yaml" in end.error["detail"]


async def test_a_function_that_is_none_says_all_that_is_wrong(stage: Stage, web: WebServer) -> None:
    web.routes["/broken.yaml"] = text("sett: {a: 1}")
    end = await stage.run({"do": [{"a": {"call": f"{web.url}/broken.yaml"}}]}, {})
    assert end.error["status"] == 400
    assert "line 1, column 1: the task has no kind" in end.error["detail"]


async def test_functions_take_no_secrets(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_API", "abc")
    use = "use: {secrets: [API], functions: {f: {set: {a: 1}}}}"
    end = await stage.run(f"{use}\ndo: [{{a: {{call: f, with: {{key: '${{ $secrets.API }}'}}}}}}]", {})
    assert (end.error["status"], end.error["instance"]) == (400, "/do/0/a/with")


# Functions in files of their own and the document that calls them


@pytest.mark.parametrize(
    ("function", "word"),
    [
        ("call: nothing-here", "'nothing-here' is neither a kind of call nor declared in use.functions"),
        ("call: f:1@other", "'other' is not declared in use.catalogs"),
        ("call: http\nwith: {method: get, endpoint: {uri: http://x/, authentication: {use: nobody}}}", "'nobody'"),
        ("raise: {error: nope}", "'nope' is not declared in use.errors"),
        ("set: {a: 1}\ntimeout: nope", "'nope' is not declared in use.timeouts"),
        ("try: [{a: {set: {a: 1}}}]\ncatch: {retry: nope}", "'nope' is not declared in use.retries"),
    ],
)
async def test_a_name_that_a_function_does_not_find_is_told(
    stage: Stage, web: WebServer, function: str, word: str
) -> None:
    web.routes["/f.yaml"] = text(function)
    error = (await stage.run({"do": [{"a": {"call": f"{web.url}/f.yaml"}}]}, {})).error
    assert (error["title"], error["instance"]) == ("A function is not valid", "/do/0/a")
    assert word in error["detail"]
    assert "/use/functions" not in error["detail"], "pointers are those of the file"


async def test_a_function_uses_what_its_caller_declares(
    stage: Stage, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKFLOW_SECRET_TOKEN", "sesame-1")
    ask = {"method": "get", "endpoint": {"uri": f"{web.url}/in", "authentication": {"use": "me"}}}
    steps = [
        {"ask": {"call": "http", "with": ask}},
        {"more": {"call": "twice", "with": {"n": 2}}},
        {"end": {"raise": {"error": "mine"}}},
    ]
    web.routes["/f.yaml"] = text(json.dumps({"do": steps}))
    web.routes["/in"] = text("in")
    use = {
        "secrets": ["TOKEN"],
        "authentications": {"me": {"bearer": {"token": "${ $secrets.TOKEN }"}}},
        "functions": {"twice": {"set": {"n": "${ .n * 2 }"}}},
        "errors": {"mine": {"type": "https://example.com/mine", "status": 418, "detail": "${ .n }"}},
    }
    error = (await stage.run({"use": use, "do": [{"a": {"call": f"{web.url}/f.yaml"}}]}, {})).error
    assert (error["type"], error["status"], error["instance"]) == ("https://example.com/mine", 418, "/do/0/a")
    assert error["detail"] == f"4 (in function {web.url}/f.yaml/do/2/end)"
    assert web.seen[-1].one("authorization") == "Bearer sesame-1"


async def test_a_catalog_that_asks_who_asks(stage: Stage, web: WebServer) -> None:
    async def guarded(seen: Seen, reply: Reply) -> None:
        known = seen.all("authorization") == ["Bearer sesame"]
        await reply.answer(200 if known else 401, GREET.encode() if known else b"")

    web.routes["/guarded/functions/greet/1.0.0/function.yaml"] = guarded
    document = """
    use: {catalogs: {ours: {endpoint: {uri: '%s/guarded', authentication: {bearer: {token: %s}}}}}}
    do: [{a: {call: 'greet:1.0.0@ours', with: {name: ann}}}]
    """
    assert (await stage.run(document % (web.url, "sesame"), {})).output == {"greeting": "Hello, ann!"}
    assert "401" in (await stage.run(document % (web.url, "other"), {})).error["detail"]


async def test_functions_that_call_each_other_for_ever_end_with_one_word_about_it(stage: Stage, web: WebServer) -> None:
    web.routes["/self.yaml"] = text(f"call: {web.url}/self.yaml")
    error = (await stage.run({"do": [{"a": {"call": f"{web.url}/self.yaml"}}]}, {})).error
    assert (error["status"], error["detail"].count("in function")) == (400, 1)


async def test_a_function_in_a_file_listens(stage: Stage, web: WebServer) -> None:
    web.routes["/listen.yaml"] = text("listen: {to: {one: {with: {type: t.greeting}}}}")
    emit = {"event": {"with": {"type": "t.greeting", "source": "http://x", "data": 1}}}
    listen = {"call": f"{web.url}/listen.yaml", "timeout": {"after": {"seconds": 10}}}
    branches = [{"a": listen}, {"b": {"emit": emit}}]
    assert (await stage.run({"do": [{"e": {"fork": {"branches": branches}}}]}, {})).output[0] == [1]


async def test_tasks_of_a_function_in_a_file_have_places_of_their_own(stage: Stage, web: WebServer) -> None:
    web.routes["/two.yaml"] = text("do: [{x: {set: {n: 1}}}, {y: {set: {n: 2}}}]")
    job = await stage.start({"do": [{"x": {"call": f"{web.url}/two.yaml"}}, {"y": {"set": {"n": 3}}}]}, {})
    started = [
        each.event.task_started.position
        for each in await stage.events(job)
        if each.WhichOneof("what") == "event" and each.event.WhichOneof("event") == "task_started"
    ]
    assert len(started) == len(set(started)) == 6, started


# What a function is not


async def test_a_run_cannot_wait_in_the_middle_of_a_function(stage: Stage) -> None:
    function = {"do": [{"x": {"set": {"v": 1}, "then": "wait"}}, {"y": {"set": {"v": 2}}}]}
    document = {"use": {"functions": {"f": function}}, "do": [{"a": {"call": "f"}}]}
    error = (await stage.run(document, {})).error
    assert (error["title"], error["instance"]) == ("The run cannot wait here", "/use/functions/f/do/0/x/then")


def test_what_a_function_cannot_be_is_told_by_check() -> None:
    functions = """
    http: {set: {a: 1}}
    a@b: {set: {a: 1}}
    jumps: {set: {a: 1}, then: end}
    waits: {do: [{x: {set: {a: 1}, then: wait}}, {y: {set: {a: 1}}}]}
    """
    warnings = [
        str(each)
        for each in load_text(document(f"use:\n  functions:{functions}\ndo: [{{a: {{set: {{a: 1}}}}}}]")).warnings
    ]
    assert [each.partition(": ")[2] for each in warnings] == [
        "a function of the name 'http' can never be called: it means something else; rename it",
        "a function of the name 'a@b' can never be called: it means something else; rename it",
        "'then' of a function has no meaning; write it at the tasks that call the function",
        "'then: wait' in a function faults when it is reached; wait after the function",
    ]


async def test_a_function_is_no_leaf_for_the_default_time_limit(tmp_path: Path) -> None:
    waits = [{name: {"wait": {"milliseconds": 700}}} for name in ("x", "y")]
    async with open_stage(tmp_path, WORKFLOW_TASK_DEFAULT_TIMEOUT="1") as stage:
        end = await stage.run({"use": {"functions": {"f": {"do": waits}}}, "do": [{"a": {"call": "f"}}]}, {"n": 1})
    assert (end.status, end.output) == ("Completed", {"n": 1})


@pytest.mark.parametrize("given", ["${ 3 }", "${ [1] }"])
async def test_what_is_given_to_a_function_is_an_object(stage: Stage, given: str) -> None:
    document = {"use": {"functions": {"f": {"set": {"v": 1}}}}, "do": [{"a": {"call": "f", "with": given}}]}
    error = (await stage.run(document, {})).error
    assert (error["title"], error["instance"]) == ("with is no object", "/do/0/a/with")


@pytest.mark.parametrize("own", [True, False])
async def test_a_run_goes_on_inside_a_function(stage: Stage, web: WebServer, tmp_path: Path, own: bool) -> None:
    steps, stop = tmp_path / "steps", tmp_path / "stop"
    stop.touch()

    def noting(number: int, script: str = "") -> dict[str, object]:
        shell = {"command": "sh", "args": ["-c", f"{script} echo {number} >> {steps}"], "treatNonzeroAsError": True}
        return {f"t{number}": {"run": {"shell": shell}}}

    function = {"do": [noting(1), noting(2, f"test ! -e {stop} || exit 1;"), noting(3)]}
    web.routes["/steps.yaml"] = text(json.dumps(function))
    name = "f" if own else f"{web.url}/steps.yaml"
    flow = {"use": {"functions": {"f": function}}, "do": [noting(0), {"call": {"call": name}}, noting(4)]}
    job = await stage.start(flow, {}, "kept")
    assert (await stage.result(job, "kept")).status == "Faulted"
    assert steps.read_text().split() == ["0", "1"]
    stop.unlink()
    assert (await stage.result(await stage.resume(job), "kept")).status == "Completed"
    assert steps.read_text().split() == ["0", "1", "2", "3", "4"]
