"""The args of a job as Slack's JSON."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from google.protobuf.message import Message

from jobworkerp_standalone.jobs.errors import BadInput
from jobworkerp_standalone.runners.messages import args_of
from jobworkerp_standalone.schema.messages import message_class

_ARGS: Final = message_class("jobworkerp.runner.SlackChatPostMessageArgs")


def read_message(data: bytes, bot_name: str) -> dict[str, Any]:
    """Return the fields of ``chat.postMessage``; what the args leave open is left out.

    Raises:
        BadInput: the args are none, or incomplete.
    """
    args = args_of(_ARGS, data)
    fields = _fields(args)
    if not fields.get("channel"):
        raise BadInput("channel is empty: give the channel by its id or name")
    if "blocks" in fields:
        fields["blocks"] = [_block(number, text) for number, text in enumerate(fields["blocks"])]
    if bot_name and not fields.get("username"):
        fields["username"] = bot_name
    return fields


def _fields(message: Message) -> dict[str, Any]:
    """Return what is set, under the names of the proto, which are Slack's."""
    return {descriptor.name: _value(value) for descriptor, value in message.ListFields()}


def _value(value: Any) -> Any:
    if isinstance(value, (str, int, bool)):
        return value
    if isinstance(value, Message):
        return _fields(value)
    return [_value(each) for each in value]


def _block(number: int, text: str) -> dict[str, Any]:
    try:
        block = json.loads(text)
    except ValueError as error:
        raise BadInput(f"blocks[{number}] is not JSON ({error}): give each block as one JSON object") from error
    if not isinstance(block, dict):
        raise BadInput(f"blocks[{number}] is not a JSON object: give each block as one")
    return cast("dict[str, Any]", block)
