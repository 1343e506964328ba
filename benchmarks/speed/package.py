"""The package's own model and trainer, at any size, without a data set."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from recbole.config import Config
from torch import Tensor

from benchmarks.speed.shapes import Shape
from recbole_nasr.model.nasr import NASR
from recbole_nasr.nets import HybridNet
from recbole_nasr.trainer.retraining import NASRTrainer


def package_config(shape: Shape, device: torch.device, **settings: Any) -> Config:
    """Return RecBole's configuration of a ``NASR`` of this size."""
    given = {
        "architecture": str(shape.architecture()),
        "n_layers": shape.n_blocks * shape.layers_per_block,
        "n_blocks": shape.n_blocks,
        "hidden_size": shape.hidden_size,
        "hidden_dropout_prob": shape.dropout_prob,
        "MAX_ITEM_LIST_LENGTH": shape.length,
        "train_batch_size": shape.batch_size,
        "weight_average_decay": 0,
        "state": "ERROR",
        "gpu_id": "" if device.type == "cpu" else str(device.index or 0),
    }
    return Config("NASR", "ml-100k", config_dict={**given, **settings})


def package_trainer(shape: Shape, network: HybridNet, device: torch.device, **settings: Any) -> NASRTrainer:
    """Return the package's trainer of a copy of ``network``."""
    config = package_config(shape, device, **settings)
    model = NASR(config, SimpleNamespace(num=lambda _field: shape.n_items + 1)).to(device)
    model.network = copy.deepcopy(network)
    return NASRTrainer(config, model)


def package_step(trainer: NASRTrainer, batch: Sequence[Tensor]) -> Tensor:
    """Take one step of the retraining as the package does: captured, compiled and in the precision of its device."""
    n_targets = (batch[2] > 0).sum()
    with trainer.speed.acceleration.products():
        return trainer.speed.step(trainer.train_step, trainer.optimizer, *batch, n_targets)


@dataclass
class CaseLoader:
    """Evaluation cases that look like RecBole's full-sort loader, as far as the package reads one.

    Args:
        item_seq: ``(N, L)`` histories.
        item_seq_len: ``(N,)`` lengths.
        targets: ``(N,)`` items to rank.
        step: Cases of a batch.
    """

    item_seq: Tensor
    item_seq_len: Tensor
    targets: Tensor
    step: int
    iid_field: str = "item_id"

    @property
    def _dataset(self) -> CaseLoader:
        return self

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, rows: slice) -> dict[str, Tensor]:
        return {
            "item_id_list": self.item_seq[rows],
            "item_length": self.item_seq_len[rows],
            "item_id": self.targets[rows],
        }

    def transform(self, _dataset: object, cases: dict[str, Tensor]) -> Any:
        """Return a batch that can be moved to a device."""
        from recbole.data.interaction import Interaction

        return Interaction(cases)
