"""A saved network built again, with its items in place of its data set."""

from __future__ import annotations

from typing import Any

import torch
from recbole.utils import get_model

from recbole_nasr.configuration.values import MODELS
from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.errors import CheckpointError, ConfigError, NASRError

OF_HISTORIES = (
    "BERT4Rec",
    "CORE",
    "GCSAN",
    "GRU4Rec",
    "LightSANs",
    "NARM",
    "NextItNet",
    "RepeatNet",
    "SASRec",
    "SRGNN",
    "STAMP",
)
"""RecBole's models that score from the items of a history alone."""

_OTHER_DATA = "it was trained on other data; put the data of the run back, or train again"


class ItemsOnly:
    """Stands in for a data set when a model is built: a model of histories needs the number of items and their length.

    Args:
        config: Configuration of the model.
        n_items: Items, with padding.
    """

    def __init__(self, config: Any, n_items: int) -> None:
        self._model, self._field, self._n_items = config["model"], config["ITEM_ID_FIELD"], n_items
        self.field2seqlen = {self._field + config["LIST_SUFFIX"]: config["MAX_ITEM_LIST_LENGTH"]}

    def num(self, field: str) -> int:
        """Return how many values ``field`` has."""
        return self._n_items if field == self._field else self.__getattr__(f"the number of {field}")

    def __getattr__(self, name: str) -> Any:
        msg = (
            f"{self._model} scores with more than the items of a history ({name}), so it cannot recommend for "
            f"histories alone; {', '.join(MODELS)} and RecBole's {', '.join(OF_HISTORIES)} can."
        )
        raise ConfigError(msg)


def rebuilt_network(saved: dict[str, Any], config: Any, vocabulary: Vocabulary) -> Any:
    """Return the model of a checkpoint, in eval mode on the device of ``config``, without its data set.

    Args:
        saved: Content of the checkpoint.
        config: Its configuration.
        vocabulary: The items that it scores.

    Raises:
        ConfigError: If the model needs more than the items of a history.
        CheckpointError: If the weights are not those of such a model.
    """
    data, weights = ItemsOnly(config, len(vocabulary)), saved["state_dict"]
    try:
        _check_shapes(config, data, weights)
        model = get_model(config["model"])(config, data)
        model.load_state_dict(weights)
        if config["model"] not in MODELS:  # ours keep there what training goes on from
            model.load_other_parameter(saved.get("other_parameter"))
    except NASRError:
        raise
    except Exception as error:  # whatever a network finds wrong with settings and weights that are none
        first = str(error).strip().rpartition("\n")[2].strip()
        msg = f"The weights do not fit the network of {len(vocabulary) - 1:,} items ({first}): {_OTHER_DATA}."
        raise CheckpointError(msg) from error
    return model.to(config["device"]).eval()


def _check_shapes(config: Any, data: Any, weights: dict[str, torch.Tensor]) -> None:
    """Refuse settings of a network larger than its weights, before memory is taken for it."""
    try:
        with torch.device("meta"):
            planned = get_model(config["model"])(config, data).state_dict()
    except (NotImplementedError, RuntimeError):  # a network that looks at numbers while it is made
        return
    for name, tensor in planned.items():
        if name in weights and weights[name].shape != tensor.shape:
            msg = f"{name} has the shape {tuple(weights[name].shape)}, not {tuple(tensor.shape)}"
            raise ValueError(msg)
    if missing := [name for name in planned if name not in weights]:
        msg = f"{missing[0]} is missing"
        raise ValueError(msg)
