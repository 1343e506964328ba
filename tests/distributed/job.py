"""What the tests do in two processes, started by torchrun, and again in one, to compare.

Usage: torchrun --nproc_per_node=2 job.py DATA_PATH WHERE [RESULTS]

The second process dies in the ``search`` or the ``training`` of the last run, or ``nowhere``; started again, the job
goes on with that run. With RESULTS all else is done before.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from typing import Any

import recbole.trainer.trainer as recbole_trainer
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from recbole_nasr import distributed
from recbole_nasr.commands.cli import main
from recbole_nasr.nets import Supernet
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.base import GatedResidual
from recbole_nasr.processes.launch import joined_processes, process_settings
from recbole_nasr.progress import Progress
from recbole_nasr.runs.pipeline import EpochLines
from recbole_nasr.search import SearchSequences, SearchSettings
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.next_item import NextItem
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Architecture, SearchSpace
from recbole_nasr.trainer import searching

COMMON: dict[str, Any] = {
    "hidden_size": 8,
    "hidden_dropout_prob": 0.0,
    "epochs": 3,
    "eval_step": 1,
    "train_batch_size": 4,
    "eval_batch_size": 4,
    "metrics": ["NDCG", "Recall"],
    "topk": [1, 5],
    "valid_metric": "NDCG@5",
    "metric_decimal_place": 8,
    "gpu_id": "",
    "state": "ERROR",
}
NETWORK: dict[str, Any] = {"architecture": "transformer_h2,tcn_d1_2", "n_layers": 2, "n_blocks": 1}
SEARCH: dict[str, Any] = {
    "candidate_ops": ["transformer_h2", "tcn_d1_2"],
    "n_layers": 2,
    "n_blocks": 2,
    "search_preset": "paper",
    "search_epochs": 1,
    "search_holdout_ratio": 0.3,
}
NEXT_ITEM: dict[str, Any] = {
    "search_objective": "next_item",
    "search_path_sampling": "fair",
    "search_beam": 2,
    "search_ranking_batch_size": 1,
}
SAMPLED: dict[str, Any] = {
    "split": {"LS": "valid_and_test"},
    "order": "TO",
    "group_by": "user",
    "mode": {"valid": "uni1", "test": "uni1"},
}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "network": ("NASR", NETWORK),
    "batches of one": ("NASR", {**NETWORK, "train_batch_size": 1, "epochs": 1}),
    "coverage": ("NASR", {**NETWORK, "metrics": ["NDCG", "ItemCoverage", "GiniIndex"], "epochs": 1}),
    "sampled negatives": ("NASR", {**NETWORK, "eval_args": SAMPLED, "epochs": 1}),
    "search": ("NASRSearch", {**SEARCH, "train_scheme": "prefix", "epochs": 1}),
    "search by the next item": ("NASRSearch", {**SEARCH, **NEXT_ITEM, "epochs": 1}),
}
"""Name of each run, with its model and settings; ``toy`` has an odd number of cases."""

BOTH_WAYS: dict[str, Any] = {"symmetric": True, "leave_one_out": True, "target_momentum": 0.9}
STEPS: dict[str, dict[str, Any]] = {
    "views": {"objective": "contrastive", "n_rows": 11},
    "views both ways": {"objective": "contrastive", "n_rows": 6, **BOTH_WAYS},
    "next item": {"objective": "next_item", "n_rows": 11},
    "fewer rows than paths": {"objective": "next_item", "n_rows": 3},
    "one row for the two": {"objective": "next_item", "n_rows": 1},
}
"""Steps of a search: what they train towards, their rows, and settings."""

LINE = [
    "--model=NASRSearch",
    "--dataset=toy",
    "--device=cpu",
    *(f"--{key}={COMMON[key]}" for key in ("hidden_size", "train_batch_size", "eval_step", "epochs")),
    *(f"--{key}={value}" for key, value in SEARCH.items()),
    "--hidden_dropout_prob=0.2",
    "--topk=[1,5]",
    "--checkpoint_interval=0",
]


def train(model: str, data_path: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Train and test ``model`` as RecBole's quick start does; return all that may depend on the processes."""
    config = Config(model, "toy", config_dict={**COMMON, **settings, "data_path": data_path, **process_settings()})
    init_seed(config["seed"], config["reproducibility"])
    train_data, valid_data, test_data = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config["MODEL_TYPE"], model)(
        config, get_model(model)(config, train_data._dataset).to(config["device"])
    )
    trainer.fit(train_data, valid_data)
    test = trainer.evaluate(test_data)
    found = getattr(trainer, "search_result", None)
    return {
        "architecture": str(trainer.model.architecture),
        "path scores": [torch.from_numpy(block.scores) for block in found.blocks] if found else [],
        "losses": list(trainer.train_loss_dict.values()),
        "valid": float(trainer.best_valid_score),
        "epochs since the best": trainer.cur_step,
        "test": {name: float(value) for name, value in test.items()},
        "ranks": trainer.last_ranks,
        "cases": [int(case) for loader in (valid_data, test_data) for case in loader.sampler],
        "parameters": torch.cat([weight.detach().flatten() for weight in trainer.model.parameters()]),
        "checkpoint": trainer.saved_model_file,
    }


