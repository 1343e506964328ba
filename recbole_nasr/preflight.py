"""Everything that can be wrong with a command, found before any training starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import recbole.model.sequential_recommender
from recbole.config import Config
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_nasr import defaults
from recbole_nasr.arguments import STUDY_KEYS, Request, split_key
from recbole_nasr.configuration import MODELS, check_keys, effective, known_keys
from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.prepare import ensure_prepared, is_prepared_dataset
from recbole_nasr.data.report import REPORT_FILE
from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, DataError, NASRError, did_you_mean
from recbole_nasr.interactions import check_interactions
from recbole_nasr.isolation import bare_command_line, restored_visible_devices
from recbole_nasr.limits import check_limits, check_measures
from recbole_nasr.model.presets import PRESETS, resolve_architecture
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
from recbole_nasr.ops import load_operations, locate_operations
from recbole_nasr.pipeline import preparation_text
from recbole_nasr.registration import known_datasets
from recbole_nasr.settings_file import settings_text
from recbole_nasr.trackers import check_trackers

_TORCHRUN = "several processes are started with torchrun, see docs/distributed.md"

REFUSED = {
    "checkpoint_dir": "everything a run writes goes into its own folder below `runs_dir`",
    "nproc": _TORCHRUN,
    "world_size": _TORCHRUN,
    "local_rank": _TORCHRUN,
}
"""Keys of RecBole that cannot be used here, and why."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a command, checked.

    Args:
        name: What it is called beside the others.
        model: Name of the model.
        settings: Everything it is given.
    """

    name: str
    model: str
    settings: dict[str, Any]


def plan(request: Request) -> list[PlannedRun]:
    """Return all runs of a command, in order: its models, and what ``--quick`` puts beside a search.

    Raises:
        NASRError: For the first thing that is wrong.
    """
    models = [PlannedRun(model, model, settings) for model, settings in check_request(request).items()]
    return models + [PlannedRun(name, "NASR", settings) for name, settings in quick_baselines(request).items()]


def check_request(request: Request) -> dict[str, dict[str, Any]]:
    """Check all models of a command against its data set and settings.

    Args:
        request: The command.

    Returns:
        For each model its settings: the defaults of the command line, then what ``--quick`` changes, then the
        user's keys that the model knows. A key of one model in a comparison does not disturb the others.

    Raises:
        NASRError: For the first thing that is wrong.
    """
    for model in request.models:
        _check_model(model)
    _check_combination(request)
    known = {model: _known_keys(model, request) for model in request.models}
    _check_keys(request, known)
    settings = {model: _settings(model, request, known[model]) for model in request.models}
    checked: set[tuple[object, ...]] = set()
    for model in request.models:
        check_run(model, request.dataset, settings[model], checked)
    return settings


def quick_baselines(request: Request) -> dict[str, dict[str, Any]]:
    """Return the settings of the networks that ``--quick`` trains beside a single search, by their names.

    They are those of the search, so that only the architecture differs.

    Raises:
        NASRError: If a setting of the search cannot be one of theirs.
    """
    if not request.quick or request.models != ("NASRSearch",):
        return {}
    known = _known_keys("NASR", request) - {"architecture"}
    in_files, on_line = (
        {key: value for key, value in given.items() if key in known} for given in request.settings_of("NASRSearch")
    )
    found = {}
    for name, preset in defaults.QUICK_BASELINES.items():
        line = {**on_line, "architecture": preset}
        own = replace(request, models=("NASR",), file_settings=in_files, line_settings=line)
        found[name] = check_request(own)["NASR"]
    return found


def sequential_models() -> list[str]:
    """Return the names of all models the command line runs: ours, then RecBole's sequential ones."""
    members = vars(recbole.model.sequential_recommender)
    theirs = (name for name, cls in members.items() if isinstance(cls, type) and issubclass(cls, SequentialRecommender))
    return [*MODELS, *sorted(name for name in theirs if name != "SequentialRecommender")]


