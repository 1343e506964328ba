from __future__ import annotations

import logging
import os
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
import yaml
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import recbole_nasr  # noqa: F401  (repairs RecBole before any test imports it)
from recbole_nasr.determinism import restored_determinism

torch.set_num_threads(1)  # tests are tiny: more threads only wait for each other

hypothesis.settings.register_profile(
    "recbole_nasr",
    deadline=None,  # two shared cores: a time limit would make tests fail by chance
    derandomize="CI" in os.environ,  # elsewhere every run tries other cases, and keeps those that fail
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
hypothesis.settings.load_profile("recbole_nasr")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def isolation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """RecBole reads sys.argv, sets CUDA_VISIBLE_DEVICES and all seeds, and writes to the current folder.

    Random numbers are the same in a test whatever ran before in its process, such as a fixture of a whole module.
    """
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.chdir(tmp_path)
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    deterministic = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with restored_determinism():
        yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = deterministic
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    if devices is None:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices


@pytest.fixture
def write_inter(tmp_path: Path) -> Callable[..., Path]:
    """Write ``<tmp>/data/<name>/<name>.inter`` and return ``<tmp>/data``."""

    def write(
        rows: Iterable[tuple[str, str, float]],
        name: str = "toy",
        header: str = "user_id:token\titem_id:token\ttimestamp:float",
    ) -> Path:
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        lines = [header, *("\t".join(str(value) for value in row) for row in rows)]
        (folder / f"{name}.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return folder.parent

    return write


@pytest.fixture
def toy(write_inter: Callable[..., Path]) -> Path:
    """The data_path of ``toy``: 12 users, each with 8 of 10 items in cyclic order."""
    rows = [(f"u{user}", f"i{(user + step) % 10}", float(step)) for user in range(12) for step in range(8)]
    return write_inter(rows)


class _NoSynchronisation(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: reading a value back, or a result whose size it decides.

    Also what waits there once torch is told to be deterministic, as it is by default: it then writes tensors to places
    by `index_put_`, which reads the range of the indices back (`_scatter_via_index_put` and `wrapIndexOnce` in ATen).
    """

    refused = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2")
    refused_if_deterministic = ("scatter_add", "index_add", "index_copy", "put")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert name not in self.refused, f"{func} waits for the device"
        writes_tensor = name.rstrip("_") == "scatter" and isinstance(args[3], torch.Tensor)
        writes_sum = name.startswith("scatter_reduce") and args[4] in ("sum", "mean")
        # The gradient of picked rows is an `index_put` only while a mode like this one looks on.
        puts = name == "index_put_" or (name == "index_put" and args[3:] != (True,))
        refused = writes_tensor or writes_sum or puts or name.rstrip("_") in self.refused_if_deterministic
        assert not refused, f"{func} waits for the device if it is to be deterministic"
        if name.startswith("index") and len(args) > 1 and isinstance(args[1], (list, tuple)):
            masks = [index for index in args[1] if index is not None and index.dtype in (torch.bool, torch.uint8)]
            assert not masks, f"{func} with a mask waits for the device"
        return func(*args, **(kwargs or {}))


class _Tape(_NoSynchronisation):
    """Records what a CUDA graph would: kernels and the tensors they work on, numbers of the host as they were."""

    computes_nothing = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")

    def __init__(self, function: Callable[..., Any], inputs: Iterable[torch.Tensor]) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.inputs = tuple(tensor.clone() for tensor in inputs)
        with self:
            self.output = function(*self.inputs)  # a CUDA graph would not run it yet: the first replay is left out
        self.n_replays = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = super().__torch_dispatch__(func, types, args, kwargs)
        if not func.is_view and func.overloadpacket.__name__ not in self.computes_nothing:
            self.calls.append((func, args, kwargs or {}, output))
        return output

    @torch.no_grad()
    def replay(self, inputs: Iterable[torch.Tensor]) -> torch.Tensor:
        self.n_replays += 1
        if self.n_replays > 1:
            for held, given in zip(self.inputs, inputs, strict=True):
                held.copy_(given)
            for func, args, kwargs, output in self.calls:
                again = func(*args, **kwargs)
                for held, new in zip(tree_leaves(output), tree_leaves(again), strict=True):
                    if isinstance(held, torch.Tensor) and held is not new:
                        held.copy_(new)
        return self.output.clone()


@pytest.fixture
def tapes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let steps be captured on the CPU, on tapes instead of CUDA graphs; return those that are made."""
    from recbole_nasr.nets import graphs
    from recbole_nasr.search import augmentation

    made: list[Any] = []

    def capture(step: Any, inputs: Iterable[torch.Tensor]) -> Any:
        made.append(_Tape(step._function, inputs))
        return made[-1]

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(graphs, "_on_gpu", lambda _tensor: True)
    monkeypatch.setattr(graphs, "waiting_refused", _NoSynchronisation)
    monkeypatch.setattr(graphs.GraphedStep, "_aside", lambda step, inputs: step._function(*inputs))
    monkeypatch.setattr(graphs.GraphedStep, "_capture", capture)
    _leave_padding_in(monkeypatch)
    # A CPU sorts with NumPy, which no tape sees.
    monkeypatch.setattr(augmentation, "_lowest", lambda keys, n: keys.topk(n, dim=1, largest=False).indices)
    return made


@pytest.fixture
def no_synchronisation(monkeypatch: pytest.MonkeyPatch) -> TorchDispatchMode:
    """A context in which anything fails that would make the host wait for a GPU; tested on the CPU."""
    _leave_padding_in(monkeypatch)
    return _NoSynchronisation()


def _leave_padding_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute at padding too, as on a GPU."""
    from recbole_nasr.nets import padding

    monkeypatch.setattr(padding, "READ_AT_ONCE", ())


SMALL: dict[str, dict[str, Any]] = {
    "NASR": {"architecture": "transformer_h2,tcn_d1_2", "n_blocks": 1},
    "NASRSearch": {
        "candidate_ops": ["transformer_h2", "transformer_h4", "tcn_d1_2"],
        "n_layers": 3,
        "n_blocks": 2,
        "search_epochs": 1,
        "search_min_steps": 0,  # else a hundred per block or more, whatever the data
        "search_holdout_ratio": 0.3,
    },
    "SASRec": {"n_layers": 1, "n_heads": 2, "inner_size": 8, "train_neg_sample_args": None},
    "GRU4Rec": {"embedding_size": 8, "train_neg_sample_args": None},
    "NextItNet": {},
}


@pytest.fixture
def assemble(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., SimpleNamespace]:
    """Return a function that puts config, loaders, model and trainer together as RecBole's quick start does.

    What makes a model small is in a file, which may hold more than the search of a test reads.
    """
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    def put_together(model: str, data_path: Path, dataset: str = "toy", **settings: Any) -> SimpleNamespace:
        common = {
            "data_path": str(data_path),
            "hidden_size": 8,
            "epochs": 2,
            "train_batch_size": 5,
            "metrics": ["NDCG", "Recall"],
            "topk": [1, 5],
            "valid_metric": "NDCG@5",
            "metric_decimal_place": 8,
            "gpu_id": "",
            "state": "ERROR",
        }
        file = tmp_path_factory.mktemp("settings") / "small.yaml"
        file.write_text(yaml.safe_dump(SMALL[model]))
        config = Config(model, dataset, config_file_list=[str(file)], config_dict={**common, **settings})
        init_seed(config["seed"], config["reproducibility"])
        train, valid, test = data_preparation(config, create_dataset(config))
        network = get_model(model)(config, train._dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
        return SimpleNamespace(config=config, train=train, valid=valid, test=test, model=network, trainer=trainer)

    return put_together
