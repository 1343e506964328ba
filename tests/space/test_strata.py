from __future__ import annotations

import pytest

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.space import SearchSpace, strata
from recbole_nasr.space.strata import stratified_sample

PAPER = SearchSpace(("transformer_h4", "transformer_h8", "tcn_d1_2", "tcn_d1_4"), (2, 2))


def test_half_of_a_sample_is_made_on_purpose_and_every_stratum_takes_its_turn() -> None:
    sample = stratified_sample(PAPER, 12)
    assert [network.name for network in sample[::2]] == [
        "pure 1",
        "alternating 1",
        "transformer first 1",
        "pure 2",
        "alternating 2",
        "tcn first 1",
    ]
    assert {network.stratum for network in sample[1::2]} == {"random"}


def test_strata_hold_what_their_names_say() -> None:
    found = {network.name: str(network.architecture) for network in stratified_sample(PAPER, 24)}
    assert found["pure 1"] == "transformer_h4,transformer_h4/transformer_h4,transformer_h4"
    assert found["pure 2"] == "tcn_d1_2,tcn_d1_2/tcn_d1_2,tcn_d1_2"
    assert found["alternating 1"] == "transformer_h4,tcn_d1_2/transformer_h4,tcn_d1_2"
    assert found["alternating 2"] == "tcn_d1_2,transformer_h4/tcn_d1_2,transformer_h4"
    assert found["transformer first 1"] == "transformer_h4,transformer_h4/tcn_d1_2,tcn_d1_2"
    assert found["tcn first 2"] == "tcn_d1_4,tcn_d1_4/transformer_h8,transformer_h8"
    odd = stratified_sample(SearchSpace(PAPER.operations, (2, 1)), 5)[4]
    assert (odd.name, str(odd.architecture)) == ("transformer first 1", "transformer_h4,transformer_h4/tcn_d1_2")
    strata = [name.rpartition(" ")[0] for name in found]
    assert [strata.count(name) for name in ("pure", "alternating", "transformer first", "tcn first")] == [4, 4, 2, 2]


def test_a_longer_sample_goes_on_where_a_shorter_one_ends() -> None:
    assert stratified_sample(PAPER, 50)[:24] == stratified_sample(PAPER, 24)
    assert stratified_sample(PAPER, 24, seed=1) != stratified_sample(PAPER, 24)


def test_all_networks_of_a_small_space_are_found_once() -> None:
    space = SearchSpace(("transformer_h4", "tcn_d1_2"), (2, 1))
    sample = stratified_sample(space, 8)
    assert len({network.architecture for network in sample}) == 8
    with pytest.raises(ArchitectureError, match="between 1 and the 8 different networks"):
        stratified_sample(space, 9)


def test_networks_that_are_hardly_ever_drawn_are_not_drawn_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strata, "MOST_DRAWS", 1_000)
    space = SearchSpace(("skip", "gru"), (64,))  # one in 2 ** 58 draws has a single `gru`
    assert len(stratified_sample(space, 12)) == 12
    with pytest.raises(ArchitectureError, match=r"of 65 different .* 1,000 draws in a row .*; ask for fewer"):
        stratified_sample(space, 65)


def test_a_space_of_one_family_has_pure_and_random_networks_alone() -> None:
    space = SearchSpace(("tcn_d1_2", "tcn_d1_4"), (3,))
    assert {network.stratum for network in stratified_sample(space, 8)} == {"pure", "random"}


def test_networks_that_differ_in_the_place_of_the_empty_layer_alone_are_sampled_once() -> None:
    space = SearchSpace(("skip", "gru", "tcn_d1_2"), (2, 1))
    functions = {
        tuple(name for name in network.architecture.layers if name != "skip")
        for network in stratified_sample(space, 15)  # 1 + 2 + 4 + 8: by depth
    }
    assert len(functions) == 15
    with pytest.raises(ArchitectureError, match="between 1 and the 15 different networks"):
        stratified_sample(space, 16)


def test_the_first_pairs_are_of_neighbours_so_that_they_hold_many_families() -> None:
    space = SearchSpace(("ffn", "gru", "lru", "tcn_d1_2"), (4,))
    sample = stratified_sample(space, 44, seed=1)
    found = [network.architecture.layers[:2] for network in sample if network.stratum == "alternating"]
    assert found[:4] == [("ffn", "gru"), ("gru", "ffn"), ("gru", "lru"), ("lru", "gru")]
    assert found[6:10] == [("ffn", "lru"), ("lru", "ffn"), ("gru", "tcn_d1_2"), ("tcn_d1_2", "gru")]