def _check_model(model: str) -> None:
    names = sequential_models()
    if model not in names:
        hint = did_you_mean(model, names)
        msg = f"There is no sequential model {model!r}.{hint} There are {', '.join(names)}."
        raise ConfigError(msg)


def _check_combination(request: Request) -> None:
    for key, reason in REFUSED.items():
        if key in request.settings:
            msg = f"`{key}` cannot be set here: {reason}."
            raise ConfigError(msg)
    if "architecture" in request.settings and "NASR" not in request.models:
        msg = "`architecture` is for --model=NASR; NASRSearch finds its own, and RecBole's models have theirs."
        raise ConfigError(msg)
    theirs = [model for model in request.models if model not in MODELS]
    if request.settings.get("mask_history") and theirs:
        msg = (
            "`mask_history` is not known to RecBole's own models; "
            f"without it {', '.join(theirs)} would not be comparable with ours."
        )
        raise ConfigError(msg)


def _known_keys(model: str, request: Request) -> set[str]:
    source = {key: request.settings[key] for key in ("source",) if key in request.settings}  # it brings keys of its own
    with _configuration(model, request.dataset, {**defaults.full_softmax(model, {}), **source}) as config:
        return known_keys(config)


def _check_keys(request: Request, known: Mapping[str, set[str]]) -> None:
    everything = set().union(*known.values())
    # The settings of a search also say how to train the network it found; NASR leaves out what only the search reads.
    in_files = everything | (_known_keys("NASRSearch", request) if "NASR" in known else set())
    for key in request.settings:
        model, name = split_key(key)
        if model and model not in known:
            msg = f"`{key}` is for the model {model!r}, which is not in `--model`.{did_you_mean(model, known)}"
            raise ConfigError(msg)
        allowed = everything if key in request.line_settings else in_files
        if name not in (known[model] if model else allowed):
            where = "on the command line" if key in request.line_settings else "in a configuration file"
            names = model or ", ".join(known)
            ours = {
                "device",
                "quick",
                "fresh",
                "checkpoint_interval",
                "run_name",
                "runs_dir",
                "config_files",
                *STUDY_KEYS,
            }
            hint = " It is for --study." if name in STUDY_KEYS else did_you_mean(name, everything | ours)
            msg = f"{key!r}, given {where}, is not a configuration key of {names}.{hint or ' Remove it.'}"
            raise ConfigError(msg)


def _settings(model: str, request: Request, known: set[str]) -> dict[str, Any]:
    quick = defaults.quick_settings(model) if request.quick else {}
    device = defaults.device_settings(request.device, request.settings)
    in_files, on_line = request.settings_of(model)
    if {**in_files, **on_line}.get("architecture", PRESETS[0]) not in PRESETS:  # it has layers of its own
        quick = {key: value for key, value in quick.items() if key not in ("n_layers", "n_blocks")}
    merged = {**defaults.EVALUATION, **in_files, **quick, **on_line, **device}
    chosen = {key: value for key, value in merged.items() if key in known}
    if model != "NASR":  # the search fills it in
        chosen.pop("architecture", None)
    if chosen.get("ops_module") is not None:  # so that the settings of a run mean the same in every folder
        # What the command line says is trusted; a file alone is not, see `recbole_nasr.configuration`.
        find = load_operations if "ops_module" in on_line else locate_operations
        chosen["ops_module"] = find(chosen["ops_module"])
    chosen.update(defaults.full_softmax(model, chosen))
    check_measures(chosen)
    chosen.setdefault("valid_metric", defaults.valid_metric(chosen))
    return chosen


