"""Everything that can be wrong with one run: its keys, their values, its network, and its data set."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from recbole.config import Config

from recbole_nasr.checks.interactions import check_interactions
from recbole_nasr.checks.limits import check_limits, check_model_keys, check_transform
from recbole_nasr.checks.measures import check_evaluation, check_measures, check_valid_metric
from recbole_nasr.compat.isolation import bare_command_line, restored_visible_devices
from recbole_nasr.configuration.files import settings_text
from recbole_nasr.configuration.keys import check_keys, known_datasets
from recbole_nasr.configuration.values import AUTOREGRESSIVE_MODELS, MODELS, effective
from recbole_nasr.data.autoregressive import training_scheme
from recbole_nasr.data.options import PREPARATION_KEYS, PrepareOptions, check_reading, filters_set
from recbole_nasr.data.prepare import ensure_prepared, is_prepared_here
from recbole_nasr.data.report import REPORT_FILE
from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, DataError, NASRError, did_you_mean
from recbole_nasr.model.presets import resolve_architecture
from recbole_nasr.model.schemes import is_autoregressive
from recbole_nasr.model.settings import (
    average_decay,
    cost_limits,
    layer_settings,
    search_settings,
    search_space,
    strategy_settings,
    switch,
)
from recbole_nasr.model.speed_settings import acceleration, sampled_items
from recbole_nasr.nets.footprint import check_weights
from recbole_nasr.ops import check_own
from recbole_nasr.runs.data import preparation_text
from recbole_nasr.runs.trackers import check_trackers


def check_run(model: str, dataset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Check the complete settings of one run.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        settings: What the run will be given.

    Returns:
        Every value in force, as plain data.

    Raises:
        NASRError: For the first thing that is wrong.
    """
    _refuse_names(settings)
    with configuration_of(model, dataset, settings) as config:
        check_keys(config, strict=True)
        check_values(config)
        _check_dataset(config)
        return effective(config)


def _refuse_names(settings: Mapping[str, Any]) -> None:
    """Refuse what RecBole would read and then leave aside, since every run names its model and its data set."""
    given = [key for key in ("model", "dataset", "config_files") if key in settings]
    if given:
        msg = (
            f"`{given[0]}` is given with the command and cannot be one of the settings of a run, where it is "
            f"{settings[given[0]]!r:.80}; leave it out there."
        )
        raise ConfigError(msg)


def check_values(config: Config) -> None:
    """Check the values of all keys, each by itself and together, as far as that needs no data.

    Raises:
        NASRError: For the first that cannot be used.
    """
    check_measures(config)
    check_limits(config)
    if config["model"] not in MODELS:
        check_model_keys(config, config.internal_config_dict)
        check_transform(config)
    check_trackers(config)
    check_valid_metric(config)
    check_evaluation(config)
    _check_parts(config)
    _check_filters(config)
    _check_scheme(config)
    _check_network(config)
    if is_prepared_here(config):
        check_reading(config)
        PrepareOptions.from_config(config, config["dataset"])
    else:
        _refuse_preparation_keys(config)


