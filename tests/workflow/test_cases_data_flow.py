"""Groups B and C: conditions, and how data moves through a workflow."""

from __future__ import annotations

import pytest

from tests.workflow.cases import Case, Fault, table
from tests.workflow.stage import Stage


@table(
    Case("C23 false if passes the input on", 'do: [{a: {if: "${ .n > 5 }", set: {x: 1}}}]', {"n": 2}, {"n": 2}),
    Case("C24 unwrapped if is jq", 'do: [{a: {if: "false", set: {x: 1}}}]', {"n": 2}, {"n": 2}),
    Case(
        "C25 a fraction and a text are true",
        """do: [{a: {if: "${ 0.5 }", set: {x: 1}}}, {b: {if: '${ "false" }', set: {y: "${ .x }"}}}]""",
        {},
        {"y": 1},
    ),
    Case(
        "C26 then of a skipped task is ignored",
        'do: [{a: {if: "${ false }", set: {x: 1}, then: end}}, {b: {set: {y: 1}}}]',
        {},
        {"y": 1},
    ),
)
async def test_conditions(stage: Stage, case: Case) -> None:
    await case.holds(stage)


@pytest.mark.parametrize(
    ("value", "true"),
    [
        ("0", False),
        ('""', False),
        ("[]", False),
        ("{}", False),
        ("null", False),
        ("1", True),
        ("0.5", True),
        ('"x"', True),
        ("[0]", True),
        ("-1", True),
    ],
)
async def test_truth(stage: Stage, value: str, true: bool) -> None:
    end = await stage.run({"do": [{"a": {"if": f"${{ {value} }}", "set": {"ran": True}}}]}, {})
    assert end.output == ({"ran": True} if true else {})


