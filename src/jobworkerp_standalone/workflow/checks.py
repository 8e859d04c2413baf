"""Values held against the schemas of a document, those in files and at URLs included."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import anyio

from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON, size_up_to
from jobworkerp_standalone.workflow.load import parse
from jobworkerp_standalone.workflow.model.values import Schema
from jobworkerp_standalone.workflow.nodes import Unreadable
from jobworkerp_standalone.workflow.schemas import CompiledSchema, schema_problems
from jobworkerp_standalone.workflow.source import SourceError, SourceRules, read_source

_IN_LOOP: Final = 2_000
"""Characters of a value that is looked at within a millisecond or so, without a thread."""
_KEPT: Final = 128


class Checks:
    """One for each daemon. A schema that has to be read is read once."""

    def __init__(self, rules: SourceRules) -> None:
        self._rules = rules
        self._read: OrderedDict[str, CompiledSchema] = OrderedDict()

    async def check(self, value: JSON, schema: Schema, what: str) -> None:
        """Look at a value.

        Raises:
            WorkflowError: it is not what the schema allows, or the schema cannot be had.
        """
        await _looked_at((await self._compiled(schema)).check, value, what)

    async def accepted(self, value: JSON, schema: Schema, what: str) -> JSON:
        """Look at an input and return it with the defaults of its schema.

        Raises:
            WorkflowError: it is not what the schema allows, or the schema cannot be had.
        """
        return await _looked_at((await self._compiled(schema)).accepted, value, what)

    async def _compiled(self, schema: Schema) -> CompiledSchema:
        if schema.compiled is not None:
            return schema.compiled
        assert schema.resource is not None, "a schema is written down, or somewhere else"
        uri = schema.resource.endpoint.uri
        if not uri.constant or not isinstance(uri.raw, str):
            raise Standard.CONFIGURATION.error("A schema cannot be had", "its endpoint must be a plain URI")
        known = self._read.get(uri.raw)
        if known is None:
            known = self._read[uri.raw] = await self._from(uri.raw)
            while len(self._read) > _KEPT:
                self._read.popitem(last=False)
        return known

    async def _from(self, uri: str) -> CompiledSchema:
        try:
            text = await read_source(uri, self._rules)
            return await anyio.to_thread.run_sync(_compile, text)
        except (SourceError, Unreadable, ValueError) as error:
            raise Standard.CONFIGURATION.error("A schema cannot be had", f"{uri}: {error}") from error


def _compile(text: str) -> CompiledSchema:
    document = parse(text).plain
    problems = schema_problems(document)
    if problems:
        raise ValueError("; ".join(f"{pointer or 'the schema'}: {message}" for pointer, message in problems[:3]))
    return CompiledSchema(document)


async def _looked_at(look: Callable[[Any, str], Any], value: JSON, what: str) -> Any:
    if size_up_to(_IN_LOOP, [value]) <= _IN_LOOP:
        return look(value, what)
    return await anyio.to_thread.run_sync(look, value, what)
