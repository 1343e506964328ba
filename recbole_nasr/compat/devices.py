"""The repair of RecBole's choice of GPUs."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from recbole_nasr.compat.repair import repair
from recbole_nasr.patching import wrap

VISIBLE = "CUDA_VISIBLE_DEVICES"


@repair(
    "config/configurator.py",
    484,
    f'os.environ["{VISIBLE}"] = gpu_id',
    why="A run takes GPU 0, the default, whatever CUDA_VISIBLE_DEVICES said before; a scheduler gave it another one.",
)
def keep_visible_devices() -> bool:
    """Use the GPUs of ``CUDA_VISIBLE_DEVICES`` for a run that does not set ``gpu_id``."""
    from recbole.config import Config

    by_recbole: list[str | None] = [None]
    given: list[str | None] = [None]

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def _init_device(self: Any) -> None:
            present = os.environ.get(VISIBLE)
            if present != by_recbole[0]:  # not left by an earlier run of this process
                given[0] = present
            if given[0] is not None and "gpu_id" not in self.external_config_dict:
                self.final_config_dict["gpu_id"] = given[0]
            original(self)
            by_recbole[0] = os.environ.get(VISIBLE)

        return _init_device

    wrap(Config, "_init_device", make)
    return True
