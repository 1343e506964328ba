"""Training one block of the supernet, whatever it is trained towards (paper §3.2, Eq. 4-5, Fig. 4)."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_nasr.errors import NumericalError
from recbole_nasr.nets import Supernet
from recbole_nasr.nets.fused import FUSED_DEVICES
from recbole_nasr.progress import Progress, open_progress
from recbole_nasr.rng import derive_seed, generator
from recbole_nasr.search.objective import Objective, Prefix
from recbole_nasr.search.sampling import PathSampler
from recbole_nasr.search.sequences import SearchSequences
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.space import SearchSpace


class BlockTrainer:
    """Trains one block of a supernet on paths sampled anew every step; earlier blocks stay as they are.

    Args:
        supernet: Its block after ``prefixes`` is trained, with block 0 the embedding too.
        prefixes: The selected paths of the earlier blocks, frozen and in eval mode; several take turns.
        space: Where paths are sampled from.
        settings: How to train.
        seed: Of the path and order streams.
        objective: What to train towards.
    """

    def __init__(
        self,
        supernet: Supernet,
        prefixes: Sequence[Prefix],
        space: SearchSpace,
        settings: SearchSettings,
        seed: int,
        objective: Objective,
    ) -> None:
        device = supernet.embedding.items.weight.device
        self.supernet, self.prefixes, self.settings, self.objective = supernet, list(prefixes), settings, objective
        self.index = len(prefixes[0])
        path_rng = random.Random(derive_seed(seed, f"search/paths/{self.index}"))  # noqa: S311
        self.sampler = PathSampler(space, self.index, settings.path_sampling, path_rng)
        self.order_rng = generator(seed, f"search/order/{self.index}", device)
        self.n_taken = 0
        supernet.eval().requires_grad_(requires_grad=False)
        modules = list(supernet.trained_with(self.index))
        for module in modules:
            module.train().requires_grad_(requires_grad=True)
        objective.start(self.index)
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimizer = torch.optim.AdamW(
            parameters,
            lr=settings.learning_rate,
            weight_decay=settings.weight_decay,
            fused=device.type in FUSED_DEVICES,
        )
        self.schedule = torch.optim.lr_scheduler.StepLR(
            self.optimizer, settings.decay_steps, settings.learning_rate_decay
        )

    def step(self, item_seq: Tensor, item_seq_len: Tensor, rows: Tensor | None = None) -> Tensor:
        """Sample paths, take one optimiser step, return the loss, detached and still on the device.

        Operations that no sampled path uses keep their weights to the last bit: they have no gradient at all.

        Args:
            item_seq: ``(B, L)`` item ids, right-padded.
            item_seq_len: ``(B,)`` lengths.
            rows: ``(B,)`` which of the sequences given to :meth:`train` they are, if they are any of them.
        """
        paths = self.sampler.draw(self.settings.n_paths)
        prefix = self.prefixes[self.n_taken % len(self.prefixes)]
        self.n_taken += 1
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.objective.loss(item_seq, item_seq_len, prefix, paths, rows)
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.schedule.step()
        self.objective.after_step()
        return loss.detach()

    def n_steps(self, n_sequences: int) -> int:
        """Return how many steps an epoch has; no batch is one sequence alone, which BatchNorm could not take."""
        return min(math.ceil(n_sequences / self.settings.batch_size), n_sequences // 2)

    def n_epochs(self, n_sequences: int) -> int:
        """Return how many epochs are run: as many as set, and enough of them for the least number of steps."""
        return max(self.settings.epochs, math.ceil(self.settings.min_steps / self.n_steps(n_sequences)))

    def train(self, sequences: SearchSequences, label: str) -> tuple[float, ...]:
        """Train for all epochs, shown as ``label``; return the mean loss of each.

        Raises:
            NumericalError: If a loss was not finite.
        """
        n_sequences = sequences.item_seq.size(0)
        n_epochs = self.n_epochs(n_sequences)
        self.objective.train_on(sequences, self.prefixes)
        with open_progress(n_epochs * self.n_steps(n_sequences), label) as progress:
            return tuple(self.epoch(sequences, progress) for _ in range(n_epochs))

    def epoch(self, sequences: SearchSequences, progress: Progress) -> float:
        """Go once over all sequences, in random order and near-equal batches; return the mean loss.

        Raises:
            NumericalError: If the loss was not finite.
        """
        n_sequences = sequences.item_seq.size(0)
        order = torch.randperm(n_sequences, generator=self.order_rng, device=sequences.item_seq.device)
        losses = []
        for rows in order.tensor_split(self.n_steps(n_sequences)):
            losses.append(self.step(sequences.item_seq[rows], sequences.item_seq_len[rows], rows))
            progress.advance()
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            msg = (
                f"The search loss must be finite, but became {mean} in block {self.index}; "
                "lower `search_learning_rate`."
            )
            raise NumericalError(msg)
        return mean
