"""``use.extensions``: tasks before and after those of a kind."""

from __future__ import annotations

from pathlib import Path

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
