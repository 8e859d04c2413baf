"""OpenAPI 3 and Swagger 2 documents: where an operation is, and what it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast
from urllib.parse import urljoin, urlsplit

from jobworkerp_standalone.schema.pointer import resolve_pointer
from jobworkerp_standalone.workflow.load import parse
from jobworkerp_standalone.workflow.nodes import Unreadable

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")
_VARIABLE: Final = re.compile(r"\{([^{}]+)\}")
_MOST_REFERENCES: Final = 32
_DEFAULT_STYLES: Final = {"path": "simple", "header": "simple", "query": "form", "cookie": "form"}
_DELIMITERS: Final = {"csv": ",", "ssv": " ", "tsv": "\t", "pipes": "|"}
_RESERVED: Final = frozenset({"accept", "content-type", "authorization"})
FORM: Final = "application/x-www-form-urlencoded"


class NoOperation(ValueError):
    """The document has other operations, and not this one."""


class BadOpenApi(ValueError):
    """The document does not say what is needed."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One that an operation takes."""

    name: str
    place: str
    """``path``, ``query``, ``header``, ``cookie``; of Swagger 2 ``formData`` and ``body`` too."""
    required: bool
    default: Any = None
    style: str = "simple"
    explode: bool = False
    delimiter: str = ","
    as_json: bool = False
    """Its value is sent as JSON text."""

    @property
    def is_reserved(self) -> bool:
        """Whether its name, of a header, is one that OpenAPI 3 has other members for."""
        return self.name.lower() in _RESERVED


@dataclass(frozen=True, slots=True)
class Operation:
    """How an operation is called."""

    method: str
    url: str
    """With the path's parameters in braces."""
    parameters: tuple[Parameter, ...]
    body_types: tuple[str, ...] = ()
    """Content types of its body; none: it takes no body."""
    body_required: bool = False

    @classmethod
    def find(cls, text: str, source: str, operation_id: str) -> Self:
        """Read a document and look for an operation.

        Args:
            text: the document, JSON or YAML.
            source: where it came from, a path or URL.
            operation_id: the operation.

        Raises:
            BadOpenApi: it is not there, or the document cannot be read.
        """
        return cls(**_Reader(_document(text), source).operation(operation_id))

    @property
    def names(self) -> frozenset[str]:
        """Return the names of the parameters."""
        return frozenset(each.name for each in self.parameters)


def _document(text: str) -> Mapping[str, Any]:
    try:
        value: Any = parse(text).plain
    except Unreadable as error:
        raise BadOpenApi(f"it is neither JSON nor YAML: {error.message}") from error
    if not isinstance(value, dict) or not ("openapi" in value or "swagger" in value):
        raise BadOpenApi("it is no OpenAPI document: it has neither 'openapi' nor 'swagger'")
    return cast("dict[str, Any]", value)


