"""Both training schemes for models of RecBole that can have them: one row per prefix, or a target at every position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from recbole.data.interaction import Interaction
from torch import Tensor
from torch.nn import functional as F

from recbole_nasr.configuration.values import AUTOREGRESSIVE_MODELS
from recbole_nasr.errors import ConfigError
from recbole_nasr.patching import wrap


def teach_models() -> None:
    """Let RecBole's causal models learn from autoregressive rows; from RecBole's own rows they learn as before."""
    from recbole.utils import get_model

    for name in AUTOREGRESSIVE_MODELS:
        wrap(get_model(name), "calculate_loss", _loss_of_either_row)


def is_autoregressive(config: Any) -> bool:
    """Return whether one of RecBole's models is to learn from autoregressive rows.

    Raises:
        ConfigError: If ``train_scheme`` is unknown, or the loss is one of pairs, which has no form for every position
            here.
        DataError: If the data are benchmark files, which have no whole histories.
    """
    from recbole_nasr.data.autoregressive import training_scheme

    if config["train_scheme"] in (None, "prefix"):
        return False
    training_scheme(config)
    if config["loss_type"] != "CE":
        msg = f"train_scheme=autoregressive needs loss_type=CE, but loss_type is {config['loss_type']!r}; change one."
        raise ConfigError(msg)
    return True


def dataset_by_scheme(config: Any) -> Any:
    """Build RecBole's own data set, or with ``train_scheme: autoregressive`` ours.

    Raises:
        NASRError: As :func:`is_autoregressive` says.
    """
    from recbole.data.dataset import SequentialDataset

    from recbole_nasr.data.autoregressive import NASRDataset

    return NASRDataset(config) if is_autoregressive(config) else SequentialDataset(config)


dataset_by_scheme.__name__ = "SequentialDataset"  # RecBole's data cache is named after it


def _loss_of_either_row(original: Callable[..., Any]) -> Callable[..., Any]:
    def calculate_loss(self: Any, interaction: Interaction) -> Any:
        target_list = f"{self.ITEM_ID}_target{self.ITEM_SEQ.removeprefix(self.ITEM_ID)}"
        if target_list not in interaction:
            return original(self, interaction)
        return _loss_at_every_position(
            self, interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN], interaction[target_list]
        )

    return calculate_loss


def _loss_at_every_position(model: Any, item_seq: Tensor, item_seq_len: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy over all real positions, against the same tied softmax as RecBole's own loss."""
    with _reading_every_position(model):
        hidden = model.forward(item_seq, item_seq_len)  # (B, L, D)
    logits = hidden @ model.item_embedding.weight.T
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=0)


@contextmanager
def _reading_every_position(model: Any) -> Iterator[None]:
    """Make ``forward`` skip its last step, which picks the position of the last item out of all of them."""
    model.gather_indexes = lambda output, _index: output
    try:
        yield
    finally:
        del model.gather_indexes  # the method of the class is visible again
