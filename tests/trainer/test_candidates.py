from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recbole_nasr.errors import ConfigError, NumericalError
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.search.shortlist import Candidate
from recbole_nasr.space import Architecture
from recbole_nasr.trainer import searching
from recbole_nasr.trainer.candidates import Trained, Trainings
from recbole_nasr.trainer.contest import Contest
from recbole_nasr.trainer.verification import Verification

Assemble = Callable[..., SimpleNamespace]

VERIFIED = {"search_verify": 2, "search_verify_ties": 1, "search_verify_random": 1, "epochs": 3, "eval_step": 1}


@pytest.mark.parametrize("scheme", ["autoregressive", "prefix"])
def test_the_winner_is_what_training_it_alone_gives_and_no_pure_network_validates_better(
    scheme: str, assemble: Assemble, toy: Path
) -> None:
    run = assemble("NASRSearch", toy, train_scheme=scheme, halving_epochs=1, **VERIFIED)
    valid = run.trainer.fit(run.train, run.valid)
    found = run.trainer.verification
    assert run.model.architecture == found.winner.candidate.architecture
    assert valid[0] == found.winner.score
    origins = [origin for one in found.trained for origin in one.candidate.origins]
    assert [origins.count(name) for name in ("search", "next by score", "tied", "random")] == [1, 1, 1, 1]
    pure = [one for one in found.trained if "pure" in one.candidate.origins]
    operations = ("transformer_h2", "transformer_h4", "tcn_d1_2")
    assert {one.candidate.architecture.layers for one in pure} == {(name,) * 3 for name in operations}
    assert not any(one.stopped for one in pure)
    assert max(one.score for one in pure) <= valid[0]
    assert run.trainer.stage_seconds.keys() == {"search", "verification"}

    settings = {"train_scheme": scheme, "epochs": 3, "eval_step": 1}
    for one in [found.winner, found.trained[-1]]:  # every candidate is trained as it would be alone
        alone = assemble("NASR", toy, architecture=one.candidate.architecture.to_nested(), **settings)
        scores: dict[int, float] = {}
        result = alone.trainer.fit(
            alone.train, alone.valid, callback_fn=lambda epoch, score, scores=scores: scores.update({epoch + 1: score})
        )
        assert one.scores == {epoch: scores[epoch] for epoch in one.scores}
        assert one.stopped == (one.scores != scores)
        if one is found.winner:
            assert result == valid
            assert alone.trainer.train_loss_dict == run.trainer.train_loss_dict
            assert alone.trainer.evaluate(alone.test) == run.trainer.evaluate(run.test)


def test_metrics_that_need_the_training_part_are_measured_beforehand_too(assemble: Assemble, toy: Path) -> None:
    settings = {"search_preset": "random", "search_networks": 1, "epochs": 1, "eval_step": 1, "topk": [5]}
    run = assemble("NASRSearch", toy, **settings, metrics=["NDCG", "GiniIndex", "AveragePopularity"])
    run.trainer.fit(run.train, run.valid, saved=False)
    assert run.trainer.verification.epoch_seconds > 0


@pytest.mark.parametrize("strategy", ["random", "halving"])
def test_a_baseline_trains_different_random_networks_and_takes_the_best_on_validation(
    strategy: str, assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "search", None)  # no supernet
    settings: dict[str, Any] = {"search_preset": strategy, "search_networks": 3, "epochs": 2, "eval_step": 1}
    if strategy == "halving":
        settings["halving_epochs"] = 1
    run = assemble("NASRSearch", toy, **settings)
    valid = run.trainer.fit(run.train, run.valid)
    trained = run.trainer.verification.trained
    assert len({one.candidate.architecture for one in trained}) == 3
    assert valid[0] == max(one.score for one in trained)
    assert not any(one.stopped for one in trained) or strategy == "halving"
    assert run.trainer.stage_seconds.keys() == {"search"}
    assert run.trainer.search_result is None
    again = assemble("NASRSearch", toy, **settings)
    again.trainer.fit(again.train, again.valid, saved=False)
    assert again.model.architecture == run.model.architecture


