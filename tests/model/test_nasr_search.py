from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recbole_nasr.errors import ArchitectureError, ConfigError
from recbole_nasr.space import Architecture

Assemble = Callable[..., SimpleNamespace]


def test_before_the_search_it_is_the_first_architecture_of_the_space(assemble: Assemble, toy: Path) -> None:
    model = assemble("NASRSearch", toy).model
    assert not model.searched
    assert str(model.architecture) == "transformer_h2,transformer_h2/transformer_h2"


def test_it_becomes_exactly_the_network_that_nasr_builds(assemble: Assemble, toy: Path) -> None:
    found = Architecture.parse("tcn_d1_2,transformer_h2/transformer_h4")
    run = assemble("NASRSearch", toy)
    run.model.become(found)
    assert run.model.searched
    assert run.config["architecture"] == [["tcn_d1_2", "transformer_h2"], ["transformer_h4"]]
    given = assemble("NASR", toy, architecture=str(found)).model
    assert run.model.architecture == given.architecture == found
    ours, theirs = run.model.state_dict(), given.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_given_architecture_is_taken(assemble: Assemble, toy: Path) -> None:
    model = assemble("NASRSearch", toy, architecture="gru4rec").model
    assert model.searched
    assert str(model.architecture) == "gru4rec"


def test_bad_search_keys_fail_before_anything_is_trained(assemble: Assemble, toy: Path) -> None:
    with pytest.raises(ConfigError, match="`search_epochs`"):
        assemble("NASRSearch", toy, search_epochs=0)
    with pytest.raises(ArchitectureError, match="transformer_h3"):
        assemble("NASRSearch", toy, candidate_ops=["transformer_h3"])
