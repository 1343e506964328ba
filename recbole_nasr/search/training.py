"""Training one block of the supernet, whatever it is trained towards (paper §3.2, Eq. 4-5, Fig. 4)."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from recbole_nasr import distributed
from recbole_nasr.keeping import Keeper
from recbole_nasr.nets import Supernet
from recbole_nasr.nets.fused import FUSED_DEVICES
from recbole_nasr.nets.losses import LossWatch, check_weights_finite, finite_mean
from recbole_nasr.progress import Progress, open_progress
from recbole_nasr.rng import derive_seed, generator
from recbole_nasr.search.dealt_steps import TOO_FEW_USED, DealtSteps, can_deal
from recbole_nasr.search.gradients import StepGradients
from recbole_nasr.search.objective import Objective, Prefix
from recbole_nasr.search.sampling import PathSampler
from recbole_nasr.search.sequences import SearchSequences
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.search.skipping import StepDecay
from recbole_nasr.space import Path, SearchSpace

_LOG = logging.getLogger("recbole_nasr")


class BlockTrainer:
    """Trains one block of a supernet on paths sampled anew every step; earlier blocks stay as they are.

    Args:
        supernet: Its block after ``prefixes`` is trained, with block 0 the embedding too.
        prefixes: The selected paths of the earlier blocks, frozen and in eval mode; several take turns.
        space: Where paths are sampled from.
        settings: How to train.
        seed: Of the path and order streams.
        objective: What to train towards.

    Attributes:
        losses: Mean loss of each finished epoch.
        gradients: Of the steps that are not dealt.
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
        self.index, self.seed = len(prefixes[0]), seed
        path_rng = random.Random(derive_seed(seed, f"search/paths/{self.index}"))
        self.sampler = PathSampler(space, self.index, settings.path_sampling, path_rng)
        self.order_rng = generator(seed, f"search/order/{self.index}", device)
        self.n_taken, self._watch = 0, LossWatch()
        self.losses: list[float] = []
        self._step_losses: list[Tensor] = []  # of the epoch in progress
        self._order_state = self.order_rng.get_state()  # before the order of that epoch was drawn
        supernet.eval().requires_grad_(requires_grad=False)
        modules = list(supernet.trained_with(self.index))
        for module in modules:
            module.train().requires_grad_(requires_grad=True)
        objective.start(self.index)
        parameters = self.parameters = [parameter for module in modules for parameter in module.parameters()]
        self.gradients = StepGradients(objective, supernet.block(self.index), device)
        self.dealt: DealtSteps | None = None
        n_ops = len(space.operations)
        if can_deal(objective.acceleration, settings, n_ops):
            self.dealt = DealtSteps(supernet, self.index, objective, settings, parameters)
        elif objective.acceleration.graphs:
            _LOG.info(TOO_FEW_USED, n_ops, settings.n_paths)
        self.optimizer = _adamw(parameters, settings, device) if self.dealt is None else self.dealt.optimizer
        self.schedule = StepDecay(self.optimizer, settings.decay_steps, settings.learning_rate_decay)

    def step(self, item_seq: Tensor, item_seq_len: Tensor, rows: Tensor | None = None) -> Tensor:
        """Sample paths, take one optimiser step, return the loss, detached and still on the device.

        Operations that no sampled path uses keep their weights to the last bit: they have no gradient at all. Several
        processes, all given the same rows, take the step together: each computes a share of it.

        Args:
            item_seq: ``(B, L)`` item ids, right-padded.
            item_seq_len: ``(B,)`` lengths.
            rows: ``(B,)`` which of the sequences given to :meth:`train` they are, if they are any of them.
        """
        if distributed.rank():
            # Other rows of a batch, other units dropped; a stream a step, so that none is to be kept.
            stream = f"search/dropout/process-{distributed.rank()}/{self.index}/{self.n_taken}"
            torch.manual_seed(derive_seed(self.seed, stream))
        paths = self.sampler.draw(self.settings.n_paths)
        prefix = self.prefixes[self.n_taken % len(self.prefixes)]
        self.n_taken += 1
        if self.dealt is not None and rows is not None:
            loss = self.dealt.take(item_seq, item_seq_len, rows, prefix, paths)
            self.schedule.step()
            return loss
        loss = self.gradients.compute(self.optimizer, item_seq, item_seq_len, prefix, paths, rows)
        distributed.add_up_gradients(self._trained_with(self.objective.trained_paths(paths, item_seq.size(0))))
        self.optimizer.step()
        self.schedule.step()
        self.objective.after_step()
        return distributed.total(loss)

    def _trained_with(self, paths: Sequence[Path]) -> list[nn.Parameter]:
        """Return the parameters that get a gradient from ``paths``, in an order that all processes share."""
        layers = self.supernet.block(self.index).layers
        unused = {
            id(parameter)
            for depth, layer in enumerate(layers)
            for op, operation in enumerate(layer.children())
            if all(path[depth] != op for path in paths)
            for parameter in operation.parameters()
        }
        return [parameter for parameter in self.parameters if id(parameter) not in unused]

    def n_steps(self, n_sequences: int) -> int:
        """Return how many steps an epoch has; no batch is one sequence alone, which BatchNorm could not take."""
        return min(math.ceil(n_sequences / self.settings.batch_size), n_sequences // 2)

    def n_epochs(self, n_sequences: int) -> int:
        """Return how many epochs are run: as many as set, and enough of them for the least number of steps."""
        return max(self.settings.epochs, math.ceil(self.settings.min_steps / self.n_steps(n_sequences)))

    def train(self, sequences: SearchSequences, label: str, keeper: Keeper | None = None) -> tuple[float, ...]:
        """Train for all epochs that are left, shown as ``label``; return the mean loss of each.

        Args:
            sequences: To train on.
            label: What it is called on the screen.
            keeper: To come by after every step.

        Raises:
            NumericalError: If a loss was not finite.
        """
        n_sequences = sequences.item_seq.size(0)
        self.objective.train_on(sequences, self.prefixes)
        n_epochs, n_steps = self.n_epochs(n_sequences), self.n_steps(n_sequences)
        keeper = keeper or Keeper()
        with open_progress(n_epochs * n_steps, label) as progress, keeper.steps():
            progress.advance(len(self.losses) * n_steps + len(self._step_losses))
            while len(self.losses) < n_epochs:
                progress.advance(0, loss=f"{self.epoch(sequences, progress, keeper):.4f}")
        return tuple(self.losses)

    def epoch(self, sequences: SearchSequences, progress: Progress, keeper: Keeper | None = None) -> float:
        """Go once over all sequences, in random order and near-equal batches; return the mean loss.

        An epoch that was interrupted goes on where it was.

        Raises:
            NumericalError: If the loss was not finite.
        """
        n_sequences = sequences.item_seq.size(0)
        self._order_state = self.order_rng.get_state()
        order = torch.randperm(n_sequences, generator=self.order_rng, device=sequences.item_seq.device)
        batches = order.tensor_split(self.n_steps(n_sequences))
        for rows in batches[len(self._step_losses) :]:
            self._step_losses.append(self.step(sequences.item_seq[rows], sequences.item_seq_len[rows], rows))
            progress.advance()
            if self._watch.see(self._step_losses[-1]):
                break  # the mean says so below
            if keeper is not None:
                keeper.step()
        mean = self._mean_loss()
        self._check_weights()
        self.losses.append(mean)
        self._step_losses = []
        return self.losses[-1]

    def state(self) -> dict[str, Any]:
        """Return all that decides how the training goes on, but for the weights of the supernet.

        Raises:
            NumericalError: If a loss or a weight is not finite: such a state is not worth keeping.
        """
        self._mean_loss()
        self._check_weights()
        return {
            "losses": self.losses,
            "step_losses": self._step_losses,
            "order": self._order_state,
            "n_taken": self.n_taken,
            "sampler": self.sampler.state(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "objective": self.objective.state(),
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Go on from :meth:`state`, if there is one; the supernet has the weights that belong to it."""
        if state is None:
            return
        device = self.supernet.embedding.items.weight.device
        self.losses, self.n_taken = list(state["losses"]), state["n_taken"]
        self._step_losses = [loss.to(device) for loss in state["step_losses"]]
        self.order_rng.set_state(state["order"])
        self.sampler.restore(state["sampler"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.objective.restore(state["objective"])

    def release(self) -> None:
        """Give back the memory that only steps need; a later step begins anew."""
        if self.dealt is not None:
            self.dealt.release()

    def _check_weights(self) -> None:
        when = f"{self._when()}, by batch {len(self._step_losses)} of the epoch"
        check_weights_finite(self.supernet, "The weights of the supernet", when, "search_learning_rate")

    def _mean_loss(self) -> float:
        """Return the mean loss of the epoch so far; read back once, so that a step never waits for the device."""
        if not self._step_losses:
            return 0.0
        return finite_mean(torch.stack(self._step_losses), "The search loss", self._when(), "search_learning_rate")

    def _when(self) -> str:
        return f"the training of block {self.index + 1}, epoch {len(self.losses) + 1}"


def _adamw(parameters: list[nn.Parameter], settings: SearchSettings, device: torch.device) -> torch.optim.Optimizer:
    fused = device.type in FUSED_DEVICES
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=fused)
