"""Architecture search for sequential recommendation, inside RecBole.

Import this package before RecBole: it repairs RecBole for the installed stack and registers the models
``NASR`` and ``NASRSearch``, after which RecBole's own functions work unchanged.

Example:
    >>> import recbole_nasr
    >>> from recbole.quick_start import run_recbole
    >>> result = run_recbole(model="NASRSearch", dataset="ml")  # doctest: +SKIP

Public here are :func:`load` (a finished run, to recommend with), :class:`Architecture` and :class:`HybridNet` (the
network of one, in plain PyTorch). The algorithm is in the subpackages ``ops``, ``space``, ``nets`` and ``search``,
which know nothing of RecBole; ``docs/python.md`` shows all of it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from recbole_nasr.start import asks_for_text, interruptible_imports

# torch reads this once, at the first product on a GPU, and without it refuses all products of a reproducible run.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# `python -m recbole_nasr.doctor` must start where RecBole does not; it takes these two steps itself. Help needs none.
if not (any(word.endswith("recbole_nasr.doctor") for word in sys.orig_argv) or asks_for_text(sys.argv)):
    with interruptible_imports():
        from recbole_nasr import compat

        compat.apply()

        from recbole_nasr.registration import register  # RecBole imports only once it is repaired

        register()

if TYPE_CHECKING:
    from recbole_nasr.nets.hybrid import HybridNet
    from recbole_nasr.serving.recommender import load
    from recbole_nasr.space.architecture import Architecture

__version__ = "0.1.0"
__all__ = ["Architecture", "HybridNet", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import the public classes and functions on first use."""
    if name == "Architecture":
        from recbole_nasr.space.architecture import Architecture

        return Architecture
    if name == "HybridNet":
        from recbole_nasr.nets.hybrid import HybridNet

        return HybridNet
    if name == "load":
        from recbole_nasr.serving.recommender import load

        return load
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    """Return what can be asked for, the names that are imported on first use included."""
    return sorted({*globals(), *__all__})
