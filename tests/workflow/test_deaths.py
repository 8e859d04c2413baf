"""A process that dies after any record: what the run then gives is what it gives in one life."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import anyio
import pytest
import yaml

from jobworkerp_standalone.workflow import progress
from jobworkerp_standalone.workflow.tasks import try_task
from tests.support.patience import PATIENCE_SEC
from tests.workflow.alone import lives

_RAISE = 'raise: {error: {type: "https://x.org/e", status: 500}}'
DOCUMENTS = {
    "what a failed attempt set stays, for its handler too": f"""
        - t:
            try: [{{a: {{set: {{x: 1}}}}}}, {{bad: {{{_RAISE}}}}}]
            catch:
              do: [{{h: {{set: {{got: "${{ $x }}", was: "${{ . }}"}}}}}}, {{i: {{set: {{was: "${{ .was }}"}}}}}}]
        - z: {{set: {{x: "${{ $x }}", before: "${{ . }}"}}}}
        """,
    "what it exported stays": f"""
        - a: {{set: {{n: 1}}, export: {{as: "${{ {{e: .n}} }}"}}}}
        - t:
            try: [{{b: {{set: {{n: 2}}, export: {{as: "${{ {{e: .n}} }}"}}}}}}, {{bad: {{{_RAISE}}}}}]
            catch: {{do: [{{h: {{set: {{c: "${{ $context.e }}"}}}}}}]}}
        - z: {{set: {{c: "${{ $context.e }}"}}}}
        """,
    "an error that is only caught leaves the last output": f"""
        - t: {{try: [{{a: {{set: {{x: 1}}}}}}, {{bad: {{{_RAISE}}}}}], catch: {{}}}}
        - z: {{set: {{x: "${{ $x }}", before: "${{ . }}"}}}}
        """,
    "attempts go on counting": f"""
        - init: {{set: {{n: 0}}}}
        - t:
            try:
              - a: {{set: {{n: "${{ $n + 1 }}"}}}}
              - bad: {{if: $n < 3, {_RAISE}}}
              - c: {{set: {{m: "${{ $n }}"}}}}
            catch: {{retry: {{delay: {{milliseconds: 1}}, limit: {{attempt: {{count: 2}}}}}}}}
        - z: {{set: {{n: "${{ $n }}", before: "${{ . }}"}}}}
        """,
    "jumps backward in lists inside each other": """
        - init: {set: {n: 0, q: 0, k: []}}
        - a: {set: {n: "${ $n + 1 }", k: "${ $k + [ $n ] }"}}
        - inner:
            do:
              - p: {set: {q: "${ $q + 1 }"}}
              - s: {switch: [{m: {when: $q % 3 != 0, then: p}}, {d: {then: exit}}]}
        - b: {switch: [{m: {when: $n < 3, then: a}}, {d: {then: c}}]}
        - c: {set: {n: "${ $n }", q: "${ $q }", k: "${ $k }"}}
        """,
    "branches and loops inside of them": """
        - f:
            fork:
              branches:
                - a: {do: [{x: {set: {u: 1}}}, {y: {set: {u: "${ $u + 1 }"}}}]}
                - b: {for: {each: i, in: "${ [1, 2] }"}, do: [{s: {set: {w: "${ $i }", of: "${ . }"}}}]}
        - z: {set: {before: "${ . }"}}
        """,
    "a caught error that leads elsewhere": f"""
        - t: {{try: [{{bad: {{{_RAISE}}}}}], catch: {{do: [{{h: {{set: {{h: "${{ $error.status }}"}}}}}}], then: z}}}}
        - y: {{set: {{y: 1}}}}
        - z: {{set: {{before: "${{ . }}"}}}}
        """,
    "the first export passes the context on": """
        - a: {set: {x: 1}, export: {as: $context}}
        - z: {set: {c: "${ $context }"}}
        """,
    "items that fail side by side": f"""
        - e:
            for: {{each: i, in: "${{ [1, 2, 3] }}"}}
            inParallel: 2
            onError: continue
            do:
              - a: {{set: {{v: "${{ $i }}"}}}}
              - b: {{if: $i == 2, {_RAISE}}}
              - c: {{set: {{v: "${{ $v * 10 }}"}}}}
        - z: {{set: {{before: "${{ . }}"}}}}
        """,
}


@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)
def test_a_death_after_any_record_changes_nothing(text: str) -> None:
    document: dict[str, Any] = {"do": yaml.safe_load(text)}
    whole = asyncio.run(lives(document, {"i": 1}, []))
    for death in range(1, 25):
        again = asyncio.run(lives(document, {"i": 1}, [death]))
        assert (again.output, again.twice) == (whole.output, []), f"after {death} records"
    assert asyncio.run(lives(document, {"i": 1}, [2] * 12)).output == whole.output


EXTENSIONS = {
    "before and after": """
        - log:
            extend: set
            before:
              - count: {set: {n: "${ $n + 1 }"}}
              - note: {set: {k: "${ $k + [$n] }"}}
            after:
              - told: {set: {k: "${ $k + [0 - $n] }"}}
              - last: {set: {seen: "${ $seen + [.] }"}}
        """,
    "around each other, in place of the task, and where they are meant": """
        - outer:
            extend: all
            when: $task.name != "b"
            before: [{one: {set: {k: "${ $k + [1] }"}}}]
            after: [{two: {set: {k: "${ $k + [2] }"}}}, {three: {set: {n: "${ $n + 1 }"}}}]
        - instead:
            extend: set
            when: $task.name == "c"
            before: [{four: {set: {k: "${ $k + [4] }"}}}, {five: {set: {v: mocked}, then: exit}}]
        """,
}


@pytest.mark.parametrize("text", EXTENSIONS.values(), ids=EXTENSIONS)
def test_a_death_within_an_extension_changes_nothing(text: str) -> None:
    tasks = """
        - a: {set: {v: 1}}
        - d: {do: [{b: {set: {v: "${ .v + 1 }"}}}, {c: {set: {v: "${ .v * 10 }"}}}]}
        - z: {set: {v: "${ .v }", n: "${ $n }", k: "${ $k }", seen: "${ $seen }"}}
        """
    head = {"dsl": "1.0.3", "namespace": "t", "name": "flow", "version": "1.0.0"}
    document: dict[str, Any] = {"document": head, "do": yaml.safe_load(tasks)}
    document["use"] = {"extensions": yaml.safe_load(text)}
    context = {"n": 0, "k": [], "seen": []}
    whole = asyncio.run(lives(document, {}, [], context))
    assert whole.output["k"], "the extensions ran"
    for death in range(1, 25):
        again = asyncio.run(lives(document, {}, [death], context))
        assert (again.output, again.twice) == (whole.output, []), f"after {death} records"
    assert asyncio.run(lives(document, {}, [2] * 16, context)).output == whole.output


EMITTED = """
- e1: {emit: {event: {with: {type: t.a, data: 1}}}}
- e2: {emit: {event: {with: {type: t.b, data: 2}}}}
- e3: {emit: {event: {with: {type: t.a, data: 3}}}}
- e4: {emit: {event: {with: {type: t.a, data: 4}}}}
- init: {set: {sum: 0, seen: []}}
"""
LISTENERS = {
    "each with something to do": """
        - l:
            listen: {to: {any: [{with: {type: t.a}}], until: length == 2}}
            foreach:
              item: got
              at: n
              do:
                - s: {set: {sum: "${ $sum + $got }", v: "${ $got * 10 }"}}
                - i: {listen: {to: {one: {with: {type: t.b}}}}, if: $n == 0, output: {as: ".[0] + 5"}}
                - e: {set: {v: "${ $v }", from: "${ . }", n: "${ $n }"}}
              output: {as: "${ [ .v, .from, .n ] }"}
              export: {as: "${ {last: .} }"}
        - m: {listen: {to: {one: {with: {type: t.a}}}}}
        - z: {set: {all: "${ . }", sum: "${ $sum }", last: "${ $context.last }"}}
        """,
    "all that belong together": """
        - l:
            listen:
              to:
                all:
                  - with: {type: t.a}
                    correlate: {k: {from: ".type | length"}}
                  - with: {type: t.a}
                  - with: {type: t.b}
                    correlate: {k: {from: ".type | length"}}
        - z: {set: {before: "${ . }"}}
        """,
    "all of which one moves on": """
        - l:
            listen:
              to:
                all: [{with: {type: 't\\..*'}}, {with: {type: t.a}, correlate: {k: {from: .type}}}]
              read: envelope
            output: {as: "${ map(.data) }"}
        - z: {set: {before: "${ . }"}}
        """,
    "until an event": """
        - l:
            listen:
              to:
                any: [{with: {type: t.b}}, {with: {type: t.a, data: 1}}]
                until: {all: [{with: {type: t.a, data: 3}}, {with: {type: t.a, data: 4}}]}
        - z: {set: {before: "${ . }"}}
        """,
    "side by side, and one later": """
        - f:
            fork:
              branches:
                - quick: {listen: {to: {any: [{with: {type: t.a}}], until: length == 2}}}
                - slow:
                    listen: {to: {any: [{with: {type: t.a}}], until: length == 2}}
                    foreach: {do: [{v: {set: {w: "${ $item }"}}}, {x: {set: {v: "${ $item * 10 }"}}}]}
                - other: {listen: {to: {one: {with: {type: t.b}}}}}
            export: {as: "${ {side: .} }"}
        - m: {listen: {to: {one: {with: {type: t.a}}}}}
        - z: {set: {later: "${ . }", side: "${ $context.side }"}}
        """,
    "for ever": """
        - l:
            listen: {to: {any: [{with: {type: t.a}}], until: false}}
            foreach:
              do:
                - s: {set: {seen: "${ $seen + [$item, $index] }"}}
                - x: {switch: [{done: {when: $item == 4, then: end}}, {go: {then: continue}}]}
        """,
    "what it emits while it listens": """
        - l:
            listen: {to: {any: [{with: {type: t.a}}], until: length == 4}}
            foreach:
              do:
                - s: {emit: {event: {with: {type: t.a, data: "${ $item * 2 }"}}}, if: $item == 4}
                - v: {set: {item: "${ $item }"}}
        - z: {set: {before: "${ . }"}}
        """,
}


@pytest.mark.parametrize("text", LISTENERS.values(), ids=LISTENERS)
def test_a_death_after_any_record_loses_no_event(text: str) -> None:
    document: dict[str, Any] = {"do": [*yaml.safe_load(EMITTED), *yaml.safe_load(text)]}

    async def after(*deaths: int) -> Any:
        with anyio.fail_after(PATIENCE_SEC):
            return (await lives(document, {"i": 1}, deaths)).output

    whole = asyncio.run(after())
    for death in range(1, 25):
        assert asyncio.run(after(death)) == whole, f"after {death} records"
    assert asyncio.run(after(*[2] * 25)) == whole
    assert asyncio.run(after(*[3] * 12)) == whole


RETRY = "retry: {delay: %s, limit: {%s}}, do: [{h: {set: {gave: up}}}]"
TRIES = f"do: [{{t: {{try: [{{bad: {{{_RAISE}}}}}], catch: {{%s}}}}}}]"


async def _after_a_death_at(death: int, catch: str) -> Any:
    with anyio.fail_after(PATIENCE_SEC):
        return (await lives(yaml.safe_load(TRIES % catch), {}, [death])).output


async def test_a_delay_that_passed_while_nothing_ran_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    minutes = itertools.count(0, 40 * 60_000)
    monkeypatch.setattr(progress, "now_ms", lambda: next(minutes))
    # It dies when the delay of an hour is written down, and lives again when that hour is over.
    catch = RETRY % ("PT1H", "attempt: {count: 1}")
    assert await _after_a_death_at(3, catch) == {"gave": "up"}


async def test_the_limit_of_all_attempts_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = itertools.count(0, 2 * 3_600_000)
    monkeypatch.setattr(try_task, "now_ms", lambda: next(hours))
    catch = RETRY % ("PT0S", "duration: PT1H")
    assert await _after_a_death_at(5, catch) == {"gave": "up"}
