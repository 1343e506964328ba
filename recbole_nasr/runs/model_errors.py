"""Errors inside RecBole's own models, in one line that says what to change; their traceback is in ``run.log``."""

from __future__ import annotations

import errno
import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_nasr import distributed
from recbole_nasr.compat.isolation import LOG_FILE
from recbole_nasr.configuration.keys import recbole_settings
from recbole_nasr.configuration.values import MODELS
from recbole_nasr.errors import ModelError, NASRError
from recbole_nasr.nets.memory import ran_out

DISK_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES)
"""What a disk may refuse, which is no fault of a model."""

_VALIDATING = "_valid_epoch"  # RecBole's method, within its training
_LONGEST, _MOST_KEYS = 200, 12


@contextmanager
def explained_model_errors(config: Any, folder: Path, stage: str) -> Iterator[None]:
    """Turn an error inside one of RecBole's own models into one line.

    An error of this package keeps its traceback, and so does any error with one of our models: it is a bug of ours.

    Args:
        config: RecBole's configuration of the run.
        folder: Of the run; its ``run.log`` gets the traceback.
        stage: What cannot be done with the model: ``built``, ``trained`` or ``tested``.

    Raises:
        ModelError: Instead of what RecBole's model, or its trainer with that model, raises.
    """
    try:
        yield
    except NASRError:
        raise
    except Exception as error:
        if config["model"] in MODELS or not _is_of_recbole(error) or _is_of_machine(error):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        if any(frame.name == _VALIDATING for frame in frames):
            stage = "validated"
        what = f"{config['model']} cannot be {stage}"
        logging.getLogger().exception(what)
        msg = f"{what}; RecBole's code ended with {_in_a_line(error)}. {_advice(config)}{_place(folder)}"
        raise ModelError(msg) from error


def _is_of_recbole(error: BaseException) -> bool:
    """Return whether the code that raised ``error``, or called the library that did, is RecBole's rather than ours."""
    packages = [
        frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in traceback.walk_tb(error.__traceback__)
    ]
    return next((name == "recbole" for name in reversed(packages) if name in ("recbole", "recbole_nasr")), False)


def _is_of_machine(error: BaseException) -> bool:
    return ran_out(error) or (isinstance(error, OSError) and error.errno in DISK_REFUSES)


def _in_a_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}: {text.rstrip('.')}" if text else type(error).__name__


def _advice(config: Any) -> str:
    """Say which keys of the model to change: those that were changed, or else all of them."""
    own = list(recbole_settings(config["model"]))
    defaults = config.internal_config_dict
    changed = [f"{key}={config[key]!r:.40}" for key in own if config[key] != defaults.get(key)]
    if changed:
        return f"Its keys that differ from RecBole's defaults are {', '.join(changed[:_MOST_KEYS])}: change them. "
    if own:
        return f"All its keys have RecBole's defaults; try others: {', '.join(own[:_MOST_KEYS])}. "
    return "Try other values of its keys. "


def _place(folder: Path) -> str:
    # The other processes write into folders that are gone at the end.
    return f"The traceback is in {folder / LOG_FILE}." if distributed.rank() == 0 else ""
