"""Every run of a study, checked before the first of them starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from recbole_nasr.errors import ConfigError
from recbole_nasr.request.arguments import split_key
from recbole_nasr.runs import checking
from recbole_nasr.runs.identity import NOT_OF_THE_RESULT
from recbole_nasr.studies.base import check_validation
from recbole_nasr.studies.definition import Run
from recbole_nasr.studies.request import SEARCHED, TRAINED, StudyRequest

_SEED_STEP = 1000
"""From the seed of a search to that of each further training of what it found."""

_TAKEN = "architecture_of and untrained"
"""Where :func:`identity` has what rows take from elsewhere than their settings."""


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Args:
        label: The row it belongs to.
        model: Name of the model.
        dataset: Name of the data set.
        settings: Everything the run is given but its seed.
        seed: RecBole's ``seed``.
        point: What the study varies, as ``{key: value}``.
        needs: Key of the run whose architecture it takes over; empty where it has its own.
        training: Which training of that architecture it is, where a search found it: 2, 3, and so on.
    """

    label: str
    model: str
    dataset: str
    settings: dict[str, Any]
    seed: int
    point: dict[str, Any] = field(default_factory=dict)
    needs: str = ""
    training: int = 1

    @property
    def key(self) -> str:
        """Its name within the study."""
        again = f", training {self.training}" if self.training > 1 else ""
        return cell_key(self.label, self.dataset, self.point, self.seed) + again

    def given(self, architecture: str = "") -> dict[str, Any]:
        """Return the complete settings of the run; ``architecture`` is that of the run it needs."""
        own = {"architecture": architecture} if self.needs else {}
        return {**self.settings, **own, "seed": self.seed}


def cell_key(label: str, dataset: str, point: Mapping[str, Any], seed: int) -> str:
    """Return the name of a run within its study, such as ``SASRec-1 on ml, n_layers=8, seed=2020``."""
    varied = "".join(f", {key}={value}" for key, value in point.items())
    return f"{label} on {dataset}{varied}, seed={seed}"


def value_text(value: Any) -> str:
    """Return a value of a grid for people: lists with ``+``, numbers with four digits."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "+".join(str(part) for part in value) if isinstance(value, (list, tuple)) else str(value)


def build_plan(asked: StudyRequest, base: Mapping[str, Mapping[str, dict[str, Any]]]) -> list[Cell]:
    """Return all runs: every row and point with the first seed, then with the next.

    Args:
        asked: The command.
        base: From :func:`~recbole_nasr.studies.base.base_settings`, per data set.

    Raises:
        NASRError: For the first run that could not start.
    """
    definition = asked.definition
    cells: list[Cell] = []
    for dataset in asked.datasets:
        for run in definition.runs:
            given = {key for part in asked.request.settings_of(run.model) for key in part}
            defaults = {key: value for key, value in run.defaults.items() if key not in given}
            for point in definition.points():
                settings = {**base[dataset][run.model], **defaults, **run.settings, **point}
                check_validation(checking.check_run(run.model, dataset, settings))
                seeds = definition.seeds_of(run, asked.seeds)
                row = [
                    Cell(run.label, run.model, dataset, settings, seed, point, _need(asked, run, dataset, seed))
                    for seed in seeds
                ]
                cells += row
                if run.model == SEARCHED and asked.n_trainings > 1:
                    known = checking.check_run(TRAINED, dataset, base[dataset][TRAINED])
                    recipe = {key: value for key, value in settings.items() if key in known}
                    numbers = range(2, asked.n_trainings + 1)
                    again = [_trained_again(cell, recipe, number) for number in numbers for cell in row]
                    _refuse_shared_seeds([cell.seed for cell in (*row, *again)])
                    cells += again
    _refuse_lonely(asked, cells)
    order = {seed: number for number, seed in enumerate(dict.fromkeys(cell.seed for cell in cells))}
    return sorted(cells, key=lambda cell: order[cell.seed])


def _trained_again(found: Cell, settings: dict[str, Any], number: int) -> Cell:
    """Return training ``number`` of the network that the run ``found`` searches."""
    seed = found.seed + (number - 1) * _SEED_STEP
    return replace(found, model=TRAINED, settings=settings, seed=seed, needs=found.key, training=number)


def _refuse_shared_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds of searches that are also those of further trainings, which would then be no further ones.

    Raises:
        ConfigError: Names one.
    """
    shared = next((seed for number, seed in enumerate(seeds) if seed in seeds[:number]), None)
    if shared is not None:
        msg = (
            f"With `n_trainings` each training after the first takes a seed {_SEED_STEP} above the one before, so that "
            f"`seeds` must not differ by multiples of {_SEED_STEP}, but two trainings would have {shared}; take others."
        )
        raise ConfigError(msg)


