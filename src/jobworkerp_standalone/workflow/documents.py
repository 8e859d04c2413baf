"""The document and the context that settings or args carry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self, cast

import anyio.to_thread

from jobworkerp_standalone.jobs.errors import BadDocument, BadInput
from jobworkerp_standalone.workflow.large_json import value_of
from jobworkerp_standalone.workflow.load import load_text_async, parse
from jobworkerp_standalone.workflow.model.document import Workflow
from jobworkerp_standalone.workflow.nodes import Unreadable
from jobworkerp_standalone.workflow.problems import InvalidDocument
from jobworkerp_standalone.workflow.source import DOCUMENTS, SourceError, SourceRules, read_source


@dataclass(frozen=True, slots=True)
class Source:
    """A document, if there is one, and its text."""

    document: Workflow | None = None
    text: str = ""

    @classmethod
    async def of_text(cls, text: str) -> Self:
        """Read a document.

        Raises:
            BadDocument: it is not valid; the text says why, all at once.
        """
        try:
            return cls((await load_text_async(text, bare=True)).document, text)
        except InvalidDocument as error:
            raise BadDocument(str(error)) from error


async def document_of(message: Any, rules: SourceRules) -> Source:
    """Return the document that a message with a ``workflow_source`` carries or names.

    Raises:
        BadInput: it cannot be had, or is not valid; `BadDocument` unless that lies with the network.
    """
    which = message.WhichOneof("workflow_source")
    if which is None:
        return Source()
    if which == "workflow_data":
        return await Source.of_text(message.workflow_data)
    try:
        text = await read_source(message.workflow_url, rules, DOCUMENTS)
    except SourceError as error:
        raise (BadInput if error.of_network else BadDocument)(str(error)) from error
    try:
        return await Source.of_text(text)
    except BadInput as error:
        # Whoever may name a file is not told what is in it where it was never meant to be a workflow.
        if await anyio.to_thread.run_sync(_is_workflow, text):
            raise
        raise BadDocument(f"{message.workflow_url} is no workflow: it is not an object with 'do'") from error


def _is_workflow(text: str) -> bool:
    """Tell whether a text is meant as a workflow, or cannot be read at all: the reason of that tells no values."""
    try:
        plain: Any = parse(text).plain
    except Unreadable:
        return True
    return isinstance(plain, dict) and "do" in plain


async def context_of(message: Any, what: str, *, lenient: bool = False) -> dict[str, Any]:
    """Return the variables that a message gives to a run.

    Args:
        message: has ``workflow_context``.
        what: what the message is, for the error.
        lenient: take what is no object for none.

    Raises:
        BadInput: they are no JSON object.
    """
    if not message.HasField("workflow_context") or not message.workflow_context.strip():
        return {}
    try:
        context: Any = await value_of(message.workflow_context)
    except ValueError as error:
        context, why = None, f"not JSON: {error}"
    else:
        why = f"{message.workflow_context[:100]} is not an object"
    if isinstance(context, dict):
        return cast("dict[str, Any]", context)
    if lenient:
        return {}
    raise BadInput(f"workflow_context of {what} must be a JSON object: {why}")
