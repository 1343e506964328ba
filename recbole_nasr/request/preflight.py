"""The runs that a command stands for, and everything that can be wrong with it, before any training starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import recbole.model.sequential_recommender
from recbole.model.abstract_recommender import SequentialRecommender

from recbole_nasr.checks.measures import check_eval_args, check_measures, valid_metric
from recbole_nasr.configuration.keys import advice, known_keys
from recbole_nasr.configuration.values import MODELS
from recbole_nasr.errors import ConfigError, did_you_mean
from recbole_nasr.model.preset_names import PRESETS
from recbole_nasr.model.strategy_keys import check_read
from recbole_nasr.ops import load_operations, locate_operations
from recbole_nasr.request import defaults
from recbole_nasr.request.arguments import RUN_COMMANDS, STUDY_KEYS, split_key
from recbole_nasr.request.request import REQUEST_KEYS, SHARED_KEYS, Request
from recbole_nasr.runs import checking
from recbole_nasr.runs.checking import check_run, configuration_of

_TORCHRUN = "several processes are started with torchrun, see docs/distributed.md"

REFUSED = {
    "checkpoint_dir": (
        "everything a run writes goes into its own folder below `runs_dir` "
        "(a run is repeated with its settings.yaml, not with its config.yaml)"
    ),
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
    models = [PlannedRun(model, model, settings) for model, settings in check_request(request, compared=True).items()]
    for one in models:
        if one.model == "NASRSearch":
            values = checking.values_in_force(one.model, request.dataset, one.settings)
            check_read(values, request.settings_of(one.model)[1])
    return models + [PlannedRun(name, "NASR", settings) for name, settings in quick_baselines(request).items()]


def check_request(request: Request, *, compared: bool = False) -> dict[str, dict[str, Any]]:
    """Check all models of a command against its data set and settings.

    Args:
        request: The command.
        compared: Whether one table compares the models as they are; the rows of a study may be tested differently.

    Returns:
        For each model its settings: the defaults of the command line, then what ``--quick`` changes, then the
        user's keys that the model knows. A key of one model in a comparison does not disturb the others.

    Raises:
        NASRError: For the first thing that is wrong.
    """
    for model in request.models:
        _check_model(model)
    _check_combination(request)
    if compared and len(request.models) > 1:
        _check_shared(request)
    known = {model: _known_keys(model, request) for model in request.models}
    _check_keys(request, known)
    settings = {model: _settings(model, request, known[model]) for model in request.models}
    for model in request.models:
        check_run(model, request.dataset, settings[model])
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
    asked = [split_key(key) for key in request.settings]
    for key, value in request.settings.items():
        model, name = split_key(key)
        if model and name in REQUEST_KEYS:
            msg = (
                f"`{key}` cannot be set for one model, since `{name}` is for the whole command, but is {value!r:.80}; "
                f"write --{name}={value!s:.80} without the model's name."
            )
            raise ConfigError(msg)
    for key, reason in REFUSED.items():
        if any(name == key for _, name in asked):
            msg = f"`{key}` cannot be set here: {reason}."
            raise ConfigError(msg)
    with_architecture = {model or "NASR" for model, name in asked if name == "architecture"}
    if with_architecture - ({"NASR"} & {*request.models}):
        msg = "`architecture` is for --model=NASR; NASRSearch finds its own, and RecBole's models have theirs."
        raise ConfigError(msg)
    theirs = [model for model in request.models if model not in MODELS]
    ours = [model for model in request.models if model in MODELS]
    settings = [request.settings, *({**files, **line} for files, line in map(request.settings_of, ours))]
    if theirs and any(given.get("mask_history") for given in settings):
        msg = (
            "`mask_history` is not known to RecBole's own models; "
            f"without it {', '.join(theirs)} would not be comparable with ours."
        )
        raise ConfigError(msg)


def _check_shared(request: Request) -> None:
    """Refuse keys of one model of a comparison that give it other data or test cases, or measure it differently."""
    for key, value in request.settings.items():
        model, name = split_key(key)
        if model in request.models and name in SHARED_KEYS:
            msg = (
                f"`{key}` must be the same for all models of a comparison, which one table compares on the same data "
                f"and test cases, but is {value!r:.200} for {model} alone; give `{name}` without the model's name, or "
                f"run {model} by itself."
            )
            raise ConfigError(msg)


def _known_keys(model: str, request: Request) -> set[str]:
    source = {key: request.settings[key] for key in ("source",) if key in request.settings}  # it brings keys of its own
    # With metrics of ours: those that RecBole has for DIN and DIEN do not go with the ranking it has for all models.
    settings = {**defaults.EVALUATION, **defaults.full_softmax(model, {}), **source}
    with configuration_of(model, request.dataset, settings) as config:
        return known_keys(config)


def _check_keys(request: Request, known: Mapping[str, set[str]]) -> None:
    everything = set().union(*known.values())
    # The settings of a search also say how to train the network it found; NASR leaves out what only the search reads.
    in_files = everything | (_known_keys("NASRSearch", request) if "NASR" in known else set())
    for key in request.settings:
        model, name = split_key(key)
        if model and model not in known:
            msg = f"`{key}` is for the model {model!r}, but this runs {', '.join(known)}.{did_you_mean(model, known)}"
            raise ConfigError(msg)
        allowed = everything if key in request.line_settings else in_files
        if name not in (known[model] if model else allowed):
            where = "on the command line" if key in request.line_settings else "in a configuration file"
            names = model or ", ".join(known)
            hint = _command_of(name) or advice(name, {*everything, *REQUEST_KEYS, *STUDY_KEYS})
            msg = f"{key!r}, given {where}, is not a configuration key of {names}.{hint}"
            raise ConfigError(msg)


def _command_of(key: str) -> str:
    """Return a sentence on the command that a key is for, where it is for none that runs a model; else nothing."""
    if key in (*REQUEST_KEYS, "ops_module"):  # models have them too
        return ""
    others = [f"--{command}" for command, keys in RUN_COMMANDS.items() if key in keys]
    others = ["--study"] if key in STUDY_KEYS else others
    return f" It is for {' and '.join(others)}." if others else ""


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
        # What the command line says is trusted; a file alone is not, see `recbole_nasr.configuration.values`.
        find = load_operations if "ops_module" in on_line else locate_operations
        chosen["ops_module"] = find(chosen["ops_module"])
    chosen.update(defaults.full_softmax(model, chosen))
    check_measures(chosen)
    if "eval_args" in chosen:
        check_eval_args(chosen["eval_args"])
    chosen.setdefault("valid_metric", valid_metric(chosen))
    return chosen
