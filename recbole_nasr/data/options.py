"""The options of the preparation, checked before any work."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from recbole_nasr.configuration.resources import available, load_yaml
from recbole_nasr.data.archives import ENDINGS
from recbole_nasr.data.layouts import LASTFM_FILE, TYPED_TAB
from recbole_nasr.data.times import UNITS
from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, did_you_mean, is_finite, whole

RECBOLE_FILTERS = ("user_inter_num_interval", "item_inter_num_interval", "val_interval", "rm_dup_inter")
"""RecBole's keys that leave out interactions."""

SHORTEST_SEQUENCE = 4
"""Leave-one-out needs a first item and a target each for training, validation and test."""

EMPTY: tuple[Any, ...] = (None, False, [], {}, "[0,inf)")
"""Values of a key of RecBole with which it neither filters nor changes anything."""

_CHOICES = {
    "sequence_unit": ("window", "user"),
    "split_by": ("leave_one_out", "time"),
    "lastfm_item": ("id_or_name", "id", "name"),
    "time_unit": ("auto", *UNITS),
}


@dataclass(frozen=True)
class PrepareOptions:
    """How raw interactions become sequences; the fields are keys of ``dataset_configs/*.yaml``.

    Attributes:
        sequence_unit: What becomes a user of RecBole: a ``window`` of a history, or the whole history of a ``user``.
        window_length: Items in a full window, at least 4.
        window_stride: Distance between the starts of two windows; ``window_length`` where the key is empty.
        min_window_length: Shorter windows (or histories) are dropped; at least 4.
        max_end_gap: Windows whose last two items are more seconds apart are dropped; None for no limit.
        min_item_interactions: Items with fewer interactions are dropped first.
        min_user_interactions: Users with fewer remaining interactions are dropped next.
        filter_until_stable: Whether both filters are repeated until nothing changes, instead of applied once.
        split_by: ``leave_one_out``, or ``time`` for the same points in time for all sequences.
        time_quantiles: Shares of the interactions before validation and before test begin.
        ml_release: Release of MovieLens.
        lastfm_item: What identifies an item of Last.FM: its track id, or artist and track name where that is missing.
        user_column: Column of the user in a file of your own; None if it is to be recognised.
        item_column: Column of the item.
        time_column: Column of the time.
        source_separator: Text between two columns; None for the one that the file's ending implies.
        time_unit: Unit of numeric times; ``auto`` to infer it from their magnitude.
        max_undecodable_rows: How many rows with bytes that are not UTF-8 are accepted.
    """

    sequence_unit: str
    window_length: int
    window_stride: int
    min_window_length: int
    max_end_gap: float | None
    min_item_interactions: int
    min_user_interactions: int
    filter_until_stable: bool
    split_by: str
    time_quantiles: tuple[float, float]
    ml_release: str = ""
    lastfm_item: str = "id_or_name"
    user_column: str | None = None
    item_column: str | None = None
    time_column: str | None = None
    source_separator: str | None = None
    time_unit: str = "auto"
    max_undecodable_rows: int = 1000

    @classmethod
    def from_config(cls, config: Mapping[str, Any] | Any, dataset: str = "ml") -> PrepareOptions:
        """Read the options out of a RecBole ``Config`` or a dictionary; missing keys have the data set's defaults.

        Raises:
            ConfigError: If a value cannot be used.
        """
        defaults = default_options(dataset)
        chosen = {}
        for field in fields(cls):
            known = field.name in config and (config[field.name] is not None or field.name in defaults)
            if known or field.name in defaults:
                chosen[field.name] = config[field.name] if known else defaults[field.name]
        chosen = {key: str(value) if key in _TEXT and value is not None else value for key, value in chosen.items()}
        _check_windows(chosen, defaults)
        if chosen["window_stride"] is None:
            chosen["window_stride"] = chosen["window_length"]
        _check(chosen)
        _check_read(chosen, defaults, dataset, value_of(config, "source"))
        chosen["time_quantiles"] = tuple(chosen["time_quantiles"])
        if chosen.get("source_separator") == TYPED_TAB:
            chosen["source_separator"] = "\t"
        return cls(**chosen)

    def as_dict(self) -> dict[str, Any]:
        """Return the options as plain values, ready for JSON."""
        return asdict(self)


PREPARATION_KEYS = tuple(field.name for field in fields(PrepareOptions))
"""Keys that have an effect only on data that are prepared here."""

READING_KEYS = ("encoding", "field_separator")
"""Keys of RecBole that say how the files are read of data that are not prepared here."""

_TEXT = ("ml_release", "user_column", "item_column", "time_column", "source_separator")


def value_of(config: Mapping[str, Any] | Any, key: str, default: Any = None) -> Any:
    """Return a value; ``default`` if it is missing. A RecBole ``Config`` has no ``get``."""
    return config[key] if key in config else default  # noqa: SIM401 - there is no `get`


def filters_set(config: Mapping[str, Any] | Any) -> list[str]:
    """Return those of RecBole's filters that leave anything out."""
    return [key for key in RECBOLE_FILTERS if value_of(config, key) not in EMPTY]


def default_options(dataset: str) -> dict[str, Any]:
    """Return the defaults of a data set: those of its own YAML, or those of any other file."""
    if dataset in available("dataset_configs"):
        return load_yaml("dataset_configs", dataset)
    return load_yaml("properties/data", "own")


