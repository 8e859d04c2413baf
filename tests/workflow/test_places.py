"""Where errors happen: ``instance`` names a member of the document that is there."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.workflow.stage import Stage

USE = """
use:
  timeouts: {a/b: {after: "${ .none }"}}
  retries:
    slow: {delay: "${ .none }"}
    odd: {when: .none.x | error}
  errors: {bad: {type: "https://x.org/e", status: "${ .none }"}}
  authentications: {ann: {basic: {username: "${ .none }", password: x}}}
  extensions: []
"""
CASES = {
    "/use/timeouts/a~1b/after": "a: {wait: PT1S, timeout: a/b}",
    "/do/0/a/timeout/after": "a: {wait: PT1S, timeout: {after: '${ .none }'}}",
    "/use/retries/slow/delay": "a: {try: [{b: {set: '${ error }'}}], catch: {retry: slow}}",
    "/use/retries/odd/when": "a: {try: [{b: {set: '${ error }'}}], catch: {retry: odd}}",
    "/do/0/a/catch/retry/delay": "a: {try: [{b: {set: '${ error }'}}], catch: {retry: {delay: '${ .none }'}}}",
    "/use/errors/bad/status": "a: {raise: {error: bad}}",
    "/do/0/a/raise/error/status": "a: {raise: {error: {type: 'https://x.org/e', status: '${ 600 }'}}}",
    "/do/0/a/raise/error/type": "a: {raise: {error: {type: '${ 7 }', status: 500}}}",
    "/use/authentications/ann/basic/username": (
        "a: {call: http, with: {method: get, endpoint: {uri: 'http://x', authentication: {use: ann}}}}"
    ),
    "/do/0/a/with/endpoint/authentication/basic/username": (
        "a: {call: http, with: {method: get, endpoint: "
        "{uri: 'http://x', authentication: {basic: {username: '${ .none }', password: x}}}}}"
    ),
    "/do/0/a/with/timeout/after": "a: {call: mcp, with: {method: ping, server: s, timeout: {after: '${ .none }'}}}",
    "/do/0/a/with/timeout": "a: {call: mcp, with: {method: ping, server: s, timeout: '${ .none }'}}",
    "/do/0/a/run/shell": "a: {run: {shell: '${ .none }'}}",
    "/do/0/a/run/shell/command": "a: {run: {shell: {command: '${ .none }'}}}",
    "/do/0/a/run/function/runnerName": "a: {run: {function: {runnerName: '${ .none }', arguments: {}}}}",
    "/do/0/a/run/function/workerName": "a: {run: {function: {workerName: '${ .none }', arguments: {}}}}",
    "/do/0/a/run/worker/name": "a: {run: {worker: {name: '${ .none }', arguments: {}}}}",
    "/do/0/a/switch/0/x~1y/then": "a: {switch: [{x/y: {then: '${ \"nowhere\" }'}}]}",
    "/do/0/a/switch/0/x~1y/when": "a: {switch: [{x/y: {when: error, then: end}}]}",
    "/do/0/a/catch/then": "a: {try: [{b: {set: '${ error }'}}], catch: {then: '${ \"nowhere\" }'}}",
    "/do/0/a/then": "a: {set: {x: 1}, then: '${ \"nowhere\" }'}",
    "/do/0/a/input": "a: {input: {from: error}, wait: PT0S}",
    "/do/0/a/output": "a: {output: {as: {k: '${ error }'}}, wait: PT0S}",
    "/do/0/a/export": "a: {export: {as: error}, wait: PT0S}",
    "/do/0/a/foreach/output": (
        "a: {listen: {to: {any: [{with: {type: place.a}}], until: 'true'}}, foreach: {output: {as: error}}}"
    ),
    "/do/0/a/foreach/export": (
        "a: {listen: {to: {any: [{with: {type: place.a}}], until: 'true'}}, "
        "foreach: {export: {schema: {document: {type: string}}}}}"
    ),
}


@pytest.mark.parametrize("place", CASES)
async def test_an_error_names_a_member_of_the_document(stage: Stage, place: str) -> None:
    document: dict[str, Any] = yaml.safe_load(USE)
    tell = {"emit": {"event": {"with": {"type": "place.a"}}}}
    document["do"] = [yaml.safe_load(f"{{{CASES[place]}}}")]
    if "foreach" in place:
        branches = [{"hear": {"do": document["do"]}}, {"tell": tell}]
        document["do"] = [{"f": {"fork": {"branches": branches}}}]
        place = place.replace("/do/0/a", "/do/0/f/fork/branches/0/hear/do/0/a")
    end = await stage.run(document, {"n": 1})
    assert end.error["instance"] == place, end.text
    found: Any = document
    for part in place.split("/")[1:]:
        found = found[int(part) if isinstance(found, list) else part.replace("~1", "/").replace("~0", "~")]


@pytest.mark.parametrize(
    ("where", "place"),
    [
        ("input: {from: error}", "/input"),
        ("output: {as: error}", "/output"),
        ("timeout: late", "/use/timeouts/late/after"),
    ],
)
async def test_an_error_of_the_workflow_itself(stage: Stage, where: str, place: str) -> None:
    use = "use: {timeouts: {late: {after: '${ .none }'}}}"
    end = await stage.run(f"{use}\n{where}\ndo: [{{a: {{set: {{x: 1}}}}}}]", {})
    assert end.error["instance"] == place, end.text
