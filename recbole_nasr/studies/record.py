"""The record of a finished run: a small JSON file, named by configuration and seed, that later studies can use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_nasr.data.checksums import checksum
from recbole_nasr.data.report import REPORT_FILE, load_report
from recbole_nasr.documents import RUN_SCHEMA, RUN_VERSION, read_document, write_whole
from recbole_nasr.machine import environment
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.identity import named_files, naming_settings, result_settings
from recbole_nasr.runs.results import RANKS_FILE, RunResult, read_ranks

SCHEMA = "recbole-nasr/result"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ResultRecord:
    """One finished run.

    Args:
        key: Hash of data and settings, without the seed.
        seed: RecBole's ``seed``.
        model: Name of the model.
        dataset: Name of the data set.
        settings: Every value in force that the result may depend on.
        architecture: Text form of the network, where it is one of ours.
        data: Sizes of the data.
        valid: Validation metrics of the best epoch, unrounded.
        test: Test metrics of that epoch, unrounded.
        epochs: Epochs trained.
        best_epoch: Epoch whose weights were tested.
        n_parameters: Trainable numbers in the network.
        seconds: Wall time of each stage.
        step_seconds: Wall time of a training step.
        device_name: The processor.
        environment: Versions and machine facts.
        run: Folder of the run, where it was made.
        search: Per block: paths ranked and tied, where the network was searched.
        data_checksum: SHA-256 of the file that the data come from; empty in records of earlier versions.
        curve: Epoch, from 1, and validation score of each validated epoch; empty in records of earlier versions.
        kept_in: Folder that the record was read from or written to; no part of it.
    """

    key: str
    seed: int
    model: str
    dataset: str
    settings: dict[str, Any]
    architecture: str
    data: dict[str, int]
    valid: dict[str, float]
    test: dict[str, float]
    epochs: int
    best_epoch: int
    n_parameters: int
    seconds: dict[str, float]
    step_seconds: float
    device_name: str
    environment: dict[str, Any]
    run: str
    search: list[dict[str, int]] = field(default_factory=list)
    data_checksum: str = ""
    curve: list[list[float]] = field(default_factory=list)
    kept_in: Path | None = field(default=None, compare=False)

    @classmethod
    def of_run(
        cls, key: str, settings: Mapping[str, Any], result: RunResult, curve: list[list[float]] | None = None
    ) -> ResultRecord:
        """Make the record of ``result``; ``curve`` has its validation scores."""
        run = read_document(result.folder.path / "run.json", RUN_SCHEMA, RUN_VERSION)
        blocks = result.search.blocks if result.search is not None else ()
        return cls(
            key=key,
            settings=result_settings(settings),
            architecture=str(result.architecture or ""),
            data=asdict(result.data),
            data_checksum=data_checksum(result.dataset, settings),
            device_name=run["device_name"],
            environment=environment(),
            run=str(result.folder.path),
            search=[{"ranked": len(block.paths), "tied": len(block.ties)} for block in blocks],
            curve=curve or [],
            **{name: getattr(result, name) for name in ("seed", "model", "dataset", "valid", "test", "epochs")},
            **{name: getattr(result, name) for name in ("best_epoch", "n_parameters", "seconds", "step_seconds")},
        )

    @property
    def name(self) -> str:
        """Name of its file, without the ending."""
        return f"{self.model}-{self.key}-{self.seed}"

    @property
    def objective(self) -> float:
        """What the run was chosen by: the metric that stopped its training, on the validation cases."""
        return self.valid[self.valid_metric]

    @property
    def valid_metric(self) -> str:
        """Name of the metric that stopped the training, as metrics are named here."""
        return str(self.settings["valid_metric"]).lower()

    def save(self, folder: Path) -> Path:
        """Write the record into ``folder``, whole or not at all, and the ranks of the run beside it."""
        content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **asdict(replace(self, kept_in=None))}
        del content["kept_in"]
        folder.mkdir(parents=True, exist_ok=True)
        ranks = Path(self.run) / RANKS_FILE
        if ranks.is_file():
            write_whole(folder / f"{self.name}.{RANKS_FILE}", ranks.read_bytes())
        return RunFolder(folder).write_json(f"{self.name}.json", content)

    def ranks_file(self) -> Path | None:
        """Return the file with the ranks of the test cases, beside the record or of the run; ``None`` without one."""
        beside = [self.kept_in / f"{self.name}.{RANKS_FILE}"] if self.kept_in else []
        return next((path for path in (*beside, Path(self.run) / RANKS_FILE) if path.is_file()), None)

    def ranks(self) -> pd.DataFrame | None:
        """Read ``sequence``, ``target`` and ``rank`` of every test case; ``None`` if neither record nor run has them.

        Cases come in the order of the names of their sequences and targets.
        """
        path = self.ranks_file()
        return None if path is None else read_ranks(path)

    def is_sound(self) -> bool:
        """Return whether every value has its type, as far as tables and figures rely on it."""
        numbers = (self.valid, self.test, self.seconds, self.data)
        texts = (self.key, self.model, self.dataset, self.architecture, self.device_name, self.run, self.data_checksum)
        counts = (self.seed, self.epochs, self.best_epoch, self.n_parameters, self.step_seconds)
        return (
            all(isinstance(one, dict) and all(map(is_number, one.values())) for one in numbers)
            and all(isinstance(one, str) and "\0" not in one for one in texts)
            and all(map(is_number, counts))
            and isinstance(self.settings, dict)
            and isinstance(self.environment, dict)
            and isinstance(self.search, list)
            and all(isinstance(one, dict) and {"ranked", "tied"} <= one.keys() for one in self.search)
            and isinstance(self.curve, list)
            and all(isinstance(one, list) and len(one) == 2 and all(map(is_number, one)) for one in self.curve)
        )


def is_number(value: Any) -> bool:
    """Return whether a value from a JSON file is a number, or ``null``, which stands for NaN."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))


