"""Gives templates their values: in the daemon where it can do no harm, else in a helper process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final, cast

from jobworkerp_standalone.jobs.json_fragments import Reader, fragments_of
from jobworkerp_standalone.jobs.json_size import size_up_to, sizes_up_to
from jobworkerp_standalone.workflow.expressions import jq_engine, liquid_engine
from jobworkerp_standalone.workflow.expressions.errors import ExpressionError
from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.helper_wire import FRAGMENT, JQ, LIQUID, SCHEMA, Limits
from jobworkerp_standalone.workflow.expressions.helpers import Helpers
from jobworkerp_standalone.workflow.expressions.jq_program import INLINE_BYTES, JqProgram
from jobworkerp_standalone.workflow.expressions.paths import Path
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.template import Leaf, Template
from jobworkerp_standalone.workflow.expressions.values import JSON, one_of

if TYPE_CHECKING:
    from jobworkerp_standalone.runners.host import Host

_TURN_SEC: Final = 0.002
"""How long the expressions of one value keep others from their turn."""
_MIB: Final = 1024 * 1024
_SMALL: Final = 32_768
"""Characters that are counted in one go."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What a helper is asked."""

    kind: int
    program: str
    data: JSON


class Evaluator:
    """One for each daemon: ``host.shared(Evaluator)``. Awaiting a value that is quick switches no task."""

    def __init__(self, host: Host) -> None:
        settings = host.settings
        self._max_bytes = settings.workflow_expression_max_bytes
        self.too_large: Final = f"larger than {self._max_bytes:,} bytes (WORKFLOW_EXPRESSION_MAX_BYTES)"
        limits = Limits(
            settings.workflow_expression_timeout_ms / 1000,
            settings.workflow_expression_memory_mb * _MIB,
            self._max_bytes,
        )
        self.helpers = Helpers(host, settings.workflow_expression_helpers, limits)
        self._environment = _visible(os.environ, settings.workflow_env_allow)

    async def value(self, template: Template, scope: Scope) -> JSON:
        """Return the value of a template.

        Raises:
            ExpressionError: an expression in it fails.
        """
        outputs: list[JSON] = []
        turn_began = time.monotonic()
        for leaf in template.leaves:
            try:
                output = self._now(leaf, scope)
                if isinstance(output, _Request):
                    output = await self._asked(output)
            except EvaluationFailed as error:
                raise ExpressionError(leaf.text, str(error), leaf.path) from error
            outputs.append(output)
            if time.monotonic() - turn_began > _TURN_SEC:
                await asyncio.sleep(0)
                turn_began = time.monotonic()
        if len(outputs) > 1 and (number := await self.first_beyond(outputs)) is not None:
            leaf = template.leaves[number]
            raise ExpressionError(leaf.text, f"with it the value is {self.too_large}", leaf.path)
        return template.filled(outputs) if outputs else template.raw

    async def violations(self, schema: str, value: JSON) -> list[str]:
        """Return in what a value does not fit a JSON Schema; a helper finds out.

        Raises:
            EvaluationFailed: the schema cannot be used, or takes too long.
        """
        return cast("list[str]", await self._asked(_Request(SCHEMA, schema, value)))

    async def first_beyond(self, values: Sequence[JSON]) -> int | None:
        """Return the place of the value with which all of them are `too_large`, None where they are not.

        What refers to the same value twice takes no memory, but twice the text: a few rounds of that make a value
        that nobody could write down.
        """
        if size_up_to(_SMALL, values) <= _SMALL:
            return None
        left = self._max_bytes
        for number, value in enumerate(values):
            size = 0
            for size in sizes_up_to(left, (value,)):  # noqa: B007 - the last one counts
                await asyncio.sleep(0)
            left -= size
            if left < 0:
                return number
        return None

    async def aclose(self) -> None:
        """End the helper processes."""
        await self.helpers.aclose()

    def _now(self, leaf: Leaf, scope: Scope) -> JSON | _Request:
        program = leaf.program
        if isinstance(program, Path):
            return one_of(program.outputs(scope))
        if isinstance(program, JqProgram):
            text, data = program.request(scope, self._environment)
            if program.cost is not None and size_up_to(INLINE_BYTES, (data,)) <= INLINE_BYTES:
                given = _as_json(data)
                if program.may_run_inline(len(given)):
                    return one_of(jq_engine.run(text, given))
            return _Request(JQ, text, data)
        seen = program.globals(scope)
        if program.may_run_inline(seen):
            return liquid_engine.render(program.body, seen)
        return _Request(LIQUID, program.body, seen)

    async def _asked(self, request: _Request) -> JSON:
        reply = await self.helpers.ask(request.kind, request.program, await self._written(request.data))
        reader = Reader()
        at = 0
        while at < len(reply):
            kind, size = FRAGMENT.unpack_from(reply, at)
            at += FRAGMENT.size + size
            reader.take(kind, reply[at - size : at].decode())
            if at < len(reply):
                await asyncio.sleep(0)
        return reader.value

    async def _written(self, data: JSON) -> list[bytes]:
        """Return a value as JSON text, in pieces, having let others take their turn after each."""
        pieces: list[bytes] = []
        size = 0
        try:
            for fragment in fragments_of(data):
                if pieces:
                    await asyncio.sleep(0)
                pieces.append(fragment.text.encode())
                size += len(fragment.text)
                if size > self._max_bytes:
                    raise EvaluationFailed(f"the input is {self.too_large}")
        except (ValueError, TypeError, RecursionError) as error:
            raise _unwritable(error) from error
        return pieces


def _as_json(data: JSON) -> str:
    try:
        return json.dumps(data)
    except (ValueError, TypeError, RecursionError) as error:
        raise _unwritable(error) from error


def _unwritable(error: Exception) -> EvaluationFailed:
    return EvaluationFailed(f"the input cannot be written as JSON: {error}")


def _visible(environment: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if any(fnmatchcase(name, pattern) for pattern in allowed)
    }
