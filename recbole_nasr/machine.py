"""Facts about the machine and the installed packages that results may depend on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

import recbole_nasr

_PACKAGES = ("recbole", "torch", "numpy", "scipy", "pandas")


def environment() -> dict[str, Any]:
    """Return versions and machine facts that results may depend on."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
    }


def versions() -> dict[str, str]:
    """Return the installed version of each package that results may depend on."""
    # Our own comes from the package: a checkout need not be installed.
    return {
        "recbole-nasr": recbole_nasr.__version__,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }


def device_name(device: torch.device) -> str:
    """Return the name of the processor that ``device`` stands for."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_memory() -> int:
    """Return the largest resident memory this process had so far, in bytes."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)
