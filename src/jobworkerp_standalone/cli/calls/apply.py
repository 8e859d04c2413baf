"""Calls of ``worker apply``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from jobworkerp_standalone.cli.manifest import WorkerEntry
from jobworkerp_standalone.client import CallFailed, Client, DoesNotFit, NoSuch
from jobworkerp_standalone.client.coding import encode_settings_tree
from jobworkerp_standalone.pb.jobworkerp.data import QueueType, ResponseType, RetryPolicy, RetryType, WorkerData

_DEFAULT_CHANNEL: Final = "[default]"


class Applied(NamedTuple):
    """What became of a manifest; ``failure`` says what the rest was given up for."""

    ids: dict[str, int]
    failure: str | None = None


async def apply(client: Client, entries: Sequence[WorkerEntry]) -> Applied:
    """Add or replace workers by name, in order. Nothing is written before all of them are encoded."""
    ids: dict[str, int] = {}
    place = ""
    try:
        encoded: list[tuple[str, WorkerData]] = []
        for entry in entries:
            place = entry.place
            encoded.append((entry.place, await _data(client, entry)))
        for place, data in encoded:
            reply = await client.worker.upsert_by_name(data)
            if reply.id is None:
                return Applied(ids, f"{place}: the server did not answer with its id")
            ids[data.name] = reply.id.value
    except (CallFailed, NoSuch, DoesNotFit) as error:
        return Applied(ids, f"{place}: {' '.join(str(error).split())}")
    return Applied(ids)


async def _data(client: Client, entry: WorkerEntry) -> WorkerData:
    runner = await client.schemas.runner(entry.runner)
    retry = entry.retry_policy
    policy = None if retry is None else RetryPolicy(**{**retry._asdict(), "type": RetryType[retry.type]})
    return WorkerData(
        name=entry.name,
        description=entry.description,
        runner_id=runner.id,
        runner_settings=b"" if entry.settings is None else encode_settings_tree(runner, entry.settings),
        retry_policy=policy,
        periodic_interval=entry.periodic_interval,
        channel=None if entry.channel in ("", _DEFAULT_CHANNEL) else entry.channel,
        queue_type=QueueType[entry.queue_type],
        response_type=ResponseType[entry.response_type],
        store_success=entry.store_success,
        store_failure=entry.store_failure,
        use_static=entry.use_static,
        broadcast_results=entry.broadcast_results,
    )
