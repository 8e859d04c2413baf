"""What the conformance kit of the DSL looks at, in scenarios of our own; those of ``call``, ``emit`` and errors of
servers are with the tests of these (``test_ctk_...``)."""

from __future__ import annotations

import pytest

from tests.support.pet_store import open_pet_store
from tests.workflow.cases import Case, Fault, table
from tests.workflow.stage import Stage
from tests.workflow.test_progress import told

CATCH = """
do:
  - order:
      try:
        - look: {raise: {error: {type: https://serverlessworkflow.io/spec/1.0.0/errors/communication, status: 404}}}
      catch:
        errors: {with: {type: https://serverlessworkflow.io/dsl/errors/types/communication, status: %d}}
        as: lost
        do: [{note: {set: {error: "${ $lost }"}}}]
"""
ROUTE = """
do:
  - route:
      switch:
        - post: {when: '.kind == "letter"', then: letter}
        - freight: {when: '.kind == "parcel"', then: parcel}
        %s
      %s
  - letter: {set: {way: '${ .way + ["letter"] }'}, then: end}
  - parcel: {set: {way: '${ .way + ["parcel"] }'}, then: end}
  - other: {set: {way: '${ .way + [ $input.kind ] }'}}
"""
PATH = """
do:
  - one: {set: {path: '${ .path + ["one"] }'}%s}
  - three: {set: {path: '${ .path + ["three"] }'}%s}
  - two: {set: {path: '${ .path + ["two"] }'}%s}
"""


@table(
    Case(
        "set gives an object with literals and values",
        "do: [{init: {set: {name: box, side: '${ .conf.side }', paint: '${ .conf.paint }'}}}]",
        {"conf": {"side": {"w": 3}, "paint": {"r": 1}}},
        {"name": "box", "side": {"w": 3}, "paint": {"r": 1}},
    ),
    Case(
        "do runs its tasks in sequence",
        """
        do:
          - all:
              do:
                - one: {set: {path: '${ .path + ["one"] }'}}
                - two: {set: {path: '${ .path + ["two"] }'}}
        """,
        None,
        {"path": ["one", "two"]},
    ),
    Case("tasks follow each other", PATH % ("", "", ""), None, {"path": ["one", "three", "two"]}),
    Case(
        "tasks follow their directives",
        PATH % (", then: two", ", then: end", ", then: three"),
        None,
        {"path": ["one", "two", "three"]},
    ),
    Case(
        "input.from filters, without an enclosure",
        "do: [{pick: {input: {from: .user.claims.subject}, set: {player: '${ . }'}}}]",
        {"user": {"claims": {"subject": "abc"}}},
        {"player": "abc"},
    ),
    Case(
        "output.as filters, and $input is the task's",
        """
        do:
          - first: {set: {id: 1}, output: {as: .id}}
          - second: {set: {id: 2}, output: {as: '{ ids: [ $input, .id ] }'}}
        """,
        {},
        {"ids": [1, 2]},
    ),
    Case(
        "for with a named item and the default index",
        """
        do:
          - loop:
              for: {each: colour, in: .colours}
              do:
                - mark: {set: {done: '${ {names: (.done.names + [$colour]), at: (.done.at + [$index])} }'}}
        """,
        {"colours": ["red", "green"]},
        {"done": {"names": ["red", "green"], "at": [0, 1]}},
    ),
    Case("a switch with a match", ROUTE % ("", ""), {"kind": "parcel"}, {"way": ["parcel"]}),
    Case("a switch with an implicit default", ROUTE % ("", "then: end"), {"kind": "x"}, {"kind": "x"}),
    Case("a switch with an explicit default", ROUTE % ("- any: {then: other}", ""), {"kind": "x"}, {"way": ["x"]}),
    Case(
        "raise with an error of its own",
        "do: [{deny: {raise: {error: {status: 400, type: https://example.org/compliance, title: Not compliant}}}}]",
        None,
        fault=Fault(400, None, "/do/0/deny", ("https://example.org/compliance", "Not compliant")),
    ),
    Case(
        "try: an error is caught by type and status",
        CATCH % 404,
        None,
        {
            "error": {
                "type": "https://serverlessworkflow.io/spec/1.0.0/errors/communication",
                "status": 404,
                "instance": "/do/0/order/try/0/look",
            }
        },
    ),
    Case("try: another status is not caught", CATCH % 503, None, fault=Fault(404, "communication")),
)
async def test_features(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_what_a_server_answers_flows_on(stage: Stage) -> None:
    by_input = "{call: http, with: {method: get, endpoint: {uri: '%s/v2/pet/{number}'}}, output: {as: .id}}"
    by_name = (
        "{call: http, with: {method: get, endpoint: {uri: '%s/v2/pet/2'}}, output: {as: '{ both: [ $input, .id ] }'}}"
    )
    async with open_pet_store() as store:
        one = await stage.run(f"do: [{{a: {by_input % store.url}}}]", {"number": 1})
        assert one.output == 1
        two = await stage.run(f"do: [{{a: {by_input % store.url}}}, {{b: {by_name % store.url}}}]", {"number": 1})
        assert two.output == {"both": [1, 2]}


async def test_competing_branches_leave_one_result(stage: Stage) -> None:
    branches = [{name: {"set": {"colours": f'${{ .colours + ["{name}"] }}'}}} for name in ("red", "green", "blue")]
    end = await stage.run({"do": [{"race": {"fork": {"compete": True, "branches": branches}}}]}, None)
    assert len(end.output["colours"]) == 1


@pytest.mark.parametrize(("kind", "last"), [("letter", "letter"), ("x", "other")])
async def test_the_order_of_tasks_is_seen_in_the_events(stage: Stage, kind: str, last: str) -> None:
    job_id = await stage.start(ROUTE % ("- any: {then: other}", ""), {"kind": kind})
    await stage.result(job_id)
    begun = [each[2].rpartition("/")[2] for each in told(await stage.events(job_id)) if each[0] == "task_started"]
    assert begun == ["ROOT", "route", last]
