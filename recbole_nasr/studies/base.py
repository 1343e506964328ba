"""What every model of a study is given on a data set before its rows add to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from recbole_nasr.data.options import PREPARATION_KEYS, READING_KEYS, unread_keys
from recbole_nasr.data.prepare import is_prepared_dataset
from recbole_nasr.data.sources import PUBLISHED_SETS
from recbole_nasr.errors import ConfigError
from recbole_nasr.request import preflight
from recbole_nasr.request.arguments import split_key
from recbole_nasr.runs.results import more_is_better
from recbole_nasr.studies.request import StudyRequest


def base_settings(asked: StudyRequest, dataset: str) -> dict[str, dict[str, Any]]:
    """Return what every model of the study is given on ``dataset`` before its rows add to it.

    Raises:
        NASRError: If the user's keys, or the data set, cannot be used, or runs are not validated by a metric of which
            more is better: what a study takes by validation, and Optuna's samplers, go by the largest.
    """
    definition, request = asked.definition, asked.request
    in_files = request.file_settings
    # `--quick` would outrank the study's own settings in a file, so they stand on the line, and what outranks them too.
    outranking = {key: value for key, value in in_files.items() if split_key(key)[1] in definition.settings}
    line = {**definition.settings, **outranking, **request.line_settings}
    if len(asked.datasets) > 1:
        left_out = _of_the_other(asked, dataset)
        in_files, line = ({k: v for k, v in part.items() if k not in left_out} for part in (in_files, line))
    known = replace(request, dataset=dataset, file_settings=in_files, line_settings=line)
    base = preflight.check_request(known)
    for settings in base.values():
        check_validation(settings)
    return base


def _of_the_other(asked: StudyRequest, dataset: str) -> tuple[str, ...]:
    """Return the keys that of two data sets are for the other one alone.

    Raises:
        ConfigError: If ``source`` is given, which is one file, and not exactly one of the data sets is the user's own.
    """
    source = asked.request.settings.get("source")
    own = [name for name in asked.datasets if name not in PUBLISHED_SETS]
    if source is not None and len(own) != 1:
        msg = (
            f"`source` is the file of one data set, but is {str(source)!r:.200} for {' and '.join(asked.datasets)}; "
            "give your own data as RecBole files below `data_path`, and make published ones by --prepare first."
        )
        raise ConfigError(msg)
    unread = {name: _unread(name, asked.request.settings) for name in asked.datasets}
    others = [unread[name] for name in asked.datasets if name != dataset]
    return tuple(key for key in unread[dataset] if any(key not in other for other in others))


def _unread(dataset: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys on data that mean nothing for a data set; one of neither data set is refused as in a run."""
    source = None if dataset in PUBLISHED_SETS else settings.get("source")
    if not is_prepared_dataset(dataset, {"source": source}):
        return PREPARATION_KEYS
    published = ("source",) if source is None else ()
    return (*published, *READING_KEYS, *unread_keys(dataset, source))


def check_validation(settings: Mapping[str, Any]) -> None:
    """Refuse runs that cannot be compared by their validation, the largest score being the best.

    Raises:
        ConfigError: If they are never validated, or by a metric of which less is better.
    """
    if not more_is_better(settings["valid_metric"]):
        msg = (
            "A study chooses by validation, so `valid_metric` must be a metric of which more is better, such as "
            f"NDCG@20, but is {settings['valid_metric']}."
        )
        raise ConfigError(msg)
    if settings.get("eval_step", 1) < 1:
        msg = f"A study chooses by validation, so `eval_step` must be at least 1, but is {settings['eval_step']}."
        raise ConfigError(msg)
