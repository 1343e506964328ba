"""From configuration keys to how fast training is to be, fitted to the device."""

from __future__ import annotations

import torch

from recbole_nasr import distributed
from recbole_nasr.errors import ConfigError
from recbole_nasr.model.settings import Settings
from recbole_nasr.nets.acceleration import Acceleration, choose


def acceleration(config: Settings) -> Acceleration:
    """Return how fast arithmetic is asked for, fitted to the device.

    Raises:
        ConfigError: If the device cannot do what is asked for, or two keys contradict each other.
    """
    precision = str(config["precision"])
    if config["enable_amp"]:  # RecBole's key, which means bf16 here
        if precision not in ("auto", "bf16"):
            msg = f"`enable_amp: True` asks for bf16, but `precision` is {precision!r}; change one of the two."
            raise ConfigError(msg)
        precision = "bf16"
    device = config["device"] if isinstance(config["device"], torch.device) else torch.device("cpu")
    return choose(
        device,
        precision=precision,
        compiled=config["compile"],
        graphs=config["cuda_graphs"],
        n_processes=distributed.world_size(),
    )


def sampled_items(config: Settings, n_items: int) -> int:
    """Return how many items the training loss samples, 0 for all of them.

    Args:
        config: The configuration.
        n_items: Item ids in use, padding (0) included; the largest number there can be before they are known.

    Raises:
        ConfigError: If a sample of that size makes no sense.
    """
    if config["n_sampled_items"] is None:
        return 0
    n_sampled = config["n_sampled_items"]
    if not isinstance(n_sampled, int) or isinstance(n_sampled, bool) or not 1 <= n_sampled < n_items - 1:
        msg = (
            f"`n_sampled_items` must be an integer of at least 1 and below the {n_items - 1:,} items there are, but is "
            f"{n_sampled!r:.80}; "
            "leave it empty (null) for the full softmax."
        )
        raise ConfigError(msg)
    if config["train_scheme"] != "autoregressive":
        msg = (
            "`n_sampled_items` needs `train_scheme: autoregressive`; rows of one target use the full softmax; "
            "leave one of the two out."
        )
        raise ConfigError(msg)
    return n_sampled
