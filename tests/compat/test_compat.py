"""Each repair cures its symptom, once, and leaves nothing behind."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import types
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.evaluator.collector import Collector, DataStruct
from recbole.quick_start import quick_start as recbole_quick_start
from recbole.trainer import hyper_tuning
from recbole.utils import get_model

from recbole_nasr import compat, patching
from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.compat.repair import Repair


def test_a_function_is_wrapped_once_however_often_it_is_asked_for() -> None:
    owner = types.SimpleNamespace(double=lambda x: 2 * x)

    def plus_one(original: Callable[[int], int]) -> Callable[[int], int]:
        return lambda x: original(x) + 1

    def negative(original: Callable[[int], int]) -> Callable[[int], int]:
        return lambda x: -original(x)

    for make in (plus_one, plus_one, negative, plus_one, negative):
        patching.wrap(owner, "double", make)
    assert owner.double(5) == -11


def test_swapped_and_stubbed_restore_what_was_there_even_after_an_error() -> None:
    owner = types.SimpleNamespace(value=1)
    present, absent = types.ModuleType("json"), types.ModuleType("no_such_module")
    before = sys.modules["json"]

    def fail() -> None:
        with patching.swapped(owner, "value", 2), patching.stubbed({"json": present, "no_such_module": absent}):
            assert owner.value == 2
            assert sys.modules["json"] is present
            assert sys.modules["no_such_module"] is absent
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert owner.value == 1
    assert sys.modules["json"] is before
    assert "no_such_module" not in sys.modules


def test_importing_recboles_models_leaves_anomaly_detection_off() -> None:
    import recbole.model.sequential_recommender.sine  # noqa: F401  # switches it on

    assert not torch.is_anomaly_enabled()


def test_repairs_are_named_and_made_once() -> None:
    first = compat.apply()
    assert compat.apply() is first
    assert "restrict_torch_load" in first
    assert all(getattr(compat, repair.name) is repair for repair in compat.REPAIRS)
    assert set(first) <= {repair.name for repair in compat.REPAIRS if recbole.__version__ in repair.versions}


@pytest.mark.parametrize("repair", compat.REPAIRS, ids=lambda repair: repair.name)
def test_the_line_that_a_repair_mends_is_in_the_installed_recbole(repair: Repair) -> None:
    if recbole.__version__ not in repair.versions:
        pytest.skip(f"RecBole {recbole.__version__} does not have this fault")
    lines = (Path(recbole.__file__).parent / repair.file).read_text(encoding="utf-8").splitlines()
    moved = 0 if recbole.__version__ == repair.versions[-1] else 5  # the numbers are those of 1.2.1
    nearby = lines[max(0, repair.line - 1 - moved) : repair.line + moved]
    assert any(repair.text in line for line in nearby)


def test_the_gpus_that_a_process_was_given_are_those_of_a_run_unless_it_names_others(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def visible_to(**settings: Any) -> str:
        config = Config("SASRec", "toy", config_dict={"data_path": str(toy), "train_neg_sample_args": None, **settings})
        assert os.environ["CUDA_VISIBLE_DEVICES"] == config["gpu_id"]
        return str(config["gpu_id"])

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert [visible_to(), visible_to(gpu_id="1"), visible_to()] == ["2,3", "1", "2,3"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible_to() == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert [visible_to(), visible_to(gpu_id=""), visible_to()] == ["0", "", "0"]


def test_the_page_on_recbole_names_every_repair() -> None:
    page = Path(__file__).parents[2] / "docs" / "recbole.md"
    if not page.is_file():
        pytest.skip("not in a checkout")
    rows = page.read_text(encoding="utf-8").splitlines()
    for repair in compat.REPAIRS:
        [row] = [row for row in rows if row.startswith(f"| `{repair.name}`")]
        assert f"`{repair.file}:{repair.line}`" in row
        assert ", ".join(repair.versions) in row


def test_no_stand_in_for_ray_stays_in_sys_modules() -> None:
    assert getattr(sys.modules.get("ray"), "__file__", "real") is not None
    if importlib.util.find_spec("ray") is None:
        assert "ray" not in sys.modules
        assert "ray.tune" not in sys.modules


def forget(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the modules be imported afresh inside this test."""
    for name in names:
        parent, _, child = name.rpartition(".")
        monkeypatch.setattr(sys.modules[parent], child, sys.modules[name])  # importing sets it: undone with this
        monkeypatch.delitem(sys.modules, name)


