"""The command that tells the version."""

from __future__ import annotations

from jobworkerp_standalone import __version__
from jobworkerp_standalone.cli.exits import PROGRAM
from jobworkerp_standalone.cli.groups import alone
from jobworkerp_standalone.cli.show import emit

app = alone()


@app.command()
def version() -> None:
    """Show the version of this program."""
    emit(f"{PROGRAM} {__version__}")
