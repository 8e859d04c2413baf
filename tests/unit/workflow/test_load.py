"""Which documents are refused, where, and with what advice."""
# ruff: noqa: E501 - a document to a line

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.runners.builtin import built_in_specs
from jobworkerp_standalone.schema.text import root_message
from jobworkerp_standalone.workflow import load
from jobworkerp_standalone.workflow.decode.runner_args import BUILT_IN
from jobworkerp_standalone.workflow.load import Loaded, load_function, load_text, load_text_async, mark_of, parse
from jobworkerp_standalone.workflow.model.tasks import ForTask, RunTask, TryTask, WaitTask
from jobworkerp_standalone.workflow.model.values import Backoff, Directive, Goto
from jobworkerp_standalone.workflow.problems import InvalidDocument, Problem
from jobworkerp_standalone.workflow.workflow_job import parsed_input

TOP = Path(__file__).parents[3]
HEAD = 'document: {dsl: "1.0.0", namespace: t, name: flow, version: "1.0.0"}\n'
BLOCKS = re.findall(r"```yaml\n(.*?)```", (TOP / "docs" / "workflow.md").read_text(), re.DOTALL)


def problems(text: str, head: str = HEAD, *, bare: bool = False) -> tuple[Problem, ...]:
    with pytest.raises(InvalidDocument) as caught:
        load_text(head + text, bare=bare)
    return caught.value.problems


@pytest.mark.parametrize(
    ("pointer", "mark"),
    [
        ("/do/0/a~1b", (3, 5)),
        ("/do/1/c/try/0/d", (6, 9)),
        ("/do/1/c/try/0/d/raise/nothing", (6, 13)),
        ("/do/7/x", (2, 1)),
        ("/do/" + "9" * 5_000, (2, 1)),
        ("/do/\u00b2", (2, 1)),
        ("/else", None),
        ("", None),
    ],
)
def test_a_pointer_leads_to_its_place_in_the_text(pointer: str, mark: tuple[int, int] | None) -> None:
    text = "do:\n  - a/b: {set: {x: 1}}\n  - c:\n      try:\n      - d: {raise: {error: oh}}\n      catch: {}\n"
    assert mark_of(HEAD + text, pointer) == mark
    assert mark_of(json.dumps({"do": []}), "/do") == (1, 2)