def test_recboles_quick_start_imports_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch, "recbole.quick_start.quick_start")
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(ModuleNotFoundError, match="ray"):
        importlib.import_module("recbole.quick_start.quick_start")
    assert compat.stub_ray()
    assert sys.modules["ray"] is None
    assert callable(sys.modules["recbole.quick_start.quick_start"].run_recbole)
    assert not compat.stub_ray()


def test_a_ray_that_the_program_has_imported_is_left_to_recbole(monkeypatch: pytest.MonkeyPatch) -> None:
    forget(monkeypatch, "recbole.quick_start.quick_start")
    ray, tune = types.ModuleType("ray"), types.ModuleType("ray.tune")
    vars(ray)["tune"] = tune
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setitem(sys.modules, "ray.tune", tune)
    vars(tune)["report"] = lambda **_metrics: None
    assert not compat.stub_ray()
    assert importlib.import_module("recbole.quick_start.quick_start").tune is tune


@pytest.mark.parametrize("newer", [False, True], ids=["ray 2.6", "newer ray"])
def test_the_stand_in_reports_to_a_ray_that_the_user_has_imported(newer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if "stub_ray" not in compat.apply():
        pytest.skip("RecBole was imported with the real ray")
    monkeypatch.delitem(sys.modules, "ray.tune", raising=False)
    recbole_quick_start.tune.report(ndcg=0.5)
    reports: list[dict[str, float]] = []
    real = types.ModuleType("ray.tune")

    def older_report(**metrics: float) -> None:
        reports.append(metrics)

    def newer_report(metrics: dict[str, float], *, checkpoint: Any = None) -> None:
        reports.append(metrics)

    vars(real)["report"] = newer_report if newer else older_report
    monkeypatch.setitem(sys.modules, "ray.tune", real)
    recbole_quick_start.tune.report(ndcg=0.5)
    assert reports == [{"ndcg": 0.5}]


def test_every_number_type_that_recbole_names_exists_before_a_config_is_made() -> None:
    for name in ("bool", "int", "float", "complex", "object", "str", "long", "unicode"):
        assert np.dtype(vars(np)[name]) is not None
    assert np.dtype(vars(np)["float"]) == np.float64


def test_a_process_that_only_loads_has_the_number_types_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(np, "float")
    with pytest.raises(AttributeError, match="float"):
        Interaction({"label": [1.0]})
    assert compat.alias_numpy()
    assert Interaction({"label": [1.0]})["label"].dtype is torch.float32
    if "float_" not in vars(np):
        with pytest.raises(AttributeError, match="float_"):
            Config.compatibility_settings.__wrapped__(None)  # RecBole's own
    assert Config.compatibility_settings(None) is None


def test_models_are_found_without_kmeans_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    if recbole.__version__ != "1.2.0":
        pytest.skip("only RecBole 1.2.0 imports it at the top")
    package = "recbole.model.general_recommender"
    monkeypatch.setattr(sys.modules[f"{package}.ldiffrec"], "kmeans", None)
    forget(monkeypatch, f"{package}.ldiffrec", package)
    monkeypatch.setitem(sys.modules, "kmeans_pytorch", None)
    with pytest.raises(ModuleNotFoundError, match="kmeans_pytorch"):
        get_model("SASRec")
    assert compat.stub_kmeans()
    assert sys.modules["kmeans_pytorch"] is None
    assert get_model("SASRec").__name__ == "SASRec"
    assert not compat.stub_kmeans()


def test_clustering_without_its_package_says_what_to_install() -> None:
    if "stub_kmeans" not in compat.apply():
        pytest.skip("this RecBole does not need kmeans_pytorch, or it is installed")
    from recbole.model.general_recommender import ldiffrec

    with pytest.raises(ImportError, match="pip install kmeans_pytorch"):
        ldiffrec.kmeans(X=None, num_clusters=2)


def test_counts_pass_through_the_collector_of_1_2_1(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_in_1_2_1(self: Any) -> DataStruct:
        held = self.data_struct._data_dict
        for key in held:
            held[key] = held[key].cpu()
        returned = DataStruct()
        returned._data_dict = dict(held)
        del held["rec.topk"]
        return returned

    monkeypatch.setattr(Collector, "get_data_struct", as_in_1_2_1)
    monkeypatch.setattr(recbole, "__version__", "1.2.1")
    collector = object.__new__(Collector)
    collector.data_struct = DataStruct()
    topk = torch.tensor([[1, 0]])
    everything = {"rec.topk": topk, "data.num_items": 7, "data.count_items": Counter(a=2)}
    collector.data_struct._data_dict = dict(everything)
    with pytest.raises(AttributeError, match="cpu"):
        collector.get_data_struct()
    collector.data_struct._data_dict = dict(everything)
    assert compat.keep_counts_in_collector()
    assert collector.get_data_struct()._data_dict == everything
    # The counts serve the next evaluation too.
    assert collector.data_struct._data_dict == {"data.num_items": 7, "data.count_items": Counter(a=2)}


def test_thop_imports_without_distutils(monkeypatch: pytest.MonkeyPatch) -> None:
    import thop

    before = thop.profile
    monkeypatch.setitem(sys.modules, "distutils", None)  # as on Python 3.12 without setuptools
    monkeypatch.setitem(sys.modules, "distutils.version", None)
    monkeypatch.delitem(sys.modules, "thop.profile")
    try:
        with pytest.raises(ModuleNotFoundError, match="distutils"):
            importlib.import_module("thop.profile")
        assert compat.stub_distutils()
        assert sys.modules["distutils"] is None
        assert torch.nn.Linear in sys.modules["thop.profile"].register_hooks
    finally:
        thop.profile = before


def test_the_exhaustive_search_draws_as_hyperopt_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hyper_tuning, "np", np)
    for version, applied in (("0.2.5", False), ("0.3.0", True)):
        monkeypatch.setattr(importlib.metadata, "version", lambda _name, version=version: version)
        assert compat.modernise_exhaustive_search() is applied
        drawn = hyper_tuning.np.random.RandomState(2020)
        assert hasattr(drawn, "integers") is applied  # hyperopt calls it, from 0.2.6
    assert not hasattr(np.random.RandomState(2020), "integers")
    assert hyper_tuning.np.prod([2, 3]) == 6


def test_trainings_that_begin_in_one_second_have_checkpoints_of_their_own_in_one_process_and_in_several(
    toy: Path, assemble: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole.trainer.trainer.get_local_time", lambda: "now")
    rates = (0.1, 0.01)
    runs = [assemble("SASRec", toy, learning_rate=rate) for rate in rates]
    for run in runs:
        run.trainer.fit(run.train, run.valid)
    kept = [Path(run.trainer.saved_model_file) for run in runs]
    assert tuple(load_checkpoint(path)["config"]["learning_rate"] for path in kept) == rates
    assert all(path.name.startswith(f"SASRec-now-{os.getpid()}-") for path in kept)


@pytest.fixture
def fake_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let RecBole's download of ``adult`` find this archive instead of the network."""
    from recbole.data.dataset import dataset as module

    rows = [f"u{user}\ti{item}\t{item}" for user in range(4) for item in range(5)]

    def download_url(_url: str, folder: str) -> str:
        with zipfile.ZipFile(Path(folder) / "Adult.zip", "w") as archive:
            header = "user_id:token\titem_id:token\ttimestamp:float"
            archive.writestr("Adult.inter", "\n".join([header, *rows]) + "\n")
        return str(Path(folder) / "Adult.zip")

    monkeypatch.setattr(module, "decide_download", lambda _url: True)
    monkeypatch.setattr(module, "download_url", download_url)


@pytest.mark.usefixtures("fake_download")
def test_a_single_process_can_download_a_data_set(tmp_path: Path) -> None:
    config = Config("SASRec", "adult", config_dict={"data_path": str(tmp_path), "train_neg_sample_args": None})
    assert create_dataset(config).inter_num == 20


@pytest.mark.usefixtures("fake_download")
def test_several_processes_wait_for_the_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    waits: list[bool] = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waits.append(True))
    config = Config("SASRec", "adult", config_dict={"data_path": str(tmp_path), "train_neg_sample_args": None})
    create_dataset(config)
    assert waits == [True]
