"""PYTHON_COMMAND: runs a script in an environment that uv builds.

- `plan` reads a worker's settings, `store` hands out the environment that they ask for; it is built (`builder`, by uv)
  once, for all jobs that wait for it (`shared_build`), and kept on disk (`shelf`).
- `order` reads a job's args. The script runs with an interpreter of its own (`ways`) or, for ``use_static``, with a
  warm one (`interpreter`; `inside` is what runs in it).
- `runner` puts these together, `results` makes the messages.
"""

from jobworkerp_standalone.runners.python.runner import make

__all__ = ["make"]