@pytest.mark.parametrize(
    "uri", ["HTTPS://x.example", "{base}/x", "{scheme}://x/", "http{s}://x/", "http://{host}:80/", "${ .x }"]
)
def test_what_may_become_a_url_is_left_to_the_run(uri: str) -> None:
    load_text(f"{HEAD}do:\n  - a: {{call: http, with: {{method: get, endpoint: '{uri}'}}}}")


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "suggestion"),
    [
        ("do:\n  - a: {set: {x: 1}, colour: red}", 3, 22, "unknown key 'colour'", "known here"),
        ("do:\n  - a: {set: {x: 1}, exports: {}}", 3, 22, "unknown key 'exports'", "did you mean 'export'?"),
        ("do:\n  - a: {set: {x: 1}}\n    b: {set: {y: 1}}", 3, 5, "must have one key", "begin each name"),
        ("do:\n  - a:\n    run: {shell: x}\n    then: end", 3, 5, "'a' has nothing in it: 'run', 'then' is beside", "indent 'run', 'then' below 'a'"),
        ("do:\n  - a:\n    b: {set: {y: 1}}", 3, 5, "must have one key", "begin each name"),
        ("do:\n  - a: {switch: [{c: null, when: .x, then: end}]}", 3, 18, "'c' has nothing in it", "indent 'when', 'then' below 'c'"),
        ("do:\n  - a: {set: {x: 1}}\nname: ${ .a: 1 }", 4, 12, "mapping values are not allowed", "put the expression in quotes"),
        ("do:\n  - a: {set: {msg: hello ${ .name }}}", 3, 27, "did not find expected", "put the expression in quotes"),
        ("do:\n  - a: {set: {x: '${ .a }' b}}", 3, 28, "did not find expected", None),
        ("input: {schema: {document: {type: strng}}}\ndo: [{a: {set: {x: 1}}}]", 2, 35, "'strng' is no type: a type is array, boolean,", "did you mean 'string'?"),
        ("input: {schema: {document: {type: [null, tekst]}}}\ndo: [{a: {set: {x: 1}}}]", 2, 35, "[null, \"tekst\"] is no type", None),
        ("input: {schema: {document: {properties: {type: text}}}}\ndo: [{a: {set: {x: 1}}}]", 2, 48, "is not of type", None),
        ("do:\n  - a: {run: {useStreaming: true, shell: x}}", 3, 15, "unknown key 'useStreaming'", "beside 'run'"),
        ("do:\n  - a: {run: {runner: {useStreaming: true, name: X, arguments: {}}}}", 3, 24, "unknown key 'useStreaming'", "beside 'run'"),
        ("do:\n  - a: {run: {shell: {useStreaming: true, command: x}}}", 3, 23, "unknown key 'useStreaming'", "beside 'run'"),
        ("do: []", 2, 5, "'do' is empty", None),
        ("do:\n  - a: {set: {}}", 3, 14, "'set' is empty", None),
        ("do:\n  - a: {set: text}", 3, 14, "must be an object or an expression", None),
        ("do:\n  - a: {set: {x: 1}, then: c}\n  - b: {set: {x: 1}}", 3, 28, "there is no task 'c'", None),
        ("do:\n  - a: {set: {x: 1}}\n  - a: {set: {x: 2}}", 4, 5, "'a' is there twice in this list; first on line 3", None),
        ("do:\n  - a: {wait: PT1S, set: {x: 1}}", 3, 8, "2 kinds at once: 'set' and 'wait'", None),
        ("do:\n  - a: {cal: http}", 3, 8, "no kind", "did you mean 'call'?"),
        ("do:\n  - a: {call: http, with: {method: get, endpoint: x.example/health}}", 3, 51, "is not an http or https URL", "begins with http"),
        ("do:\n  - a: {call: http, with: {method: get, endpoint: 'http:///{id}'}}", 3, 51, "is not an http or https URL", "a host"),
        ("do:\n  - a: {call: http, with: {method: get, endpoint: {uri: 'ftp://{host}/'}}}", 3, 57, "'ftp://{host}/' is not", "begins with http"),
        ("do:\n  - a: {call: mcp, with: {method: tools/list, transport: {http: {endpoint: x.example/mcp}}}}", 3, 76, "is not an http or https URL", "begins with http"),
        ("do:\n  - a: {call: a2a, with: {method: message/send, server: x.example/a2a}}", 3, 57, "is not an http or https URL", "begins with http"),
        ("do:\n  - a: {wait: P1X}", 3, 15, "not an ISO 8601 duration", None),
        ("do:\n  - a: {wait: {second: 1}}", 3, 16, "unknown key 'second'", "did you mean 'seconds'?"),
        ("do:\n  - a: {wait: {seconds: -1}}", 3, 15, "negative", None),
        ("do:\n  - a: {wait: {}}", 3, 15, "the duration is empty", None),
        ("do:\n  - a: {set: {v: '${ .a | }'}}", 3, 18, "the expression is wrong", None),
        ("do:\n  - a: {set: {v: ['ok', '${ .a | }']}}", 3, 25, "the expression is wrong", None),
        ("do:\n  - a: {set: {v: '$${ {% if %} }'}}", 3, 18, "the expression is wrong", None),
        ("do:\n  - a: {if: '.x >', set: {v: 1}}", 3, 13, "the expression is wrong", None),
        ("do:\n  - a: {set: {v: 1}, output: {as: {k: .a b}}}", 3, 39, "the expression is wrong", None),
        ("do:\n  - a: {set: {v: 1}, output: {as: {k: [$a b]}}}", 3, 40, "the expression is wrong", None),
        ("do:\n  - a: {switch: [{h: {then: end}}, {j: {then: end}}]}", 3, 37, "only one case may be the default", "give 'j' a condition"),
        ("do:\n  - a: {listen: {to: {any: [], until: {any: [], until: .x}}}}", 3, 49, "cannot stand inside of 'until'", "remove it"),
        ("do:\n  - a: {listen: {to: {any: [], until: {any: [], until: false}}}}", 3, 49, "cannot stand inside of 'until'", "remove it"),
        ("do:\n  - a: {raise: {error: {type: 'x://y', status: 600}}}", 3, 48, "between 100 and 599", None),
        ("do:\n  - a: {raise: {error: {type: 5, status: 500}}}", 3, 31, "must be text", None),
        ("do:\n  - a: {run: {script: {language: python, code: x}}, metadata: {python.packages: a, python.requirements_url: 'http://x'}}", 3, 84, "one of both only", None),
        ("do:\n  - a: {emit: {event: {with: {type: t, source: 'a b'}}}}", 3, 48, "must be a URI", None),
        ("do:\n  - a: {emit: {event: {with: {type: t, time: noon}}}}", 3, 46, "must be a time", None),
        ("do:\n  - a: {emit: {event: {with: {type: t, orderId: x}}}}", 3, 49, "no name of an attribute", None),
        ("do:\n  - a: {run: {script: {language: ruby, code: x}}}", 3, 34, "one of python, javascript, js, not 'ruby'", None),
        ("do:\n  - a: {input: {from: [1]}, set: {v: 1}}", 3, 23, "must be an expression or an object", None),
        ("timeout: missing\ndo:\n  - a: {wait: PT1S}", 2, 10, "not declared in use.timeouts", None),
        ("use: {timeout: {}}\ndo:\n  - a: {wait: PT1S}", 2, 7, "unknown key 'timeout'", "did you mean 'timeouts'?"),
        ("do:\n  - a: {raise: {error: gone}}", 3, 24, "not declared in use.errors", None),
        ("do:\n  - a: {raise: {error: {type: stock, status: 409}}}", 3, 31, "is not a URI", None),
        ("do:\n  - a: {raise: {error: {type: 'a b:c', status: 409}}}", 3, 31, "is not a URI", None),
        ("do:\n  - a: {raise: {error: {type: 'x://y', status: no}}}", 3, 48, "must be a whole number", None),
        ("do:\n  - a: {try: [], catch: {retry: soon}}", 3, 33, "not declared in use.retries", None),
        ("do:\n  - a: {try: [], catch: {errors: {with: {}}}}", 3, 41, "the filter is empty", None),
        ("do:\n  - a: {try: [], catch: {retry: {backoff: {linear: {}, constant: {}}}}}", 3, 43, "one of them only", None),
        ("do:\n  - a: {call: nope}", 3, 15, "neither a kind of call nor declared", None),
        ("do:\n  - a: {call: 'log:1@shop'}", 3, 15, "not declared in use.catalogs", None),
        ("do:\n  - a: {call: http}", 3, 8, "needs 'with'", None),
        ("do:\n  - a: {call: http, with: {method: get}}", 3, 27, "lacks 'endpoint'", None),
        ("do:\n  - a: {call: http, with: {method: git, endpoint: 'http://x'}}", 3, 36, "not an HTTP method", None),
        ("do:\n  - a: {call: asyncapi, with: {}}", 3, 15, "asyncapi are not supported", "emit and listen"),
        ("do:\n  - a: {run: {shell: ls, script: {}}}", 3, 14, "give one of them only", None),
        ("do:\n  - a: {run: {worker: {name: w, arguments: {}}, return: all}}", 3, 57, "'return' goes with", None),
        ("do:\n  - a: {run: {container: {}}}", 3, 26, "lacks 'image'", None),
        ("do:\n  - a: {run: {script: {language: ruby, code: x}}}", 3, 34, "must be one of python, javascript", None),
        ("do:\n  - a: {run: {script: {language: python}}}", 3, 23, "needs one of code, source", None),
        ("do:\n  - a: {run: {workflow: {workflowData: x, workflowContext: {}}}}", 3, 43, "workflowContext", "a child sees"),
        ("do:\n  - a: {switch: []}", 3, 17, "is empty", None),
        ("do:\n  - a: {switch: [{x: {when: .a}}]}", 3, 22, "lacks 'then'", None),
        ("do:\n  - a: {for: {in: .a, onError: continue}, do: [{b: {wait: PT1S}}]}", 3, 23, "onError", "stands beside"),
        ("do:\n  - a: {for: {}, do: [{b: {wait: PT1S}}]}", 3, 14, "lacks 'in'", None),
        ("do:\n  - a: {fork: {branches: [{x: {wait: PT1S, then: y}}, {y: {wait: PT1S}}]}}", 3, 50, "side by side", None),
        ("do:\n  - a: {fork: {branches: [{x: {wait: PT1S, then: wait}}]}}", 3, 50, "cannot wait in a branch", "wait after the fork"),
        ("do:\n  - a: {fork: {branches: [{x: {do: [{y: {switch: [{z: {then: wait}}]}}]}}]}}", 3, 62, "cannot wait in a branch", None),
        ("do:\n  - a: {listen: {to: {}}}", 3, 22, "needs one of one, any, all", None),
        ("do:\n  - a: {emit: {event: {with: {source: x}}}}", 3, 30, "lacks 'type'", None),
        ("input: {schema: {document: {type: objekt}}}\ndo:\n  - a: {wait: PT1S}", 2, 35, "JSON Schema is not valid", None),
        ("input: {schema: {document: {minimum: null}}}\ndo:\n  - a: {wait: PT1S}", 2, 38, "null is not of type 'number'", None),
        ("input: {schema: {resource: {endpoint: '${ .x }'}}}\ndo:\n  - a: {wait: PT1S}", 2, 28, "without expressions and authentication", "plain path"),
        ("input: {schema: {resource: {endpoint: {uri: x, authentication: {bearer: {token: t}}}}}}\ndo:\n  - a: {wait: PT1S}", 2, 28, "without expressions and authentication", None),
        ("input: {schema: {format: avro, document: {}}}\ndo:\n  - a: {wait: PT1S}", 2, 26, "avro", None),
        ("schedule: {cron: nonsense}\ndo:\n  - a: {wait: PT1S}", 2, 18, "cron expression is wrong", None),
        ("evaluate: {language: python}\ndo:\n  - a: {wait: PT1S}", 2, 22, "not supported", None),
        ("checkpointing: {storage: disk}\ndo:\n  - a: {wait: PT1S}", 2, 16, "lacks 'enabled'", None),
        ("do:\n  - a: {run: {runner: {name: X, arguments: {}, options: {retry: {delay: '${ .d }'}}}}}", 3, 65, "cannot have expressions as durations", None),
        ("do:\n  - a: {run: {runner: {name: X, arguments: {}, options: {retry: {delay: P50D}}}}}", 3, 65, "numbers up to 4294967295", None),
        ("do:\n  - a: {run: {runner: {name: X, arguments: {}, options: {retry: {limit: {attempt: {count: 5000000000}}}}}}}", 3, 65, "not 5000000000", None),
        ("do:\n  - a: {run: {container: {image: x, lifetime: {cleanup: eventually, after: '${ .a }'}}}}", 3, 76, "cannot be an expression", None),
        ("schedule: {every: '${ .a }'}\ndo:\n  - a: {wait: PT1S}", 2, 19, "cannot be an expression", None),
        ("do:\n  - a: {run: {worker: {name: w, arguments: {}}, return: none}}", 3, 57, "not with worker", None),
        ("do:\n  - a: {run: {workflow: {workflowUrl: x}, return: code}}", 3, 51, "has no 'code' to return", None),
        ("do:\n  - a: {run: {shell: ls}, return: all}", 3, 27, "unknown key 'return'", "inside of run"),
        ("do:\n  - a: {try: [], catch: {then: nowhere}}", 3, 32, "there is no task 'nowhere'", None),
        ("do:\n  - a: {run: {runner: {name: COMMAND, arguments: {command: [ls]}}}}", 3, 60, "'command' must be text, not an array", None),
        ("do:\n  - a: {run: {runner: {name: COMMAND, arguments: {args: [a, 1]}}}}", 3, 61, "an item of 'args' must be text, not the number 1", None),
        ("do:\n  - a: {run: {runner: {name: COMMAND, arguments: {environment: {A: 1}}}}}", 3, 68, "'A' must be text", None),
        ("do:\n  - a: {run: {function: {runnerName: DOCKER, arguments: {}, settings: {pull: {}}}}}", 3, 78, "'pull' must be text", None),
        ("do:\n  - a: {run: {runner: {name: GRPC, using: unry, arguments: {}}}}", 3, 43, "no method 'unry'", "did you mean 'unary'?"),
        ("do:\n  - a: {run: {runner: {name: HTTP_REQUEST, arguments: {headers: [{key: 1}]}}}}", 3, 72, "'key' must be text", None),
        ("do:\n  - a: {run: {workflow: {workflowData: {do: [{b: {sett: {x: 1}}}]}}}}", 3, 50, "no kind", "did you mean 'set'?"),
        ("do:\n  - a: {run: {workflow: {workflowData: 'do: [{b: {sett: {x: 1}}}]'}}}", 3, 40, "line 1, column 10 (/do/0/b): the task has no kind", None),
        ("do:\n  - a: {run: {workflow: {workflowData: {do: [{b: {run: {workflow: {workflowData: {do: []}}}}}]}}}}", 3, 87, "'do' is empty", None),
        ("do:\n  - a: {wait: 5s}", 3, 15, "not an ISO 8601 duration", "write PT5S, or {seconds: 5}"),
        ("do:\n  - a: {wait: PT1S, timeout: PT5S}", 3, 30, "a text here is a name of use.timeouts", "write {after: PT5S}"),
        ("do:\n  - a: {wait: PT1S, timeout: {seconds: 5}}", 3, 31, "unknown key 'seconds'", "it stands in 'after'"),
        ("do:\n  - a: {wait: PT1S, timeout: 5}", 3, 30, "must be an object such as {after: PT5S}", None),
        ("do:\n  - set: {x: 1}", 3, 10, "the task has no kind", "'- some-name: {set: ...}'"),
        ("do:\n  a: {set: {x: 1}}", 3, 3, "'do' must be an array, not an object", "begin each item with '- '"),
        ("do:\n  - a: {call: http, with: {method: get, endpoint: 'http://x'}, catch: {do: []}}", 3, 64, "unknown key 'catch'", "it goes with 'try'"),
        ("do:\n  - a: {listen: {to: {one: {type: x}}}}", 3, 29, "unknown key 'type'", "it stands in 'with'"),
        ("do:\n  - a: {emit: {event: {type: x}}}", 3, 24, "unknown key 'type'", "it stands in 'with'"),
        ("input: {schema: {type: object}}\ndo:\n  - a: {wait: PT1S}", 2, 18, "unknown key 'type'", "stands in 'document'"),
        ("do:\n  - a: {wait: PT1S}\n  b: 1", 4, 3, "not valid YAML", None),
        ("do:\n  - a: {set: {x: 1, x: 2}}", 3, 21, "the key 'x' is there twice", None),
        ("do:\n  - a: {set: {x: 1}\n\n", 3, 8, "while parsing a flow mapping, did not find expected ',' or '}'", None),
        ("do:\n  - a: {set: {x: \"1}}\n  - b: {set: {y: 1}}\n", 3, 18, "while scanning a quoted scalar, found unexpected end", None),
        ("do:\n  - a: {set: {x: 1,\n    y: [1, 2}}\n  - b: {wait: PT1S}\n", 4, 13, "did not find expected ',' or ']'", None),
        ("do:\n  - a: {set: {x: 1}\n  - b: {wait: PT1S}\n", 4, 3, "a flow mapping that begins at line 3, column 8", None),
    ],
)  # fmt: skip
def test_a_mistake_has_its_place(text: str, line: int, column: int, message: str, suggestion: str | None) -> None:
    found = problems(text)
    matching = [each for each in found if message in each.message]
    assert matching, [str(each) for each in found]
    assert (matching[0].line, matching[0].column) == (line, column)
    assert suggestion is None or suggestion in (matching[0].suggestion or "")
    assert matching[0].text == (HEAD + text).splitlines()[line - 1]


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ("", "lacks 'document'"),
        ("document: {namespace: t, name: flow, version: '1.0.0'}", "lacks 'dsl'"),
        ("document: {dsl: '1.0.0', namespace: t, name: my_flow, version: '1.0.0'}", "write 'my-flow'"),
        ("document: {dsl: '1.0.0', namespace: t, name: flow, version: 1.0}", "put it in quotes"),
        ("document: {dsl: '1.0.0', namespace: t, name: flow, version: one}", "not a semantic version"),
        (f"document: {{dsl: '1.0.0', namespace: t, name: {'a' * 64}, version: '1.0.0'}}", "1 to 63"),
    ],
)
def test_what_document_must_say(about: str, message: str) -> None:
    assert message in str(problems("do:\n  - a: {wait: PT1S}", about + "\n")[0])


