"""Values held against the schemas of a document, those in files and at URLs included."""

from __future__ import annotations

import re
from collections import OrderedDict
from hashlib import sha256
from typing import Final

import anyio.to_thread

from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.evaluator import Evaluator
from jobworkerp_standalone.workflow.expressions.failure import EvaluationFailed
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.load import parse
from jobworkerp_standalone.workflow.model.values import Schema
from jobworkerp_standalone.workflow.nodes import Unreadable
from jobworkerp_standalone.workflow.schemas import CompiledSchema, schema_problems, with_defaults
from jobworkerp_standalone.workflow.source import DOCUMENTS, SourceError, SourceRules, read_source
from jobworkerp_standalone.workflow.violations import violations

_KEPT: Final = 128
_REMOTE: Final = re.compile(r"\s*https?://", re.IGNORECASE)


class Checks:
    """One for each daemon. A schema at a URL is read once, one in a file whenever it is needed."""

    def __init__(self, rules: SourceRules, evaluator: Evaluator) -> None:
        self._rules = rules
        self._evaluator = evaluator
        self._read: OrderedDict[str, CompiledSchema] = OrderedDict()

    async def check(self, value: JSON, schema: Schema, what: str) -> None:
        """Look at a value.

        Raises:
            WorkflowError: it is not what the schema allows, or the schema cannot be had.
        """
        await self._look(await self._compiled(schema), value, what)

    async def accepted(self, value: JSON, schema: Schema, what: str) -> JSON:
        """Look at an input and return it with the defaults of its schema.

        An input that is missing altogether (null) is the schema's own default, if there is one. Members get theirs
        after the check, so a default does not stand in for a member that is required.

        Raises:
            WorkflowError: it is not what the schema allows, or the schema cannot be had.
        """
        compiled = await self._compiled(schema)
        given = compiled.or_default(value)
        await self._look(compiled, given, what)
        return with_defaults(given, compiled.document)

    async def _look(self, schema: CompiledSchema, value: JSON, what: str) -> None:
        try:
            if schema.is_quick_with(value):
                found = violations(schema.validator, value)
            else:
                found = await self._evaluator.violations(schema.text, value)
        except EvaluationFailed as error:
            raise Standard.CONFIGURATION.error("A schema cannot be used", f"to check {what}: {error}") from error
        if found:
            raise Standard.VALIDATION.error(f"{what} is not what its schema allows", "; ".join(found))

    async def _compiled(self, schema: Schema) -> CompiledSchema:
        if schema.compiled is not None:
            return schema.compiled
        assert schema.resource is not None, "a schema is written down, or somewhere else"
        uri = str(schema.resource.endpoint.uri.raw)
        known = self._read.get(uri)
        if known is None:
            try:
                known = await self._from(uri)
            except (SourceError, Unreadable, ValueError) as error:
                raise Standard.CONFIGURATION.error("A schema cannot be had", f"{uri}: {error}") from error
        return known

    async def _from(self, uri: str) -> CompiledSchema:
        text = await read_source(uri, self._rules, DOCUMENTS)
        name = uri if _REMOTE.match(uri) else f"{uri} {sha256(text.encode()).hexdigest()}"
        if name not in self._read:
            self._read[name] = await anyio.to_thread.run_sync(_compile, text)
            while len(self._read) > _KEPT:
                self._read.popitem(last=False)
        return self._read[name]


def _compile(text: str) -> CompiledSchema:
    document = parse(text).plain
    problems = schema_problems(document)
    if problems:
        raise ValueError("; ".join(f"{pointer or 'the schema'}: {message}" for pointer, message, _ in problems[:3]))
    return CompiledSchema(document)
