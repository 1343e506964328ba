"""Compiles and loads ``device.cpp``, which gives torch a CUDA device; torch must not have been imported before."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

SOURCE = Path(__file__).with_name("device.cpp")


def register_device() -> None:
    """Let torch have a CUDA device.

    The library is compiled at the first use with a version of torch. It registers what torch asks for when it is
    imported; the rest is registered here.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise SystemExit("The simulated GPU needs torch: pip install torch.")
    key = hashlib.sha256(SOURCE.read_bytes() + version("torch").encode()).hexdigest()[:16]
    library = SOURCE.parent / "build" / f"{key}.so"
    if not library.exists():
        _compile(library, Path(spec.origin).parent)
    ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL).register_device()


def _compile(library: Path, torch: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise SystemExit("The simulated GPU needs a C++ compiler: install g++, or name one in CXX.")
    library.parent.mkdir(exist_ok=True)
    partial = library.with_suffix(f".{os.getpid()}")
    command = [compiler, "-shared", "-fPIC", "-std=c++20", f"-I{torch / 'include'}", str(SOURCE), "-o", str(partial)]
    command += [f"-L{torch / 'lib'}", f"-Wl,-rpath,{torch / 'lib'}", "-ltorch_cpu", "-lc10"]
    subprocess.run(command, check=True)
    partial.replace(library)
