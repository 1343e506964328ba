"""What a `Config` of our models is checked for, however it is made: RecBole's quick start has no checks of its own."""

from __future__ import annotations

from typing import Any

from recbole_nasr.checks import limits, measures
from recbole_nasr.configuration.values import MODELS
from recbole_nasr.errors import ConfigError
from recbole_nasr.model.strategy_keys import check_read


def settle_measures(config: Any) -> None:
    """Check what a model of ours is measured by before RecBole reads it; unless the user says, choose epochs by that.

    Raises:
        ConfigError: For the first value that cannot be used.
    """
    options = config.final_config_dict
    if config.model not in MODELS:
        return
    measures.check_measures(options)
    measures.check_eval_args(options["eval_args"])
    if "valid_metric" not in config.external_config_dict:
        options["valid_metric"] = measures.valid_metric(options)


def check_values(config: Any) -> None:
    """Refuse of a model of ours what RecBole would ignore, or stop at after an epoch.

    Raises:
        ConfigError: For the first value that cannot be used.
    """
    options = config.final_config_dict
    if config.model not in MODELS:
        return
    limits.check_limits(options, trains=False)
    limits.refuse_transform(options, config.model)
    measures.check_valid_metric(options)
    measures.check_evaluation(options)
    _check_unused(options)
    negatives = options["train_neg_sample_args"]
    if isinstance(negatives, dict) and negatives["distribution"] not in (None, "None"):
        msg = (
            "`train_neg_sample_args` must be empty, for the loss is a softmax over all items and would take negative "
            f"items for targets, but is {negatives!r:.200}; leave it out (`n_sampled_items` samples the softmax)."
        )
        raise ConfigError(msg)
    if config.model == "NASRSearch":  # a file may hold more than one search reads
        check_read(config, {**config.variable_config_dict, **config.cmd_config_dict})


def _check_unused(options: dict[str, Any]) -> None:
    item = options["ITEM_ID_FIELD"]
    needed = (item, f"{item}{options['LIST_SUFFIX']}", options["ITEM_LIST_LENGTH_FIELD"])
    unused = options["unused_col"]
    dropped = [field for field in (unused or {}).get("inter") or () if field in needed]
    if dropped:
        msg = f"`unused_col` must leave {', '.join(needed)}, which the model reads, but names {', '.join(dropped)}."
        raise ConfigError(msg)
