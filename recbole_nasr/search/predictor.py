"""What a network will validate at, predicted from others that were trained: a linear model of their layers.

Choosing what to train next by such a prediction is predictor-based search (Wen et al., Neural Predictor for Neural
Architecture Search, ECCV 2020; White et al., How Powerful are Performance Predictors in NAS?, NeurIPS 2021). The
features here are as few as a dozen trainings can bear: how many layers are of a family, which family each layer is of,
and how many layers have an operation. The paper has nothing of the kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from recbole_nasr.search.best_networks import best_networks
from recbole_nasr.search.budget import Budget
from recbole_nasr.space import Path
from recbole_nasr.space.strata import family_of

Values = npt.NDArray[np.float64]

FAMILY, FAMILY_IN_LAYER, OPERATION = 1.0, 0.5, 0.25
"""Prior standard deviation of what a layer of a family is worth, what more it is worth in one place, and what more one
operation of the family is worth; in the same unit."""

NOISE = 3.0
"""Variance of one training's score, in the unit of the priors: the penalty of the ridge regression."""


def layer_values(networks: Sequence[Path], scores: Sequence[float], operations: Sequence[str]) -> Values:
    """Return what each operation is worth in each layer, ``(layers, operations)``, by ridge regression.

    The predicted score of a network is the sum of its layers' values, and a constant that is the same for all.

    Args:
        networks: Operations by layer of networks that were trained, as indices; all of one depth; one at least.
        scores: What they validated at, higher is better.
        operations: Names of the operations.
    """
    features = _features(len(networks[0]), operations)
    layers = np.arange(len(networks[0]))
    rows = np.stack([features[layers, list(network)].sum(axis=0) for network in networks])
    rows -= rows.mean(axis=0)
    centred = np.asarray(scores, dtype=np.float64) - np.mean(scores)
    penalty = NOISE * np.eye(rows.shape[1])
    weights = np.linalg.solve(rows.T @ rows + penalty, rows.T @ centred)
    values: Values = features @ weights
    return values


def _features(n_layers: int, operations: Sequence[str]) -> Values:
    """Return what tells an operation in a layer from others, ``(layers, operations, features)``."""
    families = sorted({family_of(name) for name in operations})
    family = np.array([[family_of(name) == other for other in families] for name in operations], dtype=np.float64)
    here = np.einsum("lm,of->lomf", np.eye(n_layers), family).reshape(n_layers, len(operations), -1)
    everywhere = np.concatenate([FAMILY * family, OPERATION * np.eye(len(operations))], axis=1)
    repeated = np.broadcast_to(everywhere, (n_layers, *everywhere.shape))
    return np.concatenate([repeated, FAMILY_IN_LAYER * here], axis=2)


def best_predicted(values: Values, budget: Budget) -> Iterator[Path]:
    """Yield networks within the budget, the best prediction first.

    Args:
        values: Of each operation in each layer, higher is better.
        budget: What a network may cost.
    """
    n_layers, n_operations = values.shape
    layers = [[(operation,) for operation in range(n_operations)]] * n_layers
    yield from (network for _, network in best_networks(layers, list(-values), budget))
