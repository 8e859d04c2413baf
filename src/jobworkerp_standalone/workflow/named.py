"""Workflows that are known by namespace, name and version: those of workers, and files in the configured roots."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar, cast

import anyio.to_thread

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.load import parse
from jobworkerp_standalone.workflow.nodes import Unreadable
from jobworkerp_standalone.workflow.source import DOCUMENTS
from jobworkerp_standalone.workflow.workflow_run import Tools

T = TypeVar("T")
LATEST: Final = "latest"
_MOST_FILES: Final = 2_000
_MOST_BYTES: Final = 1024 * 1024
_SETTINGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunnerSettings")


class Identity(NamedTuple):
    """What a document calls itself."""

    namespace: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Found:
    """Where a workflow was found: the name of its worker, or its text."""

    worker: str | None = None
    text: str = ""


async def document_named(tools: Tools, wanted: Identity) -> Found:
    """Return the workflow of that name, of that version or the latest one. Workers count before files.

    Raises:
        WorkflowError: there is none.
    """
    documents: list[tuple[str, str]] = []
    for worker in tools.children.workers():
        spec = tools.children.runner_of(worker)
        if spec is not None and spec.name == "WORKFLOW" and worker.runner_settings:
            documents.append((_SETTINGS.FromString(worker.runner_settings).workflow_data, worker.name))
    found = await anyio.to_thread.run_sync(_best, wanted, documents, tools.roots)
    if found is None:
        raise Standard.CONFIGURATION.error(
            "There is no such workflow",
            f"{wanted.namespace}/{wanted.name} of version {wanted.version} is neither a worker's nor in the first "
            f"{_MOST_FILES} files of WORKFLOW_ALLOWED_ROOTS",
            status=404,
        )
    return found


def _best(wanted: Identity, documents: Iterable[tuple[str, str]], roots: Iterable[Path]) -> Found | None:
    workers = ((_identity(text), worker) for text, worker in documents if wanted.name in text)
    worker = _newest(wanted, workers)
    if worker is not None:
        return Found(worker=worker)
    files = (path for root in roots for path in _files(root))
    path = _newest(wanted, ((_identity_of(path), path) for path in islice(files, _MOST_FILES)))
    return Found(text=path.read_text("utf-8", "replace")) if path is not None else None


def _newest(wanted: Identity, known: Iterable[tuple[Identity | None, T]]) -> T | None:
    best: tuple[Any, T] | None = None
    for identity, where in known:
        if identity is None or identity[:2] != wanted[:2] or wanted.version not in (LATEST, identity.version):
            continue
        order = preference(identity.version)
        if best is None or order > best[0]:
            best = order, where
    return best[1] if best is not None else None


def _files(root: Path) -> Iterator[Path]:
    """Yield the documents below a directory, in the order of their names; hidden ones are left out."""
    top = root.resolve()
    for folder, inside, names in os.walk(root):
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.suffix in DOCUMENTS and path.resolve().is_relative_to(top):
                yield path


def _identity_of(path: Path) -> Identity | None:
    try:
        state = path.stat()
        return _identity_then(path, state.st_mtime_ns, state.st_size) if state.st_size <= _MOST_BYTES else None
    except OSError:
        return None


@lru_cache(_MOST_FILES)
def _identity_then(path: Path, _changed_ns: int, _size: int) -> Identity | None:
    """Return the identity of a file as it is; read again once it has changed."""
    return _identity(path.read_text("utf-8", "replace")) if path.is_file() else None


def _identity(text: str) -> Identity | None:
    try:
        value: Any = parse(text).plain
    except Unreadable:
        return None
    about: Any = cast("dict[str, Any]", value).get("document") if isinstance(value, dict) else None
    if not isinstance(about, dict):
        return None
    known = cast("dict[str, Any]", about)
    return Identity(*(str(known.get(key)) for key in Identity._fields))


def preference(version: str) -> tuple[Any, ...]:
    """Return by what the latest version is chosen: a release before any pre-release, of those the highest."""
    order = precedence(version)
    return order[1], order


def precedence(version: str) -> tuple[Any, ...]:
    """Return what semantic versions are ordered by."""
    core, _, before = version.partition("+")[0].partition("-")
    numbers = tuple(_size(part) if part.isdecimal() else _size("") for part in core.split("."))
    parts = tuple((0, *_size(part)) if part.isdecimal() else (1, 0, part) for part in before.split("."))
    return (numbers, 0, parts) if before else (numbers, 1, ())


def _size(digits: str) -> tuple[int, str]:
    """Return by what whole numbers of any length are ordered."""
    plain = digits.lstrip("0")
    return len(plain), plain
