"""The whole thing inside somebody's process: ``async with JobWorkerp() as jw: await jw.run("COMMAND", {...})``.

Nothing listens on a port unless asked, nothing is kept unless a file is named, no signal is caught, and nothing is left
behind. The client talks to the daemon over a pair of sockets that only this process has.
"""

from jobworkerp_standalone.embedded.documents import Document
from jobworkerp_standalone.embedded.jobworkerp import JobWorkerp

__all__ = ["Document", "JobWorkerp"]
