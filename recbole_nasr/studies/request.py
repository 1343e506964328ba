"""The words of a command line that starts a study."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_nasr.errors import ConfigError, on_or_off
from recbole_nasr.request.arguments import STUDY_KEYS, split_key
from recbole_nasr.request.request import Request, build_request
from recbole_nasr.studies.definition import StudyDefinition
from recbole_nasr.studies.form import MOST_NETWORKS, MOST_SEEDS
from recbole_nasr.studies.values import read_count, read_folder, read_pruner, read_seconds, read_seeds

_LOG = logging.getLogger("recbole_nasr")

SEARCHED, TRAINED = "NASRSearch", "NASR"
"""Model that searches a network, and the one that trains a network that is given."""


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """What one command asks of a study.

    Args:
        definition: The study.
        request: Data set, device and settings; its models are those of the study.
        target: Second data set of `transfer`; else empty.
        storage: A database URL or the path of a journal file; empty for the default.
        results: Folder with records of finished runs, read but not written; may be ``None``.
        n_trials: Trials at most: of `tune` all together, of others those of this process; ``None`` for all.
        time_budget: Seconds after which this process starts no further trial; ``None`` for no limit.
        seeds: Of every run.
        pruner: How `tune` stops runs that fall behind: ``median``, ``hyperband`` or ``none``.
        retry_failed: Whether runs that failed are tried again.
        own_space: Whether the user has given the space of `tune`.
        n_architectures: Networks that `fidelity` samples.
        search_seeds: Of every search signal of `fidelity`.
        n_trainings: Trainings of each network that a search finds.
    """

    definition: StudyDefinition
    request: Request
    target: str
    storage: str
    results: Path | None
    n_trials: int | None
    time_budget: float | None
    seeds: tuple[int, ...]
    pruner: str
    retry_failed: bool
    own_space: bool = False
    n_architectures: int = 0
    search_seeds: tuple[int, ...] = ()
    n_trainings: int = 1

    @property
    def name(self) -> str:
        """Name of the study's folder and, with the data set, of its study in the storage."""
        parts = (self.definition.name, self.target, self.request.run_name, "quick" if self.request.quick else "")
        return "-".join(part for part in parts if part)

    @property
    def folder(self) -> Path:
        """Where the study keeps its storage and what it finds."""
        return self.request.runs_dir / self.request.dataset / self.name

    @property
    def datasets(self) -> tuple[str, ...]:
        """Data set, and target where there is one."""
        return (self.request.dataset, *([self.target] if self.target else []))


def build_study_request(line: dict[str, Any]) -> StudyRequest:
    """Read the words of a command line that has ``--study``.

    Raises:
        ConfigError: For an unknown study, or a key that has another meaning or value than a study allows.
    """
    given = dict(line)
    own = {key: given.pop(key) for key in STUDY_KEYS if key in given}
    definition = StudyDefinition.load(str(own["study"]), quick=given.get("quick") is True)
    name = definition.name
    _check_own(definition, own)
    if definition.space:
        definition = _tuned(definition, given.pop("model", None), own.get("space"))
        _check_one_seed(name, own.get("seeds", definition.seeds))
    elif "model" in given:
        msg = f"`--model` is for --study=tune; {name} has its own rows: {', '.join(_labels(definition))}."
        raise ConfigError(msg)
    fidelity = bool(definition.search_seeds)
    sampled = own.get("n_architectures", definition.n_architectures or None)
    n_trainings = read_count(own.get("n_trainings", definition.n_trainings), "n_trainings", MOST_SEEDS) or 1
    _check_trainings(definition, n_trainings, asked="n_trainings" in own)
    models = [run.model for run in definition.runs] + [TRAINED] * (n_trainings > 1)
    seeds = read_seeds(own.get("seeds", definition.seeds))
    request = _without_seed(build_request({**given, "model": list(dict.fromkeys(models))}), given, seeds)
    _check_command(name, request, quick=given.get("quick") is True)
    _check_settings(definition, request)
    if own.get("target") == request.dataset:
        msg = f"`--target` must be another data set than --dataset, but both are {request.dataset!r}."
        raise ConfigError(msg)
    return StudyRequest(
        definition=definition,
        request=request,
        target=str(own.get("target", "")),
        storage=str(own.get("storage", "")),
        results=read_folder(own.get("results")),
        n_trials=read_count(own.get("n_trials")),
        time_budget=read_seconds(own.get("time_budget")),
        seeds=seeds,
        pruner=read_pruner(str(own.get("pruner", "median")).lower()),
        retry_failed=on_or_off("retry_failed", own.get("retry_failed", False)),
        own_space="space" in own,
        n_architectures=read_count(sampled, "n_architectures", MOST_NETWORKS) or 0,
        search_seeds=read_seeds(own.get("search_seeds", definition.search_seeds), "search_seeds") if fidelity else (),
        n_trainings=n_trainings,
    )


