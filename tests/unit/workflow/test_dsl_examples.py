"""Documents of every kind that the examples of the DSL show load without a mistake, or are refused as documented."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent

import pytest

from jobworkerp_standalone.workflow.load import load_text
from jobworkerp_standalone.workflow.problems import InvalidDocument

HEAD = "document: {dsl: '1.0.3', namespace: garden, name: example, version: '0.1.0'}\n"
DIFFERENCES = (
    (Path(__file__).parents[3] / "docs" / "workflow.md").read_text().partition("## Differences from the DSL")[2]
)


def tasks(*lines: str, top: str = "") -> str:
    """Return a document with these tasks."""
    return HEAD + top + "do:\n" + indent("\n".join(f"- {line}" for line in lines), "  ")


def ask(endpoint: str, more: str = "") -> str:
    return f"ask: {{call: http, with: {{method: get, endpoint: {endpoint}{more}}}}}"


def secured(scheme: str, top: str = "") -> str:
    return tasks(ask(f"{{uri: 'https://beds.example/{{bed}}', authentication: {scheme}}}"), top=top)


def listening(to: str, more: str = "") -> str:
    return tasks(f"hear: {{listen: {{to: {to}}}{more}}}")


def trying(catch: str, top: str = "") -> str:
    return tasks(f"t: {{try: [{ask('https://beds.example')}], catch: {catch}}}", top=top)


def script(more: str) -> str:
    return tasks(f"s: {{run: {{script: {{language: python, code: 'import sys; print(sys.argv)', {more}}}}}}}")


def container(more: str) -> str:
    return tasks(f"c: {{run: {{container: {{image: 'alpine:3', {more}}}}}}}")


CLIENT = "client: {id: gardener, secret: rake}"
OAUTH2 = f"{{oauth2: {{authority: 'https://id.example', grant: client_credentials, {CLIENT}, scopes: [read]}}}}"
OIDC = f"{{oidc: {{authority: 'https://id.example', grant: client_credentials, {CLIENT}}}}}"
SECRET = "use: {secrets: [key]}\n"
DRY, WET = "{with: {type: garden.bed.dry}}", "{with: {type: garden.bed.wet, data: '${ .litres > 3 }'}}"
OF_BED = "correlate: {bed: {from: .bed}}"
RETRY = "delay: {seconds: 3}, backoff: {exponential: {}}, limit: {attempt: {count: 5}}"
UNAVAILABLE = "errors: {with: {type: 'https://serverlessworkflow.io/spec/1.0.0/errors/communication', status: 503}}"
DRY_ERROR = "type: 'https://garden.example/errors/dry', status: 400, title: Dry, detail: No water"
FUNCTION = f"use: {{functions: {{look: {ask('https://beds.example').removeprefix('ask: ')}}}}}\n"
EXTENSION = """
use:
  extensions:
    - dummy:
        extend: call
        when: '$task.with.endpoint.uri != null and ($task.with.endpoint.uri | startswith("https://dummy.example"))'
        before:
          - answer: {set: {statusCode: 200, content: {wet: true}}, then: exit}
