"""RecBole's own models give the same metrics with and without this package."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from recbole.quick_start import run_recbole

from .conftest import THEIRS

MODELS = ["SASRec", "GRU4Rec", "NextItNet", "BERT4Rec"]

ALONE = """
import json, sys
import numpy as np, psutil, torch
torch.set_num_threads(1)
psutil.cpu_percent = lambda **_: 0.0  # RecBole would watch the processor for a second after each run
# What RecBole asks of NumPy and no longer finds there; nothing else of RecBole is touched.
for old, new in {"float_": "float64", "complex_": "complex128", "unicode_": "str_"}.items():
    if old not in vars(np):
        setattr(np, old, getattr(np, new))
models, settings = map(json.loads, sys.argv[1:])
sys.argv = sys.argv[:1]
from recbole.quick_start import run_recbole
assert "recbole_nasr" not in sys.modules
results = [run_recbole(model, "tiny", config_dict=dict(settings), saved=False) for model in models]
print(json.dumps([(result["best_valid_result"], result["test_result"]) for result in results]))
"""


def stand_ins(folder: Path) -> Path:
    """Write a module for each import of RecBole that is not installed and not used here."""
    for name, text in {"ray": "class tune: pass", "kmeans_pytorch": "kmeans = None"}.items():
        if importlib.util.find_spec(name) is None:
            (folder / f"{name}.py").write_text(text + "\n", encoding="utf-8")
    return folder


def test_recboles_numbers_are_untouched(tiny: Path, tmp_path: Path) -> None:
    metrics = ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP"]
    settings: dict[str, Any] = {**THEIRS, "data_path": str(tiny), "epochs": 2, "metrics": metrics, "topk": [2, 5]}
    settings.update(valid_metric="NDCG@5")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ALONE, json.dumps(MODELS), json.dumps(settings)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(stand_ins(tmp_path)), *filter(None, sys.path)])},
    )
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout.splitlines()[-1])
    for model, (valid, test) in zip(MODELS, alone, strict=True):
        ours = run_recbole(model, "tiny", config_dict=dict(settings), saved=False)
        assert (dict(ours["best_valid_result"]), dict(ours["test_result"])) == (valid, test), model
        assert len(test) == 12