def result_key(model: str, dataset: str, effective: Mapping[str, Any]) -> str:
    """Return the hash under which runs of equal data and settings are kept, whatever their seed.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        effective: Every value in force, the data being prepared.
    """
    return key_of(model, dataset, data_checksum(dataset, effective), effective, named_files(effective))


def key_of(
    model: str, dataset: str, data: str, settings: Mapping[str, Any], files: Mapping[str, str] | None = None
) -> str:
    """Return the same hash from what a record keeps: the checksum ``data`` of its data, and its settings.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        data: Checksum of the data.
        settings: Every value in force.
        files: From :func:`~recbole_nasr.runs.identity.named_files`.
    """
    content: list[Any] = [model, dataset, data, naming_settings(model, dataset, settings)]
    if files:  # else runs of before would lose their names
        content.append(dict(files))
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def data_checksum(dataset: str, effective: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the file that data were prepared from, or of RecBole's files that are read.

    It is that of the ``.inter`` file where this alone is read, and else of the list of all; empty if there is none.
    """
    folder = Path(str(effective["data_path"]))
    if (folder / REPORT_FILE).is_file():
        return load_report(folder).checksum
    read = [path for path in _files_read(folder, dataset, effective) if path.is_file()]
    sums = [checksum(path) for path in read]
    if [path.name for path in read] == [f"{dataset}.inter"]:
        return sums[0]
    listed = "".join(f"{path.name} {digest}\n" for path, digest in zip(read, sums, strict=True))
    return hashlib.sha256(listed.encode()).hexdigest() if listed else ""


def _files_read(folder: Path, dataset: str, effective: Mapping[str, Any]) -> list[Path]:
    parts = effective.get("benchmark_filename")
    loaded = effective.get("load_col")
    names = [f"{part}.inter" for part in parts] if parts else ["inter"]
    names += [kind for kind in ("user", "item") if loaded is None or kind in loaded]
    return [folder / f"{dataset}.{name}" for name in names]


def find_record(model: str, key: str, seed: int, folders: Iterable[Path]) -> ResultRecord | None:
    """Return the record of an equal run, from the first of ``folders`` that has it, or ``None``.

    A record of another run that was given its name is none.
    """
    name = f"{model}-{key}-{seed}.json"
    for folder in folders:
        for path in sorted(folder.rglob(name)):
            record = load_record(path)
            if record is not None and f"{record.name}.json" == name:
                return record
    return None


def load_record(path: Path) -> ResultRecord | None:
    """Read one record; ``None`` if it is damaged, so that its run is made again.

    Raises:
        NewerFileError: If a newer version wrote it.
    """
    try:
        content = read_document(path, SCHEMA, SCHEMA_VERSION)
        record = ResultRecord(**content, kept_in=path.parent)
    except (OSError, ValueError, TypeError):
        return None
    return record if record.is_sound() else None
