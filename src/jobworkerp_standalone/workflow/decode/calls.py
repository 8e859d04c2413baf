"""What ``call`` tasks call."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final

from jobworkerp_standalone.runners.interest import EVERYTHING
from jobworkerp_standalone.workflow.decode.auth import authentication
from jobworkerp_standalone.workflow.decode.cursor import At, Fields
from jobworkerp_standalone.workflow.decode.names import Names, unknown_name
from jobworkerp_standalone.workflow.decode.values import flag, resource, timeout, web_endpoint
from jobworkerp_standalone.workflow.durations import UNITS
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.calls import (
    A2A_METHODS,
    MCP_METHODS,
    MCP_REVISION,
    A2aCall,
    A2aVersion,
    Call,
    FunctionCall,
    GrpcCall,
    HttpCall,
    HttpOutput,
    McpCall,
    McpHttp,
    McpStdio,
    OpenApiCall,
)
from jobworkerp_standalone.workflow.model.values import Timeout
from jobworkerp_standalone.workflow.problems import did_you_mean

_CATALOGED: Final = re.compile(r"(?P<name>[^:@\s\0]+)(?::(?P<version>[^:@\s\0]+))?@(?P<catalog>[^:@\s]+)\Z")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY"})
_OUTPUTS: Final[dict[str, HttpOutput]] = {"content": "content", "response": "response", "raw": "raw"}
_A2A_VERSIONS: Final[dict[str, A2aVersion]] = {"0.3": "0.3", "1.0": "1.0"}
_ASYNCAPI: Final = "asyncapi"
_NO_ASYNCAPI: Final = "calls of kind asyncapi are not supported: no message broker is part of this program"


def call(kind: At, with_: At | None, task: At, names: Names) -> Call:
    """Return what a task calls. ``kind`` is the value of ``call``."""
    word = kind.string()
    if word == _ASYNCAPI:
        kind.wrong(_NO_ASYNCAPI, "use emit and listen, or run a program that talks to the broker")
        return FunctionCall(name=word)
    read = _KINDS.get(word)
    if read is None:
        return _function(kind, word, with_, names)
    if with_ is None:
        task.wrong(f"a call of kind {word} needs 'with'", "add 'with'")
        return FunctionCall(name=word)
    return read(with_, names)


def _http(at: At, names: Names) -> HttpCall:
    found = at.fields(("headers", "query", "body", "output", "redirect"), ("method", "endpoint"))
    method = found.of("method")
    if method and isinstance(method.value, str) and not method.is_expression and method.value.upper() not in _METHODS:
        method.wrong(f"'{method.value}' is not an HTTP method", f"one of {', '.join(sorted(_METHODS))}")
    return HttpCall(
        method=found.need("method", At.text_template),
        endpoint=found.need("endpoint", lambda each: web_endpoint(each, names)),
        headers=found.get("headers", At.object_template),
        query=found.get("query", At.object_template),
        body=found.get("body", At.template),
        output=_output(found),
        redirect=flag(found, "redirect"),
    )


def _output(found: Fields) -> HttpOutput:
    return found.word("output", _OUTPUTS, "content")


def _grpc(at: At, names: Names) -> GrpcCall:
    found = at.fields(("proto", "arguments"), ("service", "method"))
    service = found.of("service")
    inner = service.fields(("port", "authentication"), ("name", "host")) if service else Fields(at, {})
    return GrpcCall(
        service=inner.need("name", At.text_template),
        host=inner.need("host", At.text_template),
        port=inner.get("port", _port),
        authentication=inner.get("authentication", lambda each: authentication(each, names)),
        proto=found.get("proto", lambda each: resource(each, names)),
        method=found.need("method", At.text_template),
        arguments=found.get("arguments", _messages),
    )


def _messages(at: At) -> Template:
    if not (at.is_object or at.is_array or at.is_expression):
        at.must_be("an object, an array of objects or an expression in ${...}")
    for each in at.items() if at.is_array else ():
        if not (each.is_object or each.is_expression):
            each.must_be("an object or an expression in ${...}")
    return at.template()


def _port(at: At) -> Template:
    if not at.is_expression:
        at.integer(1, 65535)
    return at.template()


def _openapi(at: At, names: Names) -> OpenApiCall:
    found = at.fields(("parameters", "authentication", "output", "redirect"), ("document", "operationId"))
    return OpenApiCall(
        document=found.need("document", lambda each: resource(each, names)),
        operation_id=found.need("operationId", At.text_template),
        parameters=found.get("parameters", At.object_template),
        authentication=found.get("authentication", lambda each: authentication(each, names)),
        output=_output(found),
        redirect=flag(found, "redirect"),
    )


def _mcp(at: At, names: Names) -> McpCall:
    found = at.fields(("transport", "server", "parameters", "protocolVersion", "timeout", "client"), ("method",))
    which = found.one_of(("transport", "server"), "a call of kind mcp")
    if which == "server":
        for key in ("protocolVersion", "client"):
            if (ignored := found.of(key)) is not None:
                ignored.misnamed(f"'{key}' has no meaning for a server of MCP_CONFIG", "leave it out")
    client = found.of("client")
    about = client.fields((), ("name", "version")) if client else None
    return McpCall(
        method=found.need("method", lambda each: _one_of_methods(each, MCP_METHODS)),
        transport=found.get("transport", lambda each: _transport(each, names)),
        server=found.get("server", At.text_template),
        parameters=found.get("parameters", At.object_template),
        protocol_version=found.get("protocolVersion", At.string, MCP_REVISION),
        timeout=found.get("timeout", lambda each: _mcp_timeout(each, names)),
        client_name=about.get("name", At.string) if about else None,
        client_version=about.get("version", At.string) if about else None,
    )


def _one_of_methods(at: At, known: Collection[str]) -> Template:
    if isinstance(at.value, str) and at.value and not at.is_expression and at.value not in known:
        hint = did_you_mean(at.value, known) or f"one of {', '.join(known)}"
        at.wrong(f"'{at.value}' is no method of this protocol", hint)
    return at.text_template()


def _mcp_timeout(at: At, names: Names) -> Timeout | None:
    """Return a limit: a duration by itself, or as a ``timeout`` elsewhere."""
    bare = at.is_object and not UNITS.keys().isdisjoint(at.value)
    iso = isinstance(at.value, str) and at.value.startswith("P") and at.value not in names.timeouts
    return Timeout(at.duration(), bare=True) if bare or iso or at.is_expression else timeout(at, names)


def _transport(at: At, names: Names) -> McpHttp | McpStdio:
    found = at.fields(("http", "stdio", "options"))
    kind = found.one_of(("http", "stdio"), "a transport")
    if (options := found.of("options")) is not None:
        options.warn("'options' is ignored: no transport has any here", "leave it out")
    if kind == "stdio":
        stdio = found.need("stdio", lambda each: each.fields(("arguments", "environment"), ("command",)))
        return McpStdio(
            command=stdio.need("command", At.text_template),
            arguments=stdio.get("arguments", _arguments),
            environment=stdio.get("environment", At.object_template),
        )
    http = found.get("http", lambda each: each.fields(("headers",), ("endpoint",))) or Fields(at, {})
    return McpHttp(
        endpoint=http.need("endpoint", lambda each: web_endpoint(each, names)),
        headers=http.get("headers", At.object_template),
    )


def _arguments(at: At) -> Template:
    if not (at.is_array or at.is_expression):
        at.must_be("an array or an expression in ${...}")
    return at.template()


def _a2a(at: At, names: Names) -> A2aCall:
    found = at.fields(
        ("agentCard", "server", "parameters", "protocolVersion", "authentication", "headers"), ("method",)
    )
    if "agentCard" not in found and "server" not in found and found.names:
        at.wrong("a call of kind a2a needs 'agentCard' or 'server'", "add one of both")
    if "agentCard" in found and (server := found.of("server")) is not None:
        server.warn("'server' is ignored: the agent card says where the agent is", "leave one of both out")
    return A2aCall(
        method=found.need("method", lambda each: _one_of_methods(each, A2A_METHODS)),
        agent_card=found.get("agentCard", lambda each: resource(each, names)),
        server=found.get("server", lambda each: web_endpoint(each, names)),
        parameters=found.get("parameters", At.object_template),
        version=found.get("protocolVersion", lambda each: each.word(_A2A_VERSIONS)),
        authentication=found.get("authentication", lambda each: authentication(each, names)),
        headers=found.get("headers", At.object_template),
    )


_KINDS: Final[dict[str, Callable[[At, Names], Call]]] = {
    "http": _http,
    "grpc": _grpc,
    "openapi": _openapi,
    "mcp": _mcp,
    "a2a": _a2a,
}


def is_callable(name: str) -> bool:
    """Whether a call of that name can mean a function of the document."""
    return name not in {*_KINDS, _ASYNCAPI} and "://" not in name and _CATALOGED.match(name) is None


def _function(kind: At, name: str, with_: At | None, names: Names) -> FunctionCall:
    arguments = with_.object_template() if with_ else None
    if "://" in name:
        names.hears(EVERYTHING)  # what it listens for is not known before it is read
        return FunctionCall(name=name, url=True, with_=arguments)
    match = _CATALOGED.match(name)
    if match is not None:
        catalog = match["catalog"]
        names.hears(EVERYTHING)
        if catalog != "default" and catalog not in names.catalogs:
            unknown_name(kind, catalog, names.catalogs, "use.catalogs")
        return FunctionCall(name=match["name"], version=match["version"], catalog=catalog, with_=arguments)
    if name and name not in names.functions:
        known = {*names.functions, *_KINDS}
        kind.wrong(
            f"'{name}' is neither a kind of call nor declared in use.functions",
            did_you_mean(name, known) or f"known here: {', '.join(sorted(known))}",
        )
    return FunctionCall(name=name, with_=arguments)