def test_all_mistakes_are_reported_at_once_in_their_order() -> None:
    found = problems("timeout: t\ndo:\n  - a: {set: {}, then: z}\n  - b: {wait: soon}\n")
    assert [each.line for each in found] == [2, 4, 4, 5]


def test_unknown_keys_at_the_top_and_in_document_are_allowed() -> None:
    text = 'document: {id: 1, colour: red, dsl: "1.0.0", namespace: t, name: flow, version: "1.0.0"}\nother: 1\n'
    loaded = load_text(text + "do:\n  - a: {set: {x: 1}}\n")
    assert [each.message for each in loaded.warnings] == ["unknown key 'colour'", "unknown key 'other'"]


def test_what_is_odd_but_allowed() -> None:
    loaded = load_text(
        HEAD + "do:\n  - a: {set: {x: '${ $secrets.KEY }'}, then: end}\n  - b: {wait: PT1S}\n"
        "  - c: {for: {in: .a}, do: [{d: {do: [{e: {wait: PT1S, then: wait}}]}}]}\n"
        "  - f: {run: {runner: {name: X, arguments: {}, options: {chanel: x, useStreaming: true}}}}\n"
        "  - k: {for: {each: input, in: .a}, do: [{l: {wait: PT1S}}]}\n"
        "  - m: {listen: {to: {one: {with: {type: 'a(b'}}}}}\n"
        "  - g: {try: [], catch: {retry: {backoff: {linear: {increment: PT1S}}}}}\n"
        "  - n: {set: {'${ .key }': 1}}\n"
        "  - u: {listen: {to: {any: [{with: {type: x}}], until: false}}}\n"
        "  - v: {run: {workflow: {workflowData: {do: [{w: {set: {x: 1}, then: wait}}]}}}}\n"
        "  - s: {run: {shell: 'echo \"${ .x }\" ${HOME}'}}\n"
    )
    text = "\n".join(str(each) for each in loaded.warnings)
    for part in (
        "'KEY' is not declared",
        "'b' is never reached",
        "in a loop faults",
        "did you mean 'channel'?",
        "unknown key 'useStreaming'; it stands beside 'run'",
        "'increment' is ignored",
        "$input is a variable of the engine",
        "no regular expression",
        "in the middle",
        "names of members are no expressions",
        "nothing is ever done with what this task hears",
        "does not wait after its last task",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("runner", "warnings"),
    [
        ("{name: COMAND, arguments: {}}", ["no built-in runner has the name 'COMAND'; did you mean 'COMMAND'?"]),
        ("{name: command, arguments: {}}", ["no built-in runner has the name 'command'; did you mean 'COMMAND'?"]),
        ("{name: COMMAND, arguments: {comand: ls}}", ["unknown key 'comand'; did you mean 'command'?"]),
        (
            "{name: HTTP_REQUEST, arguments: {headers: [{key: a, valu: b}]}, settings: {base: x}}",
            ["unknown key 'valu'; did you mean 'value'?", "unknown key 'base'; did you mean 'base_url'?"],
        ),
        (
            "{name: COMMAND, arguments: {}, settings: {x: 1}}",
            ["runner COMMAND has no settings: these are not looked at; leave them out"],
        ),
        ("{name: MyRunner, arguments: {anything: 1}, settings: {x: 5}}", []),
        ("{name: DOCKER_BUILD, arguments: {x: 1}}", []),
        ("{name: '${ .runner }', arguments: {x: 1}}", []),
        ("{name: COMMAND, arguments: '${ .x }'}", []),
        ("{name: COMMAND, arguments: {command: '${ .c }', args: ['${ .x }'], withMemoryMonitoring: '${ .m }'}}", []),
        ("{name: COMMAND, arguments: {args: null, successExitCodes: ['7', 0, 1.0]}}", []),
        ("{name: GRPC, using: '${ .u }', arguments: {whatever: 1}}", []),
        ("{name: INLINE_WORKFLOW, arguments: {workflow_source: 'do: []', input: '{}'}}", []),
        ("{name: WORKFLOW, using: run, arguments: {any: input}}", []),
    ],
)
def test_what_is_told_of_runners(runner: str, warnings: list[str]) -> None:
    text = f"{HEAD}do:\n  - a: {{run: {{runner: {runner}}}}}"
    assert [str(each).partition("): ")[2] for each in load_text(text).warnings] == warnings