def _refuse_lonely(asked: StudyRequest, cells: Sequence[Cell]) -> None:
    """Refuse a run that takes over what no run finds: it would wait for ever.

    Raises:
        ConfigError: Names the run.
    """
    keys = {cell.key for cell in cells}
    lonely = next((cell for cell in cells if cell.needs and cell.needs not in keys), None)
    if lonely is not None:
        msg = (
            f"The run {lonely.key} of the study {asked.definition.name} needs the network of {lonely.needs}, which is "
            "no run of it; give both rows the same `min_seeds`."
        )
        raise ConfigError(msg)


def _need(asked: StudyRequest, run: Run, dataset: str, seed: int) -> str:
    if not run.architecture_of:
        return ""
    (other,) = set(asked.datasets) - {dataset}
    return cell_key(run.architecture_of, other, {}, seed)


def refuse_other_settings(asked: StudyRequest, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a study that was started under other settings.

    Args:
        asked: The command.
        earlier: What the storage has kept of :func:`identity`; earlier versions kept places and machines too, and not
            what rows take from others.
        now: The same of this command.

    Raises:
        ConfigError: Names what differs.
    """
    compared = (key for key in {*earlier, *now} if _tells_results(key.removeprefix("--")))
    earlier = {_TAKEN: now[_TAKEN], **earlier}
    names = sorted(key for key in compared if earlier.get(key) != now.get(key))
    if names:
        differs = [f"{name}: then {_shown(earlier, name)}, now {_shown(now, name)}" for name in names]
        _refuse(asked, "under other settings", differs, "give the same ones to go on, or")


def _tells_results(key: str) -> bool:
    """Return whether results may depend on a setting: not on a place, a machine or a display."""
    return split_key(key)[1] not in NOT_OF_THE_RESULT


def refuse_other_data(asked: StudyRequest, earlier: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuse to go on with a study whose data, or files that settings name, have changed: its rows are not comparable.

    Args:
        asked: The command.
        earlier: Checksum of each data set and file that the study began with; without those not known yet.
        now: The same of the data that are there now.

    Raises:
        ConfigError: Names the data sets or files, and their checksums.
    """
    changed = [name for name in earlier if name in now and now[name] != earlier[name]]
    if changed:
        differs = [f"{name}: then {earlier[name][:8]}, now {now[name][:8]}, by SHA-256" for name in changed]
        _refuse(asked, "on other data", differs, "bring the earlier file back to go on, or give")


def _refuse(asked: StudyRequest, other: str, differs: Sequence[str], or_else: str) -> NoReturn:
    what = f"The study {asked.name} on {asked.request.dataset} was started {other} ({'; '.join(differs)})"
    msg = f"{what}; {or_else} --run_name=NAME to start another."
    raise ConfigError(msg)


def _shown(settings: Mapping[str, Any], name: str) -> str:
    return repr(settings[name]) if name in settings else "not given"


def identity(asked: StudyRequest) -> dict[str, Any]:
    """Return what may not change between two commands that work on one study; more seeds or trials may be added."""
    definition, request = asked.definition, asked.request
    return {
        **{f"--{key}": value for key, value in sorted(request.settings.items()) if _tells_results(key)},
        "grid": definition.varied,
        "settings": definition.settings,
        "rows": [[run.label, run.model, {**run.defaults, **run.settings}] for run in definition.runs],
        _TAKEN: {run.label: [run.architecture_of, run.untrained] for run in definition.runs},
        **({"space": definition.space, "pruner": asked.pruner} if definition.space else {}),
    }
