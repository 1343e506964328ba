"""The options of the preparation, checked before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from recbole_nasr.errors import ConfigError
from recbole_nasr.resources import load_yaml

SHORTEST_WINDOW = 4
"""Leave-one-out needs an item to start from and one each to train, validate and test."""


@dataclass(frozen=True)
class PrepareOptions:
    """How raw interactions become sequences; the fields are keys of ``dataset_configs/ml.yaml``.

    Attributes:
        ml_release: Release of MovieLens.
        window_length: Items in a full window, at least 4.
        window_stride: Distance between the starts of two windows; ``window_length`` where the key is empty.
        min_window_length: Shorter windows are dropped; ``4..window_length``.
        min_item_interactions: Items with fewer interactions are dropped first, once.
        min_user_interactions: Users with fewer remaining interactions are dropped next, once.
    """

    ml_release: str
    window_length: int
    window_stride: int
    min_window_length: int
    min_item_interactions: int
    min_user_interactions: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | Any) -> PrepareOptions:
        """Read the options out of a RecBole ``Config`` or a dictionary; missing keys come from ``ml.yaml``.

        Raises:
            ConfigError: If a value cannot be used.
        """
        defaults = load_yaml("dataset_configs", "ml")
        chosen = {f.name: config[f.name] if f.name in config else defaults[f.name] for f in fields(cls)}
        chosen["ml_release"] = str(chosen["ml_release"])
        if chosen["window_stride"] is None:
            chosen["window_stride"] = chosen["window_length"]
        _check(chosen)
        return cls(**chosen)

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain values, ready for JSON."""
        return asdict(self)


def _check(chosen: dict[str, Any]) -> None:
    for name, value in chosen.items():
        if name != "ml_release" and (not isinstance(value, int) or isinstance(value, bool)):
            msg = f"{name} must be a whole number, not {value!r}; correct it."
            raise ConfigError(msg)
    for name, least in (
        ("min_window_length", SHORTEST_WINDOW),
        ("window_length", chosen["min_window_length"]),
        ("window_stride", 1),
        ("min_item_interactions", 0),
        ("min_user_interactions", 0),
    ):
        if chosen[name] < least:
            reason = {
                "min_window_length": " (one item to start from, one each to train, validate and test)",
                "window_length": " (min_window_length)",
            }.get(name, "")
            msg = f"{name} must be at least {least}{reason}, it is {chosen[name]}; raise it."
            raise ConfigError(msg)
