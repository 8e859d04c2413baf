"""What is told about a runner kind, to clients and to jobs that start others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobworkerp_standalone.jobs.model import DEFAULT_METHOD, OutputType


@dataclass(frozen=True, slots=True)
class Method:
    """One thing a runner can do, with its schemas as self-contained proto texts (root message first)."""

    name: str = DEFAULT_METHOD
    args_proto: str = ""
    result_proto: str = ""
    """Empty: the result is plain bytes."""
    description: str = ""
    output_type: OutputType = OutputType.NON_STREAMING
    require_client_stream: bool = False
    client_stream_data_proto: str = ""


@dataclass(frozen=True, slots=True)
class RunnerDescription:
    """A runner kind: identity and schemas."""

    id: int
    type: int
    """Number of ``RunnerType``; not always one that this program's enum knows."""
    name: str
    description: str
    definition: str
    settings_proto: str = ""
    """Empty: settings are not looked at."""
    methods: Mapping[str, Method] = field(default_factory=dict[str, Method])
    default_method: str = DEFAULT_METHOD
    """What a job without ``using`` runs."""
    created_at_ms: int = 0

    def method(self, using: str | None) -> Method | None:
        """Return the method that ``using`` names; for a kind with the one method ``run`` any name means it."""
        if using and using in self.methods:
            return self.methods[using]
        if not using or set(self.methods) == {DEFAULT_METHOD}:
            return self.methods.get(self.default_method)
        return None

    @property
    def output_type(self) -> OutputType:
        """Return how the default method answers."""
        method = self.methods.get(self.default_method)
        return method.output_type if method else OutputType.NON_STREAMING
