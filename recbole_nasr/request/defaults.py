"""Settings that the command line gives to every model of a comparison, ours and RecBole's alike."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from recbole_nasr.compat.devices import VISIBLE
from recbole_nasr.errors import ConfigError

EVALUATION: dict[str, Any] = {
    "metrics": ["NDCG", "Recall"],
    "topk": [10, 20],
    "metric_decimal_place": 8,  # RecBole rounds before it compares epochs; 8 places are as good as unrounded
}
"""How all models are measured, unless the user says otherwise."""

_QUICK_NETWORK = {"n_layers": 4, "n_blocks": 2, "epochs": 4, "learning_rate": 0.003}

QUICK: dict[str, dict[str, Any]] = {
    "NASRSearch": {**_QUICK_NETWORK, "search_epochs": 1, "search_min_steps": 0},
    "NASR": _QUICK_NETWORK,
    "other models": {"epochs": 1},
}
"""What ``--quick`` changes: a first look, not a result."""

QUICK_BASELINES = {"SASRec-1": "sasrec-1", "NextItNet-1": "nextitnet-1", "Random": "random"}
"""What ``--quick`` trains beside a search, in the same recipe: names as in the paper, and their architectures."""


def quick_settings(model: str) -> dict[str, Any]:
    """Return the part of :data:`QUICK` that is for ``model``."""
    return QUICK.get(model, QUICK["other models"])


def full_softmax(model: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what RecBole's own models need to train with cross-entropy over all items.

    RecBole refuses ``loss_type: CE``, its default for most sequential models, together with negative
    sampling, also its default.
    """
    from recbole.utils import get_model  # help shows what is above without RecBole

    from recbole_nasr.configuration.keys import recbole_settings

    if "train_neg_sample_args" in settings or hasattr(get_model(model), "input_type"):
        return {}
    loss = settings.get("loss_type") or recbole_settings(model).get("loss_type")
    return {"train_neg_sample_args": None} if loss == "CE" else {}


def device_settings(device: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Turn ``--device`` into RecBole's ``gpu_id`` and ``use_gpu``.

    Args:
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.
        settings: What the user set.

    Raises:
        ConfigError: If a GPU is asked for where there is none, or ``device`` contradicts ``use_gpu``.
    """
    import torch

    asked = [f"--device={device}"] if device == "cuda" else []
    asked += ["use_gpu=True"] if settings.get("use_gpu") else []
    asked += [f"gpu_id={settings['gpu_id']}"] if str(settings.get("gpu_id", "")) else []
    if device == "cpu":
        if settings.get("use_gpu"):
            msg = "`device` is cpu, but `use_gpu` is True; drop one of the two."
            raise ConfigError(msg)
        return {"gpu_id": "", "use_gpu": False}
    if settings.get("use_gpu") is False:
        if device == "cuda":
            msg = "`device` is cuda, but `use_gpu` is False; drop one of the two."
            raise ConfigError(msg)
        return {"gpu_id": "", "use_gpu": False}
    if str(settings.get("gpu_id", "")):
        # As RecBole does, but before torch is asked for GPUs: from then on others cannot be shown to this process.
        os.environ[VISIBLE] = str(settings["gpu_id"])
    if asked and not torch.cuda.is_available():
        msg = f"{asked[0]} asks for a GPU, but torch {torch.__version__} sees none here; use --device=cpu."
        raise ConfigError(msg)
    return {"gpu_id": str(settings["gpu_id"])} if "gpu_id" in settings else {}
