"""The parameters of a call, put where an OpenAPI operation wants them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast
from urllib.parse import quote, urlencode

from jobworkerp_standalone.workflow.calls.http_order import HttpOrder, Pairs, body_of, pairs_of
from jobworkerp_standalone.workflow.calls.openapi_document import FORM, BadOpenApi, Operation, Parameter
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text

BODY: Final = "body"
_NAME: Final = re.compile(r"\{([^{}]+)\}")
_PREFIXES: Final = {"label": ".", "matrix": ";"}
_TEXT_TYPES: Final = re.compile(r"text/|application/(.*\+)?(xml|yaml)")


def order_of(operation: Operation, given: Mapping[str, JSON], *, follow: bool, as_bytes: bool) -> HttpOrder:
    """Return the request for an operation with these parameters.

    Raises:
        BadOpenApi: one is missing, not known, or cannot be sent.
    """
    values = _Values(operation, given)
    headers = values.headers()
    body, headers = values.body(headers)
    return HttpOrder(operation.method, values.url(), headers, values.query(), body, follow=follow, as_bytes=as_bytes)


class _Values:
    def __init__(self, operation: Operation, given: Mapping[str, JSON]) -> None:
        self._operation = operation
        self._given = given
        self._known = operation.names
        self._check()

    def _check(self) -> None:
        for each in self._operation.parameters:
            if each.required and self._of(each) is None:
                raise BadOpenApi(f"the operation needs the parameter {each.name!r} ({each.place})")
        rest = self._given.keys() - self._known
        if rest and not self._operation.body_types:
            known = ", ".join(sorted(self._known)) or "none"
            raise BadOpenApi(f"the operation has no parameter {min(rest)!r}; it has {known}")

    def url(self) -> str:
        placed = {each.name: each for each in self._operation.parameters if each.place == "path"}

        def filled(match: re.Match[str]) -> str:
            parameter = placed.get(match[1])
            if parameter is None:
                raise BadOpenApi(f"the path has {{{match[1]}}}, which is no parameter of the operation")
            return _in_path(parameter, self._of(parameter))

        return _NAME.sub(filled, self._operation.url)

    def query(self) -> Pairs:
        found: list[tuple[str, str]] = []
        for each in self._placed("query"):
            found += _in_query(each, self._of(each))
        return tuple(found)

    def headers(self) -> Pairs:
        found = [(each.name, _listed(each, self._of(each))) for each in self._placed("header")]
        cookies = [pair for each in self._placed("cookie") for pair in _in_query(each, self._of(each))]
        if cookies:
            found.append(("Cookie", "; ".join(f"{name}={quote(value)}" for name, value in cookies)))
        return tuple(found)

    def body(self, headers: Pairs) -> tuple[str | None, Pairs]:
        if not self._operation.body_types:
            return None, headers
        value = self._body_value()
        if value is None:
            if self._operation.body_required:
                raise BadOpenApi(f"the operation needs a body: give it as the parameter {BODY!r}")
            return None, headers
        kind = next((text for name, text in headers if name.lower() == "content-type"), None)
        if kind is not None:
            return body_of(value, headers)
        kind = self._kind(value)
        if kind == FORM and isinstance(value, dict):
            return urlencode(pairs_of(value, "body")), (*headers, ("Content-Type", FORM))
        if isinstance(value, str) and "json" in kind:
            return json_text(value), (*headers, ("Content-Type", kind))
        return body_of(value, (*headers, ("Content-Type", kind)))

    def _kind(self, value: JSON) -> str:
        kinds = self._operation.body_types
        fitting = (kind for kind in kinds if "json" in kind or kind == "*/*")
        if isinstance(value, str):
            fitting = (kind for kind in kinds if _TEXT_TYPES.match(kind) or "json" in kind)
        found = next(fitting, next((kind for kind in kinds if kind == FORM), None))
        if found is None:
            raise BadOpenApi(f"bodies of type {', '.join(kinds)} cannot be sent: use call: http")
        return "application/json" if found == "*/*" else found

    def _body_value(self) -> JSON:
        named = next((each for each in self._operation.parameters if each.place == "body"), None)
        if named is not None and (found := self._of(named)) is not None:
            return found
        fields = {each.name: self._of(each) for each in self._placed("formData")}
        rest = {key: value for key, value in self._given.items() if key not in self._known}
        if rest.keys() == {BODY} and not fields:
            return rest[BODY]
        return {**fields, **rest} or None

    def _placed(self, place: str) -> list[Parameter]:
        return [each for each in self._operation.parameters if each.place == place and self._of(each) is not None]

    def _of(self, parameter: Parameter) -> JSON:
        value = self._given.get(parameter.name)
        return cast("JSON", parameter.default) if value is None else value


def _in_path(parameter: Parameter, value: JSON) -> str:
    text = _styled(parameter, value)
    if text in {"", ".", ".."}:
        raise BadOpenApi(f"the parameter {parameter.name!r} is {value!r}, which makes the path that of something else")
    return text


def _styled(parameter: Parameter, value: JSON) -> str:
    if parameter.style not in _PREFIXES:
        return _listed(parameter, value, quoted=True)
    prefix, named = _PREFIXES[parameter.style], parameter.style == "matrix"
    if parameter.explode and isinstance(value, dict):
        return "".join(f"{prefix}{_quoted(key)}={_quoted(_text(each))}" for key, each in value.items())
    name = f"{parameter.name}=" if named else ""
    if parameter.explode and isinstance(value, list):
        return "".join(f"{prefix}{name}{_quoted(_text(each))}" for each in value)
    return f"{prefix}{name}{_listed(parameter, value, quoted=True)}"


def _in_query(parameter: Parameter, value: JSON) -> list[tuple[str, str]]:
    name = parameter.name
    if parameter.as_json:
        return [(name, json_text(value))]
    if isinstance(value, dict):
        if parameter.style == "deepObject":
            return [(f"{name}[{key}]", _text(each)) for key, each in value.items()]
        if parameter.explode:
            return [(key, _text(each)) for key, each in value.items()]
    if isinstance(value, list) and parameter.explode:
        return [(name, _text(each)) for each in value]
    return [(name, _listed(parameter, value))]


def _listed(parameter: Parameter, value: JSON, *, quoted: bool = False) -> str:
    if parameter.as_json:
        return _quoted(json_text(value)) if quoted else json_text(value)
    written = _quoted if quoted else str
    if isinstance(value, list):
        parts = [written(_text(each)) for each in value]
    elif isinstance(value, dict):
        joint = "=" if parameter.explode else parameter.delimiter
        parts = [f"{written(key)}{joint}{written(_text(each))}" for key, each in value.items()]
    else:
        parts = [written(_text(value))]
    return parameter.delimiter.join(parts)


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else json_text(value)
