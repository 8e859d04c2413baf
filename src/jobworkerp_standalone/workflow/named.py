"""Workflows that are known by namespace, name and version: those of workers, and files in the configured roots."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

import anyio

from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.load import parse
from jobworkerp_standalone.workflow.nodes import Unreadable
from jobworkerp_standalone.workflow.run import Tools

LATEST: Final = "latest"
_ENDINGS: Final = (".yaml", ".yml", ".json")
_MOST_FILES: Final = 2_000
_MOST_BYTES: Final = 1024 * 1024
_SETTINGS: Final[Any] = message_class("jobworkerp.runner.WorkflowRunnerSettings")


@dataclass(frozen=True, slots=True)
class Found:
    """Where a workflow was found: the name of its worker, or its text."""

    worker: str | None = None
    text: str = ""


async def document_named(tools: Tools, namespace: str, name: str, version: str) -> Found:
    """Return the workflow of that name, of that version or the latest one. Workers count before files.

    Raises:
        WorkflowError: there is none.
    """
    wanted = _Wanted(namespace, name, version)
    for worker in tools.children.workers():
        spec = tools.children.runner_of(worker)
        if spec is not None and spec.name == "WORKFLOW" and worker.runner_settings:
            settings = _SETTINGS.FromString(worker.runner_settings)
            wanted.look_at(settings.workflow_data, Found(worker=worker.name))
    if wanted.found is None:
        await anyio.to_thread.run_sync(_look_at_files, wanted, tools.roots)
    if wanted.found is None:
        raise Standard.CONFIGURATION.error(
            "There is no such workflow",
            f"{namespace}/{name} of version {version} is neither a worker's nor in a file of WORKFLOW_ALLOWED_ROOTS",
            status=404,
        )
    return wanted.found


class _Wanted:
    """The best match so far."""

    def __init__(self, namespace: str, name: str, version: str) -> None:
        self._names = (namespace, name)
        self._version = version
        self._best: tuple[int, ...] = ()
        self.found: Found | None = None

    def look_at(self, text: str, where: Found) -> None:
        """Take a document if it is the one, and newer than what is there already."""
        if self._names[1] not in text:
            return
        version = self._version_in(text)
        if version is None or self._version not in (LATEST, version):
            return
        order = tuple(int(part) if part.isdigit() else 0 for part in version.partition("-")[0].split("."))
        if self.found is None or order > self._best:
            self._best, self.found = order, where

    def _version_in(self, text: str) -> str | None:
        try:
            value: Any = parse(text).plain
        except Unreadable:
            return None
        document: Any = cast("dict[str, Any]", value).get("document") if isinstance(value, dict) else None
        if not isinstance(document, dict):
            return None
        known = cast("dict[str, Any]", document)
        if (known.get("namespace"), known.get("name")) != self._names:
            return None
        return str(known.get("version"))


def _look_at_files(wanted: _Wanted, roots: tuple[Path, ...]) -> None:
    paths = (path for root in roots for path in sorted(root.rglob("*")) if path.suffix in _ENDINGS)
    for path in islice(paths, _MOST_FILES):
        try:
            if path.is_file() and path.stat().st_size <= _MOST_BYTES:
                text = path.read_text("utf-8", "replace")
                wanted.look_at(text, Found(text=text))
        except OSError:
            continue
