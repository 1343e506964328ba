from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest

from recbole_nasr.space import Architecture
from recbole_nasr.studies.fidelity_predictions import prediction_taus
from recbole_nasr.studies.fidelity_statistics import Array, Measure

NAMES = ("transformer_h2", "tcn_d1_2")
NETWORKS = [Architecture((layers,)) for layers in itertools.product(NAMES, repeat=4)]
ATTENTION = np.array([network.layers.count(NAMES[0]) for network in NETWORKS], dtype=float)


def prediction_tau(scores: Mapping[int, Array], truth: Mapping[int, Array], n: int) -> Measure:
    return prediction_taus(NETWORKS, scores, {"valid": truth}, n)["valid"]


def test_networks_that_differ_in_one_count_alone_are_predicted_from_a_few() -> None:
    found = prediction_tau({1: ATTENTION}, {1: ATTENTION}, 8)
    # Equal truths are ties, which a prediction that tells places apart breaks: τ-b stays below 1.
    assert found.value > 0.8
    assert found.low <= found.value <= found.high


def test_more_networks_predict_better() -> None:
    noisy = ATTENTION + np.random.default_rng(0).normal(scale=0.7, size=len(NETWORKS))
    few, many = (prediction_tau({1: noisy}, {1: ATTENTION}, n).value for n in (3, 10))
    assert few < many


def test_noise_predicts_nothing() -> None:
    draws = np.random.default_rng(1).normal(size=(40, len(NETWORKS)))
    found = [prediction_tau({1: noise}, {1: ATTENTION}, 8).value for noise in draws[:10]]
    assert abs(float(np.mean(found))) < 0.3


def test_the_truth_of_a_seed_is_what_its_prediction_is_held_against() -> None:
    one = prediction_tau({1: ATTENTION}, {1: ATTENTION}, 8).value
    other = prediction_tau({1: ATTENTION}, {1: -ATTENTION}, 8).value
    both = prediction_tau({1: ATTENTION, 2: ATTENTION}, {1: ATTENTION, 2: -ATTENTION}, 8).value
    assert other == pytest.approx(-one)
    assert both == pytest.approx(0, abs=1e-12)


def test_several_truths_are_held_against_one_prediction() -> None:
    truths = {"valid": {1: ATTENTION}, "test": {1: -ATTENTION}}
    found = prediction_taus(NETWORKS, {1: ATTENTION}, truths, 8)
    assert found == {name: prediction_tau({1: ATTENTION}, truth, 8) for name, truth in truths.items()}
