"""Smaller parts: data flow, schemas, endpoints, time limits, retries, errors, flow directives."""

from __future__ import annotations

import re
from typing import Final

from jobworkerp_standalone.workflow.decode.auth import authentication
from jobworkerp_standalone.workflow.decode.cursor import At, Fields
from jobworkerp_standalone.workflow.decode.names import Names, resolve
from jobworkerp_standalone.workflow.durations import UNITS
from jobworkerp_standalone.workflow.errors import HIGHEST_STATUS, LOWEST_STATUS, ErrorFilter
from jobworkerp_standalone.workflow.expressions.places import Place
from jobworkerp_standalone.workflow.model.values import (
    Backoff,
    Directive,
    Duration,
    Endpoint,
    ErrorDefinition,
    Goto,
    Input,
    Output,
    Resource,
    RetryPolicy,
    Schema,
    Then,
    Timeout,
)
from jobworkerp_standalone.workflow.schemas import CompiledSchema, schema_problems

_JSON_FORMAT: Final = re.compile(r"json(:[A-Za-z0-9._/-]+)?\Z")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+\Z")
_ISO: Final = re.compile(r"P[T0-9]")
_SCHEMA_HINTS: Final[dict[str, str]] = dict.fromkeys(
    ("type", "properties", "required", "items", "enum", "$schema", "$ref", "oneOf", "anyOf", "allOf"),
    "the JSON Schema stands in 'document'",
)
_FILTER: Final = ("type", "status", "instance", "title", "details", "detail")


def input_of(at: At, names: Names) -> Input:
    """Return what happens to an input."""
    found = at.fields(("schema", "from"))
    return Input(schema=found.get("schema", lambda each: schema(each, names)), from_=found.get("from", At.transform))


def output_of(at: At, names: Names) -> Output:
    """Return what happens to an output, or to what is exported."""
    found = at.fields(("schema", "as"), hints={"from": "an output has 'as'", "to": "an output has 'as'"})
    return Output(as_=found.get("as", At.transform), schema=found.get("schema", lambda each: schema(each, names)))


def schema(at: At, names: Names) -> Schema:
    """Return a JSON Schema, checked against its own."""
    found = at.fields(("format", "document", "resource"), hints=_SCHEMA_HINTS)
    form = found.of("format")
    if form is not None and not _JSON_FORMAT.match(form.string()):
        form.wrong(
            f"schemas of the format '{form.value}' cannot be checked: only json can", "write it as a JSON Schema"
        )
    kind = found.one_of(("document", "resource"), "a schema")
    document = found.of("document")
    if kind == "document" and document is not None:
        for path, message, suggestion in schema_problems(document.value):
            document.find(path).wrong(f"the JSON Schema is not valid: {message}", suggestion)
    return Schema(
        origin=at.origin,
        compiled=CompiledSchema(document.value) if document else None,
        resource=found.get("resource", lambda each: _plain_resource(each, names)),
    )


def _plain_resource(at: At, names: Names) -> Resource:
    """Return a reference to a file that is read whatever task asks for it: nothing is evaluated for that."""
    found = resource(at, names)
    if not found.endpoint.uri.constant or found.endpoint.authentication is not None:
        at.wrong("a schema is read without expressions and authentication", "name a plain path or URL")
    return found


def resource(at: At, names: Names) -> Resource:
    """Return a reference to a file."""
    found = at.fields(("name", "endpoint", "uri"))
    key = found.one_of(("endpoint", "uri"), "a resource") or "endpoint"
    return Resource(name=found.get("name", At.string), endpoint=found.need(key, lambda each: endpoint(each, names)))


def endpoint(at: At, names: Names) -> Endpoint:
    """Return something that is asked over the network."""
    if isinstance(at.value, str):
        return Endpoint(uri=at.text_template())
    found = at.fields(("authentication",), ("uri",))
    return Endpoint(
        uri=found.need("uri", At.text_template),
        authentication=found.get("authentication", lambda each: authentication(each, names)),
    )


def web_endpoint(at: At, names: Names) -> Endpoint:
    """Return something that is asked by http or https and nothing else."""
    found = endpoint(at, names)
    uri = found.uri.raw
    if found.uri.constant and isinstance(uri, str) and uri.strip() and not _may_be_web(uri):
        place = at if isinstance(at.value, str) else at.find("/uri")
        place.wrong(f"{uri!r} is not an http or https URL", "give one that begins with http:// or https:// and a host")
    return found


def _may_be_web(uri: str) -> bool:
    """Whether a URI, or what a template becomes, can have a scheme and a host."""
    literal, brace, _ = uri.partition("{")
    scheme, colon, host = literal.partition("://")
    if not colon:
        return bool(brace)
    named = bool(host) or bool(brace)
    return scheme.lower() in {"http", "https"} and named and not host.startswith(("/", "?", "#"))


