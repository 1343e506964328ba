"""RecBole's quick start, importable without ray.

``from recbole_nasr.quick_start import run_recbole`` repairs and registers first, then hands out RecBole's own
functions, unchanged but for the reading of checkpoints (see `recbole_nasr.compat`).
"""

from __future__ import annotations

from typing import Any

from recbole.quick_start.quick_start import load_data_and_model, objective_function, run, run_recbole
from recbole.quick_start.quick_start import run_recboles as _recbole_run_recboles

__all__ = ["load_data_and_model", "objective_function", "run", "run_recbole", "run_recboles"]


def run_recboles(rank: int, *args: Any) -> Any:
    """Run RecBole's worker of one GPU.

    `run` hands this function to spawned processes by its name; that the name lies in this package makes them
    import it, and thereby the repairs and models, before anything else.

    Args:
        rank: Number of the process on this machine.
        args: As RecBole's own `run_recboles` takes them.
    """
    return _recbole_run_recboles(rank, *args)
