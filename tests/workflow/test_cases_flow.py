"""Group F: which task comes next."""

from __future__ import annotations

import time

import pytest

from tests.workflow.cases import Case, Fault, table
from tests.workflow.stage import Stage

PICK = """
do:
  - pick:
      switch:
        - big: {when: "${ .n > 10 }", then: high}
        - other: {then: low}
  - low: {set: {r: low}, then: end}
  - high: {set: {r: high}, then: end}
"""


@table(
    Case("C57 a switch branches", PICK, {"n": 15}, {"r": "high"}),
    Case("C57 a switch has a default", PICK, {"n": 1}, {"r": "low"}),
    Case(
        "C58 a switch without a match goes on",
        'do: [{pick: {switch: [{big: {when: "${ .n > 10 }", then: end}}]}}, {next: {set: {seen: "${ .n }"}}}]',
        {"n": 1},
        {"seen": 1},
    ),
    Case(
        "a switch without a match follows its own then",
        "do: [{pick: {switch: [{big: {when: .n > 10, then: end}}], then: c}}, {b: {set: {b: 1}}}, {c: {set: {c: 1}}}]",
        {"n": 1},
        {"c": 1},
    ),
    Case(
        "a default may stand before other cases",
        """
        do:
          - pick: {switch: [{other: {then: low}}, {big: {when: .n > 10, then: high}}]}
          - low: {set: {r: low}, then: end}
          - high: {set: {r: high}, then: end}
        """,
        {"n": 15},
        {"r": "high"},
    ),
    Case(
        "C59 forward jump",
        'do: [{a: {set: {x: 1}, then: c}}, {b: {set: {b: true}}}, {c: {set: {c: "${ .x }"}}}]',
        {},
        {"c": 1},
    ),
    Case(
        "C60 backward jump",
        """
        do:
          - init: {set: {n: 0}}
          - inc: {set: {n: "${ .n + 1 }"}}
          - again: {if: "${ .n < 3 }", set: {n: "${ .n }"}, then: inc}
          - done: {set: {r: "${ .n }"}}
        """,
        {},
        {"r": 3},
    ),
    Case(
        "C61 end and output.as",
        'output: {as: {w: "${ .x }"}}\ndo: [{a: {set: {x: 1}, then: end}}, {b: {set: {y: 1}}}]',
        {},
        {"w": 1},
    ),
    Case(
        "C62 exit from a nested list",
        """
        do:
          - outer: {do: [{i: {set: {i: 1}, then: exit}}, {j: {set: {j: 1}}}]}
          - after: {set: {r: "${ .i }"}}
        """,
        {},
        {"r": 1},
    ),
    Case(
        "C63 unknown target of an expression",
        """do: [{a: {set: {x: 1}, then: '${ "nowhere" }'}}, {b: {set: {y: 1}}}]""",
        {},
        fault=Fault(400, "configuration", "/do/0/a/then", ("nowhere",)),
    ),
    Case(
        "C64 directive from an expression",
        """
        do:
          - a: {set: {target: c}, then: "${ .target }"}
          - b: {set: {b: true}, then: end}
          - c: {set: {c: true}, then: end}
        """,
        {},
        {"c": True},
    ),
    Case("C65 suspension", "do: [{a: {set: {x: 1}, then: wait}}, {b: {set: {y: 1}}}]", {}, {"x": 1}, status="Waiting"),
    Case(
        "the output of a run that waits is that of its last task",
        "output: {as: .never.there, schema: {document: {type: string}}}\n"
        "do: [{a: {set: {x: 1}, then: wait}}, {b: {set: {y: 1}}}]",
        {},
        {"x": 1},
        status="Waiting",
    ),
    Case("C66 suspension at the very end", "do: [{a: {set: {x: 1}, then: wait}}]", {}, {"x": 1}),
    Case(
        "C67 output and export of a composite",
        """
        do:
          - outer:
              do: [{i: {set: {i: 5}}}]
              output: {as: {o: "${ .i }"}}
              export: {as: {e: "${ .o }"}}
          - after: {set: {r: "${ .o }", v: "${ $e }"}}
        """,
        {},
        {"r": 5, "v": 5},
    ),
    Case(
        "end in a nested list ends all",
        "do: [{outer: {do: [{i: {set: {i: 1}, then: end}}]}}, {after: {set: {never: 1}}}]",
        {},
        {"i": 1},
    ),
    Case(
        "if sees the input before its transformation, as . and as $input",
        """
        do:
          - a: {if: "${ .n == 1 and $input.n == 1 }", input: {from: "${ {n: 2} }"}, set: {n: "${ .n }"}}
        """,
        {"n": 1},
        {"n": 2},
    ),
    Case(
        "then sees the output after its transformation, as . and as $output",
        """
        do:
          - a: {set: {way: b}, output: {as: {way: c}}, then: '${ if $output == . then .way else "b" end }'}
          - b: {set: {b: 1}, then: end}
          - c: {set: {c: 1}}
        """,
        {},
        {"c": 1},
    ),
    Case(
        "the tasks of a do begin with its transformed input",
        'do: [{a: {input: {from: .inner}, do: [{s: {set: {seen: "${ . }"}}}]}}]',
        {"inner": 1},
        {"seen": 1},
    ),
    Case(
        "a set whose expression gives no object",
        'do: [{a: {set: "${ .n }"}}]',
        {"n": 5},
        fault=Fault(400, "validation", "/do/0/a/set", ("gives 5",)),
    ),
    Case(
        "suspension in a nested list",
        'do: [{outer: {do: [{i: {set: {i: 1}, then: wait}}], output: {as: "${ {o: . } }"}}}, {after: {set: {n: 1}}}]',
        {},
        {"i": 1},
        status="Waiting",
    ),
)
async def test_flow(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_c63_an_unknown_target_is_refused_before_the_run(stage: Stage) -> None:
    end = await stage.run("do: [{a: {set: {x: 1}, then: nowhere}}, {b: {set: {y: 1}}}]", {})
    assert end.job_status == "OTHER_ERROR"
    assert "nowhere" in end.text


async def test_c68_wait(stage: Stage) -> None:
    begun = time.monotonic()
    end = await stage.run("do: [{a: {wait: PT0.2S}}]", {"n": 1})
    assert end.output == {"n": 1}
    assert time.monotonic() - begun >= 0.2


async def test_a_loop_of_jumps_blocks_nobody_and_can_be_ended(stage: Stage) -> None:
    job_id = await stage.start("do: [{a: {set: {x: 1}, then: a}}]", {})
    assert (await stage.run("do: [{b: {set: {y: 1}}}]", {})).output == {"y": 1}
    assert await stage.house.delete(job_id)
    assert (await stage.result(job_id)).job_status == "CANCELLED"


@pytest.mark.parametrize("depth", [20, 90])
async def test_deep_nesting_runs_or_is_a_clear_error(stage: Stage, depth: int) -> None:
    tasks = [{"a": {"set": {"x": 1}}}]
    for _ in range(depth):
        tasks = [{"d": {"do": tasks}}]
    end = await stage.run({"do": tasks}, {})
    if depth == 20:
        assert end.output == {"x": 1}
    else:
        assert end.status == "Faulted"
        assert "nested" in end.text