def test_built_in_runners_are_known_with_their_messages() -> None:
    for spec in built_in_specs():
        known = BUILT_IN[spec.name]
        if not known.args:
            continue
        settings = root_message(spec.settings_proto).DESCRIPTOR.full_name if spec.settings_proto else ""
        methods = {name: root_message(each.args_proto).DESCRIPTOR.full_name for name, each in spec.methods.items()}
        assert {name: f"jobworkerp.runner.{each}" for name, each in known.args.items()} == methods
        assert next(iter(known.args)) == spec.default_method
        assert settings.removeprefix("jobworkerp.runner.") == known.settings


@pytest.mark.parametrize(
    "text",
    [
        "do:\n  - a: {set: {x: 1}}\n  - b: {set: {x: 1}, then: wait}",
        "do:\n  - a: {switch: [{x: {then: wait}}]}",
        "do:\n  - a: {try: [{b: {set: {x: 1}}}], catch: {then: wait}}",
    ],
)
def test_nothing_waits_behind_the_last_task(text: str) -> None:
    (warning,) = load_text(HEAD + text).warnings
    assert "does not wait after its last task" in warning.message
    assert load_text(f"{HEAD}{text}\n  - z: {{set: {{y: 1}}}}").warnings == ()
    inside = text.replace("\n", "\n      ")
    assert load_text(f"{HEAD}do:\n  - o:\n      {inside}").warnings == (), "the list around goes on"


