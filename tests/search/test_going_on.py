"""A search that is stopped anywhere and goes on finds what an uninterrupted one finds, to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from recbole_nasr.errors import NumericalError
from recbole_nasr.keeping import Keeper, plain
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import (
    SearchProblem,
    SearchResult,
    SearchSequences,
    SearchSettings,
    score_architectures,
    search,
)
from recbole_nasr.search.next_item import NextItem
from recbole_nasr.search.objective import Objective
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import SearchSpace

SMALL = SearchSettings(epochs=2, n_paths=2, batch_size=8, holdout_ratio=0.25, learning_rate_decay=0.5, decay_steps=2)
KINDS = {
    "paper": SMALL,
    "improved": replace(
        SMALL, path_sampling="fair", symmetric=True, target_momentum=0.9, leave_one_out=True, view_pairs=2, beam=2
    ),
    "next item": replace(SMALL, objective="next_item", path_sampling="fair"),
    "whole": replace(SMALL, objective="next_item", scope="whole"),
    "whole of views": replace(SMALL, scope="whole", target_momentum=0.9),
    "evolution": replace(
        SMALL,
        objective="next_item",
        scope="whole",
        choice="evolution",
        evolution_networks=8,
        evolution_population=4,
        evolution_tournament=2,
    ),
}


class Killed(BaseException):
    """The process is gone."""


class FallingKeeper(Keeper):
    """Dies the n-th time somebody comes by, after it has saved what it saves."""

    def __init__(self, folder: Path, interval: float, n: int) -> None:
        super().__init__(folder, interval)
        self.left = n
        self.reached: list[str] = []

    def step(self) -> None:
        super().step()
        self._fall("training")

    def stage(self, name: str) -> None:
        super().stage(name)
        self._fall("ranking" if "rank" in name or "evolve" in name else "between blocks")

    def _fall(self, where: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.reached.append(where)
            raise Killed


def problem(sequences: SearchSequences, settings: SearchSettings) -> SearchProblem:
    return SearchProblem(
        sequences=sequences,
        space=SearchSpace(("transformer_h2", "tcn_d1_2"), (2, 1)),
        n_items=30,
        layer_settings=LayerSettings(hidden_size=8),
        settings=settings,
        seed=5,
    )


def content(value: Any) -> Any:
    """Return everything in a result, numbers to the last bit."""
    if isinstance(value, SearchResult):
        return content(plain(value))
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {key: content(item) for key, item in value.items()}
    return [content(item) for item in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize(("kind", "interval"), [*((kind, 0.0) for kind in KINDS), ("improved", 1e9)])
def test_killed_again_and_again_it_finds_the_same(
    kind: str, interval: float, tmp_path: Path, make_sequences: Callable[..., SearchSequences]
) -> None:
    given = problem(make_sequences(24), KINDS[kind])
    expected = content(search(given))
    where: list[str] = []
    lives = iter([3, 4, 1, 2, 4, 3, 1, 3, *[9] * 20])  # with a long interval only stages are saved
    while True:
        keeper = FallingKeeper(tmp_path, interval, next(lives))
        keeper.load()
        try:
            found = search(given, keeper=keeper)
            break
        except Killed:
            where += keeper.reached
            torch.manual_seed(len(where))  # another process has another random state
    assert content(found) == expected
    assert len(where) > 2
    if interval == 0:
        assert {"training", "ranking"} <= set(where)


@pytest.mark.parametrize("kind", ["paper", "whole"])
def test_given_networks_have_the_same_scores_from_a_supernet_that_was_killed_again_and_again(
    kind: str, tmp_path: Path, make_sequences: Callable[..., SearchSequences]
) -> None:
    given = problem(make_sequences(24), KINDS[kind])
    networks = [given.space.architecture(paths) for paths in (((0, 1), (0,)), ((1, 1), (1,)))]
    expected = score_architectures(given, networks)
    where: list[str] = []
    lives = iter([2, 1, 2, *[1] * 5, *[9] * 20])
    while True:
        keeper = FallingKeeper(tmp_path, 0.0, next(lives))
        keeper.load()
        try:
            found = score_architectures(given, networks, keeper=keeper)
            break
        except Killed:
            where += keeper.reached
            torch.manual_seed(len(where))  # another process has another random state
    assert found == expected
    assert where.count("training") > 2
    if kind == "paper":
        assert "ranking" in where


def test_a_scoring_that_is_killed_starts_over_from_the_trained_supernet(
    tmp_path: Path, make_sequences: Callable[..., SearchSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = problem(make_sequences(24), KINDS["whole"])
    networks = [given.space.architecture(((0, 1), (0,)))]
    expected = score_architectures(given, networks)

    def killed(*_args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(NextItem, "score", killed)
        with pytest.raises(Killed):
            score_architectures(given, networks, keeper=Keeper(tmp_path, 1e9))
    keeper = Keeper(tmp_path, 1e9)
    assert keeper.load() == "search: score 1 given network"
    with monkeypatch.context() as patch:
        patch.setattr(BlockTrainer, "step", killed)  # nothing is trained again
        assert score_architectures(given, networks, keeper=keeper) == expected


def test_a_ranking_that_is_killed_in_the_middle_starts_over(
    tmp_path: Path, make_sequences: Callable[..., SearchSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = problem(make_sequences(24), KINDS["paper"])
    expected = content(search(given))
    advanced: list[Any] = []

    class Progress:
        def advance(self, n: int = 1, **_info: object) -> None:
            advanced.append(n)
            if len(advanced) == 3:
                raise Killed

    def score(self: Objective, prefixes: Any, paths: Any, _progress: Any) -> Any:
        return score_with(self, prefixes, paths, Progress())

    from recbole_nasr.search.contrastive import Contrastive

    score_with = Contrastive.score
    with monkeypatch.context() as patch:
        patch.setattr(Contrastive, "score", score)
        with pytest.raises(Killed):
            search(given, keeper=Keeper(tmp_path, 1e9))
    keeper = Keeper(tmp_path, 1e9)
    assert keeper.load() == "search: rank block 1/2 (4 paths)"
    assert content(search(given, keeper=keeper)) == expected


def test_a_state_with_a_loss_that_is_not_finite_is_not_saved(
    tmp_path: Path, make_sequences: Callable[..., SearchSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, taken = BlockTrainer.step, []

    def broken(self: BlockTrainer, *batch: Any) -> torch.Tensor:
        taken.append(step(self, *batch))
        return taken[-1] * (torch.inf if len(taken) == 4 else 1)

    monkeypatch.setattr(BlockTrainer, "step", broken)
    keeper = Keeper(tmp_path, 0)
    where = r"became inf in the training of block 1, epoch 2, batch 1 of the epoch"
    with pytest.raises(NumericalError, match=where):
        search(problem(make_sequences(24), KINDS["paper"]), keeper=keeper)
    again = Keeper(tmp_path, 0)
    again.load()
    assert (keeper.n_saved, len(again.take("block")["step_losses"])) == (3, 3)


def test_a_stage_that_is_gone_on_with_again_and_again_has_one_state(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, 1e9)
    keeper.stage("search: rank block 1/2")
    described = keeper.describe()
    for _ in range(2):
        keeper = Keeper(tmp_path, 1e9)
        keeper.load()
        keeper.stage("search: rank block 1/2")
        assert (keeper.n_saved, keeper.describe()) == (0, described)
    keeper.stage("search: train block 2/2")
    keeper.stage("search: rank block 1/2")
    assert keeper.n_saved == 2
