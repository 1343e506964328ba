"""The gradient of a training step, some rows at a time, as is fast and as fits into memory."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from recbole_nasr import distributed
from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets import HybridNet
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.graphs import being_captured
from recbole_nasr.nets.memory import give_back_unused, ran_out
from recbole_nasr.nets.padding import passes

_LOG = logging.getLogger("recbole_nasr")


class GradientPasses:
    """Computes loss and gradient of the steps of one training.

    The gradient of a step is the sum over its passes, so a step is the same whether its rows pass together or not,
    but for the units that dropout leaves out.

    Args:
        rows: Rows that pass together at most, at least 1.
        device: Where.
        acceleration: In what precision.

    Attributes:
        rows: Halved whenever a pass does not fit into memory.
    """

    def __init__(self, rows: int, device: torch.device, acceleration: Acceleration) -> None:
        self.rows, self._device, self._acceleration = rows, device, acceleration

    def compute(
        self,
        network: HybridNet,
        optimizer: torch.optim.Optimizer,
        item_seq: Tensor,
        item_seq_len: Tensor,
        targets: Tensor,
        n_targets: Tensor,
    ) -> Tensor:
        """Return the loss, detached and on the device, and leave the gradient in the weights of ``optimizer``.

        Args:
            network: Whose loss.
            optimizer: Of its weights; what gradient they have is dropped.
            item_seq: ``(B, L)`` inputs, right-padded.
            item_seq_len: ``(B,)`` lengths.
            targets: ``(B, L)`` next items, 0 where there is none.
            n_targets: Targets of the whole batch.

        Raises:
            MemoryLimitError: If a single row does not fit, or other processes are in the middle of the same step.
        """
        while True:
            optimizer.zero_grad(set_to_none=True)
            try:
                return self._sum_of_passes(network, item_seq, item_seq_len, targets, n_targets)
            except RuntimeError as error:
                if not ran_out(error) or being_captured(item_seq):  # then the capture is given up, and the step run
                    raise
                self._take_smaller_passes(item_seq.size(0), error)
            give_back_unused()  # only now nothing of the failed pass is left

    def _sum_of_passes(
        self, network: HybridNet, item_seq: Tensor, item_seq_len: Tensor, targets: Tensor, n_targets: Tensor
    ) -> Tensor:
        loss = torch.zeros((), device=self._device)
        for rows, width in passes(item_seq_len, item_seq.size(1), self.rows):
            own, own_targets = item_seq[rows, :width], targets[rows, :width]
            with self._acceleration.training(self._device):
                part_loss = network.loss(own, item_seq_len[rows], own_targets, n_targets)
            torch.autograd.backward(part_loss)
            loss += part_loss.detach()
        return loss

    def _take_smaller_passes(self, n_rows: int, error: Exception) -> None:
        """Let half as many rows pass at a time from now on."""
        passed = min(self.rows, n_rows)
        if passed == 1 or distributed.world_size() > 1:
            msg = f"A training step of {passed} rows at a time does not fit into the memory of {self._device}; " + (
                "lower `hidden_size` or `MAX_ITEM_LIST_LENGTH`." if passed == 1 else "lower `train_batch_size`."
            )
            raise MemoryLimitError(msg) from error
        self.rows = passed // 2
        _LOG.warning(
            "out of memory: the rows of a training step now pass %d at a time; but for dropout the step is the same.",
            self.rows,
        )
