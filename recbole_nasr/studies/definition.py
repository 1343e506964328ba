"""What a study consists of, read from ``properties/study/<name>.yaml``."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from recbole_nasr.configuration.files import read_settings
from recbole_nasr.configuration.resources import available, load_yaml
from recbole_nasr.errors import ConfigError, did_you_mean
from recbole_nasr.studies.form import check_form

FOLDER = "properties/study"


@dataclass(frozen=True)
class Run:
    """One row of a study: a model and what distinguishes it.

    Args:
        label: Name in tables.
        model: Name of the model.
        settings: Keys that make it this row; nobody can override them.
        defaults: Further keys of this row alone, which the user may override.
        min_seeds: Seeds it is run with at the least, whatever the study asks for.
        tuned: Trials of `tune` that its settings come from, as its author says.
        architecture_of: Label of the run whose architecture, found on the other data set with the same seed, it has.
        untrained: Whether a search signal of `fidelity` is that of a supernet before its training.
    """

    label: str
    model: str
    settings: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    min_seeds: int = 1
    tuned: int = 0
    architecture_of: str = ""
    untrained: bool = False


@dataclass(frozen=True, kw_only=True)
class StudyDefinition:
    """One study.

    Args:
        name: Its name on the command line.
        title: Heading of its page.
        paper: Table or figure of the paper that it does again.
        claim: What the paper says there.
        runs: Rows; each is run at every point of the grid with every seed.
        settings: Keys of all runs, which the user may override.
        grid: Keys that vary together, every combination.
        one_at_a_time: Keys of which one at a time departs from its first value.
        space: What a study such as `tune` draws for its one row: lists of choices, or tables with ``low``, ``high`` and
            ``log``.
        seeds: Of every run; where a space is drawn from, one.
        n_trials: Trials of `tune`.
        n_architectures: Networks that `fidelity` samples.
        n_trainings: Trainings of each network that a search finds: its own, and further ones with seeds of their own.
        search_seeds: Of every search signal of `fidelity`.
        early_epochs: Epochs after which `fidelity` asks how the validation score already ranks networks.
        reference: Label that the others are compared with.
        compare: Key of the grid, in place of a reference: rows that differ in it alone are compared in pairs.
        figure: Kind of figure, and the key on its horizontal axis.
        summary: Name of the summary of its own; may be empty.
        published: The paper's numbers, or those of others, per data set and label.
        published_by: Whose numbers those are, if not the paper's.
        needs: Which of :data:`recbole_nasr.studies.shortfalls.REQUIREMENTS` its claim has to meet.
    """

    name: str
    title: str
    paper: str
    claim: str
    runs: tuple[Run, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    one_at_a_time: dict[str, list[Any]] = field(default_factory=dict)
    space: dict[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (2020, 2021, 2022)
    n_trials: int = 0
    n_architectures: int = 0
    n_trainings: int = 1
    search_seeds: tuple[int, ...] = ()
    early_epochs: tuple[int, ...] = ()
    reference: str = ""
    compare: str = ""
    figure: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    published: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    published_by: str = ""
    needs: tuple[str, ...] = ("E1", "E6", "E7", "E8", "E9", "E14", "E15")

    @classmethod
    def load(cls, name: str, *, quick: bool = False) -> StudyDefinition:
        """Read a study; with ``quick`` its table ``quick`` replaces what it names.

        Args:
            name: A shipped study, or the path of a YAML file of the same form.
            quick: Whether the small version is meant.

        Raises:
            ConfigError: If there is no such study, or its file is not of that form.
        """
        content = _content(name)
        name = Path(name).stem
        small = content.pop("quick", {})
        content.update(small if quick else {})
        runs = tuple(Run(label, **row) for label, row in content.pop("runs").items())
        usual = cls.seeds[:1] if content.get("space") else cls.seeds
        seeds = tuple(content.pop("seeds", usual))
        content["needs"] = tuple(content.get("needs", cls.needs))
        for key in ("search_seeds", "early_epochs"):
            content[key] = tuple(content.get(key, ()))
        return cls(name=name, runs=runs, seeds=seeds, **content)

    @property
    def varied(self) -> dict[str, list[Any]]:
        """Keys that vary within the study, with their values."""
        return {**self.grid, **self.one_at_a_time}

    @property
    def compared(self) -> tuple[str, Any] | None:
        """The key that rows are compared by, and its first value, which the others are held against, if any."""
        return (self.compare, self.varied[self.compare][0]) if self.compare else None

    @property
    def transfers(self) -> bool:
        """Whether rows take over what was found on another data set, as in `transfer`."""
        return any(run.architecture_of for run in self.runs)

    def points(self) -> list[dict[str, Any]]:
        """Return every point of the grid as ``{key: value}``; a study without one has the one empty point."""
        start = {key: values[0] for key, values in self.one_at_a_time.items()}
        single = [start, *({**start, key: value} for key, values in self.one_at_a_time.items() for value in values[1:])]
        product = itertools.product(*self.grid.values())
        return [{**dict(zip(self.grid, point, strict=True)), **rest} for point in product for rest in single]

    def seeds_of(self, run: Run, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Return ``seeds``, followed by further ones if ``run`` needs more of them."""
        further = (max(seeds) + 1 + number for number in range(run.min_seeds - len(seeds)))
        return (*seeds, *further)


def _content(name: str) -> dict[str, Any]:
    """Return what the file of a study says, once its form is known to be right."""
    names = available(FOLDER)
    if name in names:
        content = load_yaml(FOLDER, name)
    elif name.endswith((".yaml", ".yml")):
        content = read_settings(name)
    else:
        msg = f"There is no study {name!r}; there are {', '.join(names)}.{did_you_mean(name, names)}"
        raise ConfigError(msg)
    known = [part.name for part in fields(StudyDefinition) if part.name != "name"]
    _refuse_unknown(name, content, [*known, "quick"])
    small = content.get("quick", {})
    _refuse_unknown(name, small, known)
    tables = [part["runs"] for part in (content, small) if isinstance(part.get("runs"), dict)]
    for row in (row for table in tables for row in table.values()):
        _refuse_unknown(name, row, [part.name for part in fields(Run) if part.name != "label"])
    check_form(name, content)
    rows = [row for table in tables for row in table.values()]
    missing = [key for key in ("title", "paper", "claim", "runs") if not content.get(key)]
    missing += ["model (of every row)"] * any("model" not in row for row in rows)
    if missing:
        msg = f"The study {name} needs {', '.join(missing)}; docs/studies.md says what a study consists of."
        raise ConfigError(msg)
    return content


def _refuse_unknown(name: str, content: Any, known: list[str]) -> None:
    if not isinstance(content, dict):
        msg = f"The study {name} has {content!r} where a table with {', '.join(known)} belongs."
        raise ConfigError(msg)
    for key in content:
        if key not in known:
            msg = f"The study {name} has the key {key!r}; known are {', '.join(known)}.{did_you_mean(str(key), known)}"
            raise ConfigError(msg)
