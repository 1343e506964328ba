"""RecBole's ``fit`` as work that can be stopped at any moment and continued."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from recbole.trainer import Trainer
from torch import Tensor, nn

from recbole_nasr import distributed
from recbole_nasr.errors import NumericalError
from recbole_nasr.keeping import Keeper, plain, random_state, set_random_state
from recbole_nasr.nets.losses import check_weights_finite
from recbole_nasr.patching import swapped


class Diary(Protocol):
    """An observer of a training's epochs that must know those before an interruption."""

    def state(self) -> dict[str, Any]:
        """Return its state, as plain values."""

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state` returned."""


class NumberWatch:
    """Ends a training by RecBole's own loop over batches when a number is not finite, and says where.

    RecBole looks for NaN after every batch, not for infinity, and names neither epoch nor batch; weights it trusts.

    Args:
        trainer: Whose loss and weights.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._epoch, self._batch = trainer, 0, 0

    def begin(self, epoch_idx: int) -> None:
        """Begin epoch ``epoch_idx``, counted from 0."""
        self._epoch, self._batch = epoch_idx + 1, 0

    def see(self, loss: Tensor) -> None:
        """Check the loss of a batch, in place of RecBole's own check.

        Raises:
            NumericalError: If it is not finite.
        """
        self._batch += 1
        if not bool(torch.isfinite(loss).all()):
            number = loss.detach().sum().item()
            msg = f"The training loss must be finite, but became {number} in {self._when()}; lower `learning_rate`."
            raise NumericalError(msg)

    def end(self) -> None:
        """Check the weights at the end of the epoch.

        Raises:
            NumericalError: If one is not finite.
        """
        check_weights_finite(self._trainer.model, "The weights", self._when(), "learning_rate")

    def _when(self) -> str:
        return f"epoch {self._epoch}" + (f", batch {self._batch} of the epoch" if self._batch else "")


class KeptFit:
    """One training by any trainer of RecBole whose ``fit`` is RecBole's.

    The state is saved between epochs, and by our own trainers between steps, also of a search. Trainers with a ``fit``
    of their own, such as that of S3Rec, keep nothing: an interrupted run starts over.

    Args:
        trainer: The trainer; its file of the best network is written whole or not at all, as `compat` sees to.
        loaders: Those for training and validation, and others whose random state is to be kept.
        keeper: Where the state is.
        diary: Follows the epochs.
        part: Name of the part of the state.
        then: What follows the training.
    """

    def __init__(
        self,
        trainer: Any,
        loaders: Sequence[Any],
        keeper: Keeper,
        diary: Diary,
        part: str = "training",
        then: str = "test",
    ) -> None:
        self.trainer, self.loaders, self.diary, self.part, self.then = trainer, loaders, diary, part, then
        self.keeper = keeper if self._can_be_kept() else Keeper()
        self.over = False
        self._processes: list[dict[str, Any]] = []

    def run(self, **options: Any) -> Mapping[str, Any] | None:
        """Do what is left of the training; return the validation metrics of the best epoch.

        Args:
            options: For ``fit``.

        Raises:
            NumericalError: If a loss is not finite.
        """
        trainer = self.trainer
        saved = self.keeper.take(self.part, getattr(trainer, "state_classes", ()))
        if saved is not None and saved["searched"]:
            self._go_on(saved)
        if hasattr(trainer, "keeper"):
            trainer.keeper = self.keeper
        with self.keeper.part(self.part, self.state):
            if self.over:
                trainer.eval_collector.data_collect(self.loaders[0])
                return trainer.best_valid_result
            with self._between_epochs():
                trainer.fit(self.loaders[0], self.loaders[1], **options)
            self.over = True
            self._processes = distributed.from_all(self._of_this_process())
            self.keeper.stage(self.then)
            return trainer.best_valid_result

    def state(self) -> dict[str, Any]:
        """Return everything that the rest of the training depends on, as plain values."""
        trainer = self.trainer
        if not getattr(trainer.model, "searched", True):
            return {"searched": False}
        chooses = hasattr(trainer, "chosen")  # it searches for its architecture
        best = Path(trainer.saved_model_file)
        return {
            "searched": True,
            "chosen": trainer.chosen() if chooses else None,
            "architecture": trainer.model.architecture if chooses else None,
            "over": self.over,
            "epoch": trainer.start_epoch,
            "since_best": trainer.cur_step,
            "best_score": trainer.best_valid_score,
            "best_result": trainer.best_valid_result,
            "losses": trainer.train_loss_dict,
            "model": trainer.model.state_dict(),
            "other": self._other(),
            "optimizer": trainer.optimizer.state_dict(),
            "processes": self._processes if distributed.world_size() > 1 else [self._of_this_process()],
            "diary": self.diary.state(),
            "best": self.keeper.attach(best) if best.is_file() else None,
        }

    def _go_on(self, saved: dict[str, Any]) -> None:
        trainer = self.trainer
        if hasattr(trainer, "chosen"):
            trainer.go_on_after_choice(saved["chosen"], saved["architecture"])
        trainer.start_epoch, trainer.cur_step = saved["epoch"], saved["since_best"]
        trainer.best_valid_score, trainer.best_valid_result = saved["best_score"], saved["best_result"]
        trainer.train_loss_dict = dict(saved["losses"])
        trainer.model.load_state_dict(saved["model"])
        trainer.model.load_other_parameter(saved["other"])
        trainer.optimizer.load_state_dict(saved["optimizer"])
        self.over = saved["over"]
        mine = saved["processes"][distributed.rank()]
        set_random_state(mine["random"])
        for loader, state in zip(self.loaders, mine["loaders"], strict=True):
            loader.generator.set_state(state)
        self.diary.restore(saved["diary"])
        if saved["best"] is not None and self.keeper.folder is not None:
            self.keeper.restore_file(saved["best"], Path(trainer.saved_model_file))
        distributed.from_all(None)  # nobody looks for the best network before it is there

    def _of_this_process(self) -> dict[str, Any]:
        return {"random": random_state(), "loaders": [loader.generator.get_state() for loader in self.loaders]}

    def _other(self) -> dict[str, Any] | None:
        """Return what RecBole keeps beside the weights; modules among it are part of the model, and of those."""
        other = self.trainer.model.other_parameter()
        return {name: value for name, value in (other or {}).items() if not isinstance(value, nn.Module)} or None

    def _can_be_kept(self) -> bool:
        if type(self.trainer).fit is not Trainer.fit and not hasattr(self.trainer, "keeper"):  # the latter are ours
            return False
        try:
            plain(self._other())
        except TypeError:
            return False
        return True

    @contextmanager
    def _between_epochs(self) -> Iterator[None]:
        """Save between two epochs if it is time; not before the first, whose state is still being restored."""
        trainer, first, watch = self.trainer, True, NumberWatch(self.trainer)
        train_epoch = trainer._train_epoch  # noqa: SLF001 - RecBole's own seam between training and validation

        @functools.wraps(train_epoch)
        def epoch(train_data: Any, epoch_idx: int, *args: Any, **kwargs: Any) -> Any:
            nonlocal first
            trainer.start_epoch = epoch_idx
            if not first:
                self._save_if_due()
            first = False
            watch.begin(epoch_idx)
            loss = train_epoch(train_data, epoch_idx, *args, **kwargs)
            watch.end()
            return loss

        with swapped(trainer, "_train_epoch", epoch), swapped(trainer, "_check_nan", watch.see):
            yield

    def _save_if_due(self) -> None:
        if distributed.world_size() == 1:
            self.keeper.step()
        elif distributed.from_first(self.keeper.due()):
            self._processes = distributed.from_all(self._of_this_process())
            self.keeper.save()
