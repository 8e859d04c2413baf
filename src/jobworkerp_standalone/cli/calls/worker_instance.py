"""Calls of the command group ``worker-instance``."""

from __future__ import annotations

from jobworkerp_standalone.client import Client
from jobworkerp_standalone.pb.jobworkerp.data import Empty, WorkerInstance, WorkerInstanceId
from jobworkerp_standalone.pb.jobworkerp.service import FindInstanceListRequest, InstanceChannelInfo


async def find(client: Client, instance_id: int) -> WorkerInstance:
    """Return a process that executes jobs."""
    return await client.instance.find(WorkerInstanceId(value=instance_id))


async def listing(client: Client, channel: str | None, active_only: bool | None) -> list[WorkerInstance]:
    """Return the processes that execute jobs."""
    request = FindInstanceListRequest(channel=channel, active_only=active_only)
    return [instance async for instance in client.instance.find_list(request)]


async def count(client: Client) -> tuple[int, int]:
    """Return how many processes there are, and how many are active."""
    reply = await client.instance.count(Empty())
    return reply.total, reply.active


async def channels(client: Client) -> list[InstanceChannelInfo]:
    """Return the channels that are served."""
    return list((await client.instance.find_channel_list(Empty())).channels)
