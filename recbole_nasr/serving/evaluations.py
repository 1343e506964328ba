"""How finished runs were tested, so that results which do not compare can be told from those which do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_nasr.alignment import aligned
from recbole_nasr.configuration.files import read_settings
from recbole_nasr.data.prepare import prepared_key
from recbole_nasr.errors import NASRError
from recbole_nasr.report.table import ranking_text
from recbole_nasr.serving.saved import SavedRun

_LONGEST = 200  # characters; the files may be a stranger's
_COUNTED = {"test_cases": "cases", "items": "items", "actions": "interactions"}


def letter(number: int) -> str:
    """Return a short name, ``A`` for 0; from 26 on the number itself."""
    return chr(ord("A") + number) if number < 26 else str(number)


def evaluations(runs: Sequence[SavedRun]) -> tuple[list[str], str]:
    """Tell the runs of one data set apart by how they were tested.

    Returns:
        A letter for each run, empty for one without a result, and what the letters stand for, as text. Nothing where
        all runs were tested alike.
    """
    configs = [configuration(run) for run in runs]
    how = [_how_tested(run, config) for run, config in zip(runs, configs, strict=True)]
    names = [prepared_name(run, config) for run, config in zip(runs, configs, strict=True)]
    if len({name for text, name in zip(how, names, strict=True) if text and name}) > 1:
        how = [f"{text}; prepared as {name}" if text and name else text for text, name in zip(how, names, strict=True)]
    kinds = [kind for kind in dict.fromkeys(how) if kind]
    if len(kinds) < 2:
        return [], ""
    letters = {"": "-", **{kind: letter(number) for number, kind in enumerate(kinds)}}
    legend = aligned([[letters[kind], kind] for kind in kinds], left=(0, 1), rule=False)
    note = "These runs were tested in different ways; only results with the same letter below `test` compare:"
    return [letters[kind] for kind in how], f"{note}\n{legend}"


def _how_tested(run: SavedRun, config: dict[str, Any]) -> str:
    """Return what the targets of the test cases of a run were ranked among, and which cases; empty without a result."""
    if not run.metrics.get("test"):
        return ""
    given = _table(config.get("eval_args"))
    masks = run.metrics.get("mask_history") is True  # with a full ranking only
    mode = "full" if masks else str(_table(given.get("mode")).get("test", "unknown"))
    data = run.metrics.get("data", {})
    counts = [f"{data[key]:,} {noun}" for key, noun in _COUNTED.items() if key in data]
    split = _split_text(given, config)
    parts = [ranking_text(mode, masks_history=masks), split, ", ".join(counts)]
    return " ".join("; ".join(filter(None, parts)).split())[:_LONGEST]


def prepared_name(run: SavedRun, config: dict[str, Any]) -> str:
    """Return the name of the folder of prepared data that a run has read, wherever that was.

    Empty for data that are read as they are, and for runs of the time before ``run.json`` stated the versions of files,
    when the same source and options had another hash.

    Args:
        run: The run.
        config: Its ``config.yaml``.
    """
    name = Path(str(config.get("data_path"))).name
    known = "file_versions" in run.facts and prepared_key(name, str(config.get("dataset")))
    return name if known and name.isprintable() and len(name) <= _LONGEST else ""


def _split_text(given: dict[str, Any], config: dict[str, Any]) -> str:
    if config.get("split_by") == "time":
        return f"split by time at {config.get('time_quantiles')}"
    groups = f" by {given['group_by']}" if "group_by" in given else ""
    return ", ".join(f"split {kind} {how}{groups}" for kind, how in _table(given.get("split")).items())


def configuration(run: SavedRun) -> dict[str, Any]:
    """Return the settings that a run had in force; nothing where they cannot be read."""
    try:
        return read_settings(run.folder / "config.yaml")
    except NASRError:  # missing, damaged, or of a newer version
        return {}


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
