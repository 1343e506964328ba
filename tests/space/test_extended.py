from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_nasr.configuration.resources import available, load_yaml
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.registry import known_operations, operation_class, operation_flops
from recbole_nasr.search import SearchSettings
from recbole_nasr.space import Architecture, SearchSpace

PAPER, EXTENDED = (load_yaml("properties/space", name)["candidate_ops"] for name in ("paper", "extended"))


def test_every_shipped_space_is_a_space() -> None:
    for name in available("properties/space"):
        SearchSpace.build(load_yaml("properties/space", name)["candidate_ops"], 16, 4)


def test_the_extended_space_holds_the_papers_and_every_other_family_but_the_baseline() -> None:
    assert len(EXTENDED) == len(set(EXTENDED)) == 11
    assert set(PAPER) < set(EXTENDED)
    families = {operation_class(name)[0] for name in EXTENDED}
    assert families == {operation_class(name)[0] for name in known_operations().values() if name != "gru4rec"}


def test_every_path_of_a_block_of_one_operation_per_family_can_be_ranked() -> None:
    space = SearchSpace.build(load_yaml("properties/space", "families")["candidate_ops"], 16, 4)
    assert space.n_paths(0) == 8**4 == SearchSettings().max_enumerated_paths
    assert set(space.operations) < set(EXTENDED)


def test_text_and_json_give_back_an_architecture_of_all_of_them() -> None:
    architecture = Architecture((tuple(EXTENDED), tuple(reversed(EXTENDED))))
    assert Architecture.parse(str(architecture)) == architecture
    assert Architecture.from_json(architecture.to_json()) == architecture


def test_a_search_of_the_extended_space_ranks_a_sample_and_trains_what_it_found(
    toy: Path, assemble: Callable[..., Any]
) -> None:
    run = assemble(
        "NASRSearch",
        toy,
        candidate_ops=EXTENDED,
        n_layers=3,
        n_blocks=1,
        max_enumerated_paths=40,
        search_tie_standard_errors=1e9,
        search_tie_break="flops",
        epochs=1,
    )
    run.trainer.fit(run.train, run.valid, show_progress=False)
    (ranking,) = run.trainer.search_result.blocks
    assert (ranking.n_space_paths, len(set(ranking.paths))) == (11**3, 40)
    assert {name for path in ranking.paths for name in path} == set(EXTENDED)
    assert run.model.architecture.blocks == (ranking.paths[ranking.selected],)
    # All are tied: the cheapest is taken, at the 6 of 8 items that neither validate nor test.
    costs = [sum(operation_flops(name, LayerSettings(hidden_size=8), 6) for name in path) for path in ranking.paths]
    assert costs[ranking.selected] == min(costs)
    assert 0 <= run.trainer.evaluate(run.test)["ndcg@5"] <= 1