def _check_windows(chosen: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Refuse keys about windows that were given where histories stay whole; ``window_length`` has another use too."""
    for key in ("window_stride", "max_end_gap") if chosen["sequence_unit"] == "user" else ():
        if chosen[key] not in (None, defaults[key]):
            why = "with sequence_unit=user every history stays whole; leave it out, or add --sequence_unit=window."
            raise _unread(chosen, key, "windows", why)


def unread_keys(dataset: str, source: Any) -> dict[str, str]:
    """Return the keys that have no effect on a data set, whatever its source holds, by what each is about.

    Args:
        dataset: Name of a data set that is prepared here.
        source: What the key ``source`` says; None for the published file.
    """
    path = None if source is None else Path(str(source)).expanduser()
    name = path.name.removesuffix(".gz") if path else LASTFM_FILE if dataset == "lastfm" else ""
    is_lastfm = name.endswith(LASTFM_FILE)
    may_be_lastfm = is_lastfm or (path is not None and (name.endswith((".tar", *ENDINGS)) or path.is_dir()))
    found = {} if dataset == "ml" else {"ml_release": "MovieLens (--dataset=ml)"}
    if not may_be_lastfm and dataset != "lastfm":
        found["lastfm_item"] = "Last.FM"
    if is_lastfm:
        found["time_unit"] = "times that are numbers, not dates"
    return found


def _check_read(chosen: dict[str, Any], defaults: dict[str, Any], dataset: str, source: Any) -> None:
    """Refuse keys that were given and that neither the source nor the split reads."""
    usual = {field.name: field.default for field in fields(PrepareOptions)} | defaults
    for key, subject in unread_keys(dataset, source).items():
        if chosen.get(key) not in (None, usual[key]):
            raise _unread(chosen, key, subject, f"{dataset} is read without it; leave it out.")
    if chosen["split_by"] != "time" and list(chosen["time_quantiles"]) != usual["time_quantiles"]:
        advice = f"split_by is {chosen['split_by']}; leave it out, or add --split_by=time."
        raise _unread(chosen, "time_quantiles", "split_by=time", advice)


def _unread(chosen: dict[str, Any], key: str, subject: str, why: str) -> ConfigError:
    return ConfigError(f"{key} is about {subject}, it is {chosen[key]!r:.80}, but {why}")


def check_reading(config: Mapping[str, Any] | Any) -> None:
    """Refuse RecBole's keys of how files are read for data that are prepared here; what is prepared is read as written.

    Raises:
        ConfigError: If one has a value that is not that of prepared data.
    """
    encoding, separator = (value_of(config, key) for key in READING_KEYS)
    what = "is for RecBole files that are read as they are"
    if encoding not in (None, "") and not _is_utf8(str(encoding)):
        msg = (
            f"`encoding` {what}, but is {encoding!r:.80} for {config['dataset']}, which is prepared from a source; a "
            "source must be UTF-8, so convert it and leave the key out."
        )
        raise ConfigError(msg)
    if separator not in (None, "\t"):
        msg = (
            f"`field_separator` {what}, but is {separator!r:.80} for {config['dataset']}, which is prepared from a "
            "source; leave it out, and name what separates the columns of a source with `source_separator`."
        )
        raise ConfigError(msg)


def _is_utf8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
    except (LookupError, ValueError):  # the latter: a NUL in the name
        return False


def _check(chosen: dict[str, Any]) -> None:
    for name, choices in _CHOICES.items():
        value = chosen.get(name, choices[0])
        if value not in choices:
            msg = f"{name} must be one of {', '.join(choices)}, not {value!r}.{did_you_mean(str(value), choices)}"
            raise ConfigError(msg)
    for name, holds, rule in _RULES:
        if name in chosen and not holds(chosen[name]):
            msg = f"{name} must be {rule}, it is {chosen[name]!r:.80}; correct it."
            raise ConfigError(msg)
    if chosen["sequence_unit"] == "window" and chosen["window_length"] < chosen["min_window_length"]:
        least, length = chosen["min_window_length"], chosen["window_length"]
        msg = f"window_length must be at least {least} (min_window_length), it is {length}; raise it."
        raise ConfigError(msg)


def _is_separator(value: Any) -> bool:
    return value in (None, "", "::", TYPED_TAB) or (len(value) == 1 and value not in '"\r\n')


def _are_quantiles(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(map(is_finite, value)):
        return False
    return bool(0 < value[0] < value[1] < 1)


_SHORTEST_WHY = "(one item to start from, one each to train, validate and test)"

_RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    ("min_window_length", whole(SHORTEST_SEQUENCE), f"a whole number, at least {SHORTEST_SEQUENCE} {_SHORTEST_WHY}"),
    ("window_length", whole(SHORTEST_SEQUENCE), f"a whole number, at least {SHORTEST_SEQUENCE} {_SHORTEST_WHY}"),
    ("window_stride", whole(1), f"a whole number from 1 to {LARGEST_INTEGER}"),
    ("min_item_interactions", whole(0), f"a whole number from 0 to {LARGEST_INTEGER}"),
    ("min_user_interactions", whole(0), f"a whole number from 0 to {LARGEST_INTEGER}"),
    ("max_undecodable_rows", whole(0), f"a whole number from 0 to {LARGEST_INTEGER}"),
    (
        "max_end_gap",
        lambda value: value is None or (is_finite(value) and value >= 0),
        "empty (null) or seconds, at least 0",
    ),
    ("filter_until_stable", lambda value: isinstance(value, bool), "True or False"),
    ("source_separator", _is_separator, "empty, one character such as ';' or '\\t', or '::'"),
    ("time_quantiles", _are_quantiles, "two rising shares between 0 and 1, such as [0.8, 0.9]"),
)
