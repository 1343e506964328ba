"""Each repair cures its symptom, once, and leaves nothing behind."""

from __future__ import annotations

import importlib.util
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
from recbole.evaluator.collector import Collector, DataStruct
from recbole.quick_start import quick_start as recbole_quick_start

from recbole_nasr import compat, patching
from recbole_nasr.quick_start import objective_function, run_recbole

SMALL = {
    "train_neg_sample_args": None,
    "epochs": 1,
    "n_layers": 1,
    "hidden_size": 8,
    "inner_size": 8,
    "show_progress": False,
    "state": "ERROR",
    "topk": [2],
}


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
    assert all(callable(getattr(compat, name)) for name in first)


def test_no_stand_in_for_ray_stays_in_sys_modules() -> None:
    assert getattr(sys.modules.get("ray"), "__file__", "real") is not None
    if importlib.util.find_spec("ray") is None:
        assert "ray" not in sys.modules
        assert "ray.tune" not in sys.modules


def test_the_stand_in_reports_to_a_ray_that_the_user_has_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    if "stub_ray" not in compat.apply():
        pytest.skip("RecBole was imported with the real ray")
    monkeypatch.delitem(sys.modules, "ray.tune", raising=False)
    recbole_quick_start.tune.report(ndcg=0.5)
    reports: list[dict[str, float]] = []
    real = types.ModuleType("ray.tune")
    vars(real)["report"] = lambda **metrics: reports.append(metrics)
    monkeypatch.setitem(sys.modules, "ray.tune", real)
    recbole_quick_start.tune.report(ndcg=0.5)
    assert reports == [{"ndcg": 0.5}]


def test_the_objective_of_a_hyper_parameter_search_runs(toy: Path) -> None:
    where = {"model": "SASRec", "dataset": "toy", "data_path": str(toy), "valid_metric": "NDCG@2"}
    found = objective_function({**SMALL, **where}, saved=False)
    assert found["model"] == "SASRec"
    assert set(found["test_result"]) == {"recall@2", "mrr@2", "ndcg@2", "hit@2", "precision@2"}


def test_every_number_type_that_recbole_names_exists_before_a_config_is_made() -> None:
    for name in ("bool", "int", "float", "complex", "object", "str", "long", "unicode"):
        assert np.dtype(vars(np)[name]) is not None
    assert np.dtype(vars(np)["float"]) == np.float64


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


def test_the_metrics_that_use_counts_run_on_the_installed_recbole(toy: Path) -> None:
    metrics = ["ItemCoverage", "AveragePopularity", "GiniIndex", "TailPercentage"]
    settings = {**SMALL, "data_path": str(toy), "metrics": metrics, "valid_metric": "ItemCoverage@2"}
    result = run_recbole("SASRec", "toy", config_dict=settings, saved=False)
    assert 0 < result["test_result"]["itemcoverage@2"] <= 1


def test_thop_imports_without_distutils(monkeypatch: pytest.MonkeyPatch) -> None:
    import thop

    before = thop.profile
    monkeypatch.setitem(sys.modules, "distutils", None)  # as on Python 3.12 without setuptools
    monkeypatch.setitem(sys.modules, "distutils.version", None)
    monkeypatch.delitem(sys.modules, "thop.profile")
    try:
        assert compat.stub_distutils()
        assert sys.modules["distutils"] is None
        assert torch.nn.Linear in sys.modules["thop.profile"].register_hooks
    finally:
        thop.profile = before


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
