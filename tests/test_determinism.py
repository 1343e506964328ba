"""Equal inputs give equal results: what is asked of torch on a GPU, and what a result may not depend on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_nasr import determinism
from recbole_nasr.determinism import SIZES, WORKSPACE, be_deterministic, explained_refusals, restored_determinism
from recbole_nasr.errors import ConfigError
from recbole_nasr.trainer.retraining import NASRTrainer

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


def setting() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


@pytest.mark.parametrize("strict", [True, False])
def test_on_a_gpu_torch_cudnn_and_cublas_are_told_to_be_deterministic_and_put_back(
    strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    with restored_determinism():
        be_deterministic(CUDA, strict=strict)
        assert setting() == (True, not strict)
        assert os.environ[WORKSPACE] == SIZES
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert setting() == (False, False)
    assert not torch.backends.cudnn.deterministic
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_cublas_has_its_setting_as_soon_as_the_package_is_imported() -> None:
    assert os.environ[WORKSPACE]


def test_a_gpu_that_computed_products_before_is_deterministic_but_for_cublas_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object, **__: object) -> None:
        msg = f"... this operation is not deterministic because it uses CuBLAS ... {WORKSPACE}=:4096:8 ..."
        raise RuntimeError(msg)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda *_, **__: None)
    monkeypatch.setattr(torch, "mm", refused)
    with restored_determinism(), caplog.at_level("WARNING", logger="recbole_nasr"):
        be_deterministic(CUDA, strict=True)
        assert setting() == (True, True)
    assert "reproducibility: the GPU was used before recbole_nasr was imported" in caplog.text


def test_what_the_user_has_told_cublas_stands_and_a_cpu_needs_no_cublas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)
    with restored_determinism():
        be_deterministic(CPU, strict=True)
        assert setting() == (True, False)
        assert WORKSPACE not in os.environ
        monkeypatch.setenv(WORKSPACE, ":16:8")
        be_deterministic(CUDA, strict=True)
    assert os.environ[WORKSPACE] == ":16:8"


@pytest.mark.parametrize("wanted", [True, False])
def test_a_trainer_asks_for_it_if_the_run_is_to_be_reproducible(
    wanted: bool, toy: Path, assemble: Callable[..., SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(determinism, "be_deterministic", lambda device, *, strict: asked.append((device, strict)))
    run = assemble("NASR", toy, reproducibility=wanted, epochs=1)
    run.trainer.fit(run.train, run.valid, saved=False)
    assert asked == ([(CPU, True)] if wanted else [])
    run.trainer.evaluate(run.valid, load_best_model=False)
    assert asked == ([(CPU, True)] * 2 if wanted else [])


@pytest.mark.parametrize("model", ["NASR", "NASRSearch"])
def test_a_run_in_python_leaves_torch_as_it_was(
    model: str, toy: Path, assemble: Callable[..., SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.use_deterministic_algorithms(mode=False)
    within: list[bool] = []
    train = NASRTrainer._train_epoch
    run = assemble(model, toy, reproducibility=True, epochs=1)

    def watched(*given: Any, **options: Any) -> float:
        within.append(torch.are_deterministic_algorithms_enabled())
        return train(*given, **options)

    monkeypatch.setattr(NASRTrainer, "_train_epoch", watched)
    run.trainer.fit(run.train, run.valid, saved=False)
    run.trainer.evaluate(run.valid, load_best_model=False)
    assert within == [True]
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operation_without_a_deterministic_algorithm_is_refused_in_one_line() -> None:
    refusal = "histc_cuda does not have a deterministic implementation, but you set 'torch.use_deterministic_algori…"
    said = r"only, but: histc_cuda does not .* implementation; set it to False"
    with pytest.raises(ConfigError, match=said), explained_refusals():
        raise RuntimeError(refusal)
    with pytest.raises(RuntimeError, match="another"), explained_refusals():
        raise RuntimeError("another")


Assemble = Callable[..., SimpleNamespace]


def trained(assemble: Assemble, model: str, data: Path, **settings: Any) -> tuple[Tensor, dict[str, float]]:
    """Return all weights and the test metrics after two epochs."""
    run = assemble(model, data, **settings)
    run.trainer.fit(run.train, run.valid, saved=False, verbose=False, show_progress=False)
    run.trainer.eval_collector.data_collect(run.train)
    test = run.trainer.evaluate(run.test, load_best_model=False)
    return torch.cat([weight.detach().flatten() for weight in run.model.parameters()]), dict(test)


@pytest.mark.parametrize("model", ["NASR", "SASRec"])
def test_processes_that_load_the_data_change_no_weight_and_no_metric(model: str, toy: Path, assemble: Assemble) -> None:
    alone, helped = (trained(assemble, model, toy, worker=number) for number in (0, 2))
    assert torch.equal(alone[0], helped[0])
    assert alone[1] == helped[1]


@pytest.mark.parametrize("model", ["NASR", "SASRec"])
def test_the_size_of_an_evaluation_batch_changes_no_metric(model: str, toy: Path, assemble: Assemble) -> None:
    _, expected = trained(assemble, model, toy)
    for size in (1, 5, 13):
        _, found = trained(assemble, model, toy, eval_batch_size=size)
        assert found == pytest.approx(expected, abs=1e-6)


def test_one_seed_decides_everything_and_another_decides_otherwise(toy: Path, assemble: Assemble) -> None:
    first, again, other = (trained(assemble, "NASRSearch", toy, seed=seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_on_several_threads_sums_over_picked_rows_are_the_same_every_time() -> None:
    rows = torch.randint(3, (40_000,), generator=torch.Generator().manual_seed(1))
    values = torch.randn(40_000, 8, generator=torch.Generator().manual_seed(2))
    n_threads = torch.get_num_threads()
    with restored_determinism():
        be_deterministic(CPU, strict=True)
        torch.set_num_threads(2)
        try:
            sums = [torch.zeros(3, 8).index_put((rows,), values, accumulate=True) for _ in range(5)]
        finally:
            torch.set_num_threads(n_threads)
    assert all(torch.equal(total, sums[0]) for total in sums)


def test_an_interruption_while_torch_switches_over_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_off: list[str] = []

    def importing(**_: object) -> None:  # as torch's own, which imports its compiler first
        broken_off.append("sympy")
        if len(broken_off) == 1:
            raise KeyboardInterrupt
        msg = "module 'sympy' has no attribute 'printing'"  # what is half imported fails the second time
        raise AttributeError(msg)

    monkeypatch.setattr(torch, "use_deterministic_algorithms", importing)
    with pytest.raises(KeyboardInterrupt), restored_determinism():
        be_deterministic(torch.device("cpu"), strict=True)
