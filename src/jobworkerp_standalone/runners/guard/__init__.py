"""What ends the programs of a process that was killed: a small process beside it, connected by a pipe.

Nothing is imported here: `main` is a program that starts with the standard library alone.
"""
