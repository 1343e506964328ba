"""The training step of a block in one shape for every draw of paths: on a GPU one CUDA graph."""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets import Supernet
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.graphs import GraphedStep
from recbole_nasr.nets.memory import give_back_unused, ran_out
from recbole_nasr.rng import RandomPlace
from recbole_nasr.search.dealing import Deal
from recbole_nasr.search.gradients import RECOMPUTING, TOO_LARGE
from recbole_nasr.search.objective import Objective, Prefix
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.search.skipping import SkippingAdamW
from recbole_nasr.space import Path

_LOG = logging.getLogger("recbole_nasr")

TOO_FEW_USED = "cuda_graphs: off in the search, since of %d operations in a layer %d paths use few"


def can_deal(acceleration: Acceleration, settings: SearchSettings, n_ops: int) -> bool:
    """Return whether steps are to be dealt: where graphs are wanted, and most of the work would not be thrown away."""
    return acceleration.graphs and (acceleration.required or n_ops <= 2 * settings.n_paths)


class DealtSteps:
    """Takes the steps of one block.

    Args:
        supernet: Holds the block.
        index: Which block it is.
        objective: What to train towards, started on that block.
        settings: How to train.
        parameters: All that are trained.
    """

    def __init__(
        self,
        supernet: Supernet,
        index: int,
        objective: Objective,
        settings: SearchSettings,
        parameters: Sequence[torch.nn.Parameter],
    ) -> None:
        self._objective = objective
        layers = supernet.block(index).layers
        self._n_ops = len(list(layers[0].children()))
        operations = [list(operation.parameters()) for layer in layers for operation in layer.children()]
        inside = {id(parameter) for group in operations for parameter in group}
        always = [parameter for parameter in parameters if id(parameter) not in inside]
        self.optimizer = SkippingAdamW(
            always, operations, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self._block = supernet.block(index)
        self._prefix: Prefix = ()
        self._updating = False
        self._graphed = GraphedStep(
            self._take,
            "search step",
            generators=objective.generators,
            required=objective.acceleration.required,
        )
        self._step: Callable[..., Tensor] = self._graphed

    def take(
        self, item_seq: Tensor, item_seq_len: Tensor, rows: Tensor, prefix: Prefix, paths: Sequence[Path]
    ) -> Tensor:
        """Take one step with ``paths`` behind ``prefix``; return the loss, detached and still on the device.

        Raises:
            MemoryLimitError: If it does not fit into memory even if every layer is run again for its gradient.
        """
        deal = Deal.of(paths, self._n_ops).to(item_seq.device)
        self._prefix, self._n_places = prefix, deal.n_places
        before = RandomPlace(item_seq.device, self._objective.generators)
        while True:
            try:
                return self._step(item_seq, item_seq_len, rows, *deal.tensors, key=(prefix, deal.n_places))
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                if self._block.recompute or self._updating:
                    raise MemoryLimitError(TOO_LARGE) from error
            self._save_memory()
            before.go_back()

    def release(self) -> None:
        """Give back what captured steps hold, gradients among it, once the block is trained."""
        self.optimizer.zero_grad(set_to_none=True)
        self._graphed.release()

    def _save_memory(self) -> None:
        """Keep less of a step from now on, without graphs, which hold memory and cannot run a layer again."""
        self._block.recompute = True
        self._step = self._take_as_it_is
        self.release()
        give_back_unused()
        _LOG.warning(RECOMPUTING)

    def _take_as_it_is(self, *inputs: Tensor, key: Hashable) -> Tensor:  # noqa: ARG002 - as a captured step
        return self._take(*inputs)

    def _take(self, item_seq: Tensor, item_seq_len: Tensor, rows: Tensor, *dealt: Tensor) -> Tensor:
        deal = Deal(self._n_places, *dealt)
        self._updating = False
        self.optimizer.zero_grad(set_to_none=True)
        with self._objective.acceleration.training(item_seq.device):
            loss = self._objective.dealt_loss(item_seq, item_seq_len, self._prefix, deal, rows)
        torch.autograd.backward(loss)
        self.optimizer.unused = deal.unused.flatten()
        self._updating = True  # what follows cannot be done twice
        self.optimizer.step()
        self._objective.after_step()
        self._updating = False
        return loss.detach()