def _check_own(definition: StudyDefinition, own: dict[str, Any]) -> None:
    """Refuse keys that would do nothing in this study, and a missing target."""
    transfers, draws, samples = definition.transfers, bool(definition.space), bool(definition.search_seeds)
    meanings = {
        "target": (transfers, "studies that transfer, such as transfer"),
        **dict.fromkeys(("pruner", "space"), (draws, "studies that draw settings, such as tune")),
        **dict.fromkeys(("n_architectures", "search_seeds"), (samples, "studies of signals, such as fidelity")),
    }
    for key, (means_something, studies) in meanings.items():
        if key in own and not means_something:
            msg = f"`--{key}` is for {studies}, not for {definition.name}; drop it."
            raise ConfigError(msg)
    if transfers and not own.get("target"):
        msg = f"`--study={definition.name}` needs a second data set; for instance --target=lastfm."
        raise ConfigError(msg)


def _check_command(name: str, request: Request, *, quick: bool) -> None:
    """Refuse what a study would not do as asked: only prepare its data, or be small because a file says so."""
    if request.prepare:
        msg = f"`--prepare` is for a data set, not for --study={name}, which prepares its data; drop one of the two."
        raise ConfigError(msg)
    if request.quick and not quick:
        msg = "`quick` of a study is given on the command line, --quick; take it out of the configuration file."
        raise ConfigError(msg)


def _check_trainings(definition: StudyDefinition, n_trainings: int, *, asked: bool) -> None:
    """Refuse to train again what a study finds where it searches nothing."""
    searches = any(run.model == SEARCHED for run in definition.runs) and not definition.search_seeds
    if asked and not searches:
        msg = f"`--n_trainings` is for studies that train what they search, not for {definition.name}; drop it."
        raise ConfigError(msg)
    if n_trainings > 1 and not searches:
        msg = f"The study {definition.name} has n_trainings {n_trainings}, but no row of the model {SEARCHED}."
        raise ConfigError(msg)


def _tuned(definition: StudyDefinition, model: Any, space: Any) -> StudyDefinition:
    """Return the study of one row with the model and the space of the command line, where it names them."""
    if space is not None and (not isinstance(space, dict) or not space):
        msg = f"`--space` must be a table such as {{'learning_rate': [0.001, 0.003]}}, but is {space!r}."
        raise ConfigError(msg)
    if len(definition.runs) > 1:
        labels = ", ".join(_labels(definition))
        msg = f"The study {definition.name} draws the settings of one row, but has {labels}; keep one."
        raise ConfigError(msg)
    (run,) = definition.runs
    other = model is not None and str(model) != run.model
    return replace(
        definition,
        runs=(replace(run, label=str(model), model=str(model)) if other else run,),
        settings={} if other else definition.settings,
        space=space or definition.space,
    )


def _check_one_seed(name: str, seeds: Any) -> None:
    """Refuse seeds that no trial would be run with."""
    if isinstance(seeds, (list, tuple)) and len(seeds) > 1:
        msg = (
            f"The study {name} runs every trial with one seed, but `--seeds` is {list(seeds)!r:.80}; give one. "
            "What is found can be run with several as a row of a study of your own (docs/studies.md)."
        )
        raise ConfigError(msg)


def _labels(definition: StudyDefinition) -> list[str]:
    return [run.label for run in definition.runs]


def _without_seed(request: Request, given: dict[str, Any], seeds: tuple[int, ...]) -> Request:
    """Leave out the seed of a file of settings, which may be that of a single run, and say so."""
    kept = {key: value for key, value in request.file_settings.items() if split_key(key)[1] != "seed"}
    for key in [key for key in request.file_settings if key not in kept]:
        line = f"{key}: {request.file_settings[key]}"
        _LOG.info("`%s` in %s is left out: a study has `seeds`, here %s", line, given["config_files"], list(seeds))
    return replace(request, file_settings=kept)


def _check_settings(definition: StudyDefinition, request: Request) -> None:
    for key in request.settings:
        model, name = split_key(key)
        rows = [run for run in definition.runs if model in ("", run.model)]
        fixed = set(definition.varied) | {key for run in rows for key in run.settings}
        if name == "seed":
            msg = f"A study runs several seeds: use --seeds=[{request.settings[key]}] instead of `{key}`."
            raise ConfigError(msg)
        if name in fixed:
            msg = f"`{key}` is what the study {definition.name} itself sets or varies; drop it."
            raise ConfigError(msg)
