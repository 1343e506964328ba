"""The command line as a shell starts it: help and versions are shown at once, without the seconds that RecBole takes.

Nothing but the standard library is imported at the top: the package itself asks here whether RecBole is needed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePath

PROGRAMS = ("recbole-nasr", "run_nasr")
"""What the program is called, once installed and in a checkout; see ``pyproject.toml``."""

_TEXTS: tuple[list[str], ...] = (["--help"], ["-h"], ["--version"])
"""Not that of no word, with which a script of somebody's own may have the same name."""


def _is_this_program(argv: Sequence[str]) -> bool:
    return bool(argv) and PurePath(argv[0]).stem in PROGRAMS


def asks_for_text(argv: Sequence[str]) -> bool:
    """Return whether a process is this program, called for its help or its versions alone.

    Example:
        >>> asks_for_text(["/bin/recbole-nasr", "--help"]), asks_for_text(["mine.py", "--help"])
        (True, False)
    """
    return _is_this_program(argv) and list(argv[1:]) in _TEXTS


@contextmanager
def interruptible_imports() -> Iterator[None]:
    """Let Ctrl-C end this program with one line while torch and RecBole are imported, which takes seconds.

    Other programs that import this package get the `KeyboardInterrupt`; the command line says more, once it is there.
    """
    try:
        yield
    except KeyboardInterrupt:
        if not (_is_this_program(sys.argv) or sys.orig_argv[1:3] == ["-m", "recbole_nasr"]):
            raise
        sys.stderr.write("error: interrupted.\n")
        raise SystemExit(130) from None


def main() -> int:
    """Run the command of this process; return its exit code, as :func:`recbole_nasr.commands.cli.main` does."""
    if not asks_for_text(sys.argv):
        with interruptible_imports():
            from recbole_nasr.commands import cli

        return cli.main()
    from recbole_nasr.commands.help import help_text, version_text
    from recbole_nasr.console import accept_any_character, show

    accept_any_character()
    show(version_text() if "--version" in sys.argv else help_text())
    return 0
