"""How well a few trained networks predict the order of the others: what the search `predictor` rests on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from recbole_nasr.search.predictor import layer_values
from recbole_nasr.space import Architecture
from recbole_nasr.space.strata import empty_last
from recbole_nasr.studies.fidelity_statistics import Array, Measure, interval, tau

SIZES = (4, 8, 16, 32)
"""How many networks the others are predicted from, as far as :data:`LEAST_LEFT` others are left."""

LEAST_LEFT = 8
N_DRAWS = 200

_DIGITS = 12


def prediction_taus(
    networks: Sequence[Architecture],
    scores: Mapping[int, Array],
    truths: Mapping[str, Mapping[int, Array]],
    n: int,
) -> dict[str, Measure]:
    """Return Kendall's τ between prediction and each truth of the networks that a prediction from ``n`` others is for.

    The value is the mean over training seeds and ``N_DRAWS`` draws of ``n`` networks; the range holds 95 % of the
    draws. It is no confidence interval: all draws share the same networks.

    Args:
        networks: All of one depth.
        scores: What they validated at, higher is better, by training seed: what the prediction is made from.
        truths: What the prediction is held against, by name, and for each by the same seeds.
        n: How many networks a prediction is made from.
    """
    operations = sorted({name for network in networks for name in network.layers})
    paths = [tuple(operations.index(name) for name in empty_last(network.layers)) for network in networks]
    layers = np.arange(len(paths[0]))
    shuffled = [np.random.default_rng((0, draw)).permutation(len(paths)) for draw in range(N_DRAWS)]

    def predictions(known: Array) -> Iterator[Array]:
        for order in shuffled:
            values = layer_values([paths[i] for i in order[:n]], known[order[:n]].tolist(), operations)
            # Rounded, or the last bit would break the ties of networks with the same layers in another order.
            yield np.array([round(float(values[layers, list(paths[i])].sum()), _DIGITS) for i in order[n:]])

    left = np.stack([order[n:] for order in shuffled])
    predicted = {training: np.stack(list(predictions(known))) for training, known in scores.items()}
    return {
        name: _over_draws([tau(predicted[training], truth[training][left]) for training in scores])
        for name, truth in truths.items()
    }


def _over_draws(taus: Sequence[Array]) -> Measure:
    """Return the mean of ``taus``, one ``(draws,)`` for each training seed, and the range over the draws."""
    of_draws = np.nanmean(np.stack(taus), axis=0)
    return Measure(float(np.nanmean(of_draws)), *interval(of_draws))