def test_where_a_run_cannot_wait() -> None:
    waits = "[{w: {set: {x: 1}, then: wait}}, {z: {set: {x: 1}}}]"
    text = (
        f"use: {{extensions: [{{e: {{extend: call, before: {waits}}}}}]}}\n"
        f"do: [{{a: {{listen: {{to: {{any: [], until: .x}}}}, foreach: {{do: {waits}}}}}}}]"
    )
    assert [each.message for each in load_text(HEAD + text).warnings] == [
        "'then: wait' in an extension faults when it is reached",
        "'then: wait' in a foreach faults when it is reached",
    ]


def test_yaml_is_read_as_1_2_and_json_gives_the_same_document() -> None:
    text = HEAD + "do:\n  - a: {set: {a: yes, b: on, c: 1:30, d: 2020-01-01, e: 0o17, f: ~, g: 1e3, h: '1', i: True}}\n"
    document = load_text(text).document
    values = document.definition["do"][0]["a"]["set"]
    assert values == {"a": "yes", "b": "on", "c": "1:30", "d": "2020-01-01", "e": 15, "f": None, "g": 1000.0, "h": "1", "i": True}  # fmt: skip
    again = load_text(json.dumps(document.definition, indent=2)).document
    assert again.definition == document.definition
    assert (again.do.tasks[0].origin.line, document.do.tasks[0].origin.line) == (10, 3)


