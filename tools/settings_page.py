"""Writes docs/settings.md from the declared settings; ``--check`` only says whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from jobworkerp_standalone.settings import settings_table

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"
HEAD = """# Settings

Every setting is an environment variable. The options of `jobworkerp all-in-one` come before variables, variables before
a `.env` file (the nearest one, looking from the working directory upwards). Values are trimmed, choices may be written
in any case, an empty variable counts as unset, and all mistakes are reported at once before anything starts.
The table is made from the code (`python tools/settings_page.py`).

| Variable | Default | Meaning |
| --- | --- | --- |
"""
TAIL = """
The command-line client reads `JOBWORKERP_ADDR` (server), `JOBWORKERP_AUTH_TOKEN` (the server's `AUTH_TOKEN`),
`SESSION_ID`, `USER_ID` and `NO_COLOR`; see `jobworkerp --help`.
"""


def page() -> str:
    """Return the page."""
    rows = (
        f"| {', '.join(f'`{name}`' for name in row.names)} | {f'`{row.default}`' if row.default else ''} | {row.help} |"
        for row in settings_table()
    )
    return HEAD + "\n".join(rows) + "\n" + TAIL


def main() -> int:
    """Write or check the page."""
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
        print("docs/settings.md is not up to date: run python tools/settings_page.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
