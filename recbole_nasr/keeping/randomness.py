"""The state of all global random generators: Python's, NumPy's and torch's."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the state of all generators, as plain values."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - RecBole draws from it
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore a ``state`` that :func:`random_state` returned, its arrays rebuilt."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002 - as above
    torch.set_rng_state(state["torch"])
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number, one in enumerate(state["cuda"][:n_gpus]):  # the machine may show other GPUs now
        torch.cuda.set_rng_state(one, number)
