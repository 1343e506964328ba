"""What ``import recbole_nasr`` takes beyond torch and RecBole."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator

_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \|(\s*)(\S+)")
OTHERS = ("torch", "recbole")


REPEATS = 3


def import_seconds() -> dict[str, float]:
    """Return processor seconds of ``import torch, recbole_nasr`` in a fresh process: of all, and of what is ours.

    Python's ``-X importtime`` says what every import took, and in which other one it happened. What torch and RecBole
    import is theirs, whoever asked first. Its clock runs while other work has the processor, so only the share of ours
    is taken from it, the median of three processes.
    """
    found = sorted((_once() for _ in range(REPEATS)), key=lambda one: one["own_s"])
    return found[REPEATS // 2]


def _once() -> dict[str, float]:
    command = [sys.executable, "-X", "importtime", "-c", "import torch, recbole_nasr"]
    before = os.times()
    report = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    parts = split(report)
    return {"total_s": used, "own_s": used * parts["own_s"] / parts["total_s"]}


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
