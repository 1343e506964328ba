"""Another extension registers its model before or after us; both work, and so do its checkpoints."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import recbole.data.dataset
import recbole.trainer
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model
from recbole.quick_start import quick_start as recbole_quick_start
from recbole.trainer import Trainer
from recbole.utils import get_model, get_trainer, init_seed

from . import extension
from .conftest import COMMON, OURS

ECHO = {**COMMON, "echo_width": 4, "train_neg_sample_args": None}


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "recbole.model.sequential_recommender.echo"
    monkeypatch.setitem(sys.modules, name, extension)
    monkeypatch.setattr(recbole.data.dataset, "EchoDataset", None, raising=False)
    monkeypatch.setattr(recbole.trainer, "EchoTrainer", None, raising=False)
    extension.register()


def run_with(config: Any, model: str) -> SimpleNamespace:
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    network = get_model(model)(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.fit(train, valid)
    return SimpleNamespace(trainer=trainer, result=trainer.evaluate(test), train=train)


@pytest.mark.usefixtures("registered")
def test_an_extension_that_comes_after_us_runs_and_its_checkpoint_is_read(
    run: Callable[..., dict[str, Any]],
) -> None:
    assert get_model("Echo") is extension.Echo
    result = run("Echo", {**ECHO, "save_dataset": True, "save_dataloaders": True})
    [file] = Path("saved").glob("Echo-*.pth")
    config, network, dataset, _, _, test = load_data_and_model(str(file))  # reads its caches too
    assert (type(network), type(dataset)) == (extension.Echo, extension.EchoDataset)
    assert Trainer(config, network).evaluate(test, load_best_model=False) == result["test_result"]
    assert get_model("NASR").__module__.startswith("recbole_nasr.")


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("model", ["Echo", "NASR"])
def test_the_config_of_another_extension_serves_its_models_and_ours(model: str, tiny: Path) -> None:
    settings = OURS if model == "NASR" else {**COMMON, "train_neg_sample_args": None}
    config = extension.EchoConfig(model, "tiny", config_dict={**settings, "data_path": str(tiny)})
    done = run_with(config, model)
    assert type(done.trainer).__name__ == f"{model}Trainer"
    assert 0 <= done.result["recall@3"] <= 1


PROGRAM = """
import json, pickle, sys
import psutil
psutil.cpu_percent = lambda **_: 0.0  # RecBole would watch the processor for a second after each run
sent, echo_settings, file, folder = sys.argv[1:]
sys.argv = sys.argv[:1]
sys.path.insert(0, folder)
import extension
extension.register()
assert "recbole_nasr" not in sys.modules
pickle.loads(bytes.fromhex(sent))  # what `run` sends to its workers
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.trainer import Trainer
from recbole.utils import get_model
heavy = sorted({"matplotlib", "recbole_nasr.commands.cli"} & set(sys.modules))
echo = run_recbole("Echo", "tiny", config_dict=json.loads(echo_settings), saved=False)
config, network, _, _, _, test = load_data_and_model(file)
said = {
    "ours": get_model("NASRSearch").__module__,
    "heavy": heavy,
    "echo": sorted(echo["test_result"]),
    "sasrec": dict(Trainer(config, network).evaluate(test, model_file=file)),
}
print(json.dumps(said))
"""


def test_a_fresh_process_in_which_the_extension_comes_first(run: Callable[..., dict[str, Any]], tiny: Path) -> None:
    result = run("SASRec")
    [file] = Path("saved").glob("SASRec-*.pth")
    sent = pickle.dumps(recbole_quick_start.run_recboles).hex()
    settings = json.dumps({**ECHO, "data_path": str(tiny)})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, sent, settings, str(file), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["ours"].startswith("recbole_nasr.")  # the worker's function brought us
    assert said["heavy"] == []  # quick to start
    assert said["echo"] == ["ndcg@3", "recall@3"]
    assert said["sasrec"] == dict(result["test_result"])  # the checkpoint of another process
