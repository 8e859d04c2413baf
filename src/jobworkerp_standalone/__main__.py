"""``python -m jobworkerp_standalone``: the command line."""

from jobworkerp_standalone.cli.main import main

main()
