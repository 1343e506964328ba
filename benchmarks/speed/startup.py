"""What ``import recbole_nasr`` takes beyond torch and RecBole."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|(\s*)(\S+)")
OTHERS = ("torch", "recbole")


def import_seconds() -> dict[str, float]:
    """Return seconds of ``import torch, recbole_nasr`` in a fresh process: of all, and of what is not theirs.

    Python's ``-X importtime`` says what every import took, and in which other one it happened. What torch and RecBole
    import is theirs, whoever asked first.
    """
    command = [sys.executable, "-X", "importtime", "-c", "import torch, recbole_nasr"]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr  # noqa: S603
    return split(report)


def split(report: str) -> dict[str, float]:
    """Split a report of ``-X importtime`` into what is ours and what is others'.

    Example:
        >>> split('''import time: 20 | 20 |     torch.nn
        ... import time: 30 | 50 |   recbole.config
        ... import time: 40 | 90 | recbole_nasr''')
        {'total_s': 9e-05, 'own_s': 4e-05}
    """
    entries = [(len(spaces) // 2, name, int(total)) for _, total, spaces, name in _LINE.findall(report)]
    total = sum(microseconds for depth, _, microseconds in entries if depth == 0)
    return {"total_s": total / 1e6, "own_s": (total - sum(_of_others(entries))) / 1e6}


def _of_others(entries: list[tuple[int, str, int]]) -> Iterator[int]:
    """Yield the times of the outermost imports of other packages; an import is listed after those inside it."""
    inside: int | None = None  # depth of the one of theirs we are in
    for depth, name, microseconds in reversed(entries):
        if inside is not None and depth > inside:
            continue
        inside = None
        if name.split(".")[0] in OTHERS:
            inside = depth
            yield microseconds
