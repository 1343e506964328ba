"""The command line as a shell starts it: help and versions are shown at once, without the seconds that RecBole takes.

Nothing but the standard library is imported at the top: the package itself asks here whether RecBole is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import PurePath

PROGRAMS = ("recbole-nasr", "run_nasr")
"""What the program is called, once installed and in a checkout; see ``pyproject.toml``."""

_TEXTS: tuple[list[str], ...] = (["--help"], ["-h"], ["--version"])
"""Not that of no word, with which a script of somebody's own may have the same name."""


def asks_for_text(argv: Sequence[str]) -> bool:
    """Return whether a process is this program, called for its help or its versions alone.

    Example:
        >>> asks_for_text(["/bin/recbole-nasr", "--help"]), asks_for_text(["mine.py", "--help"])
        (True, False)
    """
    return bool(argv) and PurePath(argv[0]).stem in PROGRAMS and list(argv[1:]) in _TEXTS


def main() -> int:
    """Run the command of this process; return its exit code, as :func:`recbole_nasr.commands.cli.main` does."""
    if not asks_for_text(sys.argv):
        from recbole_nasr.commands import cli

        return cli.main()
    from recbole_nasr.commands.help import help_text, version_text
    from recbole_nasr.console import accept_any_character, show

    accept_any_character()
    show(version_text() if "--version" in sys.argv else help_text())
    return 0
