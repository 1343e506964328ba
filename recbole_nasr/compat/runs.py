"""Repairs of RecBole's computations: models, metrics, hyper-parameter search."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from typing import Any

from recbole_nasr.compat.repair import repair
from recbole_nasr.patching import variant, wrap


@repair(
    "evaluator/collector.py",
    227,
    ".cpu()",
    versions=("1.2.1",),
    why="ItemCoverage, GiniIndex, AveragePopularity and TailPercentage crash: 'int' object has no attribute 'cpu'.",
)
def keep_counts_in_collector() -> bool:
    """Let the evaluation collector store plain objects: the number of items and the popularity counter."""
    import recbole
    from recbole.evaluator.collector import Collector

    if recbole.__version__ != "1.2.1":
        return False

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_data_struct(self: Any) -> Any:
            collected = vars(self.data_struct)["_data_dict"]
            plain = {key: value for key, value in collected.items() if not hasattr(value, "cpu")}
            for key in plain:
                del collected[key]
            returned = original(self)
            collected.update(plain)
            vars(returned)["_data_dict"].update(plain)
            return returned

        return get_data_struct

    wrap(Collector, "get_data_struct", make)
    return True


@repair(
    "trainer/hyper_tuning.py",
    117,
    "rng = np.random.RandomState(seed)",
    why="HyperTuning's exhaustive search draws with a generator that hyperopt no longer takes.",
)
def modernise_exhaustive_search() -> bool:
    """Let the exhaustive search of `HyperTuning` use NumPy's ``Generator``, as hyperopt does since 0.2.6."""
    import numpy as np
    import recbole.trainer.hyper_tuning as module

    try:
        version = importlib.metadata.version("hyperopt")
    except importlib.metadata.PackageNotFoundError:
        return False
    if tuple(int(part) for part in version.split(".")[:3] if part.isdigit()) < (0, 2, 6):
        return False

    module.np = variant(np, random=variant(np.random, RandomState=np.random.default_rng))
    return True


@repair(
    "model/sequential_recommender/ksr.py",
    92,
    "self.relation_Matrix = torch.from_numpy(",
    why="KSR multiplies single by double precision and stops: expected m1 and m2 to have the same dtype.",
)
def keep_ksr_in_single_precision() -> bool:
    """Convert KSR's relation vectors, which come from a NumPy matrix, to the precision of its other weights."""
    from recbole.model.sequential_recommender import KSR

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            self.relation_Matrix = self.relation_Matrix.float()

        return initialise

    wrap(KSR, "__init__", make)
    return True


@repair(
    "quick_start/quick_start.py",
    141,
    "flops = get_flops(",
    versions=("1.2.1",),
    why="GRU4RecCPR and SASRecCPR refuse to score single items, which run_recbole asks of every model for its FLOPs.",
)
def skip_refused_flops() -> bool:
    """Run a model whose ``predict`` is ``assert False`` without counting its FLOPs."""
    import recbole
    import recbole.quick_start.quick_start as module

    if recbole.__version__ != "1.2.1":
        return False

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_flops(model: Any, *args: Any, **kwargs: Any) -> Any:
            if type(model).__name__ in ("GRU4RecCPR", "SASRecCPR"):
                return None
            return original(model, *args, **kwargs)

        return get_flops

    wrap(module, "get_flops", make)
    return True
