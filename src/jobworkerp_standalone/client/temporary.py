"""Workers that exist for as long as a client needs them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from jobworkerp_standalone.client.client import Client
from jobworkerp_standalone.client.errors import ClientError
from jobworkerp_standalone.client.steady import to_the_end
from jobworkerp_standalone.pb.jobworkerp.data import WorkerData, WorkerId
from jobworkerp_standalone.pb.jobworkerp.service import WorkerNameRequest

_log = logging.getLogger(__name__)


_FOR_ONE_JOB: Final = "jobworkerp-for-one-job"
"""Tells a server that knows it to let the worker go with its job: nothing stays behind where this process is killed."""


@asynccontextmanager
async def temporary_worker(client: Client, data: WorkerData, *, for_one_job: bool = True) -> AsyncIterator[WorkerId]:
    """Make a worker, and remove it in the end, whatever happens; also where its id never arrived.

    Args:
        client: of the server.
        data: the worker; its name gets an ending that no other has.
        for_one_job: let it go with its first job, where the server can do that.

    Raises:
        ClientError: it could not be made. One that cannot be removed is a warning: what it was made for is done.
    """
    data.name = f"{data.name}_{uuid.uuid4().hex}"
    if (await client.worker.find_by_name(WorkerNameRequest(name=data.name))).data is not None:
        raise ClientError(f"worker {data.name} exists already")
    worker_id: WorkerId | None = None
    extra = {_FOR_ONE_JOB: "true"} if for_one_job else {}
    try:
        worker_id = (await client.worker.create(data, metadata={**client.metadata, **extra})).id
        if worker_id is None:
            raise ClientError("the server did not answer with the id of the temporary worker")
        yield worker_id
    finally:
        await to_the_end(_remove(client, data.name, worker_id))


async def _remove(client: Client, name: str, worker_id: WorkerId | None) -> None:
    try:
        if worker_id is None:
            worker = (await client.worker.find_by_name(WorkerNameRequest(name=name))).data
            worker_id = worker.id if worker is not None else None
        if worker_id is not None:
            await client.worker.delete(worker_id)
    except ClientError as error:
        _log.warning("temporary worker %s was not removed: %s", name, error)
