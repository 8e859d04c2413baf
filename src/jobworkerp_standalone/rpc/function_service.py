"""FunctionService and FunctionSetService: requests are checked; the rest is not part of this version."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Final, NoReturn

from jobworkerp_standalone.jobs.errors import InvalidRequest, NotBuilt, NotFound
from jobworkerp_standalone.rpc.limits import MAX_TEXT_BYTES
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService

_NAME_BYTES: Final = 128
_FUNCTION_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*")


class FunctionRpc(WireService):
    """Runners and workers as functions with JSON arguments."""

    full_name = "jobworkerp.function.service.FunctionService"

    async def find_list(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """List functions."""
        _not_built("listing functions")
        yield b""

    async def find_list_by_set(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """List the functions of a set."""
        _not_built("listing functions")
        yield b""

    async def call(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Call a function."""
        if request.WhichOneof("name") is None:
            raise InvalidRequest("name is missing: set runner_name or worker_name")
        _not_built("calling functions")
        yield b""

    async def find(self, request: Message, stream: ServerStream) -> Reply:
        """Return one function."""
        function_id = request.function_id
        which = function_id.WhichOneof("id")
        if which is None:
            raise InvalidRequest("function_id is missing: set runner_id or worker_id")
        value = getattr(function_id, which).value
        if value <= 0:
            raise InvalidRequest(f"function_id.{which} {value} must be above 0")
        if request.HasField("using"):
            _check_bytes("using", request.using, MAX_TEXT_BYTES)
        _not_built("looking functions up")

    async def find_by_name(self, request: Message, stream: ServerStream) -> Reply:
        """Return one function by name."""
        which = request.WhichOneof("name")
        if which is None:
            raise InvalidRequest("name is missing: set runner_name or worker_name")
        _check_bytes(which, getattr(request, which), _NAME_BYTES)
        _not_built("looking functions up")

    async def create_worker(self, request: Message, stream: ServerStream) -> Reply:
        """Make a worker from JSON settings."""
        _check_new_worker(request)
        _not_built("creating workers from functions")

    async def upsert_worker(self, request: Message, stream: ServerStream) -> Reply:
        """Make or replace a worker from JSON settings."""
        _check_new_worker(request)
        _not_built("creating workers from functions")


class FunctionSetRpc(WireService):
    """Named groups of functions."""

    full_name = "jobworkerp.function.service.FunctionSetService"

    async def create(self, request: Message, stream: ServerStream) -> Reply:
        """Add a set."""
        _check_bytes("name", request.name, MAX_TEXT_BYTES)
        _not_built("working with function sets")

    async def update(self, request: Message, stream: ServerStream) -> Reply:
        """Replace a set."""
        if not request.HasField("id"):
            raise NotFound("id is missing: set the id of the function set to update")
        _not_built("working with function sets")

    async def delete(self, request: Message, stream: ServerStream) -> Reply:
        """Remove a set."""
        _not_built("working with function sets")

    async def find(self, request: Message, stream: ServerStream) -> Reply:
        """Return a set."""
        _not_built("working with function sets")

    async def find_by_name(self, request: Message, stream: ServerStream) -> Reply:
        """Return a set by name."""
        _not_built("working with function sets")

    async def find_list(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """List sets."""
        _not_built("working with function sets")
        yield b""

    async def count(self, request: Message, stream: ServerStream) -> Reply:
        """Count sets."""
        _not_built("working with function sets")

    async def find_detail(self, request: Message, stream: ServerStream) -> Reply:
        """Return a set with its functions."""
        if request.value <= 0:
            raise InvalidRequest(f"value {request.value} must be above 0")
        _not_built("working with function sets")

    async def find_detail_by_name(self, request: Message, stream: ServerStream) -> Reply:
        """Return a set with its functions, by name."""
        if not request.name.strip():
            raise InvalidRequest("name is empty: set the name of a function set")
        _not_built("working with function sets")


def _check_new_worker(request: Message) -> None:
    which = request.WhichOneof("runner")
    if which is None:
        raise InvalidRequest("runner is missing: set runner_name or runner_id")
    if which == "runner_id" and request.runner_id.value <= 0:
        raise InvalidRequest(f"runner_id {request.runner_id.value} must be above 0")
    if which == "runner_name":
        _check_bytes("runner_name", request.runner_name, _NAME_BYTES)
    _check_bytes("name", request.name, MAX_TEXT_BYTES)
    if not _FUNCTION_NAME.fullmatch(request.name):
        raise InvalidRequest(f"name {request.name!r} must start with a letter; letters, digits, _ and - may follow")
    if request.HasField("settings_json"):
        try:
            json.loads(request.settings_json)
        except ValueError as error:
            raise InvalidRequest(f"settings_json is not valid JSON: {error}") from error


def _check_bytes(field: str, text: str, most: int) -> None:
    size = len(text.encode())
    if not 1 <= size <= most:
        raise InvalidRequest(f"{field} is {size} bytes long; give it 1 to {most}")


def _not_built(what: str) -> NoReturn:
    raise NotBuilt(f"{what} is not available in this version")
