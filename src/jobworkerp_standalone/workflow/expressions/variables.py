"""The variables that expressions see, made only when an expression names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Final

from jobworkerp_standalone.workflow.expressions.values import JSON

_SECRETS: Final = "secrets."


class Variables(Mapping[str, JSON]):
    """Built-ins before loop and error variables before those that the workflow set.

    Args:
        built_in: makes the value of each built-in name when it is first asked for.
        local: loop items and caught errors.
        shared: what ``set``, ``export`` and the run's context gave.
    """

    def __init__(
        self, built_in: Mapping[str, Callable[[], JSON]], local: Mapping[str, JSON], shared: Mapping[str, JSON]
    ) -> None:
        self._built_in = built_in
        self._layers = (local, shared)
        self._made: dict[str, JSON] = {}

    def __getitem__(self, name: str) -> JSON:
        if name in self._made:
            return self._made[name]
        make = self._built_in.get(name)
        if make is not None:
            value = self._made[name] = make()
            return value
        for layer in self._layers:
            if name in layer:
                return layer[name]
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or any(name in layer for layer in self._layers)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._built_in, *self._layers[0], *self._layers[1])))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def secret_names(names: frozenset[str]) -> frozenset[str]:
    """Return the secrets that a template names, by its ``names``."""
    return frozenset(name.removeprefix(_SECRETS) for name in names if name.startswith(_SECRETS))


def moment(at: datetime) -> tuple[JSON, str]:
    """Return a time as the DSL has it (``startedAt``) and as the reference does (``started_at``)."""
    text = at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    milliseconds = round(at.timestamp() * 1000)
    seconds = milliseconds // 1000
    return {"iso8601": text, "epoch": {"seconds": seconds, "milliseconds": milliseconds}}, text


def workflow_value(run_id: str, definition: JSON, given: JSON, started_at: datetime) -> JSON:
    """Return ``$workflow``."""
    dsl, reference = moment(started_at)
    return {"id": run_id, "definition": definition, "input": given, "startedAt": dsl, "started_at": reference}


def task_value(name: str, reference: str, definition: JSON, data: Mapping[str, JSON], started_at: datetime) -> JSON:
    """Return ``$task``; ``data`` holds ``raw_input``, ``raw_output``, ``input`` and ``output``, as far as known."""
    dsl, text = moment(started_at)
    known = {"name": name, "reference": reference, "definition": definition}
    return {**known, **data, "startedAt": dsl, "started_at": text}


def runtime_value(name: str, version: str, metadata: JSON) -> JSON:
    """Return ``$runtime``."""
    return {"name": name, "version": version, "metadata": metadata}
