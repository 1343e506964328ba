"""A model registered the way other extensions of RecBole do it: names put into RecBole's modules, a Config derived."""

from __future__ import annotations

import sys
from typing import Any

import recbole.data.dataset
import recbole.trainer
import torch
from recbole.config import Config
from recbole.data.dataset import SequentialDataset
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.trainer import Trainer
from recbole.utils import InputType
from torch import Tensor, nn


class Echo(SequentialRecommender):
    """Scores items by how well they fit the last one."""

    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.items = nn.Embedding(self.n_items, config["echo_width"])

    def full_sort_predict(self, interaction: Any) -> Tensor:
        last = self.gather_indexes(self.items(interaction[self.ITEM_SEQ]), interaction[self.ITEM_SEQ_LEN] - 1)
        return last @ self.items.weight.T

    def predict(self, interaction: Any) -> Tensor:
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID][:, None])

    def calculate_loss(self, interaction: Any) -> Tensor:
        return nn.functional.cross_entropy(self.full_sort_predict(interaction), interaction[self.POS_ITEM_ID])


class EchoDataset(SequentialDataset):
    """RecBole finds it by its name."""


class EchoTrainer(Trainer):
    """RecBole finds it by its name."""


class EchoConfig(Config):
    """As RecBole-GNN's, which adds the defaults of its own models."""

    def _load_internal_config_dict(self, model: str, model_class: Any, dataset: str) -> None:
        super()._load_internal_config_dict(model, model_class, dataset)
        self.internal_config_dict["echo_width"] = 4


def register() -> None:
    sys.modules["recbole.model.sequential_recommender.echo"] = sys.modules[__name__]
    recbole.data.dataset.EchoDataset = EchoDataset
    recbole.trainer.EchoTrainer = EchoTrainer
    torch.set_num_threads(1)
