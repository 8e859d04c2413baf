"""What an evaluator leaves to helper processes."""

from __future__ import annotations

from collections.abc import Sequence

from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator


def asked_of_helpers(evaluator: Evaluator) -> list[str]:
    """Return a list that grows by each program which a helper is asked to evaluate from now on."""
    asked: list[str] = []
    ask = evaluator.helpers.ask

    async def noted(kind: int, program: str, data: Sequence[bytes]) -> bytes:
        asked.append(program)
        return await ask(kind, program, data)

    evaluator.helpers.ask = noted
    return asked
