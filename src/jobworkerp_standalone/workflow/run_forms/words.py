"""Texts, lists and maps of texts from the expressions of a task."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.state import Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


@dataclass(frozen=True, slots=True)
class Words:
    """Evaluates members of a task's form.

    Args:
        place: where the form stands in the task, a JSON pointer; an empty name is the form itself.
    """

    run: WorkflowRun
    state: TaskState
    spot: Spot
    place: str

    async def value(self, template: Template, name: str) -> JSON:
        """Return any value."""
        return await self.run.value(template, self.state, self.spot, self.state.input, self._at(name))

    async def text(self, template: Template, name: str) -> str:
        """Return a text: a number or a boolean as JSON writes it."""
        value = await self.value(template, name)
        if isinstance(value, (dict, list)) or value is None:
            raise self._wrong(name, "text", value)
        return _as_text(value)

    async def name(self, template: Template, name: str) -> str:
        """Return a text that is not empty."""
        value = await self.value(template, name)
        if not isinstance(value, str) or not value:
            raise self._wrong(name, "name", value)
        return value

    async def text_or_list(self, template: Template, name: str) -> str | list[str]:
        """Return a text, or a list of texts; objects and arrays in it become JSON."""
        value = await self.value(template, name)
        return value if isinstance(value, str) else self._listed(value, name)

    async def list(self, template: Template, name: str) -> list[str]:
        """Return a list of texts; a single text is a list of one."""
        return self._listed(await self.value(template, name), name)

    async def options(self, template: Template, name: str) -> list[str]:
        """Return a list of texts; of an object ``key=value`` for each member, the key alone where that is null."""
        value = await self.value(template, name)
        if isinstance(value, dict):
            return [key if each is None else f"{key}={_as_text(each)}" for key, each in value.items()]
        return self._listed(value, name)

    async def map(self, template: Template, name: str) -> dict[str, str]:
        """Return a map of texts; what is no text becomes JSON."""
        value = await self.value(template, name)
        if not isinstance(value, dict):
            raise self._wrong(name, "object", value)
        return {key: _as_text(each) for key, each in value.items()}

    async def list_if(self, template: Template | None, name: str) -> list[str]:
        """Return a list of texts; an empty one where nothing is given."""
        return await self.list(template, name) if template is not None else []

    async def map_if(self, template: Template | None, name: str) -> dict[str, str]:
        """Return a map of texts; an empty one where nothing is given."""
        return await self.map(template, name) if template is not None else {}

    def _listed(self, value: JSON, name: str) -> list[str]:
        if isinstance(value, str):
            return [value]
        if not isinstance(value, list):
            raise self._wrong(name, "array", value)
        return [_as_text(each) for each in value]

    def _wrong(self, name: str, wanted: str, value: JSON) -> WorkflowError:
        return Standard.VALIDATION.error(f"{name} is no {wanted}", f"it is {json_text(value)[:200]}").at(
            self.state.task.origin.pointer + self._at(name)
        )

    def _at(self, name: str) -> str:
        return f"{self.place}/{name}" if name else self.place


def _as_text(value: JSON) -> str:
    return value if isinstance(value, str) else json_text(value)
