"""What a search is given, from RecBole's configuration and training loader."""

from __future__ import annotations

from typing import Any

from recbole_nasr.model.settings import layer_settings, search_settings, switch, tied_embeddings
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.search import SearchProblem
from recbole_nasr.search.budget import Budget
from recbole_nasr.space import SearchSpace
from recbole_nasr.trainer.batches import search_sequences


def search_problem(
    config: Any,
    train_data: Any,
    space: SearchSpace,
    budget: Budget | None = None,
    acceleration: Acceleration | None = None,
) -> SearchProblem:
    """Return what a search is given: the training part alone, and the settings of ``config``.

    Args:
        config: RecBole's configuration of `NASRSearch`.
        train_data: RecBole's training loader over our data set.
        space: What is searched.
        budget: What a network may cost.
        acceleration: How to compute; plain torch if not given.
    """
    dataset = train_data._dataset  # noqa: SLF001 - as RecBole's own trainer and samplers read it
    return SearchProblem(
        sequences=search_sequences(dataset.training_chunks(), config["MAX_ITEM_LIST_LENGTH"]),
        space=space,
        n_items=dataset.item_num,
        layer_settings=layer_settings(config),
        settings=search_settings(config),
        seed=config["seed"],
        tie_embeddings=tied_embeddings(config),
        final_norm=switch(config, "final_norm"),
        device=config["device"],
        budget=budget,
        acceleration=acceleration or Acceleration(),
    )
