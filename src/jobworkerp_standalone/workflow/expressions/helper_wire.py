"""What the daemon, the fork server and the helpers say to each other."""

from __future__ import annotations

import struct
from typing import Final, NamedTuple


class Limits(NamedTuple):
    """What one evaluation may take."""

    seconds: float
    memory_bytes: int
    result_bytes: int


FORK: Final = struct.Struct("<dQQB")
"""An order to the fork server: `Limits`, and the kinds of programs whose engines the helper shall have, a bit each.

The helper's socket and its lifeline come with it.
"""
REQUEST: Final = struct.Struct("<BII")
"""Kind, length of the program, length of the input; both follow as UTF-8."""
REPLY: Final = struct.Struct("<BI")
"""Outcome, length of what follows."""
FRAGMENT: Final = struct.Struct("<BI")
"""Kind, length of the text that follows."""
NUMBER: Final = struct.Struct("<i")
JQ, LIQUID, SCHEMA = range(3)
READY, DONE, FAILED, ENDED = range(4)
"""What follows: the helper's process id; fragments of a value; a message; what `os.waitstatus_to_exitcode` says."""
