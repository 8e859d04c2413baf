"""A program that has jq compile standard input, within limits; what is wrong with it goes to standard output."""

from __future__ import annotations

import resource
import sys
from typing import Final

from jobworkerp_standalone.workflow.expressions.jq_engine import compiled

WRONG: Final = 3
"""Exit code: it does not compile."""
_CPU_SEC: Final = 5
_MEMORY_BYTES: Final = 512 * 1024 * 1024


def main() -> None:
    """Compile."""
    program = sys.stdin.buffer.read().decode()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SEC, _CPU_SEC))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    try:
        compiled(program)
    except ValueError as error:
        sys.stdout.buffer.write(str(error).encode())
        raise SystemExit(WRONG) from None
