"""What makes the training steps of a network fast: precision, compiled operations and loss, CUDA graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from recbole_nasr.model.speed_settings import acceleration, sampled_items
from recbole_nasr.nets import HybridNet
from recbole_nasr.nets.fused import FUSED_DEVICES
from recbole_nasr.nets.graphs import GraphedStep
from recbole_nasr.nets.softmax import ExactSoftmax, SampledSoftmax
from recbole_nasr.trainer.batches import SequenceBatches

_LOG = logging.getLogger("recbole_nasr")


class TrainingSpeed:
    """How the steps of one trainer are run.

    Args:
        config: RecBole's configuration.

    Attributes:
        acceleration: What is in force.

    Raises:
        ConfigError: If a key asks for what cannot be done.
    """

    def __init__(self, config: Any) -> None:
        self.acceleration = acceleration(config)
        self._config = config
        self._graphed: GraphedStep | None = None
        if config["device"].type != "cpu":
            _LOG.info("training: %s", self.acceleration)

    def take(self, network: HybridNet) -> None:
        """Prepare to train ``network``; a captured step of another one is dropped."""
        self._graphed = None
        self._n_sampled = sampled_items(self._config, network.n_items)
        self.acceleration.compile_operations(network)
        network.softmax = ExactSoftmax(self.acceleration.backend)

    def fused_optimizer(
        self, learner: str, parameters: Iterable[nn.Parameter], *, lr: Any, weight_decay: Any
    ) -> torch.optim.Optimizer | None:
        """Return Adam or AdamW fused, which is faster and never reads a value back; ``None`` for other learners."""
        kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
        if learner.lower() not in kinds or self._config["device"].type not in FUSED_DEVICES:
            return None
        graphs = self.acceleration.graphs
        return kinds[learner.lower()](parameters, lr=lr, weight_decay=weight_decay, fused=True, capturable=graphs)

    def learn_items(self, network: HybridNet, batches: SequenceBatches) -> None:
        """Sample items for the loss as often as they are targets of ``batches``, if they are to be sampled."""
        if self._n_sampled and not isinstance(network.softmax, SampledSoftmax):  # a captured step reads the first one
            network.softmax = SampledSoftmax(batches.target_counts(network.n_items)[1:], self._n_sampled)

    def release(self) -> None:
        """Give back the memory of captured steps; a later step begins anew."""
        if self._graphed is not None:
            self._graphed.release()

    def step(self, function: Callable[..., Tensor], optimizer: torch.optim.Optimizer, *batch: Tensor) -> Tensor:
        """Return the loss of one step, made by ``function`` of ``batch`` or by what was captured of it."""
        if not self.acceleration.graphs:
            return function(*batch)
        if self._graphed is None:
            for group in optimizer.param_groups:  # also after the state of another device was loaded
                group["capturable"] = True
            setattr(optimizer, "_warned_capturable_if_run_uncaptured", True)  # noqa: B010 - the first steps are meant to
            self._graphed = GraphedStep(function, "training step", required=self.acceleration.required)
        return self._graphed(*batch)
