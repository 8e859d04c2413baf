"""``use.extensions``: tasks before and after those of a kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.workflow.stage import Stage

LOG = """
use:
  extensions:
    - logging:
        extend: %s
        %s
        before:
          - say: {run: {shell: {command: 'echo "before $1" >> "$2"', arguments: ["${ $task.reference }", "%s"]}}}
        after:
          - say: {run: {shell: {command: 'echo "after $1" >> "$2"', arguments: ["${ $task.reference }", "%s"]}}}
do:
  - a: {set: {x: 1}}
  - b: {do: [{c: {set: {y: "${ .x + 1 }"}}}]}
"""


async def logged(stage: Stage, folder: Path, kind: str, more: str = "") -> list[str]:
    path = folder / "log"
    end = await stage.run(LOG % (kind, more, path, path), {})
    assert end.output == {"y": 2}, end.text
    return path.read_text().splitlines() if path.exists() else []


async def test_all_tasks_but_those_of_extensions_are_extended(stage: Stage, tmp_path: Path) -> None:
    assert await logged(stage, tmp_path, "all") == [
        "before /do/0/a",
        "after /do/0/a",
        "before /do/1/b",
        "before /do/1/b/do/0/c",
        "after /do/1/b/do/0/c",
        "after /do/1/b",
    ]


async def test_a_kind(stage: Stage, tmp_path: Path) -> None:
    assert await logged(stage, tmp_path, "do") == ["before /do/1/b", "after /do/1/b"]


async def test_composite(stage: Stage, tmp_path: Path) -> None:
    assert await logged(stage, tmp_path, "composite") == ["before /do/1/b", "after /do/1/b"]


async def test_when(stage: Stage, tmp_path: Path) -> None:
    assert await logged(stage, tmp_path, "set", """when: '$task.set.x != null'""") == [
        "before /do/0/a",
        "after /do/0/a",
    ]


async def test_the_first_of_several_is_the_outermost(stage: Stage, tmp_path: Path) -> None:
    path = tmp_path / "log"

    def extension(name: str) -> dict[str, Any]:
        say = {when: {"run": {"shell": f"echo {when} {name} >> '{path}'"}} for when in ("before", "after")}
        return {name: {"extend": "set", **{when: [{"say": task}] for when, task in say.items()}}}

    use = {"extensions": [extension("outer"), extension("inner")]}
    assert (await stage.run({"use": use, "do": [{"a": {"set": {"x": 1}}}]}, {})).output == {"x": 1}
    assert path.read_text().splitlines() == ["before outer", "before inner", "after inner", "after outer"]


async def test_exit_before_a_task_stands_for_its_work(stage: Stage) -> None:
    document = """
    use:
      extensions:
        - mock:
            extend: call
            when: '$task.call == "http" and ($task.with.endpoint.uri | startswith("https://mocked.example"))'
            before:
              - intercept: {set: {content: {foo: bar}}, then: exit}
              - never: {raise: {error: {type: https://example.org/never, status: 500}}}
    do:
      - ask:
          call: http
          with: {method: get, endpoint: {uri: https://mocked.example/x}}
          output: {as: .content}
    """
    assert (await stage.run(document, {})).output == {"foo": "bar"}


async def test_an_error_of_an_extension_is_an_error(stage: Stage) -> None:
    document = """
    use:
      extensions:
        - broken: {extend: set, before: [{r: {raise: {error: {type: https://example.org/no, status: 418}}}}]}
    do: [{a: {set: {x: 1}}}]
    """
    assert (await stage.run(document, {})).error["status"] == 418


async def test_end_in_an_extension_ends_the_workflow(stage: Stage) -> None:
    document = """
    use:
      extensions:
        - stop: {extend: wait, %s: [{s: {set: {stopped: true}, then: end}}, {n: {raise: {error: %s}}}]}
    do: [{a: {set: {x: 1}}}, {w: {wait: {milliseconds: 1}}}, {z: {set: {z: 1}}}]
    """
    for where in ("before", "after"):
        end = await stage.run(document % (where, "{type: https://x.org/e, status: 500}"), {})
        assert (end.status, end.output) == ("Completed", {"stopped": True}), where


async def test_errors_of_extensions_say_where(stage: Stage) -> None:
    document = """
    use:
      extensions:
        - one: {extend: set, when: $task.name == "never", before: [{a: {set: {x: 1}}}]}
        - two: {extend: set, %s}
    do: [{a: {set: {x: 1}}}]
    """
    wrong = 'raise: {error: {type: "https://x.org/e", status: 500}}'
    for text, place in (
        ("when: '. + {}'", "/use/extensions/1/two/when"),
        (f"before: [{{b: {{do: [{{c: {{{wrong}}}}}]}}}}]", "/use/extensions/1/two/before/0/b/do/0/c"),
        (f"after: [{{b: {{{wrong}}}}}]", "/use/extensions/1/two/after/0/b"),
    ):
        end = await stage.run(document % text, 5)
        assert end.error["instance"] == place, end.text


async def test_each_kind_can_be_extended(stage: Stage) -> None:
    tasks = {
        "set": {"set": {"x": 1}},
        "wait": {"wait": {"milliseconds": 1}},
        "do": {"do": [{"i": {"set": {"x": 1}}}]},
        "for": {"for": {"in": "${ [1] }"}, "do": [{"i": {"set": {"x": 1}}}]},
        "fork": {"fork": {"branches": [{"i": {"set": {"x": 1}}}]}},
        "try": {"try": [{"i": {"set": {"x": 1}}}], "catch": {}},
        "switch": {"switch": [{"d": {"then": "continue"}}]},
        "emit": {"emit": {"event": {"with": {"type": "x.kind"}}}},
        "listen": {"listen": {"to": {"any": []}}},
        "call": {"call": "own"},
        "run": {"run": {"shell": {"command": "true"}}},
        "raise": {"raise": {"error": {"type": "https://x.org/e", "status": 500}}},
    }
    for kind, task in tasks.items():
        document = {
            "use": {
                "functions": {"own": {"set": {"x": 1}}},
                "extensions": [{"mock": {"extend": kind, "before": [{"m": {"set": {"as": kind}, "then": "exit"}}]}}],
            },
            "do": [{"t": task}],
        }
        assert (await stage.run(document, {})).output == {"as": kind}


async def test_the_limit_of_a_task_is_not_for_what_extensions_do(stage: Stage) -> None:
    document = """
    use:
      extensions:
        - slow: {extend: set, before: [{w: {wait: PT1.1S}}], after: [{w: {wait: PT1.1S}}]}
    do:
      - a: {set: {x: 1}, timeout: {after: PT1S}}
    """
    assert (await stage.run(document, {})).output == {"x": 1}
