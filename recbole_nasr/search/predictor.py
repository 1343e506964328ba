"""What a network will validate at, predicted from others that were trained: a linear model of their layers.

Choosing what to train next by such a prediction is predictor-based search (Wen et al., Neural Predictor for Neural
Architecture Search, ECCV 2020; White et al., How Powerful are Performance Predictors in NAS?, NeurIPS 2021). The
features here are as few as a dozen trainings can bear: how many layers are of a family, which family each layer is of,
and how many layers have an operation. The paper has nothing of the kind.

Networks that differ in where their empty layers stand alone compute the same, so that there is one prediction for them:
that for the network which has them at the end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from recbole_nasr.ops.registry import family_of
from recbole_nasr.search.best_networks import best_networks
from recbole_nasr.search.budget import Budget
from recbole_nasr.space import Path
from recbole_nasr.space.strata import EMPTY

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
        networks: Operations by layer of networks that were trained, as indices, empty layers last; all of one depth;
            one at least.
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


def best_predicted(values: Values, operations: Sequence[str], budget: Budget) -> Iterator[Path]:
    """Yield networks within the budget, empty layers last, the best prediction first.

    Args:
        values: Of each operation in each layer, higher is better.
        operations: Names of the operations.
        budget: What a network may cost.
    """
    n_layers = len(values)
    if EMPTY not in operations:
        of_depths = [_of_depth(n_layers, -values, None, budget)]
    else:
        empty = list(operations).index(EMPTY)
        of_depths = [_of_depth(depth, -values, empty, budget) for depth in range(n_layers + 1)]
    yield from (network for _, network in heapq.merge(*of_depths))


def _of_depth(depth: int, scores: Values, empty: int | None, budget: Budget) -> Iterator[tuple[float, Path]]:
    """Yield networks of which the first ``depth`` layers are not ``empty`` and the others are, lowest score first."""
    full = [operation for operation in range(scores.shape[1]) if operation != empty]
    if depth and not full:
        return
    parts: list[list[Path]] = [[(operation,) for operation in full]] * depth
    of_parts = [scores[layer, full] for layer in range(depth)]
    rest = () if empty is None else (empty,) * (len(scores) - depth)
    if rest:
        parts.append([rest])
        of_parts.append(scores[depth:, empty].sum(keepdims=True))
    for score, chosen in best_networks(parts, of_parts, budget):
        yield score, (*(full[index] for index in chosen[:depth]), *rest)
