"""What an expression sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from jobworkerp_standalone.frozen import frozen
from jobworkerp_standalone.workflow.expressions.values import JSON


@frozen
class Scope:
    """The value that is ``.`` and the variables, without ``$``. Only variables that an expression names are read."""

    dot: JSON = None
    variables: Mapping[str, JSON] = field(default_factory=dict[str, JSON])
