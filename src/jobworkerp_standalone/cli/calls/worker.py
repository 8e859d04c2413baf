"""Calls of the command group ``worker``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from jobworkerp_standalone.client import Client
from jobworkerp_standalone.client.schemas import decode_settings, encode_settings
from jobworkerp_standalone.pb.jobworkerp.data import (
    QueueType,
    ResponseType,
    RetryPolicy,
    RetryType,
    Worker,
    WorkerData,
    WorkerId,
)
from jobworkerp_standalone.pb.jobworkerp.service import CountWorkerRequest, FindWorkerListRequest

_QUEUE_TYPES: Final = {**QueueType.__members__, "FORCED_RDB": QueueType.DB_ONLY}
_DEFAULT_CHANNELS: Final = ("", "[default]")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What a command line says about a worker; None is what it leaves open."""

    name: str | None = None
    description: str | None = None
    runner: int | str | None = None
    settings: str | None = None
    periodic: int | None = None
    channel: str | None = None
    queue_type: str | None = None
    response_type: str | None = None
    store_success: bool | None = None
    store_failure: bool | None = None
    use_static: bool | None = None
    broadcast_results: bool | None = None
    retry_type: str | None = None
    retry_interval: int | None = None
    retry_max_interval: int | None = None
    max_retry: int | None = None
    retry_basis: float | None = None


async def create(client: Client, wanted: Changes) -> int:
    """Add a worker and return its id."""
    data = WorkerData(retry_policy=RetryPolicy())
    await _apply(client, data, wanted)
    reply = await client.worker.create(data)
    return reply.id.value if reply.id else 0


async def update(client: Client, worker_id: int, changes: Changes) -> bool:
    """Change a worker, and leave the rest of it as it is; whether the server did it."""
    worker = await client.schemas.worker(worker_id)
    data = worker.data or WorkerData()
    await _apply(client, data, changes)
    return (await client.worker.update(Worker(id=WorkerId(value=worker_id), data=data))).is_success


async def find(client: Client, key: int | str) -> tuple[Worker, Any] | None:
    """Return a worker by id or name, with its settings decoded."""
    worker = await client.schemas.find_worker(key)
    return None if worker is None else (worker, await _settings(client, worker))


async def listing(client: Client, offset: int | None, limit: int | None) -> list[tuple[Worker, Any]]:
    """Return workers, with their settings decoded."""
    request = FindWorkerListRequest(limit=limit, offset=offset)
    workers = [worker async for worker in client.worker.find_list(request)]
    return [(worker, await _settings(client, worker)) for worker in workers]


async def delete(client: Client, worker_id: int) -> bool:
    """Remove a worker; whether it was there."""
    return (await client.worker.delete(WorkerId(value=worker_id))).is_success


async def count(client: Client) -> int:
    """Return how many workers there are."""
    return (await client.worker.count_by(CountWorkerRequest())).total


async def _settings(client: Client, worker: Worker) -> Any:
    runner = await client.schemas.runner_of(worker)
    return decode_settings(runner, worker.data.runner_settings if worker.data else b"")


async def _apply(client: Client, data: WorkerData, changes: Changes) -> None:
    for field in ("name", "description", "store_success", "store_failure", "use_static", "broadcast_results"):
        if (value := getattr(changes, field)) is not None:
            setattr(data, field, value)
    if changes.periodic is not None:
        data.periodic_interval = changes.periodic
    if changes.channel is not None:
        data.channel = None if changes.channel in _DEFAULT_CHANNELS else changes.channel
    if changes.queue_type is not None:
        data.queue_type = _QUEUE_TYPES[changes.queue_type]
    if changes.response_type is not None:
        data.response_type = ResponseType[changes.response_type]
    _apply_retry(data, changes)
    await _apply_runner(client, data, changes)


def _apply_retry(data: WorkerData, changes: Changes) -> None:
    policy = data.retry_policy or RetryPolicy()
    if changes.retry_type is not None:
        policy.type = RetryType[changes.retry_type.upper()]
    if changes.retry_interval is not None:
        policy.interval = changes.retry_interval
    if changes.retry_max_interval is not None:
        policy.max_interval = changes.retry_max_interval
    if changes.max_retry is not None:
        policy.max_retry = changes.max_retry
    if changes.retry_basis is not None:
        policy.basis = changes.retry_basis
    data.retry_policy = policy


async def _apply_runner(client: Client, data: WorkerData, changes: Changes) -> None:
    if changes.runner is not None:
        data.runner_id = (await client.schemas.runner(changes.runner)).id
    if changes.settings is not None:
        runner = await client.schemas.runner(data.runner_id.value if data.runner_id else 0)
        data.runner_settings = encode_settings(runner, changes.settings)
