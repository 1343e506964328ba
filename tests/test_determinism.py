"""Equal inputs give equal results: what is asked of torch on a GPU, and what a result may not depend on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recbole_nasr.determinism import SIZES, WORKSPACE, be_deterministic, explained_refusals, restored_determinism
from recbole_nasr.errors import ConfigError
from recbole_nasr.trainer import retraining

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
    assert torch.utils.deterministic.fill_uninitialized_memory


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
    monkeypatch.setattr(retraining, "be_deterministic", lambda device, *, strict: asked.append((device, strict)))
    assemble("NASR", toy, reproducibility=wanted)
    assert asked == ([(CPU, True)] if wanted else [])


def test_an_operation_without_a_deterministic_algorithm_is_refused_in_one_line() -> None:
    refusal = "histc_cuda does not have a deterministic implementation, but you set 'torch.use_deterministic_algori…"
    said = r"only, but: histc_cuda does not .* implementation; set it to False"
    with pytest.raises(ConfigError, match=said), explained_refusals():
        raise RuntimeError(refusal)
    with pytest.raises(RuntimeError, match="another"), explained_refusals():
        raise RuntimeError("another")
