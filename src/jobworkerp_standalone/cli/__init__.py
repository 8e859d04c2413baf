"""The command line: a file per command group. A group parses, calls (``calls/``) and shows (``show``, ``rows``)."""
