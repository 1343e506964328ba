"""``NASRTrainer``: RecBole's trainer with autoregressive batches on the device and ranking by counting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from recbole.trainer import Trainer
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from recbole_nasr import distributed
from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.data.autoregressive import NASRDataset
from recbole_nasr.determinism import deterministic
from recbole_nasr.errors import ConfigError
from recbole_nasr.keeping import Keeper
from recbole_nasr.model.settings import average_decay, layer_settings, switch, tied_embeddings
from recbole_nasr.nets.padding import CPU_ROWS
from recbole_nasr.progress import Progress, open_progress
from recbole_nasr.rng import derive_seed, generator
from recbole_nasr.space import Architecture
from recbole_nasr.trainer.averaging import WeightAverage
from recbole_nasr.trainer.batches import SequenceBatches
from recbole_nasr.trainer.memory import MemoryNeed, Shape, announce, training_need
from recbole_nasr.trainer.passes import GradientPasses
from recbole_nasr.trainer.ranks import MASKING_NEEDS_RANKS, full_ranks, hit_matrix, ranks_suffice
from recbole_nasr.trainer.speed import TrainingSpeed
from recbole_nasr.trainer.training_epoch import TrainingEpoch


class NASRTrainer(Trainer):  # type: ignore[misc]  # RecBole has no types
    """Trains the network of one architecture; ``fit`` and ``evaluate`` are RecBole's.

    What differs inside: batches are gathered on the device, nothing waits for the device within an epoch, every
    epoch has its own random streams derived from ``seed``, the model is the average of its steps whenever it is
    evaluated or saved, the best checkpoint is chosen by unrounded metrics, and top-k metrics come from exact ranks,
    ties counting against the target.

    Attributes:
        last_ranks: ``(N,)`` ranks of the last evaluation, where it needed no more than ranks.
        keeper: Saves the state between two steps, and has the one to go on from; by default it does nothing.
        passes: Computes the gradients of steps.
        announces: Whether a training that needs much memory says so before.
        needs: Bytes that each piece of work was estimated to need.
    """

    needs: dict[str, int]

    def __init__(self, config: Any, model: Any) -> None:
        self.speed = TrainingSpeed(config)
        super().__init__(config, model)
        self.speed.take(model.network)
        self.enable_amp = self.speed.acceleration.precision == "bf16"  # read by RecBole's own loop
        self.last_ranks: Tensor | None = None
        rows = CPU_ROWS if self.device.type == "cpu" else config["train_batch_size"]
        self.passes = GradientPasses(rows, self.device, self.speed.acceleration)
        self._batches: SequenceBatches | None = None
        self._average_decay = average_decay(config)
        self._average: WeightAverage | None = None
        self.keeper = Keeper()
        self.announces, self.needs = True, {}

    def need(self, architecture: Architecture, length: int, n_rows: int) -> MemoryNeed:
        """Return how much memory training ``architecture`` on ``n_rows`` sequences of ``length`` will need."""
        return training_need(
            architecture,
            layer_settings(self.config),
            Shape(length, self.model.n_items, self.device),
            rows=min(self.passes.rows, self.config["train_batch_size"], n_rows),
            targets_per_row=length,
            eval_rows=min(self.config["eval_batch_size"], n_rows),
            learner=str(self.learner),
            averaged=bool(self._average_decay),
            tied=tied_embeddings(self.config),
        )

    def _announce(self, need: MemoryNeed) -> None:
        self.needs[need.work] = need.total
        announce(need, self.device)

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        """Build RecBole's optimiser, in its fused form if it has one."""
        optimizer: torch.optim.Optimizer | None = self.speed.fused_optimizer(
            str(kwargs.get("learner", self.learner)),
            kwargs.get("params", self.model.parameters()),
            lr=kwargs.get("learning_rate", self.learning_rate),
            weight_decay=kwargs.get("weight_decay", self.weight_decay),
        )
        return super()._build_optimizer(**kwargs) if optimizer is None else optimizer

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as RecBole does, with its arguments and its result."""
        with deterministic(self.config, self.device):
            return super().fit(*args, **kwargs)

    def train_step(
        self, item_seq: Tensor, item_seq_len: Tensor, targets: Tensor, n_targets: Tensor | None = None
    ) -> Tensor:
        """Take one optimiser step; return the loss, detached and still on the device.

        Several processes take the step together, each with its share of the rows: the gradient is that of the whole
        batch, and the losses of the shares add up to its loss.

        Args:
            item_seq: ``(B, L)`` inputs, right-padded.
            item_seq_len: ``(B,)`` lengths.
            targets: ``(B, L)`` next items, 0 where there is none.
            n_targets: Targets of the whole batch; those of these rows when left out.
        """
        if n_targets is None:
            n_targets = (targets > 0).sum()
        loss = self.passes.compute(self.model.network, self.optimizer, item_seq, item_seq_len, targets, n_targets)
        distributed.add_up_gradients(self.model.parameters())
        if self.clip_grad_norm:
            clip_grad_norm_(self.model.parameters(), **self.clip_grad_norm)
        self.optimizer.step()
        return loss

    def _train_epoch(
        self,
        train_data: Any,
        epoch_idx: int,
        loss_func: Any = None,
        show_progress: bool = False,  # noqa: FBT001, FBT002 - RecBole's signature
    ) -> float:
        """Train one epoch, on the weights that the last step left, and return the mean loss."""
        with self.speed.acceleration.products(), self._averaged():
            number = distributed.rank()
            stream = f"retrain/dropout/{epoch_idx}" + (f"/process-{number}" if number else "")
            torch.manual_seed(derive_seed(self.config["seed"], stream))
            dataset = train_data._dataset  # noqa: SLF001 - as RecBole's own trainer and samplers read it
            if isinstance(dataset, NASRDataset) and dataset.autoregressive:
                return self._train_on_sequences(dataset, epoch_idx, show_progress=show_progress)
            with self.speed.acceleration.training_by_default(self.device):
                loss: float = super()._train_epoch(train_data, epoch_idx, loss_func, show_progress)
            return loss

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Have the weights that the last step left in the model within the block, and their average after it."""
        if not self._average_decay:
            yield
            return
        average = self._average = self._average or self._average_of_steps()
        if self.model.unaveraged is not None:  # from the epoch before, or from a checkpoint
            average.restore(self.model.unaveraged)
        average.take_back()
        self.model.unaveraged = None  # until the end of the epoch the model is not the average
        yield
        average.lend()
        self.model.unaveraged = average.state()

    def _average_of_steps(self) -> WeightAverage:
        average = WeightAverage(self.model.parameters(), self._average_decay)
        self.optimizer.register_step_post_hook(lambda *_: average.update())
        return average

    def _train_on_sequences(self, dataset: NASRDataset, epoch_idx: int, *, show_progress: bool) -> float:
        """Train one epoch with a target at every position; continue it where a loaded state was saved in it."""
        batches = self._batches_of(dataset)
        self.speed.learn_items(self.model.network, batches)
        stream = f"retrain/order/{epoch_idx}"
        order = generator(self.config["seed"], stream, self.device) if self.config["shuffle"] else None
        size, n_processes = self.config["train_batch_size"], distributed.world_size()
        shown = open_progress(batches.n_steps(size), f"epoch {epoch_idx + 1}")
        epoch = TrainingEpoch(epoch_idx, self.model, self._average, self.keeper)
        self.model.train()
        with shown if show_progress else nullcontext(Progress()) as progress, epoch.in_progress(self.device):
            n_done = len(epoch.losses)
            progress.advance(n_done)
            for batch in batches.epoch(size, order, distributed.rank(), n_processes, n_done):
                loss = self._step(*batch)
                progress.advance()
                if not epoch.add(loss):
                    break
        return epoch.end()

    def _batches_of(self, dataset: NASRDataset) -> SequenceBatches:
        """Return the training sequences, which stay on the device; the first time, announce the memory needed."""
        if self._batches is None:
            self._batches = SequenceBatches.from_chunks(dataset.training_chunks(), self.device)
            if self.announces:
                self._announce(self.need(self.model.architecture, self._batches.width, len(self._batches)))
        return self._batches

    def _step(self, *batch: Tensor) -> Tensor:
        """Take one step, and count it for the average, which the optimiser then moves."""
        if self._average is not None:
            self._average.count()
        return self.speed.step(self.train_step, self.optimizer, *batch)

    @torch.no_grad()
    def evaluate(
        self,
        eval_data: Any,
        load_best_model: bool = True,  # noqa: FBT001, FBT002 - RecBole's signature
        model_file: str | None = None,
        show_progress: bool = False,  # noqa: FBT001, FBT002 - as above
    ) -> Any:
        """Evaluate as RecBole does; where the metrics need ranks alone, from :func:`full_ranks`.

        Raises:
            NumericalError: If a score is not finite.
            ConfigError: If ``mask_history`` is combined with metrics that need more than ranks.
        """
        with deterministic(self.config, self.device):
            return self._evaluate(eval_data, load_best_model, model_file, show_progress)

    def _evaluate(self, eval_data: Any, load_best_model: bool, model_file: str | None, show_progress: bool) -> Any:  # noqa: FBT001
        if not eval_data:
            return None
        self.last_ranks = None
        if not ranks_suffice(self.config["metrics"], eval_data):
            if self.config["mask_history"]:
                raise ConfigError(MASKING_NEEDS_RANKS.format(metrics=self.config["metrics"]))
            found = super().evaluate(eval_data, load_best_model, model_file, show_progress)
            return type(found)((name, float(value)) for name, value in found.items())
        if load_best_model:
            self._load_best(model_file or self.saved_model_file)
        with self.speed.acceleration.products():
            self.last_ranks = full_ranks(
                self.model, eval_data, device=self.device, mask_history=switch(self.config, "mask_history")
            )
        struct = self.eval_collector.get_data_struct()
        struct.set("rec.topk", hit_matrix(self.last_ranks, self.config["topk"]))
        result = self.evaluator.evaluate(struct)
        self.wandblogger.log_eval_metrics(result, head="eval")
        return result

    def release(self) -> None:
        """Free the memory of gradients and captured steps; a later step allocates it again."""
        self.optimizer.zero_grad(set_to_none=True)
        self.speed.release()

    def resume_checkpoint(self, resume_file: Any) -> None:
        """Resume training from a checkpoint; captured steps, which hold the old optimiser state, are dropped."""
        super().resume_checkpoint(resume_file)
        self.release()

    def _load_best(self, path: str) -> None:
        checkpoint = load_checkpoint(path, self.device)
        self.model.load_state_dict(checkpoint["state_dict"])
        self.model.load_other_parameter(checkpoint.get("other_parameter"))
        self.logger.info("Loading model structure and parameters from %s", path)
