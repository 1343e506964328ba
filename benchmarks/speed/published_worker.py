"""Runs the published code from the user's checkout and times it; spoken to by `published`, one JSON line at a time.

Usage: python -m benchmarks.speed.published_worker CHECKOUT DEVICE

Its own functions do the work wherever they run on a current stack: its loaders, ``NASTrainer.train_a_stage`` and
``val_stage``, ``ModelTrainer._train_one_epoch`` and ``eval_model``.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from benchmarks.speed.counting import count_kernels, peak_bytes
from benchmarks.speed.timing import seconds_per_call
from recbole_nasr.machine import keep_freed_memory

SETTINGS: dict[str, Any] = {
    "dropout": 0.1,
    "mask_prob": 0.25,
    "nas_lr": 0.001,
    "lr": 0.001,
    "lr_decay_rate": 0.99,
    "lr_decay_steps": 1000,
    "weight_decay": 0,
    "epoch_per_stage": 1,
    "num_epoch": 0,
    "loss_type": "ce",
    "neg_samples": 100,
    "enable_sample": 0,
    "sample_size": 100,
    "enable_res_parameter": 1,
    "metric_ks": [10, 20],
    "best_metric": "NDCG@20",
    "eval_per_steps": 1 << 60,
}
N_STEPS = 2  # of a training epoch; it divides by the number of its last step, counted from 0


@dataclass(frozen=True)
class Job:
    """Something to time.

    Args:
        run: Does it.
        units: How many units of the section one run is.
    """

    run: Callable[[], Any]
    units: int = 1


class Worker:
    """Holds the user's modules, the data, and the jobs built so far."""

    def __init__(self, checkout: Path, device: str) -> None:
        sys.path.insert(0, str(checkout))
        self.dataset, self.model, self.train = (importlib.import_module(name) for name in ("dataset", "model", "train"))
        self.loss = importlib.import_module("loss")
        self.device = torch.device(device)
        self.jobs: dict[str, Job] = {}

    def open(self, table: str, sizes: dict[str, Any], encoding: list[list[int]], threads: int) -> dict[str, Any]:
        """Take data and sizes."""
        torch.set_num_threads(threads)
        self.args = SimpleNamespace(
            **SETTINGS, **sizes, device=str(self.device), data_path=table, save_path=str(Path(table).parent)
        )
        self.encoding, self.jobs = encoding, {}
        return {}

    def job(self, job: str, options: dict[str, Any]) -> Job:
        """Return a job, built on first use."""
        key = json.dumps([job, options], sort_keys=True)
        if key not in self.jobs:
            torch.manual_seed(0)
            built = getattr(self, f"job_{job}")(**options)
            self.jobs[key] = built if isinstance(built, Job) else Job(built)
            self.jobs[key].run()
        return self.jobs[key]

    def time(self, job: str, options: dict[str, Any]) -> dict[str, Any]:
        """Run a job once; return seconds per unit."""
        found = self.job(job, options)
        seconds = seconds_per_call(found.run, self.device, 1)
        return {"wall": seconds.wall / found.units, "device": seconds.device / found.units}

    def count(self, job: str, options: dict[str, Any]) -> dict[str, Any]:
        """Count kernels per unit, and the memory a run needs."""
        found = self.job(job, options)
        kernels = count_kernels(found.run, self.device) // found.units
        return {"kernels": kernels, "peak_bytes": peak_bytes(found.run, self.device)}

    # Jobs: what the sections of the benchmark ask for.

    def _loader(self, data: Any, batch_size: int) -> Any:
        return torch.utils.data.DataLoader(data, batch_size=batch_size, shuffle=True)

    def _search_data(self, mode: str, method: str, rows: int, times: int) -> Any:
        args = self.args
        table = self.dataset.pd.read_csv(args.data_path, header=None).values[:rows]
        return self.dataset.NASDataset(
            table, args.mask_prob, args.max_len, args.num_item, args.device, mode, times, [method, method]
        )

    def job_views(self, method: str) -> Callable[[], Any]:
        """A batch of its search loader: two branches of ``paths_per_step`` views."""
        args = self.args
        loader = self._loader(
            self._search_data("train", method, args.train_batch_size, args.paths_per_step), args.train_batch_size
        )
        return lambda: next(iter(loader))

    def job_batch(self) -> Callable[[], Any]:
        """A batch of its training loader."""
        args = self.args
        data = self.dataset.TrainDataset(args.mask_prob, args.max_len, args.data_path, device=args.device)
        loader = self._loader(data, args.train_batch_size)
        return lambda: next(iter(loader))

    def _search_model(self, block: int) -> Any:
        model = self.model.SiameseSupernet(self.args).to(self.device)
        for name, parameter in model.named_parameters():
            if name.endswith(".a"):  # its gates, opened as in ours
                torch.nn.init.constant_(parameter, 0.5)
        layers = self.args.layers_per_block
        model.best_paths = [[layer % model.num_op for layer in range(layers)] for _ in range(block)]
        model.start_block = block
        return model

    def job_search_step(self, block: int, loader: bool) -> Job:  # noqa: FBT001 - from JSON
        """A step of ``train_a_stage``, with its loader or on batches made before."""
        args, rows = self.args, N_STEPS * self.args.train_batch_size
        batches: Any = self._loader(
            self._search_data("train", "mask", rows, args.paths_per_step), args.train_batch_size
        )
        trainer = self.train.NASTrainer(args, self._search_model(block), batches if loader else list(batches), None)
        return Job(trainer.train_a_stage)

    def _ranking(self, block: int, rows: int) -> tuple[Any, list[Any]]:
        return self._search_model(block), list(self._loader(self._search_data("val", "mask", rows, 0), rows))

    def job_ranking(self, block: int, rows: int) -> Callable[[], Any]:
        """``val_stage`` on one batch that is made before."""
        model, batches = self._ranking(block, rows)
        return self.train.NASTrainer(self.args, model, None, batches).val_stage

    def job_ranking_shared(self, block: int, rows: int) -> Callable[[], Any]:
        """The same modules and the same single view, but shared beginnings computed once: our way of ranking."""
        model, batches = self._ranking(block, rows)
        return lambda: self.shared_losses(model, batches[0][1])

    @torch.no_grad()
    def shared_losses(self, model: Any, sequences: torch.Tensor) -> torch.Tensor:
        """Return the loss of every path, from one pass over the tree of paths of the user's own modules."""
        from recbole_nasr.search.ranking import run_paths

        index = model.start_block
        paths = [tuple(path) for path in model.build_all_path(model.num_op, model.layers_per_block[index])]
        hidden = model.dropout(model.embedding(sequences))
        for earlier, path in enumerate(model.best_paths):
            hidden = model.backbone(hidden, earlier, path)
        block = SimpleNamespace(layers=model.backbone._blocks[index]._block_layers)
        found: list[Any] = [None] * len(paths)
        for number, output in run_paths(block, hidden, paths):  # type: ignore[arg-type]  # it has layers
            found[number] = model.necks[index](output)
        units = torch.nn.functional.normalize(torch.stack(found), dim=-1).mean(dim=0)
        return torch.stack([model.heads[index](representation, units) for representation in found])

    def compare_ranking(self, block: int, rows: int) -> dict[str, Any]:
        """Compare both ways with dropout off: the same losses, in the same order."""
        model, batches = self._ranking(block, rows)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        losses = model(*batches[0], "val")
        expected = torch.stack([losses[key] for key in sorted(losses)])
        return {"expected": expected.tolist(), "found": self.shared_losses(model, batches[0][1]).tolist()}

    def _retraining(self, encoding: list[list[int]], batches: Any) -> Any:
        args = self.args
        trainer = self.train.ModelTrainer(args, self.model.NASModel(args, encoding), batches, None, None)
        trainer.optimizer = torch.optim.Adam(trainer.model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
        trainer.scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: args.lr_decay_rate**step)
        return trainer

    def _training_rows(self) -> Any:
        args = self.args
        data = self.dataset.TrainDataset(args.mask_prob, args.max_len, args.data_path, device=args.device)
        chosen = torch.utils.data.Subset(data, range(N_STEPS * args.train_batch_size))
        return self._loader(chosen, args.train_batch_size)

    def job_retraining(self, loader: bool) -> Job:  # noqa: FBT001 - from JSON
        """Steps of ``_train_one_epoch``, with its loader or on batches made before."""
        rows = self._training_rows()
        trainer = self._retraining(self.encoding, rows if loader else list(rows))
        return Job(lambda: trainer._train_one_epoch(pred=True), N_STEPS)

    def job_softmax(self) -> Callable[[], Any]:
        """Its loss on its network without layers: embedding, softmax layer, cross-entropy, backward pass."""
        trainer = self._retraining([[]], None)
        batch = next(iter(self._training_rows()))

        def step() -> None:
            trainer.model.zero_grad(set_to_none=True)
            trainer.cr.compute(batch).backward()

        return step

    def _evaluation(self, encoding: list[list[int]], cases: int, batch_size: int) -> Any:
        args = self.args
        data = self.dataset.EvalDataset(args.max_len, args.sample_size, "val", 0, args.data_path, args.device)
        batches = torch.utils.data.DataLoader(torch.utils.data.Subset(data, range(cases)), batch_size=batch_size)
        trainer = self.train.ModelTrainer(args, self.model.NASModel(args, encoding), None, batches, None)
        trainer.model.eval()
        return trainer

    def job_scoring(self, cases: int) -> Callable[[], Any]:
        """``compute_metrics`` of one batch on its network without layers: scores, mask, order, metrics."""
        self.scorer = self._evaluation([[]], cases, cases)
        batch = next(iter(self.scorer.val_loader))
        return torch.no_grad()(lambda: self.scorer.compute_metrics(batch))

    def job_evaluation(self, cases: int, batch_size: int) -> Callable[[], Any]:
        """``eval_model`` of the whole network, its loader included."""
        trainer = self._evaluation(self.encoding, cases, batch_size)
        return lambda: trainer.eval_model("val")

    def compare_scoring(self, cases: int, weights: str) -> dict[str, Any]:
        """Save the weights that `job_scoring` scores with, and return the metrics it finds."""
        metrics = self.job("scoring", {"cases": cases}).run()
        torch.save(self.scorer.model.state_dict(), weights)
        return {"metrics": metrics}


def main() -> None:
    """Answer commands until the pipe closes; what the published code prints goes nowhere."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    keep_freed_memory()
    worker = Worker(Path(sys.argv[1]), sys.argv[2])
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("command"))(**request)
        except Exception as error:  # reported to whom asked
            answer = {"error": f"{type(error).__name__}: {error}\n{traceback.format_exc()}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
