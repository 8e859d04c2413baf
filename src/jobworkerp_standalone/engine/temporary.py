"""Workers that exist for one job: in memory, and in the metadata of a job that may outlive the process."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from jobworkerp_standalone.engine.chain import OWN_PREFIX
from jobworkerp_standalone.jobs.model import Job, QueueType, ResponseType, RetryPolicy, RetryType, Worker

DEFINITION_KEY: Final = f"{OWN_PREFIX}temporary-worker"
"""Metadata of a job that may outlive the process: the worker that was made for it."""

FOR_ONE_JOB_KEY: Final = f"{OWN_PREFIX}for-one-job"
"""Metadata of a call that creates a worker: it goes with the first job that it gets, is in no list and has no row."""


def named_for_one_job(worker: Worker, worker_id: int) -> Worker:
    """Return the definition with an id and a name that no other worker has."""
    return replace(worker, id=worker_id, name=f"{worker.name}_{secrets.randbits(64):x}")


def definition_text(worker: Worker) -> str:
    """Return what is needed to run a job of this worker, and to accept one more."""
    rules = {name: getattr(worker, name) for name in _RULES}
    policy = worker.retry_policy
    return json.dumps(
        {
            "name": worker.name,
            "runner_id": worker.runner_id,
            "settings": base64.b64encode(worker.runner_settings).decode(),
            "rules": {**rules, "retry_policy": None if policy is None else asdict(policy)},
        }
    )


def worker_of(job: Job) -> Worker | None:
    """Return the temporary worker that a job's metadata describes; None where it has none."""
    text = job.metadata.get(DEFINITION_KEY)
    if text is None:
        return None
    definition = json.loads(text)
    worker = Worker(
        id=job.worker_id,
        name=definition["name"],
        runner_id=definition["runner_id"],
        runner_settings=base64.b64decode(definition["settings"]),
        channel=job.channel,
        queue_type=job.queue_type,
    )
    return replace(worker, **_rules_from(definition["rules"])) if "rules" in definition else worker


def _rules_from(rules: Mapping[str, Any]) -> dict[str, Any]:
    policy: Mapping[str, Any] | None = rules["retry_policy"]
    return {
        **{name: kind(rules[name]) for name, kind in _RULES.items()},
        "retry_policy": None if policy is None else RetryPolicy(**{**policy, "type": RetryType(policy["type"])}),
    }


_RULES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "queue_type": QueueType,
    "response_type": ResponseType,
    "store_success": bool,
    "store_failure": bool,
    "broadcast_results": bool,
    "next_workers": tuple,
}
"""Settings of a worker that count for its jobs, with what makes them of JSON."""
