"""Where a call goes: URIs, and URI templates (RFC 6570, simple string expansion) over the task's input."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote, urlsplit

from jobworkerp_standalone.workflow.calls.asking import Asking, Given
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text

_EXPRESSION: Final = re.compile(r"\{([^{}]*)\}")
_NAME: Final = r"[^\s{}+#./;?&=,!@|:*][^\s{}+#/;?&=,!@|:*]*"
_NAMES: Final = re.compile(rf"{_NAME}(,{_NAME})*")


async def uri_of(asking: Asking, template: Template, name: str) -> Given:
    """Return a URI; names in braces become members of the task's input, those it does not have become nothing.

    Raises:
        WorkflowError: an expression fails, a member is an object or an array, or the template is of another kind.
    """
    if not template.constant:
        return await asking.text(template, name)
    text = await asking.plain(template, name)
    data = asking.state.input
    known = data if isinstance(data, dict) else {}

    def expanded(match: re.Match[str]) -> str:
        if not _NAMES.fullmatch(match[1]):
            raise _wrong(f"only names can stand in braces, as in {{id}}: {match[0]} is no such", asking.pointer(name))
        values = [_expanded(each, known.get(each), asking.pointer(name)) for each in match[1].split(",")]
        return ",".join(each for each in values if each is not None)

    found = _EXPRESSION.sub(expanded, text)
    if _climbs(found) and not _climbs(text):
        raise _wrong("'.' and '..' cannot be part of its path: they lead elsewhere", asking.pointer(name))
    return Given.plain(found)


async def http_url_of(asking: Asking, template: Template, name: str) -> Given:
    """Return an absolute http or https URL.

    Raises:
        WorkflowError: it is none, or has a fragment.
    """
    given = await uri_of(asking, template, name)
    check_http_url(str(given.value), asking.pointer(name))
    return given


def check_http_url(text: str, pointer: str) -> None:
    """Look at a URL.

    Raises:
        WorkflowError: it is no absolute http or https URL, or has a fragment.
    """
    try:
        parts = urlsplit(text)
        host = parts.hostname
    except ValueError as error:
        raise _wrong(str(error), pointer) from error
    if parts.scheme.lower() not in {"http", "https"} or not host:
        raise _wrong("it must be absolute, with http:// or https:// and a host", pointer)
    if parts.fragment:
        raise _wrong("a fragment (#...) is never sent: leave it out", pointer)


def _climbs(uri: str) -> bool:
    """Whether a URI has steps that stand for others."""
    return any(step in {".", ".."} for step in uri.partition("?")[0].split("/"))


def _expanded(name: str, value: JSON, pointer: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, (dict, list)):
        raise Standard.EXPRESSION.error(
            "A URI template cannot be filled", f"{{{name}}} is no text, number or boolean: {json_text(value)[:200]}"
        ).at(pointer)
    return quote(value if isinstance(value, str) else json_text(value), safe="")


def _wrong(why: str, pointer: str) -> WorkflowError:
    return Standard.CONFIGURATION.error("An endpoint cannot be called", why).at(pointer)
