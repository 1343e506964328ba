"""Architectures by name: the paper's baselines (§4.1.3), a file, or operation names."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from recbole_nasr.errors import ArchitectureError, did_you_mean
from recbole_nasr.model.preset_names import PRESETS, UNIFORM
from recbole_nasr.model.settings import Settings, integer, layer_settings, search_space
from recbole_nasr.ops import validate_operation
from recbole_nasr.rng import derive_seed
from recbole_nasr.space import Architecture, SearchSpace

ALTERNATING = ("tcn_d1_2", "transformer_h4")
"""What the preset `alternating` repeats from the first layer on: a hybrid made by hand."""


def _preset(name: str, space: SearchSpace, seed: int) -> Architecture:
    if name in UNIFORM:
        return space.uniform(UNIFORM[name])
    if name == "alternating":
        return space.cut([ALTERNATING[layer % 2] for layer in range(space.n_layers)])
    if name == "gru4rec":
        return Architecture((("gru4rec",),))
    return space.random_architecture(random.Random(derive_seed(seed, "architecture/random")))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # operation names of many layers are longer than a file name may be
        return False


def file_of(value: Any) -> Path | None:
    """Return the file that a configuration value names an architecture by; ``None`` if it says itself what it is."""
    if not isinstance(value, str) or value in PRESETS:
        return None
    path = Path(value)
    if value.endswith(".json") or _is_file(path):
        return path
    return path / "architecture.json" if _is_file(path / "architecture.json") else None


def _from_text(text: str, config: Settings) -> Architecture:
    if text in PRESETS:
        return _preset(text, search_space(config), int(config["seed"]))
    file = file_of(text)
    if file is not None:
        return Architecture.load(file)
    try:
        return Architecture.parse(text.strip("[]()").replace("'", "").replace('"', ""))
    except ArchitectureError as error:
        _refuse_other_folder(Path(text))
        msg = (
            f"`architecture` must be a preset ({', '.join(PRESETS)}), a file, a run folder, or operation names, "
            f"but is {text!r}: {error}{did_you_mean(text, PRESETS)}"
        )
        raise ArchitectureError(msg) from None


def _refuse_other_folder(path: Path) -> None:
    """Refuse what can only be meant as a run: a folder, or a name in a folder of runs."""
    try:
        is_folder = path.is_dir()
        beside = [str(run) for run in path.parent.iterdir()] if len(path.parts) > 1 else []
    except (OSError, ValueError):
        return
    if is_folder or beside:
        what = "has none" if is_folder else "does not exist"
        near = "" if is_folder else did_you_mean(str(path), beside)
        msg = (
            f"`architecture` may be the folder of a run, with architecture.json in it, but {path} {what}.{near} "
            "--list shows all runs."
        )
        raise ArchitectureError(msg) from None


def resolve_architecture(value: Any, config: Settings) -> Architecture:
    """Return the architecture that a configuration value means.

    ``n_layers`` stretches an architecture that is no preset, where the user has set it; see
    :meth:`~recbole_nasr.space.Architecture.stretched`.

    Args:
        value: A preset name, the path of an architecture file or of a run folder, operation names as text, or as
            lists (of lists).
        config: Supplies the search space (for presets), the network settings, and the seed (for ``random``).

    Raises:
        ArchitectureError: If it means none of these, or an operation does not fit the settings.
        ConfigError: If a setting it depends on is out of range.
    """
    architecture = _from_text(value, config) if isinstance(value, str) else Architecture.from_nested(value)
    if value not in PRESETS and "n_layers" in getattr(config, "external_config_dict", {}):
        architecture = architecture.stretched(integer(config, "n_layers"))
    common = layer_settings(config)
    for name in dict.fromkeys(architecture.layers):
        validate_operation(name, common)
    return architecture
