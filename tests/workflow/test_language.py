"""Forms of the DSL that have no case in a specification: as its reference and its examples write them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflow.cases import Case, Fault, table
from tests.workflow.stage import Stage

FAILS = 'raise: {error: {type: "https://x.org/e", status: 503}}'


@table(
    Case("a wait by an expression", 'do: [{w: {wait: "${ .pause }"}}]', {"pause": "PT0.01S"}, {"pause": "PT0.01S"}),
    Case(
        "a wait by an expression that gives an object",
        'do: [{w: {wait: "${ {milliseconds: .n} }"}}]',
        {"n": 5},
        {"n": 5},
    ),
    Case(
        "a wait by an expression that gives no duration",
        'do: [{w: {wait: "${ .n }"}}]',
        {"n": 5},
        fault=Fault(400, "validation", "/do/0/w/wait", ("gives 5",)),
    ),
    Case(
        "a wait by an expression that fails",
        'do: [{w: {wait: "${ .n.x }"}}]',
        {"n": 5},
        fault=Fault(400, "expression", "/do/0/w/wait"),
    ),
    Case(
        "a limit of a task by an expression",
        'do: [{w: {input: {from: .inner}, wait: PT1H, timeout: {after: "${ .limit }"}}}]',
        {"inner": {"limit": "PT0.02S"}},
        fault=Fault(408, "timeout", "/do/0/w", ("20 ms",)),
    ),
    Case(
        "a named limit by an expression",
        'use: {timeouts: {soon: {after: "${ .limit }"}}}\ndo: [{w: {wait: PT1H, timeout: soon}}]',
        {"limit": {"milliseconds": 20}},
        fault=Fault(408, "timeout", "/do/0/w", ("20 ms",)),
    ),
    Case(
        "a limit of a job by an expression",
        'do: [{s: {run: {shell: sleep 3600}, timeout: {after: "${ .limit }"}}}]',
        {"limit": "PT0.1S"},
        fault=Fault(408, "timeout", "/do/0/s", ("100 ms",)),
    ),
    Case(
        "a limit that gives no duration",
        'do: [{w: {wait: PT1H, timeout: {after: "${ .limit }"}}}]',
        {"limit": {"weeks": 1}},
        fault=Fault(400, "validation", "/do/0/w/timeout/after", ("'weeks' is no unit",)),
    ),
    Case(
        "a limit of the workflow sees its input",
        'timeout: {after: "${ $workflow.input.limit }"}\ninput: {from: .data}\ndo: [{w: {wait: PT1H}}]',
        {"limit": "PT0.02S", "data": {}},
        fault=Fault(408, "timeout", "", ("20 ms",)),
    ),
    Case(
        "a retry policy by expressions that see the error",
        f"""
        do:
          - t:
              try: [{{bad: {{{FAILS}}}}}]
              catch:
                as: lost
                retry:
                  delay: "${{ if $lost.status == 503 then .delay else error end }}"
                  jitter: {{from: "${{ .low }}", to: "${{ .high }}"}}
                  limit: {{attempt: {{count: 2, duration: "${{ .most }}"}}, duration: "${{ .most }}"}}
                do: [{{h: {{set: {{gave: up}}}}}}]
        """,
        {"delay": "PT0.001S", "low": "PT0S", "high": "PT0.001S", "most": "PT1M"},
        {"gave": "up"},
    ),
    Case(
        "a delay that gives no duration",
        f'do: [{{t: {{try: [{{bad: {{{FAILS}}}}}], catch: {{retry: {{delay: "${{ .delay }}"}}}}}}}}]',
        {"delay": "soon"},
        fault=Fault(400, "validation", "/do/0/t/catch/retry/delay", ("soon",)),
    ),
)
async def test_durations_by_expressions(stage: Stage, case: Case) -> None:
    await case.holds(stage)


def _caught(catch: str, then: str = "") -> str:
    return f"""
    do:
      - t: {{try: [{{bad: {{if: .fails, {FAILS}}}}}], catch: {catch}{then}}}
      - next: {{set: {{way: next, had: "${{ . }}"}}, then: end}}
      - other: {{set: {{way: other, had: "${{ . }}"}}, then: end}}
    """


BAD = {"fails": True}
DO = "do: [{h: {set: {h: 1}}}]"


@table(
    Case("catch.then names a task", _caught("{then: other}"), BAD, {"way": "other", "had": BAD}),
    Case("catch.then follows its do", _caught(f"{{{DO}, then: other}}"), BAD, {"way": "other", "had": {"h": 1}}),
    Case("catch.then comes before then", _caught("{then: other}", ", then: next"), BAD, {"way": "other", "had": BAD}),
    Case("without an error then counts", _caught("{then: end}", ", then: other"), {}, {"way": "other", "had": {}}),
    Case("catch.then ends the workflow", _caught("{then: end}"), BAD, BAD),
    Case("catch.then leaves the list", _caught(f"{{{DO}, then: exit}}"), BAD, {"h": 1}),
    Case(
        "catch.then by an expression that sees the error",
        _caught('{as: lost, then: \'${ if $lost.status == 503 then "other" else "next" end }\'}'),
        BAD,
        {"way": "other", "had": BAD},
    ),
    Case(
        "catch.then by an expression that gives no text",
        _caught("{then: '${ 5 }'}"),
        BAD,
        fault=Fault(400, "configuration", "/do/0/t/catch/then"),
    ),
    Case(
        "what the handler says comes first",
        _caught("{do: [{h: {set: {h: 1}, then: end}}], then: other}"),
        BAD,
        {"h": 1},
    ),
    Case(
        "an error that is not caught does not go there",
        _caught("{errors: {with: {status: 404}}, then: other}"),
        BAD,
        fault=Fault(503, None, "/do/0/t/try/0/bad"),
    ),
    Case(
        "catch.then after the last retry",
        _caught("{retry: {limit: {attempt: {count: 1}}}, then: other}"),
        BAD,
        {"way": "other", "had": BAD},
    ),
    Case(
        "errors without a filter are all errors",
        _caught("{errors: {}, then: other}"),
        BAD,
        {"way": "other", "had": BAD},
    ),
)
async def test_where_a_caught_error_leads(stage: Stage, case: Case) -> None:
    await case.holds(stage)


@table(
    Case(
        "$context + . adds to the input at first",
        """
        do:
          - a: {set: {x: 1}, export: {as: '$context + .'}}
          - b: {set: {y: 2}, export: {as: '$context + .'}}
          - c: {set: {context: "${ $context }"}}
        """,
        {"given": 0},
        {"context": {"given": 0, "x": 1, "y": 2}},
    ),
    Case(
        "what was exported is all of $context, also for the workflow's output",
        "output: {as: $context}\ndo: [{a: {set: {x: 1}, export: {as: {kept: .x}}}}]",
        {"given": 0},
        {"kept": 1},
    ),
    Case(
        "$context is null after null was exported",
        'do: [{a: {set: {x: 1}, export: {as: "${ null }"}}}, {b: {set: {context: "${ $context }"}}}]',
        {"given": 0},
        {"context": None},
    ),
    Case(
        "a later export replaces an earlier one",
        """
        do:
          - a: {set: {x: 1}, export: {as: {first: .x}}}
          - b: {set: {y: 2}, export: {as: {second: .y}}}
          - c: {set: {context: "${ $context }"}}
        """,
        {"given": 0},
        {"context": {"second": 2}},
    ),
    Case(
        "what an export only passes on hides nothing that was set",
        """
        do:
          - a: {set: {n: 2}, export: {as: '$context + {x: 1}'}}
          - b: {set: {n: "${ $n }", x: "${ $x }", context: "${ $context.n }"}}
        """,
        {"n": 1},
        {"n": 2, "x": 1, "context": 1},
    ),
    Case(
        "what a branch exports ends with it",
        """
        do:
          - f: {fork: {branches: [{a: {set: {x: 1}, export: {as: '$context + .'}}}, {b: {set: {y: 1}}}]}}
          - c: {set: {context: "${ $context.x }"}}
        """,
        {"n": 1},
        {"context": None},
    ),
)
async def test_the_context(stage: Stage, case: Case) -> None:
    await case.holds(stage)


LOOSE = "evaluate: {mode: %s}\ndo: [{a: {set: %s}}]"
TEXTS = """{path: .n, sum: .n + 1, none: .x.y, word: hello, words: hello world, url: "https://x.org/{n}", number: "5",
    fails: .n.x, builtin: error, comment: ".n # x", broken: ".n) | (.m", forced: "${ .n }", inside: [{deep: .n}]}"""


@table(
    Case(
        "loose: what compiles and does not fail is evaluated",
        LOOSE % ("loose", TEXTS),
        {"n": 1},
        {
            "path": 1,
            "sum": 2,
            "none": None,
            "word": "hello",
            "words": "hello world",
            "url": "https://x.org/{n}",
            "number": 5,
            "fails": ".n.x",
            "builtin": "error",
            "comment": 1,
            "broken": ".n) | (.m",
            "forced": 1,
            "inside": [{"deep": 1}],
        },
    ),
    Case("strict: it is a text", LOOSE % ("strict", "{path: .n}"), {"n": 1}, {"path": ".n"}),
    Case(
        "loose: texts within output.as are as everywhere else",
        "evaluate: {mode: loose}\ndo: [{a: {set: {n: 1}, output: {as: {sum: .n + 1, one: '1', words: a b}}}}]",
        {},
        {"sum": 2, "one": 1, "words": "a b"},
    ),
    Case(
        "loose: an expression in its enclosure fails all the same",
        LOOSE % ("loose", '{path: "${ .n.x }"}'),
        {"n": 1},
        fault=Fault(400, "expression", "/do/0/a/set"),
    ),
)
async def test_modes_of_evaluation(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_an_event_comes_from_its_workflow_where_the_document_does_not_say(stage: Stage) -> None:
    end = await stage.run("do: [{e: {emit: {event: {with: {type: com.example.done}}}}}]")
    assert (end.output["type"], end.output["source"]) == ("com.example.done", "/t/flow/1.0.0")


async def test_a_workflow_that_returns_nothing(stage: Stage) -> None:
    child: dict[str, Any] = {"workflowData": {"do": [{"a": {"set": {"x": 1}}}]}}
    end = await stage.run({"do": [{"w": {"run": {"workflow": child, "return": "none"}}}]}, {"given": 0})
    assert end.output == {"given": 0}


@pytest.mark.parametrize("count", [1, 3])
async def test_an_array_in_the_document_is_looped_over(stage: Stage, count: int) -> None:
    loop = {"in": [{"name": f"n{number}", "at": "${ .base }"} for number in range(count)], "each": "one"}
    body = [{"keep": {"set": {"all": "${ .all + [$one] }", "base": "${ .base }"}}}]
    end = await stage.run({"do": [{"l": {"for": loop, "do": body}}]}, {"base": 7})
    assert end.output["all"] == [{"name": f"n{number}", "at": 7} for number in range(count)]
