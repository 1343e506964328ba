"""Training one block of the supernet on itself (paper §3.2, Eq. 4-5, Fig. 4)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_nasr.errors import NumericalError
from recbole_nasr.nets import Supernet, masked_mean
from recbole_nasr.progress import Progress
from recbole_nasr.rng import derive_seed, generator
from recbole_nasr.search.augmentation import View, make_view
from recbole_nasr.search.objective import distance, path_ensemble_target
from recbole_nasr.search.sequences import SearchSequences
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.space import Path, SearchSpace

_FUSED = ("cpu", "cuda")
"""Devices with a fused AdamW; it never reads a value back to the host."""


class BlockTrainer:
    """Trains one block of a supernet to predict the path-ensemble target (Eq. 4-5); the rest stays as it is.

    Args:
        supernet: Its block ``len(chosen)`` is trained, with block 0 the embedding too.
        chosen: The selected path of every earlier block; those are run once per view, frozen, in eval mode.
        space: Where paths are sampled from.
        settings: How to train.
        seed: Of the path, view and order streams.
    """

    def __init__(
        self, supernet: Supernet, chosen: Sequence[Path], space: SearchSpace, settings: SearchSettings, seed: int
    ) -> None:
        device = supernet.embedding.items.weight.device
        self.supernet, self.chosen, self.space, self.settings = supernet, list(chosen), space, settings
        self.index = len(chosen)
        self.block = supernet.block(self.index)
        self.path_rng = random.Random(derive_seed(seed, f"search/paths/{self.index}"))  # noqa: S311
        self.view_rng = generator(seed, f"search/views/{self.index}", device)
        self.order_rng = generator(seed, f"search/order/{self.index}", device)
        supernet.eval().requires_grad_(requires_grad=False)
        self.modules = list(supernet.trained_with(self.index))
        for module in self.modules:
            module.train().requires_grad_(requires_grad=True)
        parameters = [parameter for module in self.modules for parameter in module.parameters()]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=device.type in _FUSED
        )
        self.schedule = torch.optim.lr_scheduler.StepLR(
            self.optimizer, settings.decay_steps, settings.learning_rate_decay
        )

    def _view(self, item_seq: Tensor, item_seq_len: Tensor) -> View:
        return make_view(
            item_seq,
            item_seq_len,
            names=self.settings.augmentations,
            ratio=self.settings.augmentation_ratio,
            mask_token=self.supernet.mask_token,
            generator=self.view_rng,
        )

    def _project(self, view: View, path: Path) -> Tensor:
        if self.index == 0:
            hidden = self.supernet.prefix(*view, [])
        else:
            with torch.no_grad():
                hidden = self.supernet.prefix(*view, self.chosen)
        projected: Tensor = self.block.projector(masked_mean(self.block(hidden, path), view[1]))
        return projected

    def loss(self, item_seq: Tensor, item_seq_len: Tensor, paths: Sequence[Path]) -> Tensor:
        """Return the mean over ``paths`` of the distance to their ensemble, each with its own view in each branch."""
        with torch.no_grad():
            target = path_ensemble_target(
                torch.stack([self._project(self._view(item_seq, item_seq_len), path) for path in paths])
            )
        distances = [
            distance(self.block.predictor(self._project(self._view(item_seq, item_seq_len), path)), target).mean()
            for path in paths
        ]
        return torch.stack(distances).mean()

    def step(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Sample paths, take one optimiser step, return the loss, detached and still on the device.

        Operations that no sampled path uses keep their weights to the last bit: they have no gradient at all.
        """
        paths = self.space.sample_paths(self.index, self.settings.n_paths, self.path_rng)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(item_seq, item_seq_len, paths)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        return loss.detach()

    def n_steps(self, n_sequences: int) -> int:
        """Return how many steps an epoch has; no batch is one sequence alone, which BatchNorm could not take."""
        return min(math.ceil(n_sequences / self.settings.batch_size), n_sequences // 2)

    def epoch(self, sequences: SearchSequences, progress: Progress) -> float:
        """Go once over all sequences, in random order and near-equal batches; return the mean loss.

        Raises:
            NumericalError: If the loss was not finite.
        """
        n_sequences = sequences.item_seq.size(0)
        order = torch.randperm(n_sequences, generator=self.order_rng, device=sequences.item_seq.device)
        losses = []
        for rows in order.tensor_split(self.n_steps(n_sequences)):
            losses.append(self.step(sequences.item_seq[rows], sequences.item_seq_len[rows]))
            progress.advance()
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            msg = (
                f"The search loss must be finite, but became {mean} in block {self.index}; "
                "lower `search_learning_rate`."
            )
            raise NumericalError(msg)
        return mean
