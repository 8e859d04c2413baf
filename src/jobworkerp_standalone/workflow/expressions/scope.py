"""What an expression sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobworkerp_standalone.workflow.expressions.values import JSON


@dataclass(frozen=True, slots=True)
class Scope:
    """The value that is ``.`` and the variables, without ``$``. Only variables that an expression names are read."""

    dot: JSON = None
    variables: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