@table(
    Case(
        "C27 task input.from and raw input",
        'do: [{a: {input: {from: "${ .user }"}, set: {n: "${ .name }", raw: "${ $task.raw_input.user.name }"}}}]',
        {"user": {"name": "ann"}},
        {"n": "ann", "raw": "ann"},
    ),
    Case(
        "C28 task input schema sees the raw input",
        "do: [{a: {input: {schema: {document: {type: object, required: [id]}}, from: {id: 1}}, set: {ok: true}}}]",
        {},
        fault=Fault(400, "validation", "/do/0/a/input", ("id",)),
    ),
    Case(
        "C30 defaults from the input schema",
        """
        input:
          schema:
            document:
              type: object
              properties:
                limit: {type: integer, default: 10}
                opt: {type: object, properties: {deep: {default: 1}}}
                gone: {type: object, properties: {deep: {default: 1}}}
        do: [{a: {set: {v: "${ . }"}}}]
        """,
        {"opt": {}},
        {"v": {"opt": {"deep": 1}, "limit": 10}},
    ),
    Case(
        "C31 a default does not satisfy required",
        """
        input:
          schema: {document: {type: object, required: [limit], properties: {limit: {type: integer, default: 10}}}}
        do: [{a: {set: {v: "${ .limit }"}}}]
        """,
        {},
        fault=Fault(400, "validation"),
    ),
    Case(
        "C32 output.as as an object, variables unaffected",
        """
        do:
          - a: {set: {x: 1, y: 2}, output: {as: {keep: "${ .x }", tag: lit}}}
          - b: {set: {fromOutput: "${ .keep }", fromVar: "${ $y }", gone: "${ .y }"}}
        """,
        {},
        {"fromOutput": 1, "fromVar": 2, "gone": None},
    ),
    Case(
        "texts within output.as are literals unless they begin as a path or variable does",
        """
        do:
          - a:
              set: {x: {y: 1}}
              output:
                as:
                  date: "2024-01-02"
                  number: "007"
                  words: [not, now, length, error, "true", "1 + 1"]
                  url: https://example.com
                  version: 1.0.0
                  name: Mr. X
                  pieces: [./run.sh, ..., "$5", "a | b", ". and more"]
                  path: .x.y
                  deep: [{all: ., first: " .x", quoted: '."x".y', member: '.["x"]'}, $x.y]
        """,
        {},
        {
            "date": "2024-01-02",
            "number": "007",
            "words": ["not", "now", "length", "error", "true", "1 + 1"],
            "url": "https://example.com",
            "version": "1.0.0",
            "name": "Mr. X",
            "pieces": ["./run.sh", "...", "$5", "a | b", ". and more"],
            "path": 1,
            "deep": [{"all": {"x": {"y": 1}}, "first": {"y": 1}, "quoted": 1, "member": {"y": 1}}, 1],
        },
    ),
    Case(
        "texts within input.from and export.as are literals too",
        """
        input: {from: {day: "2024-01-02", n: .n}}
        do:
          - a: {input: {from: {k: now, was: .}}, set: {v: "${ . }"}, export: {as: {e: error, n: .v.was.n}}}
          - b: {set: {v: "${ .v }", e: "${ $e }", n: "${ $n }"}}
        """,
        {"n": 5},
        {"v": {"k": "now", "was": {"day": "2024-01-02", "n": 5}}, "e": "error", "n": 5},
    ),
    Case(
        "input and output of $task are raw, $input and $output transformed",
        """
        do:
          - a:
              input: {from: .inner}
              set: {n: 1, task: "${ $task.input }", input: "${ $input }"}
              output: {as: {n: "${ .n + 1 }", task: .task, input: .input, raw: $task.raw_output.n}}
              export: {as: {out: "${ [$task.output.n, $task.raw_output.n, $output.n] }"}}
          - b: {set: {before: "${ . }", out: "${ $out }"}}
        """,
        {"inner": {"i": 1}},
        {
            "before": {"n": 2, "task": {"inner": {"i": 1}}, "input": {"i": 1}, "raw": 1},
            "out": [1, 1, 2],
        },
    ),
    Case(
        "nobody is authorized where no policy says so",
        'do: [{a: {set: {v: "${ $authorization }"}, output: {as: {v: .v, o: $authorization}}}}]',
        {},
        {"v": None, "o": None},
    ),
    Case(
        "C33 export.as merges variables",
        """
        do:
          - a: {set: {x: 1}, export: {as: {e: "${ .x + 1 }"}}}
          - b: {set: {r: "${ $e }", keep: "${ $x }", context: "${ $context.e }"}}
        """,
        {},
        {"r": 2, "keep": 1, "context": 2},
    ),
    Case(
        "C34 export.as that is no object is the context and no variable",
        """
        do:
          - a: {set: {x: 1}, export: {as: "${ .x }"}}
          - b: {set: {r: "${ .x }", context: "${ $context }"}}
        """,
        {},
        {"r": 1, "context": 1},
    ),
    Case(
        "C35 workflow output.as",
        """
        output: {as: {total: "${ $x + .y }"}}
        do: [{a: {set: {x: 1}}}, {b: {set: {y: "${ .x + 1 }"}}}]
        """,
        {},
        {"total": 3},
    ),
    Case(
        "C36 workflow input.from is applied once",
        """
        input: {from: "${ .a }"}
        do: [{t: {set: {v: "${ . }", whole: "${ $workflow.input }"}}}]
        """,
        {"a": {"a": 1}},
        {"v": {"a": 1}, "whole": {"a": {"a": 1}}},
    ),
    Case("C37 input that is not JSON", 'do: [{a: {set: {v: "${ . }"}}}]', "/home/", {"v": "/home/"}),
    Case("C37 input that is a number", 'do: [{a: {set: {v: "${ . }"}}}]', "5", {"v": 5}),
    Case("C37 no input at all", 'do: [{a: {set: {v: "${ . }"}}}]', "", {"v": None}),
    Case(
        "the output schema sees what output.as gives",
        "do: [{a: {set: {x: 1}, output: {as: .x, schema: {document: {type: integer}}}}}]",
        {},
        1,
    ),
    Case(
        "the export schema sees what export.as gives",
        """
        do:
          - a: {set: {x: 1}, export: {as: .x, schema: {document: {type: integer}}}}
          - b: {set: {context: "${ $context }"}}
        """,
        {},
        {"context": 1},
    ),
    Case(
        "output schema of a task",
        "do: [{a: {set: {x: 1}, output: {schema: {document: {required: [y]}}}}}]",
        {},
        fault=Fault(400, "validation", "/do/0/a/output"),
    ),
    Case(
        "export schema of a task",
        'do: [{a: {set: {x: 1}, export: {as: "${ . }", schema: {document: {required: [y]}}}}}]',
        {},
        fault=Fault(400, "validation", "/do/0/a/export"),
    ),
    Case(
        "output schema of the workflow",
        "output: {schema: {document: {required: [y]}}}\ndo: [{a: {set: {x: 1}}}]",
        {},
        fault=Fault(400, "validation", "/output"),
    ),
    Case(
        "$context is the transformed input until something is exported",
        'input: {from: "${ .a }"}\ndo: [{t: {set: {v: "${ $context.b }"}}}]',
        {"a": {"b": 4}},
        {"v": 4},
    ),
)
async def test_data_flow(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_c29_input_that_does_not_fit_is_never_tried_again(stage: Stage) -> None:
    end = await stage.run(
        "input: {schema: {document: {type: object, required: [id]}}}\ndo: [{a: {set: {ok: true}}}]", {}
    )
    assert end.job_status == "OTHER_ERROR"
    assert end.error["status"] == 400
    assert end.error["instance"] == "/input"


async def test_c38_context_of_settings_counts_before_that_of_args(stage: Stage) -> None:
    text = 'do: [{a: {set: {v: "${ $api }", w: "$${{{ extra }}}"}}}]'
    await stage.worker("settled", text, '{"api":"s"}')
    end = await stage.run("", {}, "settled", workflow_context='{"api":"a","extra":"e"}')
    assert end.output == {"v": "s", "w": "e"}


async def test_c39_a_text_is_quoted_in_the_result(stage: Stage) -> None:
    items = await stage.stream('output: {as: "${ .x }"}\ndo: [{a: {set: {x: hi}}}]', {})
    assert items[-1].output == '"hi"'
