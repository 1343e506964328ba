"""``NASR``: the hybrid network of one architecture, as a RecBole model.

Reference:
    Mingyue Cheng et al. "Towards Automatic Discovering of Deep Hybrid Network Architecture for Sequential
    Recommendation." in WWW 2022.
"""

from __future__ import annotations

from typing import Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor
from torch.nn import functional as F

from recbole_nasr.checkpoints.reading import CHECKPOINT_VERSION
from recbole_nasr.model.presets import resolve_architecture
from recbole_nasr.model.settings import layer_settings, switch, tied_embeddings
from recbole_nasr.nets import HybridNet
from recbole_nasr.nets.footprint import check_weights
from recbole_nasr.ops import check_own, operations_from
from recbole_nasr.rng import derive_seed
from recbole_nasr.space import Architecture


class NASR(SequentialRecommender):  # type: ignore[misc]  # RecBole has no types
    """A :class:`~recbole_nasr.nets.HybridNet` behind RecBole's model contract.

    The configuration key ``architecture`` says which network it is. Its initial weights depend on ``seed`` and the
    architecture alone, so a network found by a search and the same architecture given by hand start equal.
    """

    input_type = InputType.POINTWISE

    def __init__(self, config: Any, dataset: Any) -> None:
        super().__init__(config, dataset)
        self.config = config
        self.target_list_field = f"{self.ITEM_ID}_target{config['LIST_SUFFIX']}"
        with operations_from(config["ops_module"]):
            self.network = self.build_network(self.initial_architecture())
        self.unaveraged: dict[str, Any] | None = None  # what training goes on from, beside the average
        self.schema_version = CHECKPOINT_VERSION
        self.other_parameter_name = ["unaveraged", "schema_version"]  # RecBole keeps such attributes in checkpoints

    @property
    def architecture(self) -> Architecture:
        """The architecture of the present network."""
        return self.network.architecture

    def initial_architecture(self) -> Architecture:
        """Return what the configuration asks for, and note it there: a file or run that was named may be moved away."""
        architecture = resolve_architecture(self.config["architecture"], self.config)
        self.config["architecture"], self.config["n_layers"] = architecture.to_nested(), len(architecture.layers)
        return architecture

    def build_network(self, architecture: Architecture) -> HybridNet:
        """Return a freshly initialised network of ``architecture``; the global random state is left as it was.

        Raises:
            MemoryLimitError: If its weights alone are more than the device has.
            ArchitectureError: If an operation of the user's own breaks a rule.
        """
        settings, device = layer_settings(self.config), str(self.config["device"])
        sizes = {"n_items": self.n_items, "length": self.max_seq_length}
        tied = tied_embeddings(self.config)
        check_weights(architecture.layers, settings, **sizes, device=device, tied=tied)
        check_own(architecture.layers, settings)
        with torch.random.fork_rng(devices=[]):
            # Weights are drawn on the CPU; torch.manual_seed would also seed, and not restore, every GPU.
            torch.default_generator.manual_seed(derive_seed(self.config["seed"], "retrain/weights"))
            return HybridNet(
                architecture,
                n_items=self.n_items,
                max_length=self.max_seq_length,
                settings=settings,
                final_norm=switch(self.config, "final_norm"),
                tie_embeddings=tied,
            )

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Return the representation of each right-padded sequence ``(B, L)``: ``(B, D)``."""
        return self.network.encode_last(item_seq, item_seq_len)

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Return the mean cross-entropy: at every position, or of the one target of a RecBole row."""
        item_seq, item_seq_len = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        if self.target_list_field in interaction:
            return self.network.loss(item_seq, item_seq_len, interaction[self.target_list_field])
        logits = self.network.output(self(item_seq, item_seq_len))
        return F.cross_entropy(logits, interaction[self.POS_ITEM_ID] - 1)

    def predict(self, interaction: Interaction) -> Tensor:
        """Return the score of each row's ``item_id``, ``(B,)``, without those of other items; padding's is ``-inf``.

        Rows on end with the same history, as RecBole makes them for a case and its sampled items, are one to the
        network.
        """
        items, output = interaction[self.ITEM_ID], self.network.output
        row = (items - 1).clamp_min(0)
        item_seq, item_seq_len = interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]
        first = F.pad((item_seq[1:] != item_seq[:-1]).any(dim=1), (1, 0), value=True)
        hidden = self(item_seq[first], item_seq_len[first])[first.cumsum(0) - 1]
        scores: Tensor = (hidden * output.weight[row]).sum(dim=1) + output.bias[row]
        return scores.masked_fill(items == 0, -torch.inf)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Return the scores of all items, ``(B, n_items)``; padding scores ``-inf``."""
        return self.network.scores(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN])