def timeout(at: At, names: Names) -> Timeout | None:
    """Return a limit of time, written here or named."""
    if isinstance(at.value, str):
        if _ISO.match(at.value) and at.value not in names.timeouts:
            at.wrong(f"'{at.value}' is a duration, and a text here is a name of use.timeouts", "write {after: PT5S}")
            return None
        return resolve(at, names.timeouts, "use.timeouts")
    if not at.is_object:
        at.must_be("an object such as {after: PT5S}, or a name of use.timeouts")
        return None
    hints = dict.fromkeys(UNITS, "it stands in 'after': {after: {seconds: 5}}")
    return Timeout(at.fields((), ("after",), hints=hints).need("after", At.duration))


def retry(at: At, names: Names) -> RetryPolicy | None:
    """Return a retry policy, written here or named."""
    if isinstance(at.value, str):
        return resolve(at, names.retries, "use.retries")
    return retry_policy(at)


def retry_policy(at: At) -> RetryPolicy:
    """Return a retry policy that is written here."""
    found = at.fields(("when", "exceptWhen", "delay", "backoff", "limit", "jitter"))
    limit = found.of("limit")
    limits = limit.fields(("attempt", "duration"), hints={"count": "it stands in limit.attempt"}) if limit else None
    attempt = limits.of("attempt") if limits else None
    attempts = attempt.fields(("count", "duration")) if attempt else None
    return RetryPolicy(
        when=found.get("when", At.condition),
        except_when=found.get("exceptWhen", At.condition),
        delay=found.get("delay", At.duration, 0),
        backoff=found.get("backoff", _backoff, Backoff.CONSTANT),
        attempts=attempts.get("count", At.integer) if attempts else None,
        attempt_duration=attempts.get("duration", At.duration) if attempts else None,
        duration=limits.get("duration", At.duration) if limits else None,
        jitter=found.get("jitter", _jitter),
    )


def _backoff(at: At) -> Backoff:
    kinds = tuple(each.value for each in Backoff)
    found = at.fields(kinds)
    kind = found.one_of(kinds, "a backoff")
    inner = found.of(kind) if kind else None
    if inner is not None and not inner.is_object:
        inner.must_be("an object, such as {}")
    for key, member in inner.members() if inner is not None and inner.is_object else ():
        member.warn(f"'{key}' is ignored: how the delay grows is fixed", "leave it out")
    return Backoff(kind or Backoff.CONSTANT)


def _jitter(at: At) -> tuple[Duration, Duration]:
    found = at.fields((), ("from", "to"))
    low, high = found.need("from", At.duration), found.need("to", At.duration)
    if isinstance(low, int) and isinstance(high, int) and low > high:
        at.wrong("jitter 'from' is longer than 'to'", "exchange them")
    return low, high


def error_of(at: At, names: Names) -> ErrorDefinition:
    """Return the error that a ``raise`` raises, written here or named."""
    if isinstance(at.value, str):
        found = resolve(at, names.errors, "use.errors")
        return found or ErrorDefinition(type=at.template(), status=at.template())
    return error_definition(at)


def error_definition(at: At) -> ErrorDefinition:
    """Return an error that is written here."""
    found = at.fields(("title", "detail", "instance"), ("type", "status"), hints={"details": "it is called 'detail'"})
    kind, status = found.of("type"), found.of("status")
    found.get("instance", At.text_template)  # The engine knows better where an error happens.
    if kind is not None and isinstance(kind.value, str) and not kind.is_expression and not _URI.match(kind.value):
        kind.wrong(f"the error type '{kind.value}' is not a URI", "write it as https://example.com/errors/NAME")
    if status is not None and not status.is_expression:
        status.integer(LOWEST_STATUS, HIGHEST_STATUS)
    return ErrorDefinition(
        type=found.need("type", At.text_template),
        status=found.need("status", At.template),
        title=found.get("title", At.text_template),
        detail=found.get("detail", At.text_template),
    )


def error_filter(at: At) -> ErrorFilter:
    """Return which errors a ``catch`` means."""
    found = at.fields(_FILTER)
    if not found.names and at.node.members is not None:
        at.wrong("the filter is empty", "give one or more of type, status, instance, title, details, or leave it out")
    if "detail" in found and "details" in found:
        at.wrong("the filter has 'detail' and 'details', which mean the same: give one of them only")
    details = found.of("details") or found.of("detail")
    return ErrorFilter(
        type=found.get("type", At.string),
        status=found.get("status", lambda each: each.integer(LOWEST_STATUS, HIGHEST_STATUS)),
        instance=found.get("instance", At.string),
        title=found.get("title", At.string),
        details=details.string() if details else None,
    )


def then(at: At) -> Then:
    """Return a flow directive; whether the task that it names is there is checked with the whole list."""
    text = at.string()
    if at.is_expression or text == Directive.WAIT:
        at.notes.may_wait = True
    if at.is_expression:
        return at.template(Place.TEXT)
    try:
        return Directive(text)
    except ValueError:
        return Goto(text)


def flag(found: Fields, key: str, *, default: bool = False) -> bool:
    """Return a member that is true or false."""
    return found.get(key, At.boolean, default)
