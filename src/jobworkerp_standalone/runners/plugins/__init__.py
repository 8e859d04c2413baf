"""Plugins: runners in Python that are dropped into a directory, installed as entry points, or created at run time."""