@pytest.mark.parametrize("version", ["0.0.1", "1.10.0-rc.1+5", "1.0.0-0a.--x", "1.0.0+01"])
def test_versions_are_semantic(version: str) -> None:
    text = "do:\n  - a: {wait: PT1S}\n"
    load_text(HEAD.replace('version: "1.0.0"', f'version: "{version}"') + text)


@pytest.mark.parametrize(
    ("task", "waits"),
    [
        ({"set": {"then": "wait"}, "then": "continue"}, False),
        ({"set": {"x": 1}, "then": "wait"}, True),
        ({"do": [{"b": {"set": {"x": 1}, "then": "${ .next }"}}]}, True),
        ({"switch": [{"c": {"when": ". == 1", "then": "wait"}}]}, True),
        ({"try": [{"b": {"set": {"x": 1}}}], "catch": {"then": "wait"}}, True),
        ({"run": {"workflow": {"workflowData": {"do": [{"b": {"set": {"x": 1}, "then": "wait"}}]}}}}, False),
    ],
)
def test_whether_a_run_may_wait_is_known_before_it_begins(task: dict[str, Any], waits: bool) -> None:
    assert load_text(json.dumps({"do": [{"a": task}, {"z": {"set": {"y": 1}}}]}), bare=True).document.may_wait is waits


@pytest.mark.parametrize("version", ["2.5.0", "10.0.0-rc.1"])
def test_documents_of_another_language_are_refused(version: str) -> None:
    (found,) = problems("do:\n  - a: {wait: PT1S}", HEAD.replace('dsl: "1.0.0"', f'dsl: "{version}"'))
    assert (found.pointer, found.column) == ("/document/dsl", 17)
    assert f"DSL {version} cannot be read: this program knows 1.0.3" in found.message


def test_a_version_of_the_language_is_never_too_long_to_be_read() -> None:
    (found,) = problems("do:\n  - a: {wait: PT1S}", HEAD.replace('dsl: "1.0.0"', f'dsl: "{"1" * 5_000}.0.0"'))
    assert (found.pointer, "is not a semantic version" in found.message) == ("/document/dsl", True)
    assert len(found.message) < 400


@pytest.mark.parametrize(
    ("version", "warned"), [("0.0.1", False), ("1.0.9", False), ("1.0.0-a1", False), ("1.1.0", True)]
)
def test_other_versions_of_the_language(version: str, warned: bool) -> None:
    loaded = load_text(f"""{HEAD.replace('dsl: "1.0.0"', f'dsl: "{version}"')}do:\n  - a: {{wait: PT1S}}""")
    assert [each.pointer for each in loaded.warnings] == ["/document/dsl"] * warned


def test_a_misspelled_member_that_is_missing_is_named() -> None:
    with pytest.raises(InvalidDocument) as caught:
        load_text("documnet: {}\nDo: []\ntimeot: PT1S\n")
    assert [str(each) for each in caught.value.problems] == [
        "line 1, column 1: the document lacks 'document'; rename 'documnet' to it",
        "line 1, column 1: the document lacks 'do'; rename 'Do' to it",
    ]
    assert [each.suggestion for each in caught.value.warnings][1:] == ["did you mean 'do'?", "did you mean 'timeout'?"]
    (found,) = problems("do: [{a: {call: http, with: {method: get, endpont: 'http://x'}}}]")[1:]
    assert found.suggestion == "did you mean 'endpoint'?"


def test_a_name_that_no_variable_of_a_script_can_have_is_shown_where_it_stands() -> None:
    text = "do:\n  - a:\n      run:\n        script:\n          language: python\n          code: pass\n"
    (found,) = problems(f"{text}          arguments:\n            good: 1\n            a/b: 2\n")
    assert found.pointer == "/do/0/a/run/script/arguments/a~1b"
    assert (found.text.strip(), found.column) == ("a/b: 2", 13)


