"""Runs a Python program on a simulated CUDA device, to find what would fail on a GPU where there is none.

    python tests/simulated_gpu -m pytest -m gpu tests/gpu
    python tests/simulated_gpu run_nasr.py --model=NASRSearch --dataset=ml --quick --device=cuda

Tensors on the device have their values in CPU tensors and are computed by the CPU, in the same precision, but obey the
rules of a GPU:

- an operation on tensors of different devices is refused, a generator of the other device too
- where waiting is refused (`torch.cuda.set_sync_debug_mode`), whatever waits for the device is
- a CUDA graph does not run what it captures and refuses what cannot be captured; its replay runs the same operations
  on the same memory, whatever has become of the values on the host
- operations without a deterministic kernel are refused where torch is told to be deterministic

It says nothing of speed, memory, several GPUs, Triton, or the kernels themselves.
"""

from __future__ import annotations

import atexit
import os
import runpy
import sys
import traceback
from pathlib import Path

from library import register_device

register_device()  # before anything imports torch

from cuda import simulate  # noqa: E402


def main() -> None:
    """Run the program that the command line names, then end without a clean-up of torch.

    Its threads for the device would ask for Python while that ends, which aborts the process.
    """
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    simulate()
    code = 0
    try:
        _run(sys.argv[1:])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run(words: list[str]) -> None:
    if words[0] == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(words[0]).resolve().parent)
        sys.argv = words
        runpy.run_path(words[0], run_name="__main__")


main()
