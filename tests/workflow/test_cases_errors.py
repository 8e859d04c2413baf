"""Group G: errors, catching them, trying again, running out of time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent

import pytest

from tests.workflow.cases import Case, Fault, expression, table
from tests.workflow.stage import Stage

TRY = """
do:
  - t:
      try: [{bad: {set: {v: '${ error("boom") }'}}}]
      catch: %s
  - after: {set: {r: "${ . }"}}
"""
STOCK = "https://example.org/errors/stock"


@table(
    Case(
        "C69 catch variable and handler",
        """
        do:
          - t:
              try: [{bad: {set: {v: '${ error("boom") }'}}}]
              catch:
                as: err
                do: [{h: {set: {st: "${ $err.status }", hasType: '${ $err | has("type") }'}}}]
          - after: {set: {done: "${ .st }"}}
        """,
        {},
        {"done": 400},
    ),
    Case("C70 the filter does not match", TRY % "{errors: {with: {status: 503}}}", {}, fault=expression()),
    Case(
        "C71 short name of the reference in the filter",
        TRY % "{errors: {with: {type: BadArgument}}, do: [{h: {set: {caught: true}}}]}",
        {},
        {"r": {"caught": True}},
    ),
    Case(
        "C72 when holds and exceptWhen does not",
        TRY % '{when: "${ $error.status == 400 }", exceptWhen: "${ .skip }", do: [{h: {set: {caught: true}}}]}',
        {"skip": False},
        {"r": {"caught": True}},
    ),
    Case(
        "C72 exceptWhen holds",
        TRY % '{when: "${ $error.status == 400 }", exceptWhen: "${ .skip }", do: [{h: {set: {caught: true}}}]}',
        {"skip": True},
        fault=expression("/do/0/t/try/0/bad/set"),
    ),
    Case(
        "C72 when does not hold",
        TRY % '{when: "${ $error.status == 404 }", do: [{h: {set: {caught: true}}}]}',
        {},
        fault=expression("/do/0/t/try/0/bad/set"),
    ),
    Case(
        "C73 the handler's input is the last good output",
        """
        do:
          - t:
              try: [{ok: {set: {a: 1}}}, {bad: {set: {b: '${ error("x") }'}}}]
              catch: {do: [{h: {set: {got: "${ .a }"}}}]}
        """,
        {},
        {"got": 1},
    ),
    Case(
        "C74 success skips the handler",
        "do: [{t: {try: [{ok: {set: {a: 1}}}], catch: {do: [{h: {set: {b: 1}}}]}}}]",
        {},
        {"a": 1},
    ),
    Case("C75 swallowed without a handler", TRY % "{}", {"n": 7}, {"r": {"n": 7}}),
    Case(
        "C77 raise",
        f"do: [{{r: {{raise: {{error: {{type: '{STOCK}', status: 409, title: Out of stock}}}}}}}}]",
        {},
        fault=Fault(409, None, "/do/0/r", (STOCK, "Out of stock")),
    ),
    Case(
        "the engine says where an error was raised, whatever the document says",
        "do: [{r: {raise: {error: {type: 'https://x.org/e', status: 409, instance: /mine}}}}]",
        {},
        fault=Fault(409, None, "/do/0/r"),
    ),
    Case(
        "a status that is no integer",
        "do: [{r: {raise: {error: {type: 'https://x.org/e', status: '${ 404.5 }'}}}}]",
        {},
        fault=Fault(400, "validation", "/do/0/r/raise/error/status", ("404.5",)),
    ),
    Case(
        "a status that is true",
        "do: [{r: {raise: {error: {type: 'https://x.org/e', status: '${ true }'}}}}]",
        {},
        fault=Fault(400, "validation", "/do/0/r/raise/error/status", ("it is true",)),
    ),
    Case(
        "a status that is a whole number however it is written",
        "do: [{r: {raise: {error: {type: 'https://x.org/e', status: '${ 808 / 2 }'}}}}]",
        {},
        fault=Fault(404, None, "/do/0/r"),
    ),
    Case(
        "a type that is blank",
        "do: [{r: {raise: {error: {type: '${ \" \" }', status: 404}}}}]",
        {},
        fault=Fault(400, "validation", "/do/0/r/raise/error/type"),
    ),
    Case(
        "C78 catching by status",
        f"""
        do:
          - t:
              try: [{{r: {{raise: {{error: {{type: '{STOCK}', status: 409}}}}}}}}]
              catch: {{errors: {{with: {{status: 409}}}}, do: [{{h: {{set: {{caught: "${{ $error.status }}"}}}}}}]}}
        """,
        {},
        {"caught": 409},
    ),
    Case(
        "a named error with expressions",
        """
        use: {errors: {stock: {type: 'https://example.org/stock', status: 409, detail: '${ "no \\(.item)" }'}}}
        do: [{r: {raise: {error: stock}}}]
        """,
        {"item": "pen"},
        fault=Fault(409, None, "/do/0/r", ("no pen",)),
    ),
    Case(
        "an error that nobody catches inside of a handler",
        TRY % "{do: [{h: {set: {v: '${ error(\"again\") }'}}}]}",
        {},
        fault=expression("/do/0/t/catch/do/0/h/set", "again"),
    ),
    Case(
        "the error does not survive the try",
        (TRY % "{as: err}").replace('"${ . }"', '"${ $err }"'),
        {},
        fault=expression("/do/1/after/set"),
    ),
    Case(
        "C79 time-out of a task",
        "do: [{a: {wait: {hours: 1}, timeout: {after: {milliseconds: 100}}}}]",
        {},
        fault=Fault(408, "timeout", "/do/0/a"),
    ),
    Case(
        "C80 time-out of the workflow, by name",
        "use: {timeouts: {short: {after: PT0.1S}}}\ntimeout: short\ndo: [{a: {wait: {hours: 1}}}]",
        {},
        fault=Fault(408, "timeout", ""),
    ),
    Case(
        "a time-out can be caught",
        """
        do:
          - t:
              try: [{a: {wait: {hours: 1}, timeout: {after: PT0.05S}}}]
              catch: {errors: {with: {type: RequestTimeout}}, do: [{h: {set: {late: true}}}]}
        """,
        {},
        {"late": True},
    ),
)
async def test_errors(stage: Stage, case: Case) -> None:
    await case.holds(stage)


async def test_c80_an_unknown_time_out_is_refused_before_the_run(stage: Stage) -> None:
    end = await stage.run("timeout: missing\ndo: [{a: {wait: {hours: 1}}}]", {})
    assert end.job_status == "OTHER_ERROR"
    assert "missing" in end.text


def _hits(file: Path, catch: str) -> str:
    return f"""
    do:
      - t:
          try:
            - hit:
                run:
                  shell: {{command: sh, args: ["-c", "echo x >> {file}; exit 1"], treatNonzeroAsError: true}}
          catch: {catch}
    """


async def test_c76_number_of_attempts(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "attempts"
    retry = "{retry: {delay: {milliseconds: 10}, limit: {attempt: {count: 2}}}, do: [{h: {set: {gaveUp: true}}}]}"
    end = await stage.run(_hits(file, retry), {})
    assert end.output == {"gaveUp": True}
    assert len(file.read_text().split()) == 3


async def test_retries_without_a_handler_end_in_the_last_error(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "attempts"
    end = await stage.run(_hits(file, "{retry: {delay: PT0.01S, limit: {attempt: {count: 1}}}}"), {})
    assert end.error["status"] == 503
    assert end.error["instance"] == "/do/0/t/try/0/hit/run/shell"
    assert len(file.read_text().split()) == 2


async def test_retries_have_a_limit_of_their_own(stage: Stage, tmp_path: Path) -> None:
    file = tmp_path / "attempts"
    end = await stage.run(_hits(file, "{retry: {delay: {milliseconds: 1}}}"), {})
    assert end.status == "Faulted"
    assert len(file.read_text().split()) == 11


@pytest.mark.parametrize(("backoff", "least"), [("constant: {}", 0.3), ("linear: {}", 0.6), ("exponential: {}", 0.7)])
async def test_delays_grow(stage: Stage, backoff: str, least: float) -> None:
    begun = time.monotonic()
    catch = f"{{retry: {{delay: {{milliseconds: 100}}, backoff: {{{backoff}}}, limit: {{attempt: {{count: 3}}}}}}}}"
    await stage.run(TRY % catch, {})
    assert time.monotonic() - begun >= least - 0.02, "times are written down in milliseconds"


async def _delays(stage: Stage, policy: str) -> list[int]:
    """Return the pauses before the retries of a task that never succeeds, in milliseconds."""
    job_id = await stage.start(f"use: {{retries: {{patient: {{{policy}}}}}}}\n" + dedent(TRY % "{retry: patient}"), {})
    assert (await stage.result(job_id)).status == "Faulted"
    told = [each.task_retried for each in await stage.events(job_id) if each.HasField("task_retried")]
    assert [each.retry for each in told] == list(range(1, len(told) + 1))
    return [each.delay_ms for each in told]


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        ("delay: {milliseconds: 2}", [2, 2, 2, 2]),
        ("delay: {milliseconds: 2}, backoff: {constant: {}}", [2, 2, 2, 2]),
        ("delay: {milliseconds: 2}, backoff: {linear: {}}", [2, 4, 6, 8]),
        ("delay: {milliseconds: 2}, backoff: {exponential: {}}", [2, 4, 8, 16]),
        ("backoff: {exponential: {}}", [0, 0, 0, 0]),
    ],
)
async def test_the_delay_before_each_retry(stage: Stage, policy: str, delays: list[int]) -> None:
    assert await _delays(stage, f"{policy}, limit: {{attempt: {{count: 4}}}}") == delays


async def test_no_delay_is_longer_than_a_year(stage: Stage) -> None:
    retry = "{retry: {delay: P300Y, backoff: {exponential: {}}}}"
    job_id = await stage.start(dedent(TRY % retry), {})
    client, method, delay_ms = stage.house.client, "WorkflowEventService.Watch", 0
    async with client.open(method) as stream:
        await stream.send_message(client.request(method, None, {"job_id": {"value": job_id}}), end=True)
        while not delay_ms:
            delay_ms = client.reply(method, await stream.recv_message()).task_retried.delay_ms
        await stream.cancel()
    assert await stage.house.delete(job_id)
    assert delay_ms == 365 * 24 * 3_600_000


@pytest.mark.parametrize(("backoff", "factors"), [("constant", (1,) * 8), ("linear", range(1, 9))])
async def test_a_named_retry_with_jitter(stage: Stage, backoff: str, factors: Sequence[int]) -> None:
    jitter = "jitter: {from: {milliseconds: 20}, to: {milliseconds: 60}}"
    policy = f"delay: {{milliseconds: 5}}, backoff: {{{backoff}: {{}}}}, {jitter}, limit: {{attempt: {{count: 8}}}}"
    delays = await _delays(stage, policy)
    added = [delay - 5 * factor for delay, factor in zip(delays, factors, strict=True)]
    assert all(20 <= each <= 60 for each in added), added
    assert len(set(added)) > 1, "they are not all the same"


async def test_jitter_counts_for_the_total_limit(stage: Stage) -> None:
    jitter = "jitter: {from: {minutes: 1}, to: {minutes: 2}}"
    assert await _delays(stage, f"delay: {{milliseconds: 1}}, {jitter}, limit: {{duration: {{seconds: 30}}}}") == []


@pytest.mark.parametrize(
    ("condition", "retries"),
    [
        ('when: "${ $error.status == 400 and .again }"', 2),
        ('when: "${ $error.status == 404 }"', 0),
        ('exceptWhen: "${ $error.status == 400 and .again }"', 0),
        ('exceptWhen: "${ $error.status == 404 }"', 2),
        ('when: "${ .again }", exceptWhen: "${ .again }"', 0),
    ],
)
async def test_a_retry_policy_tells_by_the_error_whether_to_try_again(
    stage: Stage, condition: str, retries: int
) -> None:
    policy = f"{{delay: PT0S, {condition}, limit: {{attempt: {{count: 2}}}}}}"
    job_id = await stage.start(dedent(TRY % f"{{retry: {policy}, do: [{{h: {{set: {{gave: up}}}}}}]}}"), {"again": 1})
    assert (await stage.result(job_id)).output == {"r": {"gave": "up"}}, "who does not try again handles the error"
    assert sum(each.HasField("task_retried") for each in await stage.events(job_id)) == retries


@pytest.mark.parametrize("limit", ["attempt: {count: 5, duration: PT0.05S}", "duration: PT0.05S"])
async def test_no_retry_begins_after_a_limit_of_time_which_ends_no_attempt(stage: Stage, limit: str) -> None:
    end = await stage.run(
        f"""
        do:
          - t:
              try:
                - count: {{set: {{tries: "${{ $tries + 1 }}"}}}}
                - slow: {{wait: PT0.1S}}
                - bad: {{set: {{v: '${{ error("boom") }}'}}}}
              catch:
                retry: {{delay: PT0S, limit: {{{limit}}}}}
                do: [{{h: {{set: {{tries: "${{ $tries }}", status: "${{ $error.status }}"}}}}}}]
        """,
        {},
        workflow_context={"tries": 0},
    )
    assert end.output == {"tries": 1, "status": 400}


async def test_a_retry_begins_with_the_original_input(stage: Stage) -> None:
    end = await stage.run(
        """
        do:
          - t:
              try:
                - count: {set: {n: "${ (.n // 0) + 1 }", tries: "${ ($tries? // 0) + 1 }"}}
                - bad: {if: "${ $tries < 3 }", set: {v: '${ error("again") }'}}
              catch: {retry: {delay: PT0S, limit: {attempt: {count: 5}}}}
        """,
        {},
        workflow_context={"tries": 0},
    )
    assert end.output == {"n": 1, "tries": 3}


@pytest.mark.parametrize(
    "member",
    [
        "if: last(range(1e12))",
        "input: {from: last(range(1e12))}",
        "output: {as: last(range(1e12))}",
        "export: {as: last(range(1e12))}",
        "output: {as: last(range(1e12))}, timeout: {after: '${ \"PT0.05S\" }'}",
    ],
)
async def test_a_limit_covers_whatever_a_task_evaluates(stage: Stage, member: str) -> None:
    limit = "" if "timeout" in member else ", timeout: {after: PT0.05S}"
    end = await stage.run(f"do: [{{a: {{set: {{x: 1}}, {member}{limit}}}}}]", {})
    assert (end.error["status"], end.error["instance"]) == (408, "/do/0/a")
    assert "50 ms" in end.error["detail"]


async def test_a_time_out_ends_the_job_of_a_task(stage: Stage) -> None:
    end = await stage.run(
        'do: [{a: {run: {shell: {command: sleep, args: ["3600"]}}, timeout: {after: {milliseconds: 200}}}}]', {}
    )
    assert end.error["status"] == 408
    assert len(stage.house.daemon.engine.live) == 0
