from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

import pytest
import recbole.trainer.trainer as recbole_trainer

from recbole_nasr.compat.isolation import isolated_run, log_to_file


def _fail_inside(folder: Path) -> None:
    with isolated_run(folder):
        assert sys.argv == ["prog"]
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        raise RuntimeError


def test_everything_is_put_back_after_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["prog", "--epochs=3"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    root = logging.getLogger()
    before = (
        recbole_trainer.get_tensorboard,
        recbole_trainer.tqdm,
        root.handlers[:],
        root.level,
        warnings.showwarning,
    )
    with pytest.raises(RuntimeError):
        _fail_inside(tmp_path)
    assert sys.argv == ["prog", "--epochs=3"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    after = (
        recbole_trainer.get_tensorboard,
        recbole_trainer.tqdm,
        root.handlers[:],
        root.level,
        warnings.showwarning,
    )
    assert after == before


def test_messages_and_warnings_go_to_the_log_file_without_colours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with log_to_file(tmp_path / "run.log"):
        logging.getLogger().info("\x1b[1;34mblue\x1b[0m")
        warnings.warn("careful", FutureWarning, stacklevel=1)
    text = (tmp_path / "run.log").read_text()
    assert "INFO blue" in text
    assert "careful" in text
    assert capsys.readouterr() == ("", "")
