"""The workflows that a program hands over, and what is said to it where one is wrong."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio

from jobworkerp_standalone.client import WorkflowInvalid
from jobworkerp_standalone.workflow.large_json import beside, is_large
from jobworkerp_standalone.workflow.load import load_text_async
from jobworkerp_standalone.workflow.problems import InvalidDocument, Problem

Document = str | os.PathLike[str] | Mapping[str, Any]
"""A workflow: the path of its file, its text (JSON, or more than one line), or the document itself."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a document, and how its author calls it."""

    text: str
    file: str = ""
    """Where it was read from."""
    has_lines: bool = True
    """False where the text was made here, so that its lines say nothing to anybody."""

    async def explained(self, error: WorkflowInvalid) -> WorkflowInvalid:
        """Return an error of the run with one line for each mistake in the document; itself where that has none."""
        try:
            await load_text_async(self.text, bare=True)
        except InvalidDocument as invalid:
            count = len(invalid.problems)
            head = f"{self.file or 'the workflow'} has {count} error{'s' * (count > 1)}"
            return WorkflowInvalid(error.status, "\n".join([head, *map(self._line, invalid.problems)]), error.job_id)
        return error

    def _line(self, problem: Problem) -> str:
        if not self.has_lines:
            return str(replace(problem, line=0))
        return f"{self.file}, {problem}" if self.file else str(problem)


async def source_of(workflow: Document) -> Source:
    """Return the text of a document; a file is read.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file holds no text, or the document what JSON does not have.
        TypeError: the document holds what JSON does not have.
    """
    if isinstance(workflow, Mapping):
        return Source(json_of(workflow), has_lines=False)
    if isinstance(workflow, str) and _is_text(workflow):
        return Source(workflow)
    file = os.fspath(workflow)
    try:
        return Source(await anyio.Path(file).read_text(encoding="utf-8-sig"), file)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not text in UTF-8: {error}") from error


async def text_of(value: Any) -> str:
    """Return a value as JSON, as `json_of` does; a large one is written in a thread.

    Raises:
        TypeError, ValueError: JSON does not have such a thing.
    """
    try:
        large = is_large(value)
    except TypeError:  # a key that is no text
        large = False
    return await beside(partial(json_of, value), large=large)


def json_of(value: Any) -> str:
    """Return a value as JSON.

    Raises:
        TypeError, ValueError: JSON does not have such a thing.
    """
    return json.dumps(value, allow_nan=False)


def _is_text(given: str) -> bool:
    return "\n" in given or given.lstrip().startswith("{") or not given.strip()
