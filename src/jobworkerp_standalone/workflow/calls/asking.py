"""The members of a call, evaluated: what they are, and what others may see of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from jobworkerp_standalone.workflow.built_ins import BuiltIn
from jobworkerp_standalone.workflow.calls.secrets import MASK, Revealed, SecretStore
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.expressions.variables import secret_names
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.values import Duration
from jobworkerp_standalone.workflow.pointers import unescaped, within
from jobworkerp_standalone.workflow.state import Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_HIDDEN: Final = frozenset({"secrets", "authorization"})


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and the same with what is secret masked."""

    value: JSON
    shown: JSON

    @classmethod
    def plain(cls, value: JSON) -> Given:
        """Return a value that has nothing secret in it."""
        return cls(value, value)


class Asking:
    """Evaluates the members of one call; secrets can be seen here and nowhere else."""

    def __init__(self, run: WorkflowRun, state: TaskState, spot: Spot) -> None:
        self.run = run
        self.state = state
        self.spot = spot
        self.revealed = Revealed(run.tools.host.shared(SecretStore), run.workflow.use.secrets)
        self.authorization: JSON = None
        """What ``$authorization`` is: scheme and parameter of the credentials, once they are known."""

    async def given(self, template: Template | None, name: str) -> Given:
        """Return any value; null where nothing is given.

        Args:
            template: what to evaluate.
            name: where it stands below ``with``; empty is all of it; ``/use/...`` where it is declared there.

        Raises:
            WorkflowError: it failed.
        """
        if template is None:
            return Given.plain(None)
        if _HIDDEN.isdisjoint(template.names):
            return Given.plain(await self._value(template, name, {}))
        given: dict[str, BuiltIn] = {"authorization": partial(_as_it_is, self.authorization)}
        if "secrets" in template.names:
            given["secrets"] = partial(_as_it_is, await self._secrets(template, name))
        value = await self._value(template, name, given)
        return Given(value, _masked(value, template))

    async def text(self, template: Template, name: str) -> Given:
        """Return a text: a number or a boolean as JSON writes it.

        Raises:
            WorkflowError: it is something else.
        """
        given = await self.given(template, name)
        return Given(self._text(given.value, name), self._text(given.shown, name))

    async def plain(self, template: Template, name: str) -> str:
        """Return a text of which nothing is hidden.

        Raises:
            WorkflowError: it is no text.
        """
        return cast("str", (await self.text(template, name)).value)

    async def texts(self, templates: Sequence[Template], name: str) -> list[str]:
        """Return several texts."""
        return [await self.plain(each, f"{name}/{number}") for number, each in enumerate(templates)]

    async def mapping(self, template: Template | None, name: str) -> tuple[dict[str, JSON], dict[str, JSON]]:
        """Return an object and what others may see of it; empty ones where nothing is given.

        Raises:
            WorkflowError: it is no object.
        """
        given = await self.given(template, name)
        if given.value is None:
            return {}, {}
        if not isinstance(given.value, dict):
            raise self.wrong(name, "object", given.shown)
        shown = given.shown if isinstance(given.shown, dict) else dict.fromkeys(given.value, cast("JSON", MASK))
        return given.value, shown

    async def milliseconds(self, duration: Duration, name: str) -> int:
        """Return a duration.

        Raises:
            WorkflowError: its expression failed, or gives none.
        """
        return await self.run.milliseconds(duration, self.state, self.spot, self.state.input, self._place(name))

    def wrong(self, name: str, wanted: str, value: JSON) -> WorkflowError:
        """Return the error of a member that is not what it must be."""
        return Standard.VALIDATION.error(f"{name or 'with'} is no {wanted}", f"it is {json_text(value)[:200]}").at(
            self.pointer(name)
        )

    def pointer(self, name: str) -> str:
        """Return where a member stands."""
        return within(self.state.task.origin.pointer, self._place(name))

    async def _value(self, template: Template, name: str, more: dict[str, BuiltIn]) -> JSON:
        return await self.run.value(template, self.state, self.spot, self.state.input, self._place(name), more)

    def _place(self, name: str) -> str:
        if name.startswith("/"):
            return name
        return f"/with/{name}" if name else "/with" if "with" in self.state.task.definition else "/call"

    async def _secrets(self, template: Template, name: str) -> dict[str, JSON]:
        try:
            return await self.revealed.named(secret_names(template.names))
        except WorkflowError as error:
            raise error.at(self.pointer(name)) from error.__cause__

    def _text(self, value: JSON, name: str) -> str:
        if isinstance(value, (dict, list)) or value is None:
            raise self.wrong(name, "text", value)
        return value if isinstance(value, str) else json_text(value)


def _as_it_is(value: JSON) -> JSON:
    return value


def _masked(value: JSON, template: Template) -> JSON:
    """Return the value of a template with a mask for each expression that sees something secret."""
    for leaf in template.leaves:
        if not _HIDDEN.isdisjoint(leaf.names):
            value = _replaced(value, leaf.path.split("/")[1:])
    return value


def _replaced(value: JSON, path: Sequence[str]) -> JSON:
    if not path:
        return MASK
    name = unescaped(path[0])
    if isinstance(value, dict):
        return {**value, name: _replaced(value[name], path[1:])}
    items = list(cast("list[JSON]", value))
    items[int(name)] = _replaced(items[int(name)], path[1:])
    return items
