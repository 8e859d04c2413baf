"""Runs inside a worker's environment, not in the daemon: takes scripts from the daemon and runs one after another.

The daemon hands the texts of these modules to the environment's interpreter (`program`), so they may use nothing but
each other and the standard library, of any Python from 3.8 on.

Each script finds what a new interpreter would have: a module ``__main__`` of its own, arguments, environment,
directory, standard streams, signal handlers, import path. Modules that it imported stay for those after it, with
whatever state they have. A script that leaves threads or children behind, or many open files, ends the interpreter in
the ordinary way (threads are waited for, exit functions run), so that its exit code is the script's.
"""
