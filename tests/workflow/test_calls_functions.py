"""``call`` of functions: of the document, of catalogs, of files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.web import WebServer, open_web, text
from tests.workflow.stage import Stage, open_stage

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