class _Reader:
    def __init__(self, document: Mapping[str, Any], source: str) -> None:
        self._document = document
        self._source = source
        self._old = "swagger" in document

    def operation(self, wanted: str) -> dict[str, Any]:
        known: list[str] = []
        for path, item, method, operation in self._operations():
            found = operation.get("operationId")
            if found == wanted:
                return self._described(path, item, method, operation)
            if isinstance(found, str):
                known.append(found)
        if not known:
            raise BadOpenApi(f"it has no operation {wanted!r}; it has no operation with an id")
        raise NoOperation(f"it has no operation {wanted!r}; it has {', '.join(sorted(known)[:30])}")

    def _operations(self) -> Iterator[tuple[str, Mapping[str, Any], str, Mapping[str, Any]]]:
        for path, given in _object(self._document.get("paths")).items():
            item = self._resolved(given)
            if not str(path).startswith("/"):
                continue  # an extension (x-...)
            for method in _METHODS:
                if isinstance(item.get(method), dict):
                    yield path, item, method, item[method]

    def _described(
        self, path: str, item: Mapping[str, Any], method: str, operation: Mapping[str, Any]
    ) -> dict[str, Any]:
        parameters = self._parameters(item, operation)
        found: dict[str, Any] = {"method": method.upper(), "url": self._base(item, operation) + path}
        if not self._old and (body := self._resolved(operation.get("requestBody"))):
            found["body_types"] = tuple(_object(body.get("content"))) or ("application/json",)
            found["body_required"] = body.get("required") is True
        elif self._old:
            consumes = _array(operation.get("consumes")) or _array(self._document.get("consumes"))
            if any(each.place == "body" for each in parameters):
                found["body_types"] = tuple(consumes) or ("application/json",)
            elif any(each.place == "formData" for each in parameters):
                found["body_types"] = tuple(consumes) or (FORM,)
        return {**found, "parameters": tuple(parameters)}

    def _parameters(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> list[Parameter]:
        found: dict[tuple[str, str], Parameter] = {}
        for given in [*_array(item.get("parameters")), *_array(operation.get("parameters"))]:
            parameter = self._parameter(self._resolved(given))
            found[parameter.name, parameter.place] = parameter
        if not self._old:
            found = {key: each for key, each in found.items() if each.place != "header" or not each.is_reserved}
        for key in self._keys(operation):
            found.setdefault((key.name, key.place), key)
        return list(found.values())

    def _keys(self, operation: Mapping[str, Any]) -> Iterator[Parameter]:
        """Yield the API keys that an operation asks for: parameters that stand in another place of the document."""
        holder = self._document if self._old else _object(self._document.get("components"))
        schemes = _object(holder.get("securityDefinitions" if self._old else "securitySchemes"))
        wanted = operation["security"] if "security" in operation else self._document.get("security")
        for name in (name for each in _array(wanted) for name in _object(each)):
            scheme = self._resolved(schemes.get(name))
            key, place = scheme.get("name"), scheme.get("in")
            if scheme.get("type") == "apiKey" and isinstance(key, str) and place in _DEFAULT_STYLES:
                yield Parameter(key, place, required=False)

    def _parameter(self, given: Mapping[str, Any]) -> Parameter:
        name, place = given.get("name"), given.get("in")
        if not isinstance(name, str) or not isinstance(place, str):
            raise BadOpenApi("a parameter has no name or no 'in'")
        schema = self._resolved(given.get("schema")) if "schema" in given else given
        style = str(given.get("style") or _DEFAULT_STYLES.get(place, "form"))
        explode = given.get("explode", style == "form")
        old_format = str(given.get("collectionFormat") or "csv")
        if self._old:
            explode = old_format == "multi"
        delimiters = {"spaceDelimited": " ", "pipeDelimited": "|"}
        return Parameter(
            name,
            place,
            required=given.get("required") is True or place == "path",
            default=schema.get("default"),
            style=style,
            explode=bool(explode),
            delimiter=_DELIMITERS.get(old_format, ",") if self._old else delimiters.get(style, ","),
            as_json="content" in given,
        )

    def _base(self, item: Mapping[str, Any], operation: Mapping[str, Any]) -> str:
        if self._old:
            return self._old_base()
        lists = (_array(each.get("servers")) for each in (operation, item, self._document))
        server = _object(next((each[0] for each in lists if each), {"url": "/"}))
        variables = _object(server.get("variables"))

        def filled(match: re.Match[str]) -> str:
            return str(_object(variables.get(match[1])).get("default", ""))

        return self._absolute(_VARIABLE.sub(filled, str(server.get("url") or "/")))

    def _old_base(self) -> str:
        source = urlsplit(self._source)
        schemes = [each for each in _array(self._document.get("schemes")) if each in ("https", "http")]
        scheme = source.scheme if source.scheme in schemes or not schemes else schemes[0]
        host = self._document.get("host") or source.netloc
        return self._absolute(f"{scheme}://{host}{self._document.get('basePath') or ''}")

    def _absolute(self, url: str) -> str:
        try:
            base = urljoin(self._source, url)
        except ValueError as error:
            raise BadOpenApi(f"its server {url!r} is no URL: {error}") from error
        if urlsplit(base).scheme not in ("http", "https"):
            raise BadOpenApi(f"its server {url!r} is no http or https URL, and {self._source} is none either")
        return base.rstrip("/")

    def _resolved(self, given: Any) -> Mapping[str, Any]:
        """Return an object, or what it refers to within the document."""
        for _ in range(_MOST_REFERENCES):
            if not isinstance(given, dict) or "$ref" not in given:
                return _object(given)
            reference = str(cast("dict[str, Any]", given)["$ref"])
            if not reference.startswith("#/"):
                raise BadOpenApi(f"it refers to {reference}: only references within the document are followed")
            given = resolve_pointer(self._document, reference)
            if given is None:
                raise BadOpenApi(f"it refers to {reference}, which it does not have")
        raise BadOpenApi("its references never end")


def _object(value: Any) -> Mapping[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _array(value: Any) -> Sequence[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else ()
