"""A job-worker daemon in one process: workers, jobs and results, over gRPC, from the command line or embedded."""

__version__ = "0.1.0"
