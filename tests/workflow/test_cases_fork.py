"""Group E: forks."""

from __future__ import annotations

from typing import Any

from tests.workflow.cases import Case, Fault, expression, table
from tests.workflow.stage import Stage

_ENDING = """
do:
  - f: {fork: {compete: %s, branches: [{slow: {wait: PT1H}}, {x: {do: [{a: {set: {x: 1}, then: end}}]}}]}}
  - after: {set: {never: true}}
"""


@table(
    Case(
        "C52 outputs of the branches in order",
        'do: [{f: {fork: {branches: [{x: {set: {a: "${ .n }"}}}, {y: {set: {b: 2}}}]}}}]',
        {"n": 1},
        [{"a": 1}, {"b": 2}],
    ),
    Case(
        "C53 one entry per branch",
        "do: [{f: {fork: {branches: [{x: {do: [{p: {set: {p: 1}}}, {q: {set: {q: 2}}}]}}, {y: {set: {b: 3}}}]}}}]",
        {},
        [{"q": 2}, {"b": 3}],
    ),
    Case(
        "C54 a failing branch fails the fork",
        """do: [{f: {fork: {branches: [{x: {set: {a: '${ error("e") }'}}}, {y: {set: {b: 2}}}]}}}]""",
        {},
        fault=expression("/do/0/f/fork/branches/0/x/set"),
    ),
    Case(
        "of branches that fail at once the first one's error counts",
        """do: [{f: {fork: {branches: [{x: {set: {a: '${ error("e1") }'}}}, {y: {set: {a: '${ error("e2") }'}}}]}}}]""",
        {},
        fault=expression("/do/0/f/fork/branches/0/x/set", "e1"),
    ),
    Case(
        "C56 compete, all fail",
        """
        do:
          - f:
              fork:
                compete: true
                branches: [{x: {set: {a: '${ error("e1") }'}}}, {y: {set: {a: '${ error("e2") }'}}}]
        """,
        {},
        fault=Fault(400, "expression", "/do/0/f", ("e1", "e2")),
    ),
    Case(
        "variables of a branch end with it",
        """
        do:
          - f: {fork: {branches: [{x: {set: {a: 1}}}, {y: {do: [{w: {wait: PT0.05S}}, {s: {set: {b: "${ $a }"}}}]}}]}}
        """,
        {},
        fault=expression(None, "$a"),
    ),
    Case(
        "a branch cannot wait for a resume",
        "do: [{f: {fork: {branches: [{x: {set: {a: 1}, then: '${ \"wait\" }'}}]}}}, {b: {set: {x: 1}}}]",
        {},
        fault=Fault(400, "configuration", "/do/0/f/fork/branches/0/x/then"),
    ),
    Case(
        "a branch that gives null has its place in the output",
        "do: [{f: {fork: {branches: [{x: {wait: PT0S}}, {y: {set: {b: 2}}}]}}}]",
        None,
        [None, {"b": 2}],
    ),
    Case(
        "compete: a branch that fails leaves it to the others",
        """
        do:
          - f:
              fork:
                compete: true
                branches: [{x: {set: {a: '${ error("e1") }'}}}, {y: {do: [{w: {wait: PT0.02S}}, {s: {set: {b: 2}}}]}}]
          - after: {set: {won: "${ .b }"}}
        """,
        {},
        {"won": 2},
    ),
    Case(
        "end in a branch ends the run, and the other branches with it",
        f"{_ENDING % 'false'}output: {{as: '${{ {{out: .}} }}'}}",
        {},
        {"out": {"x": 1}},
    ),
    Case("end in the branch that wins ends the run", _ENDING % "true", {}, {"x": 1}),
)
async def test_forks(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_c55_compete_ends_with_the_first(stage: Stage) -> None:
    end = await stage.run(
        """
        do:
          - f:
              fork:
                compete: true
                branches:
                  - slow: {do: [{w: {wait: {hours: 1}}}, {s: {set: {won: slow}}}]}
                  - fast: {set: {won: fast}}
        """,
        {},
    )
    assert end.output == {"won": "fast"}


async def test_losers_are_cancelled_with_their_jobs(stage: Stage) -> None:
    end = await stage.run(
        """
        do:
          - f:
              fork:
                compete: true
                branches:
                  - slow: {run: {shell: {command: sleep, args: ["3600"]}}}
                  - fast: {do: [{w: {wait: PT0.1S}}, {s: {set: {won: fast}}}]}
        """,
        {},
    )
    assert end.output == {"won": "fast"}
    assert len(stage.house.daemon.engine.live) == 0


async def test_fifty_branches_wait_at_once(stage: Stage) -> None:
    def document(wait: str) -> dict[str, Any]:
        return {"do": [{"f": {"fork": {"branches": [{f"b{number}": {"wait": wait}} for number in range(50)]}}}]}

    await stage.see_at_once(document("PT1H"), 50)
    assert (await stage.run(document("PT0.001S"), {"n": 1})).output == [{"n": 1}] * 50
