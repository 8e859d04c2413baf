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


RETRY = "retry: {delay: %s, limit: {%s}}, do: [{h: {set: {gave: up}}}]"
TRIES = f"do: [{{t: {{try: [{{bad: {{{_RAISE}}}}}], catch: {{%s}}}}}}]"


async def _after_a_death_at(death: int, catch: str) -> Any:
    with anyio.fail_after(10):
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