def test_a_time_that_is_up_at_once_leaves_one_random_network(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASRSearch", toy, search_preset="random", search_time=1e-9, epochs=1, eval_step=1)
    run.trainer.fit(run.train, run.valid, saved=False)
    assert len(run.trainer.verification.trained) == 1


def test_a_budget_restricts_what_is_found_trained_and_drawn(assemble: Assemble, toy: Path) -> None:
    costs = {}
    for name in ("transformer_h2", "tcn_d1_2"):
        run = assemble("NASR", toy, architecture=",".join([name] * 3))
        costs[name] = sum(weight.numel() for weight in run.model.parameters())
    limit = min(costs.values())
    run = assemble("NASRSearch", toy, max_parameters=limit, **VERIFIED)
    run.trainer.fit(run.train, run.valid, saved=False)
    assert [one.costs["parameters"] for one in run.trainer.verification.trained] == [limit]
    assert sum(weight.numel() for weight in run.model.parameters()) == limit
    assert len(run.trainer.verification.left_out) == 2


def test_an_impossible_budget_is_refused_before_the_search(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "search", None)
    run = assemble("NASRSearch", toy, max_parameters=10)
    with pytest.raises(ConfigError, match="must be at least"):
        run.trainer.fit(run.train, run.valid)


def test_a_network_that_takes_longer_as_a_whole_than_by_its_layers_is_warned_of(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(searching, "network_latency_ms", lambda *_: 2e6)
    run = assemble("NASRSearch", toy, max_latency_ms=1e6, epochs=1)
    with caplog.at_level(logging.WARNING):
        run.trainer.fit(run.train, run.valid, saved=False)
    assert "takes 2000000.00 ms, more than `max_latency_ms`=1e+06" in caplog.text
    assert run.trainer.latency_ms == 2e6


def test_networks_cannot_be_compared_without_validation(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASRSearch", toy, search_verify=1)
    with pytest.raises(ConfigError, match="there are none"):
        run.trainer.fit(run.train)
    with pytest.raises(ConfigError, match="`eval_step` must be at least 1"):
        assemble("NASRSearch", toy, search_verify=1, eval_step=0)


CURVES = {  # validation scores of epochs 1 to 4
    "a": [0.1, 0.2, 0.3, 0.4],
    "b": [0.4, 0.4, 0.4, 0.3],
    "c": [0.3, 0.3, 0.3, 0.3],
    "d": [0.2, 0.5, 0.5, 0.9],
    "e": [0.45, 0.6, 0.5, 0.4],
}


class Rehearsed(Trainings):
    """Stands for the trainings: every candidate has the scores written down for it."""

    def __init__(
        self, curves: dict[str, list[float]], *, bigger: bool = True, fails: str = "", eval_step: int = 1
    ) -> None:
        config = {"epochs": 4, "eval_step": eval_step, "valid_metric": "NDCG@5", "valid_metric_bigger": bigger}
        super().__init__(config, None, None, lambda _: 1.0)
        self.curves, self.fails = curves, fails

    def seconds_per_epoch(self, candidate: Candidate) -> float:
        return 1.5

    def train(self, candidate: Candidate, goes_on: Callable[[int, float], bool]) -> Trained:
        better = max if self.config["valid_metric_bigger"] else min
        curve, seen = self.curves[candidate.origins[0]], {}
        epoch = 0
        for epoch, score in enumerate(curve, start=1):
            if epoch % self.config["eval_step"]:
                continue
            seen[epoch] = score
            if not goes_on(epoch, better(seen.values())):
                break
        failed = candidate.origins[0] == self.fails
        return Trained(
            candidate=candidate,
            score=math.nan if failed else better(seen.values()),
            best_epoch=1,
            epochs=epoch,
            scores=seen,
            stopped=epoch < len(curve),
            seconds=2.0 * epoch,
            costs={"parameters": 1.0, "flops": 1.0, "latency_ms": 1.0},
            failure="loss" if failed else "",
        )


def compete(order: str = "abcde", kept: str = "", plan: dict[str, Any] | None = None, **how: Any) -> Verification:
    names = ("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4", "gru")
    candidates = [Candidate(Architecture(((names["abcde".index(name)],),)), (name,)) for name in order]
    settings = StrategySettings(**{"strategy": "halving", "first_epochs": 1, "factor": 2, **(plan or {})})
    return Contest(settings, Rehearsed(CURVES, **how), kept=tuple(kept)).run(candidates)


def fate(found: Verification) -> dict[str, int]:
    """Epochs that each candidate was trained."""
    return {one.candidate.origins[0]: one.epochs for one in found.trained}


def test_one_in_two_of_those_that_came_as_far_goes_on() -> None:
    # Rungs after epochs 1 and 2. After 1: a alone; b is the best of 2; c not of 3; d not of 4's best two (b, c);
    # e is among the best two of 5. After 2: a alone; b the best of 2; e the best of 3.
    found = compete()
    assert fate(found) == {"a": 4, "b": 4, "c": 1, "d": 1, "e": 4}
    assert [one.candidate.origins[0] for one in found.ranking[:2]] == ["e", "a"]
    assert found.rungs == (1, 2)
    assert found.epochs == 14


def test_a_kept_candidate_is_trained_first_and_to_the_end_and_the_others_are_compared_with_it() -> None:
    found = compete(kept="de")
    assert list(fate(found)) == ["d", "e", "a", "b", "c"]
    assert fate(found) == {"d": 4, "e": 4, "a": 1, "b": 2, "c": 1}  # without d and e, a would have gone on
    assert found.winner.candidate.origins == ("d",)


def test_candidates_that_come_one_by_one_are_asked_for_when_those_before_are_trained(
    caplog: pytest.LogCaptureFixture,
) -> None:
    contest = Contest(StrategySettings(strategy="predictor", networks=3), Rehearsed(CURVES))
    seen = []

    def candidates() -> Iterator[Candidate]:
        for name, operation in (("b", "transformer_h2"), ("a", "tcn_d1_2"), ("c", "gru")):
            seen.append(len(contest.trained))
            yield Candidate(Architecture(((operation,),)), (name,))

    with caplog.at_level(logging.INFO):
        found = contest.run(candidates(), 4)
    assert seen == [0, 1, 2]
    assert fate(found) == {"b": 4, "a": 4, "c": 4}
    lines = [record.getMessage() for record in caplog.records]
    assert lines[:2] == [
        "candidates: 4 networks, 4 of them trained to the end",
        "candidates: 16 epochs, 24.0 s at 1.50 s an epoch, if no training ends early; most do",
    ]
    assert lines[2].startswith("candidate 1/4 (b)")
    assert lines[-1] == "candidates: there are no more than 3 different networks within the budget"


def test_a_first_candidate_that_cannot_be_measured_leaves_the_others_their_chance(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def seconds_per_epoch(self: Rehearsed, candidate: Candidate) -> float:
        msg = "not finite"
        raise NumericalError(msg)

    monkeypatch.setattr(Rehearsed, "seconds_per_epoch", seconds_per_epoch)
    with caplog.at_level(logging.INFO):
        found = compete("de", plan={"strategy": "random"}, fails="d")
    assert found.winner.candidate.origins == ("e",)
    assert "candidates: 8 epochs, if no training ends early; most do" in caplog.text


def test_random_search_stops_nobody() -> None:
    assert set(fate(compete(plan={"strategy": "random"})).values()) == {4}


def test_a_smaller_score_wins_where_smaller_is_better() -> None:
    assert compete(plan={"strategy": "random"}, bigger=False).winner.candidate.origins == ("a",)


def test_equal_scores_go_to_the_first_in_lexicographic_order() -> None:
    found = compete("bac", plan={"strategy": "random"})  # a and b: 0.4
    assert [one.candidate.origins[0] for one in found.ranking] == ["a", "b", "c"]  # transformer_h2 < transformer_h4


def test_a_candidate_that_cannot_be_trained_does_not_win() -> None:
    found = compete("de", plan={"strategy": "random"}, fails="d")
    assert found.winner.candidate.origins == ("e",)
    assert found.trained[0].decision == "failed: loss"
    with pytest.raises(NumericalError, match="None of the 1 candidates"):
        compete("d", fails="d")


def test_the_cost_is_said_before_the_first_training_and_again_when_one_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        found = compete(kept="de")
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "candidates: 5 networks, 2 of them trained to the end, the others compared after epochs 1, 2"
    # 2 kept for 4 epochs, 3 others for 1, 2 of them for 1 more, 1 of these for the last 2.
    assert lines[1] == "candidates: 15 epochs, 22.5 s at 1.50 s an epoch, if no training ends early; most do"
    assert lines[2].startswith("candidate 1/5 (d): ndcg@5 0.9000")
    assert lines[3] == "candidates: at 4 epochs a training about 15 in all, 30.0 s"
    best = [line.partition("; best so far ")[2] for line in lines if line.startswith("candidate ")]
    assert (best[0], best[-1]) == ("0.9000 (d)", f"{found.winner.score:.4f} ({found.winner.candidate.origins[0]})")
    assert (found.planned_epochs, found.epoch_seconds) == (15, 1.5)


def test_where_no_comparison_comes_before_the_last_epoch_all_are_said_to_be_trained_to_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        compete("dabc", kept="d", plan={"first_epochs": 4})
    assert caplog.records[0].getMessage() == "candidates: 4 networks, 4 of them trained to the end"


def test_networks_are_compared_when_they_are_validated(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        found = compete("dabc", eval_step=3)  # so that the comparisons after epochs 1 and 2 come after 3
    assert fate(found) == {"d": 4, "a": 3, "b": 3, "c": 3}
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "candidates: 4 networks, 0 of them trained to the end, the others compared after epochs 3"
    assert (found.rungs, found.planned_epochs, found.epochs) == ((3,), 13, 13)


def test_a_training_that_has_come_to_its_last_epoch_is_not_stopped_there(monkeypatch: pytest.MonkeyPatch) -> None:
    went_on: dict[str, list[bool]] = {}
    train = Rehearsed.train

    def watched(self: Rehearsed, candidate: Candidate, goes_on: Callable[[int, float], bool]) -> Trained:
        answers = went_on[candidate.origins[0]] = []

        def noted(epoch: int, best: float) -> bool:
            answers.append(goes_on(epoch, best))
            return answers[-1]

        return train(self, candidate, noted)

    monkeypatch.setattr(Rehearsed, "train", watched)
    compete("dabc", plan={"first_epochs": 4})  # all but d are worse after the last of 4
    assert went_on == {name: [True] * 4 for name in "dabc"}


def test_a_loss_that_is_not_finite_ends_one_candidate_alone(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assemble("NASR", toy)

    def fit(self: Any, *_: Any, **__: Any) -> Any:
        msg = "not finite"
        raise NumericalError(msg)

    monkeypatch.setattr("recbole_nasr.trainer.candidates.NASRTrainer.fit", fit)
    trainings = Trainings(run.config, run.train, run.valid, lambda _: 0.0)
    one = trainings.train(Candidate(Architecture.parse("tcn_d1_2"), ("random",)), lambda *_: True)
    assert one.failure == "not finite"
    assert math.isnan(one.score)


def test_of_equal_scores_the_best_epoch_is_the_last_whose_weights_are_kept(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assemble("NASR", toy, epochs=3, eval_step=1)
    scores = iter([0.2, 0.5, 0.5])

    def valid_epoch(*_: Any, **__: Any) -> tuple[float, dict[str, float]]:
        score = next(scores)
        return score, {"ndcg@5": score}

    monkeypatch.setattr("recbole_nasr.trainer.candidates.NASRTrainer._valid_epoch", valid_epoch)
    trainings = Trainings(run.config, run.train, run.valid, lambda _: 0.0)
    one = trainings.train(Candidate(Architecture.parse("tcn_d1_2"), ("random",)), lambda *_: True)
    assert (one.score, one.best_epoch) == (0.5, 3)
