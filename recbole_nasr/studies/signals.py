"""The scores that one search signal gives to networks, and their record: a small JSON file for later studies."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.utils import init_seed

from recbole_nasr.compat.isolation import isolated_run
from recbole_nasr.determinism import be_deterministic
from recbole_nasr.documents import read_document
from recbole_nasr.machine import device_name, environment
from recbole_nasr.model.settings import search_space
from recbole_nasr.runs.data import load_data
from recbole_nasr.runs.folder import RunFolder, RunRecord
from recbole_nasr.runs.identity import result_settings
from recbole_nasr.search import score_architectures
from recbole_nasr.space import Architecture
from recbole_nasr.stages import StageClock
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.record import data_checksum, is_number, result_key
from recbole_nasr.studies.request import SEARCHED
from recbole_nasr.studies.running import OpenedRun
from recbole_nasr.trainer.search_problem import search_problem

SCHEMA = "recbole-nasr/signal"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class SignalRecord:
    """The scores that one supernet, trained from one seed, gave to networks.

    Args:
        key: Hash of data and settings, without seed and networks.
        seed: Of the search.
        signal: Name of the signal.
        dataset: Name of the data set.
        settings: Every value in force that the scores may depend on.
        metric: What a score is.
        scores: Network, as text, to score; lower is better.
        seconds: Wall time of training and scoring.
        device_name: The processor.
        environment: Versions and machine facts.
        run: Folder of the run, where it was made.
        data_checksum: As in :class:`~recbole_nasr.studies.record.ResultRecord`.
    """

    key: str
    seed: int
    signal: str
    dataset: str
    settings: dict[str, Any]
    metric: str
    scores: dict[str, float]
    seconds: float
    device_name: str
    environment: dict[str, Any]
    run: str
    data_checksum: str = ""

    @property
    def model(self) -> str:
        """Name of the model that searches."""
        return SEARCHED

    @property
    def architecture(self) -> str:
        """Empty: no network is chosen."""
        return ""

    @property
    def objective(self) -> float:
        """Nothing: scores of different signals have no order."""
        return 0.0

    def is_sound(self) -> bool:
        """Return whether scores and time are numbers, as tables rely on."""
        if not isinstance(self.scores, dict) or None in self.scores.values():
            return False
        return all(map(is_number, (*self.scores.values(), self.seconds)))

    def save(self, folder: Path) -> Path:
        """Write the record into ``folder``, whole or not at all."""
        content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **asdict(self)}
        folder.mkdir(parents=True, exist_ok=True)
        return RunFolder(folder).write_json(f"signal-{self.key}-{self.seed}.json", content)


def signal_key(dataset: str, effective: Mapping[str, Any], *, untrained: bool) -> str:
    """Return the hash under which the scores of equal searches are kept, whatever their seed."""
    return signal_key_of(result_key(SEARCHED, dataset, effective), untrained=untrained)


def signal_key_of(key: str, *, untrained: bool) -> str:
    """Return the same hash from the one that a search with the same settings has."""
    return hashlib.sha256(f"untrained {key}".encode()).hexdigest()[:16] if untrained else key


def find_signals(key: str, seed: int, folders: Iterable[Path]) -> list[SignalRecord]:
    """Return the records of equal searches, whichever networks they scored; damaged ones are left out.

    Raises:
        NewerFileError: If a newer version wrote one.
    """
    paths = (path for folder in folders for path in sorted(folder.rglob(f"signal-{key}-{seed}.json")))
    found = [record for record in map(_load, paths) if record is not None]
    return [record for record in found if (record.key, record.seed) == (key, seed)]


def find_signal(key: str, seed: int, folders: Iterable[Path], networks: Sequence[str]) -> SignalRecord | None:
    """Return the first record of an equal search that has scored all of ``networks``, or ``None``."""
    found = find_signals(key, seed, folders)
    return next((record for record in found if record.scores.keys() >= set(networks)), None)


def _load(path: Path) -> SignalRecord | None:
    try:
        record = SignalRecord(**read_document(path, SCHEMA, SCHEMA_VERSION))
    except (OSError, ValueError, TypeError):
        return None
    return record if record.is_sound() else None


def score_networks(
    cell: Cell,
    networks: Sequence[Architecture],
    run: OpenedRun,
    *,
    key: str,
    effective: Mapping[str, Any],
    untrained: bool,
    command: Sequence[str],
) -> SignalRecord:
    """Train the supernet that ``cell`` asks for on the training part of its data, and score ``networks`` with it.

    Where the run was interrupted it goes on, and the scores are the same to the last bit.

    Args:
        cell: The signal, its settings and seed.
        networks: What to score.
        run: Its folder gets ``scores.csv`` and the log.
        key: From :func:`signal_key`.
        effective: Every value in force.
        untrained: Leave the supernet as it starts.
        command: The command line to write down.
    """
    folder, keeper = run.folder, run.keeper
    record = RunRecord(folder, cell.model, cell.dataset, command, clock=StageClock(keeper.take("seconds")))
    record.facts["key"] = run.key
    with record.running(), isolated_run(folder.path):
        config = Config(cell.model, cell.dataset, [str(run.settings_file)])
        processor = device_name(config["device"])
        record.facts.update(seed=config["seed"], device_name=processor, signal=cell.label)
        init_seed(config["seed"], config["reproducibility"])
        if config["reproducibility"]:
            be_deterministic(config["device"], strict=True)
        with record.clock.stage("data"):
            _, (train_data, _, _) = load_data(config)
        problem = search_problem(config, train_data, search_space(config))
        with keeper.part("seconds", record.clock.elapsed), record.clock.stage("search"):
            given = score_architectures(problem, networks, trained=not untrained, keeper=keeper)
        scores = dict(zip(map(str, networks), given.scores, strict=True))
        folder.write_csv("scores.csv", ["architecture", given.metric], [list(row) for row in scores.items()])
    keeper.done()
    return SignalRecord(
        key=key,
        seed=cell.seed,
        signal=cell.label,
        dataset=cell.dataset,
        settings=result_settings(effective),
        data_checksum=data_checksum(cell.dataset, effective),
        metric=given.metric,
        scores=scores,
        seconds=record.clock.seconds["search"],
        device_name=processor,
        environment=environment(),
        run=str(folder.path),
    )
