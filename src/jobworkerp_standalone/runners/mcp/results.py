"""What an MCP server answers, as ``McpServerResult``: nothing of it is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    LoggingMessageNotificationParams,
    ResourceLink,
    TextContent,
)
from pydantic import BaseModel

from jobworkerp_standalone.schema.messages import message_class

_RESULT: Final[Any] = message_class("jobworkerp.runner.McpServerResult")
_LARGEST: Final = 2**63 - 1
_NO_META: Final = frozenset({"io.modelcontextprotocol/serverInfo"})
"""Said with every answer, and about the server, not the answer."""


def encode_result(result: CallToolResult) -> bytes:
    """Return the bytes of a tool's answer."""
    message = _RESULT(is_error=result.is_error)
    for block in result.content:
        _add(message.content.add(), block)
    if result.structured_content is not None:
        message.structured_content = _json(result.structured_content)
    meta = {key: value for key, value in (result.meta or {}).items() if key not in _NO_META}
    if meta:
        message.meta = _json(meta)
    return message.SerializeToString()


def encode_progress(progress: float, total: float | None, text: str | None) -> bytes:
    """Return a stream item that says how far a call is."""
    return _RESULT(progress={"progress": progress, "total": total, "message": text}).SerializeToString()


def encode_log(params: LoggingMessageNotificationParams, *, shared: bool, left_out: int) -> bytes:
    """Return a stream item with one message of the server's log."""
    log = {
        "level": params.level,
        "logger": params.logger,
        "data": _json(params.data),
        "shared": shared,
        "left_out": left_out,
    }
    return _RESULT(log=log).SerializeToString()


def error_text(result: CallToolResult) -> str:
    """Return what a tool that failed says."""
    texts = [block.text for block in result.content if isinstance(block, TextContent)]
    return "\n".join(texts) or "no reason given"


class McpCollector:
    """Puts stream items together: the result is what a run without streaming returns."""

    def __init__(self) -> None:
        self._result = _RESULT()

    def add(self, item: bytes) -> None:
        """Take the next item; progress and log are no part of the result."""
        piece = _RESULT.FromString(item)
        piece.ClearField("progress")
        piece.ClearField("log")
        self._result.MergeFrom(piece)

    def result(self) -> bytes:
        """Return all of it."""
        return self._result.SerializeToString()


def _add(message: Any, block: ContentBlock) -> None:
    match block:
        case TextContent():
            message.text.text = block.text
        case ImageContent():
            message.image.data, message.image.mime_type = block.data, block.mime_type
        case AudioContent():
            message.audio.data, message.audio.mime_type = block.data, block.mime_type
        case EmbeddedResource():
            _add_resource(message.resource, block)
        case ResourceLink():
            _add_link(message.resource_link, block)
    if block.annotations is not None:
        message.annotations = _dump(block.annotations)
    if meta := _meta(block):
        message.meta = _json(meta)


def _add_resource(message: Any, block: EmbeddedResource) -> None:
    resource = block.resource
    if isinstance(resource, BlobResourceContents):
        target = message.blob
        target.blob = resource.blob
    else:
        target = message.text
        target.text = resource.text
    target.uri = resource.uri
    if resource.mime_type is not None:
        target.mime_type = resource.mime_type


def _add_link(message: Any, link: ResourceLink) -> None:
    message.uri, message.name = link.uri, link.name
    for name in ("title", "description", "mime_type", "size"):
        value = getattr(link, name)
        if value is not None and (name != "size" or 0 <= value <= _LARGEST):
            setattr(message, name, value)
    if link.icons:
        message.icons = _json([icon.model_dump(mode="json", by_alias=True, exclude_none=True) for icon in link.icons])


def _meta(block: ContentBlock) -> Mapping[str, Any]:
    """Return what the server says about a piece, and about the resource in it."""
    inner = block.resource.meta if isinstance(block, EmbeddedResource) else None
    return {**(inner or {}), **(block.meta or {})}


def _dump(model: BaseModel) -> str:
    return _json(model.model_dump(mode="json", by_alias=True, exclude_none=True))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
