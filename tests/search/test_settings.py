from __future__ import annotations

import pytest

from recbole_nasr.errors import ConfigError
from recbole_nasr.search import SearchSettings


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"epochs": 0}, "`search_epochs` must be at least 1, but is 0"),
        ({"n_paths": 0}, "`search_n_paths`"),
        ({"batch_size": 1}, "`search_batch_size` must be at least 2"),
        ({"learning_rate": 0.0}, "`search_learning_rate`"),
        ({"weight_decay": -1.0}, "`search_weight_decay`"),
        ({"learning_rate_decay": 1.1}, r"`search_learning_rate_decay` must be in \(0, 1\]"),
        ({"decay_steps": 0}, "`search_decay_steps`"),
        ({"holdout_ratio": 1.0}, "`search_holdout_ratio`"),
        ({"max_enumerated_paths": 0}, "`max_enumerated_paths`"),
        ({"tie_standard_errors": -0.1}, "`search_tie_standard_errors`"),
        ({"tie_standard_errors": float("nan")}, "`search_tie_standard_errors`"),
        ({"tie_break": "cheap"}, "`search_tie_break` must be one of score, flops, but is 'cheap'"),
        ({"ranking_batch_size": 0}, "`search_ranking_batch_size`"),
        ({"augmentations": ("drop",)}, "'drop'"),
        ({"augmentation_ratio": 2.0}, "`augmentation_ratio`"),
    ],
)
def test_settings_out_of_range_are_refused_under_their_configuration_key(broken: dict[str, object], rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        SearchSettings(**broken)


def test_the_defaults_are_the_papers() -> None:
    settings = SearchSettings()
    assert (settings.epochs, settings.n_paths, settings.learning_rate, settings.weight_decay) == (2, 4, 1e-3, 0)
    assert (settings.augmentations, settings.augmentation_ratio) == (("mask",), 0.25)
