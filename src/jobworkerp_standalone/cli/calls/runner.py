"""Calls of the command group ``runner``."""

from __future__ import annotations

from jobworkerp_standalone.client import Client
from jobworkerp_standalone.pb.jobworkerp.data import Runner, RunnerId, RunnerType
from jobworkerp_standalone.pb.jobworkerp.service import (
    CountRunnerRequest,
    CreateRunnerRequest,
    FindRunnerListRequest,
)


async def create(client: Client, name: str, description: str, runner_type: str, definition: str) -> int:
    """Add a runner and return its id."""
    request = CreateRunnerRequest(
        name=name, description=description, runner_type=RunnerType[runner_type], definition=definition
    )
    reply = await client.runner.create(request)
    return reply.id.value if reply.id else 0


async def find(client: Client, key: int | str) -> Runner | None:
    """Return a runner by id or name."""
    return await client.schemas.find_runner(key)


async def listing(client: Client, offset: int | None, limit: int | None) -> list[Runner]:
    """Return runners."""
    request = FindRunnerListRequest(limit=limit, offset=offset)
    return [runner async for runner in client.runner.find_list_by(request)]


async def delete(client: Client, runner_id: int) -> bool:
    """Remove a runner; whether it was there and may be removed."""
    return (await client.runner.delete(RunnerId(value=runner_id))).is_success


async def count(client: Client) -> int:
    """Return how many runners there are."""
    return (await client.runner.count_by(CountRunnerRequest())).total
