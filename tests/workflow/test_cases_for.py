"""Group D: loops."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from tests.support.patience import PATIENCE_SEC
from tests.workflow.cases import Case, Fault, expression, table
from tests.workflow.stage import Stage, open_stage

BAD_SECOND = """
do:
  - loop:
      for: {in: "${ [1,2,3] }"}
      %s
      do:
        - t: {set: {v: '${ if $item == 2 then error("bad") else $item end }'}}
  - after: {set: {r: "${ $v }"}}
"""


@table(
    Case(
        "C40 the output is that of the last iteration",
        'do: [{loop: {for: {each: i, in: "${ .list }"}, do: [{sq: {set: {sq: "${ $i * $i }"}}}]}}]',
        {"list": [1, 2, 3]},
        {"sq": 9},
    ),
    Case(
        "C41 iterations build on each other",
        """
        do:
          - loop:
              for: {in: "${ .list }"}
              do: [{add: {set: {sum: "${ (.sum // 0) + $item }"}}}]
          - after: {set: {r: "${ $sum }"}}
        """,
        {"list": [1, 2, 3]},
        {"r": 6},
    ),
    Case(
        "C42 default names",
        """
        do:
          - loop:
              for: {in: "${ .list }"}
              do: [{t: {set: {last: '${ "\\($index):\\($item)" }'}}}]
          - after: {set: {r: "${ $last }"}}
        """,
        {"list": ["a", "b"]},
        {"r": "1:b"},
    ),
    Case(
        "C43 in is no array",
        'do: [{loop: {for: {in: "${ .n }"}, do: [{t: {set: {x: 1}}}]}}]',
        {"n": 5},
        fault=Fault(400, "validation", "/do/0/loop/for/in"),
    ),
    Case(
        "a loop over nothing passes its input on",
        'do: [{loop: {for: {in: "${ .list }"}, do: [{t: {set: {x: 1}}}]}}]',
        {"list": []},
        {"list": []},
    ),
    Case(
        "C44 while stops the loop",
        """
        do:
          - loop:
              for: {in: "${ .list }"}
              while: "${ $index < 2 }"
              do: [{t: {set: {last: "${ $item }"}}}]
          - after: {set: {r: "${ $last }"}}
        """,
        {"list": [10, 20, 30]},
        {"r": 20},
    ),
    Case(
        "C45 the item does not survive",
        """
        do:
          - loop: {for: {each: i, in: "${ [1] }"}, do: [{t: {set: {x: 1}}}]}
          - after: {set: {r: "${ $i }"}}
        """,
        {},
        fault=expression("/do/1/after/set"),
    ),
    Case("C46 onError continue", BAD_SECOND % "onError: continue", {}, {"r": 3}),
    Case("C47 an error breaks the loop", BAD_SECOND % "metadata: {}", {}, fault=expression("/do/0/loop/do/0/t/set")),
    Case(
        "C48 a broken while faults in any case",
        'do: [{loop: {for: {in: "${ [1,2] }"}, while: "${ $nope }", onError: continue, do: [{t: {set: {x: 1}}}]}}]',
        {},
        fault=expression("/do/0/loop/while"),
    ),
    Case(
        "C50 exit ends only the iteration",
        """
        do:
          - loop:
              for: {in: "${ [1,2] }"}
              do:
                - a: {set: {seen: "${ $item }"}, then: exit}
                - b: {set: {never: true}}
          - after: {set: {r: "${ $seen }"}}
        """,
        {},
        {"r": 2},
    ),
    Case(
        "C51 a loop cannot wait",
        """
        do:
          - loop:
              for: {in: "${ [1] }"}
              do:
                - a: {set: {x: 1}, then: wait}
                - b: {set: {y: 1}}
        """,
        {},
        fault=Fault(400, "configuration", "/do/0/loop/do/0/a/then"),
    ),
    Case(
        "end in the body ends the run",
        """
        do:
          - loop: {for: {in: "${ [1,2] }"}, do: [{a: {set: {i: "${ $item }"}, then: end}}]}
          - after: {set: {never: true}}
        """,
        {},
        {"i": 1},
    ),
    Case(
        "in that gives null is an empty array",
        'do: [{loop: {for: {in: "${ .none }"}, do: [{t: {set: {x: 1}}}]}}]',
        {"n": 5},
        {"n": 5},
    ),
    Case(
        "while sees what the iteration before left behind",
        'do: [{loop: {for: {in: "${ .list }"}, while: "${ .sum < 3 }", do: [{t: {set: {sum: "${ .sum + $item }"}}}]}}]',
        {"list": [1, 2, 4], "sum": 0},
        {"sum": 3},
    ),
    Case(
        "after an item that failed the next one begins with what the last good one left behind",
        """
        do:
          - loop:
              for: {in: "${ [1, 2, 3] }"}
              onError: continue
              do: [{t: {set: {sum: '${ if $item == 2 then error("bad") else .sum + $item end }'}}}]
        """,
        {"sum": 0},
        {"sum": 4},
    ),
    Case(
        "end in the body of a parallel loop ends the run, and the other iterations with it",
        """
        do:
          - loop:
              for: {in: "${ [1, 2] }"}
              inParallel: true
              do:
                - a: {if: "${ $item == 2 }", set: {i: "${ $item }"}, then: end}
                - w: {wait: PT1H}
          - after: {set: {never: true}}
        """,
        {},
        {"i": 2},
    ),
    Case(
        "parallel: the outputs in order, variables end with their iteration",
        """
        do:
          - loop:
              for: {in: "${ [3,1,2] }"}
              inParallel: true
              do: [{w: {wait: PT0.01S}}, {t: {set: {k: "${ $item }", i: "${ $index }"}}}]
          - after: {set: {all: "${ . }", seen: "${ $context }"}, if: "${ true }"}
        """,
        {"in": 1},
        None,
    ),
)
async def test_loops(stage: Stage, case: Case) -> None:
    if case.name.startswith("parallel"):
        end = await stage.run(case.document, case.given)
        assert end.output["all"] == [{"k": 3, "i": 0}, {"k": 1, "i": 1}, {"k": 2, "i": 2}]
        return
    await case.holds(stage)


async def test_what_is_no_array_is_shown_in_part(stage: Stage) -> None:
    end = await stage.run('do: [{loop: {for: {in: "${ .n }"}, do: [{t: {set: {x: 1}}}]}}]', {"n": "x" * 10_000})
    assert end.error["detail"] == f'for.in gives "{"x" * 199}, no array'


async def test_c49_a_parallel_loop_runs_at_once(stage: Stage) -> None:
    text = """
        do:
          - loop:
              for: {in: "${ [1,2,3,4,5,6,7,8] }"}
              inParallel: true
              do: [{w: {wait: %s}}, {t: {set: {k: "${ $item }"}}}]
        """
    await stage.see_at_once(text % "PT1H", 8)
    assert (await stage.run(text % "PT0.001S", {})).output == [{"k": number} for number in range(1, 9)]


async def test_a_parallel_loop_has_a_cap(stage: Stage) -> None:
    text = 'do: [{loop: {for: {in: "${ [1,2,3,4] }"}, inParallel: 2, do: [{w: {wait: %s}}]}}]'
    await stage.see_at_once(text % "PT1H", 2)
    assert await most_at_once(stage, text % "PT0.001S") <= 2


async def most_at_once(stage: Stage, text: str) -> int:
    """Run a loop over four items, each of which waits, and return how many did so at once at most."""
    job_id = await stage.start(text, {})
    assert (await stage.result(job_id)).status == "Completed"
    waiting = ended = most = 0
    for each in await stage.events(job_id):
        place = "/ROOT/do/0/loop/do/0/w"
        waiting += each.event.HasField("task_started") and each.event.task_started.position == place
        ended += each.event.HasField("task_completed") and each.event.task_completed.position == place
        most = max(most, waiting - ended)
    assert (waiting, ended) == (4, 4)
    return most


async def test_the_cap_of_a_loop_that_names_none_is_a_setting(tmp_path: Path) -> None:
    text = 'do: [{loop: {for: {in: "${ [1,2,3,4] }"}, inParallel: true, do: [{w: {wait: PT0.001S}}]}}]'
    async with open_stage(tmp_path, WORKFLOW_PARALLEL_ITEMS="2") as stage:
        assert await most_at_once(stage, text) <= 2


async def test_an_error_ends_the_other_iterations_of_a_parallel_loop(stage: Stage) -> None:
    with anyio.fail_after(PATIENCE_SEC):
        end = await stage.run(
            """
            do:
              - loop:
                  for: {in: "${ [1,2] }"}
                  inParallel: true
                  do:
                    - bad: {if: "${ $item == 1 }", set: {v: '${ error("bad") }'}}
                    - w: {wait: {hours: 1}}
            """,
            {},
        )
    assert end.error["instance"] == "/do/0/loop/do/0/bad/set"


@pytest.mark.parametrize("parallel", ["false", "true"])
@pytest.mark.parametrize("loop", ["for: {in: .none}", "for: {in: .list}, while: 'false'"])
async def test_over_nothing_the_output_is_the_input(stage: Stage, loop: str, parallel: str) -> None:
    given = {"none": [], "list": [1, 2]}
    end = await stage.run(f"do: [{{e: {{{loop}, inParallel: {parallel}, do: [{{s: {{set: {{v: 1}}}}}}]}}}}]", given)
    assert end.output == given


async def test_items_that_failed_leave_no_trace_in_a_parallel_loop(stage: Stage) -> None:
    end = await stage.run(BAD_SECOND.replace("${ $v }", "${ . }") % "inParallel: true\n      onError: continue", {})
    assert end.output == {"r": [{"v": 1}, {"v": 3}]}


async def test_conditions_of_many_items_keep_nobody_waiting(stage: Stage) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    loop = "for: {in: '${ .items }'}, while: '${ $index + 1 > 0 and $index < 1000 }', inParallel: 2"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        began = time.process_time()
        end = await stage.run(
            f"do: [{{e: {{{loop}, do: [{{s: {{if: '${{ false }}', set: {{v: 1}}}}}}]}}}}]", {"items": [0] * 2000}
        )
        took = time.process_time() - began
        assert end.job_status == "SUCCESS"
        assert turns > took / 0.02, "somebody was kept waiting for more than 20 ms at a time"
        tasks.cancel_scope.cancel()