@pytest.mark.parametrize(
    "version", ["01.0.0", "1.0", "1.0.0-01", "1.0.0-a..b", "1.0.0+", "v1.0.0", f"1.{'9' * 5_000}.0"]
)
def test_other_versions_are_refused(version: str) -> None:
    (found,) = problems("do:\n  - a: {wait: PT1S}", HEAD.replace('version: "1.0.0"', f'version: "{version}"'))
    assert "is not a semantic version" in found.message


def test_a_list_of_tasks_alone_has_a_name() -> None:
    document = load_text("do:\n  - a: {wait: PT1S}\n", bare=True).document
    assert (document.name, document.namespace) == ("default-workflow", "default")
    with pytest.raises(InvalidDocument, match="lacks 'document'"):
        load_text("do:\n  - a: {wait: PT1S}\n")


def test_the_model_holds_what_the_document_says() -> None:
    document = load_text(
        HEAD
        + """
use: {timeouts: {short: {after: PT1.5S}}, retries: {r: {delay: PT2S, backoff: {linear: {}}, limit: {attempt: {count: 2}}}}}
timeout: short
do:
  - t:
      try:
        - w: {wait: {minutes: 1, milliseconds: 5}, then: exit}
      catch: {as: $e, retry: r}
      then: l
  - l: {for: {in: .a}, inParallel: 3, do: [{x: {run: {function: {runnerName: COMMAND, arguments: {}, options: {withBackup: true}}}}}]}
"""
    ).document
    assert document.timeout is not None
    assert (document.timeout.after, document.timeout.name) == (1500, "short")
    first, second = document.do.tasks
    assert isinstance(first, TryTask)
    assert first.then == Goto("l")
    assert first.catch.as_ == "e"
    assert first.catch.retry is not None
    assert (first.catch.retry.delay, first.catch.retry.backoff, first.catch.retry.attempts) == (
        2000,
        Backoff.LINEAR,
        2,
    )
    inner = first.try_.tasks[0]
    assert isinstance(inner, WaitTask)
    assert (inner.duration, inner.then, inner.origin.pointer) == (60_005, Directive.EXIT, "/do/0/t/try/0/w")
    assert isinstance(second, ForTask)
    assert (second.each, second.parallel, second.limit) == ("item", True, 3)
    run = second.do.tasks[0]
    assert isinstance(run, RunTask)
    options: Any = run.run
    assert (options.options.queue_type, options.options.store_failure) == ("WITH_BACKUP", True)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_examples_of_the_page_are_valid(number: int) -> None:
    assert load_text(BLOCKS[number], bare=True).warnings == ()


@pytest.mark.parametrize("path", sorted((TOP / "examples" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_example_files_are_valid(path: Path) -> None:
    assert load_text(path.read_text()).warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the document is empty"),
        ("- 1", "must be an object"),
        ("[" * 5000, "nested deeper"),
        ('{"do": ' * 300, "nested deeper"),
        ("a: &a [*a]", "stands inside of what it names"),
        ("a: &a [1,2,3,4,5,6,7,8,9,10]\n" + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 10)}]\n" for p, c in zip("abcde", "bcdef", strict=True)), "more than 200000 values"),
        ("a: *b", "no anchor &b"),
        ("a: .inf", "JSON can hold"),
        ("a: 1e999", "JSON can hold"),
        ('{"a": 1e999}', "JSON can hold"),
        ("a: " + "9" * 5000, "digits"),
        ("a: 0x" + "f" * 5000, "digits"),
        ("a: 0o" + "7" * 5000, "digits"),
        ("a: 1." + "0" * 5000, "digits"),
        ('{"a": ' + "9" * 5000 + "}", "digits"),
        ("a: -1e999", "-1e999 is not a number"),
        ("a: !!binary aGk=", "the tag !!binary is not known"),
        ("a: !!bool yes", "not of the type"),
        ("? [a]\n: 1", "a key must be text"),
        ("1: a\n'1': b", "the key '1' is there twice"),
        ("a: \ud800", "half a surrogate pair"),
        ("%YAML 2.0\n---\na: 1", "incompatible YAML"),
        ("\ta: 1", "not valid YAML"),
        ("a: !!python/object:os.system x", "is not known"),
        ("a: {<<: {b: 1}}", "merge keys"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ('{"a": 1', "is expected here"),
        ('{"a": "\\ud83d"', "is expected here"),
        ('{"a\\ud83d": 1}', "escape code"),
        ("a: \x00", "not valid YAML"),
        ("{1: 2}", "lacks 'document'"),
    ],
)  # fmt: skip
def test_texts_that_cannot_be_read(text: str, message: str) -> None:
    assert any(message in each.message for each in problems(text, "")), [str(each) for each in problems(text, "")]


@pytest.mark.parametrize("kind", ["urn:example:stock", "about:blank", "https://example.com/errors/stock", "x-y.z+1:a"])
def test_any_uri_may_be_the_type_of_an_error(kind: str) -> None:
    load_text(f"{HEAD}do: [{{a: {{raise: {{error: {{type: '{kind}', status: 409}}}}}}}}]")


