"""What ``runner show`` says about a runner."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jobworkerp_standalone.pb.jobworkerp.data import MethodSchema, Runner, RunnerData, StreamingOutputType
from jobworkerp_standalone.schema.outline import as_tree, example, outline
from jobworkerp_standalone.schema.samples import ARGS, SETTINGS
from jobworkerp_standalone.schema.text import BadProtoText

_ANSWERS = {
    StreamingOutputType.NON_STREAMING: "one result",
    StreamingOutputType.STREAMING: "a stream",
    StreamingOutputType.BOTH: "one result, or a stream",
}


def as_page(runner: Runner) -> str:
    """Return the page."""
    return "\n".join(_page(runner, runner.data or RunnerData()))


def as_object(runner: Runner) -> dict[str, Any]:
    """Return the same as JSON."""
    data = runner.data or RunnerData()
    methods = {
        name: {
            "description": method.description or "",
            "output_type": StreamingOutputType(method.output_type).name,
            "args": _tree(method.args_proto),
            "args_example": _args_example(data.name, name, method),
            "result": _tree(method.result_proto),
            "feed": _tree(method.client_stream_data_proto or "") if method.require_client_stream else None,
        }
        for name, method in _methods(data).items()
    }
    return {
        "id": str(runner.id.value) if runner.id else None,
        "name": data.name,
        "description": data.description,
        "settings": _tree(data.runner_settings_proto),
        "settings_example": _settings_example(data),
        "methods": methods,
    }


def _page(runner: Runner, data: RunnerData) -> Iterator[str]:
    yield f"{data.name} (id {runner.id.value if runner.id else 0})"
    if data.description:
        yield f"  {data.description}"
    yield ""
    yield "Settings"
    yield from _section(data.runner_settings_proto, _settings_example(data), "none")
    for name, method in _methods(data).items():
        yield ""
        yield f"Method {name}: {_ANSWERS[StreamingOutputType(method.output_type)]}"
        if method.description:
            yield f"  {method.description}"
        yield ""
        yield "Args"
        yield from _section(method.args_proto, _args_example(data.name, name, method), "any bytes")
        if method.require_client_stream:
            yield ""
            yield "Feed (what the client streams in)"
            yield from _section(method.client_stream_data_proto or "", None, "any bytes")
        yield ""
        yield "Result"
        yield from _section(method.result_proto, None, "any bytes")


def _section(text: str, shown: Mapping[str, Any] | None, nothing: str) -> Iterator[str]:
    if not text.strip():
        yield f"  {nothing}"
        return
    try:
        yield from (f"  {line}".rstrip() for line in outline(text))
    except BadProtoText as error:
        yield f"  (this schema cannot be shown: {error})"
    if shown is not None:
        yield f"  example: {json.dumps(shown, ensure_ascii=False)}"


def _methods(data: RunnerData) -> dict[str, MethodSchema]:
    return dict(sorted(data.method_proto_map.schemas.items())) if data.method_proto_map else {}


def _tree(text: str) -> list[dict[str, Any]] | None:
    try:
        return as_tree(text) if text.strip() else None
    except BadProtoText:
        return None


def _settings_example(data: RunnerData) -> Mapping[str, Any] | None:
    return SETTINGS.get(data.name) or _example(data.runner_settings_proto)


def _args_example(runner: str, method: str, schema: MethodSchema) -> Mapping[str, Any] | None:
    return ARGS.get((runner, method)) or _example(schema.args_proto)


def _example(text: str) -> Mapping[str, Any] | None:
    try:
        return example(text) if text.strip() else None
    except BadProtoText:
        return None
