"""Gives templates their values: in the daemon where it can do no harm, else in a helper process."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from jobworkerp_standalone.workflow.expressions import jq_program, liquid_program
from jobworkerp_standalone.workflow.expressions.errors import EvaluationFailed, ExpressionError
from jobworkerp_standalone.workflow.expressions.helper import Limits
from jobworkerp_standalone.workflow.expressions.helper_main import JQ, LIQUID, SCHEMA
from jobworkerp_standalone.workflow.expressions.helpers import Helpers
from jobworkerp_standalone.workflow.expressions.jq_program import JqProgram
from jobworkerp_standalone.workflow.expressions.paths import Path
from jobworkerp_standalone.workflow.expressions.scope import Scope
from jobworkerp_standalone.workflow.expressions.template import Leaf, Template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true, one_of

if TYPE_CHECKING:
    from jobworkerp_standalone.runners.host import Host

_TURN_SEC: Final = 0.002
"""How long the expressions of one value keep others from their turn."""
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Request:
    """What a helper is asked."""

    kind: int
    program: str
    data: str


@dataclass(frozen=True, slots=True)
class Later:
    """Stands for a value that takes a helper process: await `Evaluator.value`."""


LATER: Final = Later()


class Evaluator:
    """One for each daemon: ``host.shared(Evaluator)``. Awaiting a value that is quick switches no task."""

    def __init__(self, host: Host) -> None:
        settings = host.settings
        self._max_bytes = settings.workflow_expression_max_bytes
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
                    output = json.loads(await self.helpers.ask(output.kind, output.program, output.data))
            except EvaluationFailed as error:
                raise ExpressionError(leaf.text, str(error), leaf.path) from error
            outputs.append(output)
            if time.monotonic() - turn_began > _TURN_SEC:
                await asyncio.sleep(0)
                turn_began = time.monotonic()
        return template.filled(outputs) if outputs else template.raw

    def value_now(self, template: Template, scope: Scope) -> JSON | Later:
        """Return the value if no helper is needed, else `LATER`.

        Raises:
            ExpressionError: an expression in it fails.
        """
        outputs: list[JSON] = []
        for leaf in template.leaves:
            try:
                output = self._now(leaf, scope)
            except EvaluationFailed as error:
                raise ExpressionError(leaf.text, str(error), leaf.path) from error
            if isinstance(output, _Request):
                return LATER
            outputs.append(output)
        return template.filled(outputs) if outputs else template.raw

    async def truth(self, template: Template, scope: Scope) -> bool:
        """Tell whether a condition holds.

        Raises:
            ExpressionError: an expression in it fails.
        """
        return is_true(await self.value(template, scope))

    async def violations(self, schema: str, value: JSON) -> list[str]:
        """Return in what a value does not fit a JSON Schema; a helper finds out.

        Raises:
            EvaluationFailed: the schema cannot be used, or takes too long.
        """
        request = self._request(SCHEMA, schema, _as_json(value))
        return json.loads(await self.helpers.ask(request.kind, request.program, request.data))

    async def aclose(self) -> None:
        """End the helper processes."""
        await self.helpers.aclose()

    def _now(self, leaf: Leaf, scope: Scope) -> JSON | _Request:
        program = leaf.program
        if isinstance(program, Path):
            return one_of(program.outputs(scope))
        if isinstance(program, JqProgram):
            text, data = program.request(scope, self._environment)
            if program.may_run_inline(len(data)):
                return one_of(jq_program.run(text, data))
            return self._request(JQ, text, data)
        seen = program.globals(scope)
        if program.may_run_inline(seen):
            return liquid_program.render(program.body, seen)
        return self._request(LIQUID, program.body, _as_json(seen))

    def _request(self, kind: int, program: str, data: str) -> _Request:
        if len(data) > self._max_bytes:
            raise EvaluationFailed(
                f"the input is larger than {self._max_bytes:,} bytes (WORKFLOW_EXPRESSION_MAX_BYTES)"
            )
        return _Request(kind, program, data)


def _as_json(seen: JSON | Mapping[str, JSON]) -> str:
    try:
        return json.dumps(seen)
    except (ValueError, TypeError, RecursionError) as error:
        raise EvaluationFailed(f"the input cannot be written as JSON: {error}") from error


def _visible(environment: Mapping[str, str], allowed: tuple[str, ...]) -> dict[str, str]:
    return {
        name: value for name, value in environment.items() if any(fnmatchcase(name, pattern) for pattern in allowed)
    }
