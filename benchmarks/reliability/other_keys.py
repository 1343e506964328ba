"""The keys beside our own that take numbers: those of studies, and those of RecBole's own models."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from recbole_nasr.configuration.keys import recbole_settings
from recbole_nasr.errors import NASRError
from recbole_nasr.request import preflight
from recbole_nasr.request.request import build_request
from recbole_nasr.runs import checking
from recbole_nasr.studies.request import build_study_request

MODELS = ("SASRec", "GRU4Rec", "NextItNet", "Caser", "BERT4Rec", "NARM", "SRGNN", "SINE")
"""Models of RecBole of every kind of network that need no features of items."""

TINY: dict[str, Any] = {
    "dataset": "mine",
    "source": "events.csv",
    "device": "cpu",
    "epochs": 1,
    "eval_step": 1,
    "topk": [1, 5],
}

STUDY = {
    "title": "T",
    "paper": "P",
    "claim": "C",
    "runs": {"network": {"model": "NASR"}, "signal": {"model": "NASRSearch"}},
    "search_seeds": [1],
}
IN_FILES = ("seeds", "search_seeds", "early_epochs", "n_trials", "n_architectures", "n_trainings", "min_seeds")
ON_LINE = ("seeds", "search_seeds", "n_trials", "n_architectures", "time_budget")


def study_keys() -> list[tuple[str, Callable[[Any], str]]]:
    """Return every key of a study that takes numbers, with what says why a value of it is refused."""
    in_files = [(f"{key} in a file", _refused_in_file(key)) for key in IN_FILES]
    return [*in_files, *((f"--{key}", _refused_on_line(key)) for key in ON_LINE)]


def _refused_in_file(key: str) -> Callable[[Any], str]:
    def refused(value: Any) -> str:
        content: dict[str, Any] = copy.deepcopy(STUDY)
        place = content["runs"]["network"] if key == "min_seeds" else content
        place[key] = value
        Path("study.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        return _said(lambda: build_study_request({"study": "study.yaml", "dataset": "mine"}))

    return refused


def _refused_on_line(key: str) -> Callable[[Any], str]:
    return lambda value: _said(lambda: build_study_request({"study": "fidelity", "dataset": "mine", key: value}))


def _said(do: Callable[[], object]) -> str:
    try:
        do()
    except NASRError as error:
        return str(error)
    return ""


def model_keys(model: str) -> list[str]:
    """Return the keys in RecBole's file of a model that are numbers, or lists of numbers."""
    return [key for key, value in recbole_settings(model).items() if _holds_number(value)]


def _holds_number(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_holds_number, value))
    if isinstance(value, str):  # as '01' of DMF
        with contextlib.suppress(ValueError):
            float(value)
            return True
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def line_of(model: str, key: str, value: Any) -> dict[str, Any]:
    """Return the command line that trains ``model`` as little as can be, with ``value`` for ``key``."""
    return {**TINY, "model": model, key: value}


@contextlib.contextmanager
def checked_values_of(model: str) -> Iterator[Callable[[str, Any], str]]:
    """Yield a function that says why the check of values refuses a value of a key of ``model``."""
    (run,) = preflight.plan(build_request({**TINY, "model": model}))
    with checking.configuration_of(model, "mine", run.settings) as config:

        def refused(key: str, value: Any) -> str:
            trial = copy.copy(config)
            trial.final_config_dict = {**config.final_config_dict, key: value}
            return _said(lambda: checking.check_values(trial))

        yield refused