"""

EXAMPLES = {
    "accumulate": tasks(
        f"hear: {{listen: {{to: {{all: [{{with: {{type: dry}}, {OF_BED}}}, {{with: {{type: wet}}, {OF_BED}}}]}}}}}}",
        "each: {for: {each: bed, in: .beds}, do: [{log: {call: openapi, with: {document: "
        "{endpoint: 'https://beds.example/api.json'}, operationId: log}}}]}",
        top="timeout: {after: {hours: 1}}\n",
    ),
    "basic": secured("{basic: {username: gardener, password: rake}}"),
    "bearer": secured("{bearer: {token: '${ .token }'}}"),
    "bearer by secret": secured("{bearer: {use: key}}", SECRET),
    "oauth2": secured(OAUTH2),
    "oauth2 by secret": secured("{oauth2: {use: key}}", SECRET),
    "oidc": secured(OIDC),
    "oidc by secret": secured("{oidc: {use: key}}", SECRET),
    "authentication by name": secured("{use: mine}", f"use: {{authentications: {{mine: {OIDC}}}}}\n"),
    "function of a catalog": tasks(
        "look: {call: 'look:1.0.0@shed', with: {bed: 3}}",
        top="use: {catalogs: {shed: {endpoint: {uri: 'https://shed.example'}}}}\n",
    ),
    "function by URL": tasks("look: {call: 'https://shed.example/look/function.yaml', with: {bed: 3}}"),
    "function of the document": tasks("look: {call: look}", top=FUNCTION),
    "grpc": tasks(
        "greet: {call: grpc, with: {proto: {endpoint: 'file://beds.proto'}, service: {name: Beds, host: localhost, "
        "port: 5011}, method: Water, arguments: {bed: '${ .bed }'}}}"
    ),
    "http with a template": tasks(ask("'https://beds.example/{bed}'")),
    "http with an expression": tasks(ask("""'${ "https://beds.example/" + .bed }'""")),
    "http with headers and query": tasks(
        ask("'https://beds.example'", ", headers: {Accept: text/plain, X-Bed: '${ .bed }'}, query: {bed: '${ .bed }'}")
    ),
    "http with headers and query by expressions": tasks(
        ask("'https://beds.example'", ", headers: '${ .headers }', query: '${ .query }', redirect: true")
    ),
    "mcp by http": tasks(
        "tool: {call: mcp, with: {method: tools/call, parameters: {name: water, arguments: {bed: 3}}, "
        "transport: {http: {endpoint: 'https://beds.example/mcp', headers: {X-Bed: '3'}}}}}"
    ),
    "mcp by stdio": tasks(
        "tool: {call: mcp, with: {method: tools/list, client: {name: garden, version: '1'}, timeout: {seconds: 9}, "
        "transport: {stdio: {command: beds, arguments: [--mcp], environment: {BED: '3'}}}}}"
    ),
    "openapi": tasks(
        "o: {call: openapi, with: {document: {endpoint: 'https://beds.example/api.json'}, operationId: water, "
        "parameters: {bed: '${ .bed }'}, redirect: true}}"
    ),
    "a2a": tasks(
        "a: {call: a2a, with: {method: message/send, agentCard: {endpoint: 'https://beds.example/card.json'}, "
        "parameters: {message: {parts: [{kind: text, text: Water}]}}}}"
    ),
    "if": tasks("pour: {if: '.litres < 3', set: {poured: true}}"),
    "do": tasks("one: {do: [{a: {set: {x: 1}}}, {b: {set: {y: 2}}}]}", "two: {set: {z: 3}}"),
    "emit": tasks(
        "e: {emit: {event: {with: {source: 'https://garden.example', type: garden.bed.dry, "
        "data: {bed: '${ .bed }', litres: [{of: rain, n: 1}]}}}}}"
    ),
    "for": tasks("f: {for: {each: bed, in: .beds, at: n}, while: .dry != null, do: [{a: {set: {x: '${ $bed }'}}}]}"),
    "fork": tasks("f: {fork: {compete: true, branches: [{a: {wait: PT1S}}, {b: {wait: {seconds: 2}}}]}}"),
    "listen to one": listening(f"{{one: {DRY}}}"),
    "listen to all": listening(f"{{all: [{DRY}, {WET}]}}"),
    "listen to all, whole events": tasks(f"hear: {{listen: {{to: {{all: [{DRY}, {WET}]}}, read: envelope}}}}"),
    "listen to any": listening(f"{{any: [{DRY}, {WET}]}}"),
    "listen to any for ever": listening(
        "{any: [], until: false}", ", foreach: {item: event, at: i, do: [{a: {set: {x: '${ $event }'}}}]}"
    ),
    "listen until a condition": listening(f"{{any: [{DRY}], until: '( . | length ) > 3'}}"),
    "listen until an event": listening(f"{{any: [{DRY}], until: {{one: {WET}}}}}"),
    "raise": tasks(f"r: {{raise: {{error: {{{DRY_ERROR}}}}}}}"),
    "raise by name": tasks("r: {raise: {error: dry}}", top=f"use: {{errors: {{dry: {{{DRY_ERROR}}}}}}}\n"),
    "container": container("command: 'echo hi', environment: {BED: '3'}, ports: {8080: 80}, volumes: {/a: /b}"),
    "container with a name": container("name: '${ .bed }'"),
    "container that is pulled": container("pullPolicy: always"),
    "container that is removed": container("lifetime: {cleanup: always}"),
    "container that is removed later": container("lifetime: {cleanup: eventually, after: {minutes: 5}}"),
    "container with stdin": container("command: cat, stdin: '${ .text }', arguments: [a, '${ .b }']"),
    **{
        f"return {each}": tasks(f"c: {{run: {{container: {{image: alpine}}, return: {each}}}}}")
        for each in ("all", "code", "none", "stderr", "stdout")
    },
    "script with arguments": script("arguments: {greeting: hello, bed: '${ .bed }'}"),
    "script with stdin": script("stdin: '${ .text }', arguments: [a, '${ .b }'], environment: {BED: '3'}"),
    "script in JavaScript": tasks("s: {run: {script: {language: js, code: 'console.log(1)'}}}"),
    "shell with stdin": tasks("s: {run: {shell: {command: cat, stdin: '${ .text }', arguments: ['-n']}}}"),
    "subflow": tasks("w: {run: {workflow: {namespace: garden, name: water, version: '1.0.0', input: {bed: 3}}}}"),
    "schedule.cron": tasks("a: {set: {x: 1}}", top="schedule: {cron: '0 0 * * *'}\n"),
    "schedule.every": tasks("a: {set: {x: 1}}", top="schedule: {every: {minutes: 5}}\n"),
    "schedule.after": tasks("a: {set: {x: 1}}", top="schedule: {after: {minutes: 5}}\n"),
    "schedule.on": tasks(
        "a: {set: {bed: '${ $workflow.input[0].data.bed }'}}", top=f"schedule: {{on: {{one: {DRY}}}}}\n"
    ),
    "set": tasks("a: {set: {shape: circle, size: '${ .size }'}}"),
    "set by an expression": tasks("a: {set: '${ .bed }'}"),
    "switch": tasks(
        "s: {switch: [{dry: {when: '.litres < 3', then: pour}}, {other: {then: end}}]}", "pour: {set: {poured: true}}"
    ),
    "extension": tasks(ask("{uri: 'https://beds.example'}"), top=EXTENSION.lstrip()),
    "data flow": tasks(
        f"{ask('https://beds.example')[:-1]}, output: {{as: '.bed'}}, export: {{as: '$context + {{bed: .}}'}}}}",
        top="input: {schema: {format: json, document: {type: object, required: [bed]}}}\n",
    ),
    "try": trying(f"{{{UNAVAILABLE}, as: lost, do: [{{a: {{set: {{x: '${{ $lost }}'}}}}}}]}}"),
    "try with retry": trying(f"{{{UNAVAILABLE}, retry: {{{RETRY}}}}}"),
    "try with a named retry": trying(
        f"{{{UNAVAILABLE}, retry: patient}}", f"use: {{retries: {{patient: {{{RETRY}}}}}}}\n"
    ),
    "try with then": trying("{then: end}"),
    "wait in words": tasks("w: {wait: {seconds: 30}}"),
    "wait in ISO 8601": tasks("w: {wait: PT30S}"),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_loads_without_a_mistake(name: str) -> None:
    assert load_text(EXAMPLES[name]).warnings == ()


REFUSED = {
    "asyncapi": (
        tasks(
            "p: {call: asyncapi, with: {document: {endpoint: 'https://beds.example/async.yaml'}, operation: say, "
            "server: {name: main}, message: {payload: {bed: 3}}}}"
        ),
        "calls of kind asyncapi are not supported: no message broker is part of this program",
        "| `call: asyncapi` | Refused: no message broker is part of this program. |",
    ),
    "catch beside call": (
        tasks(f"{ask('https://beds.example')[:-1]}, catch: {{do: [{{a: {{set: {{x: 1}}}}}}]}}}}"),
        "unknown key 'catch'",
        "| `catch` beside `call` and other tasks than `try` | Refused:",
    ),
    "mcp with a server's endpoint": (
        tasks("m: {call: mcp, with: {method: initialize, server: {endpoint: 'https://beds.example/mcp'}}}"),
        "initialize",
        "| `method: initialize` and `server: {endpoint: ...}` of `call: mcp` | Refused:",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_listed(name: str) -> None:
    text, reason, listed = REFUSED[name]
    with pytest.raises(InvalidDocument) as caught:
        load_text(text)
    assert any(reason in each.message for each in caught.value.problems), caught.value.problems
    assert listed in DIFFERENCES
