from __future__ import annotations

import pytest

from recbole_nasr.errors import ConfigError
from recbole_nasr.search import SearchSettings

EVOLVED = {"scope": "whole", "objective": "next_item", "choice": "evolution"}


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
        ({"objective": "next"}, "`search_objective` must be one of contrastive, next_item, but is 'next'"),
        ({"scope": "net"}, "`search_scope` must be one of block, whole, but is 'net'"),
        ({"min_steps": -1}, "`search_min_steps`"),
        ({"path_sampling": "strict"}, "`search_path_sampling` must be one of uniform, fair, but is 'strict'"),
        ({"target_momentum": 1.0}, r"`search_target_momentum` must be in \[0, 1\), but is 1.0"),
        ({"ranking_metric": "ndcg@0"}, "`search_ranking_metric` must be 'loss' or such as 'ndcg@20', but is 'ndcg@0'"),
        ({"ranking_metric": f"ndcg@{10**20}"}, "`search_ranking_metric` must be 'loss' or such as 'ndcg@20', but is"),
        ({"view_pairs": 0}, "`search_view_pairs`"),
        ({"report_view_pairs": -1}, "`search_report_view_pairs`"),
        ({"report_sequences": 1}, "`search_report_sequences` must be at least 2"),
        ({"beam": 0}, "`search_beam`"),
        ({"sweeps": 0}, "`search_sweeps`"),
        ({"ranking_metric": "ndcg@10"}, "`search_ranking_metric` other than 'loss' needs `search_objective"),
        ({"objective": "next_item", "symmetric": True}, "`search_symmetric` has no meaning"),
        ({"objective": "next_item", "target_momentum": 0.9}, "`search_target_momentum` has no meaning"),
        ({"objective": "next_item", "view_pairs": 2, "leave_one_out": True}, "`search_leave_one_out`, `search_view_pa"),
        ({"objective": "next_item", "augmentations": ("crop",)}, "`augmentations` has no meaning"),
        ({"objective": "next_item", "report_sequences": 9}, "`search_report_sequences` has no meaning"),
        ({"scope": "whole", "beam": 2}, "`search_beam` keeps choices of earlier blocks open"),
        (
            {**EVOLVED, "evolution_networks": 64, "evolution_population": 64},
            "`evolution_networks` must be more than `evolution_population`.*but is 64 at 64",
        ),
        (
            {"objective": "next_item", "n_paths": 5, "batch_size": 4},
            "`search_n_paths` must be at most `search_batch_size`, but they are 5 and 4",
        ),
        ({"leave_one_out": True, "n_paths": 1}, "`search_leave_one_out` needs `search_n_paths` of at least 2"),
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


def test_the_cut_of_ndcg_is_read_from_the_metric() -> None:
    cuts = [SearchSettings(objective="next_item", ranking_metric=name).ndcg_cut for name in ("loss", "NDCG@5")]
    assert cuts == [None, 5]
