"""A training epoch on ml-100k: RecBole's models on a row per prefix, and networks as deep with a target everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed

from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.gates import Check
from benchmarks.speed.setting import Setting
from benchmarks.speed.timing import Seconds, seconds_per_call
from recbole_nasr.data.autoregressive import NASRDataset

PREFIX_STEPS = 12
COMMON: dict[str, Any] = {
    "train_batch_size": 256,
    "train_neg_sample_args": None,
    "state": "ERROR",
    "show_progress": False,
}
TINY: dict[str, dict[str, Any]] = {
    "SASRec": {"hidden_size": 8, "inner_size": 8},
    "NextItNet": {"embedding_size": 8},
    "NASR": {"hidden_size": 8, "inner_ratio": 1},
}
NASR_SASREC = {"architecture": "sasrec-1", "n_layers": 2, "n_blocks": 1}
NASR_NEXTITNET = {"architecture": "nextitnet-2", "n_layers": 5, "n_blocks": 1}  # two residual blocks a layer


@dataclass(frozen=True)
class Training:
    """A model, its data, and the trainer that goes over them."""

    model: Any
    train: Any
    valid: Any
    trainer: Any

    @property
    def n_rows(self) -> int:
        """Training rows of an epoch."""
        data = self.train._dataset
        return len(data)


def write_tiny() -> dict[str, Any]:
    """Write 30 histories of 9 items in RecBole's format into the working folder, and return where they are."""
    folder = Path("tiny")
    folder.mkdir(exist_ok=True)
    rows = [f"u{user}\ti{(user + step) % 30}\t{step}" for user in range(30) for step in range(9)]
    text = "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows, ""])
    (folder / "tiny.inter").write_text(text, encoding="utf-8")
    return {"data_path": str(folder.parent), "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}


def assemble(model: str, device: torch.device, *, tiny: bool, **settings: Any) -> Training:
    """Put a model of RecBole or ours and its ml-100k data together, as RecBole's quick start does."""
    where = {"gpu_id": "" if device.type == "cpu" else str(device.index or 0)}
    small = {**TINY[model], **write_tiny()} if tiny else {}
    config = Config(model, "tiny" if tiny else "ml-100k", config_dict={**COMMON, **where, **small, **settings})
    init_seed(config["seed"], config["reproducibility"])
    train, valid, _ = data_preparation(config, create_dataset(config))
    network = get_model(model)(config, train._dataset).to(config["device"])
    return Training(network, train, valid, get_trainer(config["MODEL_TYPE"], model)(config, network))


class FirstSteps:
    """The first batches of a loader, as RecBole's training loop reads them."""

    def __init__(self, loader: Any, n: int) -> None:
        self.loader, self.n = loader, min(n, len(loader))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Any:
        return islice(iter(self.loader), self.n)


def cases(setting: Setting) -> Iterator[Case]:
    """Yield the epoch of SASRec, and of NextItNet."""
    tiny = setting.scale == "tiny"
    yield _case(setting, "SASRec, 2 layers", "SASRec", NASR_SASREC, autoregressive=True, tiny=tiny)
    yield _case(setting, "NextItNet, 10 residual blocks", "NextItNet", NASR_NEXTITNET, autoregressive=False, tiny=tiny)


def _case(setting: Setting, title: str, name: str, ours: dict[str, Any], *, autoregressive: bool, tiny: bool) -> Case:
    device, n_steps = setting.device, 1 if tiny else PREFIX_STEPS
    prefix, ar = {"train_scheme": "prefix"} if autoregressive else {}, {"train_scheme": "autoregressive"}
    theirs = assemble(name, device, tiny=tiny, **prefix)
    lines = [_sampled_epoch(theirs, f"RecBole's {name}", n_steps, device)]
    if autoregressive:
        same = assemble(name, device, tiny=tiny, **ar)
        check = partial(_same_loss, theirs, same)
        note = f"the same class, {same.n_rows} rows, a target at every position"
        lines.append(_whole_epoch(same, f"RecBole's {name}, autoregressive", note, device, check))
    own = assemble("NASR", device, tiny=tiny, **ours, MAX_ITEM_LIST_LENGTH=50)
    lines.append(_whole_epoch(own, "NASR", f"as deep, {own.n_rows} rows", device, None))
    parameters = {
        line.name: _n_parameters(one) for line, one in zip(lines[:: len(lines) - 1], (theirs, own), strict=True)
    }
    return Case(
        section="recbole",
        title=title,
        shape="tiny" if tiny else "ml-100k",
        unit="training epoch",
        implementations=lines,
        details={"parameters": parameters},
    )


def _n_parameters(training: Training) -> int:
    return sum(parameter.numel() for parameter in training.model.parameters())


def _sampled_epoch(training: Training, name: str, n_steps: int, device: torch.device) -> Implementation:
    """Time the first steps of an epoch, all of which are alike, and scale them to the whole."""
    first, total = FirstSteps(training.train, n_steps), len(training.train)

    def remote() -> Seconds:
        one = seconds_per_call(lambda: training.trainer._train_epoch(first, 0), device, 1)
        return Seconds(one.wall * total / len(first), one.device * total / len(first))

    note = f"one row per prefix, {training.n_rows} rows; {len(first)} of {total} steps measured"
    return Implementation(name=name, remote=remote, note=note)


def _whole_epoch(
    training: Training, name: str, note: str, device: torch.device, check: Callable[[], list[Check]] | None
) -> Implementation:
    def remote() -> Seconds:
        return seconds_per_call(lambda: training.trainer._train_epoch(training.train, 0), device, 1)

    remote()  # builds what is kept between epochs
    return Implementation(name=name, remote=remote, note=note, check=check)


def _same_loss(prefix: Training, autoregressive: Training) -> list[Check]:
    """Compare the summed loss of some sequences with that of all their prefixes, dropout off.

    Only of histories that fit the window: of longer ones RecBole's prefixes see more items than a training chunk has.
    """
    data: NASRDataset = autoregressive.train._dataset
    prefix.model.load_state_dict(autoregressive.model.state_dict())
    users, n_chunks = torch.unique(data[: len(data)][data.uid_field], return_counts=True)
    users = users[n_chunks == 1][:8]
    rows = data[torch.isin(data[: len(data)][data.uid_field], users).nonzero().flatten()]
    all_prefixes = prefix.train._dataset
    theirs = all_prefixes[torch.isin(all_prefixes[all_prefixes.uid_field], users).nonzero().flatten()]
    totals = []
    for training, interaction, loader in ((prefix, theirs, all_prefixes), (autoregressive, rows, data)):
        training.model.eval()
        with torch.no_grad():
            batch = training.train.transform(loader, interaction).to(training.model.device)
            targets = len(theirs)
            totals.append(float(training.model.calculate_loss(batch)) * targets)
    difference = abs(totals[0] - totals[1]) / max(totals[0], 1e-12) if all(map(math.isfinite, totals)) else math.nan
    return [Check("summed loss of sequences and of their prefixes", difference, 1e-5)]