def test_json_may_hold_what_yaml_may_not() -> None:
    text = '{\n\t"do": [{"a": {"set": {"face": "\\ud83d\\ude00", "path": "a\\/b"}}}]}'
    assert load_text(text, bare=True).document.definition["do"][0]["a"]["set"] == {"face": "\U0001f600", "path": "a/b"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0x1F", 31), ("0o17", 15), ("017", 17), ("+12", 12), ("-0", 0), ("1_000", "1_000"), ("0b11", "0b11"),
        ("1.", 1.0), (".5", 0.5), ("-.5", -0.5), ("1E+5", 100_000.0), ("1e", "1e"), ("0x", "0x"), ("0o8", "0o8"),
        ("99999999999999999999", 99999999999999999999), ("\u0663", "\u0663"), ("nULL", "nULL"), ("NULL", None), ("", None),
        ("TRUE", True), ("y", "y"), ("2001-12-14t21:59:43Z", "2001-12-14t21:59:43Z"), ("!!str 12", "12"), ("! 12", "12"),
        ('!!int "3"', 3), ("!!float 1", 1), ('!!null ""', None), ("&a [1, 2]", [1, 2]), ("{1: a, true: b}", {"1": "a", "true": "b"}),
        ("|\n  a\n   b\n", "a\n b\n"), (">-\n  a\n  b\n\n  c\n", "a b\nc"), ("|+\n  a\n\n", "a\n\n"),
        ('"\\x41\\u0042\\U00000043"', "ABC"), ("'it''s'", "it's"),
    ],
)  # fmt: skip
def test_scalars_of_yaml(text: str, value: Any) -> None:
    found = parse(f"a: {text}").plain["a"]
    assert (found, type(found)) == (value, type(value))


def test_aliases_stand_for_what_they_name_last() -> None:
    assert parse("a: &x [1]\nb: *x\nc: &x 2\nd: *x").plain == {"a": [1], "b": [1], "c": 2, "d": 2}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": "\\ud83d"}', "\ud83d"),
        ('{"a": "\u2028"}', "\u2028"),
        ('{"a": -0}', 0),
        ('{"a": 1E+5}', 100_000.0),
        ('\ufeff{"a": []}', []),
        ('{"a": 1,} # YAML allows that', 1),
        ("{'a': 0x1F}", 31),
    ],
)
def test_json_and_what_is_nearly_json(text: str, value: Any) -> None:
    assert parse(text).plain == {"a": value}


def test_lines_are_those_of_the_parser() -> None:
    (problem,) = problems('{"do": [{"a": {"set": {"x": "\u2028\x85"}}},\r\n{"b": {"wait": "x"}}]}', "", bare=True)
    assert (problem.line, problem.text) == (2, '{"b": {"wait": "x"}}]}')


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("5", 5), ("NaN", "NaN"), ("[Infinity]", "[Infinity]"), ("/home/", "/home/"), ("[1", "[1"), ('"\\ud83d"', "\ud83d"),
        ('\ufeff{"a": 1}', {"a": 1}), ("9" * 4000, int("9" * 4000)), ("1.5", 1.5), ('{"a":1,"a":2}', {"a": 2}),
    ],
)  # fmt: skip
async def test_input_as_text(text: str, value: Any) -> None:
    assert await parsed_input(text) == value


@pytest.mark.parametrize(
    "text", ["9" * 5000, '{"a": [-' + "9" * 5000 + "]}", "1e999", "[-1e400]", "1" + "0" * 400 + ".5"]
)
async def test_numbers_that_are_too_large_are_no_text(text: str) -> None:
    with pytest.raises(BadInput, match=r"too large|too many digits"):
        await parsed_input(text)


async def test_the_same_text_is_read_once() -> None:
    text = HEAD + "do:\n  - a: {set: {x: once}}\n" + "# " + "long " * 2000
    assert await load_text_async(text) is await load_text_async(text) is load_text(text)


def test_what_was_read_is_kept_until_many_others_were() -> None:
    texts = [HEAD + f"do: [{{a: {{set: {{other: {number}}}}}}}]" for number in range(257)]
    first = load_text(texts[0])
    for text in texts[1:-1]:
        load_text(text)
    assert load_text(texts[0]) is first
    second = load_text(texts[1])
    load_text(texts[-1])
    assert load_text(texts[0]) is first, "it was used since"
    assert load_text(texts[1]) is second
    for text in texts[2:]:
        load_text(text)
    assert load_text(texts[0]) is not first


async def test_a_text_is_read_in_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def load_somewhere(text: str, *, bare: bool = False) -> Loaded:
        threads.append(threading.get_ident())
        return load_text(text, bare=bare)

    monkeypatch.setattr(load, "load_text", load_somewhere)
    await load_text_async(HEAD + "do: [{a: {set: {read: in a thread}}}]")
    assert len(threads) == 1
    assert threading.get_ident() not in threads, "others have no turn meanwhile"


def test_a_function_of_its_own() -> None:
    use = load_text(HEAD + "do: [{a: {set: {x: 1}}}]").document.use
    found = load_function("call: http\nwith: {method: get, endpoint: 'https://example.com'}\n", "ask", use, "/f")
    assert (found.name, found.origin.pointer) == ("ask", "/f")
    with pytest.raises(InvalidDocument, match="no kind") as caught:
        load_function("wit: 1", "ask", use, "/f")
    assert [each.pointer for each in caught.value.problems] == [""], "that of the file"