def values_in_force(model: str, dataset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return every value that a run with checked ``settings`` will have, as plain data."""
    with configuration_of(model, dataset, settings) as config:
        return effective(config)


def prepare_data(model: str, dataset: str, settings: Mapping[str, Any]) -> str:
    """Prepare a data set that this package makes, before any run needs it; return what to tell the user.

    Raises:
        DataError: If its source cannot be read or nothing is left of it.
    """
    with configuration_of(model, dataset, settings) as config:
        folder = Path(config["data_path"])
        if is_prepared_here(config):
            folder = ensure_prepared(config)
        return preparation_text(folder)


def _check_network(config: Config) -> None:
    """Resolve architecture, space and search settings of our models, as they will when they are built."""
    if config["model"] in MODELS:
        switch(config, "final_norm")
        switch(config, "tie_embeddings")
        switch(config, "mask_history")
        acceleration(config)
        average_decay(config)
        sampled_items(config, n_items=LARGEST_INTEGER)
    if config["model"] == "NASR":
        _check_layers(config, resolve_architecture(config["architecture"], config).layers)
    elif config["model"] == "NASRSearch":
        space = search_space(config)
        search_settings(config)
        strategy_settings(config)
        cost_limits(config)
        _check_layers(config, space.operations * space.n_layers)


def _check_layers(config: Config, layers: Sequence[str]) -> None:
    """Refuse layers that take more memory than there is, before the data say how many items; try out the user's own."""
    settings, device = layer_settings(config), str(config["device"])
    # Training takes a gradient beside each weight, at the least.
    check_weights(layers, settings, n_items=1, length=config["MAX_ITEM_LIST_LENGTH"], device=device, copies=2)
    check_own(layers, settings)


@contextmanager
def configuration_of(model: str, dataset: str, settings: Mapping[str, Any]) -> Iterator[Config]:
    """Yield RecBole's configuration of a run, made as the run will make it; what it refuses is one clear line.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        settings: What the run will be given.

    Raises:
        ConfigError: If RecBole refuses them.
    """
    with TemporaryDirectory() as folder, bare_command_line(), restored_visible_devices():
        file = Path(folder) / "settings.yaml"
        file.write_text(settings_text(settings), encoding="utf-8")
        try:
            config = Config(model=model, dataset=dataset, config_file_list=[str(file)])
        except NASRError:
            raise
        except (ValueError, TypeError, KeyError, NotImplementedError, RuntimeError) as error:
            msg = f"RecBole refuses the configuration of {model}: {error}"
            raise ConfigError(msg) from error
        yield config


def _check_parts(config: Config) -> None:
    """Refuse a split that asks for no training, validation or test cases; a run here needs all of them."""
    split = config["eval_args"]["split"]
    [how] = split.values()
    if not config["benchmark_filename"] and not (how == "valid_and_test" or (isinstance(how, list) and all(how))):
        msg = (
            "`eval_args` must leave cases to train, validate and test with (LS: valid_and_test, or three positive "
            f"shares), but its split is {split}."
        )
        raise ConfigError(msg)


def _check_filters(config: Config) -> None:
    """Refuse filters of benchmark files, which RecBole does not filter."""
    filters = filters_set(config)
    if config["benchmark_filename"] and filters:
        msg = (
            f"`{filters[0]}` must be empty (null) with `benchmark_filename`, whose files RecBole leaves as they are, "
            f"but is {config[filters[0]]!r}; filter the files yourself."
        )
        raise ConfigError(msg)


def _check_scheme(config: Config) -> None:
    """Refuse what the data of a model cannot be trained in, which shows only when they are split."""
    if config["model"] in MODELS:
        training_scheme(config)
    elif config["model"] in AUTOREGRESSIVE_MODELS:
        is_autoregressive(config)


def _refuse_preparation_keys(config: Config) -> None:
    given = [key for key in PREPARATION_KEYS if key in config.external_config_dict]
    if given:
        msg = (
            f"`{given[0]}` is for data that are prepared here (ml, lastfm, or the file that `source` names), and "
            f"{config['dataset']} is read as it is; remove the key."
        )
        raise ConfigError(msg)


def _check_dataset(config: Config) -> None:
    """Check that there are data, and that a user's files can be read."""
    folder, name = Path(config["data_path"]), config["dataset"]
    if is_prepared_here(config):
        return
    if not folder.is_dir():
        if name in known_datasets():
            return  # downloaded when the run loads it
        own = [path.name for path in folder.parent.glob("*") if (path / f"{path.name}.inter").is_file()]
        before = any(folder.parent.glob(f"{name}-*/{REPORT_FILE}"))
        hint = (
            " It was prepared from a file before: name that again, --source=FILE."
            if before
            else did_you_mean(name, [*own, *known_datasets()])
        )
        msg = (
            f"There is no data set {name!r}: no file {folder / f'{name}.inter'}, and no data set that comes "
            f"with this package or RecBole.{hint}"
        )
        raise DataError(msg)
    files = [f"{name}.{part}.inter" for part in config["benchmark_filename"] or ()] or [f"{name}.inter"]
    keys = ("field_separator", "encoding", "USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")
    reading = tuple((key, config[key]) for key in keys)
    for path in (folder / file for file in files):
        facts = path.stat() if path.is_file() else None
        stamp = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns) if facts else ()
        _check_file(path, stamp, reading, with_time=not config["benchmark_filename"])


@functools.lru_cache(maxsize=256)
def _check_file(path: Path, _stamp: tuple[int, ...], reading: tuple[tuple[str, Any], ...], *, with_time: bool) -> None:
    """Check a file of the user's, once where it passes, until it changes: a study asks before each of its runs."""
    check_interactions(path, dict(reading), with_time=with_time)
