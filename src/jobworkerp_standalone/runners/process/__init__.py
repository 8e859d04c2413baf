"""Child processes on the event loop: started by posix_spawn, watched by pidfd, stopped with their whole session."""

from jobworkerp_standalone.runners.process.child import Child, Exit, Output
from jobworkerp_standalone.runners.process.launch import CHILDS_EXTRA_FD, Program, launch
from jobworkerp_standalone.runners.process.memory import MemoryWatch
from jobworkerp_standalone.runners.process.text import Utf8Pieces, decode, without_final_line_ending

__all__ = [
    "CHILDS_EXTRA_FD",
    "Child",
    "Exit",
    "MemoryWatch",
    "Output",
    "Program",
    "Utf8Pieces",
    "decode",
    "launch",
    "without_final_line_ending",
]
