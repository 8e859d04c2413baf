"""Whether jq compiles a text, found out where it can do no harm.

jq takes a millisecond for a short text, minutes for some that are long, and works out constants such as
``"x" * 1000000`` when it compiles; nothing else runs meanwhile.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Final

from jobworkerp_standalone.workflow.expressions.jq_check_main import WRONG
from jobworkerp_standalone.workflow.expressions.jq_engine import compiled
from jobworkerp_standalone.workflow.expressions.jq_tokens import Kind, Token

SHORT: Final = 256
"""As many words compile within milliseconds, whatever they are."""
_START: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    "from jobworkerp_standalone.workflow.expressions.jq_check_main import main; main()"
)
_TOO_MUCH: Final = "jq takes too much time or memory to compile it"


def is_quick(tokens: list[Token]) -> bool:
    """Tell whether jq compiles it at once: a short text that repeats no other."""
    repeats = any(token.text in ("*", "*=") for token in tokens) and any(token.kind is Kind.QUOTE for token in tokens)
    return len(tokens) <= SHORT and not repeats


def mistake_in(program: str, *, quick: bool) -> str | None:
    """Return jq's message where a program does not compile; a program that is not quick is compiled by a process."""
    if not quick:
        return _mistake_elsewhere(program)
    try:
        compiled(program)
    except ValueError as error:
        return str(error)
    return None


def _mistake_elsewhere(program: str) -> str | None:
    ended = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _START, json.dumps(sys.path)],
        input=program.encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        check=False,
    )
    if ended.returncode == WRONG:
        return ended.stdout.decode(errors="replace")
    return None if ended.returncode == 0 else _TOO_MUCH
