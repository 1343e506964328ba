"""Facts about the machine and the installed packages that results may depend on."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import recbole_nasr

if TYPE_CHECKING:
    import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)

_PACKAGES = ("recbole", "torch", "numpy", "scipy", "pandas")


def environment() -> dict[str, Any]:
    """Return versions and machine facts that results may depend on."""
    import torch  # not above: help shows versions without it

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


def packages_text(environments: Sequence[Mapping[str, Any]]) -> str:
    """Return the versions of packages that runs were made with, of this process where there is no run yet.

    Args:
        environments: From :func:`environment`, as the records of the runs have kept it; that of a
            stranger may lack anything.
    """
    found: dict[str, dict[str, None]] = {}
    for kept in environments or [environment()]:
        packages = kept.get("packages")
        for name, version in packages.items() if isinstance(packages, dict) else ():
            found.setdefault(name, {})[str(version)] = None
    return ", ".join(f"{name} {' and '.join(versions)}" for name, versions in found.items()) or "packages unknown"


def device_name(device: torch.device) -> str:
    """Return the name of the processor that ``device`` stands for."""
    import torch

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


def peak_gpu_memory() -> dict[str, int]:
    """Return the most that torch had on the present GPU so far, as a line for a record; empty where it used none."""
    import torch

    if not torch.cuda.is_initialized():
        return {}
    return {"peak_gpu_memory_bytes": torch.cuda.max_memory_allocated()}


def program_words() -> list[str]:
    """Return how this program was called, as words: such a command works again in the same folder.

    That is ``python run_nasr.py`` with the path that was named, ``python -m recbole_nasr``, or ``recbole-nasr``.
    """
    script = Path(sys.argv[0])
    if script.stem == "recbole-nasr":
        return ["recbole-nasr"]
    if script.parts[-2:] == ("recbole_nasr", "__main__.py"):
        return ["python", "-m", "recbole_nasr"]
    return ["python", sys.argv[0] if script.name == "run_nasr.py" else "run_nasr.py"]


def program() -> str:
    """Return `program_words` as text for a shell."""
    return shlex.join(program_words())


def keep_freed_memory() -> bool:
    """Let this process keep large freed blocks instead of returning each to the system; glibc on Linux only.

    Every training step on a CPU frees and takes the same few hundred megabytes. By default glibc maps each large block
    afresh, and clearing its pages costs a third of the step. The process then keeps its peak memory until it ends, so
    the command line does this and the library does not.

    Returns:
        Whether it could be done.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    largest = (1 << 31) - 1
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, largest))