def search_steps(objective: str, n_rows: int, **how: Any) -> dict[str, Any]:
    """Take three steps of a block on batches of ``n_rows``; return what was ranked before, losses, first gradients."""
    torch.manual_seed(3)
    space = SearchSpace(("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4"), (2, 1))
    layers = LayerSettings(hidden_size=8, dropout_prob=0.0)
    next_item = objective == "next_item"
    net = Supernet(space, n_items=10, max_length=8, settings=layers, softmax=next_item)
    for module in net.modules():
        if isinstance(module, GatedResidual):
            torch.nn.init.constant_(module.scale, 0.5)
    settings = SearchSettings(objective=objective, **how)
    made = (NextItem if next_item else Contrastive)(net, settings, 7)
    rng = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 9, (11,), generator=rng)
    items = torch.where(torch.arange(8) < lengths.unsqueeze(1), torch.randint(1, 10, (11, 8), generator=rng), 0)
    made.hold(SearchSequences(items, lengths, torch.arange(11)))
    made.start(0)
    scores = made.score([()], list(space.paths(0)), Progress()).values
    trainer = BlockTrainer(net, [()], space, settings, 7, made)
    losses, gradients = [], {}
    for step in range(3):
        losses.append(float(trainer.step(items[:n_rows], lengths[:n_rows])))
        if step == 0:
            gradients = {name: weight.grad for name, weight in net.named_parameters() if weight.grad is not None}
    return {"scores": scores, "losses": losses, "gradients": gradients}


def everything(data_path: str) -> dict[str, dict[str, Any]]:
    """Return the outcome of each of the `RUNS`."""
    return {name: train(model, data_path, settings) for name, (model, settings) in RUNS.items()}


def all_steps() -> dict[str, dict[str, Any]]:
    """Return what each of the `STEPS` found."""
    return {name: search_steps(**given) for name, given in STEPS.items()}


def find_another(*args: Any, **kwargs: Any) -> Any:
    """Search, and pretend that rounding led to another architecture."""
    return replace(_search(*args, **kwargs), architecture=Architecture.parse("tcn_d1_2/tcn_d1_2"))


def die_after(n: int, owner: Any, name: str) -> None:
    """Let this process end at once when it has done something ``n`` times, as when the system has no memory left."""
    original, left = getattr(owner, name), n

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        result, left = original(*args, **kwargs), left - 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, call)


DEATHS: dict[str, tuple[int, Any, str]] = {
    "search": (4, BlockTrainer, "step"),
    "training": (2, EpochLines, "__call__"),
}

_search = searching.search

if __name__ == "__main__":
    data_path, where, *results = sys.argv[1:]
    sys.argv = sys.argv[:1]
    line = [*LINE, f"--data_path={data_path}"]
    with joined_processes("cpu", "") as launch:
        if results:
            main([*line, "--run_name=shared"])
            if launch.rank == 1:
                recbole_trainer.get_local_time = lambda: "another-second"
                searching.search = find_another
            steps = distributed.from_all(all_steps())
            outcomes = distributed.from_all(everything(data_path))
            searching.search = _search
            if launch.rank == 0:
                torch.save({"runs": outcomes, "steps": steps}, results[0])
        if launch.rank == 1 and where in DEATHS:
            die_after(*DEATHS[where])
        main([*line, "--run_name=lost"])
