"""When two runs are the same: equal data, settings and seed, wherever they are written."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_nasr.data.checksums import checksum
from recbole_nasr.data.prepare import is_prepared_here, prepared_folder
from recbole_nasr.model.presets import file_of, resolve_architecture
from recbole_nasr.ops.loading import loaded_digest
from recbole_nasr.space import Architecture

NOT_OF_THE_RESULT = frozenset(
  {
    "seed", "data_path", "source", "checkpoint_dir", "gpu_id", "use_gpu", "device", "state", "show_progress",
    "save_dataset", "save_dataloaders", "dataset_save_path", "dataloaders_save_path", "log_wandb", "wandb_project",
    "log_mlflow", "mlflow_experiment", "local_rank", "lost_after",
    "world_size", "nproc", "ip", "port", "offset", "group_offset", "encoding", "config_files", "verbose",
    "saved", "single_spec",
  }
)  # fmt: skip
"""Keys that name a place, a machine or a display; a run is the same under any of them.

What the files at a place hold is hashed for itself.
"""


BASELINE_FILE = Path(__file__).with_name("result_baseline.json")
"""Values that name no run, by data set, model or ``*``: each setting's value under which a run is what it was before.

That is its default when it came into being, or what switched it off where the default of then moved results. A setting
at this value is not hashed, so that runs of before keep their names when a setting is added. The values stay what they
are when a default changes: runs under the new default then get names of their own, and runs that are given the old
value find those of before. Hence lines are added, never changed and never taken away.
"""


@functools.cache
def _baselines() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = json.loads(BASELINE_FILE.read_text(encoding="utf-8"))
    return content


def baseline(model: str, dataset: str) -> dict[str, Any]:
    """Return the values that name no run of ``model`` on ``dataset``; see :data:`BASELINE_FILE`."""
    known = _baselines()
    return {**known["*"], **known.get(model, {}), **known.get(dataset, known["own"])}


def result_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the values in force that a result may depend on."""
    return {key: value for key, value in sorted(settings.items()) if key not in NOT_OF_THE_RESULT}


def naming_settings(model: str, dataset: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of the values in force that tells a run from others of the same model and data set.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        settings: Every value in force; one that is missing counts as at its baseline.
    """
    usual = baseline(model, dataset)
    plain = json.loads(json.dumps(result_settings(settings), default=str))
    return {key: value for key, value in plain.items() if not (key in usual and value == usual[key])}


def named_files(effective: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of what settings name beside the data, by their keys; most settings name nothing.

    That of an architecture is of its text, whatever else stands in the file.

    Raises:
        ArchitectureError: If the file of an architecture cannot be read.
    """
    operations, architecture = _operations(effective), file_of(effective.get("architecture"))
    found = {"ops_module": operations} if operations else {}
    if architecture is not None:
        found["architecture"] = hashlib.sha256(str(Architecture.load(architecture)).encode()).hexdigest()
    return found


def run_key(model: str, dataset: str, effective: Mapping[str, Any], *, name: str, n_processes: int) -> str:
    """Return the hash that two runs share when one can go on where the other was interrupted.

    Beside model and settings that is the content of the data files, of own operations and of an architecture given as
    a file, the seed, the kind of device and the number of processes: all that the numbers may depend on.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        effective: Every value in force.
        name: The user's own ending of the run folder's name.
        n_processes: How many processes work on the run.
    """
    content = {
        "model": model,
        "dataset": dataset,
        "data": _data(dataset, effective),
        "settings": naming_settings(model, dataset, effective),
        "seed": effective["seed"],
        "device": str(effective["device"]).partition(":")[0],
        "operations": _operations(effective),
        "architecture": str(resolve_architecture(effective["architecture"], effective)) if model == "NASR" else "",
        "name": name,
        "processes": n_processes,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _data(dataset: str, effective: Mapping[str, Any]) -> list[str]:
    if is_prepared_here(effective):
        return [prepared_folder(effective).name]  # named by the content of its source
    folder = Path(str(effective["data_path"]))
    files = sorted(path for path in folder.glob(f"{dataset}.*") if path.suffix in (".inter", ".item", ".user"))
    return [f"{path.name} {checksum(path)}" for path in files]


def _operations(effective: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the file of own operations, or that of a module when it was loaded; empty without any."""
    name = effective.get("ops_module")
    if name is None:
        return ""
    path = Path(str(name))
    return checksum(path) if path.is_file() else loaded_digest(name)
