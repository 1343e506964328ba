"""What `tune` leaves to go on with: the settings of its best trial as a file, and the commands that use it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from typing import Any

from recbole_nasr.configuration.files import settings_text
from recbole_nasr.machine import program
from recbole_nasr.request.request import kept_words
from recbole_nasr.studies.request import SEARCHED, TRAINED
from recbole_nasr.studies.running import Draw
from recbole_nasr.studies.tables import FinishedRun

BEST = "best.yaml"
"""The file beside the page of `tune`."""

_ON_THE_LINE = ("architecture", "gpu_id", "use_gpu")

_LAYERS_OF_A_BLOCK = 4
"""As in the paper (§4.1.2), so that a search in the tuned settings has no block too large to rank."""


def best_settings(draw: Draw, best: FinishedRun) -> str:
    """Return the settings of the trial ``best`` as YAML, but for its network, seed and device.

    Those are said on the command line, so that the file serves another network, and a search, as well.
    """
    given = _given(draw, best)
    return settings_text({key: value for key, value in given.items() if key not in _ON_THE_LINE})


def _given(draw: Draw, best: FinishedRun) -> dict[str, Any]:
    """Return what the trial ``best`` was given but its seed."""
    # Optuna has lists and tables as text, so the values are those of the run.
    drawn = {key: best.record.settings.get(key, value) for key, value in best.point.items()}
    return {**draw.base, **drawn}


def next_commands(draw: Draw, best: FinishedRun, command: Sequence[str]) -> dict[str, str]:
    """Return commands that use :func:`best_settings`, by what they are for.

    Args:
        draw: What made the trials.
        best: The trial that validated best.
        command: The words of the study, of which these keep the data and the device.
    """
    asked, model, settings = draw.asked, best.record.model, best.record.settings
    kept = kept_words(command, asked.request)
    words = shlex.join([f"--config_files={asked.folder / BEST}", f"--dataset={best.dataset}", *kept])
    given = _given(draw, best).get("architecture")
    if given == "random":  # which with another seed is another network
        given = best.record.architecture
    network = shlex.join([f"--architecture={given}"]) + " " if given else ""
    commands = {
        "train it with another seed": f"{program()} --model={model} {network}{words} --seed={best.record.seed + 1}"
    }
    if model == TRAINED:
        n_blocks = math.ceil(settings["n_layers"] / _LAYERS_OF_A_BLOCK)
        commands["search a network in these settings"] = f"{program()} --model={SEARCHED} {words} --n_blocks={n_blocks}"
    return commands