def check_run(
    model: str, dataset: str, settings: Mapping[str, Any], checked: set[tuple[object, ...]]
) -> dict[str, Any]:
    """Check the complete settings of one run.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        settings: What the run will be given.
        checked: Files that need not be read again; what is read now is added.

    Returns:
        Every value in force, as plain data.

    Raises:
        NASRError: For the first thing that is wrong.
    """
    with _configuration(model, dataset, settings) as config:
        check_keys(config, strict=True)
        check_values(config)
        _check_dataset(config, checked)
        return effective(config)


def check_values(config: Config) -> None:
    """Check the values of all keys, each by itself and together, as far as that needs no data.

    Raises:
        NASRError: For the first that cannot be used.
    """
    check_measures(config)
    check_limits(config)
    check_trackers(config)
    _check_valid_metric(config)
    _check_network(config)
    if _is_prepared(config):
        PrepareOptions.from_config(config, config["dataset"])


def values_in_force(model: str, dataset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return every value that a run with checked ``settings`` will have, as plain data."""
    with _configuration(model, dataset, settings) as config:
        return effective(config)


def prepare_data(model: str, dataset: str, settings: Mapping[str, Any]) -> str:
    """Prepare a data set that this package makes, before any run needs it; return what to tell the user.

    Raises:
        DataError: If its source cannot be read or nothing is left of it.
    """
    with _configuration(model, dataset, settings) as config:
        folder = Path(config["data_path"])
        if _is_prepared(config):
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
        _check_weights(config, resolve_architecture(config["architecture"], config).layers)
    elif config["model"] == "NASRSearch":
        space = search_space(config)
        search_settings(config)
        strategy_settings(config)
        cost_limits(config)
        _check_weights(config, space.operations * space.n_layers)


def _check_weights(config: Config, layers: Sequence[str]) -> None:
    """Refuse layers that take more memory than there is, before the data say how many items there are."""
    settings, device = layer_settings(config), str(config["device"])
    # Training takes a gradient beside each weight, at the least.
    check_weights(layers, settings, n_items=1, length=config["MAX_ITEM_LIST_LENGTH"], device=device, copies=2)


@contextmanager
def _configuration(model: str, dataset: str, settings: Mapping[str, Any]) -> Iterator[Config]:
    """Build RecBole's configuration the way a run will, and make what it refuses one clear line."""
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


def _check_valid_metric(config: Config) -> None:
    measured = [f"{metric}@{k}" for metric in config["metrics"] for k in config["topk"]]
    if config["valid_metric"].lower() not in (name.lower() for name in measured):
        names = ", ".join(measured)
        msg = f"`valid_metric` must be one of the metrics measured, {names}, but is {config['valid_metric']}."
        raise ConfigError(msg)


def _is_prepared(config: Config) -> bool:
    """Return whether the data are prepared here; those of a user's own folder of that name are not."""
    folder, name = Path(config["data_path"]), config["dataset"]
    return is_prepared_dataset(name, config) and (not folder.is_dir() or (folder / REPORT_FILE).is_file())


def _check_dataset(config: Config, checked: set[tuple[object, ...]]) -> None:
    """Check that there are data, and that a user's files can be read; what is in ``checked`` is not read again."""
    folder, name = Path(config["data_path"]), config["dataset"]
    if _is_prepared(config):
        return
    if not folder.is_dir():
        if name in known_datasets():
            return  # downloaded when the run loads it
        own = [path.name for path in folder.parent.glob("*") if (path / f"{path.name}.inter").is_file()]
        msg = (
            f"There is no data set {name!r}: no file {folder / f'{name}.inter'}, and no data set that comes "
            f"with this package or RecBole.{did_you_mean(name, [*own, *known_datasets()])}"
        )
        raise DataError(msg)
    files = [f"{name}.{part}.inter" for part in config["benchmark_filename"] or ()] or [f"{name}.inter"]
    reading = [config[key] for key in ("field_separator", "encoding", "USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")]
    for file in files:
        check = (folder / file, not config["benchmark_filename"], *reading)
        if check not in checked:
            check_interactions(folder / file, config, with_time=not config["benchmark_filename"])
            checked.add(check)
