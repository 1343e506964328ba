"""Keep one run of RecBole inside its own folder.

RecBole reads ``sys.argv``, sets ``CUDA_VISIBLE_DEVICES``, logs through the root logger, and its trainers open
``./log_tensorboard`` and draw one progress bar per epoch. The contexts here confine each of these to a run
and put everything back afterwards.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import recbole.trainer.trainer as recbole_trainer
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from recbole_nasr.determinism import restored_determinism
from recbole_nasr.patching import swapped

LOG_FILE = "run.log"
"""Log messages and warnings of a run, in its folder."""

_COLOUR = re.compile(r"\x1B\[[0-?]*[ -/]*[@-~]")


class _PlainText(logging.Formatter):
    """Drops the terminal colours that RecBole writes into its messages."""

    def format(self, record: logging.LogRecord) -> str:
        return _COLOUR.sub("", super().format(record))


@contextmanager
def bare_command_line() -> Iterator[None]:
    """Hide our arguments from ``Config``, which evaluates every ``--key=value`` it finds as Python."""
    with swapped(sys, "argv", sys.argv[:1]):
        yield


@contextmanager
def restored_visible_devices() -> Iterator[None]:
    """Undo what ``Config`` does to ``CUDA_VISIBLE_DEVICES``, so that no run hides the GPU of the next."""
    saved = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        yield
    finally:
        if saved is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = saved


@contextmanager
def log_to_file(path: Path) -> Iterator[None]:
    """Send log messages and warnings to ``path`` instead of the screen."""
    root = logging.getLogger()
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_PlainText("%(asctime)s %(levelname)s %(message)s"))
    saved_handlers, saved_level = root.handlers[:], root.level
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            # Set up inside `catch_warnings`, which restores `showwarning`: capturing may not outlive the
            # handler.
            warnings.simplefilter("default")
            logging.captureWarnings(capture=True)
            try:
                yield
            finally:
                logging.captureWarnings(capture=False)
    finally:
        root.handlers = saved_handlers
        root.setLevel(saved_level)
        handler.close()


@contextmanager
def trainer_output_in(folder: Path) -> Iterator[None]:
    """Let RecBole's trainers write TensorBoard events to ``folder`` and clear finished progress bars."""
    writers: list[SummaryWriter] = []

    def open_writer(_logger: logging.Logger) -> SummaryWriter:
        writers.append(SummaryWriter(str(folder)))
        return writers[-1]

    brief_bar = functools.partial(tqdm, leave=False, file=sys.stderr)
    try:
        with (
            swapped(recbole_trainer, "get_tensorboard", open_writer),
            swapped(recbole_trainer, "tqdm", brief_bar),
        ):
            yield
    finally:
        for writer in writers:
            writer.close()


@contextmanager
def isolated_run(folder: Path) -> Iterator[None]:
    """Run RecBole inside ``folder``: all of the contexts above.

    Args:
        folder: An existing folder; gets ``run.log`` and ``tensorboard/``.
    """
    with (
        bare_command_line(),
        restored_visible_devices(),
        restored_determinism(),
        log_to_file(folder / LOG_FILE),
        trainer_output_in(folder / "tensorboard"),
    ):
        yield
