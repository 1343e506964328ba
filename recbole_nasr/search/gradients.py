"""The gradient of a search step, in smaller parts where memory does not suffice for the whole of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_nasr import distributed
from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets.memory import give_back_unused, ran_out
from recbole_nasr.nets.supernet import SupernetBlock
from recbole_nasr.rng import RandomPlace
from recbole_nasr.search.objective import Objective, Prefix
from recbole_nasr.space import Path

_LOG = logging.getLogger("recbole_nasr")

RECOMPUTING = (
    "out of memory: the search now keeps the input of each layer alone and runs the layer again for its gradient; the "
    "step is the same."
)
TOO_LARGE = (
    "A search step does not fit into memory even in its smallest parts; lower `search_batch_size`, `hidden_size` or "
    "`MAX_ITEM_LIST_LENGTH`."
)
TOO_LARGE_TOGETHER = (
    "A search step of several processes does not fit into memory; lower `search_batch_size`, or take one process, "
    "which computes it in parts."
)


class StepGradients:
    """Computes loss and gradient of the steps of one block.

    Where a step does not fit, it is computed in more and more parts, whose gradients add up, and then with every layer
    run a second time for its gradient: the mathematics is the same, sums are rounded otherwise, and where the rows of
    one path are cut apart dropout leaves out other units.

    Args:
        objective: Whose loss.
        block: What is trained.
        device: Where.

    Attributes:
        n_parts: Parts that a step is computed in, one after the other.
    """

    def __init__(self, objective: Objective, block: SupernetBlock, device: torch.device) -> None:
        self.objective, self.block, self.device = objective, block, device
        self.n_parts = 1

    def compute(
        self,
        optimizer: torch.optim.Optimizer,
        item_seq: Tensor,
        item_seq_len: Tensor,
        prefix: Prefix,
        paths: Sequence[Path],
        rows: Tensor | None,
    ) -> Tensor:
        """Return the loss, detached, and leave the gradient in the weights of ``optimizer``.

        Raises:
            MemoryLimitError: If even the smallest parts do not fit.
        """
        before = RandomPlace(self.device, self.objective.generators)
        while True:
            optimizer.zero_grad(set_to_none=True)
            try:
                return self._sum_of_parts(item_seq, item_seq_len, prefix, paths, rows)
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                self._take_smaller_parts(item_seq.size(0), len(paths), error)
            give_back_unused()  # only now nothing of the failed attempt is left
            before.go_back()

    def _sum_of_parts(
        self, item_seq: Tensor, item_seq_len: Tensor, prefix: Prefix, paths: Sequence[Path], rows: Tensor | None
    ) -> Tensor:
        objective = self.objective
        if self.n_parts == 1:
            with objective.acceleration.training(self.device):
                loss = objective.loss(item_seq, item_seq_len, prefix, paths, rows)
            if loss.requires_grad:  # of several processes one may have no row
                torch.autograd.backward(loss)
            return loss.detach()
        total = torch.zeros((), device=self.device)
        for part in objective.parts(item_seq, item_seq_len, prefix, paths, rows, self.n_parts):
            with objective.acceleration.training(self.device):
                loss = part()
            torch.autograd.backward(loss)
            total += loss.detach()
        return total

    def _take_smaller_parts(self, n_rows: int, n_paths: int, error: Exception) -> None:
        """Cut the steps into more parts from now on or, where that is done, keep less of each.

        Several processes are in the middle of the same step, and cannot begin it again one by one.
        """
        if distributed.world_size() > 1:
            raise MemoryLimitError(TOO_LARGE_TOGETHER) from error
        most = self.objective.most_parts(n_rows, n_paths)
        if self.n_parts < most:
            self.n_parts = min(2 * self.n_parts, most)
            _LOG.warning(
                "out of memory: a search step now comes in %d parts; but for dropout the step is the same.",
                self.n_parts,
            )
        elif not self.block.recompute:
            self.block.recompute = True
            _LOG.warning(RECOMPUTING)
        else:
            raise MemoryLimitError(TOO_LARGE) from error
