"""What cannot work in several processes is refused before any is started; devices and shares are as they should be."""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from recbole.config import Config
from torch.distributed import TCPStore

from recbole_nasr import distributed
from recbole_nasr.commands.cli import USER_ERROR, main
from recbole_nasr.distributed import LostProcessError
from recbole_nasr.errors import ConfigError
from recbole_nasr.processes import launch, workers
from recbole_nasr.quick_start import run
from recbole_nasr.trainer.batches import SequenceBatches

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
}


@pytest.mark.parametrize("user", ["recbole.utils.logger", "recbole.trainer.trainer", "recbole.data.utils"])
def test_a_folder_that_another_process_has_just_created_is_no_error(
    user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(user)
    with workers.in_several_processes(0), monkeypatch.context() as patch:
        patch.setattr(os.path, "exists", lambda _path: False)  # RecBole looked before the other created it
        module.ensure_dir(str(tmp_path))


@pytest.fixture
def no_processes(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Catch what `run` would start."""
    started: list[Any] = []
    monkeypatch.setattr(torch.multiprocessing, "spawn", lambda *args, **kwargs: started.append((args, kwargs)))
    return started


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Pretend that there are GPUs; the list returned fills with those that were chosen."""

    def pretend(number: int) -> list[int]:
        chosen: list[int] = []
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
        monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
        return chosen

    return pretend


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Catch the process groups that would be joined."""
    joined: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda backend, **where: joined.append((backend, where))
    )
    return joined


@pytest.mark.parametrize("numbers", [{"nproc": 0}, {"nproc": -2}, {"nproc": "2"}, {"nproc": 2.0}, {"nproc": True}])
def test_the_number_of_processes_is_a_whole_number_from_one(numbers: dict[str, Any], no_processes: list[Any]) -> None:
    with pytest.raises(ConfigError, match="`nproc` must be a whole number of processes, at least 1"):
        run("NASR", "toy", **numbers)
    assert not no_processes


@pytest.mark.parametrize(
    "numbers",
    [
        {"nproc": 4, "world_size": 2},
        {"nproc": 2, "world_size": 4, "group_offset": 3},
        {"world_size": 1, "group_offset": -1},
    ],
)
def test_the_processes_of_all_machines_hold_those_of_this_one(numbers: dict[str, int], no_processes: list[Any]) -> None:
    with pytest.raises(ConfigError, match="`world_size` counts the processes of all machines"):
        run("NASR", "toy", **numbers)
    assert not no_processes


def test_an_unknown_key_is_refused_before_a_process_starts(toy: Path, no_processes: list[Any]) -> None:
    with pytest.raises(ConfigError, match=r"'learning_rat'.*Did you mean 'learning_rate'"):
        run("NASR", "toy", config_dict={"data_path": str(toy), "learning_rat": 1}, nproc=2)
    assert not no_processes


def test_more_processes_than_gpus_are_refused(
    toy: Path, gpus: Callable[[int], list[int]], no_processes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(2)
    settings = {"data_path": str(toy)}
    for given, count in (({}, 3), ({"gpu_id": "0"}, 2), ({"gpu_id": "0,1,2"}, 3)):
        with pytest.raises(ConfigError, match=f"there are {count} processes and"):
            run("NASR", "toy", config_dict={**settings, **given}, nproc=count)
    assert not no_processes
    run("NASR", "toy", config_dict=settings, nproc=2)
    run("NASR", "toy", config_dict={**settings, "gpu_id": ""}, nproc=3)
    assert len(no_processes) == 2
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    gpus(1)
    assert main(["--model=NASR", "--dataset=toy", f"--data_path={toy}"]) == USER_ERROR


@pytest.mark.skipif(os.name != "posix", reason="elsewhere nobody can listen where another has a port")
def test_the_port_of_a_run_is_given_to_nobody_else_while_it_lasts_and_its_processes_meet_there(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports: list[int] = []

    def spawn(*_: Any, args: Any, **__: Any) -> None:
        ports.append(int(args[-1]["config_dict"]["port"]))
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("localhost", ports[-1]))
        first = TCPStore("localhost", ports[-1], is_master=True, wait_for_workers=False)
        TCPStore("localhost", ports[-1], is_master=False).set("met", "")
        assert first.get("met") == b""

    monkeypatch.setattr(torch.multiprocessing, "spawn", spawn)
    run("NASR", "toy", config_dict={"data_path": str(toy), "gpu_id": ""}, nproc=2)
    assert ports
    assert ports != [5678]


def test_each_process_has_a_gpu_of_its_own_and_nccl_connects_them(
    toy: Path, gpus: Callable[[int], list[int]], groups: list[tuple[str, dict[str, Any]]]
) -> None:
    chosen = gpus(2)
    place = {"local_rank": 1, "nproc": 2, "offset": 2, "world_size": 4, "ip": "first", "port": "29500"}
    with workers.in_several_processes(0):
        config = Config("NASR", "toy", config_dict={"data_path": str(toy), **place})
    assert groups == [("cpu:gloo,cuda:nccl", {"init_method": "tcp://first:29500", "rank": 3, "world_size": 4})]
    assert (config["device"], chosen) == (torch.device("cuda:1"), [1])
    assert not config["single_spec"]


def test_torchrun_says_who_a_process_is(
    gpus: Callable[[int], list[int]], groups: list[tuple[str, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert launch.process_settings() == {}
    assert launch.Launch.of_this_process().name() == ""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(distributed, "leave", lambda: None)
    chosen = gpus(2)
    with launch.joined_processes("auto", ""):
        settings = launch.process_settings()
    assert (settings["local_rank"], settings["offset"], settings["nproc"], settings["world_size"]) == (1, 2, 2, 4)
    assert launch.Launch.of_this_process().name() == "process 3 of 4: "
    assert groups == [("cpu:gloo,cuda:nccl", {"init_method": "env://", "rank": 3, "world_size": 4})]
    assert chosen == [torch.device("cuda:1")]
    with (
        pytest.raises(ConfigError, match=r"CUDA_VISIBLE_DEVICES, not gpu_id=0,1\."),
        launch.joined_processes("auto", "0,1"),
    ):
        pass
    with launch.joined_processes("cpu", ""):
        assert groups[-1][0] == "gloo"


def test_batch_norm_on_cpus_is_left_alone_and_no_repair_outlives_its_process() -> None:
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(3))
    with workers.in_several_processes(0):
        assert torch.nn.SyncBatchNorm.convert_sync_batchnorm(network) is network
    assert isinstance(torch.nn.SyncBatchNorm.convert_sync_batchnorm(network)[0], torch.nn.SyncBatchNorm)


def test_one_process_needs_no_group() -> None:
    values = torch.tensor([1.0, 2.0])
    assert distributed.total(values) is values
    assert distributed.from_first("a") == "a"
    assert distributed.from_all("a") == ["a"]
    with distributed.first_process_first():
        assert not torch.distributed.is_initialized()


def test_a_process_that_does_not_answer_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def reset(*_args: Any) -> None:
        msg = "Connection reset by peer"
        raise RuntimeError(msg)

    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", reset)
    with pytest.raises(LostProcessError, match=r"another one has stopped .* \(Connection reset by peer\)"):
        distributed.total(torch.zeros(1))


@pytest.mark.parametrize(("n_cases", "n_processes"), [(13, 2), (13, 4), (5, 5), (8, 3)])
def test_processes_evaluate_each_case_once_and_in_order(
    n_cases: int, n_processes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: n_processes)
    seen: list[int] = []
    for number in range(n_processes):
        monkeypatch.setattr(distributed, "rank", lambda number=number: number)
        share = workers._OwnShare(list(range(n_cases)), shuffle=False, drop_last=False)
        assert len(share) == len(list(share)) in (n_cases // n_processes, n_cases // n_processes + 1)
        seen.extend(share)
    assert seen == list(range(n_cases))
    with pytest.raises(ConfigError, match="Each process needs a case to evaluate"):
        workers._OwnShare([0] * (n_processes - 1))


def test_processes_share_each_batch(toy: Path, assemble: Callable[..., Any]) -> None:
    batches = SequenceBatches.from_chunks(assemble("NASR", toy).train._dataset.training_chunks(), "cpu")

    def epoch(*place: int) -> list[tuple[torch.Tensor, ...]]:
        return list(batches.epoch(5, torch.Generator().manual_seed(1), *place))

    for whole, *shares in zip(epoch(), *(epoch(number, 3) for number in range(3)), strict=True):
        for part in range(3):
            assert torch.equal(torch.cat([share[part] for share in shares]), whole[part])
        assert {int(share[3]) for share in shares} == {int((whole[2] > 0).sum())}
