"""Large JSON keeps nobody from their turn; small JSON switches no task."""

from __future__ import annotations

import json
import threading
from collections.abc import Coroutine
from typing import Any

import anyio.lowlevel
import pytest

from jobworkerp_standalone.jobs.json_in import Unheld
from jobworkerp_standalone.workflow import large_json
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.large_json import text_of, value_of

pytestmark = pytest.mark.anyio
ROWS = [{"id": number, "name": f"row {number}", "tags": ["a", "ä"]} for number in range(20_000)]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def at_once(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what comes of a coroutine that waits for nothing."""
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    return ended.value.value


def test_small_values_are_read_and_written_at_once() -> None:
    value: JSON = {"a": [1, "ä", None]}
    assert at_once(text_of(value)) == '{"a":[1,"ä",null]}'
    assert at_once(value_of('{"a": [1, "ä", null]}')) == value


@pytest.mark.parametrize(
    "value",
    [ROWS, {"rows": ROWS}, "x" * 200_000, ["ä" * 100_000, "\ud83d" + "b" * 100_000], {"deep": [[ROWS]]}],
    ids=["list", "object", "text", "half a pair", "deep"],
)
async def test_large_values_are_written_in_turns(value: Any) -> None:
    turns, over, text = 0, False, ""

    async def others() -> None:
        nonlocal turns
        while not over:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        text = await text_of(value)
        over = True
    assert turns >= len(text) // 65_536 > 1
    assert json.loads(text) == json.loads(json_text(value)) == value
    assert len(text) == len(json_text(value)) or "\ud83d" in value[1]


async def test_long_texts_are_read_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    read, threads = large_json.json_value, set[int]()

    def noted(text: str, *hooks: Any) -> Any:
        threads.add(threading.get_ident())
        return read(text, *hooks)

    monkeypatch.setattr(large_json, "json_value", noted)
    assert await value_of(json.dumps(ROWS)) == ROWS
    with pytest.raises(Unheld):
        await value_of(json.dumps(ROWS)[:-1] + ", 1e999]")
    assert threads
    assert threading.get_ident() not in threads
